"""Four manipulation tasks for a Franka Panda, each with several modes.

After the tasks of DDiffPG (Li et al. 2024, arXiv 2406.00681). An action moves the target of the 7
joints' position servos by up to 0.05 rad from where the joints are; 0.04 s per step, 100 steps.
Reward 10 on success, which ends the episode; nothing else is paid.

Observed, in this order, with k joints in the scene (`drawer-close`: 4, `cabinet-open`: 2, else 0):

| number | observation | unit |
| --- | --- | --- |
| 3 | end effector (fingers' tip; peg's tip in `peg-in-hole`), x forward, y left, z up | m |
| k | the scene's joints, by the task's `travel` | 1 |
| 3 | the end effector's velocity | m/s |
| 7 | joint angles | rad |
| 7 | joint velocities | rad/s |
| k | their velocities | 1/s |

A path holds the first 3 + k: the end effector and what it moves. Where it is does not say which
drawer is shut: in random exploration the forearm or the hand shuts one, the fingers elsewhere.

Departures from the paper: joint angles and velocities are observed (nothing is Markov without);
the cabinet has two doors, where the released code has one; a door opens by pushing its handle
sideways, towards the hinge; drawers and doors stand where the arm can reach all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.api import Camera, Task

from . import register
from .world import Verdict, World

if TYPE_CHECKING:
    import mujoco

    from .vector import WorldVectorEnv

HORIZON = 100
REWARD = 10.0


@dataclass
class Config:
    """Settings of a manipulation task: it has none."""


class Manipulation(Task):
    """A manipulation task: its modes and numbers; builds environments on demand.

    Attributes:
        start: joint angles (rad) at the start of an episode; `jitter`: uniform noise on them.
        point: of link 7 whose position is observed.
        things: number of observed joints of the scene; `ajar`: where they start, in m or rad;
            `travel`: what is observed as 1, so that what happens to a thing weighs more in a
            path than which way the arm came.
        view: of pictures, see `bench.api.Camera`.
    """

    modes: tuple[str, ...]
    start: tuple[float, ...]
    point: tuple[float, float, float] = (0.0, 0.0, 0.255)
    things = 0
    ajar = 0.0
    travel = 1.0
    jitter = 0.0
    view: tuple[tuple[float, float, float], float, float, float]
    act_dim = 7
    horizon = HORIZON
    max_return = REWARD

    def __init__(self, name: str, config: Config) -> None:
        self.name, self.config = name, config
        self.obs_dim, self.position_dim = 20 + 2 * self.things, 3 + self.things

    @abstractmethod
    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the scene's things to the arm on its table."""

    @abstractmethod
    def goal(self, position: np.ndarray) -> np.ndarray:
        """Return which goal positions (N, P) have reached, -1 none."""

    def label(self, path: np.ndarray, goal: int | None = None) -> int:
        """Label an episode.

        Args:
            path: (T + 1, P) positions of the end effector in m and of the scene's joints; without
                these, (T + 1, 3), success is guessed from where the path ends.
            goal: what it reached, -1 nothing; None reads success and goal off the path.

        Returns:
            Mode index, or -1 for no success.
        """
        if goal is not None:
            return goal
        known = path.shape[1] == self.position_dim
        return int(self.goal(path[-1:])[0]) if known else self.nearest(path[-1])

    def nearest(self, tip: np.ndarray) -> int:
        """Return the goal that the end effector (3,) has probably reached, -1 none.

        Where a scene has things that move, their joints would say; a task with such says it better.
        """
        return int(self.goal(tip[None])[0])

    def model(self) -> mujoco.MjModel:
        """Return the MuJoCo model."""
        from . import panda

        spec = panda.arm()
        panda.furnish(spec)
        self.furnish(spec)
        return spec.compile()

    def make(
        self, num_envs: int, seed: int, threads: int = 1, training: bool = True
    ) -> WorldVectorEnv:
        """Return N environments; training and evaluation start alike."""
        from .vector import WorldVectorEnv

        return WorldVectorEnv(self, PandaWorld(self), num_envs, seed, threads)


class PandaWorld(World):
    """What a manipulation task observes, pays and starts from."""

    def __init__(self, task: Manipulation) -> None:
        from . import panda

        self.task = task
        self.model = task.model()
        self.frame_skip, self.increment = panda.FRAME_SKIP, panda.INCREMENT
        self.camera = Camera(*task.view)
        self.kinematics = panda.Kinematics(self.model, task.point)
        self.low, self.high = self.model.jnt_range[: panda.JOINTS].T

    def reset(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the start pose, with noise on the arm's joints if the task has it."""
        qpos = np.tile(self.model.qpos0, (count, 1))
        qpos[:, :7], qpos[:, 7:] = self.task.start, self.task.ajar
        if self.task.jitter:
            qpos[:, :7] += rng.uniform(-self.task.jitter, self.task.jitter, (count, 7))
            np.clip(qpos[:, :7], self.low, self.high, out=qpos[:, :7])
        return qpos, np.zeros((count, self.model.nv))

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Return servo targets (N, 7): an increment on the joints' angles, within their range."""
        return np.clip(qpos[:, :7] + self.increment * action, self.low, self.high)

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return observations (N, O) as the module's docstring lists them, and their first P."""
        tip, speed = self.kinematics(qpos[:, :7], qvel[:, :7])
        obs = np.concatenate(
            [tip, qpos[:, 7:] / self.task.travel, speed,
             qpos[:, :7], qvel[:, :7], qvel[:, 7:] / self.task.travel],
            axis=1, dtype=np.float32,
        )  # fmt: skip
        return obs, obs[:, : self.task.position_dim]

    def judge(self, before: np.ndarray, position: np.ndarray, qpos: np.ndarray) -> Verdict:
        """Pay for success."""
        goal = self.task.goal(position)
        return Verdict(np.where(goal >= 0, REWARD, 0.0), goal)

    def label(self, path: np.ndarray, goal: int) -> int:
        """Return the mode of a finished episode."""
        return self.task.label(path, goal)


def corner(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return 0 upper left, 1 upper right, 2 lower left, 3 lower right, seen from the robot."""
    return 2 * (z < 0) + (y < 0)


CORNERS = ("upper-left", "upper-right", "lower-left", "lower-right")


class Reach(Manipulation):
    """A target behind a cross of two thin bars; the mode is the quadrant the fingers pass.

    The arm starts with its fingers 0.10 m in front of the cross, level with its centre. Success
    is the fingers' tip within 0.10 m of the target. The cross stands 0.04 m further from the base
    than the paper's and the target 0.01 m, so that the folded arm fits between.
    """

    modes = CORNERS
    start = (0.0, -1.438, 0.0, -2.895, 0.0, 1.459, 0.0)
    view = ((0.38, 0.0, 0.6), 1.5, 145.0, -20.0)
    cross = np.array([0.42, 0.0, 0.67])
    target = np.array([0.56, 0.0, 0.65])
    radius = 0.10

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the cross, and the target as a picture."""
        from . import panda

        x, y, z = self.cross
        panda.box(spec.worldbody, (x, y, z), (0.04, 0.01, 0.40), (0.75, 0.3, 0.25, 1))
        panda.box(spec.worldbody, (x, y, z), (0.04, 0.40, 0.01), (0.75, 0.3, 0.25, 1))
        spec.worldbody.add_site(pos=self.target, size=[self.radius] * 3, rgba=[0.2, 0.6, 0.3, 0.3])

    def goal(self, position: np.ndarray) -> np.ndarray:
        """Return 0 within the target's radius."""
        return np.where(np.linalg.norm(position[:, :3] - self.target, axis=1) <= self.radius, 0, -1)

    def label(self, path: np.ndarray, goal: int | None = None) -> int:
        """Return the quadrant in which the path crosses the plane of the bars for the last time."""
        if super().label(path, goal) < 0:
            return -1
        x = path[:, 0] - self.cross[0]
        inside = np.flatnonzero((x[:-1] <= 0) & (x[1:] > 0))
        if not len(inside):  # a resampled path may begin behind the plane
            y, z = path[0, 1:] - self.cross[1:]
        else:
            i = inside[-1]
            share = x[i] / (x[i] - x[i + 1])
            y, z = path[i, 1:] + share * (path[i + 1, 1:] - path[i, 1:]) - self.cross[1:]
        return int(corner(y, z))


class PegInHole(Manipulation):
    """The arm holds a peg; two holes in a plate on the table. The mode is which hole.

    Success is the peg's tip within 0.03 m of a hole's bottom, 0.01 m above the table. The plate is
    0.04 m thick, the holes 0.06 m wide and the peg 0.024 m.
    """

    modes = ("left", "right")
    start = (0.0, -0.311, 0.0, -2.348, 0.0, 0.467, 0.0)
    jitter = 0.1
    point = (0.0, 0.0, 0.31)
    view = ((0.5, 0.0, 0.15), 1.4, 145.0, -30.0)
    holes = np.array([[0.65, 0.15, 0.01], [0.65, -0.15, 0.01]])
    radius = 0.03

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the plate around the holes, and the peg to the hand."""
        import mujoco

        from . import panda

        for x in (0.58, 0.72):
            panda.box(spec.worldbody, (x, 0.0, 0.02), (0.08, 0.52, 0.04))
        for y, width in ((0.22, 0.08), (0.0, 0.24), (-0.22, 0.08)):
            panda.box(spec.worldbody, (0.65, y, 0.02), (0.06, width, 0.04))
        peg = spec.body("panda0_link7").add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0.19, 0, 0, self.point[2] - 0.012],
            size=[0.012, 0, 0], rgba=[0.2, 0.35, 0.7, 1], mass=0.05,
        )  # fmt: skip
        panda.collide(peg, panda.ARM)

    def goal(self, position: np.ndarray) -> np.ndarray:
        """Return the hole that the tip is at the bottom of."""
        distance = np.linalg.norm(position[:, None, :3] - self.holes, axis=2)
        return np.where(distance.min(axis=1) <= self.radius, distance.argmin(axis=1), -1)


class DrawerClose(Manipulation):
    """Four open drawers, two by two, each 0.17 m out. The mode is which one is pushed shut."""

    modes = CORNERS
    start = (0.0, -0.9, 0.0, -2.6, 0.0, 0.9, 0.0)
    things = 4
    view = ((0.45, 0.0, 0.35), 1.6, 30.0, -25.0)
    fronts = np.array([(0.16, 0.46), (-0.16, 0.46), (0.16, 0.20), (-0.16, 0.20)])  # y, z in m
    closed, ajar, travel, shut = 0.67, 0.17, 0.17, 0.03

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the chest and its drawers."""
        import mujoco

        from . import panda

        wood = (0.72, 0.62, 0.5, 1.0)
        for y in (0.31, 0.0, -0.31):
            panda.box(spec.worldbody, (0.82, y, 0.33), (0.26, 0.02, 0.54), wood)
        for z in (0.07, 0.33, 0.59):
            panda.box(spec.worldbody, (0.82, 0.0, z), (0.26, 0.62, 0.02), wood)
        for name, (y, z) in zip(self.modes, self.fronts, strict=True):
            drawer = spec.worldbody.add_body(name=name, pos=[self.closed, y, z])
            drawer.add_joint(
                name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[-1, 0, 0], ref=0.0,
                limited=True, range=[0, self.ajar + 0.01], damping=20, frictionloss=2,
            )  # fmt: skip
            panda.box(drawer, (0.01, 0, 0), (0.02, 0.27, 0.22), (0.85, 0.76, 0.62, 1), mass=0.6)
            panda.box(drawer, (0.13, 0, -0.09), (0.22, 0.25, 0.01), (0.85, 0.76, 0.62, 1), mass=0.4)
            knob = drawer.add_geom(
                type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=[-0.012, 0, 0], size=[0.015, 0, 0],
                rgba=[0.3, 0.3, 0.3, 1], mass=0.01,
            )  # fmt: skip
            panda.collide(knob, 0)

    def goal(self, position: np.ndarray) -> np.ndarray:
        """Return the drawer that is shut furthest, if one is."""
        out = position[:, 3:7] * self.travel
        return np.where(out.min(axis=1) <= self.shut, out.argmin(axis=1), -1)

    def nearest(self, tip: np.ndarray) -> int:
        """Return the drawer at whose front, pushed shut, the end effector is."""
        x, y, z = tip
        centre = self.fronts.mean(axis=0)
        reached = x >= self.closed - self.shut - 0.03
        return int(corner(y - centre[0], z - centre[1])) if reached else -1


class CabinetOpen(Manipulation):
    """A cabinet with an upper and a lower door, both shut. The mode is which one is opened.

    A door is 0.4 m wide, hinged on the left; its handle stands out 0.16 m near the free edge and
    is pushed to the left. Success is a door 0.4 rad open.
    """

    modes = ("upper", "lower")
    start = (-0.35, -0.75, 0.0, -2.5, 0.0, 1.0, 0.0)
    things = 2
    view = ((0.45, 0.0, 0.4), 1.6, 30.0, -25.0)
    heights = np.array([0.62, 0.30])
    face, open, travel = 0.66, 0.4, 0.4

    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the cabinet and its doors."""
        import mujoco

        from . import panda

        wood, door = (0.72, 0.62, 0.5, 1.0), (0.85, 0.76, 0.62, 1.0)
        panda.box(spec.worldbody, (self.face + 0.16, 0.0, 0.46), (0.24, 0.48, 0.68), wood)
        for name, z in zip(self.modes, self.heights, strict=True):
            body = spec.worldbody.add_body(name=name, pos=[self.face, 0.22, z])
            body.add_joint(
                name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, -1],
                limited=True, range=[0, 1.5], damping=1.0, frictionloss=0.3,
            )  # fmt: skip
            panda.box(body, (0.01, -0.2, 0), (0.02, 0.40, 0.28), door, mass=1.0)
            panda.box(body, (-0.08, -0.25, 0), (0.16, 0.015, 0.14), (0.3, 0.3, 0.32, 1), mass=0.1)

    def goal(self, position: np.ndarray) -> np.ndarray:
        """Return the door that is open widest, if one is open."""
        angle = position[:, 3:5] * self.travel
        return np.where(angle.max(axis=1) >= self.open, angle.argmax(axis=1), -1)

    def nearest(self, tip: np.ndarray) -> int:
        """Return the door at whose handle, beyond its resting place, the end effector is."""
        x, y, z = tip
        pushed = x >= self.face - 0.25 and y > -0.03
        return int(np.abs(z - self.heights).argmin()) if pushed else -1


def suite(name: str, summary: str) -> Any:
    """Return the decorator that registers a task of this family."""
    return register(
        name, config=Config, family="manipulation", suite="yes", summary=summary,
        source="Li et al. 2024, arXiv 2406.00681",
    )  # fmt: skip


suite("reach", "Panda reaches past a cross of bars")(Reach)
suite("peg-in-hole", "Panda puts a peg into one of two holes")(PegInHole)
suite("drawer-close", "Panda shuts one of four drawers")(DrawerClose)
suite("cabinet-open", "Panda opens one of two doors")(CabinetOpen)
