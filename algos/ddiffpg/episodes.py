"""Memory of whole episodes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

from ..common.replay import take

ExtraReward = Callable[[Tensor, Tensor, Tensor], Tensor]


class Episodes(nn.Module):
    """Whole episodes in S slots of `horizon` steps, and the running episode of every environment.

    Fields: obs (S, T+1, O), position (S, T+1, P), action (S, T, A), reward (S, T), length (S,),
    terminated (S,), success (S,), number (S,) the running count of episodes, -1 in an empty slot.
    The first N slots hold the running episodes. With `copies` > 0 there is also target (copies, S,
    T, A): what each of so many learners would rather have done.

    Args:
        spec: of the task.
        capacity: episodes that are kept.
        device: of all tensors.
        copies: of the targets.
        stuck: weight, up to 1, of steps in which a failed episode is stuck: from where on it stays
            near to where it ends.
        near: m, how near that is.
    """

    names = ("obs", "position", "action", "reward", "length", "terminated", "success", "number")

    def __init__(
        self,
        spec: Spec,
        capacity: int,
        device: torch.device | str,
        copies: int = 0,
        stuck: float = 1.0,
        near: float = 0.0,
    ) -> None:
        super().__init__()
        self.spec, self.device, self.copies = spec, device, copies
        self.stuck, self.near = stuck, near
        self.slots = spec.num_envs + capacity
        self.finished = 0  # episodes seen
        self.ready = False

    def allocate(self) -> None:
        """Reserve the storage, on the first transition."""
        spec, slots, at = self.spec, self.slots, {"device": self.device}
        self.obs = torch.zeros(slots, spec.horizon + 1, spec.obs_dim, **at)  # type: ignore[call-overload]
        self.position = torch.zeros(slots, spec.horizon + 1, spec.position_dim, **at)  # type: ignore[call-overload]
        self.action = torch.zeros(slots, spec.horizon, spec.act_dim, **at)  # type: ignore[call-overload]
        self.reward = torch.zeros(slots, spec.horizon, **at)  # type: ignore[call-overload]
        self.length = torch.zeros(slots, dtype=torch.int64, **at)  # type: ignore[call-overload]
        self.terminated = torch.zeros(slots, dtype=torch.bool, **at)  # type: ignore[call-overload]
        self.success = torch.zeros(slots, dtype=torch.bool, **at)  # type: ignore[call-overload]
        self.number = torch.full((slots,), -1, **at)  # type: ignore[call-overload]
        self.moving = torch.zeros_like(self.length)  # first steps, in which it is not stuck
        self.target = torch.zeros(self.copies, slots, spec.horizon, spec.act_dim, **at)  # type: ignore[call-overload]
        self.rows = torch.arange(spec.num_envs, device=self.device)
        self.ready = True

    def append(self, step: Transition) -> Tensor:
        """Add one step to the running episodes; return the environments whose episode ended."""
        if not self.ready:
            self.allocate()
        t = self.length[: len(self.rows)]
        self.obs[self.rows, t] = step.obs
        self.action[self.rows, t] = step.action
        self.reward[self.rows, t] = step.reward
        self.obs[self.rows, t + 1] = step.next_obs
        self.position[self.rows, t] = step.position
        self.position[self.rows, t + 1] = step.next_position
        t += 1
        done = (step.terminated | step.truncated).nonzero().flatten()
        self.terminated[done] = step.terminated[done]
        self.success[done] = step.success[done]
        return done

    def store(self, env: int, slot: int | None) -> None:
        """Move the ended episode of `env` to `slot` (None: forget it) and begin a new one."""
        if slot is not None:
            for field in (
                self.obs,
                self.position,
                self.action,
                self.reward,
                self.length,
                self.terminated,
                self.success,
            ):
                field[slot] = field[env]
            self.number[slot] = self.finished
            self.target[:, slot] = self.action[slot]
            self.moving[slot] = self.steps_moving(slot)
        self.finished += 1
        self.length[env] = 0

    def free_slot(self) -> int | None:
        """Return an empty slot, or None."""
        empty = (self.number[self.spec.num_envs :] < 0).nonzero()
        return int(empty[0]) + self.spec.num_envs if len(empty) else None

    def path(self, slot: int) -> Tensor:
        """Return the positions of the episode in `slot`, (T+1, P)."""
        return self.position[slot, : int(self.length[slot]) + 1]

    def steps_moving(self, slot: int) -> int:
        """Return after how many of its steps the episode in `slot` is stuck."""
        length = int(self.length[slot])
        if self.stuck == 1 or self.success[slot]:
            return length
        path = self.path(slot)
        away = (path - path[-1]).square().sum(-1) > self.near**2
        return int(away.nonzero()[-1]) + 1 if away.any() else 0

    def mass(self) -> Tensor:
        """Return how many steps of each slot there are, (S,), those of stuck episodes by weight."""
        return self.moving + self.stuck * (self.length - self.moving).float()

    def draw(
        self, weights: Tensor, count: int, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw steps from weighted sets of slots: uniformly, but for those that are stuck.

        Args:
            weights: (G, S) share of each slot in each group's draws, of a row not all 0.
            count: b, steps per group.
            rng: None for torch's own generator.

        Returns:
            Slots and steps, both (G, b) int64.
        """
        slot = torch.multinomial(weights, count, replacement=True, generator=rng)
        share = torch.rand(slot.shape, device=self.device, generator=rng)
        length = self.length[slot]
        if self.stuck == 1:
            return slot, (share * length).long()
        moving, at = self.moving[slot], share * self.mass()[slot]
        step = torch.where(at < moving, at, moving + (at - moving) / self.stuck)
        return slot, torch.minimum(step.long(), length - 1)

    def at(self, field: Tensor, slot: Tensor, time: Tensor) -> Tensor:
        """Return a field (S, T, ...) at slots and times that broadcast to one shape, (...)."""
        return take(field.flatten(0, 1), slot * field.shape[1] + time)

    def ahead(self, slot: Tensor, step: Tensor, n: int) -> Tensor:
        """Return the steps t..t+n of rows (...), (..., n+1), held at the episode's last."""
        times = step[..., None] + torch.arange(n + 1, device=self.device)
        return torch.minimum(times, self.length[slot][..., None])

    def n_step(
        self,
        slot: Tensor,
        step: Tensor,
        n: int,
        gamma: float,
        stop: Tensor | None = None,
        bonus: ExtraReward | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return n-step rewards (...), successor observations (..., O) and discounts (...).

        The sum ends with the episode; a termination makes the discount 0, a time limit
        bootstraps from the true last observation.

        Args:
            slot: (...) int64.
            step: (...) int64.
            n: most steps summed.
            gamma: discount per step.
            stop: (..., n) bool, true where step t+i counts as a termination without reward.
            bonus: what further reward every step has: of successive observations (n + 1, ..., O)
                and positions (n + 1, ..., P) and which steps are counted (n, ...), (n, ...).
        """
        times = self.ahead(slot, step, n)
        counted = times[..., :-1] < times[..., 1:]
        discount = gamma ** (times[..., -1] - step).float()
        discount = discount * ~(self.terminated[slot] & (times[..., -1] == self.length[slot]))
        if stop is not None:
            going = (~stop).cumprod(-1).bool()
            counted, discount = counted & going, discount * going[..., -1]
        powers = gamma ** torch.arange(n, device=self.device).float()
        at = times[..., :-1].clamp(max=self.spec.horizon - 1)
        reward = self.at(self.reward, slot[..., None], at)
        if bonus is not None:
            obs, position = (
                self.at(field, slot[..., None], times).movedim(-2, 0)
                for field in (self.obs, self.position)
            )
            reward = reward + bonus(obs, position, counted.movedim(-1, 0)).movedim(0, -1)
        return (
            (reward * powers * counted).sum(-1),
            self.at(self.obs, slot, times[..., -1]),
            discount,
        )

    def targets(self, slot: Tensor, step: Tensor) -> Tensor:
        """Return the g-th copy's targets of steps (G, b), (G, b, A)."""
        return self.target[torch.arange(len(slot), device=self.device)[:, None], slot, step]

    def set_targets(self, slot: Tensor, step: Tensor, target: Tensor) -> None:
        """Replace the g-th copy's targets of steps (G, b) by (G, b, A)."""
        self.target[torch.arange(len(slot), device=self.device)[:, None], slot, step] = target

    def inherit_targets(self, parents: list[int]) -> None:
        """Make copy g that of parent g; without one (-1), the executed actions."""
        if self.copies:
            copies = [self.action if p < 0 else self.target[p] for p in parents]
            self.target[: len(parents)] = torch.stack(copies)

    def get_extra_state(self) -> dict[str, object]:
        """Return the used slots, for `state_dict`."""
        if not self.ready:
            return {"finished": 0}
        used = self.number >= 0
        used[: self.spec.num_envs] = True
        slots = used.nonzero().flatten()
        return {
            "finished": self.finished,
            "slots": slots,
            **{name: getattr(self, name)[slots] for name in self.names},
            "target": self.target[:, slots],
        }

    def set_extra_state(self, state: dict[str, object]) -> None:
        """Take back what `get_extra_state` returned."""
        self.finished = state["finished"]  # type: ignore[assignment]
        if "slots" not in state:
            return
        self.allocate()
        for name in self.names:
            getattr(self, name)[state["slots"]] = state[name].to(self.device)  # type: ignore[attr-defined]
        self.target[:, state["slots"]] = state["target"].to(self.device)  # type: ignore[attr-defined]
        for slot in state["slots"].tolist():  # type: ignore[attr-defined]
            self.moving[slot] = self.steps_moving(slot)
