"""The script that kills sweeps: it must find the process that it means, in any namespace."""

import json
import os
import signal
import subprocess
import sys

import pytest

from bench import lease
from bench.errors import UsageError
from tests import elsewhere

WAITS = "import time; from bench import lease; print(lease.system(), flush=True); time.sleep(60)"


def holder(where, pid):
    return lease.Holder(1, b"", "here", where, pid)


def test_a_process_of_this_namespace_is_found_until_it_ends():
    assert elsewhere.process_of(holder(lease.system(), os.getpid())) == os.getpid()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(ProcessLookupError):
        elsewhere.process_of(holder(lease.system(), process.pid))


def test_a_process_is_found_that_counts_itself_otherwise():
    """In a namespace of its own it has a small number, which is somebody else's here."""
    call = [*elsewhere.APART, sys.executable, "-c", WAITS]
    apart = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    where = apart.stdout.readline().strip()
    try:
        if not where:
            pytest.skip(f"no namespaces here: {apart.stderr.read()}")
        assert where != lease.system()
        found = elsewhere.process_of(holder(where, 1))
        assert found != 1
        os.kill(found, signal.SIGKILL)
        assert apart.wait(timeout=60) != 0, "it was the one"
    finally:
        apart.kill()
        apart.wait()


@pytest.mark.parametrize("repeats, unlike, done, right", [
    ((), [], range(5, 6), True),
    ((0,), [], range(5, 6), False),
    ((), ["episodes.parquet"], range(5, 6), False),
    ((), [], range(6, 7), False),
])  # fmt: skip
def test_what_is_lost_or_done_twice_is_noticed(tmp_path, monkeypatch, repeats, unlike, done, right):
    """The command again makes the sixth run, and some others anew."""
    results = tmp_path / "results"

    def write(seed, said):
        folder = elsewhere.place(results, seed)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps({"status": "done", "end": said}))

    class Again:
        def end(self):
            for seed in (5, *repeats):
                write(seed, "later")
            return 0, ""

    for seed in range(5):
        write(seed, "at first")
    monkeypatch.setattr(elsewhere, "start", lambda *words: Again())
    monkeypatch.setattr(elsewhere, "differences", lambda one, other: unlike)
    row = elsewhere.judge(elsewhere.Row("a sweep", "a run"), results, tmp_path, (), done)
    assert (row.wrong == []) is right, row.wrong


def test_an_unknown_series_is_refused():
    with pytest.raises(UsageError, match="series=slurm: valid are joblib, ray"):
        elsewhere.main(["series=slurm"])
