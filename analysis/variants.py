"""Which runs are seeds of one another, and what those that are not are called.

Runs of one name are pooled only where all settings that matter are equal. What differs becomes
variants of their own, named by the settings in which they differ: `sac · n_step=3`. So a sweep of a
setting is a comparison by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from bench.analysis.load import RunRecord

NAMED, LONGEST = 3, 60  # differing settings, and letters of them, that a name has room for
Key = tuple[str, ...]


def tell_apart(runs: list[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """Return runs whose tasks and algorithms are called so that none are pooled that differ.

    Presets and experiments become part of a name as in `names_apart`.

    Returns:
        The runs, and a line on every name that was split.
    """
    tasks, notes = variants(runs, [(run.facts["task"],) for run in runs], ("task.",))
    runs = [named(run, task=name) for run, name in zip(runs, tasks, strict=True)]
    homes = [(run.facts["algo"], str(run.facts.get("preset")), run.facts["task"]) for run in runs]
    algos, more = variants(runs, homes, ("algo.", "num_envs"))
    keys = ("task", "algo", "preset", "experiment")
    apart = names_apart(
        (*(run.facts.get(key) for key in keys), algo.removeprefix(run.facts["algo"]))
        for run, algo in zip(runs, algos, strict=True)
    )
    return [named(run, algo=name) for run, name in zip(runs, apart, strict=True)], notes + more


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
        own = [settings for settings, other in zip(kept, homes, strict=True) if other == home]
        differing.setdefault(home[0], set()).update(differences(own))
    found, notes = [], []
    numbers: dict[str, dict[str, int]] = {}  # of variants that differ in more than a name holds
    for home, settings in zip(homes, kept, strict=True):
        keys = sorted(differing[home[0]])
        values = [f"{short(key)}={settings[key]}" for key in keys if key in settings]
        if len(keys) > NAMED or sum(map(len, values)) > LONGEST:
            kinds = numbers.setdefault(home[0], {})
            values = [f"settings {kinds.setdefault(repr(values), len(kinds) + 1)}"]
        found.append(f"{home[0]} · {', '.join(values)}" if values else home[0])
    for name, split in differing.items():
        if split:
            called = {one for one, home in zip(found, homes, strict=True) if home[0] == name}
            shown = ", ".join(map(short, sorted(split)[:NAMED]))
            more = f" and {len(split) - NAMED} more settings" if len(split) > NAMED else ""
            notes.append(f"not pooled: runs of {name} differ in {shown}{more}: they are "
                         f"{len(called)} variants")  # fmt: skip
    return found, notes


def differences(settings: Sequence[dict[str, Any]]) -> set[str]:
    """Return the keys to which several of some mappings give different values."""
    values: dict[str, set[str]] = {}
    for one in settings:
        for key, value in one.items():
            values.setdefault(key, set()).add(repr(value))
    return {key for key, found in values.items() if len(found) > 1}


def short(key: str) -> str:
    """Return a setting's name without what is clear from where it stands."""
    return key.removeprefix("algo.").removeprefix("task.")


def names_apart(runs: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return what to call the algorithms of runs, so that no two that differ are pooled.

    An algorithm that ran on a task under several presets carries its preset's name wherever it is
    shown, as in `ddiffpg (suite)`; where several experiments of one preset and variant ran on a
    task, the experiment's, too.

    Args:
        runs: task, algorithm, preset (no text where a record has none), experiment and variant
            (what follows the name) of each.
    """
    known = list(runs)
    presets: dict[tuple[str, str], set[str]] = {}
    homes: dict[tuple[Any, ...], set[str]] = {}
    for task, algo, preset, _, _ in known:
        if isinstance(preset, str):
            presets.setdefault((task, algo), set()).add(preset)
    tuned = {algo for (_, algo), names in presets.items() if len(names) > 1}
    for task, algo, preset, experiment, variant in known:
        own = preset if algo in tuned else None
        homes.setdefault((task, algo, own, variant), set()).add(experiment)
    repeated = {algo for (_, algo, *_), names in homes.items() if len(names) > 1}
    found = []
    for _, algo, preset, experiment, variant in known:
        parts = [preset] if algo in tuned and isinstance(preset, str) else []
        parts += [experiment] if algo in repeated else []
        found.append((f"{algo} ({', '.join(parts)})" if parts else algo) + variant)
    return found
