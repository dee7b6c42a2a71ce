"""On-policy learning of a Gaussian by the clipped surrogate: what PPO and its relatives share.

Schulman et al. 2017, arXiv 1707.06347; advantages: Schulman et al. 2016, arXiv 1506.02438.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require
from bench.seeding import TRAINING, derive, put_back

from .exploration import ExplorationConfig, RandomExploration
from .learner import Scalars
from .networks import RunningNorm, gradient_step, mlp, require_activation
from .novelty import NovelD, NoveltyConfig, make_bonus

Rows = dict[str, Tensor]


@dataclass
class OnPolicyConfig:
    """Settings of every on-policy algorithm."""

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
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require_activation(self.activation)
        require(self, "[0, 1]", "gamma", "gae_lambda")
        require(self, "(0, inf)", "clip_ratio", "std")
        require(self, "[0, inf)", "lr", "entropy", "value_weight", "clip")
        require(self, "[1, inf)", "rollout", "epochs", "batch", "hidden")

    def check_task(self, spec: Spec) -> None:
        """Check that the bonus goes with a task (see `NoveltyConfig.check_task`)."""
        self.novelty.check_task(spec)


class OnPolicy(nn.Module, ABC):
    """A diagonal Gaussian with one spread for all states, a value function, and their rollouts.

    An algorithm says which network the mean comes from (`make_actor`, `mean`), what that network is
    given beside the observation (`given`), and how it acts in evaluation (`choose`).

    Args:
        spec: of the task.
        config: of the algorithm.
        device: of all tensors.

    Attributes:
        acting: names of the modules that acting needs.
        condition: names of what is `given`.
        optimizers: all of them; a subclass adds its own.
        rows: of the running rollout, one per vector step.
        drawn: what the last actions were, before they were cut to the box, and were `given`.
    """

    num_modes = 0
    acting: tuple[str, ...] = ("actor", "norm")
    condition: tuple[str, ...] = ()

    def __init__(self, spec: Spec, config: Any, device: str | torch.device) -> None:
        super().__init__()
        self.spec, self.config, self.device = spec, config, device
        self.norm = RunningNorm(spec.obs_dim, config.normalize)
        self.novelty = make_bonus(spec, config.novelty, config.exploration.warmup)
        self.exploration = RandomExploration(spec.num_envs, spec.act_dim, config.exploration)
        self.actor = self.make_actor()
        self.value = mlp([spec.obs_dim, *config.hidden, 1], config.activation)
        self.log_std = nn.Parameter(torch.full((spec.act_dim,), config.std).log())
        with torch.no_grad():  # the first policy is centred (Andrychowicz et al. 2021)
            for parameter in list(self.actor.parameters())[-2:]:  # weight and bias of the last
                parameter.mul_(0.01)
        self.to(device)
        learned = [*self.actor.parameters(), *self.value.parameters(), self.log_std]
        self.optimizer = torch.optim.Adam(learned, config.lr, fused=True)
        self.optimizers: list[torch.optim.Optimizer] = [
            self.optimizer,
            *self.novelty.optimizers.values(),
        ]
        self.rows: list[Rows] = []
        self.drawn: Rows | None = None
        self.reward_scale = 1 / (spec.max_return or 1.0)
        self.rng = torch.Generator(device).manual_seed(derive(spec.seed, TRAINING))

    @abstractmethod
    def make_actor(self) -> nn.Module:
        """Return the network that the mean comes from."""

    @abstractmethod
    def mean(self, rows: Rows) -> Tensor:
        """Return the Gaussian's means (B, A) of rows: `norm_obs` (B, O) and what is `given`."""

    def given(self, norm_obs: Tensor, rng: torch.Generator | None = None) -> Rows:
        """Draw what a mean depends on beside observations (B, O), every field (B, ...)."""
        return {}

    @abstractmethod
    def choose(self, obs: Tensor) -> Tensor:
        """Choose evaluation's action for every row."""

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Sample the Gaussian, cut to the box; in evaluation, do as `choose` says."""
        if not explore:
            return self.choose(obs)
        norm_obs = self.norm(obs)
        given = self.given(norm_obs, self.rng)
        action = self.perturb(self.mean({"norm_obs": norm_obs, **given}), self.rng)
        self.drawn = {"action": action, **given}
        return self.exploration.replace(action, self.rng).clamp(-1, 1)

    def perturb(self, mean: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Sample Gaussians of means (B, A), (B, A)."""
        return mean + self.log_std.exp() * torch.randn_like(mean, generator=rng)

    @torch.no_grad()
    def observe(self, step: Transition) -> None:
        """Add a vector step to the rollout, once the warm-up is over."""
        noted = self.novelty.note(step, self.norm) if self.config.novelty.coef else {}
        if self.exploration.warming_up:
            self.norm.observe(step.obs)
            self.novelty.observe(step.position)
        else:
            drawn = self.drawn or {
                "action": step.action,
                **self.given(self.norm(step.obs), self.rng),
            }
            self.rows.append({
                "obs": step.obs,
                "reward": step.reward * self.reward_scale,
                "next_obs": step.next_obs,
                "position": step.position,
                "next_position": step.next_position,
                "going": (~step.terminated).float(),
                "same": (~(step.terminated | step.truncated)).float(),
                "own": ~self.exploration.random,
                **noted,
                **drawn,
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

    def learn(self, rollout: Rows) -> Scalars:
        """Go through a rollout, every field (T, N, ...), `epochs` times."""
        rows = self.own_rows(rollout)
        scalars = self.step_novelty(rollout)
        if len(rows["norm_obs"]):
            for batch in self.minibatches(rows, self.config.epochs, self.config.batch):
                scalars |= self.step(batch)
        return scalars

    @torch.no_grad()
    def own_rows(self, rollout: Rows) -> Rows:
        """Return the rows of a rollout (T, N, ...) whose actions are the policy's own.

        Returns:
            norm_obs (B, O), action (B, A) before it was cut to the box, what was `given`, and
            advantage, return and the action's log-density, (B,).
        """
        config = self.config
        reward = rollout["reward"]
        if self.novelty.coef:
            steps = {key: field.flatten(0, 1) for key, field in rollout.items()}
            all_rows = torch.arange(reward.numel(), device=reward.device)[None]
            counted = torch.ones_like(all_rows, dtype=torch.bool)
            bonus = self.novelty.of_rows(steps, self.norm, all_rows, counted)
            reward = reward + bonus.view_as(reward)
        fields = {
            "norm_obs": self.norm(rollout["obs"]),
            "action": rollout["action"],
            **{name: rollout[name] for name in self.condition},
        }
        value = self.value(fields["norm_obs"]).squeeze(-1)
        after = self.value(self.norm(rollout["next_obs"])).squeeze(-1)
        advantage = advantages(
            reward + config.gamma * rollout["going"] * after - value,
            config.gamma * config.gae_lambda * rollout["same"],
        )
        fields |= {"advantage": advantage, "return": advantage + value}
        own = rollout["own"].flatten().nonzero().squeeze(-1)
        rows = {key: field.flatten(0, 1)[own] for key, field in fields.items()}
        return rows | {"density": self.log_density(rows)}

    def minibatches(self, rows: Rows, epochs: int, size: int) -> Iterator[Rows]:
        """Go through rows (B, ...) in minibatches of a size, shuffled anew for every epoch."""
        count = len(rows["norm_obs"])
        for _ in range(epochs):
            order = torch.randperm(count, device=self.device, generator=self.rng)
            for index in order.split(size):
                yield {key: field[index] for key, field in rows.items()}

    def step_novelty(self, rollout: Rows) -> Scalars:
        """Take one gradient step of the novelty model per vector step of the rollout."""
        config = self.config.novelty
        if not isinstance(self.novelty, NovelD) or self.novelty.coef == 0:
            return {}
        obs, position = (rollout[key].flatten(0, 1) for key in ("next_obs", "next_position"))
        for _ in range(self.config.rollout):
            index = torch.randint(len(obs), (config.batch,), device=obs.device, generator=self.rng)
            loss = self.novelty.learn(self.norm(obs[index]), position[index])
        return {"novelty_loss": loss}

    def log_density(self, rows: Rows) -> Tensor:
        """Return log-densities (B,) of the rows' actions before they were cut to the box."""
        error = (rows["action"] - self.mean(rows)) / self.log_std.exp()
        return (-0.5 * error.square() - self.log_std - 0.9189385332046727).sum(-1)

    def step(self, rows: Rows) -> Scalars:
        """Take one step on the clipped surrogate, the value's squared error and the entropy."""
        config = self.config
        advantage = rows["advantage"]
        advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        ratio = (self.log_density(rows) - rows["density"]).exp()
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
        """Return the states of what acting needs, and the Gaussian's spread."""
        states = {name: self.get_submodule(name).state_dict() for name in self.acting}
        return {**states, "log_std": self.log_std.detach()}

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        for name in self.acting:
            self.get_submodule(name).load_state_dict(state[name])
        self.log_std.data.copy_(state["log_std"])

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks: optimisers and the rollout."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "rng": self.rng.get_state(),
            "rows": [dict(row) for row in self.rows],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        put_back(self.rng, state["rng"], self.spec.seed)
        self.rows = [
            {key: field.to(self.device) for key, field in row.items()} for row in state["rows"]
        ]


def advantages(error: Tensor, decay: Tensor) -> Tensor:
    """Return A_t = error_t + decay_t A_(t+1), all (T, N); decay is 0 where an episode ended."""
    advantage = torch.zeros_like(error)
    running = torch.zeros_like(error[0])
    for t in range(len(error) - 1, -1, -1):
        running = error[t] + decay[t] * running
        advantage[t] = running
    return advantage
