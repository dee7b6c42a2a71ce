"""`bench.run`, from Python."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

import bench
from bench.errors import UsageError
from bench.library import RunFailed, several
from bench.seeding import put_back
from bench.words import literal

POLICY = Path(__file__).parents[2] / "results/reference/quick/pointmaze-v3/ddiffpg/seed=10"
TINY = {"budget": "smoke", "env_steps": 1024, "num_envs": 16, "threads": 1,
        "eval": {"every": 1024, "episodes": 4}}  # fmt: skip


def test_a_run_returns_its_evaluations_and_leaves_python_as_it_was(tmp_path):
    threads, numbers, environment = (
        torch.get_num_threads(), torch.get_rng_state(), dict(os.environ),
    )  # fmt: skip
    handler = signal.getsignal(signal.SIGINT)
    frame = bench.run("random", "pointmaze-v1", seed=3, results=tmp_path, experiment="a-b", **TINY)
    assert set(frame["seed"]) == {3} and set(frame["env_steps"]) == {1024}
    assert set(frame["protocol"]) == {"sampled", "random-start"}
    facts = json.loads((tmp_path / "a-b/pointmaze-v1/random/seed=3/run.json").read_text())
    assert facts["status"] == "done" and facts["target_env_steps"] == 1024
    assert torch.get_num_threads() == threads and dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), numbers)
    assert signal.getsignal(signal.SIGINT) is handler


SCRIPT = """
import threading, bench

frames = []
work = lambda: frames.append(bench.run("random", "pointmaze-v1", seed={seeds}, **{words}))
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert set(frames[0]["seed"]) == set({seeds})
"""


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_runs_are_made_outside_the_main_thread(tmp_path, seeds):
    script = SCRIPT.format(seeds=seeds, words={**TINY, "results": str(tmp_path)})
    # a process of its own: the workers of a sweep import every plugin that this one has seen
    subprocess.run([sys.executable, "-c", script], check=True)


def test_only_what_was_asked_for_is_returned(tmp_path):
    bench.run("random", "pointmaze-v1", seed=1, results=tmp_path, **TINY)
    frame = bench.run("random", "pointmaze-v1", seed=2, results=tmp_path, **TINY)
    assert set(frame["seed"]) == {2}


@pytest.mark.parametrize("words, complaint", [
    ({"algo": "ddifpg"}, "unknown algorithm 'ddifpg'. Did you mean 'ddiffpg'?"),
    ({"algo.batsch": 3}, "unknown setting 'algo.batsch'. Did you mean 'algo.batch'?"),
    ({"eval": {"episodes": 0}}, "eval.episodes=0: must be at least 1"),
    ({"experiment": "it's a/b"}, "must be one plain folder name"),
])  # fmt: skip
def test_bad_input_raises_the_line_of_the_terminal(tmp_path, words, complaint):
    with pytest.raises(UsageError, match=complaint.replace("?", r"\?")):
        bench.run(**{"algo": "sac", "task": "pointmaze-v1", "results": tmp_path, **words})
    assert not list(tmp_path.iterdir())


def test_a_failed_run_raises_its_reason(tmp_path):
    faulty = {"plugins": ["tests.bench.faulty"], "task.fault": "reward", "results": tmp_path}
    with pytest.raises(RunFailed, match="NotFinite: reward is nan at env step"):
        bench.run("random", "line", **faulty, **TINY)


@pytest.mark.parametrize(
    "value", [None, True, 3, 1e-3, "plain", "it's", "a,b", "back\\", "$x", ["a b", 2], [[1, 2], 3]]
)
def test_values_survive_hydras_grammar(value):
    parsed = OverridesParser.create().parse_override(f"key={literal(value)}")
    assert not parsed.is_sweep_override() and parsed.value() == value


def test_each_of_two_sweeps_writes_where_its_command_was_given(tmp_path, monkeypatch):
    """The first one's workers are used again, and know neither place nor variables since."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert len(bench.run("random", "pointmaze-v1", seed=[0, 1], **TINY)) == 4
        assert len(list((tmp_path / name).glob("results/default/*/*/*/run.json"))) == 2


def test_a_generator_of_another_device_goes_on_by_a_stream_of_its_own():
    rng = torch.Generator().manual_seed(3)
    torch.rand(5, generator=rng)
    state, after = rng.get_state(), torch.rand(3, generator=rng)
    put_back(rng, state, 0)
    assert torch.equal(torch.rand(3, generator=rng), after)
    drawn = []
    for seed, first in ((0, 1), (0, 1), (0, 2), (1, 1)):  # a GPU's state has 16 bytes
        put_back(rng, torch.tensor([first, *[0] * 15], dtype=torch.uint8), seed)
        drawn.append(torch.rand(3, generator=rng))
    assert torch.equal(drawn[0], drawn[1])
    assert len({tuple(row.tolist()) for row in drawn}) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_policy_on_a_device_that_is_not_here_is_not_called_damaged():
    with pytest.raises(UsageError, match="this machine has 0 GPUs"):
        bench.load_policy(POLICY, device="cuda")
    assert bench.load_policy(POLICY, device="auto").device == "cpu"


def test_a_policy_follows_one_command_and_environments_are_at_least_one():
    policy = bench.load_policy(POLICY)
    with pytest.raises(ValueError, match="valid is one number, which all observations follow"):
        policy.act(np.zeros((3, policy.obs_dim), np.float32), mode=np.array([0, 1, 2]))
    for key in ("num_envs", "threads"):
        with pytest.raises(UsageError, match=f"{key}=0: must be at least 1"):
            bench.make_env("pointmaze-v1", **{key: 0})
    assert several(np.int64(3)) == [3]
