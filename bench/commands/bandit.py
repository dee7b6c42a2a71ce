"""Train algorithms on one-step bandits with four peaks; show what each one keeps.

  python -m bench bandit [algo=all|NAME,...] [case=all|NAME,...] [critic=exact|learned] [out=DIR]
                         [updates=1500] [seed=0] [algo.SETTING=VALUE ...]

Cases: equal (four peaks of height 1, a replay of uniform actions), lopsided (the same peaks, a
replay that holds them 85/5/5/5) and unequal (heights 1, 0.9, 0.8, 0.7, uniform actions). A mode is
kept if at least 5 % of 2,000 samples lie within 0.3 of its peak. With critic=exact every value that
an actor learns from is the true one, so that the critic plays no part. On-policy algorithms know
their own actions only, one vector step per update: for them critic and first replay play no part.
An algorithm that takes commands has a second row, told: every mode that it has discovered is asked
for equally often. Settings: the suite's, with conf/presets/suite/*/bandit.yaml, and what is given,
as in algo.actor.steps=5. Results found in DIR that are not trained anew stay in table and figure
(default: results/bandit).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from torch import Tensor

import bench.algos
from bench.algos.critics import TwinCritic
from bench.analysis.style import INK, new_figure
from bench.api import Algorithm, Spec, Transition
from bench.configuration import CONF, expand_algos, names, one_line, read, restrict
from bench.errors import UsageError
from bench.registry import Entry, unknown
from bench.words import parse, whole

PEAKS = torch.tensor([[0.6, 0.6], [-0.6, 0.6], [-0.6, -0.6], [0.6, -0.6]])
WIDTH = 0.25  # std of a peak
NEAR = 0.3  # an action this near to a peak is in its mode
KEPT = 0.05  # share of the samples that makes a mode a kept one
METRES = 5.0  # an action moves the agent this far, so that paths to different peaks differ
NUM_ENVS, FILLED, SAMPLES = 8, 4_000, 2_000
EVERY = {"off-policy": 10, "on-policy": 1}  # updates per vector step of the policy's own actions
CASES = {  # heights of the peaks, and their shares of the first replay (none: uniform actions)
    "equal": ((1.0, 1.0, 1.0, 1.0), None),
    "lopsided": ((1.0, 1.0, 1.0, 1.0), (0.85, 0.05, 0.05, 0.05)),
    "unequal": ((1.0, 0.9, 0.8, 0.7), None),
}
SPEC = Spec(
    obs_dim=2, act_dim=2, num_envs=NUM_ENVS, horizon=1, position=slice(0, 2), max_return=1.0, seed=0
)  # fmt: skip


def main(words: list[str]) -> int:
    """Train what is asked for; write table, samples and figure."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {"algo": "all", "case": "all", "out": "results/bandit", "updates": "1500"}
    changes = [word for word in words if word.startswith("algo.")]
    words = [word for word in words if word not in changes]
    plain, given = parse(words, defaults | {"seed": "0", "critic": "exact"})
    if plain:
        raise UsageError(f"bandit takes key=value words, not {plain[0]!r}")
    registry = bench.algos.discover()
    chosen = expand_algos(names(given["algo"]))
    cases = list(CASES) if given["case"] == "all" else names(given["case"])
    for case in cases:
        if case not in CASES:
            raise UsageError(unknown("case", case, list(CASES)))
    if given["critic"] not in ("exact", "learned"):
        raise UsageError(unknown("critic", given["critic"], ["exact", "learned"]))
    exact = given["critic"] == "exact"
    updates, seed = whole("updates", given["updates"]), whole("seed", given["seed"], 0)
    for algo in chosen:
        settings(registry[algo], changes)  # refused before the first is trained
    out = Path(given["out"])
    out.mkdir(parents=True, exist_ok=True)
    for algo in chosen:
        for case in cases:
            start = time.perf_counter()
            trained = train(registry[algo], case, updates, seed, exact, changes)
            facts = {"critic": given["critic"], "updates": updates, "seed": seed,
                     "seconds": round(time.perf_counter() - start)}  # fmt: skip
            for told in (False, True) if trained.num_modes else (False,):
                action = samples(trained, told)
                name = f"{algo} (told)" if told else algo
                row = {"algo": name, "case": case, **measure(action), **facts}
                keep(out, row, action)
                Console().print(" ".join(f"{key}={value}" for key, value in row.items()))
    write(out)
    print(f"table: {out / 'bandit.md'}\nfigure: {out / 'bandit.png'}")
    return 0


def settings(entry: Entry, changes: Sequence[str] = ()) -> Any:
    """Return an algorithm's settings with the suite's for bandits, and changes of them.

    Raises:
        UsageError: on a change of what is no setting, or to what it cannot be.
    """
    config: Any = OmegaConf.structured(entry.config)
    for folder in ("all", entry.name):
        path = CONF / "presets" / "suite" / folder / "bandit.yaml"
        config = OmegaConf.merge(config, restrict(read(path), entry.config))
    try:
        given = OmegaConf.from_dotlist([word.removeprefix("algo.") for word in changes])
        return OmegaConf.to_object(OmegaConf.merge(config, given))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise UsageError(one_line(error, [f"algo={entry.name}", *changes])) from None


def reward(action: Tensor, heights: tuple[float, ...]) -> Tensor:
    """Return the height of the landscape at actions (B, 2), (B,)."""
    square = (action[:, None] - PEAKS).square().sum(-1)  # (B, peaks)
    return (torch.tensor(heights) * (-square / (2 * WIDTH**2)).exp()).sum(-1)


def first_actions(shares: tuple[float, ...] | None, rng: torch.Generator) -> Tensor:
    """Draw the actions that the replay begins with, (F, 2)."""
    if shares is None:
        return 2 * torch.rand(FILLED, 2, generator=rng) - 1
    which = torch.multinomial(torch.tensor(shares), FILLED, replacement=True, generator=rng)
    return (PEAKS[which] + 0.15 * torch.randn(FILLED, 2, generator=rng)).clamp(-1, 1)


def transition(action: Tensor, heights: tuple[float, ...]) -> Transition:
    """Return the one-step episodes of actions (N, 2)."""
    count = len(action)
    always, never = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
    success = torch.cdist(action, PEAKS).min(dim=1).values < NEAR
    return Transition(
        torch.zeros(count, 2), action, reward(action, heights), METRES * action, always, never,
        success,
    )  # fmt: skip


def train(
    entry: Entry,
    case: str,
    updates: int,
    seed: int = 0,
    exact: bool = True,
    changes: Sequence[str] = (),
) -> Algorithm:
    """Train on a case: fill the replay, then learn, acting now and then (`EVERY`).

    Args:
        entry: of an algorithm.
        case: of `CASES`.
        updates: calls of `update`.
        seed: of all randomness.
        exact: whether actors are given the true values.
        changes: of the settings, as in "algo.actor.steps=5".
    """
    heights, shares = CASES[case]
    torch.manual_seed(seed)
    algo: Algorithm = entry.factory(SPEC, settings(entry, changes), "cpu")
    if exact:
        give_values(algo, heights)
    for action in first_actions(shares, torch.Generator().manual_seed(seed)).split(NUM_ENVS):
        algo.observe(transition(action, heights))
    every = EVERY[entry.info.get("data", "off-policy")]
    for i in range(updates):
        if i % every == 0:
            action = algo.act(torch.zeros(NUM_ENVS, 2), explore=True)
            algo.observe(transition(action, heights))
        algo.update()
    return algo


def give_values(algo: Any, heights: tuple[float, ...]) -> None:
    """Let every critic of an algorithm return true values; what they learn is then unused."""

    def values(features: Tensor, action: Tensor) -> Tensor:
        height = reward(action.flatten(0, 1), heights).view(action.shape[:2])
        return height[:, None].expand(-1, 2, -1)  # (G, 2, B): both heads agree

    for module in algo.modules():
        if isinstance(module, TwinCritic):
            module.values = values  # type: ignore[method-assign]


def samples(algo: Algorithm, told: bool = False) -> Tensor:
    """Draw actions as evaluation does, one sample each, or each mode commanded in turn, (S, 2)."""
    mode = torch.arange(SAMPLES) % algo.num_modes if told else None
    return algo.act(torch.zeros(SAMPLES, 2), mode=mode)


def measure(action: Tensor) -> dict[str, float]:
    """Return the share of actions (S, 2) in each mode, in any, and how many modes are kept."""
    distance, nearest = torch.cdist(action, PEAKS).min(dim=1)
    mass = [float(((nearest == k) & (distance < NEAR)).float().mean()) for k in range(len(PEAKS))]
    return {
        **{f"mode_{k}": round(share, 3) for k, share in enumerate(mass)},
        "in_mode": round(sum(mass), 3),
        "kept": sum(share >= KEPT for share in mass),
    }


def keep(out: Path, row: dict[str, Any], action: Tensor) -> None:
    """Put one result in place of what the folder holds of the same algorithm and case."""
    table = pd.DataFrame([row])
    if (out / "bandit.csv").exists():
        old = pd.read_csv(out / "bandit.csv")
        table = pd.concat([
            old[(old["algo"] != row["algo"]) | (old["case"] != row["case"])], table,
        ])  # fmt: skip
    order = table["case"].map(list(CASES).index)
    table.assign(order=order).sort_values(["algo", "order"]).drop(columns="order").to_csv(
        out / "bandit.csv", index=False
    )
    stored = stored_samples(out)
    stored[f"{row['algo']}.{row['case']}"] = (127 * action).round().to(torch.int8).numpy()
    np.savez_compressed(out / "actions.npz", **stored)  # type: ignore[arg-type]


def stored_samples(out: Path) -> dict[str, np.ndarray]:
    """Return the samples in a folder, each (S, 2) in 127ths."""
    if not (out / "actions.npz").exists():
        return {}
    with np.load(out / "actions.npz") as stored:
        return dict(stored)


def write(out: Path) -> None:
    """Write the Markdown table and the figure of everything in the folder."""
    table = pd.read_csv(out / "bandit.csv")
    head = ["algorithm", "case", "share of each peak", "in a mode", "modes kept", "updates"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for _, row in table.iterrows():
        shares = " / ".join(f"{row[f'mode_{k}']:.2f}" for k in range(len(PEAKS)))
        cells = [row["algo"], row["case"], shares, f"{row['in_mode']:.2f}", row["kept"],
                 row["updates"]]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    (out / "bandit.md").write_text("\n".join(lines) + "\n")
    figure(table, stored_samples(out)).savefig(out / "bandit.png", dpi=110)


def figure(table: pd.DataFrame, actions: dict[str, np.ndarray]) -> Any:
    """Draw densities of actions: a row per case, a column per algorithm, peaks as rings."""
    algos, cases = sorted(table["algo"].unique()), [c for c in CASES if c in set(table["case"])]
    drawn = new_figure(1.35 * len(algos) + 0.4, 1.35 * len(cases) + 0.5)
    grid = drawn.subplots(len(cases), len(algos), squeeze=False)
    for (i, case), (j, algo) in product(enumerate(cases), enumerate(algos)):
        axes = grid[i, j]
        axes.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
        if f"{algo}.{case}" in actions:
            x, y = actions[f"{algo}.{case}"].T / 127
            count, *_ = np.histogram2d(x, y, bins=40, range=[[-1, 1], [-1, 1]])
            axes.imshow(count.T**0.5, origin="lower", extent=(-1, 1, -1, 1), cmap="Blues")
        axes.scatter(*PEAKS.T.numpy(), s=60, facecolors="none", edgecolors=INK, lw=0.6)
        if i == 0:
            axes.set_title(algo)
        if j == 0:
            axes.set_ylabel(case)
    return drawn
