"""What algorithms and tasks are told of each other: names and shapes, no behaviour.

Letters used for sizes throughout: N environments, B batch, T steps, K named modes of a task,
M modes of a policy, O observation, A action, P position dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import VectorEnv
from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """All that an algorithm knows of its task; mode labels cannot be reached from here.

    Attributes:
        obs_dim: O, size of one observation.
        act_dim: A, size of one action; every action lies in [-1, 1]^A.
        num_envs: N, training environments stepped together.
        horizon: steps after which an episode is truncated.
        position: slice of the observation that locates the agent (m), and what it moves where a
            task has such things (shares of their travel); None where unknown. The one hint that
            clustering and novelty may use.
        max_return: largest return of an episode, or None where unknown; rewards divided by it
            peak at 1, so that one value support fits every task.
        seed: the run's seed, already used for torch; for generators of the algorithm's own.
    """

    obs_dim: int
    act_dim: int
    num_envs: int
    horizon: int
    position: slice | None
    max_return: float | None
    seed: int


class Transition(NamedTuple):
    """One step of N environments, on the algorithm's device, float32 or bool."""

    obs: Tensor  # (N, O)
    action: Tensor  # (N, A)
    reward: Tensor  # (N,)
    next_obs: Tensor  # (N, O) true successor, also where an episode ended
    terminated: Tensor  # (N,) bool; the only thing that stops bootstrapping
    truncated: Tensor  # (N,) bool
    success: Tensor  # (N,) bool; true only at the last step of a successful episode


@runtime_checkable
class Algorithm(Protocol):
    """Learns one task from the stream of transitions it is shown.

    Per step of the N environments the runner calls `act(explore=True)`, `observe` and `update`,
    in this order and for every method; when to learn, how often and from which memory is the
    algorithm's business. Built as `Class(spec, config, device)`.

    Two methods are optional. `policy_state_dict()` returns the part of the state that `act` needs
    (default: all of `state_dict()`), and `load_policy_state_dict(state)` takes it back.
    """

    num_modes: int  # M, how many modes `act` can be commanded to follow now; 0 if it takes none

    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Choose an action for every row of `obs`.

        Args:
            obs: (N, O).
            explore: whether training's exploration is added. Without it a stochastic policy is
                still sampled, one draw per step: its modes are what is measured. Only calls with
                `explore=True` come from the N training environments, in their order.
            mode: (N,) int64 in [0, num_modes) to command modes, or None to act freely.

        Returns:
            (N, A) in [-1, 1].
        """
        ...

    def observe(self, step: Transition) -> None:
        """Remember one step of the N training environments."""
        ...

    def update(self) -> dict[str, Tensor | float]:
        """Learn, or do nothing; return scalars to log (0-d tensors stay on the device)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that continuing the training needs, as tensors and plain types."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        ...


class Task(Protocol):
    """A control problem with a known, finite set of named ways of succeeding.

    Built as `Class(name, config)`; building one starts no simulator.
    """

    name: str
    modes: tuple[str, ...]  # K names; a mode's label is its index
    layout: tuple[str, ...] | None  # rows of the maze, or None
    obs_dim: int
    act_dim: int
    horizon: int
    position: slice | None
    max_return: float | None

    def label(self, path: np.ndarray) -> int:
        """Label an episode, as a pure function of its positions.

        Args:
            path: (T + 1, P) positions from the first observation to the last, in m.

        Returns:
            Mode index; K (`other`) for a success in no named mode; -1 for no success.
        """
        ...

    def make(self, num_envs: int, seed: int, threads: int = 1, training: bool = True) -> VectorEnv:
        """Return N environments with SAME_STEP autoreset.

        Args:
            num_envs: N.
            seed: of all randomness; derive streams by `numpy.random.SeedSequence`.
            threads: physics threads.
            training: whether episodes start where training starts (else where evaluation does).
        """
        ...
