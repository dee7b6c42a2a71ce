"""Export episodes as a Minari dataset: those a policy plays, or those its replay holds.

  python -m bench export RUN_DIR [source=policy] [episodes=100] [mode=K|all] [seed=0]
                                 [id=NAME] [plugins=[MODULE,...]]

source=policy plays what `eval` plays: fresh episodes of the policy acting by itself, with mode=K
commanded to follow that mode, with mode=all each of its modes in turn. source=replay takes the
whole episodes from the replay in checkpoint.pt. Every episode has the info `position` and says in
its metadata whether it succeeded and by which mode. The dataset is called
bench/TASK/ALGO-SOURCE-v0 unless id names it, and lies where Minari keeps datasets
(MINARI_DATASETS_PATH, by default ~/.minari/datasets):

  minari.load_dataset("bench/pointmaze-v3/ddiffpg-policy-v0")
  python -m bench run algo=sac task=pointmaze-v3 data=bench/pointmaze-v3/ddiffpg-policy-v0
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from bench import datasets
from bench.api import HasReplay, Task
from bench.commands.eval import UNTOUCHED
from bench.configuration import names
from bench.divergence import silence_mujoco
from bench.errors import UsageError
from bench.evaluation import FREE, Protocol, commanded, evaluate
from bench.policy import Policy, load_learner, load_policy, load_stored, load_task
from bench.registry import unknown
from bench.settings import cores
from bench.storage import tell_unchecked
from bench.words import integer, one_run, parse, seed_of

SOURCES = ("policy", "replay")


def main(words: list[str]) -> int:
    """Write the dataset; print what it holds and its name."""
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {
        "source": "policy", "episodes": "100", "mode": "", "seed": "0", "id": "", "plugins": "",
    }  # fmt: skip
    plain, values = parse(words, defaults)
    run_dir, source, plugins = one_run("export", plain), values["source"], names(values["plugins"])
    if source not in SOURCES:
        raise UsageError(unknown("source", source, list(SOURCES)))
    stored = load_stored(run_dir, "cpu")
    name = values["id"] or f"bench/{stored['task']}/{stored['algo']}-{source}-v0"
    datasets.check_free(name)
    task = load_task(run_dir, plugins)
    tell_unchecked(Path(run_dir))
    if source == "replay":
        given = [key for key in ("episodes", "mode", "seed") if values[key] != defaults[key]]
        if given:
            raise UsageError(f"{given[0]}={values[given[0]]}: a replay is taken as it is")
        found = replayed(run_dir, plugins, stored["algo"])
    else:
        policy = load_policy(run_dir, plugins=plugins)
        asked = protocol(policy, values["mode"], integer("episodes", values["episodes"]))
        found = played(policy, task, asked, seed_of(values["seed"]))
    description = (
        f"{'Replay' if source == 'replay' else 'Episodes'} of {stored['algo']} on {task.name}"
    )
    env = environment(task, stored["task_settings"])
    datasets.write(name, found, task, env, stored["algo"], description)
    print(f"{name}: {len(found)} episodes, {sum(map(len, found))} steps")
    return 0


def protocol(policy: Policy, mode: str, episodes: int) -> Protocol:
    """Return what is asked of a policy: no command, one mode's, or those of all.

    Raises:
        UsageError: on a mode that it does not have.
    """
    if not mode:
        return Protocol("sampled", np.full(episodes, FREE))
    valid = f"valid are {', '.join(map(str, range(policy.num_modes)))}, all"
    if not policy.num_modes:
        raise UsageError(f"mode={mode}: this policy takes no commands")
    if mode == "all":
        return commanded(range(policy.num_modes), -(-episodes // policy.num_modes))
    if not mode.isdecimal() or int(mode) >= policy.num_modes:
        raise UsageError(f"mode={mode}: {valid}")
    return commanded([int(mode)], episodes)


def played(policy: Policy, task: Task, asked: Protocol, seed: int) -> list[datasets.Trajectory]:
    """Return fresh episodes of a policy, with their commands noted."""
    silence_mujoco()
    recorder = datasets.Recorder()
    rows, _ = evaluate(policy.algo, task, asked, seed=seed, env_steps=UNTOUCHED,
                       threads=cores(), device="cpu", watch=recorder)  # fmt: skip
    kept = ("success", "mode", "mode_name", "commanded", "diverged")
    return [
        replace(one, notes={key: row[key] for key in kept})
        for one, row in zip(recorder.trajectories(), rows, strict=True)
    ]


def replayed(run_dir: str, plugins: list[str], algo: str) -> list[datasets.Trajectory]:
    """Return the whole episodes of a run's replay.

    Raises:
        UsageError: if there is no checkpoint, or no replay or no whole episode in it.
    """
    learner = load_learner(run_dir, plugins=plugins)
    if not isinstance(learner, HasReplay):
        raise UsageError(f"{run_dir}: {algo} has no replay; source=policy plays its policy")
    found = list(datasets.remembered(learner))
    if not found:
        raise UsageError(f"{run_dir}: its replay holds no whole episode")
    return found


def environment(task: Task, settings: dict[str, Any]) -> EnvSpec | None:
    """Return how to make the task's environment, None where Gymnasium knows none of its name."""
    name = f"bench/{task.name}-v0"
    if name not in gymnasium.registry:
        return None
    return gymnasium.make(name, training=False, **settings).spec
