"""One run of a sweep, in a process of its own: `python -m bench.commands.worker`, not for users.

Its configuration comes through standard input from the process that started it.
"""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import torch
from omegaconf import DictConfig

import bench.algos
import bench.tasks
from bench.configuration import as_object
from bench.display import Silent
from bench.errors import UsageError, described
from bench.lease import InUseError
from bench.memory import keep_freed_memory
from bench.registry import load_plugins
from bench.runner import Run, Stopped, physics_threads
from bench.standing import run_dir, state_of

STOP_FILE = "BENCH_STOP_FILE"  # names the file whose appearance stops the runs of a sweep


def main(config: DictConfig) -> int:
    """Do the run, silently; its run.json says how it ended. Return the exit status."""
    load_plugins(list(config.plugins))
    bench.algos.discover()
    bench.tasks.discover()
    settings = as_object(config)
    stop_file = Path(os.environ.get(STOP_FILE, ""))  # on another machine there may be none
    parent = os.getppid()

    def stopping() -> bool:
        return stop_file.is_file() or os.getppid() != parent

    run = None
    try:
        state = state_of(settings)
        if state == "done" or stopping():
            return 0
        torch.set_num_threads(settings.threads or 1)
        keep_freed_memory()
        threads = physics_threads(settings, int(os.environ.get("BENCH_SIDE_BY_SIDE", "1")))
        run = Run(settings, threads, Silent(), stopping)
        run.execute(resume=state == "resume")
    except Stopped:
        if os.getppid() == parent:  # else the worker alone is gone, and another one goes on
            with suppress(OSError):
                stop_file.touch()  # for the next run of the same worker
    except InUseError as error:
        if not error.elsewhere:
            print(f"{run_dir(settings)}: {error}", file=sys.stderr)
        return 2
    except UsageError as error:
        print(f"{run_dir(settings)}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if run is None or not run.recorded:
            print(f"{run_dir(settings)}: {described(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.path.insert(0, "")  # plugins are found in the working directory
    sys.exit(main(pickle.load(sys.stdin.buffer)))
