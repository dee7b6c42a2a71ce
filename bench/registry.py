"""Names under which algorithms and tasks are found, with did-you-mean errors."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.metadata
import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import UsageError

T = TypeVar("T", bound=Callable[..., Any])
NAME = re.compile(r"[A-Za-z][\w.-]*")  # of what is registered: part of a path and a word of Hydra's
TAKEN = ("all", "null", "true", "false", "nan", "inf")  # that mean something else there


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered name: how to build it, its settings and what is worth showing in a table."""

    name: str
    factory: Callable[..., Any]
    config: type
    summary: str
    info: Mapping[str, str]
    renamed: Mapping[str, str]  # settings' former names, and their names now, which may be dotted
    presets: Path | None  # folder of presets that a plugin brings


class Registry(Mapping[str, Entry]):
    """A mapping from names to entries that suggests near misses and refuses doubles."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, Entry] = {}

    def register(
        self,
        name: str,
        *,
        config: type,
        renamed: Mapping[str, str] | None = None,
        presets: Path | None = None,
        **info: str,
    ) -> Callable[[T], T]:
        """Return a decorator that registers a class or factory under `name`.

        Args:
            name: what the command line calls it.
            config: dataclass of its settings; every field needs a default. Where values of a task's
                name modules that building it imports, its property `modules` says which: those of
                a record are imported only if the user names them.
            renamed: former names of settings, so that old records stay readable:
                {"trace": "gae_lambda", "explore_share": "explorer.share"}.
            presets: folder that is laid out as bench/conf/presets is:
                <preset>/<algorithm>/<task, family or _base>.yaml.
            info: further columns of `python -m bench list`; the one-line summary is the
                docstring's first line.

        Raises:
            UsageError: if the name is none or taken by something else, or `config` is no dataclass.
        """
        if not NAME.fullmatch(name) or name.lower() in TAKEN:
            raise UsageError(
                f"{self.kind} {name!r}: a name has letters, digits, '_', '-' and '.', begins with "
                f"a letter and is none of {', '.join(TAKEN)}"
            )
        if not (inspect.isclass(config) and dataclasses.is_dataclass(config)):
            raise UsageError(f"{self.kind} {name!r}: config must be a dataclass, got {config!r}")

        def decorate(factory: T) -> T:
            known = self.entries.get(name)
            if known and origin(known.factory) != origin(factory):
                raise UsageError(
                    f"{self.kind} {name!r} is already registered by {known.factory.__module__}"
                )
            summary = (inspect.getdoc(factory) or "").split("\n")[0]
            shown = info.pop("summary", summary)
            self.entries[name] = Entry(name, factory, config, shown, info, renamed or {}, presets)
            return factory

        return decorate

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of `name`.

        Raises:
            UsageError: if there is none, naming the near misses and all valid names.
        """
        if name not in self.entries:
            raise UsageError(unknown(self.kind, name, self.entries))
        return self.entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def origin(factory: Callable[..., Any]) -> tuple[str, str]:
    """Return what tells a factory from others of its name: where it is written, and its name there.

    Where is its file, which may run as a script and be imported, too; in a notebook its module.
    """
    try:
        where = str(Path(inspect.getfile(factory)).resolve())
    except (TypeError, OSError):
        where = factory.__module__
    return where, factory.__qualname__


def unknown(kind: str, name: str, valid: Mapping[str, Any] | list[str]) -> str:
    """Return one line that names an unknown name, its near misses and the valid ones."""
    if not valid:
        return f"unknown {kind} {name!r}: there is none"
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} Valid: {', '.join(sorted(valid))}"


def load_plugins(modules: list[str]) -> None:
    """Import plugin modules: those named, and those of the entry-point group `bench.plugins`.

    Raises:
        UsageError: if a named module does not exist, or one raises while it is imported.
    """
    for point in importlib.metadata.entry_points(group="bench.plugins"):
        imported(point.value, point.load)
    for name in modules:
        imported(name, partial(import_found, name))


def import_found(name: str) -> None:
    """Import a module.

    Raises:
        UsageError: if there is none.
    """
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # what its package imports is missing
            raise
        found = False  # its package is missing, or is none
    if not found:
        raise UsageError(f"plugins: no module {name!r} in the working directory or on PYTHONPATH")
    importlib.import_module(name)


def imported(name: str, load: Callable[[], Any]) -> None:
    """Import a plugin.

    Raises:
        UsageError: naming it, whatever its code raises, and where.
    """
    try:
        load()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({Path(last.filename).name}:{last.lineno})"
        if isinstance(error, SyntaxError):  # it says so itself
            where = ""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"plugins: {name!r} cannot be imported: {text}{where}") from None
