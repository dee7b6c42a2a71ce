"""One vector environment for every task with MuJoCo physics.

The physics of all N environments and the whole frame skip is one call into the thread pool of
`mujoco.rollout`; observation, reward, end of episode and autoreset are vectorised numpy. What a
task observes, pays and starts from is a `Scene`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import mujoco
import mujoco.rollout
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS


@dataclass(frozen=True)
class Camera:
    """Where pictures of a scene are taken from: it looks at a point (m) from a distance (m)."""

    lookat: tuple[float, float, float]
    distance: float
    azimuth: float  # degrees
    elevation: float  # degrees, -90 from above
    fovy: float = 45.0  # degrees


class Scene(Protocol):
    """What distinguishes one task from another; every method works on N rows at once.

    Attributes:
        frame_skip: physics steps per env step.
        horizon: env steps after which an episode is truncated.
        position: slice of the observation that locates the agent and what it moves, P numbers.
        modes: K names.
        layout: rows of the maze, or None.
        camera: for pictures.
    """

    model: mujoco.MjModel
    frame_skip: int
    horizon: int
    position: slice
    modes: tuple[str, ...]
    layout: tuple[str, ...] | None
    camera: Camera

    def reset(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return fresh joint positions (count, nq) and velocities (count, nv)."""
        ...

    def observe(self, qpos: np.ndarray, qvel: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return observations (N, O) float32 from positions, velocities and sensor readings."""
        ...

    def judge(self, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rewards (N,) and goals reached (N,), -1 none, of steps between observations."""
        ...

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Return the actuators' controls (N, nu) for actions in [-1, 1]."""
        ...

    def label(self, path: np.ndarray, goal: int) -> int:
        """Return the mode of a success from its positions (T + 1, P) and the goal it reached."""
        ...

    def count(self, paths: np.ndarray) -> None:
        """Take in positions (T, P) that training visited, for coverage and violations."""
        ...

    def statistics(self) -> dict[str, np.ndarray]:
        """Return what `count` has gathered, as arrays that may be changed in place."""
        ...


class SceneVectorEnv(VectorEnv):
    """N copies of a scene with SAME_STEP autoreset; reaching a goal terminates an episode.

    At an episode's end `infos` has `final_obs` (N, O), `final_info` with `success`, `goal`, `mode`
    and `episode` (`r`, `l`), each with its `_key` mask, as Gymnasium's own vector environments do.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, scene: Scene, num_envs: int, seed: int, threads: int = 1) -> None:
        model = scene.model
        self.scene, self.num_envs, self.model = scene, num_envs, model
        self.frame_skip = scene.frame_skip
        self.modes, self.layout, self.position = scene.modes, scene.layout, scene.position
        size = mujoco.mj_stateSize(model, FULL)
        self.state = np.zeros((num_envs, size))
        self.after = np.zeros((num_envs, self.frame_skip, size))
        self.sensors = np.zeros((num_envs, self.frame_skip, model.nsensordata))
        self.control = np.zeros((num_envs, self.frame_skip, model.nu))
        self.qpos = self.after[:, -1, 1 : 1 + model.nq]  # views of the last physics step
        self.qvel = self.after[:, -1, 1 + model.nq : 1 + model.nq + model.nv]
        self.pool = mujoco.rollout.Rollout(nthread=threads)
        self.models = [model] * num_envs
        self.datas = [mujoco.MjData(model) for _ in range(threads)]
        self.blank = np.zeros(size)
        mujoco.mj_getState(model, self.datas[0], self.blank, FULL)
        self.seed_with(seed)
        self.obs = self.begin(np.ones(num_envs, dtype=bool))
        dim = self.obs.shape[1]
        self.single_observation_space = Box(-np.inf, np.inf, (dim,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (model.nu,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        planar = len(range(dim)[self.position])
        self.path = np.zeros((num_envs, scene.horizon + 1, planar), np.float32)
        self.rows = np.arange(num_envs)
        self.restart()

    def seed_with(self, seed: int) -> None:
        """Seed all randomness; SeedSequence keeps neighbouring seeds apart."""
        self._np_random = np.random.default_rng(np.random.SeedSequence([seed, self.num_envs]))
        self._np_random_seed = seed

    def restart(self) -> None:
        """Begin the books of all episodes."""
        self.length = np.zeros(self.num_envs, np.int64)
        self.total = np.zeros(self.num_envs)
        self.path[:, 0] = self.obs[:, self.position]

    def begin(self, which: np.ndarray) -> np.ndarray:
        """Put the environments of a mask (N,) at the start; return all observations (N, O)."""
        count = int(which.sum())
        qpos, qvel = self.scene.reset(self.np_random, count)
        model, fresh = self.model, np.tile(self.blank, (count, 1))
        fresh[:, 1 : 1 + model.nq] = qpos
        fresh[:, 1 + model.nq : 1 + model.nq + model.nv] = qvel
        self.state[which] = fresh
        self.after[which, -1] = fresh
        if model.nsensordata:
            self.sensors[which, -1] = self.sense(fresh)
        return self.scene.observe(self.qpos, self.qvel, self.sensors[:, -1])

    def sense(self, states: np.ndarray) -> np.ndarray:
        """Return the sensor readings (n, S) of physics states (n, size)."""
        readings = np.zeros((len(states), self.model.nsensordata))
        for row, state in zip(readings, states, strict=True):
            mujoco.mj_setState(self.model, self.datas[0], state, FULL)
            mujoco.mj_forward(self.model, self.datas[0])
            row[:] = self.datas[0].sensordata
        return readings

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes anew; return observations (N, O) and an empty info."""
        if seed is not None:
            self.seed_with(seed)
        self.obs = self.begin(np.ones(self.num_envs, dtype=bool))
        self.restart()
        return self.obs, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions (N, A), clipped to [-1, 1]; restart the episodes that end."""
        self.control[:] = self.scene.control(np.clip(actions, -1.0, 1.0), self.qpos)[:, None]
        self.pool.rollout(
            self.models, self.datas, self.state, self.control, nstep=self.frame_skip,
            skip_checks=True, state=self.after, sensordata=self.sensors,
        )  # fmt: skip
        self.state[:] = self.after[:, -1]
        obs = self.scene.observe(self.qpos, self.qvel, self.sensors[:, -1])
        reward, goal = self.scene.judge(self.obs, obs)
        self.length += 1
        self.total += reward
        self.path[self.rows, self.length] = obs[:, self.position]
        terminated = goal >= 0
        truncated = (self.length >= self.scene.horizon) & ~terminated
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            infos = self.conclude(obs, goal, done)
            obs = self.begin(done)
            self.length[done], self.total[done] = 0, 0.0
            self.path[done, 0] = obs[done, self.position]
        self.obs = obs
        return obs, reward, terminated, truncated, infos

    def conclude(self, obs: np.ndarray, goal: np.ndarray, done: np.ndarray) -> dict[str, Any]:
        """Return the infos of episodes that end now, and count where they have been."""
        mode = np.full(self.num_envs, -1)
        for i in np.flatnonzero(done):
            path = self.path[i, : self.length[i] + 1]
            self.scene.count(path)
            if goal[i] >= 0:
                mode[i] = self.scene.label(path, int(goal[i]))
        episode = {"r": np.where(done, self.total, 0.0), "l": np.where(done, self.length, 0)}
        final = {"success": done & (goal >= 0), "goal": np.where(done, goal, -1), "mode": mode}
        masks = {f"_{key}": done.copy() for key in (*final, "episode")}
        episode |= {"_r": done.copy(), "_l": done.copy()}
        return {
            "final_obs": obs, "_final_obs": done.copy(),
            "final_info": {**final, "episode": episode, **masks}, "_final_info": done.copy(),
        }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some scenes have: state_coverage, visits, extent, wall_violations."""
        if name.startswith("_") or name == "scene":
            raise AttributeError(name)
        return getattr(self.scene, name, None)

    def get_state(self) -> dict[str, Any]:
        """Return all that the environments' future depends on; restoring it is exact."""
        return {
            "rng": self.np_random.bit_generator.state,
            "statistics": {k: v.copy() for k, v in self.scene.statistics().items()},
            **{key: getattr(self, key).copy() for key in self.kept},
        }

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Take back what `get_state` returned; return the current observations (N, O)."""
        self.np_random.bit_generator.state = state["rng"]
        for key, value in self.scene.statistics().items():
            value[...] = state["statistics"][key]
        for key in self.kept:
            getattr(self, key)[...] = state[key]
        return self.obs

    kept = ("state", "after", "sensors", "obs", "length", "total", "path")

    def close_extras(self, **kwargs: Any) -> None:
        """Release the threads."""
        self.pool.close()


class SceneEnv(gymnasium.Env):
    """The same as a single environment: a vector of one, without autoreset."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, vector: SceneVectorEnv) -> None:
        self.vector = vector
        self.observation_space = vector.single_observation_space
        self.action_space = vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; return the observation (O,) and an empty info."""
        super().reset(seed=seed)
        obs, _ = self.vector.reset(seed=seed, options=options)
        return obs[0].copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply an action (A,); `info` has success, goal, mode and episode at the end."""
        obs, reward, terminated, truncated, infos = self.vector.step(np.asarray(action)[None])
        info: dict[str, Any] = {}
        if terminated[0] or truncated[0]:
            obs, final = infos["final_obs"], infos["final_info"]
            info = {key: final[key][0].item() for key in ("success", "goal", "mode")}
            info["episode"] = {key: final["episode"][key][0].item() for key in ("r", "l")}
        return obs[0].copy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def close(self) -> None:
        """Release the threads."""
        self.vector.close()
