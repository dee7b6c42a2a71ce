"""All figures of a report: a figure is one function under `figure`, with no list to edit.

What a figure is of says how often it is drawn and what its function is given:

| of | once per | function of |
| --- | --- | --- |
| `report` | report | finished runs, scopes |
| `scope` | family of tasks, and all of them | evaluations |
| `task` | task | runs, evaluations |
| `run` | task and algorithm: the first run that has what it needs | run |

It returns a matplotlib Figure, or None where there is nothing to show.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import bench.analysis

F = TypeVar("F", bound=Callable[..., Any])
KINDS = ("report", "scope", "task", "run")


@dataclass(frozen=True)
class Entry:
    """One figure of the report.

    Attributes:
        of: report | scope | task | run.
        name: of its files, without suffix; after the task's where there is one.
        title: above it on the page.
        caption: below the title: what is drawn how.
        place: figures of a kind are shown in this order.
        compares: whether it is left out where runs must not be compared.
        make: draws it.
    """

    of: str
    name: str
    title: str
    caption: str
    place: int
    compares: bool
    make: Callable[..., Any]


_entries: dict[str, Entry] = {}


def figure(
    of: str, name: str, title: str, caption: str, *, place: int, compares: bool = False
) -> Callable[[F], F]:
    """Return a decorator that puts a function into the report (see `Entry`).

    Raises:
        ValueError: if it is of nothing that a report has, or its name is taken.
    """
    if of not in KINDS:
        raise ValueError(f"figure {name} is of {of!r}, not one of {', '.join(KINDS)}")
    if name in _entries:
        raise ValueError(f"two figures are named {name}")

    def decorate(make: F) -> F:
        _entries[name] = Entry(of, name, title, caption, place, compares, make)
        return make

    return decorate


def figures(of: str) -> list[Entry]:
    """Return all figures of a kind, in their order on the page."""
    for module in pkgutil.iter_modules(bench.analysis.__path__):
        importlib.import_module(f"bench.analysis.{module.name}")
    return sorted((e for e in _entries.values() if e.of == of), key=lambda e: (e.place, e.name))
