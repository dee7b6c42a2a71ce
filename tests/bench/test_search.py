"""A search for settings: trials have places of their own, and the objective is a final score."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from bench.__main__ import main
from bench.configuration import Request
from bench.errors import UsageError
from bench.search import first_trial, objective, sweeper_of, trial_words

TINY = ["budget=smoke", "env_steps=512", "num_envs=16", "threads=1", "eval.every=512",
        "eval.episodes=2", "algo=random", "task=pointmaze-v1", "log.every=512"]  # fmt: skip
SEARCH = ["hydra/sweeper=optuna", "objective=return"]


def request(*words, seeds=("0",)):
    return Request(["sac"], ["pointmaze-v1"], list(seeds), [*SEARCH, *words])


def test_each_trial_is_named_by_its_values():
    words = trial_words(request("algo.tau=interval(0.001,0.1)", "algo.n_step=1,3", "num_envs=8"))
    assert words[-1] == "experiment='default,tau=${algo.tau},n_step=${algo.n_step}'"
    assert "hydra.sweeper.sampler.seed=0" in words, "the same command goes the same way again"
    words = trial_words(
        request("algo.n_step=range(1,4)", "experiment=mine", "hydra.sweeper.sampler.seed=7")
    )
    assert words[-1] == "experiment='mine,n_step=${algo.n_step}'"
    assert [w for w in words if "sampler.seed" in w] == ["hydra.sweeper.sampler.seed=7"]


def test_settings_are_checked_by_some_trial():
    words = ["algo.tau=interval(0.001,0.1)", "algo.n_step=3,5", "num_envs=8"]
    assert first_trial(words) == ["algo.tau=0.001", "algo.n_step=3", "num_envs=8"]


def test_only_other_sweepers_search():
    assert sweeper_of(["hydra/sweeper=optuna"]) == "optuna"
    assert sweeper_of(["hydra/sweeper=basic"]) is None and sweeper_of(["algo=sac"]) is None


@pytest.mark.parametrize("words, line", [
    (["num_envs=16"], "a search needs settings with several values"),
    (["num_envs=16,32", "seed=0,1"], "seed=0,1: a search has one seed"),
    (["num_envs=16,32", "objective=null"], "objective=? is missing"),
    (["num_envs=16,32", "objective=returns"], "unknown objective 'returns'. Did you mean 'return'"),
    (["num_envs=16,32", "objective=sampled.returns"], "unknown objective 'returns'"),
    (["num_env=16,32"], "unknown setting 'num_env'"),
    (["num_envs=int(interval(0,4))"], "num_envs=0: must be at least 1"),
])  # fmt: skip
def test_bad_searches_are_refused_in_one_line(words, line, tmp_path, capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    keys = {word.partition("=")[0] for word in words}
    rest = [word for word in [*TINY, *SEARCH] if word.partition("=")[0] not in keys]
    assert main(["run", *rest, *words, f"results={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_search_runs_its_trials_and_repeats_none(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    command = [sys.executable, "-m", "bench", "run", *SEARCH, *TINY, "num_envs=choice(8,16)",
               "hydra.sweeper.n_jobs=1", "hydra/launcher=basic", "experiment=x",
               "results=records"]  # fmt: skip
    command.remove("num_envs=16")
    environment = os.environ | {"PYTHONPATH": os.getcwd()}

    def call(trials):
        return subprocess.run(
            [*command, f"hydra.sweeper.n_trials={trials}"], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=True,
        ).stderr  # fmt: skip

    said = call(2)
    assert {path.name for path in tmp_path.iterdir()} == {"records"}, "nothing else is left behind"
    found = yaml.safe_load((tmp_path / "records/x-search.yaml").read_text())
    assert found["best_params"]["num_envs"] in (8, 16) and found["best_value"] == 0.0
    assert "best return: 0.0 with num_envs=" in said
    runs = sorted(tmp_path.glob("records/x,*/*/*/*/run.json"))
    before = [path.stat().st_mtime_ns for path in runs]
    assert runs and all(json.loads(path.read_text())["status"] == "done" for path in runs)
    call(1)  # goes the same way as far as it goes
    assert [path.stat().st_mtime_ns for path in runs] == before, "what is done is not made again"


def test_the_objective_is_the_final_score_of_its_protocol(tmp_path):
    from bench.configuration import resolve, understand

    words = [*TINY, f"results={tmp_path}", "objective=random-start.length"]
    assert main(["run", *words[:-1]]) == 0
    settings = resolve(next(
        r.overrides(*next(iter(r.combinations()))) for r in [understand(words)]
    ))  # fmt: skip
    assert objective(settings) > 0
    settings.objective = "commanded.return"
    assert objective(settings) is None, "a policy that takes no commands has no such score"
    with pytest.raises(UsageError):
        trial_words(Request(["sac", "td3"], ["reach"], ["0"], ["algo.n_step=1,3"]))
