"""The example package: installed beside a suite that does not know it, an algorithm like others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "consistency_ac"
NAME = "consistency-ac"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Install the example into a folder of its own, without the network; return where."""
    place = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, place / "source")  # a build leaves files behind
    quiet = ["--quiet", "--disable-pip-version-check", "--no-index"]
    target = ["--no-deps", "--no-build-isolation", "--target", str(place / "site"), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "install", *quiet, *target], check=True)
    shutil.rmtree(source)
    return place


def python(place, *words):
    """Run Python where the installed example and this source are found, and no examples folder."""
    path = os.pathsep.join([str(place / "site"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *words], cwd=place, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_passes_its_own_tests(place):
    tests = shutil.copytree(EXAMPLE / "tests", place / "tests")
    assert " passed" in python(place, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests))


def test_it_is_listed_run_and_read_again(place):
    assert NAME in python(place, "-m", "bench", "list", "algos")
    words = [f"algo={NAME}", "task=pointmaze-v2", "budget=smoke", "threads=1", "results=results"]
    python(place, "-m", "bench", "run", *words, "preset=paper", "eval.episodes=4", "env_steps=1200")
    folder = place / "results" / "default" / "pointmaze-v2" / NAME / "seed=0"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["algo"]["actor"]["max_noise"] == 80, "its own preset"
    assert not config["plugins"], "found by its entry point alone"
    python(place, "-m", "bench", "eval", str(folder), "episodes=2")


def test_bandit_and_speed_know_it(place):
    words = ["case=equal", "updates=1", "out=bandit"]
    assert NAME in python(place, "-m", "bench", "bandit", f"algo={NAME}", *words)
    words = ["task=pointmaze-v2", "warmup=640", "seconds=1"]
    assert NAME in python(place, "-m", "bench", "speed", f"algo={NAME}", *words)


def test_nothing_in_the_suite_names_it():
    for folder in ("bench", "algos", "tasks", "analysis"):
        for path in (ROOT / folder).rglob("*.py"):
            assert NAME not in path.read_text() and EXAMPLE.name not in path.read_text(), path
