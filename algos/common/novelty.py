"""Bonuses for entering the unknown: NovelD, and counts of visits.

NovelD: Zhang et al. 2021 (NeurIPS) on random network distillation (Burda et al. 2018,
arXiv 1810.12894), with the positional encoding of Li et al. 2024 (arXiv 2406.00681). Counts of
hashed states: Tang et al. 2017 (arXiv 1611.04717).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require

from .networks import RunningNorm, fast_elu, gradient_step, linear_layers, mlp, rows_at_once
from .replay import Replay, take

KINDS = ("noveld", "counts")
SCHEDULES = ("linear", "constant")
POOL = 16  # uniform rows for each that is drawn by how rare its cell is
BUCKETS = 2**16  # that cells of space are hashed to
FACTOR = 40503  # 2^16 over the golden ratio: neighbouring cells fall far apart (Knuth)


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


def make_bonus(spec: Spec, config: NoveltyConfig, warmup: int) -> Bonus:
    """Return the bonus that a config asks for.

    Args:
        spec: of the task.
        config: of the bonus.
        warmup: env steps before learning begins, during which nothing is annealed.

    Raises:
        ValueError: if visits are to be counted of a task without a position.
    """
    config.check_task(spec)
    if config.kind == "counts":
        return EpisodicCounts(spec.num_envs, config, warmup)
    return NovelD(spec.obs_dim, spec.position_dim, config, warmup)


class NovelD(Bonus):
    """Novelty n(s) = |f(s) - g(s)| of a trained network f and a frozen random one g.

    The bonus of a step is max(n(s') - alpha n(s), 0), without the original's gate on first
    visits within an episode, as in DDiffPG. Every step of an n-step return has its own, so that
    what a step is worth does not depend on n, nor on who learns from it.

    Args:
        obs_dim: O.
        position_dim: P.
        config: of the bonus.
        warmup: env steps before learning begins, during which nothing is annealed.
    """

    def __init__(
        self, obs_dim: int, position_dim: int, config: NoveltyConfig, warmup: int = 0
    ) -> None:
        super().__init__(config, warmup)
        self.of_position = config.observe == "position" and position_dim > 0
        self.position_norm = RunningNorm(position_dim, self.of_position)
        judged = position_dim if self.of_position else obs_dim
        encoded = judged + 2 * config.frequencies * position_dim
        sizes = [encoded, *config.hidden, config.features]
        self.target = mlp(sizes, "elu").requires_grad_(False)
        self.predictor = mlp(sizes, "elu")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 2**0.5)
                nn.init.zeros_(module.bias)
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), lr=config.lr, fused=True)
        self.optimizers["novelty"] = self.optimizer

    def observe(self, position: Tensor) -> None:
        """Take in positions (N, P) of training, to standardise by."""
        super().observe(position)
        self.position_norm.observe(position)

    @torch.no_grad()
    def note(self, step: Transition, norm: RunningNorm) -> dict[str, Tensor]:
        """Return the novelty of the states that were entered."""
        return {"novelty": self.novelty(norm(step.next_obs), step.next_position)}

    @torch.no_grad()
    def of_rows(
        self, fields: dict[str, Tensor], norm: RunningNorm, rows: Tensor, counted: Tensor
    ) -> Tensor:
        """Return the bonus of stored steps (see `Bonus.of_rows`).

        The novelty of the first step's two states is computed anew, and stored; that of later
        states is what was stored when their own step was drawn, or added, on average as many
        updates ago as there are batches in the replay. All n + 1 anew would, for n = 10, take five
        times as long, and half of SAC's update.
        """
        first = rows[0]
        obs, position = (
            torch.stack([take(fields[key], first), take(fields[f"next_{key}"], first)])
            for key in ("obs", "position")
        )
        novelty = self.novelty(norm(obs), position)
        fields["novelty"][first] = novelty[1]
        return self.between(torch.cat([novelty, take(fields["novelty"], rows[1:])]), counted)

    def encode(self, norm_obs: Tensor, position: Tensor) -> Tensor:
        """Return what is judged (standardised), with sines and cosines of the raw position."""
        judged = self.position_norm(position) if self.of_position else norm_obs
        octaves = 2.0 ** torch.arange(self.config.frequencies, device=judged.device)
        phase = (position[..., None] * octaves).flatten(-2)
        return torch.cat([judged, phase.sin(), phase.cos()], dim=-1)

    @torch.no_grad()
    def novelty(self, norm_obs: Tensor, position: Tensor) -> Tensor:
        """Return n(s), (...), of states: observations (..., O) and positions (..., P).

        f - g is one network, with f and g side by side in its layers, and goes over columns: 1.8
        times as fast as f and g on rows, where ELU, slow in torch, takes nearly half of the time.
        """
        encoded = self.encode(norm_obs, position)
        layers, parts = self.difference(), []
        at_once = rows_at_once(encoded, max(len(weight) for weight, _ in layers))
        for columns in encoded.flatten(0, -2).T.contiguous().split(at_once, dim=1):
            for i, (weight, bias) in enumerate(layers):
                columns = fast_elu(columns) if i else columns
                columns = torch.mm(weight, columns).add_(bias)
            parts.append(columns.square_().sum(0).sqrt_())
        return torch.cat(parts).view(encoded.shape[:-1])

    def difference(self) -> list[tuple[Tensor, Tensor]]:
        """Return the weights (out, in) and biases (out, 1) of the one network that is f - g."""
        pairs = zip(linear_layers(self.predictor), linear_layers(self.target), strict=True)
        *below, (f, g) = pairs
        if not below:
            return [(f.weight - g.weight, (f.bias - g.bias)[:, None])]
        last = torch.cat([f.weight, -g.weight], dim=1), (f.bias - g.bias)[:, None]
        layers = [
            (torch.block_diag(f.weight, g.weight), torch.cat([f.bias, g.bias])[:, None])
            for f, g in below
        ]
        f, g = below[0]
        layers[0] = torch.cat([f.weight, g.weight]), layers[0][1]  # both see the same states
        return [*layers, last]

    @torch.no_grad()
    def bonus(self, norm_obs: Tensor, position: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return the bonus of every step between n + 1 successive states (see `between`).

        Args:
            norm_obs: (n + 1, ..., O) standardised observations.
            position: (n + 1, ..., P).
            counted: (n, ...) bool, which steps there are; None for all.

        Returns:
            (n, ...), 0 where not counted.
        """
        if self.coef == 0:
            shape = (len(norm_obs) - 1, *norm_obs.shape[1:-1])
            return torch.zeros(shape, device=norm_obs.device)
        return self.between(self.novelty(norm_obs, position), counted)

    @torch.no_grad()
    def between(self, novelty: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return the bonus of every step between states of such novelty, (n + 1, ...) to (n, ...).

        Args:
            novelty: n(s) of n + 1 successive states.
            counted: (n, ...) bool, which steps there are; None for all. The bonus of others is 0.
        """
        bonus = (novelty[1:] - self.config.alpha * novelty[:-1]).clamp(min=0)
        return self.weighed(bonus, counted)

    def learn(self, norm_obs: Tensor, position: Tensor) -> Tensor:
        """Take one step of the predictor towards the random network on (B, O), (B, P) states."""
        encoded = self.encode(norm_obs, position)
        loss = (self.predictor(encoded) - self.target(encoded)).square().mean()
        gradient_step(self.optimizer, loss)
        return loss.detach()


class EpisodicCounts(Bonus):
    """A bonus for entering, for the first time in an episode, a cell of space that is rarely seen.

    It is N^-1/2, where N env steps ended in the cell so far. NovelD as `NovelD` has it pays for
    every step to where novelty is greater, however often: by walking to and fro one earns without
    end, and ants do. Here a cell pays once an episode (NovelD's own gate), so that going far pays.

    Args:
        num_envs: N.
        config: of the bonus.
        warmup: env steps before learning begins, during which nothing is annealed.
    """

    visits: Tensor
    entered: Tensor

    def __init__(self, num_envs: int, config: NoveltyConfig, warmup: int = 0) -> None:
        super().__init__(config, warmup)
        self.register_buffer("visits", torch.zeros(BUCKETS, dtype=torch.int64))
        # Cells that the running episodes have been in, (N, BUCKETS).
        self.register_buffer("entered", torch.zeros(num_envs, BUCKETS, dtype=torch.bool))

    def bucket(self, position: Tensor) -> Tensor:
        """Return the buckets (...) of the cells of positions (..., P)."""
        cells = (position / self.config.cell).floor().long()
        factors = [pow(FACTOR, k + 1, BUCKETS) for k in range(cells.shape[-1])]
        return (cells * torch.tensor(factors, device=cells.device)).sum(-1) % BUCKETS

    @torch.no_grad()
    def note(self, step: Transition, norm: RunningNorm) -> dict[str, Tensor]:
        """Return the cells that were entered, and whether for the first time; count the visits."""
        envs = torch.arange(len(step.position), device=step.position.device)
        self.entered[envs, self.bucket(step.position)] = True  # where an episode begins
        cell = self.bucket(step.next_position)
        first = ~self.entered[envs, cell]
        self.entered[envs, cell] = True
        self.entered[step.terminated | step.truncated] = False
        self.visits.index_add_(0, cell, torch.ones_like(cell))
        return {"cell": cell, "first": first}

    @torch.no_grad()
    def of_rows(
        self, fields: dict[str, Tensor], norm: RunningNorm, rows: Tensor, counted: Tensor
    ) -> Tensor:
        """Return the bonus of stored steps (see `Bonus.of_rows`), by today's counts."""
        visits = self.visits[take(fields["cell"], rows)]
        rare = visits.clamp(min=1).float().rsqrt()  # none, in rows that are yet to be filled
        return self.weighed(rare * take(fields["first"], rows), counted)

    def draw(self, replay: Replay, count: int, rng: torch.Generator) -> Tensor:
        """Draw rows (count,) of a replay, while there is a bonus a share of them by 1 / N.

        What is rare would otherwise be learned as slowly as it is rare: the way to where the bonus
        is greatest is drawn least. From a pool of uniform rows without replacement, so that the
        one row of a cell does not fill the share.

        Of these a share `leading`, mostly the rarest, gives way to steps of the same episodes that
        led there: what a rare place is worth has to come back to where one turns towards it, which
        itself may be seen all the time.
        """
        rare = round(self.config.rare * count) if self.coef else 0
        index = super().draw(replay, count - rare, rng)
        if not rare:
            return index
        pool = super().draw(replay, POOL * rare, rng)
        weight = 1 / self.visits[take(replay.fields["cell"], pool)]
        drawn = pool[torch.multinomial(weight, rare, generator=rng)]  # the rarest mostly first
        leading = round(self.config.leading * rare)
        if leading:
            drawn[:leading] = replay.before(drawn[:leading], rng)
        return torch.cat([index, drawn])
