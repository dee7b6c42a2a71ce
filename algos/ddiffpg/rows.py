"""Rows of episodes that the modes' Q-functions learn from, and what follows each.

Part of DDiffPG (Li et al. 2024, arXiv 2406.00681).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .episodes import ExtraReward
from .modes import Modes

Rows = dict[str, Tensor]  # fields of rows that are learned from


class ModeRows:
    """Draws equally many rows for each of the modes.

    A mode's own successes come first, then failures, then other modes' successes, its *rivals*.

    Args:
        modes: what the stored episodes belong to.
        success_share: of a mode's rows, from its own successes; 0: uniform over its episodes,
            failed or not, and no rivals.
        rival_share: of a mode's rows, from other modes' successes.
    """

    def __init__(self, modes: Modes, success_share: float, rival_share: float) -> None:
        self.modes, self.episodes = modes, modes.episodes
        self.success_share, self.rival_share = success_share, rival_share
        self.changed()

    def changed(self) -> None:
        """Be told that episodes came, went or changed their mode."""
        self.weights: Tensor | None = None  # of slots, see `Modes.weights`
        self.tubes: Tensor | None = None  # surroundings of the modes' paths, see `Modes.tubes`

    def rivals(self, rows: int) -> int:
        """Return how many of a mode's rows are other modes' successes."""
        if self.success_share == 0:
            return 0
        return min(round(self.rival_share * rows), rows - self.own(rows))

    def own(self, rows: int) -> int:
        """Return how many of a mode's rows are its own successes."""
        return max(round(self.success_share * rows), 1)

    def lengths(self) -> Tensor:
        """Return the mean number of steps of each mode's successes, (M,), if drawn before."""
        assert self.weights is not None
        steps = self.weights[0]
        return steps.sum(1) / (steps > 0).sum(1)

    def draw(self, rows: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return slots, steps and whether they are a mode's own successes, each (M, rows)."""
        if self.weights is None:
            self.weights = self.modes.weights()
        if self.success_share == 0:
            slot, step = self.episodes.draw(self.weights[0] + self.weights[1], rows, rng)
            return slot, step, self.episodes.success[slot]
        own, rivals = self.own(rows), self.rivals(rows)
        counts = (own, rows - own - rivals, rivals)
        drawn = [
            self.episodes.draw(w, n, rng) for w, n in zip(self.weights, counts, strict=True) if n
        ]
        slot, step = (torch.cat(parts, dim=1) for parts in zip(*drawn, strict=True))
        first = torch.arange(rows, device=slot.device) < own
        return slot, step, first.expand_as(slot)

    def rows(
        self,
        slot: Tensor,
        step: Tensor,
        own: Tensor,
        n: int,
        gamma: float,
        paid: ExtraReward | None,
    ) -> Rows:
        """Return the fields (M, b, ...) of rows that were drawn (see `draw` and `returns`)."""
        reward, next_obs, discount = self.returns(slot, step, n, gamma, paid)
        return {
            "obs": self.episodes.at(self.episodes.obs, slot, step),
            "action": self.episodes.at(self.episodes.action, slot, step),
            "next_obs": next_obs,
            "reward": reward,
            "discount": discount,
            "success": own,
        }

    def returns(
        self, slot: Tensor, step: Tensor, n: int, gamma: float, paid: ExtraReward | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return n-step rewards, successors and discounts of rows (see `Episodes.n_step`).

        Leaving the tube of a mode's paths ends them, without reward.
        """
        config = self.modes.config
        stop = self.outside_tube(slot, step, n) if config.discover and config.tube > 0 else None
        return self.episodes.n_step(slot, step, n, gamma, stop, paid)

    def outside_tube(self, slot: Tensor, step: Tensor, n: int) -> Tensor:
        """Say which of the next n steps of rows (M, b) begin or end outside a tube, (M, b, n)."""
        if self.tubes is None:
            self.tubes = self.modes.tubes()
        times = self.episodes.ahead(slot, step, n)
        path = self.episodes.at(self.episodes.position, slot[..., None], times)
        outside = farther(path.flatten(1, 2), self.tubes, self.modes.config.tube)
        outside = outside.view_as(times)  # (M, b, n + 1)
        return outside[..., :-1] | outside[..., 1:]


def farther(points: Tensor, places: Tensor, limit: float) -> Tensor:
    """Say of points (M, n, P) whether all places (M, m, P) are farther than limit: (M, n).

    The squares |p|^2 - 2 p q + |q|^2 come from one product, in 0.7 of the time of distances.
    """
    centre = places.mean(1, keepdim=True)  # the squares are small where the numbers are
    points, places = points - centre, places - centre
    ones = torch.ones_like(points[..., :1])
    square = places.square().sum(-1, keepdim=True)
    rest = torch.bmm(torch.cat([points, ones], -1), torch.cat([-2 * places, square], -1).mT)
    return rest.amin(-1) + points.square().sum(-1) > limit**2
