"""Every `bench/` id behaves as Gymnasium's own environments do, alone and as a vector."""

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo
from gymnasium.wrappers.vector import DictInfoToList
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorStatistics

import bench
from bench.errors import UsageError
from bench.tasks import make_task, registry

IDS = sorted(key for key in gymnasium.registry if key.startswith("bench/"))
every_id = pytest.mark.parametrize("key", IDS)
RANDOM_START = ("bench/antmaze-v1-v0", "bench/peg-in-hole-v0", "bench/pointmaze-v1-v0")
SHORT = 6  # steps of the episodes that are played to their end


def task_of(key):
    """Return the task of an id."""
    return make_task(key.removeprefix("bench/").removesuffix("-v0"))


def actions_for(env, steps, seed=0):
    """Return `steps` random actions for an environment."""
    shape = (steps, *env.action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_every_task_of_the_suite_has_an_id():
    suite = [name for name in registry if registry[name].info["suite"] == "yes"]
    assert len(suite) == 12 and {f"bench/{name}-v0" for name in suite} <= set(IDS)


@every_id
def test_gymnasiums_own_checker_passes_and_draws_it(key):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "", UserWarning)
        warnings.filterwarnings("ignore", ".*Box observation space m.* value is", UserWarning)
        check_env(gymnasium.make(key).unwrapped)


@every_id
def test_an_unknown_setting_is_a_type_error_that_names_it(key):
    name = key.removeprefix("bench/").removesuffix("-v0")
    makers = (
        lambda: gymnasium.make(key, horizn=5),
        lambda: gymnasium.make_vec(key, num_envs=2, horizn=5),
        lambda: bench.make_env(name, num_envs=2, horizn=5),
        lambda: bench.make_task(name, horizn=5),
    )
    for make in makers:
        with pytest.raises(
            TypeError, match=f"task '{name}' got an unexpected keyword argument 'horizn'"
        ) as caught:
            make()
        assert isinstance(caught.value, UsageError) and "\n" not in str(caught.value)
        hint = "It has none." if "maze" not in key else "Did you mean 'horizon'"
        assert hint in str(caught.value)


@pytest.mark.parametrize("value", ["five", None, 5.5, [5]])
def test_a_setting_of_another_type_is_refused_with_its_name(value):
    with pytest.raises(UsageError, match="task 'pointmaze-v1': horizon=") as caught:
        bench.make_task("pointmaze-v1", horizon=value)
    assert repr(value) in str(caught.value) and "\n" not in str(caught.value)
    assert bench.make_task("pointmaze-v1", horizon=np.int64(5)).horizon == 5


@every_id
def test_pictures_are_drawn_where_a_render_mode_asks_for_them(key):
    env = gymnasium.make(key, render_mode="rgb_array")
    many = gymnasium.make_vec(key, num_envs=2, render_mode="rgb_array")
    blind = gymnasium.make(key)
    for one in (env, many, blind):
        one.reset(seed=0)
        assert one.metadata["render_modes"] == ["rgb_array"]
    frame, frames = env.render(), many.render()
    for picture in (frame, *frames):
        assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8
        assert picture.std() > 5, "nothing is drawn"
    assert len(frames) == 2 and blind.render() is None
    for action in np.ones((4, *env.action_space.shape), np.float32):
        env.step(action)
    assert not np.array_equal(env.render(), frame), "the picture stands still"
    world = many.unwrapped.world
    dt = world.frame_skip * world.model.opt.timestep
    assert env.metadata["render_fps"] == many.metadata["render_fps"] == pytest.approx(1 / dt)
    for one in (env, many, blind):
        one.close()
        one.close()
    with pytest.raises(UsageError, match="render_mode='ansi': valid are None, rgb_array"):
        gymnasium.make_vec(key, num_envs=1, render_mode="ansi")


@every_id
def test_a_video_is_recorded(key, tmp_path):
    pytest.importorskip("moviepy")
    env = gymnasium.make(key, render_mode="rgb_array", max_episode_steps=SHORT)
    env = RecordVideo(env, str(tmp_path), episode_trigger=lambda episode: True)
    env.reset(seed=0)
    for action in actions_for(env, SHORT):
        env.step(action)
    env.close()
    assert [path.stat().st_size > 1_000 for path in tmp_path.glob("*.mp4")] == [True]


@every_id
def test_the_info_of_an_ended_episode_collides_with_no_wrapper(key):
    env = RecordEpisodeStatistics(gymnasium.make(key, max_episode_steps=SHORT))
    _, info = env.reset(seed=0)
    assert info == {"success": False, "is_success": False, "goal": -1, "mode": -1}
    gained = 0.0
    for step, action in enumerate(actions_for(env, SHORT), start=1):
        _, reward, terminated, truncated, info = env.step(action)
        gained += reward
        assert not terminated and truncated == (step == SHORT)
        assert (info["success"], info["is_success"], info["goal"]) == (False, False, -1)
    assert info["episode"]["l"] == SHORT and info["episode"]["r"] == gained
    env.close()


@every_id
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync", "async"])
def test_statistics_of_vectors_are_right_in_all_three_modes(key, mode):
    env = gymnasium.make_vec(key, 2, vectorization_mode=mode, max_episode_steps=SHORT)
    env = DictInfoToList(VectorStatistics(env))
    env.reset(seed=0)
    for step, action in enumerate(actions_for(env, SHORT), start=1):
        _, _, _, truncated, infos = env.step(action)
        assert truncated.tolist() == [step == SHORT] * 2
    for info in infos:
        assert info["episode"]["l"] == SHORT
        final = info if mode != "vector_entry_point" else info["final_info"]
        assert (final["success"], final["goal"], final["mode"]) == (False, -1, -1)
        assert final["episode"]["l"] == SHORT
    env.close()


@every_id
def test_the_specification_names_the_horizon_and_makes_the_same_again(key):
    env, horizon = gymnasium.make(key), task_of(key).horizon
    many = gymnasium.make_vec(key, num_envs=2)
    assert env.spec.max_episode_steps == many.spec.max_episode_steps == horizon
    again, vector = gymnasium.make(env.spec), gymnasium.make_vec(many.spec)
    assert again.spec.max_episode_steps == vector.spec.max_episode_steps == horizon
    assert vector.num_envs == 2
    for one in (env, many, again, vector):
        one.close()


@pytest.mark.parametrize(
    ("settings", "horizon"),
    [({}, 150), ({"horizon": 30}, 30), ({"horizon": 200}, 200), ({"layout": ["v3"]}, 250)],
)
def test_an_episode_is_truncated_once_at_the_horizon_of_the_settings(settings, horizon):
    key = "bench/pointmaze-v1-v0"
    env, many = gymnasium.make(key, **settings), gymnasium.make_vec(key, 2, **settings)
    assert env.spec.max_episode_steps == many.spec.max_episode_steps == horizon
    for one in (env, gymnasium.make(env.spec), many):
        one.reset(seed=0)
        cut = [np.all(one.step(np.zeros(one.action_space.shape))[3]) for _ in range(horizon)]
        assert cut == [False] * (horizon - 1) + [True]
        one.close()


@every_id
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_is_independent_and_in_the_same_state(key, copied):
    for env in (gymnasium.make(key), gymnasium.make_vec(key, num_envs=2)):
        env.reset(seed=1)
        actions = actions_for(env, 3 * SHORT)
        for action in actions[:SHORT]:
            env.step(action)
        twin = copied(env)
        seen = [env.step(action)[0].copy() for action in actions[SHORT:]]
        seen.append(env.reset()[0].copy())  # draws from the generator
        again = [twin.step(action)[0].copy() for action in actions[SHORT:]]
        again.append(twin.reset()[0].copy())
        assert np.array_equal(seen, again), "a copy shares something with its original"
        env.close()
        twin.step(actions[0])
        twin.close()


@every_id
def test_unseeded_environments_differ_and_seeded_ones_agree(key):
    name = key.removeprefix("bench/").removesuffix("-v0")

    def generator(env):
        inner = env.unwrapped
        state = (inner if isinstance(inner, gymnasium.vector.VectorEnv) else inner.vector).np_random
        start = env.reset()[0]
        env.close()
        return state.bit_generator.state["state"]["state"], start

    for make in (
        lambda **seed: gymnasium.make(key, **seed),
        lambda **seed: gymnasium.make_vec(key, num_envs=2, **seed),
        lambda **seed: bench.make_env(name, num_envs=2, **seed),
    ):
        (one, start), (other, elsewhere) = generator(make()), generator(make())
        assert one != other
        assert np.array_equal(start, elsewhere) == (key not in RANDOM_START)
        (one, start), (other, same) = generator(make(seed=0)), generator(make(seed=0))
        assert one == other and np.array_equal(start, same)


@every_id
def test_a_mask_resets_some_and_no_others(key):
    env = gymnasium.make_vec(key, num_envs=3)
    env.reset(seed=0)
    for action in actions_for(env, SHORT):
        obs, *_ = env.step(action)
    mask = np.array([True, False, False])
    anew, _ = env.reset(options={"reset_mask": mask})
    assert np.array_equal(anew[1:], obs[1:]) and not np.array_equal(anew[0], obs[0])
    assert env.unwrapped.length.tolist() == [0, SHORT, SHORT]
    for bad in (mask[:2], mask.astype(int), np.array([0])):
        with pytest.raises(ValueError, match=r"expected \(3,\) bool"):
            env.reset(options={"reset_mask": bad})
    env.close()


@every_id
def test_an_action_of_the_wrong_shape_is_refused(key):
    env, many = gymnasium.make(key), gymnasium.make_vec(key, num_envs=4)
    env.reset(), many.reset()
    (size,) = env.action_space.shape
    for one, shapes in ((env, [(size + 1,), (1, size), ()]), (many, [(size,), (1, size), (4, 1)])):
        for shape in shapes:
            with pytest.raises(ValueError, match=r"action has shape .*; expected"):
                one.step(np.zeros(shape, np.float32))
        one.step(np.zeros(one.action_space.shape, np.float32))
        one.close()


def test_a_plugins_task_without_physics_is_made_by_id_too(monkeypatch):
    from bench.tasks import register
    from bench.tasks.gym_task import Config, GymTask

    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    register("swing", config=Config, family="gym")(GymTask)
    env, many = gymnasium.make("bench/swing-v0"), gymnasium.make_vec("bench/swing-v0", 2)
    assert env.reset(seed=0)[0].shape == (3,) and many.reset(seed=0)[0].shape == (2, 3)
    assert env.spec.max_episode_steps == 200 and env.metadata.get("render_modes", []) == []
    with pytest.raises(UsageError, match="render_mode='rgb_array': valid are None"):
        gymnasium.make("bench/swing-v0", render_mode="rgb_array")


def test_a_success_is_read_from_the_info():
    layout = ["#####", "#R.G#", "#####"]
    env = RecordEpisodeStatistics(gymnasium.make("bench/pointmaze-v1-v0", layout=layout))
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, reward, terminated, truncated, info = env.step(np.array([1.0, 0.0], np.float32))
        assert not truncated and info["is_success"] == info["success"] == terminated
    assert (reward, info["goal"], info["mode"], info["episode"]["r"]) == (10.0, 0, 0, 10.0)
