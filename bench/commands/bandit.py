"""Train algorithms on one-step bandits with four peaks; show what each one keeps.

  python -m bench bandit [algo=all|NAME,...] [case=all|NAME,...] [critic=exact|learned] [out=DIR]
                         [updates=1500] [seed=0,...] [plugins=MODULE,...] [algo.SETTING=VALUE ...]

Cases: equal (four peaks of height 1, a replay of uniform actions), lopsided (the same peaks, a
replay that holds them 85/5/5/5), unequal (heights 1, 0.9, 0.8, 0.7, uniform actions) and imitated
(the peaks of equal, a replay of four narrow clusters, and a policy that has imitated them: all four
modes are there before it learns; what has one mode per state is left out). A mode is
kept if at least 5 % of 2,000 samples lie within 0.3 of its peak. With critic=exact every value that
an actor learns from is the true one, so that the critic plays no part. On-policy algorithms know
their own actions only, one vector step per update: for them the critic plays no part, and the first
replay only where a policy begins as a copy of it.
An algorithm that takes commands has a second row, commanded: every mode that it has discovered is
asked for equally often. Settings are those of `run task=bandit`, and what is given, as in
algo.actor.steps=5. Results found in DIR that are not trained anew stay in table and figure
(default: results/bandit), those of other seeds too, if their updates and critic were the same: the
table has means over seeds, the figure the first of them. So other settings want another DIR.
Several commands may add to one DIR at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from rich.console import Console
from torch import Tensor

import bench.algos
from bench.algos.common.critics import ExactValues
from bench.analysis.style import INK, new_figure
from bench.api import Algorithm, Imitates, Spec
from bench.configuration import expand_algos, names, resolve, understand
from bench.errors import UsageError, described
from bench.registry import load_plugins, unknown
from bench.rollout import Rollout
from bench.settings import Settings, check_writable
from bench.storage import atomic
from bench.tasks import make_task
from bench.tasks.bandit import CASES, NEAR, WIDTH, Case
from bench.tasks.bandit import PEAKS as PLACES
from bench.words import integer, parse, seed_of

PEAKS = torch.from_numpy(PLACES)
KEPT = 0.05  # share of the samples that makes a mode a kept one
IMITATED = 0.1  # and one that a policy has imitated: uniform actions put 0.07 near each peak
NUM_ENVS, FILLED, SAMPLES = 8, 4_000, 2_000
IMITATION = 1_000  # gradient steps in which a policy imitates what the replay begins with
LOCK = ".lock"  # of a folder that several commands add to at once
WIDEST = 8  # columns of the figure
# of bandit.csv, beside others
COLUMNS = ("algo", "case", "in_mode", "kept", "critic", "updates", "seed")
OFTEN, SELDOM = 1, 10  # updates per vector step of the policy's own actions, on-policy and else


def main(words: list[str]) -> int:
    """Train what is asked for; write table, samples and figure."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {"algo": "all", "case": "all", "out": "results/bandit", "updates": "1500"}
    changes = [word for word in words if word.startswith("algo.")]
    words = [word for word in words if word not in changes]
    plain, given = parse(words, defaults | {"seed": "0", "critic": "exact", "plugins": ""})
    if plain:
        raise UsageError(f"bandit takes key=value words, not {plain[0]!r}")
    load_plugins(names(given["plugins"]))
    bench.algos.discover()
    chosen = expand_algos(names(given["algo"]))
    if not chosen:
        raise UsageError("algo=? is missing; `python -m bench list algos` shows all names")
    cases = list(CASES) if given["case"] == "all" else names(given["case"])
    if not cases:
        raise UsageError(f"case=? is missing; valid are all, {', '.join(CASES)}")
    for case in cases:
        if case not in CASES:
            raise UsageError(unknown("case", case, list(CASES)))
    if given["critic"] not in ("exact", "learned"):
        raise UsageError(unknown("critic", given["critic"], ["exact", "learned"]))
    updates = integer("updates", given["updates"])
    seeds = list(dict.fromkeys(map(seed_of, names(given["seed"]) or [""])))
    for algo in chosen:
        settings(algo, changes)  # refused before the first is trained
    pairs = [(algo, case) for algo in chosen for case in cases if begins(algo, case, changes)]
    if not pairs:
        raise UsageError(f"case={given['case']}: no policy of algo={given['algo']} can imitate")
    out = Path(given["out"])
    check_writable(out, "out")
    out.mkdir(parents=True, exist_ok=True)
    stored_table(out), stored_samples(out)  # refused before the first is trained, if not readable
    failed = False
    for (algo, case), seed in product(pairs, seeds):
        try:
            add(algo, case, seed, given["critic"], updates, changes, out)
        except UsageError:
            raise
        except Exception as error:  # an algorithm's own, which is to stop no other
            print(f"algo={algo} case={case} seed={seed}: {described(error)}", file=sys.stderr)
            failed = True
    if stored_table(out) is not None:
        write(out)
        print(f"table: {out / 'bandit.md'}\nfigure: {out / 'bandit.png'}")
    return 1 if failed else 0


def add(
    algo: str, case: str, seed: int, critic: str, updates: int, changes: Sequence[str], out: Path
) -> None:
    """Train on a case; keep and show what is sampled then, on command too if it takes any."""
    start = time.perf_counter()
    trained, rollout = begin(algo, case, seed, critic == "exact", changes)
    first = at_first(trained) if CASES[case].imitated else {}
    learn(algo, trained, rollout, updates)
    facts = {"critic": critic, "updates": updates, "seed": seed,
             "seconds": round(time.perf_counter() - start)}  # fmt: skip
    for commanded in (False, True) if trained.num_modes else (False,):
        action = samples(trained, commanded)
        name = f"{algo} (commanded)" if commanded else algo
        row = {"algo": name, "case": case, **measure(action), **facts}
        row |= first.get(commanded, {})
        keep(out, row, action)
        Console().print(" ".join(f"{key}={value}" for key, value in row.items()))


def settings(algo: str, changes: Sequence[str] = ()) -> Settings:
    """Return the settings of `run task=bandit`, with changes of the algorithm's.

    Raises:
        UsageError: on a change of what is no setting, or to what it cannot be.
    """
    request = understand([f"algo={algo}", "task=bandit", *changes])
    return resolve(request.overrides(algo, "bandit", "0"))


def height(action: Tensor, heights: tuple[float, ...]) -> Tensor:
    """Return the height of the landscape at actions (..., 2), (...), differentiable."""
    square = (action[..., None, :] - PEAKS).square().sum(-1)  # (..., peaks)
    return (torch.tensor(heights) * (-square / (2 * WIDTH**2)).exp()).sum(-1)


def first_actions(case: Case, rng: torch.Generator) -> Tensor:
    """Draw the actions that the replay begins with, (F, 2)."""
    if case.shares is None:
        return 2 * torch.rand(FILLED, 2, generator=rng) - 1
    which = torch.multinomial(torch.tensor(case.shares), FILLED, replacement=True, generator=rng)
    return (PEAKS[which] + case.spread * torch.randn(FILLED, 2, generator=rng)).clamp(-1, 1)


def begins(name: str, case: str, changes: Sequence[str]) -> bool:
    """Say whether a policy can begin with what a case asks for: if not, it has no such row."""
    if not CASES[case].imitated:
        return True
    try:
        if isinstance(built(name, case, 0, changes), Imitates):
            return True
    except UsageError:
        raise
    except Exception:
        return True  # and fails again where that is told
    print(f"{name} is left out of case={case}: its policy cannot imitate")
    return False


def built(name: str, case: str, seed: int, changes: Sequence[str]) -> Algorithm:
    """Return an algorithm that has seen nothing of a case."""
    config = settings(name, changes).algo
    torch.manual_seed(seed)
    spec = Spec.of(make_task("bandit", case=case), NUM_ENVS, seed)
    algo: Algorithm = bench.algos.registry[name].factory(spec, config, "cpu")
    return algo


def train(
    name: str,
    case: str,
    updates: int,
    seed: int = 0,
    exact: bool = True,
    changes: Sequence[str] = (),
) -> Algorithm:
    """Train on a case (see `begin` and `learn`)."""
    algo, rollout = begin(name, case, seed, exact, changes)
    learn(name, algo, rollout, updates)
    return algo


def begin(
    name: str,
    case: str,
    seed: int = 0,
    exact: bool = True,
    changes: Sequence[str] = (),
    imitation: int = IMITATION,
) -> tuple[Algorithm, Rollout]:
    """Fill the replay and, where the case says so, let the policy imitate it.

    Args:
        name: of an algorithm.
        case: of `CASES`.
        seed: of all randomness.
        exact: whether actors are given the true values.
        changes: of the settings, as in "algo.actor.steps=5".
        imitation: gradient steps in which it imitates.

    Returns:
        The algorithm, and the environments that it has acted in.
    """
    first, algo = CASES[case], built(name, case, seed, changes)
    if exact and isinstance(algo, torch.nn.Module):
        for module in algo.modules():
            if isinstance(module, ExactValues):
                module.use_exact_values(lambda action: height(action, first.heights))
    rollout = Rollout(make_task("bandit", case=case).make(NUM_ENVS, seed))
    actions = first_actions(first, torch.Generator().manual_seed(seed))
    for action in actions.split(NUM_ENVS):
        algo.observe(rollout.step(action.numpy()).transition("cpu"))
    if first.imitated:
        assert isinstance(algo, Imitates), name
        algo.imitate(torch.zeros(FILLED, 2), actions, imitation)
    return algo, rollout


def learn(name: str, algo: Algorithm, rollout: Rollout, updates: int) -> None:
    """Let the algorithm of a name learn by so many calls of `update`, acting now and then."""
    on_policy = bench.algos.registry[name].info.get("data") == "on-policy"
    every = OFTEN if on_policy else SELDOM
    for i in range(updates):
        if i % every == 0:
            action = algo.act(torch.as_tensor(rollout.obs), explore=True)
            algo.observe(rollout.step(action.numpy()).transition("cpu"))
        algo.update()


def at_first(algo: Algorithm) -> dict[bool, dict[str, float]]:
    """Return how much of a policy is in a mode, and how many it has imitated, before it learns.

    Of free samples (False) and, where it takes commands by now, of commanded ones (True). Looking
    changes nothing of what follows: the draws are put back.
    """
    found = {}
    for commanded in (False, True) if algo.num_modes else (False,):
        with torch.random.fork_rng(devices=[]):
            first = measure(samples(algo, commanded), IMITATED)
        found[commanded] = {"first_in_mode": first["in_mode"], "first_modes": first["kept"]}
    return found


def samples(algo: Algorithm, commanded: bool = False) -> Tensor:
    """Draw actions as evaluation does, one sample each, or each mode commanded in turn, (S, 2)."""
    mode = torch.arange(SAMPLES) % algo.num_modes if commanded else None
    return algo.act(torch.zeros(SAMPLES, 2), mode=mode)


def measure(action: Tensor, enough: float = KEPT) -> dict[str, float]:
    """Return the share of actions (S, 2) in each mode, in any, and how many modes are kept.

    Those are kept that have a share which is enough.
    """
    distance, nearest = torch.cdist(action, PEAKS).min(dim=1)
    mass = [float(((nearest == k) & (distance < NEAR)).float().mean()) for k in range(len(PEAKS))]
    return {
        **{f"mode_{k}": round(share, 3) for k, share in enumerate(mass)},
        "in_mode": round(sum(mass), 3),
        "kept": sum(share >= enough for share in mass),
    }


def keep(out: Path, row: dict[str, Any], action: Tensor) -> None:
    """Put one result in place of what the folder holds of the same algorithm, case and seed.

    What was trained otherwise, by other updates or critic, is no seed of it and goes, too. Samples
    (S, 2) are kept of the first seed.
    """
    with FileLock(out / LOCK):
        table, old = pd.DataFrame([row]), stored_table(out)
        if old is not None:
            # what is commanded follows its plain row, and an older one belongs to an older policy
            same = old["algo"].isin([row["algo"], f"{row['algo']} (commanded)"])
            same &= old["case"] == row["case"]
            alike = (old["updates"] == row["updates"]) & (old["critic"] == row["critic"])
            table = pd.concat([old[~same | alike & (old["seed"] != row["seed"])], table])
        if "first_modes" in table:  # a number of modes, or none; not 4.0
            table["first_modes"] = table["first_modes"].astype("Int64")
        order = table["case"].map(list(CASES).index)
        table = (
            table.assign(order=order).sort_values(["algo", "order", "seed"]).drop(columns="order")
        )
        with atomic(out / "bandit.csv") as file:
            table.to_csv(file, index=False)
        seeds = table[(table["algo"] == row["algo"]) & (table["case"] == row["case"])]["seed"]
        if row["seed"] > seeds.min():
            return
        stored = stored_samples(out)
        stored[f"{row['algo']}.{row['case']}"] = (127 * action).round().to(torch.int8).numpy()
        with atomic(out / "actions.npz") as file:
            np.savez_compressed(file, **stored)  # type: ignore[arg-type]


def stored_table(out: Path) -> pd.DataFrame | None:
    """Return the rows in a folder; None if it has none.

    Raises:
        UsageError: if they cannot be read.
    """
    path = out / "bandit.csv"
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype={"first_modes": "Int64"})
    except (ValueError, OSError) as error:
        raise UsageError(f"{path}: no table ({error})") from None
    missing = [key for key in COLUMNS if key not in table]
    if missing:
        raise UsageError(f"{path}: no table of this command's, it lacks {', '.join(missing)}")
    return table


def stored_samples(out: Path) -> dict[str, np.ndarray]:
    """Return the samples in a folder, each (S, 2) in 127ths.

    Raises:
        UsageError: if they cannot be read.
    """
    path = out / "actions.npz"
    if not path.exists():
        return {}
    try:
        with np.load(path) as stored:
            return dict(stored)
    except (BadZipFile, EOFError, OSError, ValueError) as error:
        raise UsageError(f"{path}: no samples ({error})") from None


def write(out: Path) -> None:
    """Write the Markdown table and the figure of everything in the folder."""
    with FileLock(out / LOCK):
        table, actions = stored_table(out), stored_samples(out)
    assert table is not None, "written by `keep`"
    head = ["algorithm", "case", "share of each peak", "in a mode", "modes kept", "seeds",
            "updates", "modes at first (in a mode)"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for (algo, case), rows in table.groupby(["algo", "case"], sort=False):
        shares = " / ".join(f"{rows[f'mode_{k}'].mean():.2f}" for k in range(len(PEAKS)))
        first = "–"
        if "first_modes" in rows and rows["first_modes"].notna().all():
            first = f"{over_seeds(rows['first_modes'])} ({rows['first_in_mode'].mean():.2f})"
        cells = [algo, case, shares, f"{rows['in_mode'].mean():.2f}", over_seeds(rows["kept"]),
                 len(rows), rows["updates"].iloc[0], first]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    with atomic(out / "bandit.md") as file:
        file.write(("\n".join(lines) + "\n").encode())
    with atomic(out / "bandit.png") as file:
        figure(table, actions).savefig(file, format="png", dpi=110)


def over_seeds(counts: pd.Series[int]) -> str:
    """Return counts of several seeds as text: their mean, and the least and largest if they differ.

    As in 4, or 3.6 (3–4).
    """
    low, high = counts.min(), counts.max()
    return f"{counts.mean():.1f} ({low}–{high})" if low < high else str(low)


def figure(table: pd.DataFrame, actions: dict[str, np.ndarray]) -> Any:
    """Draw densities of actions: a row per case, a column per algorithm, peaks as rings.

    Beyond `WIDEST` columns they are folded evenly. A place stays empty where there is no result.
    """
    algos, cases = sorted(table["algo"].unique()), [c for c in CASES if c in set(table["case"])]
    bands = -(-len(algos) // WIDEST)
    columns = -(-len(algos) // bands)
    drawn = new_figure(1.35 * columns + 0.4, (1.35 * len(cases) + 0.5) * bands)
    folded = drawn.subfigures(bands, 1, squeeze=False)[:, 0]
    for band, part in enumerate(folded):
        own = algos[band * columns : (band + 1) * columns]
        grid = part.subplots(len(cases), columns, squeeze=False)
        for axes in grid[:, len(own) :].flat:
            axes.set_axis_off()
        for (i, case), (j, algo) in product(enumerate(cases), enumerate(own)):
            axes = grid[i, j]
            axes.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
            if f"{algo}.{case}" in actions:
                x, y = actions[f"{algo}.{case}"].T / 127
                count, *_ = np.histogram2d(x, y, bins=40, range=[[-1, 1], [-1, 1]])
                axes.imshow(count.T**0.5, origin="lower", extent=(-1, 1, -1, 1), cmap="Blues")
                axes.scatter(*PEAKS.T.numpy(), s=60, facecolors="none", edgecolors=INK, lw=0.6)
            else:
                axes.spines[:].set_visible(False)
            if i == 0:
                axes.set_title(algo.replace(" (", "\n("))
            if j == 0:
                axes.set_ylabel(case)
    return drawn
