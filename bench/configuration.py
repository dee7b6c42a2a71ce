"""From `key=value` words to one resolved configuration per run.

Hydra composes; this module tells it which settings algorithms and tasks have, what budgets and
presets say of a pair of them, and turns its complaints into one line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import bench.algos
import bench.tasks
from bench.api import ChecksTask, Spec
from bench.errors import UsageError
from bench.registry import Entry, Registry, load_plugins, unknown
from bench.settings import Settings, check, flat

CONF = Path(__file__).parent / "conf"
BUDGETS = tuple(sorted(path.stem for path in (CONF / "budgets").glob("*.yaml")))
PRESETS = ("none", "paper", "suite")
NAMED = ("algo", "task", "seed", "budget", "preset", "plugins")
LISTS = ("logger", "plugins")  # which no run has several of

# In presets: a share of the env steps that come after the warm-up.
OmegaConf.register_new_resolver(
    "learning", lambda share, steps, warmup: int(share * max(steps - warmup, 0)), replace=True
)


@dataclass(frozen=True)
class Request:
    """A command line taken apart: which runs it asks for, and with which other words."""

    algos: list[str]
    tasks: list[str]
    seeds: list[str]
    words: list[str]  # everything but algo, task and seed

    def combinations(self) -> Iterable[tuple[str, str, str]]:
        """Return (algo, task, seed) of every run."""
        return product(self.algos, self.tasks, self.seeds)

    def overrides(self, algo: str, task: str, seed: str) -> list[str]:
        """Return the overrides of one run."""
        return [f"algo={algo}", f"task={task}", f"seed={seed}", *self.words]


def understand(words: list[str]) -> Request:
    """Take a command line apart, import its plugins and prepare Hydra for its runs.

    Raises:
        UsageError: on names that nothing is registered under.
    """
    given = {}
    for word in words:
        key, mark, value = word.partition("=")
        if key.lstrip("+~").partition(".")[0] == "names":
            raise UsageError(f"{word}: give algo=NAME and task=NAME")
        if mark and key in NAMED:
            given[key] = value
    load_plugins(names(given.get("plugins", "")))
    algos, tasks = bench.algos.discover(), bench.tasks.discover()
    for key in ("algo", "task"):
        if not names(given.get(key, "")):
            raise UsageError(f"{key}=? is missing; `python -m bench list {key}s` shows all names")
    own_layout = any(word.startswith("task.layout=") for word in words)
    chosen = Request(
        algos=expand_algos(names(given["algo"])),
        tasks=expand_tasks(names(given["task"]), own_layout),
        seeds=list(dict.fromkeys(names(given.get("seed", "0")))),
        words=[listed(w) for w in words if w.partition("=")[0] not in ("algo", "task", "seed")],
    )
    for seed in chosen.seeds or [""]:
        if not seed.isdecimal():
            raise UsageError(f"seed={seed}: valid are integers from 0, separated by commas")
    budgets = [given.get("budget", "quick")]
    presets = [given.get("preset", "suite")]
    known = preset_names([algos[name] for name in chosen.algos] + [tasks[t] for t in chosen.tasks])
    for kind, wanted, valid in (("budget", budgets, BUDGETS), ("preset", presets, known)):
        for name in names(wanted[0]):
            if name not in valid:
                raise UsageError(unknown(kind, name, list(valid)))
    store: Any = ConfigStore.instance()
    store.__deepcopy__ = lambda memo: store  # Hydra copies all of it for each run, to load a few
    store.store(name="schema", node=Settings)
    # Hydra composes a sweep once without what is swept, so the groups need values of their own
    first = {"override algo": chosen.algos[0]}, {"override task": chosen.tasks[0]}
    store.store(name="request", node={"defaults": ["config", *first, "_self_"]})
    groups: tuple[tuple[str, list[str], Registry], ...] = (
        ("algo", chosen.algos, algos), ("task", chosen.tasks, tasks),
    )  # fmt: skip
    for group, wanted, registry in groups:
        for name in wanted:
            try:
                store.store(group=group, name=name, node=registry[name].config)
            except OmegaConfBaseException as error:
                reason = str(error).splitlines()[0]
                raise UsageError(f"{registry.kind} {name!r}: its settings: {reason}") from None
    for budget, preset in product(names(budgets[0]), names(presets[0])):
        store.store(budget, {"budget": budget}, "budget", "_global_")
        store.store(preset, {"preset": preset}, "preset", "_global_")
        for algo, task in product(chosen.algos, chosen.tasks):
            node = tuned(budget, preset, algos[algo], tasks[task])
            store.store(f"{budget}+{preset}+{algo}+{task}", node, "tuned", "_global_")
    return chosen


def listed(word: str) -> str:
    """Return a word whose setting is a list in Hydra's brackets: plugins=a,b is no sweep."""
    key, _, value = word.partition("=")
    return f"{key}=[{value}]" if key in LISTS and value and value[0] != "[" else word


def names(value: str) -> list[str]:
    """Return the names in `a,b` or `[a,b]`."""
    return [name.strip(" '\"") for name in value.strip("[]").split(",") if name.strip(" '\"")]


def expand_algos(wanted: list[str]) -> list[str]:
    """Replace `all` by every algorithm."""
    registry = bench.algos.registry
    return list(dict.fromkeys(
        name for word in wanted for name in (sorted(registry) if word == "all" else [word])
        if registry[name]
    ))  # fmt: skip


def expand_tasks(wanted: list[str], own_layout: bool) -> list[str]:
    """Replace `all` by the suite, and a family by its tasks unless a layout is given."""
    registry = bench.tasks.registry
    suite = [name for name, entry in registry.items() if entry.info.get("suite") == "yes"]
    found: list[str] = []
    for word in wanted:
        family = [name for name in suite if registry[name].info["family"] == word]
        if word == "all":
            found += suite
        elif family and not own_layout:
            found += family
        else:
            found.append(registry[word].name)
    return list(dict.fromkeys(found))


def tuned(budget: str, preset: str, algo: Entry, task: Entry) -> dict[str, Any]:
    """Return what a budget and a preset say of an algorithm on a task.

    The later wins: budget, its entry for the family, its entry for the task; then, from the
    preset's folders `all`, `off-policy` or `on-policy` (what the algorithm is registered as) and
    that of the algorithm, `_base`, family and task, each first as the suite has it, then as the
    algorithm's plugin and then as the task's does. What is said of several algorithms applies only
    where one has such a setting.

    Raises:
        UsageError: if a preset file of the algorithm names a setting that it does not have, or the
            preset says nothing of an algorithm with settings.
    """
    family = task.info.get("family", task.name)
    said = read(CONF / "budgets" / f"{budget}.yaml")
    of_tasks = said.pop("tasks", {})
    merged: Any = OmegaConf.create({"algo": {}, "task": {}})
    for part in (said, of_tasks.get(family, {}), of_tasks.get(task.name, {})):
        merged = OmegaConf.merge(merged, part)
    from_budget = merged.pop("algo")  # after the presets: a budget may shorten the warm-up
    values: Any = OmegaConf.create({})
    homes, folders = preset_folders([algo, task]), preset_parts(algo)
    if not has_preset(preset, algo, task):
        having = sorted({path.name for home in homes for path in (home / preset).glob("*")})
        raise UsageError(f"preset={preset}: {algo.name} has none; {', '.join(having)} have")
    for folder in folders:
        for name, home in product(dict.fromkeys(("_base", family, task.name)), homes):
            path = home / preset / folder / f"{name}.yaml"
            part = read(path)
            known = restrict(part, algo.config)
            if folder == algo.name and known != part:
                raise UsageError(f"{path}: {algo.name} has not all of its keys")
            values = OmegaConf.merge(values, known)
    values = OmegaConf.merge(values, restrict(OmegaConf.to_container(from_budget), algo.config))
    node: Any = OmegaConf.to_container(OmegaConf.merge(merged, {"algo": values}))
    node["task"] = restrict(node["task"], task.config)
    return node | {"names": {"algo": algo.name, "task": task.name}}


def has_preset(preset: str, algo: Entry, task: Entry) -> bool:
    """Say whether a preset says anything of an algorithm on a task, if there is anything to say."""
    homes, folders = preset_folders([algo, task]), preset_parts(algo)
    says = any((home / preset / name).is_dir() for home in homes for name in folders)
    return says or preset == "none" or not fields(algo.config)


def preset_parts(algo: Entry) -> list[str]:
    """Return the names of a preset's folders that are about an algorithm."""
    return [name for name in ("all", algo.info.get("data"), algo.name) if name]


def preset_folders(entries: Iterable[Entry]) -> list[Path]:
    """Return the folders that presets are looked up in: the suite's, then those of plugins."""
    own = [entry.presets for entry in entries if entry.presets is not None]
    return list(dict.fromkeys([CONF / "presets", *own]))


def preset_names(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the presets that there are, those of plugins included."""
    brought = {path.name for home in preset_folders(entries)[1:] if home.is_dir()
               for path in home.iterdir() if path.is_dir()}  # fmt: skip
    return tuple(sorted({*PRESETS, *brought}))


@cache
def read_text(path: Path) -> str:
    """Return a file's text, or nothing where there is no file."""
    return path.read_text() if path.exists() else ""


def read(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping, {} where there is none."""
    content: Any = OmegaConf.to_container(OmegaConf.create(read_text(path)))
    assert isinstance(content, dict), path
    return content


def restrict(values: Any, config: type) -> dict[str, Any]:
    """Return the values that a dataclass has fields for, nested ones too."""
    kinds = {f.name: f.default_factory for f in fields(config)}  # type: ignore[arg-type]
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key in kinds:
            nested = isinstance(value, dict) and is_dataclass(kinds[key])
            kept[key] = restrict(value, kinds[key]) if nested else value  # type: ignore[arg-type]
    return kept


def composed(overrides: list[str], **more: Any) -> Any:
    """Return what Hydra composes of the overrides of one run."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF.absolute())):
        return compose("config", overrides, **more)


def resolve(overrides: list[str]) -> Settings:
    """Compose and check the configuration of one run; `algo` and `task` are dataclasses.

    Raises:
        UsageError: one line on what is wrong with which key.
    """
    try:
        settings = as_object(composed([o for o in overrides if not o.startswith("hydra")]))
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
        raise UsageError(one_line(error, overrides)) from None
    check_finite(settings)
    check(settings)
    name = settings.names.task
    task = bench.tasks.registry[name].factory(name, settings.task)  # it checks its settings
    if isinstance(settings.algo, ChecksTask):
        try:
            settings.algo.check_task(Spec.of(task, settings.num_envs, settings.seed))
        except ValueError as error:
            raise UsageError(rooted(f"{error} (task {name})", "algo.")) from None
    return settings


def check_finite(settings: Settings) -> None:
    """Check that no number is NaN or infinite.

    Raises:
        UsageError: naming the setting and its value.
    """
    for key, value in flat(as_dict(settings)).items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise UsageError(f"{key}={value}: must be finite")


def check_launcher(overrides: list[str]) -> None:
    """Check what the overrides of one run say of Hydra itself: of its launcher and sweeper.

    Raises:
        UsageError: one line on what is wrong with which key.
    """
    try:
        composed(overrides, return_hydra_config=True)
    except HydraException as error:
        text = str(error.__cause__ or error)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        asked = re.search(r"Could not find '(hydra/\w+)/(.*)'", text)
        if asked:
            listed = re.search(r"Available options in '.*':\n((?:\t.*\n?)*)", text)
            valid = ", ".join(listed[1].split()) if listed else "none"
            raise UsageError(f"{asked[1]}={asked[2]}: valid are {valid}") from None
        key = re.search(r"full_key: (\S+)", text)
        raise UsageError(f"{key[1]}: {lines[0]}" if key else lines[0]) from None


def as_object(config: Any) -> Settings:
    """Return a composed configuration as dataclasses, their own checks made.

    Raises:
        ValueError: of a check, with the key as on the command line.
    """
    settings = built(config)
    if not isinstance(settings, Settings):
        raise UsageError("the configuration is no Settings")
    return settings


def built(node: Any, place: str = "") -> Any:
    """Return a node of a configuration, whose keys begin with `place`, as what it stands for."""
    if not isinstance(node, Container):
        return node
    kind = OmegaConf.get_type(node)
    if not (isinstance(node, DictConfig) and is_dataclass(kind)):
        return OmegaConf.to_object(node)
    values = {key: built(node[key], f"{place}{key}.") for key in map(str, node)}
    try:
        return kind(**values)
    except ValueError as error:  # dataclasses do not know where in others they stand
        raise ValueError(rooted(str(error), place)) from None


def rooted(text: str, place: str) -> str:
    """Return a complaint, `steps=1: ...`, with the key as on the command line; others as is."""
    return f"{place}{text}" if re.match(r"[\w.]+=", text) else text


def as_dict(settings: Settings) -> dict[str, Any]:
    """Return settings as plain containers."""
    content: Any = OmegaConf.to_container(OmegaConf.structured(settings))
    return content


def one_line(error: BaseException, overrides: list[str]) -> str:
    """Return Hydra's complaint as one line that names the key and what is valid."""
    text = str(error.__cause__ or error)
    missing = re.search(r"Key '(\w+)' not in '\w+'", text + str(error))
    if missing:
        key = missing[1]
        paths = (override.partition("=")[0].lstrip("+").split(".") for override in overrides)
        full = next((".".join(p[: p.index(key) + 1]) for p in paths if key in p), key)
        now = name_now(overrides, full)
        if now:
            return f"unknown setting {full!r}: it is {now!r} now"
        return unknown("setting", full, valid_keys(overrides, full))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    where = re.search(r"full_key: (\S+)", text)
    return (f"{where[1]}: " if where and where[1] not in lines[0] else "") + lines[0]


def name_now(overrides: list[str], full: str) -> str | None:
    """Return today's name of a setting of the algorithm or the task that was renamed."""
    part, _, key = full.partition(".")
    given = dict(o.partition("=")[::2] for o in overrides)
    registries: dict[str, Registry] = {"algo": bench.algos.registry, "task": bench.tasks.registry}
    renamed = registries[part][given[part]].renamed if part in registries else {}
    return f"{part}.{renamed[key]}" if key in renamed else None


def valid_keys(overrides: list[str], full: str) -> list[str]:
    """Return the full names of the settings beside an unknown one."""
    prefix = full.rpartition(".")[0]
    given = dict(o.partition("=")[::2] for o in overrides)
    config: Any = Settings
    for i, part in enumerate(prefix.split(".") if prefix else []):
        if i == 0 and part in ("algo", "task"):
            registry = bench.algos.registry if part == "algo" else bench.tasks.registry
            config = registry[given[part]].config
        else:
            found = next((f for f in fields(config) if f.name == part), None)
            config = getattr(found, "default_factory", None)
            if not is_dataclass(config):
                return []
    return [f"{prefix}.{f.name}".lstrip(".") for f in fields(config) if f.name != "names"]
