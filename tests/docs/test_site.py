"""The pages of docs/: they are built, what they say to type works, and they leave nothing out."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.analysis.metrics import METRICS
from bench.configuration import resolve, understand
from bench.search import first_trial, sweeper_of
from bench.sweeps import expanded, plain

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ["index", "first_comparison", "runs_and_sweeps", "extending"]
TINY = ["budget=smoke", "env_steps=6400", "num_envs=16", "eval.every=6400", "eval.episodes=4"]


def commands(page):
    """Return the words of every command that a page shows, in order."""
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    return [shlex.split(line.removeprefix("python -m bench")) for line in lines if line]


@pytest.mark.parametrize("page", PAGES)
def test_the_runs_of_a_page_are_understood(page, tmp_path, monkeypatch):
    plugins(page, tmp_path, monkeypatch)
    for words in commands(page):
        settings = [word for word in words[1:] if "=" in word and not word.startswith("from=")]
        if words[:1] == ["run"] and settings:
            request = understand([plain(word) for word in settings if word[:5] != "data="])
            for names in request.combinations():
                words = request.overrides(*names)
                lines = [first_trial(words)] if sweeper_of(settings) else expanded(words)
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
        found.insert(0, ["run", "algo=sac", "task=pointmaze-v3"])
    for words in found:
        if words[:1] == ["run"] and "--cfg" not in words and not words[1].startswith("from="):
            words += TINY
        done = subprocess.run([sys.executable, "-m", "bench", *words], cwd=tmp_path,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)


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
    for name in [*PAGES, "metrics", "algorithms", "fairness", "ecosystem", "reading_the_report"]:
        assert (tmp_path / f"{name}.html").stat().st_size > 2000
    page = (tmp_path / "python.html").read_text()
    for name in ("bench.library.run", "bench.api.Algorithm", "bench.testing.check_task"):
        assert f'id="{name}"' in page
    outside = re.findall(r'(?:src|href)="(https?://[^"]*\.(?:js|css)[^"]*)"', page)
    assert not outside, "the pages need no network"
