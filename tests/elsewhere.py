"""Sweeps beyond one process: on Ray, submitit and two hosts, each with something killed in it.

  python -m tests.elsewhere [series=joblib,ray,...] [out=docs/scaling_out.md]

A sweep of short runs is made by each launcher, as a user would. In the middle of it, the process of
one run is killed, or on Ray a whole node. What the sweep then says is noted, the same command given
again, and every record compared with the one of an undisturbed sweep. Two hosts are two sets of
namespaces with a host name and process numbers of their own, which only root can make, writing one
folder. `series=time` makes one sweep of 24 runs by joblib and on Ray in turns, twice, and
compares the times: give it a machine that does nothing else.

Tables are written between the marks of docs/scaling_out.md; the exit status is 1 if anything was
lost, done twice or otherwise than expected here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from bench import lease
from bench.analysis import tables
from bench.errors import UsageError
from bench.launchers import EXTRAS, PACKAGES
from bench.words import parse
from docs.marks import write
from tests.faults import differences

PLACE = Path("default/pointmaze-v1/sac")
SEEDS = 6
SHORT = (
    "algo=sac", "task=pointmaze-v1", "task.horizon=60", "budget=smoke", "env_steps=4000",
    "num_envs=8", "eval.every=2000", "eval.episodes=4", "eval.specified=0", "threads=1",
    "checkpoint.every=500", "algo.batch=32", "algo.exploration.warmup=240",
)  # fmt: skip
LONGER = (
    "algo=sac,td3", "task=pointmaze-v1,pointmaze-v2", "seed=0,1,2,3,4,5", "budget=smoke",
    "env_steps=2000", "eval.episodes=2", "threads=1",
)  # fmt: skip
PORT = 6399
JOINED = ("hydra/launcher=ray", "hydra.launcher.ray.init.address=127.0.0.1:6399")
TWO = ("hydra.launcher.n_jobs=2",)
APART = ("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
BEAT = "0.5"  # s between signs of life, instead of 5: a silent host is given up after 9 s


@dataclass
class Row:
    """What a disturbed sweep came to: a row of the table, and what is wrong with it."""

    sweep: str
    killed: str
    says: str = ""
    done: str = ""
    again: str = ""
    records: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Sweep:
    """A sweep that is under way.

    Attributes:
        process: of the command.
        log: what it prints.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> tuple[int, str]:
        """Wait for it; return its exit status and what it printed."""
        return self.process.wait(), self.log.read_text(errors="replace")


def start(words: tuple[str, ...], log: Path, *before: str) -> Sweep:
    """Start `python -m bench run`, by another command if there is one."""
    call = [*before, sys.executable, "-m", "bench", "run", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(call, stdout=file, stderr=subprocess.STDOUT)
    return Sweep(process, log)


def place(results: Path, seed: int) -> Path:
    """Return where the run of a seed lies."""
    return results / PLACE / f"seed={seed}"


def training(folder: Path) -> lease.Holder | None:
    """Return who makes a run that has begun to train, None where nobody does or it is done."""
    user = lease.holder(folder)
    progress = folder / "progress.jsonl"
    if user is None or user.free or not progress.exists() or not progress.stat().st_size:
        return None
    return user


def process_of(user: lease.Holder) -> int:
    """Return the number that a run's process has here, in whatever namespace it counts itself.

    Raises:
        ProcessLookupError: if it has ended.
    """
    space = user.where.rpartition(" ")[2]
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.readlink(entry / "ns/pid") == space:
                line = next(s for s in (entry / "status").read_text().splitlines() if "NSpid" in s)
                if int(line.split()[-1]) == user.pid:
                    return int(entry.name)
    raise ProcessLookupError(user.pid)


def kill_a_run(results: Path, sweep: Sweep, host: str = "") -> str:
    """Kill the first run, of a host if one is named, that is seen to train; return its name."""
    while sweep.process.poll() is None:
        for seed in range(SEEDS):
            user = training(place(results, seed))
            if user is not None and host in ("", user.host):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_of(user), signal.SIGKILL)
                    return f"the process of seed {seed}"
        time.sleep(0.02)
    raise RuntimeError(f"ended before anything was killed: {sweep.end()[1]}")


def finished(results: Path) -> dict[Path, bytes]:
    """Return what the finished runs say of themselves."""
    found = {path: path.read_bytes() for path in results.glob(f"{PLACE}/*/run.json")}
    return {path: said for path, said in found.items() if json.loads(said)["status"] == "done"}


def judge(row: Row, results: Path, whole: Path, words: tuple[str, ...], done: range) -> Row:
    """Give the command again, and compare what is there with an undisturbed sweep.

    Args:
        row: that takes what is seen.
        results: of the disturbed sweep.
        whole: of the undisturbed one.
        words: of the command.
        done: how many runs it may have finished.
    """
    kept = finished(results)
    row.done = f"{len(kept)} of {SEEDS}"
    if len(kept) not in done:
        row.wrong.append(f"{row.done} done, expected {list(done)}")
    status, said = start((*words, f"results={results}"), results.parent / "again").end()
    changed = [path.parent.name for path, content in kept.items() if path.read_bytes() != content]
    missing = SEEDS - len(finished(results))
    row.again = f"makes {SEEDS - len(kept)}, repeats {len(changed)} ({status})"
    if status or changed or missing:
        row.wrong.append(f"again: status {status}, {changed} changed, {missing} missing: {said}")
    unlike = {
        f"seed {seed}": found for seed in range(SEEDS)
        if (found := differences(place(results, seed), place(whole, seed)))
    }  # fmt: skip
    row.records = "equal" if not unlike else f"differ: {unlike}"
    row.wrong += [row.records] if unlike else []
    return row


def ended(row: Row, sweep: Sweep, *expected: int) -> None:
    """Note with which status a disturbed sweep ends, and whether it was one to be expected."""
    status, said = sweep.end()
    row.says = f"exit status {status}"
    if status not in expected or "Traceback" in said:
        row.wrong.append(f"status {status}, expected {expected}: {said}")
    failed = [line.strip() for line in said.splitlines() if line.startswith("failed: ")]
    print(f"{row.sweep}: {row.killed} killed; {row.says}; {failed}", flush=True)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Callable[[], None]]:
    """Start a Ray cluster of two nodes with one CPU each; yield what kills the second."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    ray = str(Path(sys.executable).with_name("ray"))
    nodes = []
    try:
        head = ("--head", f"--port={PORT}", "--include-dashboard=false", "--disable-usage-stats")
        for where in (head, (f"--address=127.0.0.1:{PORT}",)):
            call = [ray, "start", *where, "--num-cpus=1", "--block"]
            with (folder / f"node-{len(nodes)}").open("wb") as log:
                nodes.append(subprocess.Popen(call, stdout=log, stderr=log, start_new_session=True))
            wait_for_nodes(len(nodes))
        yield lambda: os.killpg(nodes[1].pid, signal.SIGKILL)
    finally:
        for node in nodes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        subprocess.run([ray, "stop", "--force"], capture_output=True)


def wait_for_nodes(count: int, patience: float = 120.0) -> None:
    """Wait until a cluster has that many nodes.

    Raises:
        RuntimeError: if it does not come to have them.
    """
    ask = (f"import ray; ray.init('127.0.0.1:{PORT}', log_to_driver=False); "
           f"print('nodes', sum(n['Alive'] for n in ray.nodes()))")  # fmt: skip
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        if f"nodes {count}" in found.stdout:
            return
        time.sleep(1.0)
    raise RuntimeError(f"the cluster has not come to {count} nodes: {found.stdout}{found.stderr}")


def one_killed(name: str, *launcher: str) -> Callable[[Path, Path], list[Row]]:
    """Return a series: a sweep by a launcher, one of whose runs is killed."""

    def do(folder: Path, whole: Path) -> list[Row]:
        words = (*SHORT, seeds(), *launcher)
        results = folder / "results"
        sweep = start((*words, f"results={results}"), folder / "log")
        row = Row(name, kill_a_run(results, sweep))
        ended(row, sweep, 1)
        return [judge(row, results, whole, words, range(SEEDS - 1, SEEDS))]

    return do


def seeds() -> str:
    """Return the word that names the seeds."""
    return f"seed={','.join(map(str, range(SEEDS)))}"


def on_ray(folder: Path, whole: Path) -> list[Row]:
    """Kill a run, and a node, of sweeps on a cluster of two nodes."""
    rows = []
    with cluster(folder) as kill_node:
        (folder / "run").mkdir()
        rows += one_killed("Ray, two nodes", *JOINED)(folder / "run", whole)
        results = folder / "node" / "results"
        results.parent.mkdir()
        words = (*SHORT, seeds(), *JOINED)
        sweep = start((*words, f"results={results}"), folder / "node" / "log")
        while sum(training(place(results, seed)) is not None for seed in range(SEEDS)) < 2:
            if sweep.process.poll() is not None:
                raise RuntimeError(f"ended before a node was killed: {sweep.end()[1]}")
            time.sleep(0.02)
        kill_node()
        row = Row("Ray, two nodes", "the second node")
        ended(row, sweep, 0)  # what a dead node had is given to Ray again
        rows.append(judge(row, results, whole, words, range(SEEDS, SEEDS + 1)))
    return rows


def two_hosts(folder: Path, whole: Path) -> list[Row]:
    """Kill a run on each of two hosts that make the same sweep in one folder."""
    os.environ["BENCH_LEASE_BEAT"] = BEAT
    results = folder / "results"
    words = (*SHORT, seeds(), "hydra.launcher.n_jobs=1")
    call = 'hostname "$0"; exec "$@"'
    names = ("alpha", "beta")
    sweeps = [
        start((*words, f"results={results}"), folder / name, *APART, "bash", "-c", call, name)
        for name in names
    ]
    rows = [
        Row(f"two hosts, {name}", kill_a_run(results, sweep, name))
        for name, sweep in zip(names, sweeps, strict=True)
    ]
    for row, sweep in zip(rows, sweeps, strict=True):
        ended(row, sweep, 1)
    row = judge(rows[1], results, whole, words, range(1, SEEDS))
    rows[0].done, rows[0].again, rows[0].records = row.done, row.again, row.records
    return rows


def timed(folder: Path, whole: Path) -> list[Row]:
    """Compare the time of 24 runs by joblib and on a cluster that is there, in turns."""
    took: dict[str, list[float]] = {"joblib": [], "Ray": []}
    with cluster(folder):
        for turn in range(2):
            for name, more in (("joblib", TWO), ("Ray", JOINED)):
                results = folder / f"{name}-{turn}"
                since = time.monotonic()
                status, said = start((*LONGER, *more, f"results={results}"), folder / "log").end()
                took[name].append(time.monotonic() - since)
                if status:
                    return [Row(name, "nothing", wrong=[said])]
                print(f"24 runs, {name}: {took[name][-1]:.0f} s", flush=True)
    for path in sorted((folder / "joblib-0").rglob("run.json")):
        other = folder / "Ray-0" / path.parent.relative_to(folder / "joblib-0")
        if found := differences(path.parent, other):
            return [Row("24 runs", "nothing", wrong=[f"{other}: {found}"])]
    mean = {name: statistics.mean(times) for name, times in took.items()}
    frame = pd.DataFrame([
        {"launcher": name, "s, each time": ", ".join(f"{t:.0f}" for t in times),
         "times joblib": f"{mean[name] / mean['joblib']:.2f}", "records": "equal"}
        for name, times in took.items()
    ])  # fmt: skip
    write(OUT, "time", tables.markdown(frame), "tests.elsewhere")
    return []


SERIES: dict[str, Callable[[Path, Path], list[Row]]] = {
    "joblib": one_killed("joblib", *TWO),
    "ray": on_ray,
    "submitit_local": one_killed("submitit_local", "hydra/launcher=submitit_local"),
    "hosts": two_hosts,
    "time": timed,
}
NEEDS = {"ray": "ray", "time": "ray", "submitit_local": "submitit_local"}
OUT = "docs/scaling_out.md"
HEAD = {
    "sweep": "sweep", "killed": "killed", "says": "the sweep", "done": "done then",
    "again": "the command again (exit status)", "records": "records at last",
}  # fmt: skip


def main(words: list[str]) -> int:
    """Do the series and write their tables; return 1 if anything was wrong.

    Raises:
        UsageError: on an unknown series.
    """
    plain, values = parse(words, {"series": "joblib,ray,submitit_local,hosts", "out": OUT})
    chosen = values["series"].split(",")
    if plain or not set(chosen) <= SERIES.keys():
        raise UsageError(f"series={values['series']}: valid are {', '.join(SERIES)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        if chosen != ["time"]:
            status, said = start((*SHORT, seeds(), f"results={whole}"), Path(name) / "log").end()
            if status:
                raise RuntimeError(f"the undisturbed sweep failed: {said}")
        for series in chosen:
            launcher = NEEDS.get(series)
            if launcher and find_spec(PACKAGES[EXTRAS[launcher]]) is None:
                print(f"{series}: not done, as multimodal-rl-bench[{EXTRAS[launcher]}] is missing")
                continue
            if series == "hosts" and os.geteuid():
                print("hosts: not done, as only root can make namespaces")
                continue
            folder = Path(name) / series
            folder.mkdir()
            rows += SERIES[series](folder, whole)
    if seen := [row for row in rows if row.done]:
        frame = pd.DataFrame([{HEAD[key]: getattr(row, key) for key in HEAD} for row in seen])
        write(values["out"], "killed", tables.markdown(frame), "tests.elsewhere")
    for row in rows:
        print("\n".join(f"wrong: {row.sweep}: {one}" for one in row.wrong), end="")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.exit(f"elsewhere: {error}")
