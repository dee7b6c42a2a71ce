"""Files that are whole, unchanged, and run nothing."""

import errno
import io
import os
import re
import threading
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch

import bench.storage
from bench.finite import NotFinite, Scalars, check, non_finite, parameters
from bench.policy import KEYS, load_stored
from bench.records import Record
from bench.storage import (
    CHECKSUMS,
    Checksums,
    Damaged,
    load_state,
    pack,
    save_state,
    tell_unchecked,
)

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def stored(tmp_path, state):
    torch.save(pack(state), tmp_path / "state.pt")
    return load_state(tmp_path / "state.pt", tmp_path / "state.pt", "cpu")


def test_a_state_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    state = {
        "rng": rng.bit_generator.state, "recent": deque([(1.0, 2)], maxlen=4), 3: (None, True, "x"),
        "arrays": [np.arange(6).reshape(2, 3), np.array(["left", "right"]), np.zeros((0, 2), bool),
                   np.random.default_rng(1).normal(size=(40, 30)), np.array(1.5, np.float32)],
        "scalar": np.int64(7), "module": torch.nn.Linear(2, 1).state_dict(),
        "generator": torch.Generator().manual_seed(3).get_state(),
    }  # fmt: skip
    assert state["rng"]["state"]["state"] > 2**64
    found = stored(tmp_path, state)
    assert found.keys() == state.keys() and found["rng"] == state["rng"]
    assert found["recent"] == state["recent"] and found["recent"].maxlen == 4
    assert found[3] == state[3] and found["scalar"] == 7 and type(found["scalar"]) is np.int64
    for was, now in zip(state["arrays"], found["arrays"], strict=True):
        assert now.dtype == was.dtype and now.shape == was.shape and (now == was).all()
        assert now.flags.writeable
    assert isinstance(found["module"], OrderedDict)
    assert torch.equal(found["module"]["weight"], state["module"]["weight"])
    assert torch.equal(found["generator"], state["generator"])


@pytest.mark.parametrize("value", [{1, 2}, np.array([{}], object), lambda: 0, Path("a")])
def test_what_cannot_be_stored_is_named(value):
    with pytest.raises(TypeError, match=r"state\['env'\]\[1\] is a"):
        pack({"env": [0, value]})


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["policy.pt", "state.pt"])
def test_a_file_that_names_code_runs_none(tmp_path, name):
    marker = tmp_path / "ran"
    torch.save({**dict.fromkeys(KEYS, ""), "state": Trap(marker)}, tmp_path / name)
    with pytest.raises(Damaged, match=r"cannot be read \(UnpicklingError\)"):
        if name == "policy.pt":
            load_stored(tmp_path, "cpu")
        else:
            load_state(tmp_path / name, tmp_path / name, "cpu")
    assert not marker.exists()
    torch.load(tmp_path / name, weights_only=False)
    assert marker.exists(), "the trap works"


class Full(io.RawIOBase):
    """A file on a disk that has room for some bytes."""

    def __init__(self, room):
        self.room = room

    def writable(self):
        return True

    def write(self, content):
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(content)


@pytest.mark.parametrize("room", [0, 600, 41_000])
def test_a_full_disk_is_called_so_where_a_state_is_saved(room):
    with pytest.raises(OSError, match="No space left on device"):
        save_state({"weight": torch.zeros(100, 100)}, Full(room), "state")


def test_a_record_without_checksums_is_read_with_a_warning(tmp_path, capsys):
    record = Record(tmp_path / "run")
    tell_unchecked(record.path)  # there is none
    record.path.mkdir()
    record.write({"status": "done"})
    tell_unchecked(record.path)
    assert capsys.readouterr().err == ""
    (record.path / CHECKSUMS).unlink()
    tell_unchecked(record.path)
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {record.path} has no {CHECKSUMS}") and error.count("\n") == 1
    assert Record(record.path).read() == {"status": "done"}


def test_policies_of_earlier_builds_load():
    found = {}
    for path in sorted(REFERENCE.rglob("policy.pt")):
        found.setdefault(path.parents[1].name, path)
    assert len(found) >= 8
    for algo, path in found.items():
        policy = load_stored(path.parent, "cpu")
        assert policy["algo"] == algo and policy["state"]


def test_a_changed_byte_anywhere_is_noticed(tmp_path):
    sums = Checksums(tmp_path)
    with sums.write("data") as file:
        file.write(bytes(range(200)))
    with sums.write("other"):
        pass
    assert sums.content("data") == bytes(range(200))
    for place in range(0, 200, 7):
        content = bytearray(range(200))
        content[place] ^= 1 << (place % 8)
        (tmp_path / "data").write_bytes(content)
        with pytest.raises(Damaged, match=r"data is damaged: its checksum"):
            Checksums(tmp_path).verify()
    (tmp_path / "data").unlink()
    with pytest.raises(Damaged, match="data is missing"):
        Checksums(tmp_path).verify()


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"data": 3}', '{"data": [3]}', '{"data": {}}', f'{{"data": ["x7:{DIGEST}"]}}',
     f'{{"progress.jsonl": ["7{DIGEST}"]}}', f'{{"data": ["7:{DIGEST[:-1]}"]}}'],
)  # fmt: skip
def test_a_damaged_list_of_checksums_is_named(tmp_path, content):
    for name in ("data", "progress.jsonl"):
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / "checksums.json").write_text(content)
    for read in (Checksums.verify, Checksums.current, lambda sums: sums.content("data")):
        with pytest.raises(Damaged, match=r"checksums.json is damaged$"):
            read(Checksums(tmp_path))


def test_a_file_that_is_only_listed_is_missed_by_name_and_list(tmp_path):
    (tmp_path / "checksums.json").write_text(f'{{"qolicy.pt": ["7:{DIGEST}"]}}')
    with pytest.raises(Damaged, match=r"qolicy.pt is missing, which checksums.json lists$"):
        Checksums(tmp_path).verify()


class Killed(BaseException):
    pass


def life(record):
    """Write all that a run writes, twice; yields what a reader may find in the files."""
    for number in (1, 2):
        record.begin({"number": number}, {"status": "running", "number": number})
        for line in range(3):
            record.append_progress({"line": line, "number": number})
            record.write_arrays("values.npz", values=np.full(3, number))
            with record.sums.write("checkpoint.pt") as file:
                file.write(b"%d" % number)
        record.restore_progress(record.progress_size // 3)
        record.write({"status": "done", "number": number})


def test_killed_before_or_after_any_change_every_file_is_known(tmp_path, monkeypatch):
    """The changes of a folder are `replace`, `unlink` and `truncate`: stop at each, on both sides.

    Whatever is left is vouched for, and the new configuration never lies beside old results.
    """
    changes = (Path, "replace"), (Path, "unlink"), (bench.records.os, "truncate")
    count = 0
    for stop in range(200):
        folder = tmp_path / str(stop)
        folder.mkdir()
        left = stop

        def stopping(change):
            def changed(*args, **kwargs):
                nonlocal left
                left -= 1
                if left == -1:
                    raise Killed
                done = change(*args, **kwargs)
                left -= 1
                if left == -1:
                    raise Killed
                return done

            return changed

        with monkeypatch.context() as patched:
            for owner, name in changes:
                patched.setattr(owner, name, stopping(getattr(owner, name)))
            try:
                life(Record(folder))
            except Killed:
                count += 1
            else:
                break
        record = Record(folder)
        record.sums.verify()
        facts, config = record.read(), record.read_config()
        if config.get("number") == 2:
            assert facts["number"] == 2
        if (folder / "checkpoint.pt").exists() and config:
            assert int((folder / "checkpoint.pt").read_bytes()) == config["number"]
    assert 100 < count < 199, "every change was stopped at"


def test_evaluations_are_added_and_those_after_a_checkpoint_dropped(tmp_path):
    record = Record(tmp_path)
    for steps, value in ((10, 1), (20, 2), (30, 3), (20, 4)):  # set back to a checkpoint at 10
        record.add_arrays("found.npz", steps, {"counts": np.full((2, 3), value)})
    with np.load(tmp_path / "found.npz") as found:
        assert found["env_steps"].tolist() == [10, 20]
        assert found["counts"].shape == (2, 2, 3) and found["counts"][:, 0, 0].tolist() == [1, 4]
    record.sums.verify()


def test_a_reader_beside_a_writer_sees_no_damage(tmp_path):
    record = Record(tmp_path)
    record.write({"number": 0})
    enough = threading.Event()

    def write():  # until the reader has had its turns: who is scheduled when is not ours to say
        for number in range(1, 5_000):
            if enough.is_set():
                break
            record.write({"number": number, "text": "x" * 1000})

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        while len(seen) < 10 and writer.is_alive():
            seen.add(Record(tmp_path).read()["number"])
    finally:
        enough.set()
        writer.join()
    assert len(seen) == 10


def test_numbers_that_are_not_finite_are_named():
    check("action", np.array([[-1.0, 1.0]]), 1.0, 8)
    check("action", np.zeros((0, 2)), 1.0, 8)
    for bad in (np.nan, np.inf, -1e30, 1.01):
        with pytest.raises(NotFinite, match=re.escape(f"action is {bad:g} at env step 8")):
            check("action", np.array([[0.5, bad]]), 1.0, 8)
    good = {"a": [torch.zeros(3), torch.full((4,), 3e38)], "b": torch.arange(3)}
    assert non_finite(good) is None, "a sum that overflows is no infinity"
    assert non_finite(good | {"c": {"d": torch.tensor([0, torch.inf])}}) == "c.d"
    unknown = torch.full((2, 2), torch.nan)
    module = torch.nn.Linear(1, 1)
    state = {"distances": unknown, "critics": [module.state_dict()]}
    assert non_finite(state) == "distances" and non_finite(parameters(state)) is None
    module.weight.data[:] = torch.nan
    assert non_finite(parameters({"critics": [module.state_dict()]})) == "critics.0.weight"


def test_scalars_of_a_device_are_checked_before_they_are_used():
    scalars = Scalars()
    scalars.add({"loss": torch.tensor(2.0), "count": 1.0}, 8)
    scalars.waiting += [("loss", 16, torch.tensor(4.0)), ("loss", 24, torch.tensor(torch.nan))]
    with pytest.raises(NotFinite, match="loss is nan at env step 24"):
        scalars.fetch()
    with pytest.raises(NotFinite, match="count is inf at env step 32"):
        scalars.add({"count": float("inf")}, 32)
    other = Scalars()
    other.waiting = [("loss", 8, torch.tensor(1.0)), ("loss", 16, torch.tensor(3.0))]
    assert other.means() == {"loss": 2.0} and other.means() == {}
