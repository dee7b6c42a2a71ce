"""Draws that last from step to step have the distributions of independent ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

import bench.algos
from bench import testing
from bench.__main__ import main
from bench.correlated import CorrelatedDraws
from bench.evaluation import FREE, Protocol, evaluate
from bench.policy import load_policy, load_task

STEPS, SLOTS = 400, 50
CLASSES = Path("results/reference/campaign/classes")


def drawn(correlation, draw):
    """Return what is drawn at each step for all slots, (STEPS, SLOTS, ...)."""
    torch.manual_seed(0)
    draws = CorrelatedDraws(correlation, SLOTS)
    found = []
    for _ in range(STEPS):
        with draws.step(np.arange(SLOTS)):
            found.append(draw())
    return torch.stack(found)


def lag(numbers):
    """Return the correlation of consecutive steps (T, E)."""
    return float(np.corrcoef(numbers[:-1].flatten(), numbers[1:].flatten())[0, 1])


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_normal_numbers_are_normal_and_correlated_in_time_alone(correlation):
    first, second = drawn(
        correlation, lambda: torch.stack([torch.randn(SLOTS), torch.randn_like(torch.ones(SLOTS))])
    ).unbind(1)
    for numbers in (first, second):
        assert float(numbers.mean()) == pytest.approx(0, abs=0.1)
        assert float(numbers.std()) == pytest.approx(1, abs=0.06)
        assert float((numbers.abs() < 0.6745).float().mean()) == pytest.approx(0.5, abs=0.04)
        assert lag(numbers) == pytest.approx(correlation, abs=0.03)
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.1, "two draws of a step"
    assert abs(lag(first.T)) < 0.1, "two slots"


def test_other_numbers_have_their_distribution_and_last():
    uniform = drawn(0.9, lambda: torch.rand(SLOTS, 2))[..., 1]
    assert float(uniform.min()) >= 0 and float(uniform.max()) < 1
    quantiles = torch.quantile(uniform, torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quantiles, torch.tensor([0.25, 0.5, 0.75]), atol=0.05, rtol=0)
    assert lag(uniform) > 0.85

    whole = drawn(0.9, lambda: torch.randint(4, (SLOTS,)))
    shares = torch.bincount(whole.flatten(), minlength=4) / whole.numel()
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.05, rtol=0)
    assert whole.dtype == torch.int64 and lag(whole) > 0.8

    shifted = drawn(0.9, lambda: torch.normal(torch.full((SLOTS,), 3.0), torch.full((SLOTS,), 2.0)))
    assert float(shifted.mean()) == pytest.approx(3, abs=0.2)
    assert float(shifted.std()) == pytest.approx(2, abs=0.12)
    assert lag(shifted) > 0.85

    weights = torch.tensor([0.2, 0.0, 0.7, 0.1]).expand(SLOTS, 4)
    index = drawn(0.9, lambda: torch.multinomial(weights, 1)[:, 0])
    shares = torch.bincount(index.flatten(), minlength=4) / index.numel()
    torch.testing.assert_close(shares, weights[0], atol=0.05, rtol=0)
    assert shares[1] == 0 and float((index[1:] == index[:-1]).float().mean()) > 0.75


def test_each_slot_goes_on_where_it_was():
    torch.manual_seed(0)
    draws = CorrelatedDraws(1.0, 4)
    with draws.step(np.arange(4)):
        before = torch.randn(4, 3), torch.randn(4)
    with draws.step(np.array([1, 3])):  # the others have ended
        after = torch.randn(2, 3), torch.randn(2)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[[1, 3]], other)
    assert torch.randn(4).shape == (4,), "outside it draws as ever"
    wrong = pytest.raises(ValueError, match=r"numbers \(5, 3\) are drawn for 4 slots")
    with wrong, draws.step(np.arange(4)):
        torch.randn(5, 3)


@pytest.mark.parametrize("correlation", [0.9, 1.0])
def test_the_first_step_draws_as_any(correlation):
    torch.manual_seed(0)
    with CorrelatedDraws(correlation, 4000).step(np.arange(4000)):
        first = torch.randn(4000)
    assert float(first.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.zeros(4).normal_(),
        lambda: torch.zeros(4).exponential_(),
        lambda: torch.bernoulli(torch.full((4,), 0.5)),
        lambda: torch.randperm(4),
        lambda: torch.normal(0.0, 1.0, (4,)),
        lambda: torch.randint(3, size=(4,)),
        lambda: torch.multinomial(torch.ones(4, 3), 2),
        lambda: torch.multinomial(torch.ones(4), 1),
        lambda: torch.randn(()),
    ],
)
def test_what_cannot_be_correlated_is_refused(draw):
    wrong = pytest.raises(ValueError, match=r"correlated|are drawn for")
    with wrong, CorrelatedDraws(0.5, 4).step(np.arange(4)):
        draw()


@pytest.mark.parametrize("name", sorted(bench.algos.discover()))
def test_a_policy_whose_draws_never_change_is_deterministic(name):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    algo = entry.factory(testing.SPEC, entry.config(), "cpu")
    obs = torch.randn(8, testing.SPEC.obs_dim)
    draws = CorrelatedDraws(1.0, 8)
    with torch.no_grad():
        fresh = [algo.act(obs) for _ in range(2)]
        held = []
        for _ in range(2):
            with draws.step(np.arange(8)):
                held.append(algo.act(obs))
    torch.testing.assert_close(*held)
    # What acts by one action (`td3`), or has not learned its noise yet (`dacer`), draws nothing.
    assert name in ("td3", "dacer") or not torch.allclose(*fresh)


def stored(algo):
    """Return a run directory of the campaign."""
    return sorted(CLASSES.glob(f"pointmaze-v1/{algo}/seed=*/policy.pt"))[0].parent


def test_evaluation_draws_each_episode_by_itself_and_repeats():
    run = stored("qsm")
    policy, task = load_policy(run), load_task(run)

    def paths(correlation):
        protocol = Protocol("sampled", np.full(104, FREE), correlation=correlation)
        _, found = evaluate(
            policy.algo, task, protocol, seed=0, env_steps=0, threads=1, device="cpu"
        )
        return [path.tobytes() for path in found]

    lasting = paths(1.0)
    assert lasting == paths(1.0) != paths(0.0)
    assert len(set(lasting)) == 104, "episodes of both waves of 100 draw their own numbers"


def test_eval_takes_a_correlation(capsys):
    many = stored("maxentdp")
    for words, shown in (((), True), (("correlation=0.9",), False)):
        assert main(["eval", str(many), "episodes=2", *words]) == 0
        out = capsys.readouterr().out
        assert ("specified" in out) == shown, "the best of many draws"
        assert ("correlation=0.9" in out) != shown
    for value in ("1.5", "-0.1", "nan", "much"):
        assert main(["eval", str(many), f"correlation={value}"]) == 2
        found = capsys.readouterr().err.strip()
        assert found.endswith(f"correlation={value}: valid are numbers from 0 to 1")
