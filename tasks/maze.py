"""Point and ant mazes with several goals and several routes to each.

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

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.api import Branch, Camera, Task
from bench.errors import UsageError
from bench.registry import unknown

from . import register
from .homotopy import Modes
from .layout import BIN, CELL, LAYOUTS, Layout, parse
from .world import Verdict, World

if TYPE_CHECKING:
    import mujoco

    from .vector import WorldVectorEnv

STRETCH = 1.5  # a named mode's shortest route is at most so many times the goal's shortest
MOST_MODES = 16  # named modes of one goal, the shortest; every other class is `other`
SPEED = {"point": 0.4, "ant": 0.06}  # m per step, for the horizon of a user's layout


@dataclass
class Config:
    """Settings of a maze."""

    layout: list[str] = field(default_factory=list)  # rows, or one known name; []: the task's own
    stretch: float = STRETCH
    most_modes: int = MOST_MODES
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
        if self.most_modes < 1:
            raise UsageError(f"task.most_modes={self.most_modes}: valid are integers from 1")
        if self.horizon < 0:
            raise UsageError(f"task.horizon={self.horizon}: valid are integers from 0")


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


class Maze(Task):
    """A maze task: its layout, modes and numbers; builds environments on demand."""

    agent: str
    frame_skip: int
    radius: float  # m, of the body: how near to a wall an episode may start
    horizons: dict[str, int]
    position_dim = 2
    cell = CELL
    resolution = 0.01

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
        own = next((name for name, rows in LAYOUTS.items() if rows == self.layout), own)
        self.homotopy = Modes(self.maze, config.stretch, config.most_modes)
        self.modes = tuple(self.homotopy.names)
        self.routes = tuple(self.homotopy.lengths)
        known = config.horizon or self.horizons.get(own[:2], 0)
        cells = max(map(len, self.homotopy.routes))
        self.horizon = known or self.default_horizon(CELL * (cells - 1))
        self.pay = np.full(len(self.maze.goals), 10.0)
        if config.asymmetric:
            self.pay[1:] = 20.0
        self.max_return = float(self.pay.max())

    @property
    def variants(self) -> dict[str, tuple[str, ...]]:
        """Layouts with unseen obstacles for this maze, by name (see `replan`)."""
        own = next((name for name, rows in LAYOUTS.items() if rows == self.layout), None)
        return {name: rows for name, rows in LAYOUTS.items() if name.startswith(f"{own}-block")}

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Centres of the cells from which named modes part, and the ways on to the next cells."""
        found = []
        for cell, onwards in self.homotopy.branches.items():
            here = self.maze.centre(cell)
            ways = [(self.maze.centre(other) - here) / CELL for other in onwards]
            found.append(Branch(as_pair(here), tuple(map(as_pair, ways))))
        return tuple(found)

    def default_horizon(self, longest: float) -> int:
        """Return the steps that three times the longest named route (m) takes, at least 150."""
        return max(150, int(np.ceil(3 * longest / SPEED[self.agent] / 50)) * 50)

    def label(self, path: np.ndarray) -> int:
        """Return the mode of a path (T, 2): its index, K for another class, -1 for no success."""
        return self.homotopy.label(path)

    def make(
        self, num_envs: int, seed: int, threads: int = 1, training: bool = True
    ) -> WorldVectorEnv:
        """Return N environments; in training v1 starts anywhere around the origin."""
        from .vector import WorldVectorEnv

        return WorldVectorEnv(self, MazeWorld(self, training), num_envs, seed, threads)

    @abstractmethod
    def model(self) -> mujoco.MjModel:
        """Return the MuJoCo model."""


def as_pair(vector: np.ndarray) -> tuple[float, float]:
    """Return a vector (2,) of the plane as plain numbers."""
    return float(vector[0]), float(vector[1])


class PointMaze(Maze):
    """A point mass in a maze."""

    agent, obs_dim, act_dim, frame_skip, radius = "point", 4, 2, 4, 0.3
    horizons = {"v1": 150, "v2": 150, "v3": 250, "v4": 250}  # noqa: RUF012

    def model(self) -> mujoco.MjModel:
        """Return the MuJoCo model."""
        from . import bodies

        return bodies.point(self.maze)

    def heading(self, action: np.ndarray) -> np.ndarray:
        """Return the forces (n, 2): a point at rest goes where it is pushed."""
        return action


class AntMaze(Maze):
    """A low-gear ant in a maze; one action, of torques, has no heading."""

    agent, obs_dim, act_dim, frame_skip, radius = "ant", 29, 8, 5, 0.25
    horizons = {"v1": 500, "v2": 500, "v3": 700, "v4": 700}  # noqa: RUF012

    def model(self) -> mujoco.MjModel:
        """Return the MuJoCo model."""
        from . import bodies

        assert isinstance(self.config, AntConfig)
        return bodies.ant(self.maze, self.config.integrator)


class MazeWorld(World):
    """What a maze observes, pays and starts from.

    Attributes:
        visits: (rows, columns) int64, positions counted per bin of 0.4 m over ended episodes.
        violations: (1,) int64, positions counted inside wall cells; anything but 0 makes mode
            labels void.
    """

    def __init__(self, task: Maze, training: bool) -> None:
        self.task, self.maze = task, task.maze
        self.model, self.frame_skip = task.model(), task.frame_skip
        # v1's start square is two cells wide at most: the free cell less the body's extent
        self.spread = CELL / 2 - task.radius if training and task.random_start else 0.0
        self.extent = x0, x1, y0, y1 = self.maze.extent
        # from far above through a long lens, so that high walls hide nothing; y downwards, as in
        # the layout's text and in figures of paths
        far = 0.52 * max(x1 - x0, y1 - y0) / np.tan(np.radians(4.0))
        centre = ((x0 + x1) / 2, (y0 + y1) / 2, 0.0)
        self.camera = Camera(centre, float(far), 90.0, -90.0, 8.0, mirrored=True)
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

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return joint positions and velocities, (N, nq + nv), and where the agent is, (N, 2)."""
        obs = np.concatenate([qpos, qvel], axis=1, dtype=np.float32)
        return obs, obs[:, :2]

    def stand(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the default pose at points (n, 2), at rest."""
        qpos = np.tile(self.model.qpos0, (len(points), 1))
        qpos[:, :2] = points
        return qpos, np.zeros((len(points), self.model.nv))

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Return the action: motors take forces."""
        return action

    def judge(self, before: np.ndarray, position: np.ndarray, qpos: np.ndarray) -> Verdict:
        """Pay for reaching a goal, and for approaching one if dense."""
        goal = self.maze.goal_at(position)
        reward = np.where(goal >= 0, self.task.pay[goal], 0.0)
        if self.task.config.dense:
            reward = reward + 5 * (self.distance(before) - self.distance(position))
        return Verdict(reward, goal)

    def distance(self, position: np.ndarray) -> np.ndarray:
        """Return the distances of positions (N, 2) to the nearest goal, (N,) in m."""
        offset = position[:, None] - self.maze.goal_positions
        return np.hypot(offset[..., 0], offset[..., 1]).min(axis=1)

    def label(self, path: np.ndarray, goal: int) -> int:
        """Return the mode of a finished episode; its path alone tells the goal."""
        return self.task.label(path)

    def count(self, path: np.ndarray) -> None:
        """Add positions (T, 2) to the visits; count those inside walls."""
        x0, _, y0, _ = self.maze.extent
        rows, columns = self.visits.shape
        column = ((path[:, 0] - x0) / BIN).astype(np.int64).clip(0, columns - 1)
        row = ((path[:, 1] - y0) / BIN).astype(np.int64).clip(0, rows - 1)
        np.add.at(self.visits, (row, column), 1)
        self.violations += self.maze.inside_wall(path).sum()

    def counters(self) -> dict[str, np.ndarray]:
        """Return the counters."""
        return {"visits": self.visits, "violations": self.violations}

    def statistics(self) -> dict[str, float]:
        """Return the share of the free bins visited, and how many positions were inside walls."""
        coverage = ((self.visits > 0) & self.free).sum() / self.free.sum()
        return {"state_coverage": float(coverage), "wall_violations": int(self.violations[0])}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the visits and where their bins are."""
        return {"visits": self.visits, "extent": np.array(self.maze.extent)}


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
