"""Bad input gets one line that names it, exit status 2, and leaves nothing on disk."""

import sys

import pytest

from bench.__main__ import main
from bench.errors import UsageError
from bench.words import integer

LONG = "a" * 300


def refused(capsys, *words):
    """Return the one line that a refused command prints."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    error = printed.err.strip()
    assert error.startswith("bench: ") and "\n" not in error and not printed.out
    return error


@pytest.mark.parametrize("command", [["list"], ["run", "algo=sac", "task=pointmaze-v1"]])
@pytest.mark.parametrize("name", ["nosuch", "nosuch.mod", "os.nosuch"])
def test_a_plugin_that_is_nowhere_is_named(capsys, command, name):
    error = refused(capsys, *command, f"plugins=[{name}]")
    assert f"plugins: no module {name!r} in the working directory or on PYTHONPATH" in error


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        ("def (:", "SyntaxError: invalid syntax (faulty_plugin.py, line 1)"),
        ("\n\nraise KeyError(7)", "KeyError: 7 (faulty_plugin.py:3)"),
        ("raise ValueError('a\\nb')", "ValueError: a b (faulty_plugin.py:1)"),
        ("import nosuch", "ModuleNotFoundError: No module named 'nosuch' (faulty_plugin.py:1)"),
        ("import sys; sys.exit(0)", "SystemExit: 0 (faulty_plugin.py:1)"),
    ],
)
def test_a_plugin_that_raises_is_named_with_what_it_raised(
    tmp_path, monkeypatch, capsys, text, raised
):
    (tmp_path / "faulty_plugin.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    error = refused(capsys, "list", "plugins=faulty_plugin")
    assert f"plugins: 'faulty_plugin' cannot be imported: {raised}" in error
    assert "faulty_plugin" not in sys.modules


def test_an_installed_plugin_that_raises_is_named_too(capsys, tmp_path, monkeypatch):
    (tmp_path / "brokenplugin.py").write_text("raise KeyError(7)")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.plugins]\nbroken = brokenplugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    error = refused(capsys, "list", "algos")
    assert "plugins: 'brokenplugin' cannot be imported: KeyError: 7 (brokenplugin.py:1)" in error


def test_status_takes_no_plain_word(capsys):
    assert "status 'nosuchfolder': give results=DIR" in refused(capsys, "status", "nosuchfolder")


def test_a_name_that_is_too_long_for_a_folder_is_refused(capsys, tmp_path):
    word = f"results={tmp_path}/{LONG}"
    run = ["run", "algo=sac", "task=pointmaze-v1"]
    assert f"{word}: File name too long" in refused(capsys, *run, word)
    assert f"{word}: no such folder" in refused(capsys, "status", word)
    assert f"{word}: no such folder" in refused(capsys, "report", word)
    assert f"{LONG}/policy.pt: File name too long" in refused(capsys, "eval", LONG)
    assert not list(tmp_path.iterdir())


def test_links_in_a_circle_are_no_folder(capsys, tmp_path):
    (tmp_path / "link").symlink_to("link")
    word = f"results={tmp_path}/link"
    assert word in refused(capsys, "run", "algo=sac", "task=pointmaze-v1", word)


@pytest.mark.parametrize("seed", [2**32, 99999999999999999999999999])
def test_a_seed_out_of_range_is_refused(capsys, tmp_path, seed):
    line = f"seed={seed}: valid are integers from 0 to 4294967295"
    run = ["run", "algo=sac", "task=pointmaze-v1"]
    assert line in refused(capsys, *run, f"seed={seed}", f"results={tmp_path / 'r'}")
    assert line in refused(capsys, "bandit", "algo=sac", f"seed={seed}", f"out={tmp_path / 'b'}")
    assert not list(tmp_path.iterdir())


def test_integers_have_bounds_that_are_said_where_they_matter():
    assert integer("n", "4294967295", 0, 2**32 - 1) == 2**32 - 1
    for value, line in (
        ("0", "n=0: valid are integers from 1$"),
        ("x", "n=x: valid are integers from 1$"),
        (str(2**63), f"n={2**63}: valid are integers from 1 to {2**63 - 1}$"),
        ("9" * 5000, f"valid are integers from 1 to {2**63 - 1}$"),  # more than Python reads
    ):
        with pytest.raises(UsageError, match=line):
            integer("n", value)
