"""What goes wrong while runs go on, and what is left then."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mujoco
import pandas as pd
import pytest
import torch

import bench
from bench.__main__ import main
from bench.records import EpisodeLog, Record
from bench.storage import CHECKSUMS, DATA, load_state, pack
from bench.tasks.vector import WorldVectorEnv

HERE = Path(__file__).parent
REFERENCE = HERE.parents[1] / "results/reference"
WORDS = ["plugins=[faulty]", "algo=walker", "task=line", "budget=smoke", "num_envs=8",
         "env_steps=800", "eval.every=400", "eval.episodes=8", "checkpoint.every=80",
         "log.every=80"]  # fmt: skip
PLACE = Path("default/line/walker/seed=0")


@pytest.fixture(autouse=True)
def no_report(monkeypatch, request):
    if "report" not in request.keywords:
        monkeypatch.setattr("bench.commands.run.report", lambda runs: 0)


def run(results, *words):
    return main(["run", f"results={results}", *WORDS, "threads=1", *words])


def command(results, *words):
    return [sys.executable, "-m", "bench", "run", f"results={results}", *WORDS, *words]


def environment():
    """Return the variables of a process that finds the plugin, and this source, from any folder."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def episodes(results):
    return pd.read_parquet(results / PLACE / "episodes.parquet")


def facts(results, place=PLACE):
    return json.loads((results / place / "run.json").read_text())


def checkpoint(results):
    path = results / PLACE / "checkpoint.pt"
    return load_state(path, path, "cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The results of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.commands.run.report", lambda runs: 0)
        assert run(folder) == 0
    return folder


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The results of a run that was interrupted after its first evaluation."""
    folder = tmp_path_factory.mktemp("half")
    assert run(folder, "algo.fault=interrupt", "algo.at=25") == 130
    record = Record(folder / PLACE)
    config = record.read_config()
    config["algo"] |= {"fault": "", "at": 15}
    record.write_config(config)
    record.write(record.read())
    return folder


def copied(source, tmp_path):
    shutil.copytree(source, tmp_path / "r")
    return tmp_path / "r"


# Code that a record names


def test_a_checkpoint_that_names_code_runs_none(half, tmp_path, capsys):
    results, marker = copied(half, tmp_path), tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return Path.touch, (marker,)

    torch.save(Trap(), results / PLACE / "checkpoint.pt")
    (results / PLACE / CHECKSUMS).unlink()  # whoever hands on a record hands on its checksums
    assert run(results) == 2 and not marker.exists()
    assert "checkpoint.pt cannot be read" in capsys.readouterr().err


def test_a_policys_plugin_is_imported_only_if_it_is_named(whole, tmp_path):
    program = "import sys; from bench.__main__ import main; sys.exit(main(sys.argv[1:]))"
    for words, status in ([], 2), (["plugins=[faulty]"], 0):
        done = subprocess.run(
            [sys.executable, "-v", "-c", program, "eval", str(whole / PLACE), "episodes=2", *words],
            env=environment(), cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status
        assert ("import 'faulty'" in done.stderr) == (status == 0)
        if status:
            assert done.stderr.count("bench: ") == 1
            assert "imported only if you name it: plugins=[faulty]" in done.stderr
    policy = bench.load_policy(whole / PLACE, plugins=["faulty"])
    assert policy.act(torch.zeros(3, 2)).shape == (3, 1)


NAMED = """
import gymnasium

class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, seed=None, options=None):
        return self.observation_space.low, {}

    def step(self, action):
        return self.observation_space.low, 0.0, False, False, {}

gymnasium.register("Walk-v0", Walk, max_episode_steps=3)

def side(path):
    return None
"""


@pytest.mark.parametrize("of", ["id", "label"])
def test_a_module_that_a_tasks_settings_name_is_imported_only_if_it_is_named(
    whole, tmp_path, monkeypatch, capsys, of
):
    name = f"named_by_{of}"
    (tmp_path / f"{name}.py").write_text(NAMED)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"id": f"{name}:Walk-v0"}
    if of == "label":
        settings = {"id": "Pendulum-v1", "position": "0:1", "modes": ["left"]}
        settings["label"] = f"{name}:side"
    stored = load_state(whole / PLACE / "policy.pt", Path("policy.pt"), "cpu")
    stored |= {"task": "gym", "task_settings": settings}
    if of == "label":  # of Pendulum, whose observations have one number more
        stored["spec"] |= {"obs_dim": 3}
        stored["state"]["weight"] = torch.zeros(3, 1)
    place = copied(whole, tmp_path) / PLACE
    (place / CHECKSUMS).unlink()
    torch.save(pack(stored), place / "policy.pt")
    for command in ("eval", "replan", "render"):
        assert main([command, str(place), "plugins=[faulty]", "episodes=1"]) == 2
        error = capsys.readouterr().err
        assert f"imported only if you name it: plugins=[faulty,{name}]" in error
        assert name not in sys.modules
    assert main(["eval", str(place), f"plugins=[faulty,{name}]", "episodes=1"]) == 0
    assert name in sys.modules


# Files that change or are lost


FILES = ["checkpoint.pt", "episodes.parquet", "paths.npz", "policy.pt", "progress.jsonl",
         "config.yaml"]  # fmt: skip


def contents(folder):
    files = (path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_an_interrupted_run_is_refused(half, tmp_path, capsys, name):
    results = copied(half, tmp_path)
    path = results / PLACE / name
    before = path.read_bytes()
    changed = bytearray(before)
    changed[len(changed) // 2] ^= 4
    for content in (bytes(changed), before[: len(before) // 2], b"", None):
        path.unlink() if content is None else path.write_bytes(content)
        kept = contents(results / PLACE)
        assert run(results) == 2
        error = capsys.readouterr().err.strip()
        assert error.count("\n") == 0 and name in error, error
        assert "is damaged" in error or "is missing" in error
        assert "overwrite=true makes the run anew" in error
        assert contents(results / PLACE) == kept
    assert run(results, "overwrite=true") == 0
    assert facts(results)["status"] == "done" and (results / PLACE / name).exists()


def test_a_done_run_is_checked_too_but_for_its_checkpoint(whole, tmp_path, capsys):
    results = copied(whole, tmp_path)
    (results / PLACE / "checkpoint.pt").unlink()  # thrown away to save space
    assert run(results) == 0 and "done already" in capsys.readouterr().err
    path = results / PLACE / "episodes.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert run(results) == 2 and "episodes.parquet is damaged" in capsys.readouterr().err
    assert main(["eval", str(results / PLACE), "episodes=2"]) == 0
    path = results / PLACE / "policy.pt"
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)
    assert main(["eval", str(results / PLACE), "episodes=2"]) == 2
    assert "policy.pt is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff"])
def test_without_run_json_a_run_goes_on_from_its_checkpoint(whole, half, tmp_path, content):
    for source in (half, whole):
        results = tmp_path / source.name
        shutil.copytree(source, results)
        path = results / PLACE / "run.json"
        path.unlink() if content is None else path.write_bytes(content)
        assert run(results, "algo.at=14") == 2, "other settings are refused as ever"
        assert run(results) == 0
        assert facts(results)["status"] == "done"
        pd.testing.assert_frame_equal(episodes(results), episodes(whole))


def test_without_run_json_and_checkpoint_nothing_is_erased(whole, tmp_path, capsys):
    for kind, content in {"lost": None, "empty": b""}.items():
        results = tmp_path / kind
        shutil.copytree(whole, results)
        (results / PLACE / "checkpoint.pt").unlink()
        path = results / PLACE / "run.json"
        path.unlink() if content is None else path.write_bytes(content)
        for name in (CHECKSUMS, "nothing more"):  # the record of an earlier build neither
            kept = contents(results / PLACE)
            assert run(results) == 2 and "run.json" in capsys.readouterr().err
            assert contents(results / PLACE) == kept
            (results / PLACE / name).unlink(missing_ok=True)


def test_a_shortened_progress_is_noticed_without_checksums_too(half, tmp_path, capsys):
    results = copied(half, tmp_path)
    (results / PLACE / CHECKSUMS).unlink()
    path = results / PLACE / "progress.jsonl"
    for left in (100, 0, None):
        path.write_bytes(path.read_bytes()[:left]) if left is not None else path.unlink()
        assert run(results) == 2 and f"{left or 0} of" in capsys.readouterr().err


def test_the_record_of_an_earlier_build_is_continued(whole, half, tmp_path):
    results = copied(half, tmp_path)
    (results / PLACE / CHECKSUMS).unlink()
    assert run(results) == 0
    pd.testing.assert_frame_equal(episodes(results), episodes(whole))
    Record(results / PLACE).sums.verify()


def test_overwrite_makes_anew_what_differs_and_nothing_else(whole, half, tmp_path, capsys):
    results = copied(whole, tmp_path)
    before = contents(results / PLACE)
    assert run(results, "overwrite=true") == 0, "the same settings: done already"
    assert contents(results / PLACE) == before
    for name in ("clusters.npz", "values.npz", "exploration.npz"):
        Record(results / PLACE).write_arrays(name)
    (results / PLACE / "replan").mkdir()
    other = ["algo.at=30", "overwrite=true"]
    assert run(results, *other, "algo.fault=interrupt") == 130
    assert contents(results / PLACE).keys() <= {
        "run.json", "config.yaml", CHECKSUMS, *DATA
    } - {"clusters.npz", "values.npz", "exploration.npz"}  # fmt: skip
    reached = checkpoint(results)["env_steps"]
    assert reached == 800, "interrupted in the last evaluation"
    capsys.readouterr()
    assert run(results, *other, "algo.fault=interrupt") == 0, "the run it interrupted itself"
    assert "continuing" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["misfit", "unreadable", "short"])
def test_overwrite_makes_anew_what_cannot_be_gone_on_from(whole, half, tmp_path, capsys, kind):
    """A record of an earlier build: it has no checksums, and its checkpoint may hold other things.

    What the checkpoint has already given when it turns out not to fit is forgotten again.
    """
    results = copied(half, tmp_path)
    place = results / PLACE
    (place / CHECKSUMS).unlink()
    if kind == "misfit":
        state = checkpoint(results)
        del state["due"]
        torch.save(pack(state), place / "checkpoint.pt")
    elif kind == "unreadable":
        (place / "checkpoint.pt").write_bytes(b"other")
    else:
        path = place / "progress.jsonl"
        path.write_bytes(path.read_bytes()[:100])
    kept = contents(place)
    assert run(results) == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith("overwrite=true makes the run anew") and "Traceback" not in error
    assert contents(place) == kept
    assert run(results, "overwrite=true") == 0
    pd.testing.assert_frame_equal(episodes(results), episodes(whole))
    assert (
        facts(results)["env_steps"] == 800
        and facts(results)["computed"] == (facts(whole)["computed"])
    )


# Numbers that are not finite


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("algo.fault=loss", "loss is nan at env step 120"),
        ("algo.fault=weight", "policy.spare is not finite at env step 160"),
        ("algo.fault=action", "action is nan at env step 128"),
        ("algo.fault=huge-action", "action is 1e+30 at env step 128"),
        ("task.fault=reward", "reward is nan at env step 120"),
        ("task.fault=huge-reward", "reward is 1e+30 at env step 120"),
        ("task.fault=infinite-reward", "reward is inf at env step 120"),
        ("task.fault=observation", "observation is inf at env step 120"),
    ],
)
def test_a_number_that_is_not_finite_ends_the_run_where_it_arises(tmp_path, capsys, fault, message):
    for _ in range(2):  # a repeat starts from the last good checkpoint
        assert run(tmp_path, fault) == 1
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
        assert facts(tmp_path)["status"] == "failed" and message in facts(tmp_path)["error"]
        state = checkpoint(tmp_path)
        assert state["env_steps"] == 80 and torch.isfinite(state["algo"]["spare"]).all()


def test_a_reward_that_is_not_finite_in_an_evaluation_is_not_recorded(tmp_path, capsys):
    assert run(tmp_path, "task.fault=played") == 1
    message = "an evaluation's return is nan at env step 400"
    assert message in capsys.readouterr().err and message in facts(tmp_path)["error"]
    assert not (tmp_path / PLACE / "episodes.parquet").exists()
    assert checkpoint(tmp_path)["env_steps"] == 320


# Two processes


def test_a_run_that_another_process_has_made_meanwhile_is_not_made_anew(
    whole, half, tmp_path, capsys, monkeypatch
):
    """It was not there when this process looked, and is there, and free, when it begins."""
    for source in (whole, half):
        results = tmp_path / source.name
        shutil.copytree(source, results)
        kept = contents(results / PLACE)
        monkeypatch.setattr("bench.commands.run.states_of", lambda runs: ["new"])
        assert run(results) == 2
        assert "has just been made by another process" in capsys.readouterr().err
        assert contents(results / PLACE) == kept


def test_a_run_that_goes_on_is_left_alone(half, tmp_path, capsys, monkeypatch):
    results = copied(half, tmp_path)
    kept = contents(results / PLACE)
    with Record(results / PLACE).lock():
        for look in (True, False):  # the other one may begin after this one has looked
            if not look:
                monkeypatch.setattr("bench.commands.run.states_of", lambda runs: ["resume"])
            for words in ([], ["overwrite=true"]):
                assert run(results, *words) == 2
                error = capsys.readouterr().err.strip().splitlines()[-1]
                assert error.endswith("is in use by another process")
        assert contents(results / PLACE) == kept


def test_a_sweep_over_a_run_that_goes_on_is_refused_before_it_begins(half, tmp_path, capsys):
    results = copied(half, tmp_path)
    with Record(results / PLACE).lock():
        assert run(results, "seed=0,1") == 2
        error = capsys.readouterr().err.strip()
        assert error.endswith("is in use by another process") and "\n" not in error
        assert not (results / PLACE.with_name("seed=1")).exists()


# Interrupting


@pytest.mark.parametrize("fault", ["interrupt", "twice"])
def test_ctrl_c_in_an_evaluation_is_seen_at_its_next_step(whole, tmp_path, fault):
    words = [f"algo.fault={fault}", "algo.at=30", f"algo.once={tmp_path / 'once'}"]
    assert run(tmp_path, *words) == 130
    state = checkpoint(tmp_path)
    assert state["env_steps"] == 800 and state["due"] == ["eval"] and state["episodes"] == 8
    assert facts(tmp_path)["status"] == "interrupted"
    assert run(tmp_path, *words) == 0
    pd.testing.assert_frame_equal(episodes(tmp_path), episodes(whole))


def test_a_second_ctrl_c_does_not_cut_a_checkpoint_short(tmp_path, monkeypatch):
    save = torch.save

    def slow(*args):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        save(*args)

    monkeypatch.setattr(torch, "save", slow)
    assert run(tmp_path) == 130
    monkeypatch.undo()
    assert checkpoint(tmp_path)["env_steps"] == 80


def test_an_evaluation_that_never_ends_ends_at_the_horizon(tmp_path, capsys):
    assert run(tmp_path, "task.fault=endless") == 1
    assert "goes on after its horizon of 20 steps" in capsys.readouterr().err


# What reads records


def test_one_damaged_record_does_not_end_status(whole, half, tmp_path, capsys):
    kinds = {"bytes": b"\xff\xfe", "list": b"[]", "keys": b"{}", "empty": b"", "none": None}
    for i, (kind, content) in enumerate({**kinds, "parquet": b"", "progress": b"x\n"}.items()):
        place = tmp_path / kind / PLACE
        shutil.copytree(whole / PLACE, place)
        name = {"parquet": "episodes.parquet", "progress": "progress.jsonl"}.get(kind, "run.json")
        if i % 2 or kind == "keys":
            (place / CHECKSUMS).unlink()
        (place / name).unlink() if content is None else (place / name).write_bytes(content)
    shutil.copytree(whole / PLACE, tmp_path / "sound" / PLACE)
    shutil.copytree(half / PLACE, tmp_path / "[red]half" / PLACE)
    assert main(["status", f"results={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("│ damaged" in line for line in lines) == 7
    assert any("sound" in line and "done" in line and "100%" in line for line in lines)
    assert any("[red]half" in line and "interrupted" in line for line in lines)
    assert sum(line.startswith(str(tmp_path)) for line in lines) == 7, "a reason each"


@pytest.mark.parametrize("start", ["2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_eta_is_reckoned_from_the_time_spent_and_not_from_the_clock(half, tmp_path, capsys, start):
    """A run that was interrupted for years, or whose clock was set back since it began."""
    record = Record(copied(half, tmp_path) / PLACE)
    spent = {"env": 1.0, "learner": 2.0, "eval": 57.0}
    told = record.read() | {"status": "running", "start": start, "seconds": spent}
    record.write(told | {"target_env_steps": 4 * told["env_steps"]})
    with record.lock():
        assert main(["status", f"results={tmp_path}"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "running" in line)
    assert "25%" in line and "0:03:00" in line


def test_a_constructor_that_raises_is_one_line_and_recorded(tmp_path, capsys):
    assert run(tmp_path, "algo.fault=constructor") == 1
    error = capsys.readouterr().err
    assert "ValueError: no [bold]such[/] thing [/red] second line" in error
    assert "Traceback" not in error
    assert "no [bold]such[/] thing" in facts(tmp_path)["error"]


def test_a_run_that_cannot_be_built_replaces_no_other(whole, tmp_path):
    results = copied(whole, tmp_path)
    before = contents(results / PLACE)
    assert run(results, "algo.fault=constructor", "overwrite=true") == 1
    assert contents(results / PLACE) == before


def test_a_full_disk_at_the_start_says_so(tmp_path, capsys, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bench.storage.os.fsync", full)
    assert run(tmp_path) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and "run.json" not in error, "there is none"
    assert "Traceback" not in error


def test_a_full_disk_in_between_leaves_the_last_checkpoint(whole, tmp_path, capsys, monkeypatch):
    write = EpisodeLog.write

    def full(self):
        if len(self.rows) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self)

    with monkeypatch.context() as patched:
        patched.setattr(EpisodeLog, "write", full)
        assert run(tmp_path) == 1
    assert "No space left on device" in facts(tmp_path)["error"]
    assert run(tmp_path) == 0
    pd.testing.assert_frame_equal(episodes(tmp_path), episodes(whole))


@pytest.mark.report
def test_a_sweep_without_an_evaluation_closes_in_one_line(tmp_path):
    words = ["algo.fault=constructor", "seed=0,1"]
    done = subprocess.run(
        command(tmp_path, *words), env=environment(), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.count("no [bold]such[/] thing [/red]") == 2
    assert done.stderr.count("no report: ") == 1


# Sweeps


def processes():
    """Return every process's parent and command line."""
    words = ["ps", "-Aww", "-o", "pid=,ppid=,args="]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    parts = [line.split(None, 2) for line in lines]
    return {int(pid): (int(parent), "".join(line)) for pid, parent, *line in parts}


def descendants(pid):
    tree = processes()
    found, wave = {}, {pid}
    while wave:
        wave = {child for child, (parent, _) in tree.items() if parent in wave}
        found |= {child: tree[child] for child in wave}
    return found


def started(results, count=2):
    return sum((results / PLACE).with_name(f"seed={i}").joinpath("checkpoint.pt").exists()
               for i in range(3)) >= count  # fmt: skip


def begun(tmp_path, *words):
    sweep = subprocess.Popen(
        command(tmp_path / "r", "seed=0,1,2", "hydra.launcher.n_jobs=2", *words),
        env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    while not started(tmp_path / "r") and sweep.poll() is None:
        time.sleep(0.05)
    return sweep


@pytest.mark.report
def test_a_killed_run_takes_no_other_with_it(tmp_path):
    words = ["seed=0,1,2", "algo.fault=kill", f"algo.once={tmp_path / 'once'}"]
    done = subprocess.run(
        command(tmp_path / "r", *words), env=environment(), capture_output=True, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    states = [facts(tmp_path / "r", PLACE.with_name(f"seed={i}")) for i in range(3)]
    assert sorted(one["status"] for one in states) == ["done", "done", "failed"], done.stderr
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (error,) = (one["error"] for one in states if one["error"])
    assert error.startswith("killed by SIGKILL") and done.stderr.count(error) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"r", "once"}, "no multirun folder"


@pytest.mark.report
def test_a_killed_worker_of_the_launcher_drops_no_run(tmp_path):
    sweep = begun(tmp_path, "algo.delay=0.05")
    tree = descendants(sweep.pid)
    worker = next(parent for parent, line in tree.values() if "bench.commands.worker" in line)
    os.kill(worker, signal.SIGKILL)
    _, error = sweep.communicate()
    assert "starting it again" in error and sweep.returncode == 0, error
    for i in range(3):
        assert facts(tmp_path / "r", PLACE.with_name(f"seed={i}"))["status"] == "done"


def test_runs_whose_parent_is_killed_save_and_end(tmp_path):
    sweep = begun(tmp_path, "algo.delay=0.1", "env_steps=80000")
    tree = descendants(sweep.pid)
    start = time.monotonic()
    sweep.kill()
    sweep.wait()
    while (left := tree.keys() & processes().keys()) and time.monotonic() - start < 20:
        time.sleep(0.1)
    assert not left, {pid: tree[pid] for pid in left}
    for i in range(2):
        assert facts(tmp_path / "r", PLACE.with_name(f"seed={i}"))["status"] == "interrupted"


# What results depend on


def test_a_digest_is_shared_only_by_what_computes_alike(half, tmp_path):
    digests = {}
    for threads in ("1", "null", "2"):
        results = tmp_path / threads
        assert main(["run", f"results={results}", *WORDS, f"threads={threads}"]) == 0
        digests[threads] = facts(results)["digest"]
    torch.set_num_threads(1)
    assert digests["1"] == digests["null"] != digests["2"]
    results = copied(half, tmp_path)
    assert main(["run", f"results={results}", *WORDS, "threads=2"]) == 0
    torch.set_num_threads(1)
    mixed = facts(results)
    assert [one["torch_threads"] for one in mixed["computed"]] == [1, 2]
    assert mixed["digest"] not in digests.values()


def test_a_simulation_that_diverges_leaves_no_log_where_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["run", "results=r", *WORDS[:2], "task=pointmaze-v1", *WORDS[3:], "threads=1"]
    monkeypatch.setattr("bench.runner.Run.train", diverge)
    assert main(words) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"r"}


def test_a_policy_that_is_not_finite_ends_an_evaluation_in_one_line(whole, tmp_path, capsys):
    place = copied(whole, tmp_path) / PLACE
    stored = load_state(place / "policy.pt", Path("policy.pt"), "cpu")
    stored["state"]["weight"][0] = torch.nan
    (place / CHECKSUMS).unlink()
    torch.save(pack(stored), place / "policy.pt")
    assert main(["eval", str(place), "plugins=[faulty]", "episodes=2"]) == 1
    warning, error = capsys.readouterr().err.strip().splitlines()
    assert warning.endswith("its files are read unchecked")
    assert error == "bench: an evaluation's action is nan; valid is up to 1"


@pytest.mark.report
def test_simulations_that_diverge_in_evaluations_are_counted_and_told_once(tmp_path, capsys):
    assert run(tmp_path, "task.fault=diverged") == 0
    count = facts(tmp_path)["evaluated"]["diverged"]
    assert facts(tmp_path)["evaluated"]["episodes"] == len(episodes(tmp_path)) == 16
    assert count == episodes(tmp_path)["diverged"].sum() == 2, "one of each evaluation"
    said = "the simulation of 2 of 16 evaluation episodes diverged"
    assert capsys.readouterr().err.count(said) == 1
    assert (tmp_path / "default/report/index.html").read_text().count(said) == 1


def test_episodes_of_an_earlier_build_are_not_said_to_be_sound(half, whole, tmp_path):
    results = copied(half, tmp_path)
    place = results / PLACE
    (place / CHECKSUMS).unlink()
    episodes(results).drop(columns="diverged").to_parquet(place / "episodes.parquet")
    assert run(results) == 0
    assert episodes(results)["diverged"].tolist() == [None] * 8 + [False] * 8
    assert facts(results)["evaluated"] == {"episodes": 16, "diverged": 0}
    assert facts(whole)["evaluated"] == {"episodes": 16, "diverged": 0}


@pytest.fixture(scope="module")
def maze(tmp_path_factory):
    """A run on a maze, whose physics can diverge."""
    folder = tmp_path_factory.mktemp("maze")
    words = ["algo=sac", "task=pointmaze-v3", "task.horizon=12", "budget=smoke", "env_steps=400",
             "num_envs=8", "eval.every=400", "eval.episodes=2", "threads=1"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.commands.run.report", lambda runs: 0)
        assert main(["run", f"results={folder}", *words]) == 0
    return folder / "default/pointmaze-v3/sac/seed=0"


def test_pictures_need_no_display_whatever_is_imported_first():
    program = """
import gymnasium
import bench.tasks
env = gymnasium.make("bench/pointmaze-v1-v0", render_mode="rgb_array")
env.reset(seed=0)
print(env.render().shape)
"""
    hidden = {"MUJOCO_GL", "DISPLAY"}
    bare = {key: value for key, value in environment().items() if key not in hidden}
    done = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True)
    if "no picture can be drawn" in done.stderr and not mujoco_draws():
        pytest.skip("no graphics")
    assert done.stdout == "(480, 480, 3)\n", done.stderr


def test_without_libraries_to_draw_with_all_else_works(tmp_path):
    """As on many clusters and in containers."""
    program = """
import ctypes, os, sys
load = ctypes.CDLL

def missing(name, *args, **kwargs):
    if name and "GL" in str(name):
        raise OSError(name)
    return load(name, *args, **kwargs)

ctypes.CDLL = missing
import bench
env = bench.make_env("pointmaze-v1", seed=0)
env.reset(seed=0)
env.step(env.action_space.sample())
import bench.rendering
from bench.__main__ import main
sys.exit(main(["render", sys.argv[1], "episodes=1"]))
"""
    place = REFERENCE / "quick/pointmaze-v3/sac/seed=10"
    hidden = {"MUJOCO_GL", "DISPLAY"}
    bare = {key: value for key, value in environment().items() if key not in hidden}
    shutil.copytree(place, tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "run"], env=bare,
                          capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip() == (
        "bench: render: no picture can be drawn here (MUJOCO_GL=disable, as without the libraries "
        "libEGL and libOpenGL or libGL)"
    )


def mujoco_draws():
    """Return whether MuJoCo by itself draws here without a display."""
    program = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"
    variables = os.environ | {"MUJOCO_GL": "egl"}
    return not subprocess.run([sys.executable, "-c", program], env=variables).returncode


@pytest.mark.parametrize("command", ["eval", "replan", "render"])
def test_a_simulation_that_diverges_is_told_in_one_line(
    maze, tmp_path, monkeypatch, capfd, command
):
    monkeypatch.chdir(tmp_path)
    mujoco.set_mju_user_warning(None)
    simulate = WorldVectorEnv.simulate

    def diverging(self, control):
        if self.length.max() != 3:
            return simulate(self, control)
        sound = self.state[0].copy()  # that it diverges from in this step
        self.qvel[0] = 1e20
        diverged = simulate(self, control)
        self.state[0] = sound
        return diverged

    words = [command, str(maze), "episodes=2"]
    if command == "render":
        words += ["size=64"]
        monkeypatch.setattr("bench.commands.render.rendering.write_video", lambda *_: "video")
        monkeypatch.setattr("bench.commands.render.film", lambda *_: [])
        (maze / "render").mkdir()
    elif command == "replan":
        words += ["layout=v3-block1", "horizon=1"]
    status, before = main(words), capfd.readouterr().err
    if command == "render" and "no picture can be drawn" in before:
        pytest.skip("no graphics")
    assert status == 0, "as ever"
    assert "diverged" not in before
    monkeypatch.setattr(WorldVectorEnv, "simulate", diverging)
    assert main(words) == 0
    lines = capfd.readouterr().err.strip().splitlines()
    asked = {"eval": 4, "replan": 2, "render": 24}[command]  # in eval, sampled and specified
    count = 2 if command == "eval" else 1
    assert len(lines) == 1 and lines[0].startswith(
        f"warning: the simulation of {count} of {asked} episodes diverged"
    )
    assert not list(tmp_path.iterdir()), "no log of MuJoCo"


def diverge(self):
    self.env.qvel[0] = 1e20
    step = self.rollout.step(torch.zeros(8, 2).numpy())
    assert step.truncated[0] and self.env.statistics()["diverged"] == 1
