"""Episodes as Minari datasets: what is exported is what was played, and comes back whole."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import bench.algos
from bench import evaluation
from bench.__main__ import main
from bench.api import HasReplay, Spec
from bench.commands.export import environment
from bench.datasets import (
    Recorder,
    check_fits,
    read,
    remembered,
    stretched,
    transitions,
    write,
)
from bench.errors import UsageError
from bench.evaluation import FREE, Protocol, evaluate
from bench.rollout import Rollout, play_episodes
from bench.tasks import make_task

minari = pytest.importorskip("minari")

NAME = "bench/pointmaze-v1/test-v0"
ENVS = 3


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def make(name, task, num_envs=ENVS, **settings):
    config = bench.algos.discover()[name].config(**settings)
    return bench.algos.registry[name].factory(Spec.of(task, num_envs, 0), config, "cpu")


def played(algo, task, episodes=5):
    recorder = Recorder()
    asked = Protocol("sampled", np.full(episodes, FREE))
    rows, paths = evaluate(algo, task, asked, seed=0, env_steps=0, threads=1, device="cpu",
                           watch=recorder)  # fmt: skip
    return recorder.trajectories(), rows, paths


def stepped(algo, task, steps):
    """Let an algorithm act for some vector steps; return what passed, as (T, N, ...) arrays."""
    env = task.make(ENVS, 0)
    rollout, passed = Rollout(env), []
    for _ in range(steps):
        action = algo.act(torch.as_tensor(rollout.obs), explore=True).numpy()
        step = rollout.step(action)
        algo.observe(step.transition("cpu"))
        passed.append(step)
    env.close()
    return {key: np.stack([getattr(s, key) for s in passed]) for key in step._fields[:-1]}


def test_what_is_recorded_is_what_was_played(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 3)  # two waves, the second not full
    task = make_task("pointmaze-v1", horizon=20)
    trajectories, rows, paths = played(make("random", task), task)
    assert len(trajectories) == len(rows) == 5
    for one, row, path in zip(trajectories, rows, paths, strict=True):
        assert len(one) == row["length"] and one.reward.sum() == pytest.approx(row["return"])
        np.testing.assert_array_equal(one.position, path)
        assert one.obs.shape == (len(one) + 1, 4) and one.action.shape == (len(one), 2)


def test_the_actions_that_are_recorded_are_those_that_were_taken():
    env, recorder, taken = make_task("pointmaze-v1", horizon=12).make(3, 0), Recorder(), []
    rng = np.random.default_rng(0)

    def act(obs, slots):
        action = rng.uniform(-1, 1, (len(slots), 2)).astype(np.float32)
        taken.append(dict(zip(slots.tolist(), action, strict=True)))
        return action

    play_episodes(env, act, 0, watch=recorder)
    env.close()
    for slot, one in enumerate(recorder.trajectories()):
        np.testing.assert_array_equal(one.action, [step[slot] for step in taken[: len(one)]])


def test_an_episode_succeeded_if_it_says_so_whatever_its_path_looks_like():
    task = make_task("pointmaze-v1", horizon=15)
    (one, *_), _, _ = played(make("random", task), task)
    assert not stretched(one, task)["success"].any()
    told = stretched(replace(one, notes={"success": True}), task)["success"]
    assert told[-1] and not told[:-1].any()


def test_data_that_cannot_be_learned_from_is_refused():
    task = make_task("pointmaze-v1", horizon=15)
    trajectories, _, _ = played(make("random", task), task)
    check_fits("d", trajectories, task, 1)
    one = trajectories[0]
    short = make_task("pointmaze-v1", horizon=len(one) - 1)
    with pytest.raises(UsageError, match=f"has an episode of {len(one)} steps"):
        check_fits("d", [one], short, 1)
    for key, value, message in (
        ("action", 2.0, "actions as large as 2, valid are -1 to 1"),
        ("action", np.nan, "actions that are not finite"),
        ("reward", np.inf, "rewards that are not finite"),
    ):
        bad = getattr(one, key).copy()
        bad[3] = value
        with pytest.raises(UsageError, match=message):
            check_fits("d", [replace(one, **{key: bad})], task, 1)


def test_a_dataset_comes_back_as_it_was_written():
    task = make_task("pointmaze-v1", horizon=15)
    trajectories, _, _ = played(make("random", task), task)
    write(NAME, trajectories, task, environment(task, {"horizon": 15}), "random", "of a test")
    for was, now in zip(trajectories, read(NAME), strict=True):
        for key in ("obs", "action", "reward", "position"):
            np.testing.assert_array_equal(getattr(was, key), getattr(now, key))
        assert was.terminated == now.terminated


def test_minari_reads_modes_ends_and_the_environment():
    task = make_task("pointmaze-v1", horizon=200)
    goal = next(c for c in played_towards_goal(task))
    write(NAME, [goal], task, environment(task, {"horizon": 200}), "scripted", "of a test")
    dataset = minari.load_dataset(NAME)
    episode = dataset[0]
    assert episode.terminations[-1] and not episode.truncations.any()
    assert episode.rewards.sum() == 10
    facts = next(iter(dataset.storage.get_episode_metadata([0])))
    assert facts["success"] and facts["mode_name"] in task.modes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = dataset.recover_environment()
    env.reset(seed=0)
    assert env.step(episode.actions[0])[0].shape == episode.observations[1].shape
    assert env.spec.max_episode_steps == 200


def played_towards_goal(task):
    """Yield the successful episodes of long held random actions."""
    settings = bench.algos.registry["sac"].config().exploration
    settings.warmup, settings.hold = 10**6, 12
    algo = make("sac", task, 32, exploration=settings)
    env, count = task.make(32, 0), 0
    rollout = Rollout(env)
    while not count:
        step = rollout.step(algo.act(torch.as_tensor(rollout.obs), explore=True).numpy())
        algo.observe(step.transition("cpu"))
        count += int(step.success.sum())
    env.close()
    yield from (one for one in remembered(algo) if one.terminated)


@pytest.mark.parametrize("capacity", [1000, 3 * 25])
def test_a_replay_gives_its_whole_episodes(capacity):
    task = make_task("pointmaze-v1", horizon=10)
    algo = make("sac", task, replay=capacity)
    passed = stepped(algo, task, 38)  # three episodes each, and eight steps of a fourth
    found = list(remembered(algo))
    first = 0 if capacity == 1000 else 2  # with 25 steps kept, the first two begin before them
    assert len(found) == ENVS * (3 - first)
    for env in range(ENVS):
        for number in range(first, 3):
            one = found[env * (3 - first) + number - first]
            span = slice(10 * number, 10 * number + 10)
            np.testing.assert_array_equal(one.action, passed["action"][span, env])
            np.testing.assert_array_equal(one.obs[:-1], passed["obs"][span, env])
            np.testing.assert_array_equal(one.obs[-1], passed["next_obs"][span, env][-1])
            np.testing.assert_array_equal(one.position[1:], passed["next_position"][span, env])


def with_replay():
    entries = bench.algos.discover()
    return [name for name in sorted(entries) if issubclass(entries[name].factory, HasReplay)]


@pytest.mark.parametrize("name", with_replay())
def test_every_replay_begins_with_data_and_gives_it_back(name):
    task = make_task("pointmaze-v1", horizon=10)
    data, _, _ = played(make("random", task), task, episodes=2 * ENVS)
    algo = make(name, task)
    algo.begin_with(transitions(data, task, ENVS, "cpu"))
    found = list(remembered(algo))
    expected = [data[k] for env in range(ENVS) for k in (env, env + ENVS)]
    assert len(found) == len(expected)
    for was, now in zip(expected, found, strict=True):
        np.testing.assert_array_equal(was.obs, now.obs)
        np.testing.assert_allclose(was.reward, now.reward, rtol=1e-6)
    assert algo.exploration.steps == 2 * ENVS * 10 and algo.exploration.random.all()


def test_uneven_episodes_fill_the_environments_evenly():
    task = make_task("pointmaze-v1", horizon=30)
    longest = played(make("random", task), task, episodes=1)[0][0]
    cut = [type(longest)(longest.obs[: n + 1], longest.action[:n], longest.reward[:n], False,
                         longest.position[: n + 1]) for n in (30, 10, 12, 5)]  # fmt: skip
    steps = list(transitions(cut, task, 2, "cpu"))
    assert len(steps) == 27, "the second environment plays 10 + 12 + 5 steps"
    ends = torch.stack([s.truncated for s in steps])
    assert ends[:, 1].nonzero().flatten().tolist() == [9, 21, 26]
    assert ends[:, 0].nonzero().flatten().tolist() == [26], "what is running then is cut"


def test_labels_are_told_of_what_ends():
    task = make_task("pointmaze-v1", horizon=200)
    goal = next(played_towards_goal(task))
    failed = type(goal)(
        goal.obs[:11], goal.action[:10], goal.reward[:10], False, goal.position[:11]
    )
    told = []
    steps = list(transitions([goal, failed, goal, failed], task, 2, "cpu", told.append))
    label = torch.stack(told)
    success = torch.stack([step.success for step in steps])
    assert success.sum() == 2 and (label[~success] == -1).all()
    assert (label[success] == task.label(goal.position)).all()

    settings = bench.algos.discover()["ddiffpg"].config().modes
    settings.labels = "task"
    algo = make("ddiffpg", task, 2, modes=settings)
    algo.begin_with(transitions([goal] * 4, task, 2, "cpu", algo.observe_labels))
    assert algo.modes.truth.tolist() == [task.label(goal.position)] * 4


def test_from_the_command_line(tmp_path, capfd):
    words = ["task=pointmaze-v1", "budget=smoke", "env_steps=1200", "eval.episodes=2",
             "algo.exploration.warmup=1000", f"results={tmp_path}", "threads=1"]  # fmt: skip
    assert main(["run", "algo=sac", *words]) == 0
    run_dir = str(tmp_path / "default/pointmaze-v1/sac/seed=0")
    assert main(["export", run_dir, "episodes=2"]) == 0
    assert main(["export", run_dir, "source=replay", f"id={NAME}"]) == 0
    capfd.readouterr()
    facts = list(minari.load_dataset("bench/pointmaze-v1/sac-policy-v0").storage
                 .get_episode_metadata([0, 1]))  # fmt: skip
    assert [fact["commanded"] for fact in facts] == [-1, -1] and "mode_name" in facts[0]

    for wrong, line in (
        (["export", run_dir, f"id={NAME}"], f"id={NAME}: there is a dataset of this name"),
        (["export", run_dir, "id=plain"], "id=plain: valid are names like group/name-v0"),
        (["export", run_dir, "mode=0", "id=a-v0"], "mode=0: this policy takes no commands"),
        (["export", run_dir, "source=all"], "unknown source 'all'"),
        (["export", run_dir, "source=replay", "seed=1", "id=a-v0"], "seed=1: a replay is taken"),
        (["run", "algo=sac", *words, "experiment=b", "data=no-v0"], "data=no-v0: no such dataset"),
        (["run", "algo=ppo", *words[:4], *words[5:], "experiment=b", f"data={NAME}"],
         f"data={NAME}: ppo has no replay"),
        (["run", "algo=sac", "task=reach", *words[1:], "experiment=b", f"data={NAME}"],
         f"data={NAME}: has observations of 4 numbers, reach of 20"),
        (["run", "algo=sac", *words, "experiment=b", "num_envs=64", f"data={NAME}"],
         f"data={NAME}: has 8 episodes, which is less than one for each of num_envs=64"),
    ):  # fmt: skip
        assert main(wrong) == 2
        assert line in capfd.readouterr().err
    assert not list(tmp_path.glob("b/*/*/*/run.json")), "nothing is written on bad input"

    (tmp_path / "default/pointmaze-v1/sac/seed=0/checkpoint.pt").unlink()
    assert main(["export", run_dir, "source=replay", "id=a-v0"]) == 2
    assert "checkpoint.pt is missing" in capfd.readouterr().err

    assert main(["run", "algo=sac", *words, "experiment=b", f"data={NAME}"]) == 0
    assert main(["run", "algo=sac", *words, "experiment=b"]) == 2, "other data is another setting"
    assert "data was" in capfd.readouterr().err
