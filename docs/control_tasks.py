"""Run algorithms on Pendulum-v1 or Hopper-v5, a sanity check, beside Stable-Baselines3's.

  python -m docs.control_tasks [id=Pendulum-v1] [algos=sac,td3] [seeds=5]

Stable-Baselines3's SAC and TD3 run with their defaults, this suite's under `preset=suite`, which
has the same settings for the `gym` task. Both are judged by fresh episodes acted as in training (a
sample of SAC's Gaussian, TD3's mean): 50 of Pendulum after 20,000 steps, 20 of Hopper after
100,000. Writes results/reference/pendulum/ (Pendulum) or hopper/: the suite's runs, and
stable-baselines3.csv with one row per seed. Prints mean and 95 % t-interval.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import torch
from scipy import stats

import bench
from bench.__main__ import main as run
from bench.words import integer, parse
from docs.studies import start

FOLDER = Path("results/reference")
# id: folder, env steps, between evaluations, episodes of one
TASKS = {
    "Pendulum-v1": ("pendulum", 20_000, 2_500, 50),
    "Hopper-v5": ("hopper", 100_000, 10_000, 20),
}
THEIRS, FIRST_SEED = ("sac", "td3"), 20


def train_theirs(task: str, name: str, seed: int, steps: int, episodes: int) -> float:
    """Return the mean return of one of Stable-Baselines3's algorithms after training."""
    import stable_baselines3
    from stable_baselines3.common.evaluation import evaluate_policy

    noise = None
    if name == "td3":  # as this suite's: its default has no exploration noise at all
        from stable_baselines3.common.noise import NormalActionNoise

        size = gymnasium.make(task).action_space.shape
        noise = NormalActionNoise(np.zeros(size), 0.1 * np.ones(size))
    env = gymnasium.make(task)
    kind = getattr(stable_baselines3, name.upper())
    model = kind("MlpPolicy", env, seed=seed, action_noise=noise, device="cpu")
    model.learn(steps)
    fresh = gymnasium.make(task)
    fresh.reset(seed=10_000 + seed)
    mean, _ = evaluate_policy(model, fresh, episodes, deterministic=name == "td3", warn=False)
    return float(mean)


def interval(values: np.ndarray) -> str:
    """Return the mean with its 95 % t-interval."""
    if len(values) == 1:
        return f"{values[0]:.1f} (1 seed)"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.1f} [{values.mean() - half:.1f}, {values.mean() + half:.1f}]"


def main(words: list[str]) -> int:
    """Run both sides, write the record and print the table."""
    _, values = parse(words, {"seeds": "5", "id": "Pendulum-v1", "algos": ",".join(THEIRS)})
    seeds = range(FIRST_SEED, FIRST_SEED + integer("seeds", values["seeds"]))
    task, names = values["id"], values["algos"].split(",")
    if task not in TASKS:
        raise SystemExit(f"id={task}: valid are {', '.join(TASKS)}")
    folder, steps, every, episodes = TASKS[task]
    torch.set_num_threads(1)
    status = run([
        "run", f"algo={','.join(names)}", "task=gym", f"task.id={task}", f"env_steps={steps}",
        f"seed={','.join(map(str, seeds))}", f"eval.episodes={episodes}", f"eval.every={every}",
        f"results={FOLDER}", f"experiment={folder}", "hydra.launcher.n_jobs=1",
    ])  # fmt: skip
    if status:
        return status
    table = FOLDER / folder / "stable-baselines3.csv"
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    compared = [name for name in names if name in THEIRS]
    for name in compared:
        for seed in seeds:
            if not any(r["algo"] == name and r["seed"] == seed for r in rows):
                score = train_theirs(task, name, seed, steps, episodes)
                rows.append({"algo": name, "seed": seed, "env_steps": steps, "return": score})
                pd.DataFrame(rows).to_csv(table, index=False)
    ours = bench.load_results(str(FOLDER / folder))
    ours = ours[(ours.env_steps == ours.env_steps.max()) & (ours.protocol == "sampled")]
    for name in names:
        print(f"{name}: this suite {interval(ours[ours.algo == name]['return'].to_numpy())}")
        if name in compared:
            theirs = np.array([r["return"] for r in rows if r["algo"] == name])
            print(f"{name}: Stable-Baselines3 {interval(theirs)}")
    return 0


if __name__ == "__main__":
    start(main)
