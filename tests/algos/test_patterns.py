"""What each policy class and its update make of the four peaks of the bandit."""

from typing import NamedTuple

import pytest

import bench.algos
from bench.commands import bandit

bench.algos.discover()


class Pattern(NamedTuple):
    """What is asked of a policy, given the true values: wide enough for another seed."""

    algo: str
    case: str
    updates: int
    kept: tuple[int, int]  # fewest and most modes
    in_mode: float = 0.0  # least share of the samples in any
    balance: float = 0.0  # least share of the rarest mode, as a share of the commonest one's
    highest: bool = False  # whether no mode is commoner than that of the highest peak


PATTERNS = (
    # gradients of Q through the chain, and weights that multiply: one mode
    Pattern("dacer", "equal", 500, (1, 1), 0.9),
    Pattern("dsac-d", "equal", 500, (1, 1), 0.9),
    Pattern("dpmd", "equal", 500, (1, 1), 0.9),
    Pattern("fpmd", "equal", 500, (1, 1), 0.9),
    # a gate that learns who wins: one or two modes of equal peaks, the highest of unequal ones
    Pattern("pmoe", "equal", 1000, (1, 2), 0.8),
    Pattern("pmoe", "unequal", 1000, (1, 2), 0.8, highest=True),
    Pattern("categorical", "equal", 1000, (2, 4), 0.9),
    Pattern("categorical", "unequal", 1000, (1, 3), 0.9, highest=True),
    # latents that are paid for, or that start apart
    Pattern("rpg", "equal", 1000, (3, 4), 0.5),
    Pattern("latent-sac", "equal", 1000, (3, 4), 0.9),
    Pattern("latent-sac", "unequal", 1000, (1, 3), 0.9, highest=True),
    # a mean flow to the Boltzmann policy
    Pattern("mfpo", "equal", 1000, (3, 4), 0.4),
    # the basins of Q, whatever the replay holds and however high the peaks are
    Pattern("qsm", "lopsided", 1000, (4, 4), 0.9, balance=0.5),
    Pattern("qsm", "unequal", 1000, (4, 4), 0.9, balance=0.5),
)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", PATTERNS, ids=lambda wanted: f"{wanted.algo}-{wanted.case}")
def test_the_bandits_pattern(wanted):
    found = bandit.measure(bandit.samples(bandit.train(wanted.algo, wanted.case, wanted.updates)))
    mass = [found[f"mode_{k}"] for k in range(4)]
    fewest, most = wanted.kept
    assert fewest <= found["kept"] <= most, found
    assert found["in_mode"] >= wanted.in_mode, found
    assert min(mass) >= wanted.balance * max(mass), found
    assert not wanted.highest or mass[0] == max(mass), found
