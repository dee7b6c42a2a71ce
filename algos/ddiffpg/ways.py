"""Known ways: which running episodes have followed a known mode to its end, and where they lead.

Part of DDiffPG here, not of its paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

from .episodes import Episodes
from .modes import Modes
from .rows import farther

SHARES = (0.25, 0.5, 0.75, 1.0)  # of a mode's shortest success, where its places are
NOWHERE = 1e6  # m, where the places of a mode are that there is not: a checkpoint holds no infinity


class KnownWays(nn.Module):
    """Notes which places of the known modes each running episode has come near to.

    An episode that has been near all places of a mode has followed it: whatever it sees from then
    on, it owes to a way that is known. One that comes to the same end from elsewhere has not.

    What is near to a mode's paths is known ground, but for its end: to that another way may lead.

    Args:
        spec: of the task.
        most: modes.
        radius: m, how near is near.
        points: of all paths that a mode's ground is made of (see `Modes.tubes`).
    """

    places: Tensor
    passed: Tensor
    paths: Tensor

    def __init__(self, spec: Spec, most: int, radius: float, points: int) -> None:
        super().__init__()
        self.radius = radius
        self.known = 0  # modes
        self.register_buffer("paths", torch.full((most, points, spec.position_dim), NOWHERE))
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

    def elsewhere(self, position: Tensor) -> Tensor:
        """Say whether positions (..., P) are off the ground of all known modes, (...)."""
        if not self.known:
            return torch.ones(position.shape[:-1], dtype=torch.bool, device=position.device)
        paths = self.paths[: self.known].flatten(0, 1)[None]
        rows = position.reshape(1, -1, position.shape[-1])
        return farther(rows, paths, self.radius).view(position.shape[:-1])

    def adopt(self, modes: Modes, episodes: Episodes) -> None:
        """Take in the modes found anew, and where the running episodes have been so far."""
        self.places.fill_(NOWHERE)
        points = modes.config.points
        at = [round(share * (points - 1)) for share in SHARES]
        tubes = modes.tubes()
        shortest, self.known = tubes[:, :points], len(tubes)
        self.places[: self.known] = shortest[:, at]
        at_end = self.near(tubes, shortest[:, -1:])
        self.paths[: self.known] = torch.where(at_end[..., None], tubes[:, :1], tubes)
        envs = len(self.passed)
        path = episodes.position[:envs, :, None]  # (N, T + 1, 1, P)
        times = torch.arange(path.shape[1], device=path.device)
        length = episodes.length[:envs, None]
        so_far = ((times <= length) & (length > 0))[..., None]  # else the start is of the last one
        for mode in range(len(shortest)):
            self.passed[:, mode] = (self.near(path, self.places[mode]) & so_far).any(1)
        self.passed[:, len(shortest) :] = False

    def get_extra_state(self) -> int:
        """Return how many modes are known, for `state_dict`."""
        return self.known

    def set_extra_state(self, state: int) -> None:
        """Take back what `get_extra_state` returned."""
        self.known = state
