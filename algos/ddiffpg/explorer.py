"""What explores in DDiffPG: how many episodes, and what the exploration Q-function is taught.

The method's exploration Q-function (Li et al. 2024, arXiv 2406.00681) learns from the novelty bonus
of single steps. n-step returns, an end at successes and known ways are this suite's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require

from ..common.replay import Replay, take
from .episodes import Episodes
from .modes import Modes, ModesConfig
from .rows import Rows
from .ways import KnownWays

Bonus = Callable[[Tensor, Tensor], Tensor]


@dataclass
class ExplorerConfig:
    """Settings of what explores."""

    share: float = 0.2  # of training episodes; 0: 1 / (M + 1)
    until: int = 0  # env steps after which no episode explores; 0: never
    n_step: int = 1  # of the exploration Q-function's returns
    scale: float = 1.0  # weight of the intrinsic reward in it
    reward: float = 0.0  # weight of the task's rewards in it, unless a mode was followed
    beyond: str = "after"  # after | new: what it expects beyond a success, where an episode ends:
    # what in the last state, of which it learns nothing, so that it is drawn to known goals;
    # nothing, and nothing beyond the end of a known mode that the episode has followed either
    away: bool = False  # whether what is near to a known way pays no intrinsic reward, but for its
    # end; else what explores sums up the little that the many places of a long way still pay
    failures: bool = True  # whether the modes' Q-functions learn from what explored in vain

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.beyond not in ("after", "new"):
            raise ValueError(f"beyond={self.beyond!r}: valid are after, new")
        if self.reward and self.beyond != "new":
            raise ValueError(f"reward={self.reward}: needs explorer.beyond=new")
        if self.away and self.beyond != "new":
            raise ValueError(f"away={self.away}: needs explorer.beyond=new")
        require(self, "[0, 1]", "share")
        require(self, "[0, inf)", "until", "scale", "reward")
        require(self, "[1, inf)", "n_step")


class Explorer(nn.Module):
    """Knows how often to explore, and returns what the exploration Q-function learns from.

    Args:
        spec: of the task.
        config: of what explores.
        modes: settings of the modes, whose ways may be known.
    """

    def __init__(self, spec: Spec, config: ExplorerConfig, modes: ModesConfig) -> None:
        super().__init__()
        self.config = config
        self.ways: KnownWays | None = None
        if config.beyond == "new":
            points = modes.tube_paths * modes.points
            self.ways = KnownWays(spec, modes.most, modes.tube, points)

    def share(self, modes: int, steps: int) -> float:
        """Return the share of the episodes that explore, where modes are known, by env steps."""
        if self.ended(steps):
            return 0.0
        return self.config.share or 1 / (modes + 1)

    def ended(self, steps: int) -> bool:
        """Say whether no episode explores any more, by env steps."""
        return 0 < self.config.until <= steps

    def note(self, step: Transition) -> dict[str, Tensor]:
        """Take in a vector step; return what the replay is to hold of it, (N,) each."""
        return {} if self.ways is None else {"followed": self.ways.note(step)}

    def adopt(self, modes: Modes, episodes: Episodes) -> None:
        """Take in the modes that were found anew."""
        if self.ways is not None:
            self.ways.adopt(modes, episodes)

    def rows(self, replay: Replay, index: Tensor, gamma: float, bonus: Bonus | None) -> Rows:
        """Return the fields (1, b, ...) of replay rows (b,), as of one mode (see `returns`)."""
        reward, next_obs, discount = self.returns(replay, index, gamma, bonus)
        fields = {
            "obs": take(replay.fields["obs"], index),
            "action": take(replay.fields["action"], index),
            "next_obs": next_obs,
            "reward": reward,
            "discount": discount,
            "success": torch.zeros_like(index, dtype=torch.bool),
        }
        return {key: value[None] for key, value in fields.items()}

    def returns(
        self, replay: Replay, index: Tensor, gamma: float, bonus: Bonus | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return n-step returns (b,), successors (b, O) and discounts (b,) of replay rows (b,).

        See `ExplorerConfig.beyond` for what lies beyond a success.

        Args:
            replay: of the latest transitions, with what `note` returned.
            index: (b,) rows of it.
            gamma: discount per step.
            bonus: returns the intrinsic rewards of rows (n, b), 0 where not counted (n, b).
        """
        config, fields = self.config, replay.fields
        rows, counted = replay.ahead(index, config.n_step)
        if self.ways is not None:
            followed = take(fields["followed"], rows)
            counted[1:] &= ~followed[:-1].cumsum(0).bool()
        steps = torch.zeros_like(counted, dtype=torch.float32)
        if bonus is not None:
            paid = counted
            if self.ways is not None and config.away:
                paid = counted & self.ways.elsewhere(take(fields["next_position"], rows))
            steps = config.scale * bonus(rows, paid)
        if self.ways is not None:
            steps = (steps + config.reward * take(fields["reward"], rows)) * ~followed
        reward, last, discount = replay.fold(rows, counted, steps, gamma)
        if self.ways is not None:
            end = take(fields["followed"], last) | take(fields["terminated"], last)
            discount = discount * ~end
        return reward, take(fields["next_obs"], last), discount
