#!/usr/bin/env bash
# Writing a Minari dataset as Arrow takes time that grows with the square of the number of episodes.
#
# minari 0.5.4. Expected: `create_dataset_from_buffers(..., data_format="arrow")` takes time in
# proportion to the episodes. Seen: after each episode the storage adds up the sizes of all files that
# were written so far (`get_size`, for the metadata's `dataset_size`), so that the n-th episode costs n
# looks at files: twice the episodes ask for the sizes of four times as many files. 1,000 episodes of
# ten steps took 76 s of a core here, 250 took 7 s; as HDF5 3 s and 1 s. A replay of a million
# transitions, some thousand episodes, takes most of an hour. Where: episodes that are written in one
# call, in which one sum at the end would do. Remedy: data_format="hdf5" (extra `minari[hdf5]`), which
# asks once. Counted below are sizes asked for (of any file), which do not depend on the machine.
#
# Output seen:
#   minari 0.5.4
#   arrow, 20 episodes: 836 file sizes asked for
#   arrow, 40 episodes: 2843 file sizes asked for
#   hdf5, 20 episodes: 24 file sizes asked for
#   hdf5, 40 episodes: 25 file sizes asked for
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet minari==0.5.4 gymnasium==1.4.0 numpy==2.4.6 pyarrow==26.0.1 \
  pillow==13.0.0 h5py==3.16.0 typer==0.29.2
cat > "$folder/probe.py" <<'PROBE'
import os
import pathlib
import sys
import warnings

os.environ["MINARI_DATASETS_PATH"] = sys.argv[1]
warnings.simplefilter("ignore")

import gymnasium  # noqa: E402
import minari  # noqa: E402
import numpy as np  # noqa: E402
from minari.data_collector import EpisodeBuffer  # noqa: E402

print("minari", minari.__version__)
asked = 0


def counted(original):
    def stat(*args, **kwargs):
        global asked
        asked += 1
        return original(*args, **kwargs)

    return stat


def sizes(data_format, episodes):
    """Return how many file sizes are asked for while so many episodes are written."""
    global asked
    box = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
    buffers = [
        EpisodeBuffer(
            observations=np.zeros((11, 3), np.float32), actions=np.zeros((10, 3), np.float32),
            rewards=np.zeros(10), terminations=np.zeros(10, bool), truncations=np.arange(10) == 9,
        )
        for _ in range(episodes)
    ]
    asked = 0
    minari.create_dataset_from_buffers(
        f"probe/{data_format}-{episodes}-v0", buffers, data_format=data_format,
        observation_space=box, action_space=box,
    )
    print(f"{data_format}, {episodes} episodes: {asked} file sizes asked for")
    return asked


pathlib.Path.stat = counted(pathlib.Path.stat)
seen = {(kind, n): sizes(kind, n) for kind in ("arrow", "hdf5") for n in (20, 40)}
quadratic = seen["arrow", 40] > 3 * seen["arrow", 20]
constant = seen["hdf5", 40] < seen["hdf5", 20] + 5
raise SystemExit(0 if quadratic and constant else 1)
PROBE
"$folder/venv/bin/python" "$folder/probe.py" "$folder/data"
