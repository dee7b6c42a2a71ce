"""Numbers that are not finite, found in the step in which they arise and before they are saved."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import NotFinite

ACTION_BOUND = 1 + 1e-6  # actions lie in [-1, 1], to the rounding of float32
BOUND = 1e18  # of rewards and observations: the square of more is infinite in float32


def check(name: str, values: np.ndarray, bound: float, env_steps: int | None = None) -> None:
    """Check that no number of an array is NaN or beyond a bound.

    Raises:
        NotFinite: naming the quantity, its value and the step.
    """
    size = np.abs(values)
    if not size.max(initial=0.0) <= bound:  # also where it is NaN
        worst = values[~(size <= bound)].flat[0]
        step = "" if env_steps is None else f" at env step {env_steps}"
        raise NotFinite(f"{name} is {worst:g}{step}; valid is up to {bound:g}")


class Scalars:
    """What `update` has returned since the last line of progress, every number of it finite.

    Numbers on the CPU are checked at once. Those on another device stay there, and are fetched and
    checked together, before anything is logged or saved.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[int, float]]] = {}  # by name: (env steps, value)
        self.waiting: list[tuple[str, int, Tensor]] = []

    def add(self, scalars: Mapping[str, Tensor | float], env_steps: int) -> None:
        """Take in what one update returned.

        Raises:
            NotFinite: naming the quantity and the step.
        """
        for name, value in scalars.items():
            if isinstance(value, Tensor) and value.device.type != "cpu":
                self.waiting.append((name, env_steps, value.detach()))
            else:
                self.keep(name, env_steps, float(value))

    def keep(self, name: str, env_steps: int, value: float) -> None:
        """Take in one number."""
        if not math.isfinite(value):
            raise NotFinite(f"{name} is {value} at env step {env_steps}")
        self.values.setdefault(name, []).append((env_steps, value))

    def fetch(self) -> None:
        """Wait for the device, once, and check what came from there.

        Raises:
            NotFinite: naming the first quantity and its step.
        """
        if self.waiting:
            numbers = torch.stack([value.float() for _, _, value in self.waiting]).tolist()
            for (name, env_steps, _), value in zip(self.waiting, numbers, strict=True):
                self.keep(name, env_steps, value)
            self.waiting.clear()

    def means(self) -> dict[str, float]:
        """Return every quantity's mean, and begin anew."""
        self.fetch()
        means = {name: float(torch.tensor([value for _, value in values]).mean())
                 for name, values in self.values.items()}  # fmt: skip
        self.values.clear()
        return means


def non_finite(state: Any, where: str = "") -> str | None:
    """Return the name of a tensor with NaN or infinity in it, or None.

    One sum per tensor, all of a device's compared at once: a checkpoint costs one synchronisation.
    """
    found = [(name, tensor) for name, tensor in tensors(state, where) if tensor.numel()]
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, tensor in found:
        by_device.setdefault(tensor.device, []).append((name, tensor))
    for several in by_device.values():
        sums = torch.stack([tensor.detach().float().sum() for _, tensor in several])
        if bool(torch.isfinite(sums).all()):
            continue
        for name, tensor in several:  # a sum may overflow where every number is finite
            if not bool(torch.isfinite(tensor).all()):
                return name
    return None


def tensors(state: Any, where: str) -> Iterator[tuple[str, Tensor]]:
    """Yield every floating tensor of nested containers with its name."""
    if isinstance(state, Tensor):
        if state.is_floating_point():
            yield where, state
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from tensors(value, f"{where}.{key}" if where else str(key))
    elif isinstance(state, list | tuple):
        for i, value in enumerate(state):
            yield from tensors(value, f"{where}.{i}")


def parameters(state: Any) -> Any:
    """Return the parts of a state that are a module's or an optimiser's, by what torch calls them.

    A state may well hold NaN elsewhere, where it marks what is not known yet.
    """
    if isinstance(state, OrderedDict) or (
        isinstance(state, dict) and state.keys() == {"state", "param_groups"}
    ):
        return state
    if isinstance(state, dict):
        return {key: parameters(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [parameters(value) for value in state]
    return None
