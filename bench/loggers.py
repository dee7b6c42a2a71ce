"""Optional mirrors of the local records: TensorBoard and Weights & Biases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.configuration import as_dict
from bench.errors import UsageError
from bench.settings import Settings


class Loggers:
    """Passes scalars on to the loggers that were asked for; by default there are none.

    A run that is continued goes on in the same TensorBoard folder and as the same W&B run, offline
    too; what it logs again, because it went back to a checkpoint, replaces what stood there.

    Args:
        settings: of the run, which are sent as its configuration.
        path: of its records.
        start: when it began, which tells it from another one at the same place.
        env_steps: from which on it is logged.
    """

    def __init__(self, settings: Settings, path: Path, start: str, env_steps: int = 0) -> None:
        self.tensorboard: Any = None
        self.wandb: Any = None
        if "tensorboard" in settings.logger:
            writer = load("torch.utils.tensorboard").SummaryWriter
            self.tensorboard = writer(str(path / "tb"), purge_step=env_steps + 1)
            if not env_steps:
                text = yaml.safe_dump(as_dict(settings), sort_keys=False)
                self.tensorboard.add_text("config", f"```yaml\n{text}```")
        if "wandb" in settings.logger:
            name = "/".join(path.parts[-3:])
            known = hashlib.sha256(f"{settings.experiment}/{name} {start}".encode())
            self.wandb = load("wandb").init(
                project="multimodal-rl-bench", group=settings.experiment, dir=str(path), name=name,
                config=as_dict(settings), id=known.hexdigest()[:16], resume="allow",
            )  # fmt: skip
            self.wandb.define_metric("*", step_metric="env_steps")

    def log(self, scalars: Mapping[str, Any], env_steps: int) -> None:
        """Pass on the numbers among `scalars`."""
        numbers = {k: v for k, v in scalars.items() if isinstance(v, int | float)}
        if self.tensorboard:
            for key, value in numbers.items():
                self.tensorboard.add_scalar(key, value, env_steps)
        if self.wandb:
            self.wandb.log(numbers | {"env_steps": env_steps})  # its own steps never go back

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
