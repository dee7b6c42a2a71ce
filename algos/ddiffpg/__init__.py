"""DDiffPG: the agent, its memory of episodes, the modes among them and how they are clustered."""

from .agent import Config, DDiffPG

__all__ = ["Config", "DDiffPG"]
