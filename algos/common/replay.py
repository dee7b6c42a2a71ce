"""Memory of single transitions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

StepBonus = Callable[[Tensor, Tensor], Tensor]


def take(field: Tensor, rows: Tensor) -> Tensor:
    """Return rows (...) of a field (S, ...); a third of the time of `field[rows]` on a CPU."""
    return field.index_select(0, rows.flatten()).unflatten(0, rows.shape)


class Replay(nn.Module):
    """The latest `capacity` transitions; an nn.Module so that its contents are state.

    Storage is allocated on the first transition, so that a policy can be loaded without it.
    """

    def __init__(self, spec: Spec, capacity: int, device: torch.device | str) -> None:
        super().__init__()
        self.size = max(capacity // spec.num_envs, 1) * spec.num_envs  # whole vector steps
        self.spec, self.device = spec, device
        self.added = 0
        self.fields: dict[str, Tensor] = {}
        self.successes: Successes | None = None

    def __len__(self) -> int:
        return min(self.added, self.size)

    def add(self, step: Transition, **extra: Tensor) -> None:
        """Store one vector step, and further (N, ...) fields, in place of the oldest."""
        row = {
            "obs": step.obs,
            "action": step.action,
            "reward": step.reward,
            "next_obs": step.next_obs,
            "position": step.position,
            "next_position": step.next_position,
            "terminated": step.terminated,
            "ended": step.terminated | step.truncated,
            **extra,
        }
        if not self.fields:
            self.allocate(row)
        start = self.added % self.size
        for key, value in row.items():
            self.fields[key][start : start + len(value)] = value
        self.added += len(step.obs)
        if self.successes is not None:
            self.successes.add(step, self.added)

    def allocate(self, rows: dict[str, Tensor]) -> None:
        """Reserve the storage for rows as these, every field (B, ...)."""
        self.fields = {
            key: torch.zeros(
                self.size,
                *value.shape[1:],
                device=self.device,
                dtype=torch.float32 if value.is_floating_point() else value.dtype,
            )
            for key, value in rows.items()
        }

    def draw(
        self, count: int, rng: torch.Generator | None = None, recent: int | None = None
    ) -> Tensor:
        """Return `count` uniform row indices (count,), of the `recent` latest rows if given."""
        span = min(len(self), recent or self.size)
        back = torch.randint(span, (count,), device=self.device, generator=rng)
        return (self.added - 1 - back) % self.size

    def note_successes(self) -> None:
        """From now on note which rows are of successful episodes, for `draw_successes`."""
        self.successes = Successes(self.spec.num_envs, self.size, self.device)

    def draw_successes(self, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Return as many row indices (count,), of successful episodes if there are any."""
        index = self.draw(count, rng)
        if self.successes is None or not len(self.successes):
            return index
        number = self.successes.draw(count, rng)
        return torch.where(number >= self.added - self.size, number % self.size, index)

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """Return the transitions at `index` as a dict of (B, ...) tensors."""
        return {key: take(value, index) for key, value in self.fields.items()}

    def ahead(self, index: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the next n steps of the same episodes as rows, and which of them there are.

        A row's next step in the same environment lies N rows on. An episode's end stops them, and
        so does the latest row.

        Args:
            index: (B,) rows.
            n: steps.

        Returns:
            Rows (n, B) int64, the first of them `index`, and (n, B) bool.
        """
        envs, times = self.spec.num_envs, torch.arange(n, device=self.device)[:, None]
        known = (self.added - 1 - index) % self.size // envs  # steps that are there already
        rows = (index + times * envs) % self.size
        going = torch.ones_like(rows, dtype=torch.bool)
        going[1:] = (~take(self.fields["ended"], rows[:-1])).cumprod(0).bool()
        return rows, going & (times <= known)

    def before(self, index: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return for each of the rows (B,) one of the same episode that led there, (B,).

        Uniform over the steps of the episode up to the row itself, as far as they are stored.
        """
        envs = self.spec.num_envs
        back = torch.arange(self.spec.horizon, device=self.device)[:, None]
        age = (self.added - 1 - index) % self.size // envs  # vector steps since
        rows = (index - back * envs) % self.size
        there = age + back < len(self) // envs
        there[1:] &= (~take(self.fields["ended"], rows[1:])).cumprod(0).bool()
        chance = torch.rand(len(index), device=self.device, generator=rng)
        return rows.gather(0, (chance * there.sum(0)).long()[None])[0]

    def n_step(
        self, index: Tensor, n: int, gamma: float, bonus: StepBonus | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return n-step rewards (B,), last successors (B, O) and discounts (B,) from rows (B,).

        The sum ends with the episode or at the latest row; a termination makes the discount 0.

        Args:
            index: (B,) rows.
            n: steps.
            gamma: discount per step.
            bonus: what further reward every step has: of rows (n, B) and which of them are
                counted (n, B), (n, B).
        """
        rows, counted = self.ahead(index, n)
        reward = take(self.fields["reward"], rows)
        if bonus is not None:
            reward = reward + bonus(rows, counted)
        total, last, discount = self.fold(rows, counted, reward, gamma)
        discount = discount * ~take(self.fields["terminated"], last)
        return total, take(self.fields["next_obs"], last), discount

    def fold(
        self, rows: Tensor, counted: Tensor, reward: Tensor, gamma: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the discounted sums of rewards (n, B), the last rows and what is left of 1.

        Args:
            rows: (n, B), as `ahead` returns them.
            counted: (n, B) bool, as `ahead` returns them.
            reward: (n, B) of each step.
            gamma: discount per step.

        Returns:
            Sums (B,) over the steps that are counted, rows (B,) of the last of them, and
            gamma^(their number) (B,), whether or not the last of them terminates.
        """
        powers = gamma ** torch.arange(len(rows), device=self.device).float()[:, None]
        taken = counted.sum(0)
        last = rows.gather(0, taken[None] - 1)[0]
        return (powers * reward * counted).sum(0), last, gamma ** taken.float()

    def in_order(self) -> dict[str, Tensor]:
        """Return all fields as (T, N, ...), from the oldest vector step on."""
        first = max(self.added - self.size, 0) % self.size
        return {
            key: value[: len(self)].roll(-first, 0).unflatten(0, (-1, self.spec.num_envs))
            for key, value in self.fields.items()
        }

    def get_extra_state(self) -> dict[str, object]:
        """Return the filled part of the memory, for `state_dict`."""
        return {
            "added": self.added,
            "fields": {key: value[: len(self)].clone() for key, value in self.fields.items()},
            "successes": self.successes.state() if self.successes is not None else None,
        }

    def set_extra_state(self, state: dict[str, object]) -> None:
        """Take back what `get_extra_state` returned."""
        self.added = state["added"]  # type: ignore[assignment]
        fields: dict[str, Tensor] = state["fields"]  # type: ignore[assignment]
        self.allocate(fields)
        for key, value in fields.items():
            self.fields[key][: len(value)] = value.to(self.device)
        if self.successes is not None:
            self.successes.load(state["successes"])  # type: ignore[arg-type]


class Successes:
    """Numbers of the transitions of successful episodes, counted from the first ever stored.

    Args:
        num_envs: N.
        size: how many transitions are kept.
        device: of the numbers.
    """

    def __init__(self, num_envs: int, size: int, device: torch.device | str) -> None:
        self.size = size
        self.begun = torch.zeros(num_envs, dtype=torch.int64)  # first number of running episodes
        self.numbers = torch.zeros(1024, dtype=torch.int64, device=device)  # grows when full
        self.count = 0  # of the numbers that are in use
        self.checked = 0  # number of the last transition when they were last looked through

    def __len__(self) -> int:
        return self.count

    def add(self, step: Transition, added: int) -> None:
        """Take in a vector step, after which `added` transitions have been stored."""
        for env in step.success.nonzero()[:, 0].tolist():
            self.append(torch.arange(int(self.begun[env]) + env, added, len(self.begun)))
        self.begun[(step.terminated | step.truncated).cpu()] = added
        if added - self.checked > self.size // 16:  # rarely, as it reads all numbers
            kept = self.numbers[: self.count]
            kept = kept[kept >= added - self.size]
            self.numbers[: len(kept)] = kept
            self.count, self.checked = len(kept), added

    def append(self, numbers: Tensor) -> None:
        """Add the numbers (T,) of an episode's transitions."""
        end = self.count + len(numbers)
        while end > len(self.numbers):
            self.numbers = torch.cat([self.numbers, torch.zeros_like(self.numbers)])
        self.numbers[self.count : end] = numbers.to(self.numbers.device)
        self.count = end

    def draw(self, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Return uniform numbers (count,); up to a sixteenth of them may be stored no more."""
        device = self.numbers.device
        return self.numbers[torch.randint(self.count, (count,), device=device, generator=rng)]

    def state(self) -> dict[str, object]:
        """Return a copy of what `load` takes back."""
        numbers = self.numbers[: self.count].clone()
        return {"begun": self.begun.clone(), "numbers": numbers, "checked": self.checked}

    def load(self, state: dict[str, object]) -> None:
        """Take back what `state` returned."""
        self.begun, self.count = state["begun"].cpu(), 0  # type: ignore[attr-defined]
        self.checked = state["checked"]  # type: ignore[assignment]
        self.append(state["numbers"])  # type: ignore[arg-type]
