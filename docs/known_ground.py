"""Compare algorithms with Stable-Baselines3's at the same settings, on Pendulum-v1.

  pip install stable-baselines3
  python -m docs.known_ground [seeds=5] [steps=20000]

Runs Stable-Baselines3's SAC and TD3 with their defaults, and this suite's under `preset=suite`,
which has the same settings for the `gym` task. Both are judged by 50 fresh episodes acted as in
training (a sample of SAC's Gaussian, TD3's mean). Writes results/reference/known-ground/: the
suite's runs, and stable-baselines3.csv with one row per seed. Prints mean and 95 % t-interval.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import torch
from scipy import stats

import bench
from bench.__main__ import main as run
from bench.words import parse, whole

FOLDER = Path("results/reference/known-ground")
TASK, EPISODES, FIRST_SEED = "Pendulum-v1", 50, 20


def train_theirs(name: str, seed: int, steps: int) -> float:
    """Return the mean return of one of Stable-Baselines3's algorithms after training."""
    import stable_baselines3
    from stable_baselines3.common.evaluation import evaluate_policy

    noise = None
    if name == "td3":  # as this suite's: its default has no exploration noise at all
        from stable_baselines3.common.noise import NormalActionNoise

        noise = NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))
    env = gymnasium.make(TASK)
    kind = getattr(stable_baselines3, name.upper())
    model = kind("MlpPolicy", env, seed=seed, action_noise=noise, device="cpu")
    model.learn(steps)
    fresh = gymnasium.make(TASK)
    fresh.reset(seed=10_000 + seed)
    mean, _ = evaluate_policy(model, fresh, EPISODES, deterministic=name == "td3", warn=False)
    return float(mean)


def interval(values: np.ndarray) -> str:
    """Return the mean with its 95 % t-interval."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.1f} [{values.mean() - half:.1f}, {values.mean() + half:.1f}]"


def main(words: list[str]) -> int:
    """Run both sides, write the record and print the table."""
    _, values = parse(words, {"seeds": "5", "steps": "20000", "algos": "sac,td3"})
    seeds = range(FIRST_SEED, FIRST_SEED + whole("seeds", values["seeds"], 2))
    steps, names = whole("steps", values["steps"]), values["algos"].split(",")
    torch.set_num_threads(1)
    status = run([
        "run", f"algo={','.join(names)}", "task=gym", f"task.id={TASK}", f"env_steps={steps}",
        f"seed={','.join(map(str, seeds))}", f"eval.episodes={EPISODES}",
        f"results={FOLDER.parent}", f"experiment={FOLDER.name}", "hydra.launcher.n_jobs=1",
    ])  # fmt: skip
    if status:
        return status
    table = FOLDER / "stable-baselines3.csv"
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    for name in names:
        for seed in seeds:
            if not any(r["algo"] == name and r["seed"] == seed for r in rows):
                score = train_theirs(name, seed, steps)
                rows.append({"algo": name, "seed": seed, "env_steps": steps, "return": score})
                pd.DataFrame(rows).to_csv(table, index=False)
    theirs = pd.DataFrame(rows)
    ours = bench.load_results(str(FOLDER))
    ours = ours[(ours.env_steps == ours.env_steps.max()) & (ours.protocol == "sampled")]
    for name in names:
        mine = ours[ours.algo == name]["return"].to_numpy()
        reference = theirs[theirs.algo == name]["return"].to_numpy()
        print(f"{name}: this suite {interval(mine)}, Stable-Baselines3 {interval(reference)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
