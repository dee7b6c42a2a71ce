"""Any Gymnasium environment with flat Box spaces, as it is registered; also your own.

Its wrappers, time limit and transformed spaces are kept; actions in [-1, 1] are rescaled to its own
box. Where it says so, success is read from its info, positions from its observation or info, and
modes from a function of yours, so that coverage, control and survival are measured on it:

    task=gym task.id=my_package:Fork-v0 task.position=0:2
    task.modes=[left,right] task.label=my_package.labels:side

An environment that raises, or returns what cannot be learned from, fails with the step at which it
did so.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bench.api import Task, TaskEnv
from bench.errors import UsageError, described
from bench.registry import unknown

from . import register
from .checks import action_array, reset_mask

UNLIMITED = 1_000  # steps after which an environment without a time limit is truncated
SUCCESS = ("success", "is_success")  # keys of an info that say whether the episode succeeded
SLICE = re.compile(r"(-?\d*):(-?\d*)")


@dataclass
class Config:
    """Settings of the task `gym`."""

    id: str = "Pendulum-v1"  # of Gymnasium's registry; `module:Name-v0` imports the module first
    success_key: str = ""  # of an episode's last info; "": `success` or `is_success`, if it has one
    position: str = (
        ""  # slice of the observation (0:2), or keys of the info (x_position+y_position)
    )
    modes: list[str] = field(default_factory=list)  # names of the modes that `label` tells apart
    label: str = ""  # module:function of a path (T + 1, P); returns a mode's name, None without one

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that these settings name, which building the task imports."""
        named = [text.partition(":")[0] for text in (self.id, self.label) if ":" in text]
        return tuple(dict.fromkeys(filter(None, named)))

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            UsageError: naming the setting, its value and the valid ones.
        """
        if bool(self.modes) != bool(self.label):
            raise UsageError("task.modes and task.label: valid are both or neither")
        if self.label and not self.position:
            raise UsageError("task.label needs task.position: modes are told apart by positions")
        if len(set(self.modes)) < len(self.modes):
            raise UsageError(f"task.modes={self.modes}: two modes share a name")


class EnvironmentFailedError(RuntimeError):
    """An environment has raised, or returned what cannot be learned from."""


@register("gym", config=Config, family="gym", suite="no", source="Gymnasium")
class GymTask(Task):
    """Any Gymnasium environment with Box spaces: task.id=Pendulum-v1."""

    def __init__(self, name: str, config: Config) -> None:
        self.name, self.config = name, config
        self.modes = tuple(config.modes)
        self.function = load_function(config.label) if config.label else None
        env = self.make_one()
        for kind, space in (("observations", env.observation_space), ("actions", env.action_space)):
            if not (isinstance(space, Box) and len(space.shape) == 1):
                raise UsageError(
                    f"task.id={config.id}: {kind} must be a flat Box, not {space}; Gymnasium has "
                    "wrappers to register it with, such as FlattenObservation"
                )
        box = env.action_space
        assert isinstance(box, Box) and env.observation_space.shape is not None
        if not np.isfinite([box.low, box.high]).all():
            raise UsageError(f"task.id={config.id}: actions must be bounded")
        self.low, self.high, self.action_type = box.low, box.high, box.dtype
        (self.obs_dim,), (self.act_dim,) = env.observation_space.shape, box.shape
        assert env.spec is not None
        self.horizon = env.spec.max_episode_steps or UNLIMITED
        try:
            self.position_dim = len(Slot(self, 0, env).begin(0).path[0])
        except EnvironmentFailedError as error:
            raise UsageError(str(error)) from error
        if config.position and not self.position_dim:
            raise UsageError(f"task.position={config.position}: nothing of {self.obs_dim} numbers")
        env.close()

    def make_one(self) -> gymnasium.Env:
        """Return the environment as it is registered.

        Raises:
            UsageError: if there is none of that name, or it cannot be made.
        """
        name = self.config.id
        try:
            return gymnasium.make(name)
        except gymnasium.error.UnregisteredEnv:
            known = [key for key in gymnasium.registry if not key.startswith("bench/")]
            message = unknown("task.id", name, known).partition(" Valid:")[0]
            raise UsageError(
                f"{message} Valid: the names in gymnasium.registry; module:Name-v0 imports a "
                "module first"
            ) from None
        except Exception as error:  # of code that is not ours: shown, whatever it is
            raise UsageError(f"task.id={name}: cannot be made: {described(error)}") from error

    def scaled(self, action: np.ndarray) -> np.ndarray:
        """Return an action of the environment's own box for one in [-1, 1]."""
        share = (np.clip(action, -1, 1) + 1) / 2
        return (self.low + share * (self.high - self.low)).astype(self.action_type)

    def position(self, obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        """Return where the agent is, (P,).

        Raises:
            KeyError: if the info lacks it.
        """
        where = self.config.position
        if not where:
            return np.zeros(0, np.float32)
        if found := SLICE.fullmatch(where):
            start, stop = (int(number) if number else None for number in found.groups())
            return obs[start:stop]
        parts = [np.ravel(named(info, key, "task.position")) for key in where.split("+")]
        return np.concatenate(parts).astype(np.float32)

    def success(self, info: dict[str, Any]) -> bool | None:
        """Say whether an episode with this last info has succeeded; None where undefined.

        Raises:
            KeyError: if the info lacks the key that is set.
        """
        if self.config.success_key:
            return bool(named(info, self.config.success_key, "task.success_key"))
        return next((bool(info[key]) for key in SUCCESS if key in info), None)

    def label(self, path: np.ndarray) -> int:
        """Return the mode of a path (T + 1, P): its index, K for another name, -1 for None.

        Raises:
            TypeError: if the function returns neither a name nor None.
        """
        if self.function is None:
            return -1
        name = self.function(path)
        if name is None:
            return -1
        if not isinstance(name, str):
            raise TypeError(f"task.label={self.config.label} returned {name!r}, not a mode's name")
        return self.modes.index(name) if name in self.modes else len(self.modes)

    def make(
        self, num_envs: int, seed: int, threads: int = 1, training: bool = True
    ) -> GymVectorEnv:
        """Return N environments, stepped one after the other."""
        return GymVectorEnv(self, num_envs, seed)


def load_function(path: str) -> Callable[[np.ndarray], str | None]:
    """Return the function of `module:function`.

    Raises:
        UsageError: if there is none.
    """
    module, _, name = path.partition(":")
    try:
        content = vars(importlib.import_module(module or path))
    except ImportError as error:
        raise UsageError(f"task.label={path}: {error}") from error
    if name not in content or not callable(content[name]):
        raise UsageError(f"task.label={path}: module {module!r} has no function {name!r}")
    return content[name]


def named(info: dict[str, Any], key: str, setting: str) -> Any:
    """Return an entry of an info.

    Raises:
        KeyError: naming the setting that asks for it, and what there is.
    """
    if key not in info:
        raise KeyError(f"{setting}: the info has no {key!r}; it has {', '.join(info) or 'nothing'}")
    return info[key]


class Slot:
    """One environment and the episode that it is in.

    Attributes:
        seed: of the episode.
        actions: so far, in [-1, 1].
        total: the return so far.
        path: T + 1 positions (P,) so far.
        obs: (O,) float32, the last one.
    """

    def __init__(self, task: GymTask, number: int, env: gymnasium.Env | None = None) -> None:
        self.task, self.number = task, number
        self.env = env or task.make_one()

    def begin(self, seed: int) -> Slot:
        """Start an episode."""
        self.seed, self.total = seed, 0.0
        self.actions: list[np.ndarray] = []
        self.path: list[np.ndarray] = []
        obs, info = self.attempt(self.env.reset, ("observation", "info"), seed=seed)
        self.look(obs, info)
        return self

    def step(self, action: np.ndarray) -> tuple[float, bool, bool, dict[str, Any]]:
        """Apply an action in [-1, 1]; return reward, terminated, truncated and info."""
        self.actions.append(np.array(action, np.float32))  # what is played again is what was played
        parts = ("observation", "reward", "terminated", "truncated", "info")
        obs, reward, terminated, truncated, info = self.attempt(
            self.env.step, parts, self.task.scaled(self.actions[-1])
        )
        gained = np.asarray(reward)
        if gained.size != 1 or gained.dtype.kind not in "bfiu" or not np.isfinite(gained).all():
            raise self.failure(f"the reward is {reward}")
        self.total += gained.item()
        self.look(obs, info)
        over = len(self.actions) >= self.task.horizon
        return float(gained.item()), bool(terminated), bool(truncated) or over, info

    def replay(self, seed: int, actions: list[np.ndarray]) -> Slot:
        """Play an episode so far again."""
        self.begin(seed)
        for action in actions:
            self.step(action)
        return self

    def look(self, obs: Any, info: dict[str, Any]) -> None:
        """Take in an observation and the position that goes with it."""
        if isinstance(obs, dict):
            raise self.failure(f"the observation is a dict of {', '.join(map(str, obs))}")
        array = self.attempt(np.asarray, (), obs, np.float32)
        if array.shape != (self.task.obs_dim,):
            raise self.failure(
                f"the observation has shape {array.shape}; its space says ({self.task.obs_dim},)"
            )
        self.obs = array.copy()
        position = self.attempt(self.task.position, (), self.obs, info)
        for what, values in (("observation", self.obs), ("position", position)):
            if not np.isfinite(values).all():
                raise self.failure(f"the {what} is not finite: {values}")
        if self.path and position.shape != self.path[0].shape:
            raise self.failure(f"the position has shape {position.shape}, not as at the start")
        self.path.append(position)

    def conclude(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return what `final_info` holds of an episode that ends with this info."""
        task = self.task
        final: dict[str, Any] = {"episode": {"r": self.total, "l": len(self.actions)}}
        success = self.attempt(task.success, (), info)
        if task.function is not None:
            path = np.array(self.path, np.float32)
            mode = -1 if success is False else self.attempt(task.label, (), path)
            success = mode >= 0 if success is None else success
            final["mode"] = len(task.modes) if success and mode < 0 else mode
        return final if success is None else final | {"success": success}

    def attempt(
        self, call: Callable[..., Any], parts: tuple[str, ...], *args: Any, **kwargs: Any
    ) -> Any:
        """Call code that is not ours; what it returns must be a tuple of these parts, if any.

        Raises:
            EnvironmentFailedError: naming the step and what was raised or returned.
        """
        try:
            result = call(*args, **kwargs)
        except Exception as error:  # whatever it is, it is shown with the step
            raise self.failure(described(error)) from error
        if parts and not (isinstance(result, tuple) and len(result) == len(parts)):
            raise self.failure(f"{call.__name__}() returned {result}, not ({', '.join(parts)})")
        return result

    def failure(self, what: str) -> EnvironmentFailedError:
        """Return the error that says what has happened, and when."""
        return EnvironmentFailedError(
            f"task.id={self.task.config.id}: environment {self.number}, step {len(self.actions)} "
            f"of the episode with seed {self.seed}: {what}"
        )


class GymVectorEnv(VectorEnv, TaskEnv):
    """N Gymnasium environments with SAME_STEP autoreset that can be stored exactly.

    A simulator's inside cannot be copied in general. So every episode has a seed of its own, and
    is played again from its seed and its actions to restore it. Whether that works is checked
    whenever the state is stored, which costs as many steps as the episodes under way have.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    layout = None

    def __init__(self, task: GymTask, num_envs: int, seed: int) -> None:
        self.task, self.num_envs = task, num_envs
        self.slots = [Slot(task, number) for number in range(num_envs)]
        self.spare: Slot | None = None
        self.single_observation_space = Box(-np.inf, np.inf, (task.obs_dim,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (task.act_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.reset(seed=seed)

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the task's K modes."""
        return self.task.modes

    @property
    def position(self) -> np.ndarray:
        """Where each agent is, (N, P) float32."""
        return np.array([slot.path[-1] for slot in self.slots], np.float32)

    @property
    def obs(self) -> np.ndarray:
        """The current observations, (N, O) float32, a copy."""
        return np.array([slot.obs for slot in self.slots])

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
            self._np_random = np.random.default_rng(np.random.SeedSequence([seed, self.num_envs]))
            self._np_random_seed = seed
        self.begin(reset_mask(options, self.num_envs))
        return self.obs, {}

    def begin(self, which: np.ndarray) -> None:
        """Start an episode in the environments of a mask (N,)."""
        for i in np.flatnonzero(which):
            self.slots[i].begin(int(self.np_random.integers(2**31)))

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions (N, A) in [-1, 1]; restart the episodes that end.

        Raises:
            ValueError: if the actions have another shape.
            EnvironmentFailedError: if an environment fails, naming the step.
        """
        actions = action_array(actions, (self.num_envs, self.task.act_dim))
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        final_info: dict[str, Any] = {}
        paths = np.full(self.num_envs, None, object)
        for i, slot in enumerate(self.slots):
            reward[i], terminated[i], cut, info = slot.step(actions[i])
            truncated[i] = cut and not terminated[i]
            if terminated[i] or cut:
                final_info = self._add_info(final_info, slot.conclude(info), i)
                paths[i] = np.array(slot.path, np.float32)
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if done.any():
            final_info |= {"path": paths, "_path": done.copy()}
            infos = {"final_obs": self.obs, "_final_obs": done.copy(),
                     "final_info": final_info, "_final_info": done.copy()}  # fmt: skip
            self.begin(done)
        return self.obs, reward, terminated, truncated, infos

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` plays all episodes again from.

        Raises:
            EnvironmentFailedError: if playing an episode again leads elsewhere.
        """
        if self.spare is None:
            self.spare = Slot(self.task, self.num_envs)
        for slot in self.slots:
            check_same(slot, self.spare.replay(slot.seed, slot.actions))
        return {
            "rng": self.np_random.bit_generator.state,
            "seeds": [slot.seed for slot in self.slots],
            "actions": [list(slot.actions) for slot in self.slots],
            "obs": self.obs,
        }

    def set_state(self, state: dict[str, Any]) -> np.ndarray:
        """Take back what `get_state` returned; return the current observations (N, O).

        Raises:
            EnvironmentFailedError: if playing an episode again leads elsewhere here.
        """
        self.np_random.bit_generator.state = state["rng"]
        for slot, seed, actions, obs in zip(
            self.slots, state["seeds"], state["actions"], state["obs"], strict=True
        ):
            slot.replay(seed, actions)
            if not np.array_equal(slot.obs, obs):
                raise slot.failure("played again, it led elsewhere than where it was stored")
        return self.obs

    def close_extras(self, **kwargs: Any) -> None:
        """Close all environments."""
        for slot in [*self.slots, *([self.spare] if self.spare else [])]:
            slot.env.close()


def check_same(slot: Slot, again: Slot) -> None:
    """Check that an episode played again has led to where it was.

    Raises:
        EnvironmentFailedError: if not.
    """
    same = np.array_equal(slot.obs, again.obs) and np.array_equal(slot.path, again.path)
    if not (same and slot.total == again.total):
        off = np.abs(slot.obs - again.obs).max()
        raise slot.failure(
            f"it cannot be stored: played again from its seed, the observation is off by up to "
            f"{off:.3g} and the return by {abs(slot.total - again.total):.3g}; does reset(seed=) "
            "leave out some randomness, or a wrapper remember earlier episodes?"
        )
