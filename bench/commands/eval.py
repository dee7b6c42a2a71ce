"""Play fresh episodes of a trained policy.

  python -m bench eval RUN_DIR [episodes=100] [mode=K] [seed=0] [correlation=0]
                               [plugins=[MODULE,...]]

Without mode, the policy acts by itself and, if it takes commands, follows each of its modes; where
its source acts otherwise in evaluation than by one plain sample, it also acts so (`specified`).
With correlation=0.9 the numbers that it draws at a step are correlated with those of the step
before (not for `specified`); they are independent in training and in all that runs record.
A policy of a plugin needs it named: none is imported unasked. Nothing is written.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.configuration import names
from bench.divergence import silence_mujoco, tell
from bench.errors import UsageError
from bench.evaluation import FREE, Protocol, commanded, evaluate, protocols
from bench.policy import load_policy, load_task
from bench.printing import show
from bench.settings import cores
from bench.storage import tell_unchecked
from bench.words import fraction, integer, one_run, parse, seed_of

UNTOUCHED = 2**40  # counts as env steps, so that its seeds are those of no run's evaluation


def main(words: list[str]) -> int:
    """Print success and modes by protocol and command."""
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    plain, values = parse(words, {"episodes": "100", "mode": "", "seed": "0", "correlation": "0",
                                  "plugins": ""})  # fmt: skip
    folder = one_run("eval", plain)
    episodes = integer("episodes", values["episodes"])
    correlation = fraction("correlation", values["correlation"])
    plugins = names(values["plugins"])
    policy = load_policy(folder, plugins=plugins)
    task = load_task(folder, plugins)
    tell_unchecked(Path(folder))
    if values["mode"]:
        mode = integer("mode", values["mode"], 0)
        if mode >= policy.num_modes:
            raise UsageError(f"mode={mode}: this policy has {policy.num_modes} modes, from 0")
        asked = [commanded([mode], episodes)]
    else:
        asked = list(protocols(task, policy.algo, episodes, specified=not correlation))
    silence_mujoco()
    shown = Table(
        "protocol", "command", "episodes", "success", "return", "modes",
        title=escape(folder + (f", correlation={correlation:g}" if correlation else "")),
    )  # fmt: skip
    seed = seed_of(values["seed"])
    played = []
    for protocol in asked:
        protocol = replace(protocol, correlation=correlation)
        rows, _ = evaluate(policy.algo, task, protocol, seed=seed, env_steps=UNTOUCHED,
                           threads=cores(), device="cpu")  # fmt: skip
        for line in lines_of(protocol, rows):
            shown.add_row(*map(escape, line))
        played += rows
    show(shown)
    tell(row["diverged"] for row in played)
    return 0


def lines_of(protocol: Protocol, rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return a line of the table per command of a protocol, from its episodes."""
    lines = []
    for command in sorted({row["commanded"] for row in rows}):
        own = [row for row in rows if row["commanded"] == command]
        modes = Counter(row["mode_name"] for row in own if row["success"])
        lines.append([
            protocol.name, "" if command == FREE else str(command), str(len(own)),
            f"{sum(bool(row['success']) for row in own) / len(own):.0%}",
            f"{sum(row['return'] for row in own) / len(own):.2f}",
            json.dumps(dict(modes.most_common())).strip("{}").replace('"', ""),
        ])  # fmt: skip
    return lines
