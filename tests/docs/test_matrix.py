"""The table of what the suite was seen working with."""

import re
import tomllib
from pathlib import Path

from docs.marks import read
from tests.matrix import HEAD, MARK, oldest, with_row

ROOT = Path(__file__).parents[2]


def row(python, versions, tests):
    return {name: "1" for name in HEAD} | {
        "Python": python, "versions": versions, "tests": tests
    }  # fmt: skip


def test_a_row_replaces_its_own_and_no_other():
    table = ""
    given = [("3.13.5", "newest", "a"), ("3.9.1", "oldest", "b"), ("3.13.5", "oldest", "c"),
             ("3.13.5", "newest", "d")]  # fmt: skip
    for python, versions, tests in given:
        table = with_row(table, row(python, versions, tests))
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert rows[0] == list(HEAD) and len(rows) == 5
    assert [(one[0], one[1], one[-1]) for one in rows[2:]] == [
        ("3.9.1", "oldest", "b"), ("3.13.5", "oldest", "c"), ("3.13.5", "newest", "d")
    ]  # fmt: skip


def test_the_declared_ranges_begin_at_what_was_tried():
    text = read(str(ROOT / "docs/installation.md"), *MARK)
    rows = [dict(zip(HEAD, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
            for line in text.splitlines()[2:]]  # fmt: skip
    tried = {
        name: min(tuple(map(int, re.findall(r"\d+", one[name])[:3])) for one in rows)
        for name in HEAD if rows and rows[0][name][0].isdigit()
    }  # fmt: skip
    for pin in [*oldest(), "torch==2.13"]:
        name, _, least = pin.partition("==")
        if name in tried:
            begins = tuple(map(int, least.split(".")))
            assert tried[name][: len(begins)] == begins, f"{name}: {tried[name]}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "torch>=2.13" in project["dependencies"] and project["requires-python"] == ">=3.11"
    assert tried["Python"][:2] == (3, 11)
