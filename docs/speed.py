"""Write the tables of docs/speed.md, and the README's, from what `python -m bench speed` recorded.

  python -m docs.speed

Reads results/reference/speed. The precisions of one algorithm, task and size stand in one row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import tables
from bench.errors import UsageError
from bench.words import parse
from docs.marks import write
from docs.studies import start

FOLDER = Path("results/reference/speed")
PAGE, SCRIPT = "docs/speed.md", "docs.speed"
SHOWN = ("ddiffpg", "sac", "td3")  # in the README
FIRST = 3  # parts of an update that are named


def records() -> list[dict[str, Any]]:
    """Return all records, the suite's sizes first.

    Raises:
        UsageError: if there are none.
    """
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    if not found:
        raise UsageError(f"{FOLDER}: no record")
    return sorted(found, key=lambda one: one["settings"]["size"] != "suite")


def updates(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row per algorithm, task and size: time of an update, what it computes, its parts."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    times: dict[tuple[str, str, str], dict[str, float]] = {}
    for record in found:
        how = record["settings"]
        for one in record["updates"]:
            key = one["algo"], how["task"], how["size"]
            times.setdefault(key, {})[one["precision"]] = 1e3 / one["rate"]
            if one["precision"] == "fp32":
                parts = list(one["parts"].items())[:FIRST]
                rows[key] = {
                    "algorithm": one["algo"], "task": how["task"], "size": how["size"],
                    "modes": str(one["modes"]), "rows": f"{one['rows']:,}",
                    "GFLOP": f"{one['flops'] / 1e9:.2f}",
                    "GFLOP/s": f"{one['flops'] * one['rate'] / 1e9:.0f}",
                    "products alone": f"{one['share']:.0%}",
                    "mostly": ", ".join(f"{name} {share:.0%}" for name, share in parts),
                }  # fmt: skip
    for key, row in rows.items():
        fp32, bf16 = times[key]["fp32"], times[key].get("bf16")
        row["ms, fp32"] = f"{fp32:.1f}"
        row["ms, bf16"] = f"{bf16:.1f} ({fp32 / bf16:.2f} ×)" if bf16 else "–"
    columns = ["algorithm", "task", "size", "modes", "rows", "ms, fp32", "ms, bf16", "GFLOP",
               "GFLOP/s", "products alone", "mostly"]  # fmt: skip
    return pd.DataFrame(list(rows.values()), columns=columns)


def actions(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row per algorithm, task and size: what one action takes."""
    rows = {
        (one["algo"], record["settings"]["task"], record["settings"]["size"]): {
            "algorithm": one["algo"], "task": record["settings"]["task"],
            "size": record["settings"]["size"], "network calls": str(one["calls"]),
            "MFLOP": f"{one['flops'] / 1e6:.2f}",
        }
        for record in found for one in record.get("actions", [])
    }  # fmt: skip
    return pd.DataFrame(list(rows.values()))


def environments(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row per task: env steps/s, those of its physics alone, the share."""
    rows = [
        {"task": one["task"], "env steps/s": f"{one['steps_per_s']:,.0f}",
         "bare rollout": f"{one['bare']:,.0f}", "share": f"{one['share']:.0%}"}
        for record in found for one in record["environments"]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def peers(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row per algorithm that Stable-Baselines3 has too: updates/s of both."""
    rows = {
        (one["algo"], one["precision"]): {
            "algorithm": one["algo"], "precision": one["precision"],
            "updates/s": f"{one['ours']:.0f}", "Stable-Baselines3": f"{one['theirs']:.0f}",
            "ratio": f"{one['ratio']:.2f}",
        }
        for record in found for one in record["stable_baselines3"]
    }  # fmt: skip
    return pd.DataFrame(list(rows.values()))


def main(words: list[str]) -> int:
    """Write the tables."""
    parse(words, {})
    found = records()
    write(PAGE, "updates", tables.markdown(updates(found)), SCRIPT)
    write(PAGE, "actions", tables.markdown(actions(found)), SCRIPT)
    write(PAGE, "environments", tables.markdown(environments(found)), SCRIPT)
    write(PAGE, "peers", tables.markdown(peers(found)), SCRIPT)
    short = updates(found).query("algorithm in @SHOWN")
    write("README.md", "speed", tables.markdown(short.drop(columns=["GFLOP", "mostly"])), SCRIPT)
    return 0


if __name__ == "__main__":
    start(main)
