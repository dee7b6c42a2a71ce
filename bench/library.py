"""`bench.run`: the command `python -m bench run` from Python, notebooks and other threads."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from bench.commands import run as command
from bench.configuration import resolve, understand
from bench.standing import run_dir
from bench.words import literal

if TYPE_CHECKING:
    import pandas as pd

INTERRUPTED = 130  # exit status after Ctrl-C


class RunFailed(RuntimeError):  # noqa: N818
    """Of the runs that were asked for some failed; its text has a line for each."""


def run(
    algo: str | Iterable[str], task: str | Iterable[str], seed: int | Iterable[int] = 0,
    **settings: Any,
) -> pd.DataFrame:  # fmt: skip
    """Train, evaluate, record and report, as `python -m bench run` does.

    One run is made in this process, several side by side in processes of their own. What is done
    is not repeated, what was interrupted is continued.

    Args:
        algo: name, several of them, or `all`.
        task: the same; also a family.
        seed: one or several.
        settings: any setting of the command line, with nested mappings for dotted keys:
            `budget="smoke"`, `eval={"episodes": 20}`, `**{"algo.novelty.coef": 0}`.

    Returns:
        One row per evaluation of each of these runs and protocol (see `bench.load_results`).

    Raises:
        UsageError: on bad input, before anything is written; one line, as in the terminal.
        RunFailed: if a run failed. The others have been made.
        KeyboardInterrupt: after Ctrl-C; the same call continues.
    """
    from bench.analysis.load import table
    from bench.analysis.runs import read_run

    words = [f"{key}={','.join(map(str, several(value)))}"
             for key, value in (("algo", algo), ("task", task), ("seed", seed))]  # fmt: skip
    words += [f"{key}={literal(value)}" for key, value in flat(settings)]
    with state_kept():
        status = command.main(words)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    request = understand(words)
    places = [run_dir(resolve(request.overrides(*names))) for names in request.combinations()]
    failures = [line for place in places if (line := command.failure(place))]
    if failures:
        raise RunFailed("\n".join(failures))
    return table([read_run(place / "run.json") for place in places])


def several(value: Any) -> list[Any]:
    """Return one value as a list, several as they are."""
    return [value] if isinstance(value, (str, numbers.Integral)) else list(value)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every setting."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def state_kept() -> Iterator[None]:
    """Give back as they were: torch's threads and random numbers, and the environment."""
    threads, environment = torch.get_num_threads(), dict(os.environ)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)
