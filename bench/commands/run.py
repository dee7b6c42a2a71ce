r"""Train, evaluate, record and report.

  python -m bench run algo=NAME task=NAME [seed=0,1,2] [key=value ...]

algo, task and seed each take a name, a comma list or all; task also takes a family. Each
combination is one run, and so is each combination of several values of any other setting, in an
experiment that is named by them; several run side by side. What is done is skipped, what was
interrupted or killed continues from its last checkpoint, what was made with other settings or is
damaged is refused. With overwrite=true that is made anew, and nothing else: what is done with the
same settings stays done (to repeat it, remove its folder), what was interrupted continues.
With hydra/sweeper=optuna (pip install multimodal-rl-bench[search]) settings are searched for by
objective=[PROTOCOL.]METRIC, each trial a run of its own; the same command goes the same way again.
With from=RUN_DIR and no algo or task, that run is repeated by the settings in its record, in the
experiment EXPERIMENT-again, and compared; settings that are given change it.
All settings: python -m bench run algo=NAME task=NAME --cfg job

  python -m bench run algo=ddiffpg task=pointmaze-v3
  python -m bench run algo=all task=pointmaze seed=0,1,2 experiment=mazes
  python -m bench run algo=sac task=pointmaze-v1 algo.n_step=1,3,10
  python -m bench run algo=sac task=pointmaze-v1 hydra/sweeper=optuna hydra.sweeper.n_trials=20 \
    'algo.tau=interval(0.001,0.1)' objective=solved_modes
  python -m bench run algo=ddiffpg task=antmaze-v1 budget=paper preset=paper device=cuda
"""

from __future__ import annotations

import glob
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from bench import search
from bench.configuration import Request, check_launcher, resolve, understand
from bench.display import Bar, Overview
from bench.divergence import tell_count
from bench.errors import UsageError, described
from bench.jobs import (
    environment_words,
    hydra_run,
    launcher_folder,
    shared_folder,
    stoppable,
)
from bench.launchers import check_installed, launcher_of
from bench.lease import SHARED, holder, watch
from bench.memory import keep_freed_memory
from bench.printing import console, say, show
from bench.records import Record
from bench.repeat import compared, take_from
from bench.runner import Run, Stopped, physics_threads
from bench.settings import Settings, cores
from bench.standing import run_dir, states_of
from bench.storage import tell_unchecked
from bench.sweeps import check_places, common, expanded, placed, plain, swept

ATTEMPTS = 3  # times that a launcher is started
FLAGS = ("-m", "--multirun")
SHOWN = ("job", "hydra", "all")  # settings that --cfg shows
PATIENCE = 60  # s that runs without their workers may take to save


def main(words: list[str]) -> int:
    """Do all runs that the words ask for; return the exit status.

    Raises:
        UsageError: on bad input, before anything is written.
    """
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    words, source = take_from([plain(word) for word in words])
    words, shown = take_shown(words)
    for word in words:
        if "=" not in word and not word.startswith(("-", "~")):
            raise UsageError(f"run {word!r}: give key=value, as in algo=sac")
    flags = [word for word in words if word.startswith("-")]
    for flag in flags:
        if flag not in FLAGS:
            raise UsageError(f"run {flag!r}: valid flags are {', '.join(FLAGS)}, --cfg job, --help")
    request = understand([word for word in words if not word.startswith("-")])
    if shown:
        if several := swept(request.words):
            raise UsageError(f"{several[0]}: {shown[0]} shows one run's settings, give one value")
        first = request.overrides(*next(iter(request.combinations())))
        resolve(first)
        values = ["--resolve"] if "job" in shown else []  # those of a run, no formulas
        return hydra_run([*first[:3], *request.words, *shown, *values])
    if search.sweeper_of(words):
        return find_best(request)
    request = replace(request, words=placed(request.words))
    runs = [resolve(line) for names in request.combinations()
            for line in expanded(request.overrides(*names))]  # fmt: skip
    if runs[0].objective is not None:
        search.check_objective(runs[0])
    check_places(runs)
    check_installed(launcher_of(request.words))
    if any(word.lstrip("+").startswith("hydra") for word in request.words):
        check_launcher(expanded(request.overrides(*next(iter(request.combinations()))))[0])
    states = states_of(runs)
    for settings, state in zip(runs, states, strict=True):
        if state in ("done", "resume"):
            tell_unchecked(run_dir(settings))
        if state in ("done", "elsewhere"):
            text = "done already" if state == "done" else "left to another host, which makes it"
            say(f"{text}: {run_dir(settings)}")
    if all(state == "done" for state in states):
        return report(runs)
    if len(runs) == 1 and not any(word.startswith("hydra/launcher=") for word in words):
        return single(runs[0], states[0], source)
    here = [settings for settings, state in zip(runs, states, strict=True) if state != "elsewhere"]
    return sweep(request, runs, here, flags or ["-m"])


def take_shown(words: list[str]) -> tuple[list[str], list[str]]:
    """Part Hydra's flags that show settings, and the value of each, from all other words.

    Raises:
        UsageError: on a value that Hydra has no settings for.
    """
    others, shown = [], []
    rest = iter(words)
    for word in rest:
        flag, mark, value = word.partition("=")
        if flag in ("--cfg", "-c", "--package", "-p"):
            value = value if mark else next(rest, "")
            if flag in ("--cfg", "-c") and value not in SHOWN:
                raise UsageError(f"{flag} {value!r}: valid are {', '.join(SHOWN)}")
            shown += [flag, value]
        else:
            others.append(word)
    return others, shown


def single(settings: Settings, state: str, source: Path | None) -> int:
    """Run in the foreground with a progress bar; say whether it repeats the run at `source`."""
    threads = physics_threads(settings, 1)
    torch.set_num_threads(settings.threads or 1)
    keep_freed_memory()
    where = run_dir(settings)
    say(f"{'continuing' if state == 'resume' else 'writing'} {where}")
    run = None
    try:
        with Bar(console, f"{settings.names.algo} on {settings.names.task}") as bar:
            run = Run(settings, threads, bar)
            run.execute(resume=state == "resume")
    except (Stopped, KeyboardInterrupt):
        say(f"interrupted; the same command continues {where}")
        return 130
    except UsageError:
        raise
    except Exception as error:
        recorded = f"; see {where / 'run.json'}" if run and run.recorded else ""
        say(f"failed: {described(error)}{recorded}")
        return 1
    tell_diverged([where])
    status = report([settings])
    if source is not None:
        say(compared(source, where))
    return status


def sweep(request: Request, runs: list[Settings], here: list[Settings], flags: list[str]) -> int:
    """Run side by side through Hydra's launcher, with one overall display.

    A launcher whose worker is killed ends, and all its other runs with it. It is started again, a
    few times, for what is not done.

    Args:
        request: what is asked for.
        runs: all of them.
        here: those that no other host was making before.
        flags: Hydra's.
    """
    workers = min(cores(), len(runs))
    if launcher_of(request.words) == "submitit_slurm":
        workers = 1  # a job has the cores that it asked for to itself
    os.environ["BENCH_SIDE_BY_SIDE"] = str(workers)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    words = [f"algo={','.join(request.algos)}", f"task={','.join(request.tasks)}",
             f"seed={','.join(request.seeds)}", *request.words]  # fmt: skip
    places = [run_dir(settings) for settings in runs]
    shared = shared_folder(request, runs[0])
    quiet = threading.Event()
    with Overview(console, places) as overview, stoppable(shared) as stop_file:
        if not any(word.startswith("hydra.sweep.dir=") for word in [*words, *flags]):
            words.append(f"hydra.sweep.dir='{launcher_folder(request, runs[0], stop_file)}'")
        watchers = [
            threading.Thread(target=overview.watch, args=(quiet,), daemon=True),
            threading.Thread(
                target=watch, args=(places, Path(os.environ[SHARED]), quiet), daemon=True
            ),
        ]
        for watcher in watchers:
            watcher.start()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                status = hydra_run([*words, *environment_words(), *flags])
                if not status or status == 130 or stop_file.exists() or attempt == ATTEMPTS:
                    break
                say(f"the launcher ended (status {status}); starting it again for what is left")
                wait_for([run_dir(settings) for settings in here])
        except KeyboardInterrupt:
            status = 130
        finally:
            quiet.set()
            for watcher in watchers:
                watcher.join()
        interrupted = status == 130 or stop_file.exists()
    if interrupted:
        say("interrupted; the same command continues what is not done")
        return 130
    failed = [line for place in places if (line := failure(place))]
    for line in failed:
        say(line)
    tell_diverged(places)
    return max(report(runs), 1 if failed or status else 0)


def find_best(request: Request) -> int:
    """Search for settings by one of Hydra's sweepers; report all trials and say which is best.

    Raises:
        UsageError: on bad input, before anything is written.
    """
    request = replace(request, words=search.trial_words(request))
    names = next(iter(request.combinations()))
    trial = search.first_trial(request.overrides(*names))
    settings = resolve(trial)
    check_installed(launcher_of(request.words))
    check_launcher(trial)
    search.check_objective(settings)
    home = Path(settings.results)
    name = search.base(request.words).split(",")[0]
    os.environ["BENCH_SIDE_BY_SIDE"] = str(cores())
    with stoppable(shared_folder(request, settings)) as stop_file:
        words = [f"hydra.sweep.dir='{launcher_folder(request, settings, stop_file)}'"]
        status = hydra_run([*request.overrides(*names), *words, *environment_words(), "-m"])
        if stop_file.exists():
            say("interrupted; the same command continues the search")
            return 130
        chosen = stop_file.parent / search.CHOSEN
        if not status and chosen.exists():
            found = home / f"{name}-search.yaml"
            found.write_bytes(chosen.read_bytes())
            say(f"best {settings.objective}: {search.best(found)} ({found})")
    trials = [path for path in home.glob(f"{glob.escape(name)},*") if path.is_dir()]
    if not trials:
        say("the search made no run")
        return 1
    return max(status, report([replace(settings, experiment=path.name) for path in trials]))


def wait_for(places: list[Path]) -> None:
    """Wait until no run is going on: one that has lost its worker saves, and ends."""
    for _ in range(PATIENCE):
        if not any(Record(place).locked() for place in places):
            return
        time.sleep(1)


def failure(place: Path) -> str | None:
    """Return why a run is not done, in one line, or None if it is."""
    try:
        facts = Record(place).read()
    except UsageError as error:
        return f"damaged: {error}"
    if facts.get("status") == "done":
        return None
    if not facts:
        return f"not begun: {place}: no record was written"
    user = holder(place)
    if facts.get("status") == "running" and user is not None and not user.gone():
        return f"running: {place}: in use by {user.of()}"
    reason = facts.get("error") or "its process ended without a word; the same command continues it"
    return f"{facts.get('status')}: {place}: {reason}"


def tell_diverged(places: list[Path]) -> None:
    """Say in one line in how many of some runs' evaluation episodes the simulation diverged."""
    counts = []
    for place in places:
        with suppress(UsageError, OSError):  # said of it before
            counts.append(Record(place).read().get("evaluated", {}))
    count, of = (sum(one.get(key, 0) for one in counts) for key in ("diverged", "episodes"))
    tell_count(count, of, "evaluation episodes")


def report(runs: list[Settings]) -> int:
    """Write the report of these runs, print its table and path; return 1 if it cannot be made.

    It has all that was run on their tasks under the names of their experiments: algorithms that
    were trained one command after the other are compared. With `report=false` there is none.
    """
    if not any(run.report for run in runs):
        return 0
    from bench.analysis import report as reporting
    from bench.analysis.load import table

    results = Path(runs[0].results)
    experiments, tasks = (sorted(set(names)) for names in zip(*(
        (run.experiment, run.names.task) for run in runs
    ), strict=True))  # fmt: skip
    out = results / (experiments[0] if len(experiments) == 1 else common(experiments)) / "report"
    try:
        index = reporting.write(results, out, experiments, tasks)
        frame = table(reporting.chosen(results, experiments, tasks)[0])
    except (ValueError, OSError) as error:
        say(f"no report: {' '.join(str(error).split())}")
        return 1
    if frame.empty:
        say("no report: no run has been evaluated")
        return 1
    show(reporting.summary(frame), names=3)
    Console().print(f"report: {index}", soft_wrap=True, markup=False)
    return 0
