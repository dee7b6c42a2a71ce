"""One vector environment for every task with MuJoCo physics.

The physics of all N environments and the whole frame skip is one call into the thread pool of
`mujoco.rollout`; observation, reward, end of episode and autoreset are vectorised numpy. What a
task observes, pays and starts from is its `World`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import mujoco
import mujoco.rollout
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bench.api import Camera, Task, TaskEnv
from bench.errors import UsageError
from bench.rendering import Painter

from . import entropy, make_task
from .checks import action_array, reset_mask
from .world import World

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

RENDER_MODES = ["rgb_array"]
PICTURE = 480  # pixels, side of a rendered picture
FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
CLOCK = 0  # index of the simulated time in a full physics state


class HasHorizon:
    """Tells Gymnasium's spec of an environment its horizon."""

    horizon: int  # steps after which an episode is truncated
    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium made this from; its `max_episode_steps` is the horizon."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec.max_episode_steps = self.horizon
        self._spec = spec


class WorldVectorEnv(HasHorizon, VectorEnv, TaskEnv):
    """N copies of a task's world with SAME_STEP autoreset.

    Reaching a goal terminates an episode, and so does failing where a task knows that; the task's
    horizon truncates it. A simulation that diverges is truncated where it last was sound: MuJoCo
    resets such a state silently, and what follows is no successor of the step.

    Copying and pickling give an independent environment in the same state.

    Attributes:
        horizon: steps after which an episode is truncated, at most the task's.
        render_mode: None, or "rgb_array" to have `render` draw pictures.
    """

    metadata = {  # noqa: RUF012
        "render_modes": RENDER_MODES,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self, task: Task, world: World, num_envs: int, seed: int, threads: int = 1
    ) -> None:
        self.task, self.world, self.num_envs, self.threads = task, world, num_envs, threads
        self.horizon = task.horizon
        model = self.model = world.model
        seconds = world.frame_skip * model.opt.timestep
        self.metadata = {**self.metadata, "render_fps": round(1 / seconds)}
        size = mujoco.mj_stateSize(model, FULL)
        self.state = np.zeros((num_envs, size))
        self.simulated = np.zeros((num_envs, world.frame_skip, size))
        self.controls = np.zeros((num_envs, world.frame_skip, model.nu))
        self.prepare()
        self.blank = np.zeros(size)
        mujoco.mj_getState(model, self.datas[0], self.blank, FULL)
        self.single_observation_space = Box(-np.inf, np.inf, (task.obs_dim,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (task.act_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.length = np.zeros(num_envs, np.int64)
        self.total = np.zeros(num_envs)
        self.path = np.zeros((num_envs, task.horizon + 1, task.position_dim), np.float32)
        self.rows = np.arange(num_envs)
        self.diverged = np.zeros(1, np.int64)
        self.seed_with(seed)
        self.begin(np.ones(num_envs, bool))

    transient = ("qpos", "qvel", "pool", "models", "datas", "painter")  # made by `prepare`

    def prepare(self) -> None:
        """Make what no copy can share: views of the state, threads, scratch data, pictures."""
        model = self.model
        self.qpos = self.state[:, 1 : 1 + model.nq]
        self.qvel = self.state[:, 1 + model.nq : 1 + model.nq + model.nv]
        self.pool = mujoco.rollout.Rollout(nthread=self.threads)
        self.models = [model] * self.num_envs
        self.datas = [mujoco.MjData(model) for _ in range(self.threads)]
        self.painter: Painter | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle holds."""
        return {key: value for key, value in vars(self).items() if key not in self.transient}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become what `__getstate__` returned."""
        vars(self).update(state)
        self.prepare()

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the task's K modes."""
        return self.task.modes

    @property
    def layout(self) -> tuple[str, ...] | None:
        """Rows of the maze, or None."""
        return self.task.layout

    @property
    def position(self) -> np.ndarray:
        """Where each agent is, (N, P) float32."""
        return self.path[self.rows, self.length]

    @property
    def scene(self) -> WorldVectorEnv:
        """What pictures are drawn of: this environment has a model, a camera and states."""
        return self

    @property
    def camera(self) -> Camera:
        """Where pictures are taken from."""
        return self.world.camera

    @property
    def extent(self) -> tuple[float, float, float, float] | None:
        """Where the arena begins and ends, x0, x1, y0, y1 in m, or None."""
        return self.world.extent

    def observe_at(self, points: np.ndarray) -> np.ndarray:
        """Return observations (n, O) of an episode's start moved to points (n, 2) of the arena."""
        return self.world.observe(*self.world.stand(points))[0]

    def states(self) -> np.ndarray:
        """Return a copy of the full physics states now, (N, S)."""
        return self.state.copy()

    def seed_with(self, seed: int) -> None:
        """Seed all randomness; SeedSequence keeps neighbouring seeds apart."""
        self._np_random = np.random.default_rng(np.random.SeedSequence([seed, self.num_envs]))
        self._np_random_seed = seed

    def begin(self, which: np.ndarray) -> None:
        """Start an episode in the environments of a mask (N,)."""
        qpos, qvel = self.world.reset(self.np_random, int(which.sum()))
        self.state[which] = self.blank
        self.qpos[which], self.qvel[which] = qpos, qvel
        self.length[which], self.total[which] = 0, 0.0
        self.obs, position = self.world.observe(self.qpos, self.qvel)
        self.path[which, 0] = position[which]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start episodes anew; return observations (N, O) and an empty info.

        Args:
            seed: of all randomness from here on; None goes on with what there is.
            options: `reset_mask` (N,) bool restarts those environments alone.

        Raises:
            ValueError: if the mask has another shape or type.
        """
        if seed is not None:
            self.seed_with(seed)
        self.begin(reset_mask(options, self.num_envs))
        return self.obs, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions (N, A), clipped to [-1, 1]; restart the episodes that end.

        Raises:
            ValueError: if the actions have another shape.
        """
        actions = action_array(actions, (self.num_envs, self.task.act_dim))
        before = self.position
        control = self.world.control(np.clip(actions, -1.0, 1.0), self.qpos)
        diverged = self.simulate(control)
        self.obs, position = self.world.observe(self.qpos, self.qvel)
        reward, goal, failed = self.world.judge(before, position, self.qpos)
        self.length += 1
        self.total += reward
        self.path[self.rows, self.length] = position
        terminated = (goal >= 0) | failed
        truncated = ((self.length >= self.horizon) | diverged) & ~terminated
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            infos = self.conclude(goal, done, diverged & ~terminated)
            self.begin(done)
        return self.obs, reward, terminated, truncated, infos

    def simulate(self, control: np.ndarray) -> np.ndarray:
        """Advance all physics by an env step under controls (N, nu); say which diverged, (N,).

        A diverged simulation is put back to where it was. Its clock tells: MuJoCo's own reset sets
        it to 0, and what `rollout` fills in after a warning stands still.
        """
        self.controls[:] = control[:, None]
        self.pool.rollout(
            self.models, self.datas, self.state, self.controls, nstep=self.world.frame_skip,
            skip_checks=True, state=self.simulated,
        )  # fmt: skip
        after, step = self.simulated[:, -1], self.model.opt.timestep
        late = self.state[:, CLOCK] + self.world.frame_skip * step - after[:, CLOCK]
        diverged = ~(np.abs(late) < step / 2) | ~np.isfinite(after).all(axis=1)
        if diverged.any():
            self.diverged += diverged.sum()
            after[diverged] = self.state[diverged]
        self.state[:] = after
        return diverged

    def conclude(self, goal: np.ndarray, done: np.ndarray, diverged: np.ndarray) -> dict[str, Any]:
        """Return the infos of episodes that end now, and count where they have been."""
        mode = np.full(self.num_envs, -1)
        paths = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(done):
            path = paths[i] = self.path[i, : self.length[i] + 1].copy()
            self.world.count(path)
            if goal[i] >= 0:
                mode[i] = self.world.label(path, int(goal[i]))
        episode = {"r": np.where(done, self.total, 0.0), "l": np.where(done, self.length, 0)}
        final = {"success": done & (goal >= 0), "goal": np.where(done, goal, -1), "mode": mode,
                 "path": paths, "diverged": diverged}  # fmt: skip
        masks = {f"_{key}": done.copy() for key in (*final, "episode")}
        episode |= {"_r": done.copy(), "_l": done.copy()}
        return {
            "final_obs": self.obs, "_final_obs": done.copy(),
            "final_info": {**final, "episode": episode, **masks}, "_final_info": done.copy(),
        }  # fmt: skip

    def statistics(self) -> dict[str, float]:
        """Return the world's statistics, and how many simulations diverged if any did."""
        count = int(self.diverged[0])
        return self.world.statistics() | ({"diverged": count} if count else {})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the world's arrays."""
        return self.world.arrays()

    kept = ("state", "obs", "length", "total", "path", "diverged")

    def get_state(self) -> dict[str, Any]:
        """Return all that the environments' future depends on; restoring it is exact."""
        return {
            "rng": self.np_random.bit_generator.state,
            "counters": {key: value.copy() for key, value in self.world.counters().items()},
            **{key: getattr(self, key).copy() for key in self.kept},
        }

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Take back what `get_state` returned; return the current observations (N, O)."""
        self.np_random.bit_generator.state = state["rng"]
        for key, value in self.world.counters().items():
            value[...] = state["counters"][key]
        for key in self.kept:
            getattr(self, key)[...] = state[key]
        return self.obs

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return one picture per environment, (480, 480, 3) uint8; None without a render mode.

        Raises:
            UsageError: if nothing can be drawn here.
        """
        if self.render_mode is None:
            return None
        if self.painter is None:
            self.painter = Painter(self.scene, PICTURE)
        return tuple(self.painter.frame(state) for state in self.state)

    def close_extras(self, **kwargs: Any) -> None:
        """Release the threads and the graphics context."""
        self.pool.close()
        if self.painter is not None:
            self.painter.close()


def vector_env(
    name: str,
    num_envs: int = 1,
    seed: int | None = None,
    threads: int = 1,
    training: bool = True,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    **settings: Any,
) -> VectorEnv:
    """Return what `gymnasium.make_vec` makes (see `bench.make_env`).

    Args:
        name: of the registry.
        num_envs: N.
        seed: of all randomness; None for fresh entropy.
        threads: physics threads.
        training: whether episodes start where training does, else where evaluation does.
        render_mode: None or "rgb_array".
        max_episode_steps: steps after which an episode is truncated if the task's horizon is
            longer; None or -1 for the horizon.
        settings: fields of the task's settings.

    Raises:
        UsageError: as `bench.make_task`, and on what the task's environment cannot do.
    """
    task = make_task(name, **settings)
    env = show(task.make(num_envs, entropy(seed), threads, training), render_mode)
    if max_episode_steps is not None and max_episode_steps != -1:
        if not isinstance(env, WorldVectorEnv):
            raise UsageError(f"max_episode_steps: task {name!r} has its horizon alone")
        env.horizon = min(task.horizon, max_episode_steps)
    return env


def show(env: TaskEnv, render_mode: str | None) -> VectorEnv:
    """Return a task's environment with a render mode.

    Raises:
        UsageError: if it has no such mode.
    """
    assert isinstance(env, VectorEnv)
    valid = env.metadata.get("render_modes", [])
    if render_mode is not None and render_mode not in valid:
        raise UsageError(f"render_mode={render_mode!r}: valid are {', '.join(['None', *valid])}")
    env.render_mode = render_mode
    return env


UNDECIDED = {"success": False, "is_success": False, "goal": -1, "mode": -1}


class SingleEnv(HasHorizon, gymnasium.Env):
    """What `gymnasium.make` makes: a vector environment of one, without autoreset.

    The info of every step has `success`, `is_success`, `goal` and `mode`; before an episode's end
    they say that it has not succeeded. The task's horizon truncates an episode, whether or not
    Gymnasium's `TimeLimit` is put around; a longer one comes from the task's own settings.

    Args:
        name: of the registry.
        render_mode: None or "rgb_array".
        seed: of all randomness until `reset` is given one; None for fresh entropy.
        training: whether episodes start where training does, else where evaluation does.
        settings: fields of the task's settings.

    Raises:
        UsageError: as `bench.make_task`; it is a TypeError, too, for an unknown setting.
    """

    metadata = {"render_modes": RENDER_MODES}  # noqa: RUF012

    def __init__(
        self,
        name: str,
        render_mode: str | None = None,
        seed: int | None = None,
        training: bool = True,
        **settings: Any,
    ) -> None:
        task = make_task(name, **settings)
        self.vector = show(task.make(1, entropy(seed), 1, training), render_mode)
        self.horizon, self.render_mode = task.horizon, render_mode
        self.metadata = {
            key: value for key, value in self.vector.metadata.items() if key != "autoreset_mode"
        }
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; return the observation (O,) and an info."""
        super().reset(seed=seed)
        obs, _ = self.vector.reset(seed=seed)
        return obs[0].copy(), dict(UNDECIDED)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply an action (A,).

        Raises:
            ValueError: if the action has another shape.
        """
        assert self.action_space.shape is not None
        action = action_array(action, self.action_space.shape)
        obs, reward, terminated, truncated, infos = self.vector.step(action[None])
        info = dict(UNDECIDED)
        if terminated[0] or truncated[0]:
            obs, final = infos["final_obs"], infos["final_info"]
            info |= {key: final[key][0].item() for key in UNDECIDED if key in final}
            info["is_success"] = info["success"]
        return obs[0].copy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """Return a picture, (480, 480, 3) uint8; None without a render mode."""
        frames = self.vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Release the threads and the graphics context."""
        self.vector.close()
