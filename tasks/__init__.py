"""Tasks, one file per family; importing this package registers them with Gymnasium too."""

from __future__ import annotations

import importlib
import pkgutil

from bench.registry import Registry

registry = Registry("task")
register = registry.register


def discover() -> Registry:
    """Import every module of this folder, so that all tasks are registered."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return registry
