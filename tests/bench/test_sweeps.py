"""Several values of a setting: which runs they are, and where these lie."""

import argparse
import json
import subprocess
import sys

import pytest

from bench.__main__ import main
from bench.errors import UsageError
from bench.jobs import hydra_run
from bench.sweeps import common, expanded, placed, plain, swept

TINY = ["budget=smoke", "env_steps=512", "num_envs=16", "threads=1", "eval.every=512",
        "eval.episodes=2", "algo=random", "task=pointmaze-v1"]  # fmt: skip


def test_lists_ranges_and_choices_are_swept_and_lists_are_values():
    words = ["algo.n_step=1,3", "algo.hidden=[64,64]", "algo.critic.hidden=[64],[128,128]",
             "seed=range(0,3)", "plugins=[a,b]", "experiment='a,b'"]  # fmt: skip
    assert swept(words) == [words[0], words[2], words[3]]
    lines = expanded(words[:3])
    assert len(lines) == 4 and ["algo.n_step=3", words[1], "algo.critic.hidden=[128,128]"] in lines
    with pytest.raises(UsageError, match=r"algo.tau=interval\(0,1\): valid are values"):
        swept(["algo.tau=interval(0,1)"])


def test_words_reach_hydra_as_it_takes_them():
    assert plain("+algo.n_step=3") == "algo.n_step=3"
    assert plain("+hydra.launcher.n_jobs=2") == "+hydra.launcher.n_jobs=2"
    assert plain("logger=tensorboard,wandb") == "logger=[tensorboard,wandb]"
    assert plain("logger=[wandb]") == "logger=[wandb]" and plain("-m") == "-m"


def test_an_experiment_is_named_by_what_is_swept():
    assert placed(["algo.n_step=1,3", "num_envs=8"]) == [
        "algo.n_step=1,3", "num_envs=8", "experiment='default,n_step=${algo.n_step}'"
    ]  # fmt: skip
    for words in (["algo.n_step=3"], ["algo.n_step=1,3", "experiment=a,b"],
                  ["algo.n_step=1,3", "experiment=n${algo.n_step}"]):  # fmt: skip
        assert placed(words) == words
    assert common(["mine,n_step=1", "mine,n_step=3"]) == "mine"
    assert common(["n1", "n10"]) == "n1" and common(["a", "b"]) == "sweep"


def test_a_sweep_gives_each_run_a_place_and_is_a_comparison_by_itself(tmp_path):
    words = ["run", *TINY, "num_envs=16,32", f"results={tmp_path}", "experiment=x"]
    words.remove("num_envs=16")

    def call():  # a process of its own: its workers import every plugin that this one has seen
        return subprocess.run(
            [sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=True
        )

    call()
    for envs in (16, 32):
        place = tmp_path / f"x,num_envs={envs}/pointmaze-v1/random/seed=0"
        assert json.loads((place / "run.json").read_text())["status"] == "done"
    page = (tmp_path / "x/report/index.html").read_text()
    assert "random · num_envs=16" in page and "random · num_envs=32" in page
    assert call().stderr.count("done already") == 2, "what is done is not made again"


def test_runs_that_would_share_a_place_are_refused(tmp_path, capsys):
    words = ["run", *TINY, f"results={tmp_path}", "num_envs=16,32", "experiment=a,b"]
    words.remove("num_envs=16")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "several runs would share it" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word, line", [
    ("hydra/launcher=nothing", "hydra/launcher=nothing: valid are basic, joblib"),
    ("hydra/sweeper=nothing", "hydra/sweeper=nothing: valid are basic"),
    ("hydra.launcher.no_such=2", "hydra.launcher.no_such: Key 'no_such' not in"),
    ("hydra.launcher.n_jobs=two", "hydra.launcher.n_jobs: Value 'two' of type 'str'"),
    ("+hydra.launcher.n_jobs=2", "An item is already at 'hydra.launcher.n_jobs'"),
])  # fmt: skip
def test_what_hydra_refuses_is_one_line_before_anything_runs(word, line, tmp_path, capsys):
    more = ["num_envs=8,16", "objective=return"] if "sweeper" in word else ["seed=0,1"]
    assert main(["run", *TINY[:2], *TINY[3:], *more, word, f"results={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_working_directory_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "bench", "run", *TINY, "seed=0,1", "results=records",
         "hydra.job.chdir=true"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
    assert len(list(tmp_path.glob("records/default/*/random/*/run.json"))) == 2


def test_hydras_help_is_not_checked_as_python_3_14_does(monkeypatch):
    def refuse(self, action):
        raise ValueError("badly formed help string")

    def main(**_):
        return lambda job: lambda: argparse.ArgumentParser()._check_help(None)

    monkeypatch.setattr(argparse.ArgumentParser, "_check_help", refuse, raising=False)
    monkeypatch.setattr("bench.jobs.hydra.main", main)
    assert hydra_run([]) == 0
    assert argparse.ArgumentParser._check_help is refuse
