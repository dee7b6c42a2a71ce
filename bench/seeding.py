"""Streams of randomness of one run; no two ever overlap, also between neighbouring seeds."""

from __future__ import annotations

import numpy as np

TRAINING, EVALUATION, ALGORITHM = range(3)


def derive(seed: int, *key: int) -> int:
    """Return the seed of one stream, below 2^63, from the run's seed and the stream's key."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
