#!/usr/bin/env bash
# Hydra's joblib launcher: a second sweep of one Python process runs where the first one was started.
#
# hydra-core 1.3.8, hydra-joblib-launcher 1.2.0, joblib 1.6.0. Expected: `hydra.runtime.cwd`, and so
# `get_original_cwd()` and `to_absolute_path()`, is where the sweep was launched, and a relative
# `hydra.sweep.dir` lies there, as with the basic launcher. Seen: joblib keeps its worker processes for
# minutes and hands them the next sweep; the launcher composes each run's configuration inside the
# worker, from the worker's own working directory and environment. After `os.chdir` (notebooks, test
# suites, services that run several sweeps) the second sweep reads `to_absolute_path` files of the first
# place and writes its results there, without a word, while multirun.yaml is in the new one. Variables that were set in between (`${oc.env:...}`) are missing, too. Remedy: give what a run
# needs by `hydra.job.env_set` or as an absolute path, or end the workers between two sweeps.
#
# Output seen:
#   hydra-core 1.3.8, hydra-joblib-launcher 1.2.0, joblib 1.6.0
#   basic:  sweep in one: original folder one, results in one, WHERE=one
#   basic:  sweep in other: original folder other, results in other, WHERE=other
#   joblib: sweep in one: original folder one, results in one, WHERE=one
#   joblib: sweep in other: original folder one, results in one, WHERE=one
#   joblib: multirun.yaml in one, other
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hydra-core==1.3.8 hydra-joblib-launcher==1.2.0 joblib==1.6.0
cat > "$folder/probe.py" <<'PROBE'
import os
import sys
from importlib.metadata import version
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_original_cwd

NAMES = ("hydra-core", "hydra-joblib-launcher", "joblib")


@hydra.main(version_base="1.3", config_path=None)
def run(config):
    place = Path(HydraConfig.get().runtime.output_dir).parent.parent
    facts = (Path(get_original_cwd()).name, place.name, os.environ.get("WHERE"))
    Path(os.environ["REPORT"], HydraConfig.get().job.num.__str__()).write_text(" ".join(facts))


def sweep(launcher, name, home):
    """Launch two runs from a folder; return what they saw: original folder, results, variable."""
    (home / launcher / name).mkdir(parents=True)
    os.chdir(home / launcher / name)
    os.environ["WHERE"] = name
    sys.argv = ["probe", "-m", "+x=1,2", f"hydra/launcher={launcher}", "hydra.sweep.dir=multirun",
                "hydra/hydra_logging=none", "hydra/job_logging=none"]
    run()
    seen = {path.read_text() for path in Path(os.environ["REPORT"]).iterdir()}
    assert len(seen) == 1, seen
    return tuple(seen.pop().split())


if __name__ == "__main__":
    print(", ".join(f"{name} {version(name)}" for name in NAMES))
    home = Path(sys.argv[1]).resolve()
    os.environ["REPORT"] = str(home / "report")
    (home / "report").mkdir()
    seen = {}
    for launcher in ("basic", "joblib"):
        for name in ("one", "other"):
            seen[launcher, name] = found = sweep(launcher, name, home)
            print("{:8}sweep in {}: original folder {}, results in {}, WHERE={}".format(
                launcher + ":", name, *found))
    stale = {key for key, found in seen.items() if found != (key[1],) * 3}
    assert stale == {("joblib", "other")}, stale
    assert seen["joblib", "other"] == ("one", "one", "one")
    apart = [path.parent.parent.name for path in (home / "joblib").rglob("multirun.yaml")]
    print("joblib: multirun.yaml in", ", ".join(sorted(apart)))
    assert sorted(apart) == ["one", "other"]
PROBE
"$folder/venv/bin/python" "$folder/probe.py" "$folder"
