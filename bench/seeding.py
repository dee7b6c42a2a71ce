"""Streams of randomness of one run; no two ever overlap, also between neighbouring seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Generator, Tensor

TRAINING, EVALUATION, ALGORITHM = range(3)


def derive(seed: int, *key: int) -> int:
    """Return the seed of one stream, below 2^63, from the run's seed and the stream's key."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def put_back(rng: Generator, state: Tensor, seed: int) -> None:
    """Give a generator back a state, or a fresh one if it is of another kind of device.

    A GPU's generator keeps a seed and an offset, a CPU's some thousand numbers: a run that
    continues on the other draws on from a stream of its own, which that state names.

    Args:
        rng: changed in place.
        state: what `get_state` of it, or of another device's, returned.
        seed: of the run.
    """
    state = state.cpu()
    if len(state) == len(rng.get_state()):
        rng.set_state(state)
    else:
        rng.manual_seed(derive(seed, TRAINING, *state[:16].tolist()))
