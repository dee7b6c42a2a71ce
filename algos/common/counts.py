"""What is novel by counts of visits to cells of space.

Counts of hashed states: Tang et al. 2017 (arXiv 1611.04717).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Transition

from .bonus import Bonus, NoveltyConfig
from .networks import RunningNorm
from .replay import Replay, take

POOL = 16  # uniform rows for each that is drawn by how rare its cell is
BUCKETS = 2**16  # that cells of space are hashed to
FACTOR = 40503  # 2^16 over the golden ratio: neighbouring cells fall far apart (Knuth)


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
