"""Train, evaluate, record and report.

  python -m bench run algo=NAME task=NAME [seed=0,1,2] [key=value ...]

algo, task and seed each take a name, a comma list or all; task also takes a family. Each
combination is one run; several run side by side. What is done is skipped, what was interrupted
continues. All settings: python -m bench run algo=NAME task=NAME --cfg job

  python -m bench run algo=ddiffpg task=pointmaze-v3
  python -m bench run algo=all task=pointmaze seed=0,1,2 experiment=mazes
  python -m bench run algo=ddiffpg task=antmaze-v1 budget=paper preset=paper device=cuda
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig
from rich.console import Console

import bench.algos
import bench.tasks
from bench.configuration import CONF, as_object, resolve, understand
from bench.display import Bar, Overview, Silent, show
from bench.errors import UsageError
from bench.records import Record
from bench.registry import load_plugins
from bench.runner import STOPPING, Run, Stopped, physics_threads, run_dir, state_of
from bench.settings import Settings, cores

console = Console(stderr=True)
STOP_FILE = "BENCH_STOP_FILE"  # names the file whose appearance stops the runs of a sweep


def main(words: list[str]) -> int:
    """Do all runs that the words ask for; return the exit status.

    Raises:
        UsageError: on bad input, before anything is written.
    """
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    words = [word.lstrip("+") for word in words]  # Hydra would add a setting that nothing reads
    words, shown = take_shown(words)
    flags = [word for word in words if word.startswith("-")]
    request = understand([word for word in words if not word.startswith("-")])
    combinations = list(request.combinations())
    overrides = [request.overrides(*c) for c in combinations]
    swept = [word for word in request.words if is_sweep(word)]
    runs = [resolve([w for w in line if w not in swept]) for line in overrides]
    if shown:
        if swept:
            raise UsageError(f"{swept[0]}: {shown[0]} shows one run's settings, give one value")
        rest = [w for w in words if w.partition("=")[0] not in ("algo", "task", "seed")]
        return hydra_run([*overrides[0][:3], *rest, *shown])
    if swept:
        return sweep(request, runs, [*flags, "-m"] if "-m" not in flags else flags, [])
    states = [state_of(settings) for settings in runs]
    for settings, state in zip(runs, states, strict=True):
        if state == "done":
            console.print(f"done already: {run_dir(settings)}")
    if all(state == "done" for state in states):
        return report(runs)
    if len(runs) == 1 and not any(word.startswith("hydra/launcher=") for word in words):
        return single(runs[0], states[0])
    return sweep(request, runs, flags if "-m" in flags else [*flags, "-m"], states)


def take_shown(words: list[str]) -> tuple[list[str], list[str]]:
    """Part Hydra's flags that show settings, and the word after each, from all other words."""
    others, shown = [], []
    rest = iter(words)
    for word in rest:
        if word in ("--cfg", "-c", "--package", "-p"):
            shown += [word, *filter(None, [next(rest, None)])]
        else:
            others.append(word)
    return others, shown


def is_sweep(word: str) -> bool:
    """Say whether a word gives a setting several values."""
    key, _, value = word.partition("=")
    outside = value and value[0] not in "[{'\""
    return bool(outside) and "," in value and key not in ("plugins", "logger")


def single(settings: Settings, state: str) -> int:
    """Run in the foreground with a progress bar."""
    threads = physics_threads(settings, 1)
    torch.set_num_threads(settings.threads or 1)
    where = run_dir(settings)
    console.print(f"{'continuing' if state == 'resume' else 'writing'} {where}")
    try:
        with Bar(console, f"{settings.names.algo} on {settings.names.task}") as bar:
            Run(settings, threads, bar).execute(resume=state == "resume")
    except (Stopped, KeyboardInterrupt):
        console.print(f"interrupted; the same command continues {where}")
        return 130
    except UsageError:
        raise
    except Exception:
        error = Record(where).read().get("error")
        console.print(f"[red]failed:[/] {error}; see {where / 'run.json'}")
        return 1
    return report([settings])


def job(config: DictConfig) -> None:
    """Do one run of a sweep, silently; its run.json says how it ended."""
    load_plugins(list(config.plugins))
    bench.algos.discover()
    bench.tasks.discover()
    settings = as_object(config)
    stop_file = Path(os.environ.get(STOP_FILE, ""))  # on another machine there may be none
    if multiprocessing.parent_process():  # a worker between two runs must not die of a Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    state = state_of(settings)
    if state == "done" or stop_file.is_file():
        return
    threads = physics_threads(settings, int(os.environ.get("BENCH_SIDE_BY_SIDE", "1")))
    torch.set_num_threads(settings.threads or 1)
    try:
        run = Run(settings, threads, Silent(), stopping=stop_file.is_file)
        run.execute(resume=state == "resume")
    except Stopped:
        with suppress(OSError):
            stop_file.touch()  # for the next run of the same process
    except Exception as error:
        # recorded in run.json; the other runs go on
        print(f"{run_dir(settings)}: {type(error).__name__}: {error}", file=sys.stderr)


def sweep(request: Any, runs: list[Settings], flags: list[str], states: list[str]) -> int:
    """Run side by side through Hydra's launcher, with one overall display."""
    workers = min(cores(), len(runs))
    os.environ["BENCH_SIDE_BY_SIDE"] = str(workers)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    words = [f"algo={','.join(request.algos)}", f"task={','.join(request.tasks)}",
             f"seed={','.join(request.seeds)}", *request.words]  # fmt: skip
    places = [run_dir(settings) for settings in runs]
    quiet = threading.Event()
    with Overview(console, places) as overview, stoppable() as stop_file:
        watcher = threading.Thread(target=overview.watch, args=(quiet,), daemon=True)
        watcher.start()
        try:
            status = hydra_run([*words, *flags])
        except KeyboardInterrupt:
            status = 130
        finally:
            quiet.set()
            watcher.join()
        interrupted = status == 130 or stop_file.exists()
    if interrupted:
        console.print("interrupted; the same command continues what is not done")
        return 130
    failed = [p for p in places if Record(p).read().get("status") != "done"]
    for place in failed:
        facts = Record(place).read()
        console.print(f"[red]{facts.get('status', 'missing')}:[/] {place}: {facts.get('error')}")
    report(runs)
    return 1 if failed or status else 0


@contextmanager
def stoppable() -> Iterator[Path]:
    """Let the first Ctrl-C end every run of a sweep resumably, a second one at once.

    Raising here would make the launcher kill its workers while they save. So the file yielded
    appears instead; they look for it at every step.
    """
    with tempfile.TemporaryDirectory() as folder:
        stop_file = Path(folder) / "stop"
        os.environ[STOP_FILE] = str(stop_file)

        def stop(*_: Any) -> None:
            if stop_file.exists():
                raise KeyboardInterrupt
            stop_file.touch()

        before = {which: signal.signal(which, stop) for which in STOPPING}
        try:
            yield stop_file
        finally:
            del os.environ[STOP_FILE]
            for which, handler in before.items():
                signal.signal(which, handler)


def hydra_run(words: list[str]) -> int:
    """Hand over to Hydra as its own command line would; return its exit status."""
    before = sys.argv
    sys.argv = ["bench", *words]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF.absolute()), config_name="request")(
            job
        )()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


def report(runs: list[Settings]) -> int:
    """Write the report of these runs and print its table and path."""
    from bench.analysis import report as reporting
    from bench.analysis.load import load_results

    results = Path(runs[0].results)
    chosen: dict[str, Any] = {
        "experiments": [runs[0].experiment],
        "tasks": sorted({settings.names.task for settings in runs}),
        "algos": sorted({settings.names.algo for settings in runs}),
    }
    out = results / runs[0].experiment / "report"
    index = reporting.write(results, out, **chosen)
    frame = load_results(results)
    keep = frame["experiment"].isin(chosen["experiments"]) & frame["task"].isin(chosen["tasks"])
    show(reporting.summary(frame[keep & frame["algo"].isin(chosen["algos"])]), names=3)
    Console().print(f"report: {index}", soft_wrap=True)
    return 0
