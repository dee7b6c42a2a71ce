"""Optional mirrors of the local records: TensorBoard and Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.settings import Settings


class Loggers:
    """Passes scalars on to the loggers that were asked for; by default there are none."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self.tensorboard: Any = None
        self.wandb: Any = None
        if "tensorboard" in settings.logger:
            self.tensorboard = load("torch.utils.tensorboard").SummaryWriter(str(path / "tb"))
        if "wandb" in settings.logger:
            self.wandb = load("wandb").init(
                project="multimodal-rl-bench", group=settings.experiment, dir=str(path),
                name="/".join(path.parts[-3:]),
            )  # fmt: skip

    def log(self, scalars: Mapping[str, Any], env_steps: int) -> None:
        """Pass on the numbers among `scalars`."""
        numbers = {k: v for k, v in scalars.items() if isinstance(v, int | float)}
        if self.tensorboard:
            for key, value in numbers.items():
                self.tensorboard.add_scalar(key, value, env_steps)
        if self.wandb:
            self.wandb.log(numbers, step=env_steps)

    def close(self) -> None:
        """Finish writing."""
        if self.tensorboard:
            self.tensorboard.close()
        if self.wandb:
            self.wandb.finish()


def load(module: str) -> Any:
    """Import an optional package.

    Raises:
        UsageError: if it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.rpartition(".")[2]
        raise UsageError(f"logger={name}: not installed; pip install {name}") from None
