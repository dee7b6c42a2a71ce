"""MaxEntDP: maximum entropy RL with a diffusion policy (Dong et al. 2025, arXiv 2502.11612).

The denoiser learns what the clean action behind a noisy one would be if the policy were the
Boltzmann policy exp(Q / temperature): an importance-weighted mean over clean actions drawn from
the posterior under a uniform policy. Nothing is imitated, so the replay's shares do not matter.
Differences from the authors' code, settings where they are choices (`preset=paper`):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random play, as the comparison gives them to
    every algorithm.
 2. No entropy in the critic's target: a categorical support holds returns, not entropies (as for
    the other maximum-entropy method of the comparison). The code estimates it by an integral.
 3. A discrete cosine schedule that all diffusion policies here share, instead of a continuous one.
    The clean action is predicted (`actor.predict`); an average of the actor acts (`ema`).
 4. `proposals`: 64 instead of 500.
 5. `act_candidates`: 1 is one plain sample; the code evaluates by the best of 10.
 6. `target=gradient`: the target of DQS (Jain et al. 2024, arXiv 2410.01312), a weighted mean of
    gradients of Q instead of one of actions, with this module's proposals and schedule and the
    clean action it implies kept in the box. Its variance grows with the noise.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition

from . import register
from .critics import CriticConfig, TwinCritic
from .diffusion import DiffusionConfig, DiffusionPolicy
from .exploration import ExplorationConfig
from .networks import descend, track
from .novelty import NoveltyConfig
from .offpolicy import Experience, best_of, regress, restore, values


@dataclass
class Config:
    """Settings of MaxEntDP."""

    gamma: float = 0.99
    n_step: int = 10  # of the critic's target
    batch: int = 512
    updates: int = 1  # per vector step
    replay: int = 1_000_000  # transitions
    normalize: bool = True  # observations, by running mean and variance
    actor: DiffusionConfig = field(default_factory=DiffusionConfig)
    actor_lr: float = 1e-3
    ema: float = 0.005  # rate of the averaged actor that acts; 1: the actor itself
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_lr: float = 1e-3
    tau: float = 0.01  # rate of the slow critics
    clip: float = 1.0  # bound on gradient norms; 0: none
    temperature: float = 0.01  # of the Boltzmann policy, in units of the largest return
    proposals: int = 64  # clean actions weighed per noisy action
    target: str = "noise"  # noise | gradient: a weighted mean of actions, or of gradients of Q
    act_candidates: int = 1  # actions drawn in evaluation, the best of which is kept
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.target not in ("noise", "gradient"):
            raise ValueError(f"target={self.target!r}: valid are noise, gradient")
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature}: valid are numbers above 0")
        for name in ("proposals", "act_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: valid are whole numbers from 1")


@register(
    "maxentdp",
    config=Config,
    policy="diffusion, Boltzmann target",
    data="off-policy",
    commanded="no",
    source="Dong et al. 2025, arXiv 2502.11612",
)
class MaxEntDP(nn.Module):
    """Diffusion policy fitted to the Boltzmann policy of Q."""

    num_modes = 0

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__()
        self.config = config
        self.experience = Experience(spec, config, device)
        self.actor = DiffusionPolicy(spec.act_dim, spec.obs_dim, config.actor)
        self.slow_actor = deepcopy(self.actor).requires_grad_(False)
        self.critic = TwinCritic(1, spec.obs_dim, spec.act_dim, config.critic)
        self.slow_critic = deepcopy(self.critic).requires_grad_(False)
        self.to(device)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True)
        self.critic_opt = torch.optim.Adam(self.critic.parameters(), config.critic_lr, fused=True)

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Sample the averaged actor, and keep the best of some in evaluation if so configured."""
        count = 1 if explore else self.config.act_candidates
        action = best_of(self.slow_actor, self.slow_critic, self.experience.norm(obs), count)
        return self.experience.play.replace(action) if explore else action

    def observe(self, step: Transition) -> None:
        """Remember a vector step."""
        self.experience.observe(step)

    def update(self) -> dict[str, Tensor | float]:
        """Learn `updates` times, once the warm-up is over."""
        scalars: dict[str, Tensor | float] = {}
        if not self.experience.play.warming_up:
            for _ in range(self.config.updates):
                scalars = self.learn()
        return scalars

    def learn(self) -> dict[str, Tensor | float]:
        """Take one step of the critic, the actor, their averages and the novelty model."""
        batch = self.experience.sample()
        with torch.no_grad():
            action = self.slow_actor.sample(batch["seen_after"])
        critic_loss = regress(
            self.critic, self.slow_critic, self.critic_opt, batch, action, self.config.clip
        )
        scalars = self.learn_actor(batch) | self.experience.learn_novelty()
        track(self.slow_critic, self.critic, self.config.tau)
        track(self.slow_actor, self.actor, self.config.ema)
        return scalars | {"critic_loss": critic_loss}

    def learn_actor(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Minimise the squared distance of the denoiser's output to the Boltzmann policy's."""
        actor, seen, action = self.actor, batch["seen"], batch["action"]
        step = torch.randint(actor.config.steps, (len(seen),), device=seen.device)
        signal, sigma = actor.signal[step, None], actor.noise[step, None]
        noisy = signal * action + sigma * torch.randn_like(action)
        clean, effective = self.denoise(seen, noisy, signal, sigma)
        if actor.config.predict == "eps":
            clean = (noisy - signal * clean) / sigma
        output = actor.predict(noisy, step, actor.condition_layer(seen))
        loss = (output - clean).square().mean()
        descend(self.actor_opt, loss, actor.parameters(), self.config.clip)
        return {"actor_loss": loss.detach(), "effective_proposals": effective}

    def denoise(
        self, seen: Tensor, noisy: Tensor, signal: Tensor, sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Estimate the mean clean action behind noisy ones under the Boltzmann policy.

        Args:
            seen: (B, O).
            noisy: (B, A) = signal * clean + sigma * noise.
            signal: (B, 1).
            sigma: (B, 1).

        Returns:
            Clean actions (B, A), and the mean effective number of proposals ().
        """
        config = self.config
        centre, std = (noisy / signal)[:, None], (sigma / signal)[:, None]
        clean = truncated_normal(centre, std, config.proposals)  # (B, K, A)
        if config.target == "noise":
            with torch.no_grad():
                value = values(self.slow_critic, seen, clean).min(dim=0).values
            weight = (value / config.temperature).softmax(-1)  # (B, K)
            mean = (weight[..., None] * clean).sum(1)
        else:
            clean.requires_grad_()
            value = values(self.slow_critic, seen, clean).min(dim=0).values
            (grad,) = torch.autograd.grad(value.sum(), clean)
            weight = (value.detach() / config.temperature).softmax(-1)
            score = (weight[..., None] * grad).sum(1) / (config.temperature * signal)
            mean = ((noisy + sigma.square() * score) / signal).clamp(-1, 1)  # Tweedie's formula
        return mean, 1 / weight.square().sum(-1).mean()

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the averaged actor, its judge, the normalisation."""
        return {
            "slow_actor": self.slow_actor.state_dict(),
            "slow_critic": self.slow_critic.state_dict(),
            "norm": self.experience.norm.state_dict(),
        }

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        self.slow_actor.load_state_dict(state["slow_actor"])
        self.slow_critic.load_state_dict(state["slow_critic"])
        self.experience.norm.load_state_dict(state["norm"])

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return all optimisers, in the order of their states in `state_dict`."""
        return [self.actor_opt, self.critic_opt, self.experience.novelty.optimizer]

    def get_extra_state(self) -> list[dict[str, Any]]:
        """Return what `state_dict` holds beside networks and memory: the optimisers."""
        return [o.state_dict() for o in self.optimizers()]

    def set_extra_state(self, state: list[dict[str, Any]]) -> None:
        """Take back what `get_extra_state` returned."""
        restore(self.optimizers(), state)


@torch.no_grad()
def truncated_normal(centre: Tensor, std: Tensor, count: int) -> Tensor:
    """Draw K actions in [-1, 1]^A from normals cut off there: (B, 1, A), (B, 1, 1) to (B, K, A)."""
    low = torch.special.ndtr((-1 - centre) / std)
    high = torch.special.ndtr((1 - centre) / std)
    share = torch.rand(len(centre), count, centre.shape[-1], device=centre.device)
    place = (low + share * (high - low)).clamp(1e-6, 1 - 1e-6)
    return (centre + std * torch.special.ndtri(place)).clamp(-1, 1)
