"""PPO: proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347).

A diagonal Gaussian with one standard deviation for all states, learned on-policy with generalised
advantages (Schulman et al. 2016, arXiv 1506.02438). Differences from the paper:
 1. A time limit bootstraps from the value of the true last observation; only a termination has
    none.
 2. The novelty bonus and random exploration that the comparison gives to all. Nothing is
    learned during the warm-up; rows acted at random are left out of the loss.
 3. Observations are standardised, by statistics that move only between rollouts.
 4. Actor and value function are separate networks; there is no clipping of the value function.
 5. `act` samples in evaluation too, as for every stochastic policy of the comparison; the mean, by
    which PPO is commonly evaluated, is the protocol `specified`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.seeding import TRAINING, derive

from . import register
from .common.exploration import ExplorationConfig, RandomExploration
from .common.learner import Scalars, require_counts
from .common.networks import RunningNorm, gradient_step, mlp, require_activation
from .common.novelty import NovelD, NoveltyConfig


@dataclass
class Config:
    """Settings of PPO."""

    gamma: float = 0.99
    rollout: int = 32  # vector steps between updates
    epochs: int = 10  # over the rollout
    batch: int = 512  # rows of a minibatch
    gae_lambda: float = 0.95  # of the generalised advantage
    clip_ratio: float = 0.2  # the policy's probabilities may move by this share
    normalize: bool = True  # observations, by running mean and variance
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    lr: float = 1e-3
    std: float = 0.6  # of the Gaussian, at first
    entropy: float = 0.0  # weight of the entropy
    value_weight: float = 0.5
    clip: float = 1.0  # bound on gradient norms; 0: none
    deterministic: bool = False  # whether evaluation acts by the mean instead of a sample
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require_activation(self.activation)
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"gae_lambda={self.gae_lambda}: valid are numbers in [0, 1]")
        if self.std <= 0:
            raise ValueError(f"std={self.std}: valid are numbers above 0")
        require_counts(self, "rollout", "epochs", "batch")


@register(
    "ppo",
    config=Config,
    renamed={"trace": "gae_lambda", "ratio": "clip_ratio"},
    policy="Gaussian",
    data="on-policy",
    commanded="no",
    source="Schulman et al. 2017, arXiv 1707.06347",
)
class PPO(nn.Module):
    """Proximal policy optimisation: one Gaussian per state, learned on-policy."""

    num_modes = 0

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__()
        self.config = config
        self.norm = RunningNorm(spec.obs_dim, config.normalize)
        warmup = config.exploration.warmup
        self.novelty = NovelD(spec.obs_dim, spec.position_dim, config.novelty, warmup)
        self.exploration = RandomExploration(spec.num_envs, spec.act_dim, config.exploration)
        self.actor = mlp([spec.obs_dim, *config.hidden, spec.act_dim], config.activation)
        self.value = mlp([spec.obs_dim, *config.hidden, 1], config.activation)
        self.log_std = nn.Parameter(torch.full((spec.act_dim,), config.std).log())
        with torch.no_grad():  # the first policy is centred (Andrychowicz et al. 2021)
            for parameter in list(self.actor.parameters())[-2:]:  # weight and bias of the last
                parameter.mul_(0.01)
        self.to(device)
        learned = [*self.actor.parameters(), *self.value.parameters(), self.log_std]
        self.optimizer = torch.optim.Adam(learned, config.lr, fused=True)
        self.rows: list[dict[str, Tensor]] = []  # of the running rollout, one per vector step
        self.drawn: Tensor | None = None  # the last actions before they were cut to the box
        self.reward_scale = 1 / (spec.max_return or 1.0)
        self.rng = torch.Generator(device).manual_seed(derive(spec.seed, TRAINING))

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Sample the Gaussian, cut to the box, or take its mean if so configured."""
        action, rng = self.actor(self.norm(obs)), self.rng if explore else None
        if explore or not self.config.deterministic:
            action = action + self.log_std.exp() * torch.randn_like(action, generator=rng)
        if explore:
            self.drawn = action
            action = self.exploration.replace(action, rng)
        return action.clamp(-1, 1)

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Return the mean, cut to the box."""
        return self.actor(self.norm(obs)).clamp(-1, 1)

    @torch.no_grad()
    def observe(self, step: Transition) -> None:
        """Add a vector step to the rollout, once the warm-up is over."""
        if self.exploration.warming_up:
            self.norm.observe(step.obs)
            self.novelty.observe(step.position)
        else:
            self.rows.append({
                "obs": step.obs,
                "action": step.action if self.drawn is None else self.drawn,
                "reward": step.reward * self.reward_scale,
                "next_obs": step.next_obs,
                "position": step.position,
                "next_position": step.next_position,
                "going": (~step.terminated).float(),
                "same": (~(step.terminated | step.truncated)).float(),
                "own": ~self.exploration.random,
            })  # fmt: skip
        self.drawn = None
        self.exploration.observe(step.terminated | step.truncated, self.rng)

    def update(self) -> Scalars:
        """Learn when the rollout is full."""
        if len(self.rows) < self.config.rollout:
            return {}
        rollout = {key: torch.stack([row[key] for row in self.rows]) for key in self.rows[0]}
        self.rows = []
        scalars = self.learn(rollout)
        self.norm.observe(rollout["obs"].flatten(0, 1))
        self.novelty.observe(rollout["position"].flatten(0, 1))
        return scalars

    def learn(self, rollout: dict[str, Tensor]) -> Scalars:
        """Go through a rollout, every field (T, N, ...), `epochs` times."""
        config = self.config
        with torch.no_grad():
            reward = (
                rollout["reward"]
                + self.novelty.bonus(
                    self.norm(torch.stack([rollout["obs"], rollout["next_obs"]])),
                    torch.stack([rollout["position"], rollout["next_position"]]),
                )[0]
            )
            value = self.value(self.norm(rollout["obs"])).squeeze(-1)
            after = self.value(self.norm(rollout["next_obs"])).squeeze(-1)
            advantage = advantages(
                reward + config.gamma * rollout["going"] * after - value,
                config.gamma * config.gae_lambda * rollout["same"],
            )
            own = rollout["own"].flatten().nonzero().squeeze(-1)
            rows = {
                "norm_obs": self.norm(rollout["obs"]).flatten(0, 1)[own],
                "action": rollout["action"].flatten(0, 1)[own],
                "advantage": advantage.flatten()[own],
                "return": (advantage + value).flatten()[own],
            }
            rows["density"] = self.log_density(rows["norm_obs"], rows["action"])
        scalars = self.step_novelty(rollout)
        for _ in range(config.epochs if len(own) else 0):
            for index in torch.randperm(len(own), device=own.device, generator=self.rng).split(
                config.batch
            ):
                scalars |= self.step({key: field[index] for key, field in rows.items()})
        return scalars

    def step_novelty(self, rollout: dict[str, Tensor]) -> Scalars:
        """Take one gradient step of the novelty model per vector step of the rollout."""
        config = self.config.novelty
        if self.novelty.coef == 0:
            return {}
        obs, position = (rollout[key].flatten(0, 1) for key in ("next_obs", "next_position"))
        for _ in range(self.config.rollout):
            index = torch.randint(len(obs), (config.batch,), device=obs.device, generator=self.rng)
            loss = self.novelty.learn(self.norm(obs[index]), position[index])
        return {"novelty_loss": loss}

    def log_density(self, norm_obs: Tensor, action: Tensor) -> Tensor:
        """Return log-densities (B,) of actions before they were cut to the box."""
        error = (action - self.actor(norm_obs)) / self.log_std.exp()
        return (-0.5 * error.square() - self.log_std - 0.9189385332046727).sum(-1)

    def step(self, rows: dict[str, Tensor]) -> Scalars:
        """Take one step on the clipped surrogate, the value's squared error and the entropy."""
        config = self.config
        advantage = rows["advantage"]
        advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        ratio = (self.log_density(rows["norm_obs"], rows["action"]) - rows["density"]).exp()
        near = ratio.clamp(1 - config.clip_ratio, 1 + config.clip_ratio)
        actor_loss = -torch.min(ratio * advantage, near * advantage).mean()
        value_loss = (self.value(rows["norm_obs"]).squeeze(-1) - rows["return"]).square().mean()
        entropy = (self.log_std + 1.4189385332046727).sum()
        loss = actor_loss + config.value_weight * value_loss - config.entropy * entropy
        gradient_step(self.optimizer, loss, config.clip)
        return {
            "actor_loss": actor_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "value": rows["return"].mean(),
        }

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the actor, its spread and the normalisation."""
        return {
            "actor": self.actor.state_dict(),
            "log_std": self.log_std.detach(),
            "norm": self.norm.state_dict(),
        }

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        self.actor.load_state_dict(state["actor"])
        self.log_std.data.copy_(state["log_std"])
        self.norm.load_state_dict(state["norm"])

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks: optimisers and the rollout."""
        return {
            "optimizers": [o.state_dict() for o in (self.optimizer, self.novelty.optimizer)],
            "rng": self.rng.get_state(),
            "rows": [dict(row) for row in self.rows],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        for optimizer, saved in zip(
            (self.optimizer, self.novelty.optimizer), state["optimizers"], strict=True
        ):
            optimizer.load_state_dict(saved)
        self.rng.set_state(state["rng"].cpu())
        device = self.log_std.device
        self.rows = [{key: field.to(device) for key, field in row.items()} for row in state["rows"]]


def advantages(error: Tensor, decay: Tensor) -> Tensor:
    """Return A_t = error_t + decay_t A_(t+1), all (T, N); decay is 0 where an episode ended."""
    advantage = torch.zeros_like(error)
    running = torch.zeros_like(error[0])
    for t in range(len(error) - 1, -1, -1):
        running = error[t] + decay[t] * running
        advantage[t] = running
    return advantage
