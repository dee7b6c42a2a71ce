"""DACER: diffusion actor-critic with an entropy regulator (Wang et al. 2024, arXiv 2405.15177).

The policy climbs Q through its whole denoising chain, and acts with noise whose scale is tuned so
that the entropy of its actions, estimated by a mixture of Gaussians, meets a target. The entropy
has no gradient by the policy's weights: the noise alone answers to it. Differences from the
authors' code, settings where they are choices (`preset=paper` has the code's):
 1. `critic.kind=c51`, `n_step`, the novelty bonus and random exploration, as the comparison gives
    them to every algorithm. The code's critic is a Gaussian distribution of returns (DSAC-T); here
    it is this suite's categorical one, in `preset=paper` a scalar one. The actor climbs the lower
    mean in both.
 2. The entropy is estimated more often (`entropy_every`), in fewer states (`entropy_states`), by
    20 steps of expectation-maximisation from random samples, where the code has those of
    scikit-learn, started by k-means and run until they converge.
 3. Five denoising steps on the cosine schedule of the other diffusion policies instead of 20 on a
    VP schedule; the clean action is predicted (`actor.predict`).
 4. An average of the actor acts and bootstraps (`ema`).
 5. Evaluation takes one plain sample without the noise. The code starts from a noise that is a
    function of the state: with one that is always the same it is the protocol `specified`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.candidates import candidates
from .common.learner import Scalars
from .common.networks import gradient_step
from .common.offpolicy import Batch, DiffusionLearner, DiffusionLearnerConfig


@dataclass
class Config(DiffusionLearnerConfig):
    """Settings of DACER."""

    delay: int = 2  # gradient steps of the critic per step of the actor and of the averages
    noise: float = 0.1  # std of the noise on actions, times `scale`
    scale: float = 3.0  # at first
    scale_lr: float = 0.03
    target_entropy: float | None = None  # of an action, in nats; None: -0.9 A
    entropy_every: int = 100  # gradient steps between two estimates of the entropy
    entropy_states: int = 16  # of the batch, in which it is estimated
    entropy_samples: int = 200  # of each state
    components: int = 3  # of the mixtures

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[1, inf)", "delay", "entropy_every", "entropy_states", "entropy_samples",
                "components")  # fmt: skip
        require(self, "(0, inf)", "scale")
        require(self, "[0, inf)", "noise", "scale_lr")
        require(self, "(-inf, inf)", "target_entropy")


@register(
    "dacer",
    config=Config,
    policy="diffusion, Q-gradient through the chain, entropy-tuned noise",
    data="off-policy",
    commanded="no",
    source="Wang et al. 2024, arXiv 2405.15177",
)
class DACER(DiffusionLearner):
    """Diffusion policy that climbs Q, with noise tuned to an entropy."""

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.delay = config.delay
        self.log_scale = nn.Parameter(torch.tensor(config.scale, device=device).log())
        self.scale_opt = torch.optim.Adam([self.log_scale], config.scale_lr, fused=True)
        self.optimizers["scale"] = self.scale_opt
        entropy = config.target_entropy
        self.target_entropy = -0.9 * spec.act_dim if entropy is None else entropy

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the policy, with noise if it explores."""
        if not explore:
            return self.policy.sample(self.norm(obs))
        return self.explore(self.add_noise(self.policy.sample(self.norm(obs), self.rng)))

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Denoise the same noise at every call: a deterministic policy, as in the code."""
        rng = torch.Generator(obs.device).manual_seed(0)
        return self.policy.sample(self.norm(obs), rng)

    def add_noise(self, action: Tensor) -> Tensor:
        """Return actions (..., A) with noise of the tuned scale, in the box."""
        noise = torch.randn(action.shape, device=action.device, generator=self.rng)
        return (action + self.config.noise * self.log_scale.detach().exp() * noise).clamp(-1, 1)

    def next_action(self, norm_obs: Tensor) -> Tensor:
        """Sample the averaged actor, with noise."""
        return self.add_noise(super().next_action(norm_obs))

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return -E[min Q] of noisy samples; its gradient runs through the denoising chain."""
        action = self.add_noise(self.actor.sample(batch["norm_obs"], self.rng))
        value = self.value(batch["norm_obs"], action).mean()
        return -value, {"value": value.detach()}

    def step_actor(self, batch: Batch) -> Scalars:
        """Step the actor, then now and then the noise's scale towards the target entropy."""
        scalars = super().step_actor(batch)
        if self.gradient_steps % self.config.entropy_every < self.delay:
            entropy = self.entropy(batch["norm_obs"][: self.config.entropy_states])
            gradient_step(self.scale_opt, self.log_scale * (entropy - self.target_entropy))
            scalars["entropy"] = entropy
        return scalars | {"noise_scale": self.log_scale.detach().exp()}

    @torch.no_grad()
    def entropy(self, norm_obs: Tensor) -> Tensor:
        """Estimate the mean entropy () of the noisy actions in states (S, O)."""
        config = self.config
        action = candidates(self.actor, norm_obs, config.entropy_samples, self.rng)
        return mixture_entropy(self.add_noise(action), config.components, self.rng).mean()


@torch.no_grad()
def mixture_entropy(
    samples: Tensor, components: int, rng: torch.Generator | None = None, iterations: int = 20
) -> Tensor:
    """Fit a mixture of Gaussians to each of S sets of samples, (S, N, A); bound its entropy (S,).

    The bound, sum_k w_k (H(N_k) - log w_k), is the entropy of mixtures whose components lie apart,
    and is above that of others by at most log K.
    """
    sets, count, dim = samples.shape
    first = torch.stack([
        torch.randperm(count, device=samples.device, generator=rng)[:components]
        for _ in range(sets)
    ])  # fmt: skip
    mean = samples.gather(1, first[..., None].expand(-1, -1, dim))  # (S, K, A)
    ridge = 1e-6 * torch.eye(dim, device=samples.device)  # scikit-learn's
    centred = samples - samples.mean(1, keepdim=True)
    cov = (centred.mT @ centred / count + ridge)[:, None].repeat(1, components, 1, 1)
    weight = samples.new_full((sets, components), 1 / components)
    for _ in range(iterations):
        normal = torch.distributions.MultivariateNormal(mean[:, None], cov[:, None])
        log_share = normal.log_prob(samples[:, :, None]) + weight.log()[:, None]
        share = log_share.softmax(-1)  # (S, N, K)
        total = share.sum(1) + 1e-9  # (S, K)
        weight = total / total.sum(-1, keepdim=True)
        mean = share.mT @ samples / total[..., None]
        apart = samples[:, None] - mean[:, :, None]  # (S, K, N, A)
        cov = (share.mT[..., None] * apart).mT @ apart / total[..., None, None] + ridge
    inside = 0.5 * (dim * (1 + math.log(2 * math.pi)) + torch.logdet(cov))
    return (weight * (inside - weight.log())).sum(-1)
