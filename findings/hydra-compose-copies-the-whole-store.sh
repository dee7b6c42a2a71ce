#!/usr/bin/env bash
# Hydra: every `compose` copies all that the ConfigStore holds, whatever the configuration uses.
#
# hydra-core 1.3.8, omegaconf 2.3.1. Expected: composing a configuration costs what its own parts
# cost; nodes of other groups that were stored and are never named are not looked at. Seen: the loader
# keeps a cache of its sources as a deep copy of them, and the source of structured configs refers to
# the one ConfigStore, so that all stored nodes are copied once per call of `compose` (and so per run
# of a sweep, as each run is composed anew). A program that stores a node per model, dataset or task,
# as registries do, pays for the whole registry in each run: below, two thousand small nodes that nothing
# names make a call 6.6 times as long. Remedy: store only what this command line can name.
#
# Output seen (times vary):
#   hydra-core 1.3.8, omegaconf 2.3.1
#       0 unused nodes: 0 copies of them in a call, 1.0 x the time
#     100 unused nodes: 100 copies of them in a call, 1.2 x the time
#    2000 unused nodes: 2000 copies of them in a call, 6.6 x the time
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hydra-core==1.3.8 omegaconf==2.3.1
cat > "$folder/probe.py" <<'PROBE'
import copy
import time
from dataclasses import dataclass
from importlib.metadata import version

from hydra import compose, initialize
from hydra.core.config_store import ConfigNode, ConfigStore

COUNTS = (0, 100, 2000)


@dataclass
class Used:
    rate: float = 0.1


@dataclass
class Unused:
    width: int = 64
    depth: int = 2
    rate: float = 0.1


copies = 0
assert not hasattr(ConfigNode, "__deepcopy__")


def counted(self, memo):
    """Copy a stored node as `copy.deepcopy` would, and count those of the unused group."""
    global copies
    copies += self.group == "unused"
    other = object.__new__(ConfigNode)
    memo[id(self)] = other
    other.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return other


def cost():
    """Return the seconds of the fastest of five calls."""
    took = []
    for _ in range(5):
        begin = time.process_time()
        assert compose("used").rate == 0.1
        took.append(time.process_time() - begin)
    return min(took)


print(", ".join(f"{name} {version(name)}" for name in ("hydra-core", "omegaconf")))
store = ConfigStore.instance()
store.store(name="used", node=Used)
seen, first, stored = {}, None, 0
with initialize(version_base="1.3", config_path=None):
    for count in COUNTS:
        for stored in range(stored, count):
            store.store(group="unused", name=f"node{stored}", node=Unused)
        stored = count
        took = cost()
        first = first or took
        ConfigNode.__deepcopy__, copies = counted, 0
        compose("used")
        del ConfigNode.__deepcopy__
        seen[count] = copies
        print(f"{count:5d} unused nodes: {copies} copies of them in a call, {took / first:.1f} x the time")
        last = took / first
raise SystemExit(0 if seen == {n: n for n in COUNTS} and last > 2 else 1)
PROBE
cd "$folder" && venv/bin/python probe.py
