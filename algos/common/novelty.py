"""Bonuses for entering the unknown: NovelD, and counts of visits."""

from __future__ import annotations

from bench.api import Spec

from .bonus import Bonus, NoveltyConfig
from .counts import EpisodicCounts
from .noveld import NovelD

__all__ = ["Bonus", "EpisodicCounts", "NovelD", "NoveltyConfig", "make_bonus"]


def make_bonus(spec: Spec, config: NoveltyConfig, warmup: int) -> Bonus:
    """Return the bonus that a config asks for.

    Args:
        spec: of the task.
        config: of the bonus.
        warmup: env steps before learning begins, during which nothing is annealed.

    Raises:
        ValueError: if visits are to be counted of a task without a position.
    """
    config.check_task(spec)
    if config.kind == "counts":
        return EpisodicCounts(spec.num_envs, config, warmup)
    return NovelD(spec.obs_dim, spec.position_dim, config, warmup)
