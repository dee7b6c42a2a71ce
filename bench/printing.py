"""Lines and tables in the terminal; a module of its own, so that `list` need not load pandas."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

UNBOUNDED = 1_000  # characters, more than any table has

console = Console(stderr=True)  # of all but results


def show(table: Table, names: int = 1) -> None:
    """Print a table as wide as the terminal, in a pipe or file as wide as it needs.

    Args:
        table: what to print.
        names: how many columns, from the left, hold names, which are not broken.
    """
    for column in table.columns[:names]:
        column.no_wrap = True
    console = Console()
    if not console.is_terminal:
        console.width = UNBOUNDED
        console.width = Measurement.get(console, console.options, table).maximum
    console.print(table)


def say(text: str) -> None:
    """Print a line as it is: brackets in an error or a path are no markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
