"""What is written and read back: whole, unchanged, and without running anything.

A file takes its place once it is completely on disk. Its checksum is on disk before it is, so that
a kill at any moment leaves a file whose checksum is known. Tensors, arrays and plain types are all
that is stored; nothing that is read can name code to run. torch is imported where tensors are
stored: whoever checks records alone needs none.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from bench.errors import UsageError

KIND = "__kind__"  # key of a mapping that stands for something that is no plain type
SMALL = 4096  # bytes up to which an array is stored in line: a tensor is a file of its own inside
DATA = (  # of a run; what else its folder holds says what they are
    "progress.jsonl", "episodes.parquet", "paths.npz", "exploration.npz", "values.npz",
    "clusters.npz", "headings.npz", "policy.pt", "checkpoint.pt",
)  # fmt: skip
ATTEMPTS, PAUSE = 10, 0.05  # reads of a file that a live run may be replacing; s between them
CHECKSUMS = "checksums.json"
ABSENT = "absent"  # stands for the checksum of a file that is not there yet
FORM = re.compile(r"[0-9]+:[0-9a-f]{64}")  # of a checksum
GROWING = "progress.jsonl"  # the one file that is appended to: its checksum is that of its start


class Damaged(UsageError):  # noqa: N818
    """A file is not what was written, or is gone."""


@contextlib.contextmanager
def atomic(path: Path, ready: Callable[[Path], None] = lambda path: None) -> Iterator[IO[bytes]]:
    """Open a file that takes `path`'s place once it is completely on disk, or never.

    Args:
        path: of the file.
        ready: called with the temporary file once it is on disk, before it takes its place.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # no other host's either
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        ready(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def checksum(file: BinaryIO, size: int | None = None) -> str:
    """Return `<bytes>:<SHA-256>` of the first `size` bytes of a file, None for all of them."""
    digest, done = hashlib.sha256(), 0
    while block := file.read(1 << 20 if size is None else min(1 << 20, size - done)):
        digest.update(block)
        done += len(block)
    return f"{done}:{digest.hexdigest()}"


def anybody(*_: Any) -> None:
    """Let a file be written by whoever does."""


class Checksums:
    """The checksums of a folder's files, in `checksums.json`.

    For every file it lists what the file may be: its last version and, where a kill can have come
    between the list and the file, the one before, or none. A file that is not listed, as in the
    records of earlier builds, is read unchecked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, list[str]] | None = None  # read at the first change
        self.ready: Callable[[], None] = anybody  # asked right before a file takes its place

    def read(self) -> dict[str, list[str]]:
        """Return what is on disk, {} where there is nothing.

        Raises:
            Damaged: if it is.
        """
        path = self.folder / CHECKSUMS
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise Damaged(f"{path} is damaged") from None
        if not (isinstance(content, dict) and all(map(well_formed, content.values()))):
            raise Damaged(f"{path} is damaged")
        return content

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that takes the place of `name`, once it and its checksum are on disk."""
        value = ""

        def announce(beside: Path) -> None:
            nonlocal value
            with beside.open("rb") as written:
                value = checksum(written)
            known = self.current()
            before = known.get(name) or [self.identity(name)]
            self.save(known | {name: [*before, value]})
            self.ready()

        with atomic(self.folder / name, announce) as file:
            yield file
        self.current()[name] = [value]  # said on disk with the next change

    def keep(self, names: Iterable[str]) -> None:
        """Drop all files but these, before they are removed."""
        self.known = {name: value for name, value in self.current().items() if name in names}
        self.save(self.known)

    def grown(self, value: str) -> None:
        """Take note of the file that grows; said on disk with the next change."""
        self.current()[GROWING] = [value]

    def current(self) -> dict[str, list[str]]:
        """Return what is known, read from disk once."""
        if self.known is None:
            self.known = self.read()
        return self.known

    def save(self, known: Mapping[str, list[str]]) -> None:
        """Replace the list on disk."""
        with atomic(self.folder / CHECKSUMS, lambda _: self.ready()) as file:
            file.write(json.dumps(known, indent=1).encode() + b"\n")

    def identity(self, name: str) -> str:
        """Return the checksum of a file that is not listed, or that there is none."""
        try:
            with (self.folder / name).open("rb") as file:
                return checksum(file)
        except FileNotFoundError:
            return ABSENT

    def content(self, name: str) -> bytes:
        """Return a file's bytes, checked.

        A file and the list are not read in one moment: where they differ, a live run may just have
        replaced both, and they are read again.

        Raises:
            Damaged: if it has changed, or is listed and missing.
            FileNotFoundError: if it is missing and not listed.
        """
        for attempt in range(ATTEMPTS):
            try:
                found = (self.folder / name).read_bytes()
            except FileNotFoundError:
                if ABSENT in self.read().get(name, [ABSENT]):
                    raise
            else:
                if matches(io.BytesIO(found), name, self.read().get(name)):
                    return found
            time.sleep(PAUSE if attempt < ATTEMPTS - 1 else 0)
        raise self.damage(name)

    def verify(self, but: tuple[str, ...] = ()) -> None:
        """Check every file that is listed; for a folder that no live run writes.

        Raises:
            Damaged: if one has changed or is missing.
        """
        for name, values in self.read().items():
            if name in but:
                continue
            try:
                with (self.folder / Path(name).name).open("rb") as file:
                    sound = matches(file, name, values)
            except FileNotFoundError:
                sound = ABSENT in values
            if not sound:
                raise self.damage(name)

    def damage(self, name: str) -> Damaged:
        """Return what is to be said of a file that is not what was written."""
        path = self.folder / Path(name).name  # what a list says leads nowhere else
        if not path.exists():
            return Damaged(f"{path} is missing, which {CHECKSUMS} lists")
        return Damaged(f"{path} is damaged: its checksum is not the one of {CHECKSUMS}")


def tell_unchecked(folder: Path) -> None:
    """Say in one line that a folder of files has no checksums, if it has none.

    An earlier build may have written it, and nothing in such a record tells it from one that has
    lost them: it stays readable.
    """
    if folder.is_dir() and not (folder / CHECKSUMS).exists():
        print(
            f"warning: {folder} has no {CHECKSUMS}, as every record of today's builds: its files "
            "are read unchecked", file=sys.stderr,
        )  # fmt: skip


def well_formed(values: Any) -> bool:
    """Return whether this is a list of checksums, as `checksum` returns them."""
    return isinstance(values, list) and all(
        isinstance(value, str) and (value == ABSENT or FORM.fullmatch(value)) for value in values
    )


def matches(file: BinaryIO, name: str, values: list[str] | None) -> bool:
    """Return whether a file has one of these checksums; None for a file that is not listed."""
    if values is None:
        return True
    if name == GROWING:
        for value in values:
            file.seek(0)
            if checksum(file, int(value.partition(":")[0])) == value:
                return True
        return False
    return checksum(file) in values


def pack(value: Any, where: str = "state") -> Any:
    """Return a state as tensors and plain types, which `torch.load(weights_only=True)` accepts.

    Args:
        value: tensors, numpy arrays and numbers, deques and plain types, nested.
        where: its name, for errors.

    Raises:
        TypeError: naming what else it holds, and where.
    """
    import torch

    if value is None or type(value) in (bool, int, float, str) or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        raw = value.tobytes()
        in_line = 0 < len(raw) <= SMALL  # no bytes at all are not among what may be loaded
        return {
            KIND: "array", "dtype": value.dtype.str, "shape": list(value.shape),
            "raw": raw if in_line else torch.from_numpy(np.frombuffer(raw, np.uint8).copy()),
            "scalar": isinstance(value, np.generic),
        }  # fmt: skip
    if isinstance(value, dict) and type(value) in (dict, OrderedDict):
        if KIND in value:
            raise TypeError(f"{where} has the reserved key {KIND!r}")
        return type(value)((key, pack(one, f"{where}[{key!r}]")) for key, one in value.items())
    if type(value) in (list, tuple):
        return type(value)(pack(one, f"{where}[{i}]") for i, one in enumerate(value))
    if type(value) is deque:
        return {KIND: "deque", "maxlen": value.maxlen, "items": pack(list(value), where)}
    raise TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}; "
        "a state is made of tensors, arrays of numbers and plain types"
    )


def unpack(value: Any) -> Any:
    """Return what `pack` was given."""
    if isinstance(value, dict):
        kind = value.get(KIND)
        if kind == "array":
            raw = value["raw"]
            raw = raw if isinstance(raw, bytes) else raw.cpu().numpy().tobytes()
            array = np.frombuffer(raw, np.dtype(value["dtype"])).reshape(value["shape"]).copy()
            return array[()] if value["scalar"] else array
        if kind == "deque":
            return deque(unpack(value["items"]), value["maxlen"])
        return type(value)((key, unpack(one)) for key, one in value.items())
    if type(value) in (list, tuple):
        return type(value)(unpack(one) for one in value)
    return value


def save_state(value: Any, file: IO[bytes], where: str) -> None:
    """Write a state as `load_state` reads it.

    Args:
        value: as `pack` takes it.
        file: open for writing.
        where: the state's name, for errors.

    Raises:
        OSError: if the file cannot be written; torch itself then tells of wrong positions in it.
        TypeError: as `pack` does.
    """
    import torch

    try:
        torch.save(pack(value, where), file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load_state(source: Path | bytes, name: Path, device: str) -> Any:
    """Return what a file of packed tensors holds, without running anything that it names.

    Args:
        source: a path, or the bytes of a file.
        name: of the file, for errors.
        device: that tensors are put on.

    Raises:
        Damaged: if it cannot be read, or holds more than tensors and plain types.
    """
    import torch

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return unpack(torch.load(file, map_location=device, weights_only=True))
    except OSError:
        raise
    except Exception as error:  # the bytes of a damaged file can fail in any way
        raise Damaged(f"{name} cannot be read ({type(error).__name__})") from None
