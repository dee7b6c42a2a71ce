"""One run is claimed by one worker, on this host and on others that share the folder."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bench import lease
from bench.errors import LostError, UsageError
from bench.lease import claimed, held, holder, judged_together, numbers, watched
from bench.records import Record


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.02)
    lease.silent.clear()


def from_elsewhere(folder, number=1, **said):
    """Write what a holder on another host would."""
    facts = {"host": "other", "where": "there", "pid": os.getpid(), "began": "", "free": False}
    (folder / f"{lease.NAME}{number}").write_text(json.dumps(facts | said))


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path):
    for _ in range(3):
        with claimed(tmp_path):
            assert held(tmp_path)
            with (
                pytest.raises(UsageError, match=r"is in use by another process$"),
                claimed(tmp_path),
            ):
                pass
        assert not held(tmp_path)
    assert numbers(tmp_path) == [3]


def test_one_of_many_gets_it(tmp_path):
    from_elsewhere(tmp_path)  # dead: all wait, and then want it at once
    start, got = threading.Barrier(12), []

    def claim():
        start.wait()
        try:
            with claimed(tmp_path) as mine:
                got.append(mine)
                time.sleep(1)
        except UsageError:
            pass

    threads = [threading.Thread(target=claim) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_killed_holder_of_this_host_is_followed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 1e6)  # no waiting
    code = """import sys
from pathlib import Path
from bench.lease import claimed

with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "held\n" and held(tmp_path)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not waited for
    assert not held(tmp_path)
    process.wait()
    with claimed(tmp_path) as mine:
        assert mine.number == 2


def test_another_process_of_the_same_number_is_another(tmp_path):
    here = {"host": lease.socket.gethostname(), "where": lease.system()}
    from_elsewhere(tmp_path, **here, began=lease.began(os.getpid()))
    assert held(tmp_path)
    from_elsewhere(tmp_path, **here, began="7")
    assert not held(tmp_path)


def test_a_live_holder_on_another_host_is_left_alone(tmp_path, monkeypatch):
    with claimed(tmp_path):
        monkeypatch.setattr(lease.Holder, "here", lambda self: False)
        monkeypatch.setattr(lease, "BEAT", 0.2)  # the observer's
        user = watched(tmp_path)
        assert user is not None and user.of().startswith("another process on ")
        with pytest.raises(UsageError, match="in use by another process on"), claimed(tmp_path):
            pass


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]"])
def test_a_silent_holder_on_another_host_is_followed(tmp_path, content):
    from_elsewhere(tmp_path)
    if content is not None:  # killed between making the file and writing it
        (tmp_path / f"{lease.NAME}1").write_bytes(content)
    assert held(tmp_path), "cannot be told at once"
    with claimed(tmp_path) as mine:
        assert mine.number == 2


def test_many_silent_holders_are_waited_for_once(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(lease.time, "sleep", slept.append)
    folders = [tmp_path / str(number) for number in range(20)]
    for folder in folders:
        folder.mkdir()
        from_elsewhere(folder, began=folder.name)
    assert set(judged_together(folders).values()) == {(None, 1)}
    assert [watched(folder) for folder in folders] == [None] * 20
    assert slept == [lease.BEAT / 2] * lease.LOOKS


def test_the_runs_of_a_sweep_need_not_wait_for_whom_it_has_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    folders = [tmp_path / "dead", tmp_path / "alive"]
    shared, ended = tmp_path / "silent", threading.Event()
    for folder in folders:
        folder.mkdir()
        from_elsewhere(folder, began=folder.name)
    thread = threading.Thread(target=lease.watch, args=(folders, shared, ended))
    thread.start()
    beat, deadline = 0, time.monotonic() + 60
    while not shared.exists() and time.monotonic() < deadline:
        from_elsewhere(folders[1], began="alive", beat=(beat := beat + 1))
        time.sleep(lease.BEAT / 4)
    ended.set()
    thread.join()
    lease.silent.clear()  # as in a process of its own
    monkeypatch.setenv(lease.SHARED, str(shared))
    assert lease.is_silent(holder(folders[0])) and not lease.is_silent(holder(folders[1]))
    monkeypatch.setattr(lease.time, "sleep", lambda _: pytest.fail("waits"))
    with claimed(folders[0]) as mine:
        assert mine.number == 2


def test_a_clock_that_differs_changes_nothing(tmp_path):
    from_elsewhere(tmp_path)
    for moment in (0, 4e9):
        os.utime(tmp_path / f"{lease.NAME}1", (moment, moment))
        assert held(tmp_path)
        lease.silent.clear()
        assert watched(tmp_path) is None


def test_who_looked_long_ago_does_not_get_what_others_have_had_since(tmp_path, monkeypatch):
    """The number that it would take has been given, and its file removed."""
    from_elsewhere(tmp_path, 1)

    def paused(folder):
        monkeypatch.undo()
        monkeypatch.setattr(lease, "BEAT", 0.02)
        from_elsewhere(tmp_path, 3)
        (tmp_path / f"{lease.NAME}1").unlink()
        return None, 1

    monkeypatch.setattr(lease, "judged", paused)
    with pytest.raises(UsageError, match="in use"), claimed(tmp_path):
        pass
    assert numbers(tmp_path) == [3]


def test_who_was_taken_for_dead_writes_nothing_more(tmp_path):
    record = Record(tmp_path)
    kept = None
    with record.lock():
        record.write({"status": "running"})
        record.append_progress({"env_steps": 1})
        from_elsewhere(tmp_path, 2)  # has waited, and goes on
        kept = {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")}
        for write in (
            lambda: record.write({"status": "done"}),
            lambda: record.append_progress({"env_steps": 2}),
            lambda: record.write_config({}),
            lambda: record.begin({}, {}),
            lambda: record.remove("run.json"),
            lambda: record.restore_progress(0),
        ):
            with pytest.raises(LostError, match="was taken over"):
                write()
    assert kept == {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    assert holder(tmp_path).host == "other", "nor does it free what is another's"


def test_signs_of_life_are_no_new_files(tmp_path):
    with claimed(tmp_path) as mine:
        first = holder(tmp_path).content
        deadline = 500
        while holder(tmp_path).content == first and deadline:
            time.sleep(0.01)
            deadline -= 1
        assert holder(tmp_path).content != first
        assert os.listdir(tmp_path) == [mine.path.name]


def test_a_line_goes_nowhere_once_another_has_gone_on_from_a_checkpoint(tmp_path):
    record, other = Record(tmp_path), Record(tmp_path)
    with record.lock():
        record.append_progress({"env_steps": 1})
        size = record.progress_size
        record.append_progress({"env_steps": 2})
        record.check_held = lambda: other.restore_progress(size)  # right after it has looked
        record.append_progress({"env_steps": 3})
    assert (tmp_path / "progress.jsonl").read_text() == '{"env_steps": 1}\n'
