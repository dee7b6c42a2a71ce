"""The pages of docs/: they are built, what they say to type works, and they leave nothing out."""

import re
import shlex
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

import bench
from bench.analysis.metrics import METRICS
from bench.configuration import resolve, understand
from bench.launchers import EXTRAS, PACKAGES
from bench.search import first_trial, sweeper_of
from bench.sweeps import expanded, plain

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ["index", "first_comparison", "runs_and_sweeps", "extending", "scaling_out", "../README"]
TINY = ["budget=smoke", "env_steps=6400", "num_envs=16", "eval.every=6400", "eval.episodes=4"]
RUN = ["python", "-m", "bench", "run"]
RUN_DIR = "results/default/pointmaze-v3/ddiffpg/seed=0"


def commands(page):
    """Return the words of every command that a page shows, in order."""
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    lines = [line.partition("  #")[0] for block in blocks
             for line in block.replace("\\\n", " ").splitlines()]  # fmt: skip
    return [shlex.split(line.replace("RUN_DIR", RUN_DIR)) for line in lines if line]


def runs(page):
    """Return the settings of every `run` that a page shows and that makes something new."""
    found = [words[4:] for words in commands(page) if words[:4] == RUN]
    return [words for words in found if words and words[0][:5] != "from="]


@pytest.mark.parametrize("page", PAGES)
def test_the_runs_of_a_page_are_understood(page, tmp_path, monkeypatch):
    plugins(page, tmp_path, monkeypatch)
    for words in runs(page):
        words = [word for word in fewer(here(words)) if "=" in word and word[:5] != "data="]
        request = understand([plain(word) for word in words])
        for names in request.combinations():
            settings = request.overrides(*names)
            lines = [first_trial(settings)] if sweeper_of(words) else expanded(settings)
            assert [resolve(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_in_their_order(page, tmp_path, monkeypatch):
    plugins(page, tmp_path, monkeypatch)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "results").mkdir()
    (tmp_path / "results/reference").symlink_to(ROOT / "results/reference")
    found = commands(page)
    assert found
    if page == "runs_and_sweeps":  # repeats a run of the page before
        found.insert(0, [*RUN, "algo=sac", "task=pointmaze-v3"])
    if page == "scaling_out" and find_spec("ray"):
        found.append(["ray", "stop"])
    for words in found:
        if words[0] == "make" or (words[0] == "ray" and not find_spec("ray")):
            continue  # `make` is what CI does
        if words[:4] == RUN and "--cfg" not in words:
            words = words if words[4][:5] == "from=" else [*fewer(here(words)), *TINY]
        program = [sys.executable] if words[0] == "python" else [beside_python(words[0])]
        done = subprocess.run(program + words[1:], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)


def here(words):
    """Return the words of a run with a launcher that is installed here, in a folder of ours."""
    (launcher,) = [word[15:] for word in words if word[:15] == "hydra/launcher="] or ["joblib"]
    words = [word.replace("/shared/", "") for word in words]
    if launcher == "submitit_slurm" and installed("submitit_local"):
        slurm = ("hydra.launcher.array_parallelism", "hydra.launcher.gpus_per_node")
        words = [word.replace("_slurm", "_local") for word in words if not word.startswith(slurm)]
    elif not installed(launcher):
        words = [word for word in words if not word.lstrip("+").startswith("hydra")]
    return words


def installed(launcher):
    """Return whether a launcher can be used here."""
    extra = EXTRAS.get(launcher)
    return extra is None or find_spec(PACKAGES[extra]) is not None


def fewer(words):
    """Return a command's words with two seeds where it has many."""
    return [re.sub(r"(seed=\d+,\d+),.*", r"\1", word) for word in words]


def beside_python(name):
    """Return the path of a program that a package has installed."""
    return str(Path(sys.executable).parent / name)


def test_what_is_typed_to_install_is_what_ci_installs():
    """`make` makes the environment of CI; typed by hand it is the same, but for the tests."""
    block = re.search(r"```\n(python -m venv .*?)```", (DOCS / "index.md").read_text(), re.DOTALL)[
        1
    ]
    typed = [line for line in block.splitlines() if line.startswith("pip")]
    made = re.findall(r"bin/(pip install .*)", (ROOT / "Makefile").read_text())
    made = [line.replace(" --quiet", "").replace('".[dev]"', ".") for line in made]
    assert typed == made and typed


@pytest.mark.slow
@pytest.mark.parametrize("page", ["runs_and_sweeps", "../README"])
def test_the_python_of_a_page_works(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/reference").symlink_to(ROOT / "results/reference")
    blocks = re.findall(r"```python\n(import bench\n.*?)```", (DOCS / f"{page}.md").read_text(),
                        re.DOTALL)  # fmt: skip
    assert blocks
    for block in blocks:
        settings = dict(word.split("=") for word in TINY)
        seen = {}
        monkeypatch.setattr(bench, "run", partial(run_tiny, settings))
        exec(block, seen)
        assert len(seen["frame"]), "a row per evaluation"


def run_tiny(settings, *given, **more):
    """Do what `bench.run` does, with fewer steps."""
    from bench.library import run

    return run(*given, **more | settings)


def plugins(page, folder, monkeypatch):
    """Write the modules that a page shows into a folder that modules are imported from."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    text = (DOCS / f"{page}.md").read_text()
    for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", text, re.DOTALL):
        (folder / f"{name}.py").write_text(code)


def test_every_metric_is_explained():
    text = (DOCS / "metrics.md").read_text()
    for metric in METRICS.values():
        assert f"| {metric.label} |" in text, metric.label


def test_the_pages_are_built_and_name_each_other(tmp_path):
    build = pytest.importorskip("mkdocs.commands.build")
    from mkdocs.config import load_config

    pytest.importorskip("mkdocstrings")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build.build(config)
    for name in [
        *PAGES[:-1],
        "metrics",
        "algorithms",
        "fairness",
        "ecosystem",
        "reading_the_report",
    ]:
        assert (tmp_path / f"{name}.html").stat().st_size > 2000
    page = (tmp_path / "python.html").read_text()
    for name in ("bench.library.run", "bench.api.Algorithm", "bench.testing.check_task"):
        assert f'id="{name}"' in page
    outside = re.findall(r'(?:src|href)="(https?://[^"]*\.(?:js|css)[^"]*)"', page)
    assert not outside, "the pages need no network"
