"""Consistency-AC for the multimodal RL benchmark: importing it registers `consistency-ac`."""

from .algorithm import Config, ConsistencyAC

__all__ = ["Config", "ConsistencyAC"]
