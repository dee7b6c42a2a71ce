"""Replanning and rendering, on a policy trained for a moment."""

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench.tasks
from bench.__main__ import main
from bench.commands.render import Episode, choose, film
from bench.errors import UsageError
from bench.policy import load_policy, load_task
from bench.rendering import Painter, thinned, tile, write_video
from bench.replanning import Follower, Plan, make_plan, replan

REACH = Path(__file__).parents[2] / "results/reference/campaign/classes/reach/sac/seed=100"


def run(folder, algo, task, *more):
    words = [
        "run", f"algo={algo}", f"task={task}", "budget=smoke", f"results={folder}", "threads=1",
        *more,
    ]  # fmt: skip
    assert main(words) == 0
    return folder / "default" / task / algo / "seed=0"


@pytest.fixture(scope="module")
def commanded(tmp_path_factory):
    """A DDiffPG run whose random exploration has found modes."""
    return run(
        tmp_path_factory.mktemp("r"), "ddiffpg", "pointmaze-v3",
        "env_steps=50000", "num_envs=64", "algo.exploration.warmup=48000", "eval.every=25000",
        "algo.exploration.hold=12",
    )  # fmt: skip


def test_a_follower_gives_up_modes_that_lead_nowhere():
    plan = Plan(np.array([2, 0, 1]), np.array([100.0, 5.0, 100.0]), window=3, progress=1.0)
    follower = Follower(plan, 2)
    track = [np.zeros((2, 2))]
    assert follower.modes().tolist() == [2, 2]
    for t in range(1, 4):  # the first agent stands still, the second walks
        track.append(np.array([[0.0, 0.0], [1.0 * t, 0.0]]))
        follower.observe(track)
    assert follower.modes().tolist() == [0, 2] and follower.switches.tolist() == [1, 0]
    for t in range(4, 10):
        track.append(np.array([[1.0 * t, 0.0], [1.0 * t, 0.0]]))
        follower.observe(track)
    assert follower.modes().tolist() == [0, 2], "a mode in progress is not given up"


def test_patience_ends_a_mode_and_the_order_starts_anew():
    plan = Plan(np.array([0, 1]), np.array([2.0, 2.0]), window=100, progress=1.0)
    follower, seen = Follower(plan, 1), []
    for t in range(9):
        follower.observe([np.zeros((1, 2))] * (t + 2))
        seen.append(int(follower.modes()[0]))
    assert seen == [0, 0, 1, 1, 1, 0, 0, 0, 1]


def test_replanning_reports_and_draws(commanded, capsys):
    policy = load_policy(commanded)
    assert policy.num_modes >= 1
    plan = make_plan(commanded, policy, load_task(commanded), 0)
    assert sorted(plan.order) == list(range(policy.num_modes))
    task = load_task(commanded, layout=["v3-block1"], horizon=60)
    outcome = replan(policy, task, plan, episodes=4, seed=0)
    assert [len(p) - 1 for p in outcome.paths] == outcome.length.tolist()
    assert not task.maze.inside_wall(np.concatenate(outcome.paths)).any()
    assert main(["replan", str(commanded), "episodes=3", "horizon=1"]) == 0
    facts = json.loads((commanded / "replan" / "replan.json").read_text())
    assert [v["variant"] for v in facts["variants"]] == ["v3-block1", "v3-block2", "v3-block3"]
    assert Image.open(commanded / "replan" / "replan.png").width > 500
    own = "layout=['#####','#R.G#','#####']"
    assert main(["replan", str(commanded), "episodes=2", "horizon=1", own]) == 0
    for bad in ("layout=v9", "layout=[1]", "layout=['##']", "horizon=0", "window=-1"):
        assert main(["replan", str(commanded), bad]) == 2
    assert "v9" in capsys.readouterr().err


def test_a_policy_without_commands_keeps_sampling(tmp_path):
    folder = run(tmp_path, "sac", "pointmaze-v3", "env_steps=1600", "eval.every=800")
    assert main(["replan", str(folder), "episodes=2", "horizon=1"]) == 0
    facts = json.loads((folder / "replan" / "replan.json").read_text())
    assert all(v["switches"] == 0 for v in facts["variants"])


def test_a_trail_keeps_its_ends_and_no_points_that_lie_closer():
    path = np.linspace([0, 0, 0], [10, 0, 0], 1001)
    path[400:600] = path[400]  # it stands still
    kept = np.array(thinned(path, 0.5))
    assert np.array_equal(kept[[0, -1]], path[[0, -1]]) and 15 < len(kept) <= 21
    assert (np.linalg.norm(np.diff(kept[:-1], axis=0), axis=1) >= 0.5 - 1e-9).all()
    assert len(thinned(path[400:600], 0.5)) == 2


def test_rendering_writes_a_video_and_a_picture(commanded, tmp_path, capsys):
    pytest.importorskip("mujoco")
    status = main(["render", str(commanded), "episodes=1", "size=64"])
    if status == 2 and "no picture can be drawn" in capsys.readouterr().err:
        pytest.skip("no graphics")
    assert status == 0
    picture = np.asarray(Image.open(commanded / "render" / "paths.png"))
    assert picture.shape[0] == 128 and picture.std() > 10
    videos = list((commanded / "render").glob("episodes.*"))
    assert len(videos) == 1 and videos[0].stat().st_size > 1000
    arm = tmp_path / "arm"  # one that has learned: few frames, of which each takes long to draw
    shutil.copytree(REACH, arm)
    assert main(["render", str(arm), "episodes=1", "size=64"]) == 0
    assert main(["replan", str(arm)]) == 2
    assert "no layout" in capsys.readouterr().err


def episode(command, mode, steps, diverged=False):
    path = np.stack([np.linspace(0, 1, steps + 1), np.full(steps + 1, mode)], axis=1)
    return Episode(np.full((steps, 3), float(steps)), path, command, mode, diverged)


def test_shown_is_each_commands_success_of_median_length():
    found = [episode(0, 1, 9), episode(0, -1, 2), episode(0, 1, 5), episode(0, 1, 7),
             episode(1, -1, 3), episode(1, -1, 4)]  # fmt: skip
    assert choose(found) == [found[3], found[4]]
    free = [replace(one, command=-1) for one in found]
    assert [one.mode for one in choose(free)] == [-1, 1], "one per mode obtained"


def test_a_film_goes_on_until_the_last_episode_has_ended():
    class Stub:
        def frame(self, state, trails):
            ((path, _),) = trails
            drawn.append((float(state[0]), len(path)))
            return np.full((10, 10, 3), 7, np.uint8)

    drawn = []
    chosen = [episode(0, 0, 2), episode(1, -1, 4)]
    frames = film(Stub(), bench.tasks.make_task("pointmaze-v1"), chosen)
    assert len(frames) == 4 + 12 and {frame.shape for frame in frames} == {(32, 20, 3)}
    assert drawn == [(2.0, 2), (4.0, 2), (2.0, 3), (4.0, 3), (2.0, 3), (4.0, 4), (2.0, 3), (4.0, 5)]


def test_pictures_are_tiled_row_by_row_to_even_sizes():
    grid = tile([np.full((3, 5, 3), value, np.uint8) for value in (1, 2, 3)], 2)
    assert grid.shape == (6, 10, 3)
    assert [grid[0, 0, 0], grid[0, 5, 0], grid[3, 0, 0], grid[3, 5, 0]] == [1, 2, 3, 255]
    assert tile([np.zeros((3, 5, 3), np.uint8)], 1).shape == (4, 6, 3)


def test_every_path_is_drawn_however_many_there_are():
    """MuJoCo's renderer holds 10,000 geoms unless it is told how many are to come."""
    env = bench.tasks.make_task("pointmaze-v1").make(1, 0)
    steps = np.linspace(-1, 1, 1_000)
    paths = [(np.stack([steps, np.full_like(steps, y)], axis=1), (1.0, 0.0, 0.0))
             for y in np.linspace(-1, 1, 12)]  # fmt: skip
    try:
        painter = Painter(env.scene, 64, pieces=12_000)
    except UsageError as error:
        pytest.skip(str(error))
    with closing(painter):
        painter.frame(env.scene.states()[0], paths, width=0.001)
        geoms = painter.renderer.scene.geoms[: painter.renderer.scene.ngeom]
        red = sum(np.allclose(geom.rgba, (1, 0, 0, 1)) for geom in geoms)
    env.close()
    assert red == 12 * 999


def test_a_video_that_is_not_finished_leaves_nothing(tmp_path):
    pytest.importorskip("imageio_ffmpeg")

    def interrupted():
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    class Frames(list):
        def __iter__(self):
            return interrupted()

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path, "episodes", Frames([np.zeros((16, 16, 3), np.uint8)]), 5)
    assert not list(tmp_path.iterdir())
