"""What Hydra is handed for a sweep: its command line, and the job that is one run.

A job's process is its own; what a sweep and its jobs share beside their records is a folder with
the file that asks them to stop.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

import hydra
from omegaconf import DictConfig

from bench import search
from bench.commands.worker import STOP_FILE
from bench.configuration import CONF, Request
from bench.errors import UsageError
from bench.launchers import launcher_of, own_device
from bench.lease import SHARED
from bench.provenance import now
from bench.records import Record
from bench.runner import STOPPING
from bench.settings import Settings
from bench.standing import place_of
from bench.words import literal

PARENT = os.getppid()  # when this process began; a later one means that it is gone
HOME = "BENCH_HOME"  # where the command was given
POLL = 0.2  # s between looks at a run's process


def hydra_run(words: list[str]) -> int:
    """Hand over to Hydra as its own command line would; return its exit status."""
    before = sys.argv
    sys.argv = ["bench", *words]
    check = getattr(argparse.ArgumentParser, "_check_help", None)  # from Python 3.14 on
    if check:  # which refuses a help of Hydra 1.3.8 that is no string
        argparse.ArgumentParser._check_help = lambda *_: None  # type: ignore[attr-defined]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF.absolute()), config_name="request")(
            job
        )()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
        if check:
            argparse.ArgumentParser._check_help = check  # type: ignore[attr-defined]
    return 0


def job(config: DictConfig) -> float | None:
    """Do one run of a sweep in a process of its own, whose end, whatever it is, is its own.

    Returns the objective of a search, None where there is none or the run has not reached its end.

    A run that is killed, by the system where memory runs out for instance, then takes no other with
    it. When the sweep that this process works for is gone, the run is asked to save and end.
    """
    worker = multiprocessing.parent_process() is not None
    listens = threading.current_thread() is threading.main_thread()
    if listens:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, until the run handles it
    home = os.environ[HOME]
    command = [sys.executable, "-m", "bench.commands.worker"]
    with own_device(config.device) as (variables, files):
        process = subprocess.Popen(command, stdin=PIPE, cwd=home, env=os.environ | variables,
                                   pass_fds=files)  # fmt: skip
    if listens and not worker:  # a worker between two runs must not die of a Ctrl-C
        signal.signal(signal.SIGINT, before)
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin:
        pickle.dump(config, process.stdin)
    while process.poll() is None:
        time.sleep(POLL)
        if worker and os.getppid() != PARENT:  # the sweep is gone, and nobody waits for this one
            process.terminate()
            os._exit(1)
    if process.returncode < 0:
        names = config.names
        results = str(Path(home) / config.results)
        place = place_of(results, config.experiment, names.task, names.algo, config.seed)
        note_killed(place, signal.Signals(-process.returncode).name)
    return search.objective(config) if config.objective and process.returncode == 0 else None


def note_killed(place: Path, by: str) -> None:
    """Say in a run's record that its process was killed."""
    error = f"killed by {by}"
    if by == "SIGKILL":
        error += ", as the system does when memory runs out"
    record = Record(place)
    with suppress(UsageError, OSError), record.lock():
        facts = record.read()
        if facts.get("status") == "running":
            record.write(facts | {"status": "failed", "error": error, "end": now()})
            return
    print(f"{place}: {error}", file=sys.stderr)


def environment_words() -> list[str]:
    """Return the words by which every run of a sweep has this process's variables of ours, and
    knows where the command was given.

    Workers outlive the sweep that they were started for, joblib's for minutes: their variables and
    their working directory, which Hydra composes with, may be those of an earlier command.
    """
    variables = {key: value for key, value in os.environ.items() if key.startswith("BENCH_")}
    return [f"+hydra.job.env_set.{key}={literal(value)}"
            for key, value in (variables | {HOME: os.getcwd()}).items()]  # fmt: skip


@contextmanager
def stoppable(shared: Path | None = None) -> Iterator[Path]:
    """Let the first Ctrl-C end every run of a sweep resumably, a second one at once.

    Raising here would make the launcher kill its workers while they save. So the file yielded
    appears instead; they look for it at every step. Only a main thread hears of Ctrl-C.

    Args:
        shared: a folder that other machines see too, where runs go to them.
    """
    if shared is not None:
        shared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        stop_file = Path(folder) / "stop"
        os.environ[STOP_FILE] = str(stop_file)
        os.environ[SHARED] = str(stop_file.with_name("silent"))

        def stop(*_: Any) -> None:
            if stop_file.exists():
                raise KeyboardInterrupt
            stop_file.touch()

        listens = threading.current_thread() is threading.main_thread()
        before = {which: signal.signal(which, stop) for which in STOPPING if listens}
        try:
            yield stop_file
        finally:
            del os.environ[STOP_FILE], os.environ[SHARED]
            for which, handler in before.items():
                signal.signal(which, handler)
    if shared is not None:
        with suppress(OSError):  # another sweep, or logs of jobs, are there
            shared.rmdir()


def launcher_folder(request: Request, settings: Settings, stop_file: Path) -> Path:
    """Return where Hydra and its launcher may write: a folder that goes when the sweep is over.

    That of submitit stays, for the logs of its jobs.
    """
    shared = shared_folder(request, settings)
    return shared if shared and launcher_of(request.words) != "ray" else stop_file.parent


def shared_folder(request: Request, settings: Settings) -> Path | None:
    """Return where what other machines must see is written, None where no run goes to one.

    Launchers that reach other machines need a folder that these see too, among the results.
    """
    if launcher_of(request.words) in ("joblib", "basic"):
        return None
    return Path(settings.results).absolute() / settings.experiment / ".launcher"
