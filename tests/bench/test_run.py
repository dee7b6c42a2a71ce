"""The command line as a user meets it."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import bench
from bench.__main__ import main
from bench.configuration import as_dict, resolve, understand
from bench.library import INTERRUPTED
from bench.records import atomic
from bench.rollout import Rollout
from bench.runner import Run

PLUGIN = '''
from dataclasses import dataclass
import torch
from bench.algos import register

@dataclass
class Config:
    scale: float = 1.0                            # share of the action range that is used

@register("uniform", config=Config)
class Uniform:
    """Acts uniformly at random: the floor that every algorithm must beat."""
    num_modes = 0                                 # how many modes `act` can be commanded to follow now
    def __init__(self, spec, config, device):     # spec: obs_dim, act_dim, num_envs, horizon, position_dim, max_return, seed
        self.spec, self.config, self.device = spec, config, device
    def act(self, obs, explore=False, mode=None): # obs [N, obs_dim] -> [N, act_dim] in [-1, 1]; mode: None or [N] int64
        return self.config.scale * (2 * torch.rand(len(obs), self.spec.act_dim, device=self.device) - 1)
    def observe(self, step):                      # a Transition: obs, action, reward, next_obs, terminated, truncated, success, position, next_position; leading size N
        pass
    def update(self):                             # after every vector step: learn, or do nothing; returns scalars to log
        return {}
    def state_dict(self): return {}
    def load_state_dict(self, state): pass
'''  # noqa: E501
SMOKE = ["budget=smoke", "threads=1"]


def run(tmp_path, *words):
    return main(["run", *SMOKE, f"results={tmp_path}", *words])


def test_the_plugin_of_the_interface_works_as_written(tmp_path, monkeypatch):
    (tmp_path / "uniform.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["plugins=[uniform]", "algo=uniform", "algo.scale=0.5", "task=pointmaze-v1"]
    assert run(tmp_path / "r", *words) == 0
    place = tmp_path / "r/default/pointmaze-v1/uniform/seed=0"
    facts = json.loads((place / "run.json").read_text())
    assert facts["status"] == "done" and facts["env_steps"] == 4000
    episodes = pd.read_parquet(place / "episodes.parquet")
    assert set(episodes["protocol"]) == {"sampled", "random-start"}
    assert (tmp_path / "r/default/report/index.html").exists()
    assert len(bench.load_results(tmp_path / "r")) == 4
    policy = bench.load_policy(place)
    action = policy.act(np.zeros((7, 4), np.float32))
    assert action.shape == (7, 2) and abs(action).max() <= 0.5
    with pytest.raises(ValueError, match="mode=0"):
        policy.act(np.zeros((7, 4), np.float32), mode=0)


def test_done_is_skipped_other_settings_refused_overwrite_obeyed(tmp_path, capsys):
    words = ["algo=sac", "task=pointmaze-v2"]
    assert run(tmp_path, *words) == 0
    record = tmp_path / "default/pointmaze-v2/sac/seed=0/run.json"
    before = record.read_text()
    assert run(tmp_path, *words) == 0
    assert "done already" in capsys.readouterr().err and record.read_text() == before
    assert run(tmp_path, *words, "algo.gamma=0.9") == 2
    message = capsys.readouterr().err
    assert "algo.gamma was 0.99, is 0.9" in message and record.read_text() == before
    assert run(tmp_path, *words, "algo.gamma=0.9", "overwrite=true") == 0
    assert record.read_text() != before


@pytest.mark.parametrize("change", ["setting", "network", "task"])
def test_a_policy_of_another_build_is_refused_in_one_line(tmp_path, capsys, change):
    assert run(tmp_path, "algo=td3", "task=pointmaze-v1", "env_steps=800", "report=false") == 0
    place = tmp_path / "default/pointmaze-v1/td3/seed=0"
    stored = torch.load(place / "policy.pt", weights_only=True)
    if change == "network":
        weights = stored["state"]["actor"]
        weights[next(key for key, value in weights.items() if value.dim())] = torch.zeros(3, 7)
    else:
        stored["settings" if change == "setting" else "task_settings"]["gone"] = 1
    torch.save(stored, place / "policy.pt")
    (place / "checksums.json").unlink()
    capsys.readouterr()
    assert main(["eval", str(place), "episodes=2"]) == 2
    message = capsys.readouterr().err
    assert "policy.pt does not fit this build" in message and message.count("\n") == 1


def test_a_report_follows_the_last_run_unless_it_is_not_wanted(tmp_path, capsys):
    words = ["algo=random", "task=pointmaze-v1", "env_steps=1600"]
    for state in ("new", "done"):
        assert run(tmp_path, *words, "report=false") == 0, state
        assert "report:" not in capsys.readouterr().out
        assert not (tmp_path / "default/report").exists()
    assert run(tmp_path, *words) == 0, "the same run, as the report is no setting of its"
    printed = capsys.readouterr()
    assert "done already" in printed.err and "report:" in printed.out
    assert (tmp_path / "default/report/index.html").exists()


def test_a_seed_decides_every_number_and_another_seed_others(tmp_path):
    place, found = "default/pointmaze-v1/sac/seed={}/{}", {}
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        words = ["algo=sac", "task=pointmaze-v1", f"seed={seed}", "env_steps=1600"]
        assert run(tmp_path / name, *words) == 0
        episodes = pd.read_parquet(tmp_path / name / place.format(seed, "episodes.parquet"))
        lines = (tmp_path / name / place.format(seed, "progress.jsonl")).read_text().splitlines()
        losses = [json.loads(line).get("critic_loss") for line in lines]
        found[name] = episodes, losses
    pd.testing.assert_frame_equal(found["one"][0], found["again"][0])
    assert found["one"][1] == found["again"][1] and any(found["one"][1])
    assert found["one"][1] != found["other"][1]
    assert not found["one"][0]["distance"].equals(found["other"][0]["distance"])


def test_learning_beside_the_physics_repeats_and_resumes_exactly(tmp_path, monkeypatch):
    """What the physics takes changes nothing; one update less than strictly in turn is taken."""
    words = ["algo=sac", "task=pointmaze-v1", "env_steps=1600", "overlap=true"]
    place, found, step = "default/pointmaze-v1/sac/seed=0", {}, Run.step
    beside = set()  # whether a step of the physics was taken in another thread

    def stopped(self):
        step(self)
        self.stop = self.env_steps >= 1200

    def slow(self, action, stepped=Rollout.step):
        beside.add(threading.current_thread() is not threading.main_thread())
        time.sleep(0.003)
        return stepped(self, action)

    assert run(tmp_path / "whole", *words) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Run, "step", stopped)
        patch.setattr(Rollout, "step", slow)
        assert run(tmp_path / "again", *words) == INTERRUPTED
    assert beside == {True}
    assert run(tmp_path / "again", *words) == 0
    assert run(tmp_path / "strict", *words[:-1]) == 0
    for name in ("whole", "again", "strict"):
        episodes = pd.read_parquet(tmp_path / name / place / "episodes.parquet")
        lines = (tmp_path / name / place / "progress.jsonl").read_text().splitlines()
        found[name] = episodes, json.loads(lines[-1])
    pd.testing.assert_frame_equal(found["whole"][0], found["again"][0])
    whole, again, strict = (found[name][1] for name in found)
    assert whole["critic_loss"] == again["critic_loss"]
    assert whole["updates"] == again["updates"] == strict["updates"] - 1 > 0


def test_every_evaluation_s_headings_are_recorded_and_change_nothing(tmp_path, monkeypatch):
    place, words = "default/pointmaze-v1/sac/seed=0", ["algo=sac", "task=pointmaze-v1"]
    assert run(tmp_path / "asked", *words) == 0
    with np.load(tmp_path / "asked" / place / "headings.npz") as found:
        assert found["env_steps"].tolist() == [2000, 4000] and found["counts"].shape == (2, 1, 2)
        assert found["counts"].sum(axis=(1, 2)).tolist() == [256, 256]
    frame = bench.load_results(tmp_path / "asked").set_index(["protocol", "env_steps"])
    assert frame.loc["sampled", "branch_entropy"].between(0, 1).all()
    assert frame.loc["random-start", "branch_entropy"].isna().all()
    monkeypatch.setattr("bench.runner.headings", lambda *asked: {})
    assert run(tmp_path / "not", *words) == 0
    assert not (tmp_path / "not" / place / "headings.npz").exists()
    asked, not_asked = (pd.read_parquet(tmp_path / name / place / "episodes.parquet")
                        for name in ("asked", "not"))  # fmt: skip
    pd.testing.assert_frame_equal(asked, not_asked)


def test_killed_at_random_moments_it_ends_like_an_undisturbed_run(tmp_path):
    words = ["algo=ddiffpg", "task=pointmaze-v1", "env_steps=4800", "eval.every=1600",
             "checkpoint.every=800", "algo.batch=64"]  # fmt: skip
    assert run(tmp_path / "whole", *words) == 0
    command = [sys.executable, "-m", "bench", "run", *SMOKE, f"results={tmp_path / 'killed'}",
               *words]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    place = "default/pointmaze-v1/ddiffpg/seed=0"
    for moment in random.Random(0).sample(range(1, 9), 3):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        progress = tmp_path / "killed" / place / "progress.jsonl"
        start = len(progress.read_text().splitlines()) if progress.exists() else 0
        while process.poll() is None:
            lines = len(progress.read_text().splitlines()) if progress.exists() else 0
            if lines >= start + min(moment, 4):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.wait()
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    whole, killed = (
        pd.read_parquet(tmp_path / name / place / "episodes.parquet")
        for name in ("whole", "killed")
    )
    pd.testing.assert_frame_equal(whole, killed)
    headed = []
    for name in ("whole", "killed"):
        with np.load(tmp_path / name / place / "headings.npz") as found:
            headed.append({key: found[key].tolist() for key in found})
    assert headed[0] == headed[1] and headed[0]["env_steps"] == [1600, 3200, 4800]


def test_ctrl_c_leaves_every_run_of_a_sweep_resumable(tmp_path):
    command = [sys.executable, "-m", "bench", "run", "budget=smoke", f"results={tmp_path}",
               "algo=sac", "task=pointmaze-v1", "seed=0,1,2", "env_steps=400000"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               start_new_session=True, text=True)  # fmt: skip
    place = tmp_path / "default/pointmaze-v1/sac"

    def begun():
        return all((place / f"seed={i}/progress.jsonl").exists() for i in (0, 1))

    while not begun() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130 and "the same command continues" in error
    assert "Traceback" not in error and not (place / "seed=2").exists()
    for seed in (0, 1):
        facts = json.loads((place / f"seed={seed}/run.json").read_text())
        assert facts["status"] == "interrupted" and (place / f"seed={seed}/checkpoint.pt").exists()


def test_the_settings_that_are_shown_are_those_of_the_run(capsys):
    words = ["algo=sac", "task=pointmaze-v1"]
    assert main(["run", *words, "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(shown["algo"]["novelty"]["anneal"], int), "its preset has a formula"
    settings = resolve(understand(words).overrides("sac", "pointmaze-v1", "0"))
    assert shown == as_dict(settings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["algo=ddifpg", "task=pointmaze-v1"], "Did you mean 'ddiffpg'"),
        (["algo=sac", "task=pointmaze-v9"], "unknown task 'pointmaze-v9'"),
        (["algo=sac"], "task=? is missing"),
        (["algo=sac", "task=pointmaze-v1", "algo.gama=1"], "Did you mean 'algo.gamma'"),
        (["algo=sac", "task=pointmaze-v1", "+algo.gama=1"], "Did you mean 'algo.gamma'"),
        (["algo=sac", "task=pointmaze-v1", "--cfg", "job", "algo.gama=1"], "'algo.gamma'"),
        (["algo=sac", "task=pointmaze-v1", "--cfg", "job", "num_envs=1,2"], "give one value"),
        (["algo=td3", "task=pointmaze-v1", "algo.actor.steps=5"], "Valid: algo.activation"),
        (["algo=random", "task=pointmaze-v1", "algo.scale=1"], "'algo.scale': there is none"),
        (["algo=sac", "task=pointmaze-v1", "algo.precision=fp8"], "valid are fp32, bf16, auto"),
        (["algo=sac", "task=pointmaze-v1", "overlap=maybe"], "overlap"),
        (["algo=ppo", "task=pointmaze-v1", "algo.trace=0.9"], "it is 'algo.gae_lambda' now"),
        (["algo=ddiffpg", "task=reach", "algo.explore_share=1"], "'algo.explorer.share' now"),
        (
            ["algo=ddiffpg", "task=reach", "algo.explorer.beyond=old"],
            "algo.explorer.beyond='old': valid are after, new",
        ),
        (["algo=sac", "task=pointmaze-v1", "algo.gamma=high"], "algo.gamma"),
        (["algo=sac", "task=pointmaze-v1", "algo.critic.kind=c52"], "valid are c51, scalar"),
        (["algo=sac", "task=pointmaze-v1", "env_steps=-5"], "env_steps=-5"),
        (["algo=sac", "task=pointmaze-v1", "num_envs=0"], "num_envs=0"),
        (["algo=sac", "task=pointmaze-v1", "seed=-1"], "seed=-1"),
        (["algo=sac", "task=pointmaze-v1", "eval.specified=-1"], "eval.specified=-1: must be"),
        (
            ["algo=diffusion-ql", "task=pointmaze-v1", "algo.act_candidates=9"],
            "it is 'algo.explore_candidates' now",
        ),
        (["algo=sac", "task=pointmaze-v1", "budget=quik"], "Did you mean 'quick'"),
        (["algo=sac", "task=pointmaze-v1", "preset=papr"], "Did you mean 'paper'"),
        (["algo=sac", "task=pointmaze-v1", "device=gpu"], "device='gpu'"),
        (["algo=sac", "task=pointmaze-v1", "device=cuda:9"], "GPUs"),
        (["algo=sac", "task=pointmaze-v1", "logger=[tb]"], "logger='tb'"),
        (["algo=sac", "task=pointmaze-v1", "plugins=[nowhere]"], "no module 'nowhere'"),
        (["algo=sac", "task=pointmaze", "task.layout=['####','#RG.','####']"], "border"),
        (["algo=sac", "task=antmaze-v1", "task.integrator=euler"], "rk4, implicitfast"),
        (["algo=sac", "task=reach", "seed="], "seed=: valid are integers from 0"),
        (["algo=sac", "task=reach", "seed=4294967296"], "valid are integers from 0 to 4294967295"),
        (["algo=sac", "task=reach", "gamma"], "'gamma': give key=value, as in algo=sac"),
        (["algo=sac", "task=reach", "algo.tau=2"], "algo.tau=2.0: valid are numbers in (0, 1]"),
        (["algo=ppo", "task=reach", "algo.std=nan"], "algo.std=nan: valid are numbers above 0"),
        (["algo=sac", "task=pointmaze-v1", "task.stretch=nan"], "task.stretch=nan: must be finite"),
        (["algo=ddiffpg", "task=reach", "algo.batch=1"], "algo.batch=1: valid are integers above"),
        (["algo=ddiffpg", "task=reach", "algo.actor.predict=velocity"], "valid are x0, eps"),
        (["algo=cppo", "task=reach", "algo.flow.steps=1"], "algo.flow.steps=1: valid are integers"),
        (["algo=sac", "task=reach", "algo.critic.hidden=[]"], "algo.critic.hidden=[]: valid are"),
        (["algo=sac", "task=reach", "algo.critic.v_min=2"], "algo.critic.v_min=2.0: valid are"),
        (["algo=sac", "task=gym", "algo.novelty.observe=position"], "needs a task with a position"),
        (["algo=sac", "task=gym", "algo.novelty.kind=counts"], "needs a task with a position"),
        (["algo=sac", "task=gym", "algo.novelty.schedule=cosine"], "valid are linear, constant"),
        (["algo=ppo", "task=gym", "algo.novelty.kind=counts"], "algo.novelty.kind=counts: needs"),
        (
            [
                "algo=ddiffpg",
                "task=gym",
                "algo.explorer.beyond=new",
                "algo.modes.discover=true",
                "algo.modes.tube=1",
            ],
            "explorer.beyond=new: needs a task with a position",
        ),
        (["algo=sac", "task=gym", "task.id=Pendulm-v1"], "Did you mean"),
        (["algo=sac", "task=gym", "task.id=CartPole-v1"], "actions must be"),
    ],
)
def test_bad_input_is_one_line_status_2_and_nothing_written(tmp_path, capsys, words, message):
    assert main(["run", f"results={tmp_path / 'r'}", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and "Traceback" not in error
    assert not (tmp_path / "r").exists()


def test_a_results_path_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", "algo=sac", "task=pointmaze-v1", f"results={tmp_path / 'file'}"]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_and_nothing_lost(tmp_path, capsys):
    words = ["algo=sac", "task=pointmaze-v2"]
    assert run(tmp_path, *words) == 0
    place = tmp_path / "default/pointmaze-v2/sac/seed=0"
    facts = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps(facts | {"status": "interrupted"}))
    (place / "checkpoint.pt").write_bytes(b"half")
    kept = (place / "episodes.parquet").read_bytes()
    assert run(tmp_path, *words) == 2
    assert "checkpoint.pt is damaged" in capsys.readouterr().err
    assert (place / "episodes.parquet").read_bytes() == kept


def test_algorithms_trained_one_after_the_other_are_compared_on_one_page(tmp_path):
    for algo in ("random", "sac", "random"):
        assert run(tmp_path, f"algo={algo}", "task=pointmaze-v2", "seed=0,0") == 0
    page = (tmp_path / "default/report/index.html").read_text()
    assert ">random<" in page and ">sac<" in page


def test_a_run_that_failed_before_its_first_step_blocks_no_other_settings(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no")

    entries = bench.algos.registry.entries
    words = ["algo=sac", "task=pointmaze-v2"]
    with monkeypatch.context() as patched:
        patched.setitem(entries, "sac", dataclasses.replace(entries["sac"], factory=broken))
        assert run(tmp_path, *words, "algo.gamma=0.5") == 1
    facts = tmp_path / "default/pointmaze-v2/sac/seed=0/run.json"
    assert json.loads(facts.read_text())["status"] == "failed"
    assert run(tmp_path, *words) == 0 and json.loads(facts.read_text())["status"] == "done"
    assert run(tmp_path, *words, "algo.gamma=0.5") == 2, "what was trained is not replaced"


def test_several_runs_go_side_by_side_and_a_failure_stops_no_other(tmp_path):
    broken = PLUGIN.replace('"uniform"', '"broken"')
    broken = broken.replace("return {}\n    def state", "raise RuntimeError('no')\n    def state")
    (tmp_path / "broken.py").write_text(broken)
    words = ["plugins=[broken]", "algo=broken,sac", "task=pointmaze-v2", "env_steps=1600"]
    command = [sys.executable, "-m", "bench", "run", "budget=smoke", f"results={tmp_path / 'r'}"]
    # a process of its own: the workers of a sweep import every plugin that this one has seen
    assert subprocess.run([*command, *words], cwd=tmp_path, capture_output=True).returncode == 1
    states = {
        algo: json.loads((tmp_path / f"r/default/pointmaze-v2/{algo}/seed=0/run.json").read_text())
        for algo in ("broken", "sac")
    }
    assert states["sac"]["status"] == "done" and states["broken"]["status"] == "failed"
    assert "RuntimeError: no" in states["broken"]["error"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_what_needs_no_run_explains_itself(capsys):
    assert main([]) == 0 and capsys.readouterr().out.count("python -m bench run") >= 2
    for command in ("list", "run", "report", "status", "eval", "speed"):
        assert main([command, "--help"]) == 0
        assert f"python -m bench {command}" in capsys.readouterr().out
    assert main(["list"]) == 0 and "pointmaze-v4" in capsys.readouterr().out
    assert main(["rum"]) == 2 and "Did you mean 'run'" in capsys.readouterr().err
