"""A folder of thousands of runs, made of committed ones, and what commands over it take.

  python -m tests.many [runs=2000] [out=DIR]

Records of results/reference/quick are copied under other algorithms and seeds, a random part of
their episodes made failures, and their checksums listed. Then `status` and `report` are run as a
user would: first, again with nothing changed, and with one record changed. Printed are seconds
by the clock and of the processor, the most memory that a process held, and the size of the page.
`out` keeps the folder (default: a temporary one); what is there is used again.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bench.storage import CHECKSUMS, Checksums
from bench.words import integer, parse

SOURCE = Path("results/reference/quick")
TASKS = ("pointmaze-v1", "pointmaze-v2", "pointmaze-v3", "pointmaze-v4", "antmaze-v1",
         "antmaze-v2", "reach", "drawer-close", "peg-in-hole", "cabinet-open")  # fmt: skip
ALGOS = ("ddiffpg", "diffusion-ql", "dipo", "maxentdp", "ppo", "qvpo", "sac", "td3")
LOST = 0.1  # share of the episodes that become failures, at most
APART = ("replan", "render", "tb")


def main(words: list[str]) -> int:
    """Make the runs where they are missing, and measure."""
    _, values = parse(words, {"runs": "2000", "out": ""})
    count = integer("runs", values["runs"])
    with tempfile.TemporaryDirectory() as folder:
        results = Path(values["out"] or folder) / "results"
        if not results.exists():
            make(results, count)
        print("| command | s | CPU s | most memory (MiB) |\n| --- | --- | --- | --- |")
        measure("`status`, first", "status", results)
        measure("`status`, nothing changed", "status", results)
        measure("`report`, first", "report", results)
        measure("`report`, nothing changed", "report", results)
        change(next(iter(sorted(results.rglob("run.json")))).parent)
        measure("`status`, one run changed", "status", results)
        measure("`report`, one run changed", "report", results)
        page = results / "report" / "index.html"
        print(f"\nThe page of {count} runs: {page.stat().st_size / 1e6:.2f} MB")
    return 0


def make(results: Path, count: int) -> None:
    """Write that many runs, the seeds of an algorithm and a task one after the other."""
    pairs = [(task, algo) for task in TASKS for algo in ALGOS]
    for number in range(count):
        task, algo = pairs[number % len(pairs)]
        seed = number // len(pairs)
        copy(source(task, algo, seed), results / "many" / task / algo / f"seed={seed}", algo, seed)


def source(task: str, algo: str, seed: int) -> Path:
    """Return a committed run of a task, of this algorithm where there is one."""
    home = SOURCE / task / algo
    home = home if home.exists() else SOURCE / task / "sac"
    known = sorted(home.iterdir())
    return known[seed % len(known)]


def copy(run: Path, place: Path, algo: str, seed: int) -> Path:
    """Write a run's record under another algorithm and seed; its checksums are true."""
    shutil.copytree(run, place, ignore=shutil.ignore_patterns(*APART, CHECKSUMS))
    facts = json.loads((place / "run.json").read_text())
    facts |= {"algo": algo, "seed": seed, "experiment": "many"}
    (place / "run.json").write_text(json.dumps(facts, indent=2))
    config = yaml.safe_load((place / "config.yaml").read_text())
    config |= {"seed": seed, "experiment": "many"}
    config["names"]["algo"] = algo
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    vary(place, seed)
    return place


def vary(place: Path, seed: int) -> None:
    """Make other episodes of a run failures, and list the checksums of all its files."""
    episodes, rng = pd.read_parquet(place / "episodes.parquet"), np.random.default_rng(seed)
    lost = rng.random(len(episodes)) < LOST * rng.random()
    episodes.loc[lost, ["success", "mode", "mode_name", "return"]] = [False, -1, "failure", 0.0]
    content = io.BytesIO()
    episodes.to_parquet(content, index=False)
    (place / "episodes.parquet").write_bytes(content.getvalue())
    sums = Checksums(place)
    names = sorted(path.name for path in place.iterdir() if path.name != CHECKSUMS)
    (place / CHECKSUMS).write_text(json.dumps({name: [sums.identity(name)] for name in names}))


def change(place: Path) -> None:
    """Change one run's record, as another evaluation would."""
    vary(place, 12_345)


def measure(title: str, command: str, results: Path) -> None:
    """Run a command in a process of its own and print what it took as a row."""
    began = time.perf_counter()
    started = subprocess.Popen(
        [sys.executable, "-m", "bench", command, f"results={results}"], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(started.pid, 0)  # with its workers, that it waited for
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"{command} ended with {started.returncode}")
    print(f"| {title} | {time.perf_counter() - began:.1f} | {used.ru_utime + used.ru_stime:.1f} "
          f"| {used.ru_maxrss / 1024:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
