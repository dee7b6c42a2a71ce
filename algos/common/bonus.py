"""What every bonus for entering the unknown has, and its settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require

from .networks import RunningNorm
from .replay import Replay

KINDS = ("noveld", "counts")
SCHEDULES = ("linear", "constant")


@dataclass
class NoveltyConfig:
    """Settings of the novelty bonus; alike for all algorithms of a comparison.

    `cell`, `rare` and `leading` are of `kind=counts`; `alpha`, `observe` and all from `frequencies`
    on of `kind=noveld`.
    """

    kind: str = "noveld"  # noveld | counts (see `NovelD`, `EpisodicCounts`)
    coef: float = 0.003  # bonus per step, in units of the task's largest return; 0 turns it off
    anneal: int = 0  # env steps after the warm-up within which the bonus comes to 0; 0: never
    schedule: str = "linear"  # linear | constant: whether it falls all the while, or ends at once
    alpha: float = 0.5  # share of the novelty of the state left that is taken off
    normalize: bool = True  # divide by the running mean, so that `coef` is the mean bonus
    cell: float = 0.5  # m; edge of the cells of space whose visits are counted
    rare: float = 0.0  # of the replay's rows that learn from the bonus (on-policy: of none): drawn
    # by how rarely their cell was visited, nearly as if all had been visited equally often
    leading: float = 0.0  # of these rows: replaced by a step of their episode that led there
    observe: str = "all"  # all | position: what is novel; position needs a task that has one
    frequencies: int = 5  # octaves of the positional encoding
    hidden: tuple[int, ...] = (128,)
    features: int = 64
    lr: float = 1e-3
    recent: int = 8192  # the predictor learns on this many latest transitions
    batch: int = 128

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: valid are {', '.join(KINDS)}")
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ValueError(f"schedule={self.schedule!r}: valid are {known}")
        require(self, "[0, inf)", "coef", "anneal", "alpha", "frequencies", "lr")
        require(self, "(0, inf)", "cell")
        require(self, "[0, 1]", "rare", "leading")
        require(self, "[1, inf)", "hidden", "features", "recent", "batch")
        if self.observe not in ("all", "position"):
            raise ValueError(f"observe={self.observe!r}: valid are all, position")
        if self.rare and self.kind != "counts":
            raise ValueError(f"rare={self.rare}: needs novelty.kind=counts")
        if self.leading and not self.rare:
            raise ValueError(f"leading={self.leading}: needs novelty.rare above 0")

    def check_task(self, spec: Spec) -> None:
        """Check that a task has the position that is judged by.

        Raises:
            ValueError: naming the setting, its value and the valid one.
        """
        if self.kind == "counts" and not spec.position_dim:
            raise ValueError("novelty.kind=counts: needs a task with a position; valid is noveld")
        if self.kind == "noveld" and self.observe == "position" and not spec.position_dim:
            raise ValueError("novelty.observe=position: needs a task with a position; valid is all")


class Bonus(nn.Module, ABC):
    """What every bonus has: a weight, which may fall to 0, and a mean that it is divided by.

    Args:
        config: of the bonus.
        warmup: env steps before learning begins, during which nothing is annealed.
    """

    mean: Tensor

    def __init__(self, config: NoveltyConfig, warmup: int = 0) -> None:
        super().__init__()
        self.config, self.warmup = config, warmup
        self.register_buffer("mean", torch.zeros(()))
        self.optimizers: dict[str, torch.optim.Optimizer] = {}  # of what learns, if anything does
        self.steps = 0  # env steps seen

    @property
    def coef(self) -> float:
        """What the mean bonus is worth now."""
        config = self.config
        if config.anneal == 0:
            return config.coef
        left = max(1 - max(self.steps - self.warmup, 0) / config.anneal, 0.0)
        return config.coef * (left if config.schedule == "linear" else float(left > 0))

    def observe(self, position: Tensor) -> None:
        """Take in positions (N, P) of training."""
        self.steps += len(position)

    @abstractmethod
    def note(self, step: Transition, norm: RunningNorm) -> dict[str, Tensor]:
        """Return what has to be stored with a vector step for `of_rows`, every field (N,)."""

    @abstractmethod
    def of_rows(
        self, fields: dict[str, Tensor], norm: RunningNorm, rows: Tensor, counted: Tensor
    ) -> Tensor:
        """Return the bonus of the n steps in rows of stored transitions.

        Args:
            fields: of stored transitions, every field (S, ...), those of `note` among them.
            norm: standardises observations.
            rows: (n, B) int64, n successive steps.
            counted: (n, B) bool, which steps there are.

        Returns:
            (n, B), 0 where not counted.
        """

    def draw(self, replay: Replay, count: int, rng: torch.Generator) -> Tensor:
        """Draw rows (count,) of a replay to learn from, the bonus included: uniformly."""
        return replay.draw(count, rng)

    def weighed(self, bonus: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return bonuses (n, ...) by their weight, 0 where not counted (n, ...)."""
        if counted is not None:
            bonus = bonus * counted
        if self.config.normalize:
            count = torch.ones_like(bonus).sum() if counted is None else counted.sum()
            rate = torch.where(self.mean > 0, 0.01, 1.0) * (count > 0)  # waits for no device
            self.mean.lerp_(bonus.sum() / count.clamp(min=1), rate)
            bonus = bonus / (self.mean + 1e-8)
        return self.coef * bonus

    def get_extra_state(self) -> int:
        """Return the number of env steps seen, for `state_dict`."""
        return self.steps

    def set_extra_state(self, state: int) -> None:
        """Take back what `get_extra_state` returned."""
        self.steps = state
