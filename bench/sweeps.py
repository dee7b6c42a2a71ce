"""Settings with several values: every combination is a run, with a place of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from bench.errors import UsageError
from bench.settings import Settings
from bench.standing import run_dir

LISTS = ("plugins", "logger")  # settings whose `a,b` is one value, as `[a,b]` is
LONGEST = 200  # bytes of a folder's name, with room for what is appended to it


def plain(word: str) -> str:
    """Return a word of the command line as Hydra takes it.

    What is a list stays one, and a setting has no `+`, by which Hydra would add one that nothing
    reads; its own settings keep theirs.
    """
    key, mark, value = word.partition("=")
    if not key.lstrip("+").startswith("hydra"):
        key = key.lstrip("+")
    if key in LISTS and "," in value and value[0] not in "['\"":
        value = f"[{value}]"
    return key + mark + value


def parsed(word: str) -> Override | None:
    """Return a word as Hydra understands it; None where it does not, which it says later."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def swept(words: Iterable[str]) -> list[str]:
    """Return the words that give a setting several values.

    Raises:
        UsageError: where they are no list of values.
    """
    found = []
    for word in words:
        override = parsed(word)
        if override is None or not override.is_sweep_override() or word.startswith("hydra"):
            continue
        if not override.is_discrete_sweep() or isinstance(override.value(), Glob):
            raise UsageError(f"{word}: valid are values, with commas between them")
        found.append(word)
    return found


def expanded(words: Iterable[str]) -> list[list[str]]:
    """Return the words of every run: one for each combination of values."""
    choices = []
    for word in words:
        override = parsed(word)
        if override is not None and override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([word])
    return [list(line) for line in product(*choices)]


def placed(words: list[str]) -> list[str]:
    """Return words whose experiment is named by what is swept, as in `default,n_step=3`.

    An experiment that has several values itself, or is named by other settings, stays as it is.
    """
    keys = [word.partition("=")[0] for word in swept(words)]
    given = next((word for word in words if word.startswith("experiment=")), "experiment=default")
    if not keys or given in swept([given]) or "${" in given:
        return words
    name = given.partition("=")[2].strip("'\"")
    marks = "".join(f",{key.removeprefix('algo.')}=${{{key}}}" for key in keys)
    return [word for word in words if word != given] + [f"experiment='{name}{marks}'"]


def check_places(runs: Iterable[Settings]) -> None:
    """Check that every run has a place of its own.

    Raises:
        UsageError: naming a place that several have, or a name that is too long.
    """
    taken = set()
    for settings in runs:
        place = run_dir(settings)
        if len(settings.experiment.encode()) > LONGEST:
            raise UsageError(f"experiment={settings.experiment!r}: is too long to be a folder's "
                             "name; give experiment=NAME with ${...} for what differs")  # fmt: skip
        if place in taken:
            raise UsageError(
                f"{place}: several runs would share it; leave experiment=NAME out, "
                "or name it by what differs, as in experiment='n${algo.n_step}'"
            )
        taken.add(place)


def common(experiments: list[str]) -> str:
    """Return what to call several experiments together: how they all begin."""
    first, last = min(experiments), max(experiments)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
                min(len(first), len(last)))  # fmt: skip
    return first[:same].split(",")[0].strip(" _-.") or "sweep"
