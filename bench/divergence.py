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
    if any(each):
        print(
            f"warning: the simulation of {sum(each)} of {len(each)} episodes diverged; they end "
            "where it last was sound, and count as failures",
            file=sys.stderr,
        )
