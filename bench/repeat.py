"""`run from=RUN_DIR`: repeat a run by the settings that its record has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf.errors import OmegaConfBaseException

import bench.tasks
from bench.configuration import names
from bench.errors import UsageError
from bench.policy import settings_of
from bench.records import Record
from bench.registry import load_plugins
from bench.settings import flat
from bench.words import literal

HERE = ("results", "experiment", "logger", "plugins", "overwrite", "report",
        "names.algo", "names.task")  # fmt: skip
# what is said of the repetition itself; plugins are imported only where a user names them


def take_from(words: list[str]) -> tuple[list[str], Path | None]:
    """Replace `from=RUN_DIR` by the settings of that run, but for those that are given.

    Returns:
        The words, and the run's directory; None where there is no such word.

    Raises:
        UsageError: if there is no record, or it is damaged.
    """
    given = dict(word.partition("=")[::2] for word in words)
    if "from" not in given:
        return words, None
    place = Path(given["from"])
    config = Record(place).read_config() if place.is_dir() else {}
    if not config:
        raise UsageError(f"from={place}: no record of a run")
    stored = flat(config)
    for key in stored:  # Hydra's own settings name what it imports and calls
        if not re.fullmatch(r"(?!hydra)[A-Za-z_]\w*(\.\w+)*", str(key)):
            raise UsageError(f"from={place}: config.yaml has {key!r}, which is no setting of a run")
    for key in ("algo", "task"):
        stored[key] = stored.pop(f"names.{key}", None)
        if given.get(key, stored[key]) != stored[key]:
            raise UsageError(f"{key}={given[key]}: from={place} is of {key}={stored[key]}")
    check_modules(place, config, names(given.get("plugins", "")))
    given.setdefault("experiment", f"{config.get('experiment', 'default')}-again")
    own = [word for word in words if not word.startswith(("from=", "experiment="))]
    taken = [
        f"{key}={value if key in ('algo', 'task', 'budget', 'preset') else literal(value)}"
        for key, value in stored.items() if key not in given and key not in HERE
    ]  # fmt: skip
    return [*taken, f"experiment={given['experiment']}", *own], place


def check_modules(place: Path, config: dict[str, Any], plugins: list[str]) -> None:
    """Check that a record's task needs no module but those that the user names.

    Raises:
        UsageError: naming the modules, or the setting that there is none of now.
    """
    load_plugins(plugins)
    task = bench.tasks.discover().get(config["names"]["task"])
    try:
        settings = settings_of(task, config.get("task", {})) if task else None
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise UsageError(f"from={place}: {str(error).splitlines()[0]}") from None
    unnamed = [name for name in getattr(settings, "modules", ()) if name not in plugins]
    if unnamed:
        raise UsageError(
            f"from={place}: its task needs {', '.join(unnamed)}, which is imported only if you "
            f"name it: plugins=[{','.join([*plugins, *unnamed])}]"
        )


def compared(first: Path, second: Path) -> str:
    """Return in one line whether two runs have recorded the same evaluation episodes."""
    frames = [pd.read_parquet(place / "episodes.parquet") for place in (first, second)]
    if frames[0].equals(frames[1]):
        return f"the same {len(frames[0]):,} evaluation episodes as {first}"
    return f"other evaluation episodes than {first}{difference(*frames)}"


def difference(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Return where two tables of episodes begin to differ."""
    columns = [name for name in first if name in second]
    steps: Any = first["env_steps"].drop_duplicates()
    for at in steps:
        ours, theirs = (
            frame.loc[frame["env_steps"] == at, columns].reset_index(drop=True)
            for frame in (first, second)
        )
        if not ours.equals(theirs):
            return f", from env step {at:,} on"
    return ""
