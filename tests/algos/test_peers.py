"""With a peer library's settings, an algorithm takes the peer's steps."""

from types import SimpleNamespace

import gymnasium
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.logger import Logger
from torch import nn

import bench.algos
from bench.api import Spec
from bench.configuration import resolve, understand

ROWS, STEPS = 64, 6
SPEC = Spec(
    obs_dim=3, act_dim=1, num_envs=1, horizon=200, position_dim=0, max_return=None, seed=0
)  # fmt: skip


def batch(seed):
    rng = torch.Generator().manual_seed(seed)
    obs, after = torch.randn(2, ROWS, SPEC.obs_dim, generator=rng)
    return SimpleNamespace(
        obs=obs,
        after=after,
        action=2 * torch.rand(ROWS, SPEC.act_dim, generator=rng) - 1,
        reward=torch.randn(ROWS, generator=rng),
        terminated=torch.rand(ROWS, generator=rng) < 0.2,
    )


def linear_layers(module):
    return [layer for layer in module if isinstance(layer, nn.Linear)]


@torch.no_grad()
def hand_over(ours, theirs):
    """Give Stable-Baselines3's TD3 the networks of this suite's."""
    for mine, other in ((ours.actor, theirs.actor), (ours.target_actor, theirs.actor_target)):
        for layer, copy in zip(linear_layers(mine), linear_layers(other.mu), strict=True):
            copy.load_state_dict(layer.state_dict())
    for mine, other in ((ours.critic, theirs.critic), (ours.target_critic, theirs.critic_target)):
        for head, network in enumerate(other.q_networks):
            first, *later = linear_layers(network)
            first.weight.copy_(torch.cat([mine.obs_layer.weight[head], mine.act_weight[head]]).T)
            first.bias.copy_(mine.obs_layer.bias[head, 0])
            for layer, copy in zip(mine.layers, later, strict=True):
                copy.weight.copy_(layer.weight[head].T)
                copy.bias.copy_(layer.bias[head, 0])


def test_td3_takes_the_steps_of_stable_baselines3(monkeypatch):
    request = understand(["algo=td3", "task=gym"])  # Pendulum, by the suite's preset
    settings = resolve(request.overrides("td3", "gym", "0")).algo
    settings.smoothing = 0.0  # the only draw of an update
    torch.manual_seed(0)
    ours = bench.algos.registry["td3"].factory(SPEC, settings, "cpu")
    theirs = TD3("MlpPolicy", gymnasium.make("Pendulum-v1"), device="cpu")
    theirs.target_policy_noise = 1e-12  # a std of 0 is refused
    theirs.set_logger(Logger(None, []))
    hand_over(ours, theirs)
    start = ours.actor(batch(0).obs).clone()
    for step in range(STEPS):
        data = batch(step)
        monkeypatch.setattr(ours, "sample", lambda data=data: {
            "norm_obs": data.obs, "norm_bootstrap_obs": data.after, "action": data.action,
            "n_step_reward": data.reward, "discount": settings.gamma * ~data.terminated,
        })  # fmt: skip
        monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, data=data, **__:
            SimpleNamespace(
                observations=data.obs, next_observations=data.after, actions=data.action,
                rewards=data.reward[:, None], dones=data.terminated.float()[:, None],
                discounts=None,
            ))  # fmt: skip
        ours.learn()
        theirs.train(gradient_steps=1, batch_size=ROWS)
    data = batch(STEPS)
    value = ours.critic.values(ours.critic.features(data.obs[None]), data.action[None])[0]
    theirs_value = torch.stack([q[:, 0] for q in theirs.critic(data.obs, data.action)])
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(value, theirs_value, **close)
    torch.testing.assert_close(ours.actor(data.obs).tanh(), theirs.actor(data.obs), **close)
    slow = ours.target_actor(data.obs).tanh()
    torch.testing.assert_close(slow, theirs.actor_target(data.obs), **close)
    assert (ours.actor(batch(0).obs) - start).abs().max() > 1e-3, "the actor has moved"
