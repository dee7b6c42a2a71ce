"""Who writes a run's folder: one process of one host, for as long as it shows that it lives.

A lease is the file `.lease-<n>` with the highest n. It names its holder and holds a number that
the holder raises every few seconds. To claim the folder is to create the next file, which the file
system lets one process alone do, on a network mount too: no file locks are needed. A holder of this
host is gone when its process is; one of another host when its number stands still for 90 s of the
observer's own time, so that the clocks of hosts may differ (network mounts may show what is up to
60 s old). A holder that was paused for so long finds a higher file than its own, and writes no
more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import LostError, UsageError

NAME = ".lease-"
BEAT = float(os.environ.get("BENCH_LEASE_BEAT", "5"))  # s between signs of life
SILENCES = 18  # beats that a holder of another host may miss before it counts as gone
LOOKS = 2 * SILENCES  # at a holder of another host, half a beat apart
SHARED = "BENCH_SILENT_FILE"  # names the file that says who was silent for long to a sweep's runs
SIZE = 400  # bytes of every lease, so that one takes another's place in a single write

silent: set[bytes] = set()  # what this process has watched for long, and nobody changed


class InUseError(UsageError):
    """Another process holds a folder."""

    def __init__(self, folder: Path, holder: Holder | None = None) -> None:
        super().__init__(f"{folder} is in use by {holder.of() if holder else 'another process'}")
        self.elsewhere = holder is not None and not holder.here()


@dataclass(frozen=True)
class Holder:
    """What a lease says."""

    number: int
    content: bytes
    host: str = ""
    where: str = ""
    pid: int = 0
    began: str = ""
    free: bool = False

    def here(self) -> bool:
        """Return whether it is of this host, where its process can be looked at."""
        return (self.host, self.where) == (socket.gethostname(), system())

    def gone(self) -> bool:
        """Return whether nobody holds it, as far as can be told at once."""
        return self.free or (self.here() and self.pid > 0 and not lives(self.pid, self.began))

    def of(self) -> str:
        """Return who holds it, in words."""
        return "another process" + (f" on {self.host}" if self.host and not self.here() else "")

    def quiet(self, folder: Path) -> float:
        """Return for how long, in s, it has been silent by the clocks of both; to be shown only."""
        try:
            return max(0.0, time.time() - (folder / f"{NAME}{self.number}").stat().st_mtime)
        except OSError:
            return 0.0


def system() -> str:
    """Return what tells apart hosts of one name, starts of one host, and its containers."""
    found = []
    with contextlib.suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        found.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(found)


def began(pid: int) -> str:
    """Return when a process began, in its system's ticks; "" where this cannot be told.

    Raises:
        ProcessLookupError: if it has ended, waited for or not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        os.kill(pid, 0)
        return ""
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return fields[19]


def lives(pid: int, since: str) -> bool:
    """Return whether a process of this host, not a later one of the same number, still runs."""
    try:
        return began(pid) == since
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True


def numbers(folder: Path) -> list[int]:
    """Return the numbers of a folder's leases, in order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = (name.removeprefix(NAME) for name in names if name.startswith(NAME))
    return sorted(int(number) for number in found if number.isdecimal())


def holder(folder: Path) -> Holder | None:
    """Return what a folder's lease says, None where there is none."""
    for _ in range(100):
        known = numbers(folder)
        if not known:
            return None
        try:
            content = (folder / f"{NAME}{known[-1]}").read_bytes()
        except FileNotFoundError:  # another one has just taken its place
            continue
        try:
            said = json.loads(content)
            return Holder(known[-1], content, str(said["host"]), str(said["where"]),
                          int(said["pid"]), str(said["began"]), bool(said["free"]))  # fmt: skip
        except (ValueError, LookupError, TypeError):  # killed before it was written
            return Holder(known[-1], content)
    raise UsageError(f"{folder}: its leases change all the time")


def held(folder: Path) -> bool:
    """Return whether a folder is held, as far as can be told at once.

    A holder on another host counts until it has been watched: see `watched`.
    """
    found = holder(folder)
    return found is not None and not found.gone()


def watched(folder: Path) -> Holder | None:
    """Return who holds a folder; None if nobody does, or who did has been silent for long.

    Returns at once for a holder on this host, after a beat for one that lives on another.
    """
    return judged(folder)[0]


def judged(folder: Path) -> tuple[Holder | None, int]:
    """Return who holds a folder, as `watched` does, and the number of the lease that says so."""
    return judged_together([folder])[folder]


def judged_together(folders: Iterable[Path]) -> dict[Path, tuple[Holder | None, int]]:
    """Return what `judged` does of every folder; whoever may be dead is waited for but once."""
    first = {folder: holder(folder) for folder in folders}
    verdicts: dict[Path, tuple[Holder | None, int]] = {}
    for look in range(LOOKS + 1):  # and no clock: this process may be paused meanwhile
        if look:
            time.sleep(BEAT / 2)
        for folder in first.keys() - verdicts.keys():
            found = holder(folder) if look else first[folder]
            if found is None or found.gone() or is_silent(found):
                verdicts[folder] = None, found.number if found else 0
            elif found.here() or found != first[folder]:
                verdicts[folder] = found, found.number
            elif look == LOOKS:
                silent.add(found.content)
                verdicts[folder] = None, found.number
        if len(verdicts) == len(first):
            break
    return verdicts


def is_silent(user: Holder) -> bool:
    """Return whether a holder has been watched for long, by this process or for its sweep."""
    if user.content in silent:
        return True
    try:
        return digest(user.content) in Path(os.environ[SHARED]).read_text().split()
    except (KeyError, OSError):
        return False


def digest(content: bytes) -> str:
    """Return a lease's content in a word."""
    return hashlib.sha256(content).hexdigest()


def watch(folders: Sequence[Path], shared: Path, ended: threading.Event) -> None:
    """Tell the runs of a sweep who has been silent for long, so that none has to wait for it.

    Args:
        folders: looked at, all together, until the end.
        shared: the file that `SHARED` names for the runs.
        ended: set when the sweep is over.
    """
    last: dict[Path, Holder | None] = {}
    looks = dict.fromkeys(folders, 0)
    written: set[bytes] = set()
    while True:
        for folder in folders:
            with contextlib.suppress(UsageError, OSError):  # a mount that is away for a while
                found = holder(folder)
                same = found is not None and found == last.get(folder)
                looks[folder] = looks[folder] + 1 if same else 0
                last[folder] = found
                if found is not None and looks[folder] >= LOOKS and not found.here():
                    silent.add(found.content)
        if silent > written:
            with contextlib.suppress(OSError):
                text = " ".join(map(digest, silent.copy()))
                fresh = shared.with_name(f"{shared.name}.new")
                fresh.write_text(text)
                fresh.replace(shared)
                written = silent.copy()
        if ended.wait(BEAT / 2):
            return


class Lease:
    """A folder held by this process: use `claimed`.

    Args:
        folder: what is held.
        number: of the lease.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.path = folder / f"{NAME}{number}"
        self.beats = 0
        self.token = secrets.token_hex(4)
        self.ended = threading.Event()
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)

    def write(self, free: bool = False) -> None:
        """Say in place who holds the folder, with a number that is new."""
        self.beats += 1
        said = {"host": socket.gethostname(), "where": system(), "pid": os.getpid(),
                "began": began(os.getpid()), "free": free, "token": self.token,
                "beat": self.beats}  # fmt: skip
        os.pwrite(self.file, json.dumps(said).encode().ljust(SIZE) + b"\n", 0)
        os.fsync(self.file)

    def beat(self) -> None:
        """Show that this process lives, until it is done."""
        while not self.ended.wait(BEAT):
            with contextlib.suppress(OSError):  # a full disk, a mount that is away for a while
                self.write()

    def check(self) -> None:
        """Check that the folder is still this process's.

        Raises:
            LostError: if another one has taken it.
        """
        if numbers(self.folder)[-1:] != [self.number]:
            raise LostError(f"{self.folder} was taken over while this process was silent")


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Lease]:
    """Hold a folder for this process.

    Raises:
        UsageError: if another process holds it.
    """
    current, number = judged(folder)
    if current is not None:
        raise InUseError(folder, current)
    try:
        lease = Lease(folder, number + 1)
    except FileExistsError:
        raise InUseError(folder) from None
    thread = threading.Thread(target=lease.beat, daemon=True)
    try:
        try:
            lease.write()
        except OSError:  # a full disk: whoever comes next must not wait for a nameless holder
            lease.path.unlink(missing_ok=True)
            raise
        if numbers(folder)[-1] != lease.number:  # looked long ago, and others have come and gone
            lease.path.unlink()
            raise InUseError(folder)
        for older in numbers(folder)[:-1]:  # the highest stays: no number is given twice
            (folder / f"{NAME}{older}").unlink(missing_ok=True)
        thread.start()
        yield lease
    finally:
        lease.ended.set()
        if thread.ident is not None:
            thread.join()
        with contextlib.suppress(OSError):
            lease.write(free=True)
        os.close(lease.file)
