"""A claim's verdict follows from its numbers alone, and every claim has records behind it."""

import numpy as np
import pytest

from docs.claims import CLAIMS, verdict


@pytest.mark.parametrize("values, bound, most, said", [
    ([2.0, 2.0, 2.0], 2.0, False, "confirmed"),
    ([1.0, 1.0, 1.0], 2.0, False, "refuted here"),
    ([1.0, 2.0, 3.0], 1.5, False, "not settled"),
    ([1.0, 1.0, 1.0], 1.5, True, "confirmed"),
    ([2.0, 1.9, 2.0], 1.5, True, "refuted here"),
    ([1.0, 1.5, 2.0], 1.5, True, "not settled"),
    ([4.0], 2.0, False, "no verdict: one run"),
])  # fmt: skip
def test_a_verdict_needs_the_whole_interval_on_one_side(values, bound, most, said):
    assert verdict(np.array(values), bound, most)[1] == said


def test_every_claim_is_measured_or_says_why_it_is_not():
    for claim in CLAIMS:
        if isinstance(claim.values, str):
            assert claim.values and not claim.experiment
        else:
            assert claim.experiment and len(claim.values()) >= 1
