"""What is installed is whole: a wheel, in an environment that knows nothing of this folder."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import yaml

import bench

ROOT = Path(__file__).parents[2]


def test_the_wheel_runs_and_reports_by_itself(tmp_path):
    def call(*words, **more):
        return subprocess.run(
            words, check=True, capture_output=True, text=True, cwd=tmp_path, **more
        ).stdout

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path)
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env/bin/python"
    home = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    # dependencies as they are here; a path in a .pth does not bring the .pth files that lie there
    (home / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    call(*pip, "install", *tmp_path.glob("*.whl"), "--no-deps", "-q", "--target", home)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = call(python, "-c", "import bench; print(bench.__file__)", env=clean)
    assert Path(where.strip()).is_relative_to(home)
    tiny = ["budget=smoke", "env_steps=512", "num_envs=16", "eval.every=512", "eval.episodes=2"]
    command = [python, "-m", "bench", "run", "algo=sac", "task=pointmaze-v1", "threads=1"]
    assert "report: results/default/report/index.html" in call(*command, *tiny, env=clean)
    assert (tmp_path / "results/default/report/index.html").stat().st_size > 1_000_000


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == bench.__version__ and cited["license"] == "MIT"
