"""A search for settings: a Hydra sweeper that looks for the best value of an objective.

`hydra/sweeper=optuna` (package hydra-optuna-sweeper) chooses each run's settings by what earlier
runs reached, instead of making every combination.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from bench.configuration import Request
from bench.errors import UsageError
from bench.evaluation import PROTOCOLS
from bench.registry import unknown
from bench.settings import Settings
from bench.standing import place_of
from bench.sweeps import parsed

SWEEPER = "hydra/sweeper="
ENUMERATES = "basic"  # Hydra's own sweeper, which makes every combination
SEEDED = "hydra.sweeper.sampler.seed"
CHOSEN = "optimization_results.yaml"  # where sweepers write what was best


def sweeper_of(words: Iterable[str]) -> str | None:
    """Return the sweeper that searches, None where every combination is made."""
    given = [word.partition("=")[2] for word in words if word.startswith(SWEEPER)]
    return given[-1] if given and given[-1] not in ("", ENUMERATES) else None


def searched(words: Iterable[str]) -> list[str]:
    """Return the settings whose values are searched for."""
    own = [word for word in words if not word.startswith(("hydra", "+hydra"))]
    return [
        override.get_key_element()
        for override in map(parsed, own)
        if override is not None and override.is_sweep_override()
    ]


def trial_words(request: Request) -> list[str]:
    """Return the words of a search: each trial in an experiment that is named by its values.

    Raises:
        UsageError: where there is nothing to search for, or what is asked for is no search.
    """
    keys = searched(request.words)
    for key, values in (("algo", request.algos), ("task", request.tasks), ("seed", request.seeds)):
        if len(values) > 1:
            raise UsageError(f"{key}={','.join(values)}: a search has one {key}; several searches "
                             "are several commands")  # fmt: skip
    if not keys:
        raise UsageError("a search needs settings with several values, as in "
                         "algo.n_step=1,3,10 or 'algo.tau=interval(0.001,0.1)'")  # fmt: skip
    given = next((word for word in request.words if word.startswith("experiment=")), None)
    name = base(request.words)
    marks = "".join(f",{key.removeprefix('algo.')}=${{{key}}}" for key in keys)
    words = [word for word in request.words if word != given]
    if "${" not in name:
        name += marks
    if sweeper_of(words) == "optuna" and not any(word.startswith(SEEDED) for word in words):
        words.append(f"{SEEDED}={request.seeds[0]}")  # so that the same command goes the same way
    return [*words, f"experiment='{name}'"]


def base(words: Iterable[str]) -> str:
    """Return the name of the experiment, before what a trial's values add to it."""
    given = next((word for word in words if word.startswith("experiment=")), "experiment=default")
    return given.partition("=")[2].strip("'\"")


def first_trial(words: Iterable[str]) -> list[str]:
    """Return the words of some trial, by which settings are checked before a search begins."""
    found = []
    for word in words:
        override = parsed(word)
        if override is None or not override.is_sweep_override():
            found.append(word)
        elif override.is_interval_sweep():
            value: Any = override.value()
            found.append(f"{override.get_key_element()}={value.start}")
        else:
            found.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
    return found


def best(found: Path) -> str:
    """Return a sweeper's result in one line, as it wrote it."""
    content: Any = yaml.safe_load(found.read_text())
    values = " ".join(f"{key}={value}" for key, value in content.get("best_params", {}).items())
    return f"{content.get('best_value')} with {values}"


def check_objective(settings: Settings) -> None:
    """Check that settings have an objective that there is (see `objective`).

    Raises:
        UsageError: naming the valid ones.
    """
    from bench.analysis.metrics import METRICS  # what reports are made of loads slowly

    if settings.objective is None:
        raise UsageError("objective=? is missing: a search needs to know what is to be largest, as "
                         "in objective=solved_modes")  # fmt: skip
    protocol, mark, metric = settings.objective.rpartition(".")
    if mark and protocol not in PROTOCOLS:
        raise UsageError(unknown("protocol of objective", protocol, list(PROTOCOLS)))
    if metric not in METRICS:
        raise UsageError(unknown("objective", metric, sorted(METRICS)))


def objective(settings: Any) -> float | None:
    """Return a run's final score, the mean of its last evaluations; None if it has none.

    Args:
        settings: of the run; its `objective` is a metric, after a protocol and a dot where that
            is another than `sampled`.
    """
    from bench.analysis.load import final_scores, table
    from bench.analysis.runs import read_run

    names = settings.names
    place = place_of(
        settings.results, settings.experiment, names.task, names.algo, int(settings.seed)
    )
    protocol, _, metric = settings.objective.rpartition(".")
    try:
        scores = final_scores(table([read_run(place / "run.json")]))
        row = scores[scores["protocol"] == (protocol or "sampled")]
        return float(row[metric].iloc[0])
    except (UsageError, OSError, LookupError):
        return None
