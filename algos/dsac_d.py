"""DSAC-D: distributional soft actor-critic, diffusion policy (Liu et al. 2025, arXiv 2507.01381).

DACER's policy, with a critic that is a diffusion model too: it draws returns by denoising noise,
given state and action, so that a distribution of returns may have several peaks. No code of the
authors is public and only the abstract was at hand; what is filled in here:
 1. The critic's target is one drawn return: n-step reward + gamma^n z', z' of the target network
    at the next action; it learns by the denoising loss on it. Returns lie in [`v_min`, `v_max`], as
    a C51 critic's, and a target beyond is cut off.
 2. Twin critics: Q is the mean of `samples` drawn returns, the lower of two heads, and z' is of the
    head with the lower mean, by another sample than those that chose it: the first of few samples,
    given that their mean was the lower one, would be too low.
 3. Presets let the clean return be predicted, in ten steps (`critic.predict`): an untrained
    network then draws next to the same value always, as other critics do, and not noise that would
    be bootstrapped. The noise, predicted, parts peaks of returns more cleanly.
 4. A diffusion policy's -log pi(a'|s') is not known: where `temperature` is above 0, the entropy
    that tunes the noise, a mean over some states, stands for it in the target, and z' is
    temperature times as much larger. It is 0 unless a preset says otherwise, as for the other
    maximum-entropy methods of the comparison, whose support begins at 0.
 5. The policy climbs Q through both chains, that of the action and that of the return; it and the
    noise that answers to an entropy are `dacer`'s here, with its differences from its source. A
    gradient leads back from beyond either box (`inward`): values that come from denoising are
    noise at first, and took the policy to one corner in all states, for good.
In presets of mazes, arms and ants half of a batch comes from successful episodes (`success_share`):
a denoiser learns rare returns several times as slowly as a categorical critic. The comparison's
n-step returns, novelty bonus and random exploration hold here too. How the source evaluates is not
known; `specified` is that of DACER.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.api import Spec
from bench.ranges import require

from . import dacer, register
from .common.critics import ExactValues
from .common.diffusion import DiffusionConfig, DiffusionPolicy
from .common.offpolicy import Batch


@dataclass
class ReturnConfig(DiffusionConfig):
    """Settings of a critic that draws returns."""

    steps: int = 10
    hidden: tuple[int, ...] = (64, 64)
    predict: str = "eps"  # x0 | eps: what the network outputs
    inward: bool = True
    samples: int = 8  # drawn returns whose mean is the value
    v_min: float = 0.0  # returns, in units of the task's largest one
    v_max: float = 1.2

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        DiffusionPolicy.check(self, "critic")
        require(self, "[1, inf)", "samples")
        require(self, "(-inf, inf)", "v_min", "v_max")
        if not self.v_min < self.v_max:
            raise ValueError(f"v_min={self.v_min}: valid are numbers below v_max")


@dataclass
class Config(dacer.Config):
    """Settings of DSAC-D: those of DACER, and of its critic."""

    actor: DiffusionConfig = field(default_factory=lambda: DiffusionConfig(inward=True))
    critic: ReturnConfig = field(default_factory=ReturnConfig)  # type: ignore[assignment]
    temperature: float = 0.0  # weight of the entropy in returns; 0: none

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[0, inf)", "temperature")
        if self.temperature and self.critic.v_min >= 0:
            raise ValueError(
                f"temperature={self.temperature}: valid only with critic.v_min below 0"
            )


class ReturnCritic(ExactValues, nn.Module):
    """Two heads that draw returns of actions by denoising; used as a `TwinCritic` of one group.

    A head is a diffusion policy whose one "action" is the return, [`v_min`, `v_max`] mapped to
    [-1, 1], and whose condition is a state with an action.

    Attributes:
        rng: of all draws; None for torch's own generator. A copy of the critic has to be given it
            anew, as a generator's state would be copied too.
    """

    rng: torch.Generator | None = None

    def __init__(self, obs_dim: int, act_dim: int, config: ReturnConfig) -> None:
        super().__init__()
        self.config = config
        self.first = DiffusionPolicy(1, obs_dim + act_dim, config)
        self.second = DiffusionPolicy(1, obs_dim + act_dim, config)
        self.middle = (config.v_max + config.v_min) / 2
        self.reach = (config.v_max - config.v_min) / 2

    @property
    def heads(self) -> tuple[DiffusionPolicy, DiffusionPolicy]:
        """Both heads."""
        return self.first, self.second

    def draw(self, obs: Tensor, action: Tensor, count: int) -> Tensor:
        """Draw returns of both heads for states (B, O) and actions (B, A), (2, B, count)."""
        condition = torch.cat([obs, action], dim=-1).repeat_interleave(count, dim=0)
        drawn = torch.stack([head.sample(condition, self.rng) for head in self.heads])
        return self.middle + self.reach * drawn.view(2, -1, count)

    def features(self, obs: Tensor) -> Tensor:
        """Return the states, (1, B, O): no share of a layer is computed ahead."""
        return obs

    def values(self, features: Tensor, action: Tensor) -> Tensor:
        """Return expected returns of both heads, (1, 2, BK).

        Args:
            features: (1, B, O) states.
            action: (1, BK, A), K actions for each state in turn.
        """
        if self.exact is not None:
            return self.exact(action)[:, None].expand(-1, 2, -1)
        count = action.shape[1] // features.shape[1]
        obs = features[0].repeat_interleave(count, dim=0)
        return self.draw(obs, action[0], self.config.samples).mean(-1)[None]

    @torch.no_grad()
    def target(
        self, next_obs: Tensor, next_action: Tensor, reward: Tensor, discount: Tensor
    ) -> Tensor:
        """Draw what `loss` denoises, one return per row; call it on the target network.

        Args:
            next_obs: (1, B, O) the states that are bootstrapped from.
            next_action: (1, B, A).
            reward: (1, B) the n-step reward.
            discount: (1, B) gamma^n, and 0 after a termination.

        Returns:
            (1, B) returns.
        """
        drawn = self.draw(next_obs[0], next_action[0], self.config.samples + 1)
        judged, kept = drawn[..., :-1].mean(-1), drawn[..., -1]
        lower = torch.where(judged[0] <= judged[1], kept[0], kept[1])
        return (reward + discount * lower).clamp(self.config.v_min, self.config.v_max)

    def loss(self, obs: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Return the denoising loss of returns (1, B), mean over rows, summed over heads, (1,)."""
        condition = torch.cat([obs[0], action[0]], dim=-1)
        clean = (target[0, :, None] - self.middle) / self.reach
        losses = [head.loss(clean, condition, self.rng).mean() for head in self.heads]
        return torch.stack(losses).sum()[None]


@register(
    "dsac-d",
    config=Config,
    policy="diffusion, Q-gradient through the chain; returns by diffusion",
    data="off-policy",
    commanded="no",
    source="Liu et al. 2025, arXiv 2507.01381",
)
class DSACD(dacer.DACER):
    """Diffusion policy that climbs the mean of returns which a diffusion model draws."""

    latest_entropy: Tensor

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        for critic in (self.critic, self.target_critic):
            critic.rng = self.rng  # type: ignore[assignment]
        self.register_buffer("latest_entropy", torch.zeros((), device=device))  # of actions

    def make_critic(self) -> ReturnCritic:  # type: ignore[override]  # is used as a TwinCritic
        """Return a twin critic that draws returns."""
        return ReturnCritic(self.spec.obs_dim, self.spec.act_dim, self.config.critic)

    @torch.no_grad()
    def critic_target(self, batch: Batch) -> Tensor:
        """Return n-step reward + gamma^n (z' + temperature H), z' a drawn return."""
        action = self.next_action(batch["norm_bootstrap_obs"])
        entropy = self.config.temperature * self.latest_entropy
        return self.backup(batch, action, batch["n_step_reward"] + batch["discount"] * entropy)

    @torch.no_grad()
    def entropy(self, norm_obs: Tensor) -> Tensor:
        """Estimate the mean entropy () of the noisy actions in states (S, O), and keep it."""
        self.latest_entropy.copy_(super().entropy(norm_obs))
        return self.latest_entropy.clone()
