#!/usr/bin/env bash
# rliable's confidence intervals do not heed the random state that they are given.
#
# rliable 1.2.0 with arch 7.2.0, NumPy 2.4.6 and pandas 2.3.3 (not 3: see the finding beside).
# Expected from the documentation of
# `StratifiedBootstrap` and `get_interval_estimates` ("If specified, ensures reproducibility"):
# the same `random_state`, the same interval. Seen: runs are resampled from NumPy's global
# generator. Two calls with equal states differ, and another global seed gives another interval;
# with the global seed set, other states change nothing. arch's own bootstrap, which both are made
# from, does heed the same argument. Where: intervals of a paper made again, or a report whose
# figures are compared byte by byte. Remedy: numpy.random.seed before every call.
#
# Output seen:
#   rliable 1.2.0, arch 7.2.0, numpy 2.4.6
#   equal random_state, one call after the other, equal intervals: False
#   equal global seed, other random_state, equal intervals: True
#   arch alone, equal random_state, equal intervals: True
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rliable==1.2.0 arch==7.2.0 numpy==2.4.6 pandas==2.3.3
cat > "$folder/probe.py" <<'PROBE'
from importlib.metadata import version

import numpy as np
from arch.bootstrap import IIDBootstrap
from numpy.random import RandomState
from rliable.library import get_interval_estimates

print(", ".join(f"{name} {version(name)}" for name in ("rliable", "arch", "numpy")))
scores = {"one": np.linspace(0, 1, 40).reshape(10, 4) ** 2}  # ten runs of four tasks


def mean(values):
    return np.array([np.mean(values)])


def interval(state):
    return get_interval_estimates(scores, mean, reps=200, random_state=RandomState(state))[1]["one"]


def seeded(seed, state):
    np.random.seed(seed)
    return interval(state)


def alone(state):
    bootstrap = IIDBootstrap(scores["one"], random_state=RandomState(state))
    return bootstrap.conf_int(mean, reps=200, method="percentile")


np.random.seed(0)
repeats = np.array_equal(interval(1), interval(1))
print("equal random_state, one call after the other, equal intervals:", repeats)
unheeded = np.array_equal(seeded(0, 1), seeded(0, 2))
print("equal global seed, other random_state, equal intervals:", unheeded)
arch = np.array_equal(alone(1), alone(1)) and not np.array_equal(alone(1), alone(2))
print("arch alone, equal random_state, equal intervals:", arch)
raise SystemExit(0 if not repeats and unheeded and arch else 1)
PROBE
"$folder/venv/bin/python" "$folder/probe.py"
