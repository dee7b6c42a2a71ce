"""How settings come about, and which way imports flow."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import bench.algos
from bench.algos.ddiffpg.explorer import ExplorerConfig
from bench.configuration import as_dict, resolve, understand
from bench.errors import UsageError
from bench.provenance import digest

ROOT = Path(__file__).parents[2]


def settings(*words):
    request = understand(list(words))
    return [resolve(request.overrides(*c)) for c in request.combinations()]


def test_all_and_families_and_lists_expand():
    every = settings("algo=sac", "task=all")
    families = settings("algo=sac", "task=pointmaze,antmaze,manipulation")
    assert len(every) == 12 and {r.names.task for r in every} == {r.names.task for r in families}
    runs = settings("algo=ddiffpg,sac", "task=pointmaze", "seed=0,7")
    assert len(runs) == 2 * 4 * 2 and {r.seed for r in runs} == {0, 7}
    (own,) = settings("algo=sac", "task=pointmaze", "task.layout=['#####','#R.G#','#####']")
    assert own.names.task == "pointmaze"


def test_budget_preset_and_command_line_win_in_this_order():
    (quick,) = settings("algo=sac", "task=antmaze-v1")
    assert quick.task.integrator == "implicitfast" and quick.algo.exploration.hold == 1
    (paper,) = settings("algo=ddiffpg", "task=antmaze-v1", "budget=paper", "preset=paper")
    assert paper.task.integrator == "rk4" and paper.algo.actor.hidden == [1024, 512, 256]
    assert paper.num_envs == 256 and paper.env_steps == 3_000_000
    (none,) = settings("algo=sac", "task=pointmaze-v1", "preset=none")
    assert none.algo.exploration.warmup == 0
    (own,) = settings("algo=sac", "task=antmaze-v1", "task.integrator=rk4", "algo.batch=7")
    assert own.task.integrator == "rk4" and own.algo.batch == 7


@pytest.mark.parametrize("preset", ["suite", "paper"])
def test_every_preset_of_every_algorithm_composes(preset):
    tasks = "pointmaze-v1,antmaze-v3,antmaze-v4,drawer-close,gym"  # with presets of their own
    for run in settings(f"algo={having(preset)}", f"task={tasks}", f"preset={preset}"):
        assert as_dict(run)["preset"] == preset


def having(preset):
    """The algorithms that a preset says something of."""
    folders = Path(bench.__file__).parent / "conf/presets" / preset
    named = {path.name for path in folders.iterdir()} & bench.algos.registry.keys()
    return ",".join(sorted(named))


def test_a_preset_that_an_algorithm_does_not_have_is_refused_but_random_play_has_any():
    for algo in ("categorical", "sac,latent-sac"):
        with pytest.raises(UsageError, match=r"preset=paper: \S+ has none; dacer, .*, td3 have$"):
            settings(f"algo={algo}", "task=pointmaze-v1", "preset=paper")
    (run,) = settings("algo=random", "task=pointmaze-v1", "preset=paper")
    assert run.preset == "paper"


def test_a_list_needs_no_brackets_and_is_no_sweep():
    words = ["algo=sac", "task=pointmaze-v1"]
    (run,) = settings(*words, "plugins=json,csv", "logger=tensorboard")
    assert run.plugins == ["json", "csv"] and run.logger == ["tensorboard"]
    (same,) = settings(*words, "plugins=[json,csv]")
    assert same.plugins == run.plugins


def test_a_neutral_setting_changes_no_digest():
    words = ["algo=sac", "task=pointmaze-v1"]
    changes = [], ["eval.specified=0", "log.every=7"], ["eval.episodes=7"]
    plain, neutral, other = (digest(settings(*words, *more)[0], []) for more in changes)
    assert plain == neutral != other


def test_a_preset_with_an_unknown_setting_is_refused(monkeypatch, tmp_path):
    from bench import configuration

    folder = tmp_path / "presets" / "suite" / "sac"
    folder.mkdir(parents=True)
    (folder / "_base.yaml").write_text("gama: 1.0")
    (tmp_path / "budgets").mkdir()
    monkeypatch.setattr(configuration, "CONF", tmp_path)
    with pytest.raises(UsageError, match=r"sac/_base\.yaml"):
        settings("algo=sac", "task=pointmaze-v1")


def test_a_plugin_brings_presets_of_its_own(monkeypatch, tmp_path):
    sac = bench.algos.registry["sac"]
    entries = {"mine": dataclasses.replace(sac, name="mine", presets=tmp_path)}
    monkeypatch.setattr(bench.algos.registry, "entries", bench.algos.registry.entries | entries)
    for preset, file, text in (
        ("suite", "_base", "{batch: 7, gamma: 0.5}"),
        ("suite", "pointmaze", "{gamma: 0.6}"),
        ("fast", "pointmaze-v1", "{batch: 9}"),
    ):
        folder = tmp_path / preset / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{file}.yaml").write_text(text)
    (maze,) = settings("algo=mine", "task=pointmaze-v1")
    assert (maze.algo.batch, maze.algo.gamma) == (7, 0.6)
    assert maze.algo.exploration.warmup > 0, "what the suite says of all algorithms applies too"
    (other,) = settings("algo=mine", "task=reach")
    assert (other.algo.batch, other.algo.gamma) == (7, 0.5)
    (fast,) = settings("algo=mine", "task=pointmaze-v1", "preset=fast")
    assert fast.algo.batch == 9
    with pytest.raises(UsageError, match="fast"):
        settings("algo=mine", "task=pointmaze-v1", "preset=fest")
    with pytest.raises(UsageError, match="unknown preset 'fast'"):
        settings("algo=sac", "task=pointmaze-v1", "preset=fast")


def test_what_many_algorithms_share_is_said_once_and_each_has_the_last_word(monkeypatch, tmp_path):
    sac = bench.algos.registry["sac"]
    entries = {"mine": dataclasses.replace(sac, name="mine", presets=tmp_path)}
    monkeypatch.setattr(bench.algos.registry, "entries", bench.algos.registry.entries | entries)
    for name, said in (
        ("all", "{batch: 1, updates: 1, tau: 0.1}"),
        ("off-policy", "{batch: 2, updates: 2, rollout: 3}"),  # sac has no rollout
        ("on-policy", "{batch: 3}"),
        ("mine", "{batch: 4}"),
    ):
        folder = tmp_path / "suite" / name
        folder.mkdir(parents=True)
        (folder / "_base.yaml").write_text(said)
    (run,) = settings("algo=mine", "task=reach")
    assert (run.algo.batch, run.algo.updates, run.algo.tau) == (4, 2, 0.1)


def imports(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield path, node.module


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("algos", ["bench.tasks", "bench.analysis", "mujoco"]),
        ("tasks", ["bench.algos", "bench.analysis", "torch"]),
        ("analysis", ["bench.algos", "bench.tasks", "torch", "mujoco", "gymnasium"]),
    ],
)
def test_imports_flow_one_way(folder, never):
    for path, module in imports(folder):
        assert not any(module == n or module.startswith(n + ".") for n in never), (path, module)


def test_records_are_read_without_torch_or_a_simulator():
    program = "import sys, bench.analysis.report; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True, cwd=ROOT)  # fmt: skip
    assert "bench.analysis.report" in done.stdout.split()
    assert not {"torch", "mujoco", "gymnasium"} & set(done.stdout.split())


def test_no_task_runner_or_analysis_names_an_algorithm():
    names = set(bench.algos.discover())
    for folder in ("bench", "tasks", "analysis"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert node.value not in names, path


def test_what_hydra_may_share_between_runs_is_changed_by_none():
    first, second = (settings("algo=sac", "task=pointmaze-v1")[0] for _ in range(2))
    first.algo.critic.hidden = (1,)
    first.task.horizon = 1
    assert second.algo.critic.hidden != (1,) and second.task.horizon != 1
    assert settings("algo=sac", "task=pointmaze-v1")[0] == second


def test_every_algorithm_has_the_same_bonus_rows_and_updates_on_an_ant():
    bonuses, rows, updates = set(), set(), set()
    for one in settings("algo=all", "task=antmaze-v1", "budget=hour"):
        if hasattr(one.algo, "novelty"):  # what learns
            novelty = one.algo.novelty
            bonuses.add(str(novelty))
            assert getattr(one.algo, "explorer", ExplorerConfig()).scale == 1
            rows.add(one.algo.batch)
            updates.add(getattr(one.algo, "updates", None))
    assert len(bonuses) == 1 and rows == {768}
    assert updates == {2, None}, "None: learns from rollouts"
