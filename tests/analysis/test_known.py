"""What is known of runs: only what has changed is read again, and nothing stale is ever shown."""

import json
import os
import shutil

import pandas as pd
import pytest
from test_report import make_run

from bench import known
from bench.__main__ import main
from bench.analysis import load, runs
from bench.commands import status
from bench.known import FOLDER, Known, identity
from bench.storage import Checksums


@pytest.fixture
def settled(monkeypatch):
    """Files that were written just now count as settled."""
    monkeypatch.setattr(known, "SETTLED", 0)


def shown(results, capsys):
    assert status.main([f"results={results}"]) == 0
    return capsys.readouterr().out


def reads(monkeypatch):
    """Return a list that grows by every run that is read."""
    found, row = [], status.row
    monkeypatch.setattr(status, "row", lambda record: found.append(record.path) or row(record))
    return found


def lose(place):
    """Make every episode of a run a failure, in a file of the same date."""
    path = place / "episodes.parquet"
    before = path.stat()
    episodes = pd.read_parquet(path)
    episodes.assign(success=False, mode=-1).to_parquet(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_only_what_has_changed_is_read_again(tmp_path, capsys, monkeypatch, settled):
    places = [make_run(tmp_path, seed=seed) for seed in range(3)]
    read = reads(monkeypatch)
    first = shown(tmp_path, capsys)
    assert read == places and "100%" in first
    assert shown(tmp_path, capsys) == first and read == places
    lose(places[1])
    again = shown(tmp_path, capsys)
    assert read == [*places, places[1]]
    lines = [line for line in again.splitlines() if "seed=" in line]
    assert ["0%" in line.split() for line in lines] == [False, True, False]


def test_a_file_that_changed_just_now_is_read_again(tmp_path, capsys, monkeypatch):
    place = make_run(tmp_path)
    assert identity(place) == ""  # its next change may fall into the same tick of the clock
    read = reads(monkeypatch)
    shown(tmp_path, capsys)
    shown(tmp_path, capsys)
    assert read == [place] * 2


def test_a_date_that_is_set_back_hides_no_change(tmp_path, settled):
    place = make_run(tmp_path)
    path, mark = place / "run.json", identity(place)
    before = path.stat()
    with path.open("r+") as file:  # in place: same inode, same size
        file.write("{ ")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert identity(place) != mark


@pytest.mark.parametrize("damage", [
    lambda body: body[: len(body) // 2],
    lambda body: body.replace(b"100%", b"999%"),
    lambda body: b"",
    lambda body: b"\xff" * 90,
    lambda body: body.replace(body[:64], b"0" * 64),  # of other code
])  # fmt: skip
def test_what_is_damaged_or_of_other_code_is_not_trusted(tmp_path, capsys, settled, damage):
    make_run(tmp_path)
    first = shown(tmp_path, capsys)
    path = tmp_path / FOLDER / "status.json"
    path.write_bytes(damage(path.read_bytes()))
    assert Known(tmp_path, "status", (status,)).before == {}
    assert shown(tmp_path, capsys) == first


def test_values_of_another_shape_are_not_trusted(tmp_path, capsys, settled):
    place = make_run(tmp_path)
    first = shown(tmp_path, capsys)
    modules = (status, status.metrics, status.bench.found)
    store = Known(tmp_path, "status", modules)
    assert store.before
    store.put(place, identity(place), {"cells": 1})
    store.save()
    assert shown(tmp_path, capsys) == first


def test_a_folder_that_cannot_be_written_is_read_as_ever(tmp_path, capsys, settled):
    make_run(tmp_path)
    (tmp_path / FOLDER).write_text("in the way: root may write anywhere")
    assert "100%" in shown(tmp_path, capsys)
    assert (tmp_path / FOLDER).is_file()


def test_a_running_run_is_looked_at_each_time(tmp_path, capsys, monkeypatch, settled):
    place = make_run(tmp_path, status="running")
    read = reads(monkeypatch)
    assert "killed" in shown(tmp_path, capsys)
    shown(tmp_path, capsys)
    assert read == [place] * 2


def test_a_run_whose_lock_alone_changed_is_known(tmp_path, settled):
    place = make_run(tmp_path)
    mark = identity(place)
    (place / ".lock").write_text("")
    assert identity(place) == mark


def test_names_with_brackets_and_newlines_stay_in_their_row(tmp_path, capsys):
    make_run(tmp_path, algo="[red]a\nb[/]")
    facts = json.loads(next(tmp_path.rglob("run.json")).read_text())
    assert facts["algo"] == "[red]a\nb[/]"
    assert "exp/maze-v1/[red]a b[/]/seed=0" in shown(tmp_path, capsys)


def reported(results, capsys):
    assert main(["report", f"results={results}", f"out={results.parent / 'out'}"]) == 0
    capsys.readouterr()
    return {name: (results.parent / "out" / name).read_bytes()
            for name in ("table.csv", "survival.csv", "settings.csv", "index.html")}  # fmt: skip


def test_a_report_scores_only_what_has_changed_and_says_the_same(
    tmp_path, capsys, monkeypatch, settled
):
    results = tmp_path / "results"
    places = [make_run(results, seed=seed) for seed in range(2)]
    (places[0] / "config.yaml").write_text("num_envs: 8\nalgo: {gamma: 0.9}\n")
    made, scored = [], load.scored
    monkeypatch.setattr(load, "scored", lambda run: made.append(run.path) or scored(run))
    first = reported(results, capsys)
    assert made == places
    assert reported(results, capsys) == first and made == places
    lose(places[1])
    (places[0] / "config.yaml").write_text("num_envs: 9\nalgo: {gamma: 0.9}\n")
    made.clear()
    changed = reported(results, capsys)
    assert made == places
    shutil.rmtree(results / FOLDER)
    assert reported(results, capsys) == changed and changed["table.csv"] != first["table.csv"]


def test_a_record_that_was_damaged_since_is_left_out(tmp_path, capsys, settled):
    results = tmp_path / "results"
    sound, damaged = (make_run(results, seed=seed) for seed in range(2))
    sums = Checksums(damaged)
    sums.save({"episodes.parquet": [sums.identity("episodes.parquet")]})
    reported(results, capsys)
    lose(damaged)
    assert main(["report", f"results={results}", f"out={tmp_path / 'out'}"]) == 0
    error = capsys.readouterr().err
    assert f"skipped {damaged}" in error and str(sound) not in error


@pytest.mark.parametrize("value", [
    None, [], [{}, {}], ["a", "b"], [{"env_steps": [1]}, {}], [1, 2, 3],
])  # fmt: skip
def test_scores_of_another_form_are_not_trusted(value):
    assert runs.recalled(value) == (None, None)
