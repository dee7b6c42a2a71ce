"""Algorithms, one file each; `discover` imports them all."""

from __future__ import annotations

import importlib
import pkgutil

from bench.registry import Registry

registry = Registry("algorithm")
register = registry.register


def discover() -> Registry:
    """Import every module of this folder, so that all algorithms are registered."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return registry
