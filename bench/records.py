"""The files of one run: what is in them, and that they are what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.lease import claimed, held
from bench.storage import DATA, GROWING, Checksums, Damaged, anybody, atomic

__all__ = ["EpisodeLog", "Record", "atomic"]

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
    "diverged",  # unknown of episodes that an earlier build has played
]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is eight times as fast
TAIL = 16_384  # bytes, more than a line of progress has
FOLDERS = ("replan", "render", "tb")  # what was made of a run's policy, and its TensorBoard


class Record:
    """One run directory: `results/<experiment>/<task>/<algo>/seed=<n>/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sums = Checksums(path)
        self.check_held = anybody
        self.restart_progress(b"")

    def restart_progress(self, content: bytes) -> None:
        """Know progress.jsonl as what it holds now; what is added is hashed as it is written."""
        self.progress, self.progress_size = hashlib.sha256(content), len(content)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process.

        Raises:
            UsageError: if another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with claimed(self.path) as lease:
            self.check_held = self.sums.ready = lease.check
            try:
                for left_over in self.path.glob(".*.tmp"):
                    left_over.unlink(missing_ok=True)
                yield
            finally:
                self.check_held = self.sums.ready = anybody

    def locked(self) -> bool:
        """Return whether a process holds the directory; one on another host may have died."""
        return held(self.path)

    def content(self, name: str) -> bytes | None:
        """Return a file's bytes, None where there is none.

        Raises:
            Damaged: if it is not what was written, or is lost.
        """
        try:
            return self.sums.content(name)
        except FileNotFoundError:
            return None

    def read(self) -> dict[str, Any]:
        """Return run.json, or {} where there is none.

        Raises:
            Damaged: if it is.
        """
        return self.parsed("run.json", json.loads)

    def read_config(self) -> dict[str, Any]:
        """Return config.yaml, or {} where there is none.

        Raises:
            Damaged: if it is.
        """
        return self.parsed("config.yaml", partial(yaml.load, Loader=LOADER))

    def parsed(self, name: str, parse: Callable[[bytes], Any]) -> dict[str, Any]:
        """Return a file's mapping, or {} where there is no file.

        Raises:
            Damaged: if it is.
        """
        content = self.content(name)
        if content is None:
            return {}
        try:
            found = parse(content)
        except (ValueError, yaml.YAMLError):
            found = None
        if not isinstance(found, dict):
            raise Damaged(f"{self.path / name} is damaged")
        return found

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replace run.json."""
        with self.sums.write("run.json") as file:
            file.write(json.dumps(facts, indent=2).encode() + b"\n")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace config.yaml."""
        with self.sums.write("config.yaml") as file:
            file.write(yaml.safe_dump(dict(config), sort_keys=False).encode())

    def append_progress(self, line: Mapping[str, Any]) -> None:
        """Add a line to progress.jsonl in one write; a reader skips a last line without its end."""
        content = json.dumps(line).encode() + b"\n"
        with (self.path / GROWING).open("ab") as file:
            self.check_held()  # who takes over later replaces the file, so that this goes nowhere
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # its checksum must not reach the disk before it does
        self.progress.update(content)
        self.progress_size += len(content)
        self.sums.grown(f"{self.progress_size}:{self.progress.hexdigest()}")

    def restore_progress(self, size: int) -> None:
        """Drop what was written after progress.jsonl had `size` bytes.

        Raises:
            Damaged: if it is shorter than that.
        """
        path = self.path / GROWING
        content = path.read_bytes()[:size] if path.exists() else b""
        if len(content) < size:
            raise Damaged(f"{path} is damaged: {len(content)} of {size} bytes are left")
        self.restart_progress(content)
        if path.exists():
            self.sums.grown(f"{size}:{self.progress.hexdigest()}")
            self.sums.save(self.sums.current())  # before the file is shortened
            with atomic(path, lambda _: self.check_held()) as file:
                file.write(content)

    def last_progress(self) -> dict[str, Any]:
        """Return the last complete line of progress.jsonl, or {}.

        Raises:
            Damaged: if it is no such line.
        """
        path = self.path / GROWING
        if not path.exists():
            return {}
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().split(b"\n")[:-1]
        try:
            line = json.loads(lines[-1]) if lines else {}
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise Damaged(f"{path} is damaged")
        return line

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Replace a compressed .npz file."""
        with self.sums.write(name) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def add_arrays(self, name: str, env_steps: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Add one evaluation's arrays to a compressed .npz file, each along a new first axis.

        `env_steps` (G,) says of which evaluations they are. What a run recorded after the
        checkpoint that it went on from is dropped.
        """
        known: dict[str, np.ndarray] = {}
        if (self.path / name).exists():
            with np.load(self.path / name) as stored:
                known = {key: stored[key][stored["env_steps"] < env_steps] for key in stored}
        new = {"env_steps": np.array(env_steps), **arrays}
        added = {key: [*known.get(key, ()), value] for key, value in new.items()}
        self.write_arrays(name, **{key: np.stack(values) for key, values in added.items()})

    def has_data(self) -> bool:
        """Return whether a run has left anything here."""
        return any((self.path / name).exists() for name in ("run.json", *DATA))

    def begin(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Replace what is here by the beginning of a run.

        Killed in between, it leaves the old run without its checkpoint, or the new one's run.json
        with the old configuration, which is refused as before, or the new run before its first
        step; never the new configuration beside the old results.
        """
        try:
            self.sums.current()
        except Damaged:  # it is replaced like everything else
            self.sums.known = {}
        self.remove("checkpoint.pt")
        self.write(facts)
        self.remove(*DATA)
        self.restart_progress(b"")
        for folder in FOLDERS:
            shutil.rmtree(self.path / folder, ignore_errors=True)
        self.write_config(config)

    def remove(self, *names: str) -> None:
        """Remove files, from the list of checksums first."""
        self.sums.keep(self.sums.current().keys() - set(names))
        for name in names:
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

    def counts(self) -> dict[str, int]:
        """Return how many episodes there are, and of how many the simulation diverged."""
        diverged = sum(row.get("diverged") is True for row in self.rows)
        return {"episodes": len(self.rows), "diverged": diverged}

    def write(self) -> None:
        """Replace episodes.parquet and paths.npz."""
        frame = pd.DataFrame(self.rows, columns=COLUMNS)
        with self.record.sums.write("episodes.parquet") as file:
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
            Damaged: if a file is, or holds fewer.
        """
        if not count:
            return
        try:
            frame = pd.read_parquet(self.record.path / "episodes.parquet")
            with np.load(self.record.path / "paths.npz") as stored:
                points, offsets = stored["points"], stored["offsets"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise Damaged(f"{self.record.path}: the episodes are damaged ({error})") from None
        held = min(len(frame), len(offsets) - 1)
        if held < count:
            raise Damaged(f"{self.record.path}: {held} of {count} episodes are left")
        self.rows = frame.head(count).to_dict("records")  # type: ignore[assignment]
        self.paths = [points[a:b] for a, b in pairwise(offsets[: count + 1])]
