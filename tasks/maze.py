"""Point and ant mazes with several goals and several ways to each.

Mazes v1 to v4 are those of DDiffPG (Li et al. 2024, arXiv 2406.00681). Reward 10 on coming within
0.5 m of any goal in the plane, which ends the episode; nothing else is paid, and the goals are not
observed. Departures from the paper: walls of 6 m, symmetric pay on v2, evaluation from the origin.

| agent | index | observation | unit |
| --- | --- | --- | --- |
| point | 0-1 | position x, y | m |
|       | 2-3 | velocity x, y | m/s |
| ant   | 0-2 | torso position x, y, z | m |
|       | 3-6 | torso orientation, quaternion | 1 |
|       | 7-14 | hip and ankle angles, legs 1 to 4 | rad |
|       | 15-17 | torso velocity | m/s |
|       | 18-20 | torso angular velocity | rad/s |
|       | 21-28 | joint velocities | rad/s |

| agent | action in [-1, 1] | step |
| --- | --- | --- |
| point | force along x and y, 27.7 N | 4 x 0.025 s |
| ant | torques of hip 4, ankle 4, 1, 1, 2, 2, 3, 3, gear 30 | 5 x 0.02 s |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import UsageError
from bench.registry import unknown

from . import register
from .homotopy import Modes
from .layout import BIN, CELL, LAYOUTS, Layout, parse

if TYPE_CHECKING:
    from .vector import SceneVectorEnv

STRETCH = 1.5  # a named mode's shortest route is at most so many times the goal's shortest
SPEED = {"point": 0.4, "ant": 0.06}  # m per step, for the horizon of a user's layout


@dataclass
class Config:
    """Settings of a maze."""

    layout: list[str] = field(default_factory=list)  # rows, or one known name; []: the task's own
    stretch: float = STRETCH
    horizon: int = 0  # steps; 0: the task's own
    asymmetric: bool = False  # v2 as released: the first goal in reading order pays 10, others 20
    dense: bool = False  # for debugging only: 5 per metre of approach to the nearest goal

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            UsageError: naming the setting, its value and the valid ones.
        """
        if self.stretch < 1:
            raise UsageError(f"task.stretch={self.stretch}: valid are numbers from 1")
        if self.horizon < 0:
            raise UsageError(f"task.horizon={self.horizon}: valid are whole numbers from 0")


@dataclass
class AntConfig(Config):
    """Settings of an ant maze."""

    integrator: str = "rk4"  # rk4, the paper's | implicitfast, 3 to 4 times as fast

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            UsageError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        if self.integrator not in ("rk4", "implicitfast"):
            raise UsageError(f"task.integrator={self.integrator!r}: valid are rk4, implicitfast")


class Maze:
    """A maze task: its layout, modes and numbers; builds environments on demand."""

    agent: str
    obs_dim: int
    act_dim: int
    horizons: dict[str, int]
    position = slice(0, 2)
    cell = CELL

    def __init__(self, name: str, config: Config) -> None:
        self.name, self.config = name, config
        own = name.rpartition("-")[2]
        rows: Any = config.layout or LAYOUTS.get(own)
        if rows is None:
            raise UsageError(
                f"task.layout: task {name!r} needs a layout; known ones are {', '.join(LAYOUTS)}"
            )
        if len(rows) == 1:
            if rows[0] not in LAYOUTS:
                raise UsageError(unknown("layout", rows[0], LAYOUTS))
            own, rows = rows[0], LAYOUTS[rows[0]]
        self.maze: Layout = parse(rows)
        self.layout: tuple[str, ...] = self.maze.rows
        self.random_start = self.layout == LAYOUTS["v1"]
        own = next((known for known, r in LAYOUTS.items() if r == self.layout), own)
        self.horizon = config.horizon or self.horizons.get(own[:2], 0) or self.default_horizon()
        pay = np.full(len(self.maze.goals), 10.0)
        if config.asymmetric:
            pay[1:] = 20.0
        self.pay = pay
        self.max_return = float(pay.max())

    @cached_property
    def homotopy(self) -> Modes:
        """The named modes, found at first use."""
        return Modes(self.maze, self.config.stretch)

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the K modes."""
        return tuple(self.homotopy.names)

    @property
    def variants(self) -> dict[str, tuple[str, ...]]:
        """Layouts with unseen obstacles for this maze, by name (see `replan`)."""
        own = next((name for name, rows in LAYOUTS.items() if rows == self.layout), None)
        return {name: rows for name, rows in LAYOUTS.items() if name.startswith(f"{own}-block")}

    def default_horizon(self) -> int:
        """Return the steps that the longest named route takes three times over, at least 150."""
        cells = max(len(route) - 1 for route in self.homotopy.routes)
        return max(150, int(np.ceil(3 * cells * CELL / SPEED[self.agent] / 50)) * 50)

    def label(self, path: np.ndarray) -> int:
        """Return the mode of a path (T, 2): its index, K for another class, -1 for no success."""
        return self.homotopy.label(path)

    def make(
        self, num_envs: int, seed: int, threads: int = 1, training: bool = True
    ) -> SceneVectorEnv:
        """Return N environments; in training v1 starts anywhere around the origin."""
        from .vector import SceneVectorEnv

        return SceneVectorEnv(MazeScene(self, training), num_envs, seed, threads)

    def model(self) -> Any:
        """Return the MuJoCo model."""
        raise NotImplementedError


class PointMaze(Maze):
    """A point mass in a maze."""

    agent, obs_dim, act_dim, frame_skip, radius = "point", 4, 2, 4, 0.3
    horizons = {"v1": 150, "v2": 150, "v3": 250, "v4": 250}  # noqa: RUF012

    def model(self) -> Any:
        """Return the MuJoCo model."""
        from . import bodies

        return bodies.point(self.maze)


class AntMaze(Maze):
    """A low-gear ant in a maze."""

    agent, obs_dim, act_dim, frame_skip, radius = "ant", 29, 8, 5, 0.25
    horizons = {"v1": 500, "v2": 500, "v3": 700, "v4": 700}  # noqa: RUF012

    def model(self) -> Any:
        """Return the MuJoCo model."""
        from . import bodies

        assert isinstance(self.config, AntConfig)
        return bodies.ant(self.maze, self.config.integrator)


class MazeScene:
    """What a maze observes, pays and starts from (see `vector.Scene`).

    Attributes:
        visits: (rows, columns) int64, positions counted per bin of 0.4 m over ended episodes.
        extent: x0, x1, y0, y1 of the maze in m.
        violations: (1,) int64, positions counted inside wall cells; must stay 0.
    """

    def __init__(self, task: Maze, training: bool) -> None:
        from .vector import Camera

        self.task, self.maze = task, task.maze
        self.model = task.model()
        self.frame_skip: int = task.frame_skip  # type: ignore[attr-defined]
        self.horizon, self.position = task.horizon, task.position
        self.modes = task.modes
        self.layout: tuple[str, ...] | None = task.layout
        # v1's start square is two cells wide at most: the free cell less the body's extent
        body: float = task.radius  # type: ignore[attr-defined]
        self.spread = CELL / 2 - body if training and task.random_start else 0.0
        self.goals = self.maze.goal_positions.astype(np.float32)
        self.extent = x0, x1, y0, y1 = self.maze.extent
        # from far above through a long lens, so that high walls hide nothing
        far = 0.52 * max(x1 - x0, y1 - y0) / np.tan(np.radians(4.0))
        self.camera = Camera(((x0 + x1) / 2, (y0 + y1) / 2, 0.0), float(far), 90.0, -90.0, 8.0)
        side = round(CELL / BIN)
        self.visits = np.zeros([side * n for n in self.maze.walls.shape], np.int64)
        self.free = ~np.kron(self.maze.walls, np.ones((side, side), bool)).astype(bool)
        self.violations = np.zeros(1, np.int64)

    def reset(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the model's default pose, moved by the random start."""
        qpos = np.tile(self.model.qpos0, (count, 1))
        if self.spread:
            qpos[:, :2] += rng.uniform(-self.spread, self.spread, (count, 2))
        return qpos, np.zeros((count, self.model.nv))

    def observe(self, qpos: np.ndarray, qvel: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return positions and velocities, (N, nq + nv)."""
        return np.concatenate([qpos, qvel], axis=1, dtype=np.float32)

    def judge(self, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pay for reaching a goal, and for approaching one if dense."""
        distance = self.distances(after)
        nearest = distance.argmin(axis=1)
        least = distance.min(axis=1)
        goal = np.where(least <= 0.5, nearest, -1)
        reward = np.where(goal >= 0, self.task.pay[nearest], 0.0)
        if self.task.config.dense:
            reward = reward + 5 * (self.distances(before).min(axis=1) - least)
        return reward, goal

    def distances(self, obs: np.ndarray) -> np.ndarray:
        """Return the distances to all goals, (N, goals) in m."""
        dx = obs[:, :1] - self.goals[:, 0]
        dy = obs[:, 1:2] - self.goals[:, 1]
        return np.hypot(dx, dy)

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Return the action: motors take forces."""
        return action

    def label(self, path: np.ndarray, goal: int) -> int:
        """Return the mode of a finished episode; its path alone tells the goal."""
        return self.task.label(path)

    def count(self, paths: np.ndarray) -> None:
        """Add positions (T, 2) to the visits; count those inside walls."""
        x0, _, y0, _ = self.extent
        rows, columns = self.visits.shape
        column = ((paths[:, 0] - x0) / BIN).astype(np.int64).clip(0, columns - 1)
        row = ((paths[:, 1] - y0) / BIN).astype(np.int64).clip(0, rows - 1)
        np.add.at(self.visits, (row, column), 1)
        self.violations += self.maze.inside_wall(paths).sum()

    @property
    def wall_violations(self) -> int:
        """Positions counted inside wall cells; anything but 0 makes mode labels void."""
        return int(self.violations[0])

    @property
    def state_coverage(self) -> float:
        """Share of the free bins of 0.4 m that ended episodes have visited."""
        return float(((self.visits > 0) & self.free).sum() / self.free.sum())

    def statistics(self) -> dict[str, np.ndarray]:
        """Return the counters."""
        return {"visits": self.visits, "violations": self.violations}


PAPER = "Li et al. 2024, arXiv 2406.00681"
for version in ("v1", "v2", "v3", "v4"):
    register(
        f"pointmaze-{version}", config=Config, family="pointmaze", suite="yes",
        source="this suite, on DDiffPG's maze", summary=f"point mass in maze {version}",
    )(PointMaze)  # fmt: skip
    register(
        f"antmaze-{version}", config=AntConfig, family="antmaze", suite="yes",
        source=PAPER, summary=f"low-gear ant in maze {version}",
    )(AntMaze)  # fmt: skip
register(
    "pointmaze", config=Config, family="pointmaze", suite="no", source="this suite",
    summary="point mass in your own maze: task.layout=[...]",
)(PointMaze)  # fmt: skip
register(
    "antmaze", config=AntConfig, family="antmaze", suite="no", source="this suite",
    summary="low-gear ant in your own maze: task.layout=[...]",
)(AntMaze)  # fmt: skip
