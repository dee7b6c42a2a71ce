"""What was read of runs, kept beside them, so that only what has changed is read again.

It is a help and never a record: it can be removed at any time, and where it is damaged, cannot be
written or was made by other code, everything is read anew. A run is known by the name, size, inode
and times of all its files; the time of a file's last change of any kind (`ctime`) is set by the
system alone, so that contents that were replaced, or changed in place under an old date, are
noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.storage import atomic

FOLDER = ".known"  # below the results
SETTLED = 2_000_000_000  # ns: two changes nearer to each other than this may have the same time


def identity(place: Path) -> str:
    """Return what the files of a run directory are known by.

    It is empty where one changed just now: another change might not be told from it.
    """
    seen, latest = [], 0
    with os.scandir(place) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.name.startswith(".") or not entry.is_file():  # a lease, which holds no results
                continue
            facts = entry.stat()
            seen.append(f"{entry.name} {facts.st_size} {facts.st_ino} {facts.st_mtime_ns} "
                        f"{facts.st_ctime_ns}")  # fmt: skip
            latest = max(latest, facts.st_ctime_ns)
    if latest > time.time_ns() - SETTLED:
        return ""
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def code(modules: Iterable[ModuleType]) -> str:
    """Return a digest of the source of modules."""
    sources = (Path(str(module.__file__)).read_bytes() for module in modules)
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


class Known:
    """Plain values by run directory, as they were when its files had the identity they have.

    Args:
        results: folder of the runs.
        kind: of the values.
        modules: whose code makes them.
    """

    def __init__(self, results: Path, kind: str, modules: Iterable[ModuleType]) -> None:
        self.results, self.path = results, results / FOLDER / f"{kind}.json"
        self.code = code(modules)
        self.before = self.read()
        self.now: dict[str, list[Any]] = {}

    def read(self) -> dict[str, list[Any]]:
        """Return what is on disk, {} where it is damaged, of other code or missing."""
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
            if head.decode() != self.head(body):
                return {}
            found = json.loads(body)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def head(self, body: bytes) -> str:
        """Return the first line of the file: the code that made it, and its checksum."""
        return f"{self.code} {hashlib.sha256(body).hexdigest()}"

    def get(self, place: Path) -> tuple[Any, str]:
        """Return the value of a run directory, None where there is none, and its identity.

        The identity is that of before it is read: pass it to `put`.
        """
        mark = identity(place)
        known = self.before.get(str(place.relative_to(self.results)))
        if not mark or not isinstance(known, list) or len(known) != 2 or known[0] != mark:
            return None, mark
        self.put(place, mark, known[1])
        return known[1], mark

    def put(self, place: Path, mark: str, value: Any) -> None:
        """Keep the value of a run directory whose files had this identity before they were read."""
        if mark:
            self.now[str(place.relative_to(self.results))] = [mark, value]

    def save(self) -> None:
        """Write what is known, where it has changed and the folder can be written."""
        if self.now == self.before:
            return
        try:
            body = json.dumps(self.now).encode()
            self.path.parent.mkdir(exist_ok=True)
            with atomic(self.path) as file:
                file.write(self.head(body).encode() + b"\n" + body)
        except (OSError, TypeError):  # read-only, full, or no plain value: it is read anew
            return
