"""Memory of single transitions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition


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
            self.allocate({key: value.shape[1:] for key, value in row.items()})
        start = self.added % self.size
        for key, value in row.items():
            self.fields[key][start : start + len(value)] = value
        self.added += len(step.obs)

    def allocate(self, shapes: dict[str, torch.Size]) -> None:
        """Reserve the storage."""
        self.fields = {
            key: torch.zeros(
                self.size,
                *shape,
                device=self.device,
                dtype=torch.bool if key in ("terminated", "ended") else torch.float32,
            )
            for key, shape in shapes.items()
        }

    def draw(
        self, count: int, rng: torch.Generator | None = None, recent: int | None = None
    ) -> Tensor:
        """Return `count` uniform row indices (count,), of the `recent` latest rows if given."""
        span = min(len(self), recent or self.size)
        back = torch.randint(span, (count,), device=self.device, generator=rng)
        return (self.added - 1 - back) % self.size

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """Return the transitions at `index` as a dict of (B, ...) tensors."""
        return {key: value[index] for key, value in self.fields.items()}

    def n_step(self, index: Tensor, n: int, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return n-step rewards (B,), last successors (B, O) and discounts (B,) from rows (B,).

        A row's next step in the same environment lies N rows on. The sum ends with the episode or
        at the latest row; a termination makes the discount 0.
        """
        envs = self.spec.num_envs
        ahead = (self.added - 1 - index) % self.size // envs  # steps that are there already
        going = torch.ones_like(index, dtype=torch.bool)
        reward = torch.zeros(len(index), device=self.device)
        at, taken = index, torch.zeros_like(index)
        for k in range(n):
            going = going & (k <= ahead)
            here = (index + k * envs) % self.size
            at = torch.where(going, here, at)
            reward = reward + gamma**k * self.fields["reward"][here] * going
            taken = taken + going
            going = going & ~self.fields["ended"][here]
        discount = gamma ** taken.float() * ~self.fields["terminated"][at]
        return reward, self.fields["next_obs"][at], discount

    def get_extra_state(self) -> dict[str, object]:
        """Return the filled part of the memory, for `state_dict`."""
        return {
            "added": self.added,
            "fields": {key: value[: len(self)].clone() for key, value in self.fields.items()},
        }

    def set_extra_state(self, state: dict[str, object]) -> None:
        """Take back what `get_extra_state` returned."""
        self.added = state["added"]  # type: ignore[assignment]
        fields: dict[str, Tensor] = state["fields"]  # type: ignore[assignment]
        self.allocate({key: value.shape[1:] for key, value in fields.items()})
        for key, value in fields.items():
            self.fields[key][: len(value)] = value.to(self.device)
