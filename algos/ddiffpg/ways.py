"""Known ways: which running episodes have followed a known mode to its end.

Part of DDiffPG here, not of its paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

from .episodes import Episodes
from .modes import Modes

SHARES = (0.25, 0.5, 0.75, 1.0)  # of a mode's shortest success, where its places are
NOWHERE = 1e6  # m, where the places of a mode are that there is not: a checkpoint holds no infinity


class KnownWays(nn.Module):
    """Notes which places of the known modes each running episode has come near to.

    An episode that has been near all places of a mode has followed it: whatever it sees from then
    on, it owes to a way that is known. One that comes to the same end from elsewhere has not.

    Args:
        spec: of the task.
        most: modes.
        radius: m, how near is near.
    """

    places: Tensor
    passed: Tensor

    def __init__(self, spec: Spec, most: int, radius: float) -> None:
        super().__init__()
        self.radius = radius
        places = torch.full((most, len(SHARES), spec.position_dim), NOWHERE)
        self.register_buffer("places", places)
        passed = torch.zeros(spec.num_envs, most, len(SHARES), dtype=torch.bool)
        self.register_buffer("passed", passed)

    def near(self, position: Tensor, places: Tensor) -> Tensor:
        """Say whether positions (..., P) are near to places (..., P), (...)."""
        return (position - places).square().sum(-1) <= self.radius**2

    def note(self, step: Transition) -> Tensor:
        """Take in a vector step; return whose episodes have followed a mode by its end, (N,)."""
        self.passed |= self.near(step.next_position[:, None, None], self.places)
        followed = self.passed.all(-1).any(-1)
        self.passed[step.terminated | step.truncated] = False
        return followed

    def adopt(self, modes: Modes, episodes: Episodes) -> None:
        """Take in the modes found anew, and where the running episodes have been so far."""
        self.places.fill_(NOWHERE)
        points = modes.config.points
        at = [round(share * (points - 1)) for share in SHARES]
        shortest = modes.tubes()[:, :points]
        self.places[: len(shortest)] = shortest[:, at]
        envs = len(self.passed)
        path = episodes.position[:envs, :, None]  # (N, T + 1, 1, P)
        times = torch.arange(path.shape[1], device=path.device)
        so_far = (times <= episodes.length[:envs, None])[..., None]
        for mode in range(len(shortest)):
            self.passed[:, mode] = (self.near(path, self.places[mode]) & so_far).any(1)
        self.passed[:, len(shortest) :] = False
