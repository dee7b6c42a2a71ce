"""Bad input gets one line that names it, exit status 2, and leaves nothing on disk."""

import runpy
import sys
from dataclasses import make_dataclass, replace

import pytest
import torch

import bench.algos
import bench.tasks
from bench.__main__ import main
from bench.commands import speed
from bench.configuration import has_preset
from bench.errors import UsageError
from bench.registry import load_plugins
from bench.settings import Evaluation
from bench.words import integer, parse

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


SMALL = ["algo=random", "task=pointmaze-v1", "budget=smoke", "env_steps=64", "num_envs=4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bogus"], "run '--bogus': valid flags are -m, --multirun, --cfg job, --help"),
        (["--info"], "run '--info': valid flags are"),
        (["--cfg=foo"], "--cfg 'foo': valid are job, hydra, all"),
        (["--cfg"], "--cfg '': valid are job, hydra, all"),
        (["seed=0,1", "--config-dir=x"], "run '--config-dir=x': valid flags are"),
        (["names.task=reach"], "names.task=reach: give algo=NAME and task=NAME"),
        (["+names.algo=sac"], "names.algo=sac: give algo=NAME and task=NAME"),
        (["task=,"], "task=? is missing"),
        (["algo=,"], "algo=? is missing"),
        (["threads=999999999999"], "threads=999999999999: must be at most 2147483647"),
        (["num_envs=99999999999"], "num_envs=99999999999: must be at most 2147483647"),
        (["env_steps=glob(*)"], "env_steps=glob(*): valid are values, with commas between them"),
        (["objective=smapled.success"], "unknown protocol of objective 'smapled'"),
        (["objective=sucess"], "unknown objective 'sucess'"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_anything_is_trained(
    tmp_path, capsys, words, message
):
    given = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in given]
    assert message in refused(capsys, "run", *small, f"results={tmp_path / 'r'}", *words)
    assert not list(tmp_path.iterdir())


def test_settings_are_shown_whichever_way_hydra_is_asked(tmp_path, capsys):
    for flags in (["--cfg", "job"], ["--cfg=job"], ["-c", "job"], ["--cfg=job", "-m"]):
        assert main(["run", *SMALL, *flags, f"results={tmp_path / 'r'}"]) == 0
        assert "env_steps: 64" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


PLUGIN = """
from dataclasses import dataclass
from bench.algos import register
@dataclass
class Config:
    scale: float = 1.0
@register({name!r}, config=Config)
class {kind}:
    "[bold]What[/nope] it does."
"""


def plugin(folder, module, name, kind="Policy"):
    (folder / f"{module}.py").write_text(PLUGIN.format(name=name, kind=kind))


@pytest.fixture
def registered():
    """Forget what a test has registered."""
    before = dict(bench.algos.registry.entries)
    yield
    bench.algos.registry.entries = before


def test_two_plugins_of_one_name_are_refused_whatever_their_classes_are_called(
    tmp_path, monkeypatch, capsys, registered
):
    monkeypatch.syspath_prepend(tmp_path)
    plugin(tmp_path, "one_of_two", "same")
    plugin(tmp_path, "other_of_two", "same")
    error = refused(capsys, "list", "algos", "plugins=one_of_two,other_of_two")
    assert "algorithm 'same' is already registered by one_of_two" in error
    plugin(tmp_path, "own_sac", "sac", "SAC")
    assert "algorithm 'sac' is already registered by" in refused(
        capsys, "list", "algos", "plugins=[own_sac]"
    )


def test_a_plugin_may_run_as_a_script_and_be_imported_too(tmp_path, monkeypatch, registered):
    plugin(tmp_path, "script_too", "twice")
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path(str(tmp_path / "script_too.py"), run_name="script_too")
    load_plugins(["script_too"])
    assert bench.algos.registry["twice"].factory.__module__ == "script_too"


@pytest.mark.parametrize("name", ["..", "my/algo", "nan", "all", "", "1st"])
def test_a_name_that_no_run_could_have_is_refused(name):
    with pytest.raises(UsageError, match="a name has letters"):
        bench.algos.register(name, config=Evaluation)


def test_what_a_plugin_says_of_itself_is_text_and_lists_take_spaces(
    tmp_path, monkeypatch, capsys, registered
):
    monkeypatch.syspath_prepend(tmp_path)
    plugin(tmp_path, "with_brackets", "brackets")
    assert main(["list", "algos", "plugins=[json, with_brackets]"]) == 0
    assert "[bold]What[/nope] it does." in " ".join(capsys.readouterr().out.split())


def test_a_task_that_cannot_be_built_hides_no_other(monkeypatch, capsys):
    def broken(name, config):
        raise RuntimeError("needs an id")

    entries = bench.tasks.discover().entries
    monkeypatch.setitem(entries, "broken", replace(entries["reach"], factory=broken))
    assert main(["list", "tasks"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "cannot be built" in printed and "drawer-close" in printed


def test_settings_of_a_type_that_hydra_lacks_are_named(monkeypatch, capsys):
    kinds = make_dataclass("Config", [("net", torch.nn.Module, None)])
    entries = bench.algos.discover().entries
    monkeypatch.setitem(entries, "odd", replace(entries["random"], config=kinds))
    error = refused(capsys, "run", "algo=odd", *SMALL[1:], "preset=none")
    assert "algorithm 'odd': its settings: " in error


@pytest.mark.parametrize("command", ["render", "replan", "eval", "export"])
def test_a_run_directory_that_is_missing_or_looks_like_a_setting(tmp_path, capsys, command):
    assert f"{command} needs one run directory, as in ./seed=0" in refused(
        capsys, command, "seed=100"
    )


@pytest.mark.parametrize("command", ["render", "replan"])
def test_where_a_command_would_write_is_looked_at_first(tmp_path, capsys, command):
    (tmp_path / command).write_text("a file")
    assert f"{command} is not a folder" in refused(capsys, command, str(tmp_path))


def test_a_folder_that_ends_in_a_slash_is_no_setting(tmp_path, monkeypatch):
    (tmp_path / "seed=7").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse(["seed=7/", "seed=3"], {"seed": "0"}) == (["seed=7/"], {"seed": "3"})


def test_a_size_that_some_have_no_preset_for(tmp_path, capsys):
    words = ["speed", "size=paper", "timed=0", f"out={tmp_path / 'o'}"]
    assert "size=paper: categorical has no such preset" in refused(
        capsys, *words, "algo=categorical"
    )
    assert "precision=''" in refused(capsys, *words, "precision=")
    entry, registry = bench.tasks.registry["pointmaze-v3"], bench.algos.discover()
    silent = [name for name in registry if not has_preset("paper", registry[name], entry)]
    kept = speed.sized(list(registry), ["all"], "pointmaze-v3", "paper")
    assert set(kept) == set(registry) - set(silent) and "ddiffpg" in kept and silent
    assert f"left out, without a preset 'paper': {', '.join(silent)}" in capsys.readouterr().out
