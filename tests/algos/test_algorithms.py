"""Every registered algorithm keeps the contract."""

import copy

import pytest
import torch

import bench.algos
from bench.api import Spec, Transition

bench.algos.discover()
SPEC = Spec(obs_dim=4, act_dim=2, num_envs=4, horizon=10, position_dim=2, max_return=10.0,
            seed=0)  # fmt: skip


def build(name, warmup=80, **modes):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    config = entry.config()
    config.exploration.warmup = warmup
    config.batch = 32
    for key, value in modes.items():
        setattr(config.modes, key, value)
    return entry.factory(SPEC, config, "cpu")


def live(algo, steps):
    """Let it act on a line where every fourth episode succeeds; return the last scalars."""
    obs, scalars = torch.zeros(4, 4), {}
    for t in range(steps):
        action = algo.act(obs, explore=True)
        after = obs.clone()
        after[:, :2] += 0.4 * action
        last = torch.full((4,), t % 10 == 9)
        success = last & (torch.arange(4) == t // 10 % 4)
        algo.observe(Transition(obs, action, 10.0 * success, after, success, last & ~success,
                                success, obs[:, :2], after[:, :2]))  # fmt: skip
        scalars = algo.update() or scalars
        obs = torch.where(last[:, None], torch.zeros(4, 4), after)
    return scalars


@pytest.mark.parametrize("name", sorted(bench.algos.registry))
def test_actions_losses_and_isolation(name):
    algo = build(name)
    scalars = live(algo, 60)
    assert scalars and all(torch.isfinite(torch.as_tensor(v)).all() for v in scalars.values())
    for rows in (1, 3):
        action = algo.act(torch.randn(rows, 4))
        assert action.shape == (rows, 2) and action.abs().max() <= 1
    before = copy.deepcopy(algo.state_dict())
    torch.manual_seed(3)
    first = algo.act(torch.ones(5, 4))
    torch.manual_seed(3)
    assert torch.equal(first, algo.act(torch.ones(5, 4)))
    assert same(before, algo.state_dict())


@pytest.mark.parametrize("name", sorted(bench.algos.registry))
def test_a_restored_algorithm_goes_on_identically(name):
    algo = build(name)
    live(algo, 40)
    twin = build(name)
    twin.load_state_dict(copy.deepcopy(algo.state_dict()))
    ends = []
    for one in (algo, twin):
        torch.manual_seed(5)
        live(one, 30)
        ends.append(one.act(torch.ones(6, 4)))
    assert torch.equal(*ends)


def test_commands_reach_the_policy():
    algo = build("ddiffpg")
    live(algo, 60)
    assert algo.num_modes >= 1
    action = algo.act(torch.zeros(3, 4), mode=torch.zeros(3, dtype=torch.int64))
    assert action.shape == (3, 2)


@pytest.mark.parametrize("warmup", [16, 80])  # before an episode has ended, and after
def test_without_discovery_one_mode_holds_every_episode(warmup):
    algo = build("ddiffpg", warmup, discover=False)
    live(algo, 60)
    assert algo.num_modes == 1
    held = algo.modes.weights().sum((0, 1)) > 0
    assert held.nonzero().flatten().tolist() == sorted(algo.modes.slots + algo.modes.failures)


def test_successes_of_other_modes_train_the_q_function_and_not_the_actor():
    algo = build("ddiffpg")
    live(algo, 60)
    algo.modes.labels = torch.arange(len(algo.modes.slots)).numpy() % 2  # two modes by decree
    algo.modes.count = algo.num_modes = 2
    algo.weights = algo.tubes = None
    batch = algo.sample()
    labels = torch.full((algo.episodes.slots,), -1)
    labels[algo.modes.slots] = torch.from_numpy(algo.modes.labels)
    mine = torch.arange(2)[:, None]
    drawn = labels[batch["slot"]]
    assert ((drawn >= 0) & (drawn != mine)).any(1).all()
    kept = algo.without_rivals(batch)
    drawn = labels[kept["slot"]]
    assert ((drawn < 0) | (drawn == mine)).all() and (drawn == mine).any(1).all()
    assert {k: v.shape[v.dim() > 1] for k, v in kept.items()} == dict.fromkeys(kept, 8)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
