"""Show what there is.

python -m bench list [algos|tasks] [plugins=module,...]
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

import bench.algos
import bench.tasks
from bench.configuration import names
from bench.errors import UsageError, described
from bench.printing import show
from bench.registry import Registry, load_plugins
from bench.words import parse


def main(words: list[str]) -> int:
    """Print a table of algorithms, of tasks or of both."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    plain, values = parse(words, {"plugins": ""})
    load_plugins(names(values["plugins"]))
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
        cells = (entry.info.get(column, "") for column in columns)
        shown.add_row(*map(Text, (name, *cells, entry.summary)))  # not markup: [k] stays [k]
    return shown


def tasks_table() -> Table:
    """Return all tasks with the names of their modes."""
    registry = bench.tasks.discover()
    shown = Table("name", "what", "modes", "source", title="tasks")
    for name, entry in registry.items():
        modes = ""
        if entry.info.get("suite") != "no":
            modes = modes_of(name)
        shown.add_row(*map(Text, (name, entry.summary, modes, entry.info.get("source", ""))))
    return shown


def modes_of(name: str) -> str:
    """Return how many modes a task has and their names, or why it cannot be built as it comes."""
    try:
        found = bench.tasks.make_task(name).modes
    except Exception as error:  # a plugin's own, which is to hide no other task
        return f"cannot be built: {described(error)}"
    return f"{len(found)}: {', '.join(found)}"
