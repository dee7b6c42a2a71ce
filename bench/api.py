"""The contract between algorithms, tasks and the harness: names and shapes, no behaviour.

Letters used for sizes throughout: N environments, B batch, T steps, K named modes of a task,
M modes of a policy, O observation, A action, P position dimensions, S simulator state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # tasks need no torch
    from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """All that an algorithm knows of its task; mode labels cannot be reached from here.

    Attributes:
        obs_dim: O, size of one observation.
        act_dim: A, size of one action; every action lies in [-1, 1]^A.
        num_envs: N, training environments stepped together.
        horizon: steps after which an episode is truncated.
        position_dim: P, size of the position that every transition carries: where the agent is
            (m), then what it moves where a task has such things (shares of their travel); 0 where
            a task has none. Clustering and novelty may use it.
        max_return: largest return of an episode, or None where unknown; rewards divided by it
            peak at 1, so that one value support fits every task.
        seed: of all of the algorithm's randomness. torch's generator is already seeded with it
            when the algorithm is built.
    """

    obs_dim: int
    act_dim: int
    num_envs: int
    horizon: int
    position_dim: int
    max_return: float | None
    seed: int

    @classmethod
    def of(cls, task: Task, num_envs: int, seed: int) -> Spec:
        """Return what an algorithm is told of a task."""
        return cls(
            task.obs_dim, task.act_dim, num_envs, task.horizon, task.position_dim,
            task.max_return, seed,
        )  # fmt: skip


class Transition(NamedTuple):
    """One step of N environments, on the algorithm's device, float32 or bool."""

    obs: Tensor  # (N, O)
    action: Tensor  # (N, A)
    reward: Tensor  # (N,)
    next_obs: Tensor  # (N, O) true successor, also where an episode ended
    terminated: Tensor  # (N,) bool; the only thing that stops bootstrapping
    truncated: Tensor  # (N,) bool
    success: Tensor  # (N,) bool; true only at the last step of a successful episode
    position: Tensor  # (N, P) where obs was made
    next_position: Tensor  # (N, P) where next_obs was made


class Algorithm(Protocol):
    """Learns one task from the stream of transitions it is shown.

    Per step of the N environments the runner calls `act(explore=True)`, `observe` and `update`,
    in this order and for every method; when to learn, how often and from which memory is the
    algorithm's business. Built as `Class(spec, config, device)`.

    What else an algorithm may offer is in the protocols below: `StoresPolicy`, `ActsAsSpecified`,
    `Imitates`, `HasReplay`, `HasValues`, `HasClusters`, `TakesLabels`.
    """

    num_modes: int  # M, how many modes `act` can be commanded to follow now; 0 if it takes none

    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Choose an action for every row of `obs`.

        Args:
            obs: (N, O).
            explore: whether training's exploration is added. Without it a stochastic policy is
                still sampled, one draw per step, from torch's generator, which an evaluation
                seeds: its modes are what is measured. Only calls with `explore=True` come from
                the N training environments, in their order.
            mode: (N,) int64 in [0, num_modes) to command modes, or None to act freely, as
                training always does.

        Returns:
            (N, A) in [-1, 1].
        """
        ...

    def observe(self, step: Transition) -> None:
        """Remember one step of the N training environments."""
        ...

    def update(self) -> Mapping[str, Tensor | float]:
        """Learn, or do nothing; return scalars to log (0-d tensors stay on the device)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that continuing the training needs, as tensors and plain types."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take back what `state_dict` returned."""
        ...


@runtime_checkable
class StoresPolicy(Protocol):
    """An algorithm that stores less than all of its state for acting alone."""

    def policy_state_dict(self) -> dict[str, Any]:
        """Return the part of the state that acting without exploration needs."""
        ...

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        ...


@runtime_checkable
class ActsAsSpecified(Protocol):
    """An algorithm whose source acts in evaluation otherwise than by one plain sample per step.

    It is also evaluated so, by a protocol of its own, `specified`, which is shown beside the others
    and mixed with none of them: a mean or the best of N hides modes that a policy has.
    """

    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Choose an action for every row as the source does in evaluation, (N, O) to (N, A).

        Draws are from torch's own generator, as those of `act(explore=False)`; nothing is changed.
        """
        ...


@runtime_checkable
class Imitates(Protocol):
    """An algorithm whose policy can first be made to act as given actions do, all of their modes.

    One whose policy has one mode per state leaves this out: it would blend what it is shown.
    """

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let the policy imitate actions (R, A) of states (R, O) by so many gradient steps.

        Learning goes on from it as from an untrained policy: no critic has moved, no optimiser has
        gathered momentum, and what follows the policy, as an average that acts, is a copy of it.
        """
        ...


@runtime_checkable
class HasReplay(Protocol):
    """An algorithm whose memory of transitions can be read, and filled before it learns."""

    def transitions(self) -> dict[str, Tensor]:
        """Return what it remembers, from the oldest vector step on.

        The fields of `Transition` but for truncated and success, each (T, N, ...), with the task's
        own rewards; `ended` (T, N) bool, whether an episode ended; `whole`, 0-d bool, whether the
        first vector step is the first ever seen.
        """
        ...

    def begin_with(self, steps: Iterable[Transition]) -> None:
        """Remember vector steps that it has not taken, as those of its own random exploration."""
        ...


@runtime_checkable
class HasValues(Protocol):
    """An algorithm that can be asked what it expects, for maps of values over a maze."""

    value_names: tuple[str, ...]  # of its Q-functions now, one per row of `values`

    def values(self, obs: Tensor) -> Tensor:
        """Return what each Q-function expects of acting from (B, O), (Q, B)."""
        ...


@runtime_checkable
class HasClusters(Protocol):
    """An algorithm that clusters its successes, for a tree of them."""

    def clusters(self) -> dict[str, Any]:
        """Return linkage (n - 1, 4), labels (n,) and cut, the height of the cut; or {}."""
        ...


@runtime_checkable
class TakesLabels(Protocol):
    """An algorithm that can be shown the task's own mode labels: an oracle, for ablations alone."""

    def observe_labels(self, label: Tensor) -> None:
        """Be told the labels (N,) int64 of the episodes that end with the next `observe`.

        A mode's index, K for a success in no named mode, -1 for a failure or no end.
        """
        ...


@runtime_checkable
class ChecksTask(Protocol):
    """Settings of an algorithm some of which do not go with every task."""

    def check_task(self, spec: Spec) -> None:
        """Check that the settings go with a task, before anything of a run is written.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        ...


class Branch(NamedTuple):
    """A place at which ways of succeeding part.

    Attributes:
        point: (x, y) in m.
        directions: D unit vectors (x, y), at least two, in which the ways go on.
    """

    point: tuple[float, float]
    directions: tuple[tuple[float, float], ...]


class Task(Protocol):
    """A control problem with a known, finite set of named modes: ways of succeeding.

    Built as `Class(name, config)`; building one starts no simulator. A class that derives from
    this one inherits what is optional.
    """

    name: str
    modes: tuple[str, ...] = ()  # K names; a mode's label is its index
    obs_dim: int
    act_dim: int
    horizon: int
    position_dim: int = 0  # P
    max_return: float | None = None
    layout: tuple[str, ...] | None = None  # rows of the maze, or None
    cell: float | None = None  # m, side of a cell of the maze
    random_start: bool = False  # whether training starts elsewhere than evaluation
    routes: tuple[float, ...] | None = None  # m, shortest route of each mode; None where unknown
    resolution: float = 0.001  # m, to which recorded paths are rounded

    @property
    def variants(self) -> Mapping[str, tuple[str, ...]]:
        """Layouts with obstacles that training never sees, by name (see `replan`)."""
        return {}

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Where named modes part; none where a task has no such places."""
        return ()

    def heading(self, action: np.ndarray) -> np.ndarray | None:
        """Return in which directions actions move an agent at rest, (n, A) to (n, 2) in the plane.

        Directions of any length; None where an action has none, as torques of legs have not.
        """
        return None

    def label(self, path: np.ndarray) -> int:
        """Label an episode, as a pure function of its positions.

        Args:
            path: (T + 1, P) positions from the first observation to the last, in m.

        Returns:
            Mode index; K (`other`) for a success in no named mode; -1 for no success.
        """
        ...

    def make(self, num_envs: int, seed: int, threads: int = 1, training: bool = True) -> TaskEnv:
        """Return N environments with SAME_STEP autoreset.

        Args:
            num_envs: N.
            seed: of all randomness; derive streams by `numpy.random.SeedSequence`.
            threads: physics threads.
            training: whether episodes start where training starts (else where evaluation does).
        """
        ...


class TaskEnv(Protocol):
    """N environments: a `gymnasium.vector.VectorEnv`, and what the suite needs beyond one.

    A class that derives from this one inherits what is optional. At an episode's end the infos
    hold `final_obs` (N, O), the true last observations, and `final_info`, each with `_key` masks as
    Gymnasium's own vector environments have them. `final_info` has `episode` (`r` return, `l`
    length) and, where they are defined, `success` (bool), `goal` (int, -1 none), `mode` (int,
    -1 failure, K other), `path` (T + 1, P), the episode's positions, and `diverged` (bool, whether
    it was truncated because its simulation diverged).
    """

    num_envs: int

    @property
    def position(self) -> np.ndarray:
        """Where each agent is, (N, P) float32; after an episode's end, where the next begins."""
        return np.zeros((self.num_envs, 0), np.float32)

    @property
    def extent(self) -> tuple[float, float, float, float] | None:
        """Where the arena begins and ends, x0, x1, y0, y1 in m; None without one."""
        return None

    @property
    def scene(self) -> Scene | None:
        """What pictures are drawn of; None without a MuJoCo model."""
        return None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes anew; return observations (N, O) and an info."""
        ...

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions (N, A) in [-1, 1]; restart the episodes that end."""
        ...

    def observe_at(self, points: np.ndarray) -> np.ndarray:
        """Return observations (n, O) of an episode's start moved to points (n, 2) of the arena."""
        raise ValueError("there is no arena: extent is None")

    def statistics(self) -> dict[str, float]:
        """Return scalars of all episodes so far that a line of progress should hold."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return arrays of all episodes so far that the record should hold."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Return all that the environments' future depends on; restoring it is exact."""
        ...

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Take back what `get_state` returned; return the current observations (N, O)."""
        ...

    def close(self) -> None:
        """Release threads and windows."""
        ...


class Scene(Protocol):
    """A MuJoCo model, where pictures of it are taken from, and what happens in it."""

    @property
    def model(self) -> Any:
        """The compiled `mujoco.MjModel`."""
        ...

    @property
    def camera(self) -> Camera:
        """Where pictures are taken from."""
        ...

    def states(self) -> np.ndarray:
        """Return a copy of the full physics states now, (N, S)."""
        ...


@dataclass(frozen=True)
class Camera:
    """Where pictures of a scene are taken from: it looks at a point (m) from a distance (m).

    What is drawn with y downwards, as the text of a layout is, is `mirrored`: turned upside down.
    """

    lookat: tuple[float, float, float]
    distance: float
    azimuth: float  # degrees
    elevation: float  # degrees, -90 from above
    fovy: float = 45.0  # degrees
    mirrored: bool = False
