"""The pages of docs/: they are built, what they say to type works, and they leave nothing out."""

import re
import shlex
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.analysis.metrics import METRICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ["index", "first_comparison", "runs_and_sweeps", "extending"]
TINY = ["budget=smoke", "env_steps=2048", "num_envs=16", "eval.every=2048", "eval.episodes=4"]
SMALL = {"ddiffpg": ["algo.exploration.warmup=1024"]}


def commands(page):
    """Return the words of every command that a page shows, in order."""
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    return [shlex.split(line.removeprefix("python -m bench")) for line in lines if line]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_in_their_order(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/reference").symlink_to(ROOT / "results/reference")
    for block in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", (DOCS / f"{page}.md").read_text(),
                            re.DOTALL):  # fmt: skip
        (tmp_path / f"{block[0]}.py").write_text(block[1])
    if page == "runs_and_sweeps":  # repeats a run of the page before
        main(["run", "algo=sac", "task=pointmaze-v3", *TINY])
    found = commands(page)
    assert found
    for words in found:
        if words[:1] == ["run"] and "--cfg" not in words and not words[1].startswith("from="):
            words += TINY
        assert main(words) == 0, (words, capfd.readouterr().err)


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
