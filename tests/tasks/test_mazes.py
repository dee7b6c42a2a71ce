"""What every maze must prove: modes, labels, sparsity, and one code for one and many."""

import time

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from bench.errors import UsageError
from bench.rendering import Painter
from bench.tasks import make_env, make_task
from bench.tasks.homotopy import letters
from bench.tasks.layout import GOAL_RADIUS, LAYOUTS, parse

SUITE = [f"{agent}maze-v{version}" for agent in ("point", "ant") for version in (1, 2, 3, 4)]
POINTS = [name for name in SUITE if name.startswith("point")]
MODES = {  # name: cells of the shortest route, goal, word; records hold the index alone
    "v1": "A1 4 0 () | A2 4 0 (-1,)",
    "v2": "A1 2 0 () | B1 4 1 ()",
    "v3": "A1 6 0 (2, 4) | A2 6 0 (4,) | B1 6 1 () | B2 6 1 (-5,) | B3 8 1 (-5, -3)",
    "v4": "A1 7 0 (-3,) | A2 7 0 (-2, -3) | A3 7 0 (-2, -3, -1) | A4 9 0 (-3, -1) | "
    "B1 7 1 () | B2 7 1 (-3,) | B3 7 1 (-2, -3) | B4 9 1 (-2,)",
    "v3-block1": "A1 6 0 (2, 3) | A2 6 0 (3,) | B1 8 1 () | B2 12 1 (-1,)",
    "v3-block2": "A1 6 0 (2,) | B1 6 1 ()",
    "v3-block3": "A1 6 0 (2,) | B1 6 1 () | B2 8 1 (-3,)",
}


def described(task):
    """Return the modes of a maze in the notation of MODES."""
    moves = [len(route) - 1 for route in task.homotopy.routes]
    each = zip(task.modes, moves, task.homotopy.index, strict=True)
    return " | ".join(f"{name} {count} {goal} {word}" for name, count, (goal, word) in each)


@pytest.mark.parametrize("name", [*SUITE, *(f"pointmaze {own}" for own in MODES)])
def test_modes_names_and_order_stay_what_records_were_made_with(name):
    name, _, own = name.partition(" ")
    task = make_task(name, layout=[own]) if own else make_task(name)
    assert described(task) == MODES[own or name[-2:]]
    assert list(task.homotopy.index.values()) == list(range(len(task.modes)))


BRANCHES = {  # (row, column) of a cell: the cells that modes go on to; as the layouts look
    "v1": {(2, 3): {(1, 3), (3, 3)}},  # up or down around the wall
    "v2": {(3, 3): {(3, 2), (3, 4)}},  # the near goal or the far one
    "v3": {(4, 4): {(3, 4), (4, 3), (4, 5), (5, 4)}, (5, 4): {(5, 3), (6, 4)}},
    "v4": {  # up or down; then past the middle or on; left or on; at the end, either goal
        (3, 5): {(2, 5), (4, 5)}, (2, 3): {(1, 3), (3, 3)}, (4, 3): {(3, 3), (5, 3)},
        (3, 3): {(3, 2), (2, 3), (4, 3)}, (3, 1): {(2, 1), (4, 1)},
    },
}  # fmt: skip


@pytest.mark.parametrize("agent", ["point", "ant"])
@pytest.mark.parametrize("name", BRANCHES)
def test_modes_part_where_a_look_at_the_layout_says(name, agent):
    task = make_task(f"{agent}maze-{name}")
    assert task.branches[0].point == (0, 0), "the start is one of them"
    found = {}
    for (x, y), directions in task.branches:
        cell = round(y / 4) + task.maze.start[0], round(x / 4) + task.maze.start[1]
        assert tuple(task.maze.centre(cell)) == (x, y)
        found[cell] = {(cell[0] + dy, cell[1] + dx) for dx, dy in directions}
    assert found == BRANCHES[name]


def test_a_maze_without_a_choice_has_no_branch_state():
    task = make_task("pointmaze", layout=["######", "#R..G#", "######"])
    assert task.branches == () and len(task.modes) == 1


def test_the_start_is_no_branch_state_where_all_modes_set_out_alike():
    task = make_task("pointmaze", layout=["#####", "###G#", "#R..#", "###G#", "#####"])
    ((point, directions),) = task.branches
    assert point == (8, 0) and set(directions) == {(0, -1), (0, 1)}


def pillars(size):
    """Return a field of pillars in every second row and column, start and goal in corners."""
    inside = range(1, size - 1)
    rows = [
        "".join("." if i in inside and j in inside and i % 2 + j % 2 else "#" for j in range(size))
        for i in range(size)
    ]
    rows[1], rows[-2] = "#R" + rows[1][2:], rows[-2][:-2] + "G#"
    return rows


@pytest.mark.parametrize(("size", "most"), [(15, 16), (15, 200), (31, 16)])
def test_only_the_shortest_classes_of_a_field_of_pillars_are_named(size, most):
    began = time.perf_counter()
    task = make_task("pointmaze", layout=pillars(size), most_modes=most)
    assert time.perf_counter() - began < 2, "15 x 15 cells took longer than 90 s once"
    assert len(task.modes) == len(set(task.modes)) == most
    assert len(set(task.homotopy.index)) == most and task.modes[-1] == f"A{most}"
    moves = {len(route) - 1 for route in task.homotopy.routes}
    assert moves == {2 * (size - 3)}, "longer ones are named, shorter ones left"
    assert max(task.routes) < 4.0 * moves.pop(), "corners are cut"
    for mode in (0, most // 2, most - 1):
        assert task.label(witness(task, mode)) == mode
    cells = [(1, 1 + j) for j in range(3)] + [(2, 3), (3, 3), (3, 2), (3, 1)]
    loop = np.stack([task.maze.centre(cell) for cell in [*cells, (2, 1), (1, 1)]])
    assert task.label(np.concatenate([loop, witness(task, 0)])) == most, "a turn is `other`"


def test_fewer_modes_are_the_shortest_of_more():
    several = make_task("pointmaze-v4")
    task = make_task("pointmaze-v4", most_modes=3)
    kept = [0, 1, 2, 4, 5, 6]
    assert task.modes == tuple(several.modes[k] for k in kept)
    for mode, route in enumerate(several.homotopy.routes):
        path = np.stack([several.maze.centre(cell) for cell in route])
        assert task.label(path) == (kept.index(mode) if mode in kept else len(kept))


def test_no_route_goes_on_from_another_goal():
    rows = ["#########", "#R.G...G#", "#.#####.#", "#.......#", "#########"]
    task = make_task("pointmaze", layout=rows)
    assert task.modes == ("A1", "B1") and [len(r) - 1 for r in task.homotopy.routes] == [2, 10]
    assert task.routes[0] == pytest.approx(8 - GOAL_RADIUS)


def test_names_stay_readable_beyond_26_goals():
    assert [letters(n) for n in (0, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip
    rows = ["#" * 63, "#" + "G#" * 31, "#" + "." * 30 + "R" + "." * 30 + "#", "#" * 63]
    names = make_task("pointmaze", layout=rows).modes
    assert len(names) == 31 and names[:2] == ("A1", "B1") and names[-2:] == ("AD1", "AE1")


# of D4RL's ant mazes (Fu et al. 2020, arXiv 2004.07219); ultra: Jiang et al. 2023, arXiv 2208.10291
PUBLISHED = {
    "u": (["#####", "#R..#", "###.#", "#G..#", "#####"], 1),
    "big": (
        ["########", "#R.##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#.G#",
         "########"], 1,
    ),
    "big, three goals": (
        ["########", "#R.##..#", "#..#..G#", "##...###", "#..#...#", "#G#..#.#", "#...#G.#",
         "########"], 3,
    ),
    "hardest": (
        ["############", "#R...#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#",
         "#..#.#.....#", "##.#.#.#.###", "#..#...#.G.#", "############"], 2,
    ),
    "ultra": (
        ["################", "#R......#......#", "#.###.#.#.##.#.#", "#.###.#....#.#.#",
         "#...#.##.###.#.#", "#.#...#........#", "#...#...#.###.##", "#.#.###.#...#.##",
         "#.......#.#....#", "##.##.#...####.#", "##.#..#.#.....G#", "################"], 16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_mazes_are_accepted(name):
    rows, count = PUBLISHED[name]
    began = time.perf_counter()
    task = make_task("antmaze", layout=rows)
    assert time.perf_counter() - began < 2
    assert len(task.modes) == count
    for mode in range(count):
        assert task.label(witness(task, mode)) == mode


def witness(task, mode, rng=None, jitter=0.0):
    """Return a path along a mode's shortest route, 0.4 m per step, with jitter."""
    corners = np.stack([task.maze.centre(cell) for cell in task.homotopy.routes[mode]])
    legs = [np.linspace(a, b, 10, endpoint=False) for a, b in zip(corners, corners[1:])]  # noqa: B905, RUF007
    path = np.concatenate([*legs, corners[-1:]])
    if rng is not None:
        path[1:-1] += rng.uniform(-jitter, jitter, path[1:-1].shape)
    return path


@pytest.mark.parametrize("name", SUITE)
def test_labels_survive_noise_resampling_backtracking_and_dawdling(name):
    task, rng = make_task(name), np.random.default_rng(0)
    for mode in range(len(task.modes)):
        path = witness(task, mode)
        middle = len(path) // 2
        versions = [
            path, [*path[::3].tolist(), path[-1].tolist()], path.repeat(3, 0),
            witness(task, mode, rng, 1.4),
            np.concatenate([path[:middle], path[:middle][::-1], path]),
        ]  # fmt: skip
        assert [task.label(np.array(v)) for v in versions] == [mode] * len(versions)
        assert task.label(path[:middle]) == -1


def test_a_loop_undone_is_no_loop_and_a_whole_turn_is_another_class():
    task = make_task("pointmaze-v1")

    def along(*cells):
        return np.stack([task.maze.centre(cell) for cell in cells])

    over, under = [(1, 3), (1, 2), (1, 1)], [(3, 1), (3, 2), (3, 3)]
    there_and_back = along((2, 3), *over, *over[::-1], (2, 3))
    assert task.label(np.concatenate([there_and_back, witness(task, 0)])) == 0
    assert task.label(np.concatenate([there_and_back, witness(task, 1)])) == 1
    past_the_goal = task.maze.centre((2, 1)) + np.array([[-1.0, 0.0]])
    turn = np.concatenate([along((2, 3), *over), past_the_goal, along(*under, (2, 3))])
    assert task.label(np.concatenate([turn, witness(task, 0)])) == 1
    assert task.label(np.concatenate([turn, witness(task, 1)])) == len(task.modes)


@pytest.mark.parametrize("name", POINTS)
def test_a_scripted_controller_reaches_every_mode(name):
    task = make_task(name)
    count = len(task.modes)
    env = task.make(count, seed=0, training=False)
    obs, _ = env.reset()
    routes = [[task.maze.centre(cell) for cell in route] for route in task.homotopy.routes]
    turn, found = [0] * count, [None] * count
    for _ in range(task.horizon):
        action = np.zeros((count, 2), np.float32)
        for i in range(count):
            aim = routes[i][turn[i]]
            if np.linalg.norm(aim - obs[i, :2]) < 0.8 and turn[i] < len(routes[i]) - 1:
                turn[i] += 1
            action[i] = np.clip(1.5 * (aim - obs[i, :2]) - 0.15 * obs[i, 2:], -1, 1)
        obs, reward, terminated, _, infos = env.step(action)
        for i in np.flatnonzero(terminated):
            if found[i] is None:
                found[i] = int(infos["final_info"]["mode"][i])
                assert reward[i] == 10 and 20 <= infos["final_info"]["episode"]["l"][i] <= 110
    env.close()
    assert found == list(range(count))
    assert env.statistics()["wall_violations"] == 0


@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v2"])
def test_check_env_and_one_equals_many(name):
    env = gymnasium.make(f"bench/{name}-v0").unwrapped
    check_env(env, skip_render_check=True)
    many = gymnasium.make_vec(f"bench/{name}-v0", num_envs=3)
    one_obs, many_obs = env.reset(seed=4)[0], many.reset(seed=4)[0]
    assert many_obs.shape == (3, len(one_obs)) and many_obs.dtype == np.float32
    rng = np.random.default_rng(0)
    if name.endswith("v2"):  # its start is the same everywhere
        for _ in range(40):
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            one = env.step(action)
            several = many.step(np.tile(action, (3, 1)))
            assert np.array_equal(one[0], several[0][1]) and one[1] == several[1][2]
    many.close()


def test_random_play_is_sparse_and_stays_out_of_walls():
    env = make_env("pointmaze-v3", 128, seed=1)
    rng, episodes, successes = np.random.default_rng(0), 0, 0
    for _ in range(520):
        *_, infos = env.step(rng.uniform(-1, 1, (128, 2)).astype(np.float32))
        if infos:
            episodes += infos["_final_info"].sum()
            successes += infos["final_info"]["success"].sum()
    assert episodes >= 256 and successes < 0.02 * episodes
    seen = env.statistics()
    assert seen["wall_violations"] == 0 and 0 < seen["state_coverage"] < 1


def test_final_obs_is_the_true_successor_and_infos_have_gymnasiums_form():
    env = make_env("pointmaze-v2", 5, seed=0)
    reference = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make("bench/pointmaze-v2-v0", max_episode_steps=None)] * 2,
        autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
    )
    seen = []
    for one in (env, reference):
        one.reset(seed=0)
        for _ in range(150):
            action = np.zeros(one.action_space.shape, np.float32)
            action[:, 0] = -1
            obs, _, _, truncated, infos = one.step(action)
        assert truncated.all() and infos["_final_obs"].all() and infos["_final_info"].all()
        assert abs(obs[0, 0]) < 1e-6 and infos["final_obs"][0][0] < -1.5
        seen.append({k for k in infos["final_info"] if not k.startswith("_")})
        assert infos["final_info"]["_success"].all()
    assert seen[0] == {"success", "goal", "mode", "episode", "path", "diverged"}
    assert seen[1] == {"success", "goal", "mode", "is_success"}


@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v1"])
def test_state_restores_exactly(name):
    env = make_env(name, 4, seed=3)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (260, *env.action_space.shape)).astype(np.float32)
    for action in actions[:130]:
        env.step(action)
    state = env.get_state()
    first = [env.step(action)[:4] for action in actions[130:]]
    other = make_env(name, 4, seed=99)
    other.set_state(state)
    second = [other.step(action)[:4] for action in actions[130:]]
    for one, two in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_mask_resets_some_and_no_others():
    env = make_env("pointmaze-v1", 4, seed=0)
    env.reset()
    for _ in range(5):
        obs, *_ = env.step(np.ones((4, 2), np.float32))
    mask = np.array([True, False, False, True])
    anew, _ = env.reset(options={"reset_mask": mask})
    assert np.array_equal(anew[~mask], obs[~mask]) and not np.isin(anew[mask], obs[mask]).any()
    assert env.length.tolist() == [0, 5, 5, 0]


def test_reward_end_and_label_are_one_decision_at_the_rim_of_a_goal():
    task = make_task("pointmaze-v2")
    goal = task.maze.goal_positions[0]
    angle = np.linspace(0, 2 * np.pi, 5001)
    rim = goal + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    world = task.make(1, 0).world
    verdict = world.judge(rim, rim.astype(np.float32), rim)
    labels = [task.label(np.stack([np.zeros(2), end])) for end in rim.astype(np.float32)]
    assert 0 < (verdict.goal >= 0).sum() < len(rim), "the rim lies on both sides of rounding"
    assert np.array_equal(verdict.goal >= 0, np.array(labels) >= 0)
    assert np.array_equal(verdict.reward > 0, verdict.goal >= 0)


def test_observations_at_other_places_differ_in_the_place_alone():
    env = make_env("antmaze-v1", 1, seed=0, training=False)
    points = np.array([[0.0, 0.0], [1.0, -3.0]])
    obs = env.observe_at(points)
    assert np.array_equal(obs[0], env.reset()[0][0]) and np.array_equal(obs[:, :2], points)
    assert np.array_equal(obs[0, 2:], obs[1, 2:])


def test_neighbouring_seeds_share_nothing():
    starts = [make_env("pointmaze-v1", 8, seed=s).reset()[0][:, 0] for s in (0, 1)]
    assert not np.intersect1d(*starts).size


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["####", "#RG#", "###"], "differ in length"),
        (["#####", "#R?G#", "#####"], "unknown character '?'"),
        (["#####", "#R.G.", "#####"], "border"),
        (["#####", "#..G#", "#####"], "0 start cells"),
        (["#####", "#R..#", "#####"], "no goal"),
        (["#######", "#R.#.G#", "#######"], "cannot be reached from the start"),
        (["#######", "#R.G.G#", "#######"], "row 1, column 5 .* through another goal"),
        (["#####", "#RGG#", "###G#", "#GGG#", "#####"], "column 3 .* through another goal"),
        (["#####", "#GOO#", "###O#", "#OOO#", "#####"], "unknown character 'O'; valid are # . R G"),
    ],
)
def test_impossible_layouts_are_refused_in_one_line(rows, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        parse(rows)
    assert "\n" not in str(caught.value)


def test_a_users_layout_and_the_unseen_obstacles():
    task = make_task("pointmaze", layout=["#####", "#R.G#", "#####"])
    assert task.modes == ("A1",) and task.label(witness(task, 0)) == 0
    for block in ("v3-block1", "v3-block2", "v3-block3"):
        assert make_task("antmaze", layout=[block]).layout == LAYOUTS[block]
    with pytest.raises(UsageError, match="Did you mean 'v3-block1'"):
        make_task("pointmaze", layout=["v3-blok1"])


@pytest.mark.parametrize("name", ["pointmaze-v3", "antmaze-v2"])
def test_a_picture_is_turned_as_the_text_of_the_layout(name):
    task = make_task(name)
    env = task.make(1, 0, training=False)
    env.reset(seed=0)
    try:
        painter = Painter(env.scene, 32 * max(task.maze.walls.shape))
    except UsageError as error:
        pytest.skip(str(error))
    picture = painter.frame(env.scene.states()[0]).astype(float)
    painter.close()
    env.close()
    side = picture.shape[0] / (1.04 * max(task.maze.walls.shape))  # pixels of a cell
    middle = (picture.shape[0] - 1) / 2
    for i, row in enumerate(task.layout):
        for j, mark in enumerate(row):
            y, x = (round(middle + side * (at - (n - 1) / 2))
                    for at, n in zip((i, j), task.maze.walls.shape, strict=True))  # fmt: skip
            red, green, _ = picture[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
            if mark == "G":
                assert green > 1.5 * red, "a goal is where the text has it"
            elif mark != "R":
                assert (green < 180) == (mark == "#"), (mark, i, j)
