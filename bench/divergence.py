"""What is said of simulations that diverge: one line for people, and no log of MuJoCo's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def silence_mujoco() -> None:
    """Keep MuJoCo from printing and from writing a log where it runs; what diverges is counted."""
    import mujoco

    mujoco.set_mju_user_warning(lambda text: None)


def tell(diverged: Iterable[bool]) -> None:
    """Say in one line how many of some episodes ended because their simulation diverged, if any."""
    each = list(diverged)
    tell_count(sum(each), len(each))


def tell_count(count: int, of: int, kind: str = "episodes") -> None:
    """Say the same of counted episodes."""
    if count:
        print(f"warning: {text(count, of, kind)}", file=sys.stderr)


def text(count: int, of: int, kind: str = "episodes") -> str:
    """Return what is said of episodes whose simulation diverged."""
    return (
        f"the simulation of {count:,} of {of:,} {kind} diverged; they end where it last was sound, "
        "and count as failures"
    )
