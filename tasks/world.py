"""What distinguishes one MuJoCo task from another: what it observes, pays and starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from bench.api import Camera

if TYPE_CHECKING:
    import mujoco


class Verdict(NamedTuple):
    """What a step has come to, for n environments."""

    reward: np.ndarray  # (n,)
    goal: np.ndarray  # (n,) int, the goal reached, -1 none; reaching one is success
    failed: np.ndarray | bool = False  # (n,) bool, whether the episode ends without success: a fall


class World(Protocol):
    """The model and rules of a task; every method works on n rows at once.

    A class that derives from this one inherits what is optional.
    """

    model: mujoco.MjModel
    camera: Camera
    frame_skip: int  # physics steps per env step
    extent: tuple[float, float, float, float] | None = None  # of the arena (see `TaskEnv`)

    def reset(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return fresh joint positions (n, nq) and velocities (n, nv)."""
        ...

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return observations (n, O) and positions (n, P), both float32."""
        ...

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Return the actuators' controls (n, nu) for actions (n, A) in [-1, 1]."""
        ...

    def judge(self, before: np.ndarray, position: np.ndarray, qpos: np.ndarray) -> Verdict:
        """Judge steps between positions (n, P), the second one with joint positions (n, nq)."""
        ...

    def label(self, path: np.ndarray, goal: int) -> int:
        """Return the mode of a success from its positions (T + 1, P) and the goal it reached."""
        ...

    def stand(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions and velocities of an episode's start moved to points (n, 2)."""
        raise ValueError("there is no arena: extent is None")

    def count(self, path: np.ndarray) -> None:
        """Take in the positions (T + 1, P) of an ended episode, for the statistics."""
        return None

    def counters(self) -> dict[str, np.ndarray]:
        """Return what `count` has gathered, as arrays that may be changed in place."""
        return {}

    def statistics(self) -> dict[str, float]:
        """Return scalars of what `count` has gathered (see `TaskEnv`)."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return arrays of what `count` has gathered (see `TaskEnv`)."""
        return {}
