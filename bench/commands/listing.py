"""Show what there is.

python -m bench list [algos|tasks] [plugins=module,...]
"""

from __future__ import annotations

from rich.table import Table

import bench.algos
import bench.tasks
from bench.errors import UsageError
from bench.printing import show
from bench.registry import Registry, load_plugins
from bench.words import parse


def main(words: list[str]) -> int:
    """Print a table of algorithms, of tasks or of both."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    plain, values = parse(words, {"plugins": ""})
    load_plugins([name for name in values["plugins"].strip("[]").split(",") if name])
    for word in plain:
        if word not in ("algos", "tasks"):
            raise UsageError(f"list {word!r}: valid are algos, tasks")
    if not plain or "algos" in plain:
        columns = ["policy", "data", "commanded", "source"]
        show(table("algorithms", bench.algos.discover(), columns))
    if not plain or "tasks" in plain:
        show(tasks_table())
    return 0


def table(title: str, registry: Registry, columns: list[str]) -> Table:
    """Return a registry as a table with further columns from its entries' info."""
    shown = Table("name", *columns, "what", title=title)
    for name, entry in sorted(registry.items()):
        shown.add_row(name, *(entry.info.get(column, "") for column in columns), entry.summary)
    return shown


def tasks_table() -> Table:
    """Return all tasks with the names of their modes."""
    registry = bench.tasks.discover()
    shown = Table("name", "what", "modes", "source", title="tasks")
    for name, entry in registry.items():
        modes = ""
        if entry.info.get("suite") != "no":
            found = bench.tasks.make_task(name).modes
            modes = f"{len(found)}: {', '.join(found)}"
        shown.add_row(name, entry.summary, modes, entry.info.get("source", ""))
    return shown
