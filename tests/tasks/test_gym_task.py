"""A user's own Gymnasium environment: as it is registered, with success, positions and modes."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import WrapperSpec
from gymnasium.spaces import Box, Dict

from bench.api import Spec
from bench.errors import UsageError
from bench.evaluation import Protocol, evaluate
from bench.rollout import Rollout, play_episodes
from bench.tasks import make_task
from bench.tasks.gym_task import EnvironmentFailedError
from bench.testing import check_task


class Fork(gymnasium.Env):
    """Five steps to the right, up or down as the action says; off the middle line is success.

    `defect` makes it do one thing wrong from the third step of an episode on.
    """

    def __init__(self, defect="", success="success", rng=None):
        self.observation_space = Box(-20, 20, (3,), np.float64)
        if defect == "dict space":
            self.observation_space = Dict({"x": self.observation_space})
        self.action_space = Box(-2.0, 4.0, (1,), np.float64)
        self.defect, self.success, self.episodes = defect, success, 0
        if defect == "cannot be made":
            raise ImportError("no module\nnamed rocket")

    def observe(self):
        obs = np.array([self.x, self.y, self.noise])
        if self.defect == "memory":
            return obs + self.episodes
        if self.defect == "randomness":
            return obs + np.random.default_rng().uniform()
        if self.x >= 3:
            if self.defect == "nan":
                obs[1] = np.nan
            if self.defect == "shape":
                return obs[:2]
            if self.defect == "dict":
                return {"image": obs}
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.defect == "reset":
            raise RuntimeError("the door is locked")
        self.x, self.y, self.noise, self.seed = 0.0, 0.0, self.np_random.uniform(), seed
        self.episodes += 1
        return self.observe(), {"x_position": 0.0, "pair": np.zeros(2)}

    def step(self, action):
        assert action.dtype == np.float64 and action.shape == (1,)
        assert action in self.action_space
        self.x += 1
        self.y += float(action[0])
        if self.x >= 3 and self.defect == "raises":
            return 1 // 0
        if self.x >= 3 and self.defect == "none":
            return None
        info = {"x_position": self.x, "pair": np.array([self.x, self.y])}
        over = self.x >= 5
        if over and self.success:
            info[self.success] = abs(self.y) > 1
        reward = None if self.defect == "reward" and self.x >= 3 else np.float32(over)
        return self.observe(), reward, over, False, info


class Doubled(gymnasium.ObservationWrapper):
    """A wrapper that an environment is registered with."""

    def observation(self, observation):
        return 2 * observation


def side(path):
    """Return which way a path (T + 1, 2) goes, None for the middle."""
    assert path.shape[1] == 2 and path.dtype == np.float32
    y = path[-1, 1]
    return None if abs(y) <= 1 else "far" if y > 15 else "up" if y > 0 else "down"


def broken_label(path):
    return 7


DEFECTS = ("raises", "none", "nan", "shape", "dict", "reward", "memory", "randomness", "reset",
           "cannot be made", "dict space")  # fmt: skip
for name, more in {
    "Fork-v0": {},
    "Plain-v0": {"kwargs": {"success": ""}},
    "Named-v0": {"kwargs": {"success": "solved"}},
    "Is-v0": {"kwargs": {"success": "is_success"}},
    "Limited-v0": {"max_episode_steps": 3},
    "Wrapped-v0": {"additional_wrappers": (WrapperSpec("Doubled", f"{__name__}:Doubled", {}),)},
    **{f"{defect.title().replace(' ', '')}-v0": {"kwargs": {"defect": defect}}
       for defect in DEFECTS},
}.items():  # fmt: skip
    gymnasium.register(f"own/{name}", entry_point=Fork, disable_env_checker=True, **more)

LABELS = {"position": "0:2", "modes": ["up", "down"], "label": f"{__name__}:side"}


def play(task, actions, seed=0):
    """Return one episode per action, played with that action alone."""
    env = task.make(len(actions), seed)
    column = np.array(actions, np.float32)[:, None]
    try:
        return play_episodes(env, lambda obs, slots: column[slots], seed)
    finally:
        env.close()


UP, DOWN, MIDDLE, FAR = 0.0, -1.0, -1 / 3, 1.0  # of [-1, 1], by 1, -2, 0 and 4 per step


def test_success_positions_and_modes_are_the_users():
    task = make_task("gym", id="own/Fork-v0", **LABELS)
    assert task.modes == ("up", "down") and task.position_dim == 2
    episodes = play(task, [UP, DOWN, MIDDLE, FAR])
    assert [episode.success for episode in episodes] == [True, True, False, True]
    assert [episode.mode for episode in episodes] == [0, 1, -1, 2]
    np.testing.assert_allclose(episodes[1].path, [[i, -2 * i] for i in range(6)])
    assert [task.label(episode.path) for episode in episodes] == [0, 1, -1, 2]
    assert [episode.total_reward for episode in episodes] == [1.0] * 4


def test_an_evaluation_counts_modes_by_their_names():
    class Half:
        num_modes = 0

        def act(self, obs, explore=False, mode=None):
            action = obs.new_full((len(obs), 1), UP)
            action[::2] = DOWN
            return action

    task = make_task("gym", id="own/Fork-v0", **LABELS)
    rows, paths = evaluate(Half(), task, Protocol("sampled", np.full(6, -1)), seed=0, env_steps=0,
                           threads=1, device="cpu")  # fmt: skip
    assert [row["mode_name"] for row in rows] == ["down", "up"] * 3
    assert all(row["success"] for row in rows) and {path.shape for path in paths} == {(6, 2)}


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [("Fork", "", True), ("Is", "", True), ("Named", "solved", True), ("Named", "", None),
     ("Plain", "", None)],
)  # fmt: skip
def test_success_is_read_from_the_key_there_is(name, key, expected):
    task = make_task("gym", id=f"own/{name}-v0", success_key=key)
    (episode,) = play(task, [UP])
    assert episode.success is expected and episode.mode == -1 and episode.path.shape == (6, 0)


def test_without_success_in_the_info_a_labelled_path_is_one():
    task = make_task("gym", id="own/Plain-v0", **LABELS)
    episodes = play(task, [UP, MIDDLE])
    assert [(one.success, one.mode) for one in episodes] == [(True, 0), (False, -1)]


def test_a_success_that_the_function_does_not_know_is_other():
    settings = LABELS | {"label": f"{__name__}:nothing"}
    task = make_task("gym", id="own/Fork-v0", **settings)
    assert [one.mode for one in play(task, [UP, MIDDLE])] == [2, -1]


def test_a_failure_has_no_mode_whatever_the_function_says():
    task = make_task("gym", id="own/Fork-v0", **LABELS | {"label": f"{__name__}:always"})
    assert [one.mode for one in play(task, [DOWN, MIDDLE])] == [0, -1]


def nothing(path):
    return None


def always(path):
    return "up"


@pytest.mark.parametrize(
    ("position", "last"),
    [("", []), ("0:2", [5, 5]), (":1", [5]), ("x_position", [5]), ("pair", [5, 5]),
     ("x_position+pair", [5, 5, 5])],
)  # fmt: skip
def test_positions_come_from_the_observation_or_the_info(position, last):
    task = make_task("gym", id="own/Fork-v0", position=position)
    assert task.position_dim == len(last)
    rollout = Rollout(task.make(2, seed=0))
    for _ in range(4):
        rollout.step(np.zeros((2, 1), np.float32))
    step = rollout.step(np.zeros((2, 1), np.float32))
    assert step.terminated.all() and step.next_position.tolist() == [last] * 2
    assert rollout.position.tolist() == [[0.0] * len(last)] * 2, "the next episode's start"


def test_wrappers_time_limit_and_transformed_spaces_are_kept():
    task = make_task("gym", id="own/Wrapped-v0", position="0:1")
    (episode,) = play(task, [UP])
    assert episode.path[:, 0].tolist() == [0, 2, 4, 6, 8, 10]
    limited = make_task("gym", id="own/Limited-v0")
    assert limited.horizon == 3
    (episode,) = play(limited, [UP])
    assert (episode.length, episode.total_reward) == (3, 0.0)
    assert Spec.of(task, 2, 0).horizon == 1_000, "without a limit of its own"


def test_every_episodes_seed_reaches_reset():
    env = make_task("gym", id="own/Fork-v0").make(2, seed=3)
    seeds = []
    for _ in range(11):
        seeds.append(tuple(slot.env.unwrapped.seed for slot in env.slots))
        env.step(np.zeros((2, 1)))
    assert len({seed for pair in seeds for seed in pair}) == 6, "two slots, three episodes"
    again, _ = env.reset(seed=3)
    assert tuple(slot.env.unwrapped.seed for slot in env.slots) == seeds[0]
    assert not np.array_equal(env.reset()[0], again), "an unseeded reset repeats itself"


@pytest.mark.parametrize("name", ["Pendulum-v1", "own/Fork-v0", "bench/pointmaze-v1-v0"])
def test_the_contract_holds_and_playing_again_restores(name):
    check_task("gym", steps=45, id=name, **(LABELS if "Fork" in name else {}))


def test_mujoco_restores_exactly_too():
    task = make_task("gym", id="Hopper-v5", position="x_position")
    env, other = task.make(2, seed=0), task.make(2, seed=1)
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 2, 3))
    for action in actions[:40]:
        env.step(action)
    assert np.array_equal(other.set_state(env.get_state()), env.obs)
    for action in actions[40:]:
        for one, two in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            assert np.array_equal(one, two)
    assert np.array_equal(env.position, other.position)
    state = env.get_state()
    state["obs"][1] += 1e-6
    with pytest.raises(EnvironmentFailedError, match=r"environment 1, .* it led elsewhere"):
        other.set_state(state)


@pytest.mark.parametrize("defect", ["memory", "randomness"])
def test_what_cannot_be_restored_is_said_when_it_is_stored(defect):
    env = make_task("gym", id=f"own/{defect.title()}-v0").make(2, seed=0)
    for _ in range(7):
        env.step(np.zeros((2, 1)))
    with pytest.raises(EnvironmentFailedError, match=r"step 2 .* it cannot be stored: .* off by"):
        env.get_state()


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("raises", r"ZeroDivisionError: integer division or modulo by zero \(test_gym_task.py:"),
        ("none", r"step\(\) returned None, not \(observation, reward, terminated, truncated, info"),
        ("nan", r"the observation is not finite: \[3\. +nan"),
        ("shape", r"the observation has shape \(2,\); its space says \(3,\)"),
        ("dict", "the observation is a dict of image"),
        ("reward", "the reward is None"),
    ],
)
def test_an_environment_that_fails_says_at_which_step(defect, message):
    env = make_task("gym", id=f"own/{defect.title()}-v0").make(2, seed=0)
    for _ in range(2):
        env.step(np.zeros((2, 1)))
    where = rf"task.id=own/{defect.title()}-v0: environment 0, step 3 of the episode with seed \d+"
    with pytest.raises(EnvironmentFailedError, match=f"^{where}: {message}") as caught:
        env.step(np.zeros((2, 1)))
    assert "\n" not in str(caught.value)
    if defect == "raises":
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_the_settings_ask_for_must_be_there():
    env = make_task("gym", id="own/Plain-v0", success_key="won").make(1, seed=0)
    with pytest.raises(EnvironmentFailedError, match=r"step 5 .* no 'won'; it has x_position, pai"):
        for _ in range(5):
            env.step(np.zeros((1, 1)))
    settings = LABELS | {"label": f"{__name__}:broken_label"}
    env = make_task("gym", id="own/Fork-v0", **settings).make(1, seed=0)
    with pytest.raises(EnvironmentFailedError, match=r"step 5 .* returned 7, not a mode's name"):
        for _ in range(5):
            env.step(np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "Pendulm-v1"}, "unknown task.id 'Pendulm-v1'. Did you mean 'Pendulum-v1'"),
        ({"id": "nowhere:Fork-v0"}, "task.id=nowhere:Fork-v0: cannot be made: ModuleNotFound"),
        ({"id": "CartPole-v1"}, "actions must be a flat Box"),
        ({"id": "own/DictSpace-v0"}, "observations must be a flat Box, not Dict.*FlattenObserv"),
        ({"id": "own/CannotBeMade-v0"}, "cannot be made: ImportError: no module named rocket"),
        ({"id": "own/Reset-v0"}, "step 0 .* RuntimeError: the door is locked"),
        ({"position": "place"}, "step 0 .* task.position: the info has no 'place'; it has x_posit"),
        ({"position": "5:7"}, "task.position=5:7: nothing of 3 numbers"),
        ({"modes": ["a"]}, "task.modes and task.label: valid are both or neither"),
        ({"label": "a:b"}, "task.modes and task.label: valid are both or neither"),
        ({"label": "a:b", "modes": ["a"]}, "task.label needs task.position"),
        (LABELS | {"modes": ["a", "a"]}, "two modes share a name"),
        (LABELS | {"label": "nowhere:side"}, "task.label=nowhere:side: No module named 'nowhere'"),
        (LABELS | {"label": f"{__name__}:sid"}, f"module '{__name__}' has no function 'sid'"),
        (LABELS | {"label": __name__}, "has no function ''"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        make_task("gym", **({"id": "own/Fork-v0"} | settings))
    assert "\n" not in str(caught.value)


def test_a_mask_and_an_action_are_checked():
    env = make_task("gym", id="own/Fork-v0", position="0:2").make(3, seed=0)
    obs = env.step(np.zeros((3, 1)))[0]
    anew, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert np.array_equal(anew[[0, 2]], obs[[0, 2]]) and anew[1, 0] == 0 < obs[1, 0]
    with pytest.raises(ValueError, match=r"action has shape \(1, 1\); expected \(3, 1\)"):
        env.step(np.zeros((1, 1)))
