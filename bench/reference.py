"""The suite's own records, which lie among a user's where its repository is worked in."""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"


def reference_below(results: Path) -> Path | None:
    """Return the folder of the suite's own records where it lies below a folder, else None."""
    own = results.resolve()
    if own == REFERENCE or not REFERENCE.is_relative_to(own) or not REFERENCE.is_dir():
        return None
    return results / REFERENCE.relative_to(own)


def left_out(apart: Path) -> str:
    """Return in one line that a folder of records is left out, and how it is looked at."""
    count = sum(1 for _ in apart.rglob("run.json"))
    return f"left out: {apart} (the suite's own {count} runs); results={apart} shows them"
