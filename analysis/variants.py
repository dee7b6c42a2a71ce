"""Which runs are seeds of one another, and what those that are not are called.

Runs of one name are pooled only where all settings that matter are equal, be they of one experiment
or of several that have no seed in common. What differs becomes variants of their own, named by the
settings in which they differ: `sac · n_step=3`. So a sweep of a setting is a comparison by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from bench.analysis.runs import RunRecord

NAMED, LONGEST = 3, 60  # differing settings, and letters of them, that a name has room for
KEYS = ("task", "algo", "preset", "experiment")  # of a run, by which it may be told apart
Key = tuple[str, ...]
Mark = tuple[tuple[str, str], ...]  # settings and their values, as text


def tell_apart(runs: list[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """Return runs whose tasks and algorithms are called so that none are pooled that differ.

    Presets and experiments become part of a name as in `names_apart`.

    Returns:
        The runs, and a line on every name that was split.
    """
    tasks, notes = variants(runs, [(run.facts["task"],) for run in runs], ("task.",))
    runs = [named(run, task=name) for run, name in zip(runs, tasks, strict=True)]
    homes = [(run.facts["algo"], str(run.facts.get("preset")), run.facts["task"]) for run in runs]
    algos, more = variants(runs, homes, ("algo.", "num_envs", "overlap"))
    apart = names_apart(
        (
            *(run.facts.get(key) for key in KEYS),
            run.facts["seed"] if run.settings else None,
            algo.removeprefix(run.facts["algo"]),
        )
        for run, algo in zip(runs, algos, strict=True)
    )
    runs = [named(run, algo=name) for run, name in zip(runs, apart, strict=True)]
    return runs, notes + more + joined(runs)


def joined(runs: Sequence[RunRecord]) -> list[str]:
    """Return a line on every algorithm some of whose seeds are of several experiments."""
    homes: dict[str, dict[str, set[str]]] = {}
    for run in runs:
        tasks = homes.setdefault(run.facts["algo"], {})
        tasks.setdefault(run.facts["task"], set()).add(run.facts["experiment"])
    notes = []
    for algo, tasks in homes.items():
        several = {name for names in tasks.values() if len(names) > 1 for name in names}
        if several:
            notes.append(f"pooled: runs of {algo} in the experiments {', '.join(sorted(several))} "
                         "have equal settings and no seed in common")  # fmt: skip
    return notes


def named(run: RunRecord, **names: str) -> RunRecord:
    """Return a run under another name."""
    return replace(run, facts=run.facts | names)


def variants(
    runs: Sequence[RunRecord], homes: Sequence[Key], prefixes: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Return what to call each run by the settings in which it differs from others of its home.

    An algorithm has the same variants on all tasks, so that it can be followed over them. A setting
    that a record does not have, because its build had none, makes no difference.

    Args:
        runs: all.
        homes: of each, what it would be pooled by; the first of these is the name.
        prefixes: of the settings that are looked at.

    Returns:
        Names, and a line on every one that was split.
    """
    kept = [
        {key: value for key, value in run.settings.items() if key.startswith(prefixes)}
        for run in runs
    ]
    differing: dict[str, set[str]] = {}
    for home in dict.fromkeys(homes):
        pooled = [settings for settings, other in zip(kept, homes, strict=True) if other == home]
        differing.setdefault(home[0], set()).update(differences(pooled))
    found, notes = [home[0] for home in homes], []
    for name, keys in differing.items():
        if not keys:
            continue
        own = [i for i, home in enumerate(homes) if home[0] == name]
        apart = [
            tuple((key, str(kept[i][key])) for key in sorted(keys) if key in kept[i]) for i in own
        ]
        plain = broadest(apart, [runs[i].facts["task"] for i in own])
        experiments = [str(runs[i].facts["experiment"]) for i in own]
        marks = brief([listed(mark, plain) for mark in apart], experiments, len(keys))
        for i, mark in zip(own, marks, strict=True):
            found[i] = f"{name} · {mark}" if mark else name
        shown = ", ".join(map(short, sorted(keys)[:NAMED]))
        more = f" and {len(keys) - NAMED} more settings" if len(keys) > NAMED else ""
        which = f", of which {name} by itself is {listed(plain)}" if plain else ""
        notes.append(f"not pooled: runs of {name} differ in {shown}{more}: they are "
                     f"{len(set(marks))} variants{which}")  # fmt: skip
    return found, notes


def broadest(marks: Sequence[Mark], tasks: Sequence[str]) -> Mark:
    """Return the variant that has run on more tasks than every other, or () where none has.

    It is the one that the others depart from, and needs no name of its own. Where a record lacks a
    setting that matters, that name is the record's, as it cannot be told which variant it is.

    Args:
        marks: of each run, the settings in which it differs from others, and their values.
        tasks: of each run.
    """
    reach: dict[Mark, set[str]] = {}
    for mark, task in zip(marks, tasks, strict=True):
        reach.setdefault(mark, set()).add(task)
    most = max(map(len, reach.values()))
    known = len({tuple(key for key, _ in mark) for mark in reach}) == 1
    widest = [mark for mark, found in reach.items() if len(found) == most]
    return widest[0] if known and len(widest) == 1 else ()


def listed(mark: Mark, plain: Mark = ()) -> str:
    """Return settings and their values as text, without those that the plain variant has, too."""
    return ", ".join(f"{short(key)}={value}" for key, value in mark if (key, value) not in plain)


def brief(marks: Sequence[str], experiments: Sequence[str], settings: int) -> list[str]:
    """Return what tells runs apart, in few words.

    Where it is more than a name has room for, the names of their experiments do, or else numbers.

    Args:
        marks: of each run, all settings in which it differs from others.
        experiments: of each run.
        settings: how many differ.
    """
    if settings <= NAMED and max(map(len, marks)) <= LONGEST:
        return list(marks)
    kinds = list(dict.fromkeys(marks))
    if len(set(zip(marks, experiments, strict=True))) == len(kinds) == len(set(experiments)):
        return list(experiments)
    return [f"settings {kinds.index(mark) + 1}" for mark in marks]


def differences(settings: Sequence[dict[str, Any]]) -> set[str]:
    """Return the keys to which several of some mappings give different values."""
    values: dict[str, set[str]] = {}
    for one in settings:
        for key, value in one.items():
            values.setdefault(key, set()).add(str(value))
    return {key for key, found in values.items() if len(found) > 1}


def short(key: str) -> str:
    """Return a setting's name without what is clear from where it stands."""
    return key.removeprefix("algo.").removeprefix("task.")


def names_apart(runs: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return what to call the algorithms of runs, so that no two that differ are pooled.

    An algorithm that ran on a task under several presets carries its preset's name wherever it is
    shown, as in `ddiffpg (suite)`. Experiments of one preset and variant that have no seed in
    common on any task are further seeds of one another; where they have, their names are shown.

    Args:
        runs: task, algorithm, preset (no text where a record has none), experiment, seed (None
            where the settings are unknown) and variant (what follows the name) of each.
    """
    known = list(runs)
    presets: dict[tuple[str, str], set[str]] = {}
    homes: dict[tuple[Any, ...], set[tuple[Any, str]]] = {}
    for task, algo, preset, *_ in known:
        if isinstance(preset, str):
            presets.setdefault((task, algo), set()).add(preset)
    tuned = {algo for (_, algo), names in presets.items() if len(names) > 1}
    for task, algo, preset, experiment, seed, variant in known:
        own = preset if algo in tuned else None
        homes.setdefault((task, algo, own, variant), set()).add((seed, experiment))
    repeated = {algo for (_, algo, *_), seeds in homes.items() if clash(seeds)}
    found = []
    for _, algo, preset, experiment, _, variant in known:
        parts = [preset] if algo in tuned and isinstance(preset, str) else []
        parts += [experiment] if algo in repeated else []
        found.append((f"{algo} ({', '.join(parts)})" if parts else algo) + variant)
    return found


def clash(seeds: set[tuple[Any, str]]) -> bool:
    """Say whether some of several experiments' seeds may be the same; None is any of them."""
    experiments = {experiment for _, experiment in seeds}
    known = [seed for seed, _ in seeds]
    return len(experiments) > 1 and (None in known or len(set(known)) < len(known))
