"""Compacting keeps what figures draw and policies do, and does nothing the second time."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis.runs import read_runs
from bench.errors import UsageError
from bench.records import Record
from bench.storage import Checksums
from docs.compact_records import main


def record(root, task="maze-v1", seed=0, layout=("###",), status="done", listed=False):
    """Write a run of two evaluations of two episodes, whose paths have 3 and 2 points, and two more
    as specified, which no figure draws."""
    place = root / "exp" / task / "alpha" / f"seed={seed}"
    place.mkdir(parents=True)
    rows = [
        {"env_steps": steps, "protocol": protocol, "commanded": -1, "episode": episode,
         "return": 0.0, "length": 2, "distance": 1 / 3, "success": False,
         "mode": -1, "mode_name": "failure"}
        for steps, protocol in ((10, "sampled"), (20, "sampled"), (20, "specified"))
        for episode in (0, 1)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(place / "episodes.parquet")
    points = np.arange(30, dtype=np.int16).reshape(15, 2)
    np.savez(place / "paths.npz", points=points, offsets=[0, 3, 5, 8, 10, 13, 15], scale=0.1)
    facts = {"algo": "alpha", "task": task, "seed": seed, "experiment": "exp", "status": status,
             "task_info": {"modes": [], "layout": layout}}  # fmt: skip
    (place / "run.json").write_text(json.dumps(facts))
    rng = torch.Generator().manual_seed(seed)
    state = {"actor": {"weight": torch.randn(8, 8, generator=rng)},
             "norm": {"count": torch.tensor(1e6)}, "num_modes": 3}  # fmt: skip
    torch.save({"algo": "alpha", "state": state}, place / "policy.pt")
    (place / "checkpoint.pt").write_bytes(b"large")
    if listed:
        sums = Checksums(place)
        sums.save({path.name: [sums.identity(path.name)] for path in place.iterdir()})
    return place


def contents(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_last_paths_of_mazes_and_one_policy_stay(tmp_path):
    first, second = record(tmp_path, seed=9), record(tmp_path, seed=10)
    arm = record(tmp_path, "arm", layout=None)
    replanned, running = record(tmp_path, seed=11), record(tmp_path, seed=12, status="running")
    (replanned / "replan").mkdir()
    whole = contents(running)
    (tmp_path / "index.html").write_text("<html>")  # a report beside the records
    before = torch.load(first / "policy.pt", weights_only=True)
    played = pd.read_parquet(first / "episodes.parquet")
    assert main([f"results={tmp_path}"]) == 0
    left = pd.read_parquet(first / "episodes.parquet")
    assert played.pop("distance")[0] == 1 / 3
    assert left.pop("distance").tolist() == [np.float32(0.3333)] * 6
    pd.testing.assert_frame_equal(left, played)
    assert not (first / "checkpoint.pt").exists() and (replanned / "policy.pt").exists()
    assert contents(running) == whole, "an unfinished run goes on from its checkpoint"
    assert (tmp_path / "index.html").exists()
    runs = {run.path: run for run in read_runs(tmp_path)}
    for place in (first, second):
        paths = runs[place].paths(pd.RangeIndex(6))
        assert [len(path) for path in paths] == [0, 0, 3, 2, 0, 0]
        assert np.allclose(paths[2], 0.1 * np.arange(10, 16).reshape(3, 2))
        assert runs[place].has_paths("sampled")
    assert not runs[arm].has_paths("sampled")
    assert (first / "policy.pt").exists() and not (second / "policy.pt").exists()
    after = torch.load(first / "policy.pt", weights_only=True)
    weight = after["state"]["actor"]["weight"]
    assert weight.dtype == torch.float16 and after["algo"] == "alpha"
    assert torch.allclose(weight.float(), before["state"]["actor"]["weight"], atol=2e-3)
    assert after["state"]["norm"]["count"] == 1e6, "too large for half precision"
    once = contents(tmp_path)
    assert main([f"results={tmp_path}"]) == 0
    assert contents(tmp_path) == once


def test_progress_keeps_lines_as_they_are_the_last_among_them(tmp_path):
    place = record(tmp_path)
    whole = Record(place)
    for step in range(1, 201):
        whole.append_progress({"env_steps": step, "loss": 1 / step})
    assert main([f"results={tmp_path}"]) == 0
    Checksums(place).verify()
    lines = [json.loads(line) for line in (place / "progress.jsonl").read_text().splitlines()]
    assert [line["env_steps"] for line in lines] == list(range(4, 201, 4))
    assert all(line["loss"] == 1 / line["env_steps"] for line in lines)
    assert Record(place).last_progress() == lines[-1]
    once = contents(tmp_path)
    assert main([f"results={tmp_path}"]) == 0
    assert contents(tmp_path) == once


def test_what_is_left_is_vouched_for(tmp_path):
    places = [record(tmp_path, seed=seed, listed=True) for seed in (9, 10)]
    assert main([f"results={tmp_path}"]) == 0
    for place, names in zip(places, (["policy.pt"], []), strict=True):
        Checksums(place).verify()
        assert set(Checksums(place).read()) == {
            "run.json", "episodes.parquet", "paths.npz", *names
        }  # fmt: skip
    assert {run.path for run in read_runs(tmp_path)} == set(places)
    (places[0] / "policy.pt").write_bytes(b"other")
    with pytest.warns(UserWarning, match=r"skipped .*policy\.pt is damaged"):
        assert [run.path for run in read_runs(tmp_path)] == places[1:]


def test_weights_that_half_precision_loses_stay(tmp_path, capsys):
    place = record(tmp_path)
    stored = torch.load(place / "policy.pt", weights_only=True)
    stored["state"]["actor"]["weight"] *= 1e6  # overflows
    torch.save(stored, place / "policy.pt")
    kept = (place / "policy.pt").read_bytes()
    assert main([f"results={tmp_path}"]) == 0
    assert (
        place / "policy.pt"
    ).read_bytes() == kept and "left as they are" in capsys.readouterr().out


def test_a_missing_folder_is_named():
    with pytest.raises(ValueError, match="no such folder"):
        main(["results=nowhere"])


def test_of_scores_alone_no_figure_stays(tmp_path):
    place = record(tmp_path, listed=True)
    before = pd.read_parquet(place / "episodes.parquet")
    assert main([f"results={tmp_path}", "scores=true"]) == 0
    assert {path.name for path in place.iterdir()} == {
        "run.json", "episodes.parquet", "checksums.json",
    }  # fmt: skip
    (run,) = read_runs(tmp_path)
    assert run.episodes["success"].tolist() == before["success"].tolist()
    Checksums(place).verify()


def test_a_policy_without_weights_is_left_as_it_is(tmp_path):
    """Random play has none, and was written anew each time, with one more checksum."""
    place = record(tmp_path, listed=True)
    sums = Checksums(place)
    with sums.write("policy.pt") as file:
        torch.save({"algo": "alpha", "state": {"norm": {"count": torch.tensor(1e6)}}}, file)
    before = contents(place)[place / "policy.pt"]
    assert main([f"results={tmp_path}"]) == 0
    first = contents(tmp_path)
    assert main([f"results={tmp_path}"]) == 0
    assert contents(tmp_path) == first and first[place / "policy.pt"] == before


def test_a_word_that_is_no_setting_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not '--help'"):
        main(["--help"])
