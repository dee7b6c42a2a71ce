"""The files of one run, written so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import yaml

from bench.errors import UsageError

COLUMNS = [
    "env_steps",
    "protocol",
    "commanded",
    "episode",
    "seed",
    "return",
    "length",
    "distance",
    "success",
    "goal",
    "mode",
    "mode_name",
]


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes `path`'s place once it is completely on disk, or never."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Record:
    """One run directory: `results/<experiment>/<task>/<algo>/seed=<n>/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process.

        Raises:
            UsageError: if another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        name = self.path / ".lock"
        file = name.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(f"{self.path} is in use by another process") from None
        try:
            for left_over in self.path.glob(".*.tmp"):
                left_over.unlink(missing_ok=True)
            yield
        finally:
            file.close()

    def locked(self) -> bool:
        """Return whether a live process holds the directory."""
        name = self.path / ".lock"
        if not name.exists():
            return False
        with name.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def read(self) -> dict[str, Any]:
        """Return run.json, or {} where there is none.

        Raises:
            UsageError: if it is damaged.
        """
        path = self.path / "run.json"
        if not path.exists():
            return {}
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise UsageError(
                f"{path} is damaged ({error}); overwrite=true makes the run anew"
            ) from None

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replace run.json."""
        with atomic(self.path / "run.json") as file:
            file.write(json.dumps(facts, indent=2).encode() + b"\n")

    def read_config(self) -> dict[str, Any]:
        """Return config.yaml, or {} where there is none.

        Raises:
            UsageError: if it is damaged.
        """
        path = self.path / "config.yaml"
        try:
            return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
        except (yaml.YAMLError, UnicodeDecodeError):
            raise UsageError(f"{path} is damaged; overwrite=true makes the run anew") from None

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace config.yaml."""
        with atomic(self.path / "config.yaml") as file:
            file.write(yaml.safe_dump(dict(config), sort_keys=False).encode())

    def append_progress(self, line: Mapping[str, Any]) -> None:
        """Add a line to progress.jsonl in one write; a reader skips a last line without its end."""
        with (self.path / "progress.jsonl").open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")

    def progress_size(self) -> int:
        """Return the size of progress.jsonl in bytes."""
        path = self.path / "progress.jsonl"
        return path.stat().st_size if path.exists() else 0

    def truncate_progress(self, size: int) -> None:
        """Drop what was written after the file had `size` bytes."""
        if self.progress_size() > size:
            os.truncate(self.path / "progress.jsonl", size)

    def last_progress(self) -> dict[str, Any]:
        """Return the last complete line of progress.jsonl, or {}."""
        path = self.path / "progress.jsonl"
        if not path.exists():
            return {}
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1]) if lines else {}

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Replace a compressed .npz file."""
        with atomic(self.path / name) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def clear(self) -> None:
        """Remove the files of an earlier run, its status last."""
        names = ("checkpoint.pt", "policy.pt", "episodes.parquet", "paths.npz", "exploration.npz")
        for name in (*names, "progress.jsonl", "config.yaml", "run.json"):
            (self.path / name).unlink(missing_ok=True)


class EpisodeLog:
    """All evaluation episodes of a run so far: a table, and their paths in the same order.

    Args:
        record: where they are written.
        scale: m per unit of the stored paths, which are int16.
        dims: P, dimensions of a position.
    """

    def __init__(self, record: Record, scale: float, dims: int) -> None:
        self.record, self.scale, self.dims = record, scale, dims
        self.rows: list[dict[str, Any]] = []
        self.paths: list[np.ndarray] = []

    def add(self, rows: Sequence[dict[str, Any]], paths: Sequence[np.ndarray]) -> None:
        """Add one evaluation, paths (T + 1, P) in m, and write everything."""
        bound = np.iinfo(np.int16).max
        self.rows.extend(rows)
        self.paths.extend(
            np.rint(np.clip(np.float64(path) / self.scale, -bound, bound)).astype(np.int16)
            for path in paths
        )
        self.write()

    def write(self) -> None:
        """Replace episodes.parquet and paths.npz."""
        frame = pd.DataFrame(self.rows, columns=COLUMNS)
        with atomic(self.record.path / "episodes.parquet") as file:
            frame.to_parquet(file, index=False)
        points = np.concatenate([np.zeros((0, self.dims), np.int16), *self.paths])
        lengths = [len(path) for path in self.paths]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        self.record.write_arrays(
            "paths.npz", points=points, offsets=offsets, scale=np.array(self.scale)
        )

    def restore(self, count: int) -> None:
        """Take back the first `count` episodes from the files; later ones are dropped.

        Raises:
            UsageError: if a file is missing or damaged.
        """
        if not count:
            return
        try:
            frame = pd.read_parquet(self.record.path / "episodes.parquet")
            with np.load(self.record.path / "paths.npz") as stored:
                points, offsets = stored["points"], stored["offsets"]
        except Exception as error:
            raise UsageError(
                f"{self.record.path}: the evaluation records are damaged ({error}); "
                "overwrite=true makes the run anew"
            ) from None
        self.rows = frame.head(count).to_dict("records")  # type: ignore[assignment]
        self.paths = [points[a:b] for a, b in pairwise(offsets[: count + 1])]
