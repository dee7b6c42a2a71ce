"""Make records small enough to be committed; what figures and tables need stays.

  python -m docs.compact_records [results=results/reference] [scores=false]

Of every run: paths of the last evaluation alone, and of mazes alone (no other figure draws them);
lengths of paths by four digits, weights of its policy in half precision; at most 60 lines of
progress, evenly spaced; the folder of results by its name alone. Of every experiment, task and
algorithm: the policy of the first seed.
Checkpoints and reports go: a run is repeated, a report written, by the commands that
results/README.md names. With scores=true nothing stays but settings, progress and the episodes'
outcomes: enough for tables. A second call changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench.errors import UsageError
from bench.records import Record
from bench.storage import GROWING
from bench.words import parse
from docs.studies import start

FIGURES = ("paths.npz", "policy.pt", "values.npz", "exploration.npz", "headings.npz",
           "clusters.npz")  # fmt: skip  # what figures and replays are made of
LINES = 60  # of progress.jsonl: all of them would be a third of what is committed
CLOSE = 1e-3  # of a tensor's largest weight: the error that half precision may make


def main(words: list[str]) -> int:
    """Compact all records below a folder; print what was saved."""
    plain, values = parse(words, {"results": "results/reference", "scores": "false"})
    if plain:
        raise UsageError(f"compact_records takes key=value words, not {plain[0]!r}")
    root = Path(values["results"])
    if not root.is_dir():
        raise UsageError(f"results={root}: no such folder")
    before = size(root)
    kept: set[Path] = set()
    for run in finished(root):
        replanned = (run / "replan").is_dir()
        if values["scores"] == "true":
            remove(Record(run), FIGURES)
        compact(run, with_policy=replanned or run.parent not in kept)
        if (run / "policy.pt").exists():
            kept.add(run.parent)
    print(f"{root}: {before / 1e6:.1f} MB before, {size(root) / 1e6:.1f} MB after")
    return 0


def finished(root: Path) -> list[Path]:
    """Return the directories of the runs below a folder that are done, seeds in their order."""
    facts = {path.parent: json.loads(path.read_text()) for path in root.rglob("run.json")}
    done = [run for run, of in facts.items() if of.get("status") == "done"]
    return sorted(done, key=lambda run: (run.parent, facts[run]["seed"]))


def size(root: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def compact(run: Path, with_policy: bool = True) -> None:
    """Compact one run directory; its checksums are those of what is left."""
    record = Record(run)
    config = record.read_config()
    if Path(config.get("results", "")).is_absolute():  # where it lay on somebody's machine
        record.write_config(config | {"results": "results"})
    remove(record, ["checkpoint.pt"] if with_policy else ["checkpoint.pt", "policy.pt"])
    thin_progress(record)
    pack_episodes(record)
    if (run / "paths.npz").exists():
        drop_paths(record)
    if (run / "policy.pt").exists():
        halve(record)


def remove(record: Record, names: Iterable[str]) -> None:
    """Remove those of the files that there are."""
    if there := [name for name in names if (record.path / name).exists()]:
        record.remove(*there)


def thin_progress(record: Record) -> None:
    """Keep every n-th line of progress.jsonl, counted from the last one."""
    lines = (record.content(GROWING) or b"").splitlines(keepends=True)
    every = -(-len(lines) // LINES)
    if every > 1:
        with record.sums.write(GROWING) as file:
            file.writelines(lines[(len(lines) - 1) % every :: every])


def pack_episodes(record: Record) -> None:
    """Store lengths of paths by four digits, and no statistics beside the rows.

    All digits of the lengths were two thirds of what the episodes took, statistics and a second
    description of the columns a quarter.
    """
    path, packed = record.path / "episodes.parquet", BytesIO()
    rows = pd.read_parquet(path)
    if "distance" in rows:
        rows["distance"] = np.array([f"{length:.4g}" for length in rows["distance"]], np.float32)
    rows.to_parquet(packed, compression="zstd", write_statistics=False, store_schema=False)
    if packed.getvalue() != path.read_bytes():
        with record.sums.write(path.name) as file:
            file.write(packed.getvalue())


def drop_paths(record: Record) -> None:
    """Keep the paths of a maze's last evaluation; the others become empty."""
    run = record.path
    info = json.loads((run / "run.json").read_text())["task_info"]
    rows = pd.read_parquet(run / "episodes.parquet", columns=["env_steps", "protocol"])
    drawn = (rows["env_steps"] == rows["env_steps"].max()) & (rows["protocol"] != "specified")
    keep = drawn.to_numpy() & bool(info.get("layout"))
    with np.load(run / "paths.npz") as stored:
        points, offsets, scale = stored["points"], stored["offsets"], stored["scale"]
    length = np.diff(offsets)
    wanted = np.where(keep, length, 0)
    if not np.array_equal(wanted, length):
        points = points[np.repeat(keep, length)]
        offsets = np.concatenate([[0], np.cumsum(wanted)])
        record.write_arrays("paths.npz", points=points, offsets=offsets, scale=scale)


def halve(record: Record) -> None:
    """Store a policy's weights in half precision; statistics of observations keep theirs."""
    path = record.path / "policy.pt"
    stored = torch.load(path, map_location="cpu", weights_only=True)
    norm = stored["state"].pop("norm", None)
    weights = list(tensors(stored["state"]))
    if not weights or any(weight.dtype == torch.float16 for weight in weights):
        return
    if not all(close(weight) for weight in weights):
        print(f"{path}: weights lose too much in half precision, left as they are")
        return
    state = halved(stored["state"]) | ({} if norm is None else {"norm": norm})
    with record.sums.write(path.name) as file:
        torch.save(stored | {"state": state}, file)


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the floating-point tensors of a nested state."""
    if isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, torch.Tensor) and value.is_floating_point():
        yield value


def close(weight: torch.Tensor) -> bool:
    """Say whether half precision is close enough, beside the largest weight."""
    error = (weight.half().float() - weight).abs()
    return weight.numel() == 0 or bool(error.max() <= CLOSE * weight.abs().max())


def halved(value: Any) -> Any:
    """Return a nested state with its floating-point tensors in half precision."""
    if isinstance(value, dict):
        return {key: halved(item) for key, item in value.items()}
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.half() if floating else value


if __name__ == "__main__":
    start(main)
