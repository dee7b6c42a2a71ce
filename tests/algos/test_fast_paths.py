"""What is written for speed gives what the plain way gives."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import bench.algos
from bench import testing
from bench.algos.common import networks
from bench.algos.common.ascent import climb
from bench.algos.common.critics import CriticConfig, TwinCritic
from bench.algos.common.diffusion import DiffusionConfig, DiffusionPolicy
from bench.algos.common.networks import ACTIVATIONS, compute_in, gradient_step
from bench.algos.common.novelty import NovelD, NoveltyConfig
from bench.algos.common.replay import take
from bench.algos.ddiffpg.rows import farther

bench.algos.discover()
CRITICS = [{"activation": name, "kind": kind} for name in ACTIVATIONS for kind in ("c51", "scalar")]
REPLAYS = sorted(n for n, e in bench.algos.registry.items() if e.info["data"] == "off-policy")


def plain_outputs(critic, group, head, rows):
    """Return what one head makes of rows (B, O + A), (B, n): a network of linear layers."""
    place = 2 * group + head
    weight = torch.cat([critic.obs_layer.weight[place], critic.act_weight[place]])
    hidden = rows @ weight + critic.obs_layer.bias[place]
    for layer in critic.layers:
        hidden = ACTIVATIONS[critic.config.activation]()(hidden)
        hidden = hidden @ layer.weight[place] + layer.bias[place]
    return hidden


def plain(critic, obs, action):
    """Return outputs (G, 2, B, n) and values (G, 2, B) of states and actions."""
    rows = torch.cat([obs, action], -1)
    outputs = torch.stack([
        torch.stack([plain_outputs(critic, g, head, rows[g]) for head in (0, 1)])
        for g in range(len(rows))
    ])  # fmt: skip
    if critic.config.kind == "scalar":
        return outputs, outputs[..., 0]
    return outputs, outputs.softmax(-1) @ critic.support


def critic_of(config, groups=3):
    torch.manual_seed(0)
    critic = TwinCritic(groups, 4, 2, CriticConfig(hidden=(16, 8), **config))
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(4)  # heads that differ, and steep
    return critic


@pytest.mark.parametrize("rows", [40, 12])  # all at once, and in parts of which the last is less
@pytest.mark.parametrize("config", CRITICS)
def test_the_ascents_gradient_is_that_of_autograd(config, rows, monkeypatch):
    monkeypatch.setattr(networks, "CACHED", rows * 6 * 16)  # two heads of three groups, 16 wide
    critic = critic_of(config, groups=5)  # two more than are used
    obs, action = torch.randn(3, 40, 4), (2 * torch.rand(3, 40, 2) - 1).requires_grad_()
    lower = plain(critic, obs, action)[1].min(dim=1).values
    (slope,) = torch.autograd.grad(lower.sum(), action)
    value, grad = critic.slope(critic.features(obs))(action.detach())
    torch.testing.assert_close(value, lower.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grad, slope, rtol=1e-3, atol=1e-5)
    assert not grad.requires_grad and slope.abs().max() > 0.01


@pytest.mark.parametrize("config", CRITICS)
def test_the_first_heads_value_alone_is_the_first_of_all(config):
    critic = critic_of(config)
    obs, action = torch.randn(3, 7, 4), (2 * torch.rand(3, 7, 2) - 1).requires_grad_()
    both = critic.values(critic.features(obs), action)[0, 0]
    alone = critic.first_value(obs[0], action[0])
    torch.testing.assert_close(alone, both)
    slopes = [torch.autograd.grad(value.sum(), action)[0] for value in (alone, both)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("config", CRITICS)
def test_values_and_losses_are_those_of_plain_heads(config):
    critic = critic_of(config)
    obs, action = torch.randn(3, 6, 4), 2 * torch.rand(3, 6 * 5, 2) - 1
    found = critic.values(critic.features(obs), action)
    outputs, value = plain(critic, obs.repeat_interleave(5, 1), action)
    torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)
    rows, first = obs.repeat_interleave(5, 1), torch.rand(3, 30)
    target = first if config["kind"] == "scalar" else torch.rand(3, 30, 51).softmax(-1)
    if config["kind"] == "scalar":
        loss = sum(F.mse_loss(value[:, k], target, reduction="none").mean(-1) for k in (0, 1))
    else:
        logs = outputs.log_softmax(-1)
        loss = sum(-(target * logs[:, k]).sum(-1).mean(-1) for k in (0, 1))
    torch.testing.assert_close(critic.loss(rows, action, target), loss, rtol=1e-4, atol=1e-4)
    wanted = torch.autograd.grad(loss.sum(), list(critic.parameters()))
    grads = torch.autograd.grad(critic.loss(rows, action, target).sum(), list(critic.parameters()))
    for grad, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-3, atol=1e-4)


def test_the_target_is_the_projection_of_the_lower_heads_distribution():
    critic = critic_of({"v_max": 2.0})
    obs, action = torch.randn(3, 9, 4), 2 * torch.rand(3, 9, 2) - 1
    reward, discount = 2.5 * torch.rand(3, 9), 0.9 * (torch.rand(3, 9) < 0.7)
    found = critic.target(obs, action, reward, discount)
    outputs, value = plain(critic, obs, action)
    width = 2.0 / 50
    for g in range(3):
        for b in range(9):
            chosen = outputs[g, value[g, :, b].argmin(), b].softmax(-1)
            expected = torch.zeros(51)
            for atom, mass in zip(critic.support, chosen, strict=True):
                place = float((reward[g, b] + discount[g, b] * atom).clamp(0, 2.0)) / width
                low = min(int(place), 49)
                expected[low] += mass * (1 - (place - low))
                expected[low + 1] += mass * (place - low)
            torch.testing.assert_close(found[g, b], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("predict", ["x0", "eps"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_sample_is_the_denoising_chain_of_the_network_that_learns(predict, activation):
    torch.manual_seed(0)
    config = DiffusionConfig(predict=predict, hidden=(16, 8, 8), activation=activation)
    policy, condition = DiffusionPolicy(2, 4, config), torch.randn(20, 4)
    rng = torch.Generator().manual_seed(3)
    noisy = torch.randn(20, 2, generator=rng)
    for t in range(config.steps - 1, -1, -1):
        output = policy.predict(noisy, torch.full((20,), t), condition)
        if predict == "eps":
            output = (noisy - policy.noise[t] * output) / policy.signal[t]
        noisy = policy.keep_x0[t] * output.clamp(-1, 1) + policy.keep_xt[t] * noisy
        if t:
            noisy = noisy + policy.spread[t] * torch.randn(20, 2, generator=rng)
    found = policy.sample(condition, rng.manual_seed(3))
    torch.testing.assert_close(found, noisy, rtol=1e-4, atol=1e-5)
    grads = [
        torch.autograd.grad(action.square().sum(), list(policy.parameters()))
        for action in (found, noisy)
    ]
    for grad, other in zip(*grads, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-3, atol=1e-5)


def test_a_sample_in_parts_draws_each_part_in_turn(monkeypatch):
    torch.manual_seed(0)
    policy, condition = DiffusionPolicy(2, 4, DiffusionConfig(hidden=(8,))), torch.randn(7, 4)
    rng = torch.Generator().manual_seed(3)
    each = torch.cat([policy.sample(condition[:4], rng), policy.sample(condition[4:], rng)])
    monkeypatch.setattr(networks, "CACHED", 4 * 8)
    torch.testing.assert_close(policy.sample(condition, rng.manual_seed(3)), each)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_novelty_is_the_distance_of_the_two_networks(hidden, monkeypatch):
    torch.manual_seed(0)
    novelty = NovelD(4, 2, NoveltyConfig(hidden=hidden))
    obs, position = torch.randn(3, 7, 4), 9 * torch.rand(3, 7, 2)
    encoded = novelty.encode(obs, position)
    apart = (novelty.predictor(encoded) - novelty.target(encoded)).norm(dim=-1).detach()
    assert apart.min() > 0.1
    for cached in (networks.CACHED, 64 * 5):
        monkeypatch.setattr(networks, "CACHED", cached)
        torch.testing.assert_close(novelty.novelty(obs, position), apart, rtol=1e-4, atol=1e-5)


def test_climbing_is_adam_in_the_box():
    top, action = torch.tensor([[0.5, -2.0], [-0.3, 0.1]]), torch.zeros(2, 2)

    def slope(action):
        return -(action - top).square().sum(-1), 2 * (top - action)

    one = nn.Parameter(action.clone())
    optimizer = torch.optim.Adam([one], 0.1, eps=1e-5, maximize=True)
    for _ in range(12):
        one.grad = slope(one.detach())[1]
        optimizer.step()
        one.data.clamp_(-1, 1)
    found, reached = climb(slope, action, 12, 0.1)
    torch.testing.assert_close(found, one.detach())
    assert reached.shape == (2,) and found[0, 1] == -1 and not action.any()


def test_a_gradient_step_is_adams_however_the_gradient_lies_in_memory():
    """A slice of a joined weight's gradient is strided, which torch's fused Adam overlooks."""
    torch.manual_seed(0)
    halves = [nn.Parameter(torch.randn(5, 3)) for _ in range(2)]
    copies = [nn.Parameter(half.detach().clone()) for half in halves]
    rows = torch.randn(4, 6)
    fused = torch.optim.Adam(halves, 0.1, fused=True)
    other = torch.optim.Adam(copies, 0.1, fused=False, foreach=False)
    for _ in range(3):
        gradient_step(fused, (rows @ torch.cat(halves, dim=1).T).square().sum())
        other.zero_grad()
        (rows @ torch.cat(copies, dim=1).T).square().sum().backward()
        other.step()
    for half, copy in zip(halves, copies, strict=True):
        torch.testing.assert_close(half, copy)


def test_taken_rows_are_indexed_ones():
    field, rows = torch.randn(9, 2, 3), torch.randint(9, (4, 5))
    assert torch.equal(take(field, rows), field[rows])
    assert torch.equal(take(field[:, 0, 0], rows), field[:, 0, 0][rows])


def test_outside_a_tube_is_farther_than_its_radius():
    torch.manual_seed(0)
    points, places = 4 * torch.rand(3, 200, 2) + 50, 4 * torch.rand(3, 12, 2) + 50
    apart = torch.cdist(points, places).amin(-1)
    found = farther(points, places, 0.7)
    clear = (apart - 0.7).abs() > 1e-4
    assert torch.equal(found[clear], (apart > 0.7)[clear]) and 0.1 < found.float().mean() < 0.9


@pytest.mark.parametrize("name", REPLAYS)
def test_in_the_warm_up_the_policy_is_not_asked(name, monkeypatch):
    config = bench.algos.registry[name].config(batch=16)
    config.exploration.warmup = 2 * testing.SPEC.num_envs
    algo = bench.algos.registry[name].factory(replace(testing.SPEC, horizon=50), config, "cpu")
    asked, choose = [], algo.choose
    monkeypatch.setattr(algo, "choose", lambda *args: asked.append(1) or choose(*args))
    testing.feed(algo, 2, seed=1)
    assert not asked
    testing.feed(algo, 1, seed=1)
    assert asked


def test_the_bonus_of_later_steps_is_what_it_was_when_their_own_step_was_drawn():
    entry = bench.algos.registry["sac"]
    algo = entry.factory(replace(testing.SPEC, horizon=9), entry.config(n_step=4), "cpu")
    testing.feed(algo, 12, seed=1)
    replay, rows = algo.replay, algo.replay.draw(64, algo.rng)
    fields = replay.fields
    fields["novelty"].copy_(algo.novelty.novelty(algo.norm(fields["next_obs"]),
                                                 fields["next_position"]))  # fmt: skip
    ahead, counted = replay.ahead(rows, 4)
    states, places = (torch.cat([fields[key][ahead[:1]], fields[f"next_{key}"][ahead]])
                      for key in ("obs", "position"))  # fmt: skip
    assert not counted.all() and counted[1:].any()
    algo.novelty.config.normalize = False
    fresh = algo.novelty.bonus(algo.norm(states), places, counted)
    torch.testing.assert_close(algo.step_bonus(ahead, counted), fresh)
    fields["novelty"].fill_(7)
    stale = algo.step_bonus(ahead, counted)
    torch.testing.assert_close(stale[0], fresh[0])
    alone = ~torch.isin(ahead[1:], ahead[0]) & counted[1:]
    later = torch.full_like(stale[2:], algo.novelty.coef * (7 - algo.novelty.config.alpha * 7))
    both = alone[1:] & alone[:-1]
    assert both.any() and torch.allclose(stale[2:][both], later[both])
    assert (fields["novelty"][rows] < 7).all(), "what is drawn is stored"


@pytest.mark.parametrize("config", [*CRITICS, {"kind": "c51", "activation": "elu"}])
def test_critics_in_bfloat16_are_near_those_in_float32(config):
    critic = critic_of(config, groups=5)
    obs, action = torch.randn(3, 40, 4), 2 * torch.rand(3, 40, 2) - 1
    target = critic.target(obs, action, torch.rand(3, 40), torch.rand(3, 40)).detach()

    def found():
        loss = critic.loss(obs, action, target)
        grads = torch.autograd.grad(loss.sum(), list(critic.parameters()))
        slope = critic.slope(critic.features(obs))(action)
        return loss, critic.values(critic.features(obs), action), *slope, *grads

    exact = found()
    compute_in("bf16", "cpu", critic)
    assert all(layer.dtype is torch.bfloat16 for layer in critic.layers)
    assert critic.obs_layer.dtype is torch.float32, "the first layer keeps its digits"
    for near, true in zip(found(), exact, strict=True):
        assert near.dtype is torch.float32
        assert 0 < (near - true).abs().median() < 0.02 * true.abs().mean()


def test_actors_in_bfloat16_are_near_those_in_float32():
    torch.manual_seed(0)
    actor = DiffusionPolicy(2, 4, DiffusionConfig())
    condition, action = torch.randn(64, 4), 2 * torch.rand(64, 2) - 1

    def found():
        torch.manual_seed(1)
        loss = actor.loss(action, condition)
        grads = torch.autograd.grad(loss.mean(), [actor.trunk[0].weight, actor.trunk[2].weight])
        return loss, actor.sample(condition), *grads

    with_grad = found()
    compute_in("bf16", "cpu", actor)
    for near, true in zip(found(), with_grad, strict=True):
        assert near.dtype is torch.float32
        assert 0 < (near - true).norm() < 0.05 * true.norm()


def test_mish_without_a_gradient_is_mish():
    hidden = torch.cat([torch.linspace(-30, 30, 601), torch.tensor([-1e4, -90.0, 90.0, 1e4])])
    torch.testing.assert_close(networks.fast_mish(hidden), F.mish(hidden), rtol=1e-5, atol=2e-6)


def test_bfloat16_is_chosen_where_a_device_multiplies_it(monkeypatch):
    critic = critic_of({"kind": "c51"})
    for found, dtype in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        compute_in("auto", "cpu", critic)
        assert {layer.dtype for layer in critic.layers} == {dtype}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    compute_in("auto", "cuda:1", critic)
    assert {layer.dtype for layer in critic.layers} == {torch.bfloat16}


@pytest.mark.parametrize("name", REPLAYS)
def test_every_learner_learns_in_bfloat16(name):
    entry = bench.algos.registry[name]
    algo = entry.factory(testing.SPEC, entry.config(precision="bf16", batch=32), "cpu")
    testing.feed(algo, 40, seed=0)
    low = [layer for layer in algo.modules() if getattr(layer, "dtype", None) is torch.bfloat16]
    assert low and all(one.dtype is torch.float32 for one in algo.parameters())
    action = algo.act(torch.randn(3, testing.SPEC.obs_dim))
    assert action.dtype is torch.float32 and action.isfinite().all()
