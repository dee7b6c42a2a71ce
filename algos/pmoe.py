"""PMOE: probabilistic mixture of experts (Ren et al. 2021, arXiv 2104.09122).

K squashed Gaussians, the experts, and a gate of the state. In every state all experts act; only
the one whose action the critic likes best climbs, and the gate learns how often each is the best.
Differences from the paper and its code, as known from notes about them:
 1. The critic, n-step returns, bonus and random exploration that the comparison gives to every
    algorithm. Rewards are not normalised per batch: with sparse ones their scale would depend on
    which rows were drawn.
 2. `estimator=marginal` is the other way to train a mixture, the marginalised reparameterisation of
    He et al. 2026 (arXiv 2605.09157). Of that paper the abstract was at hand, which says that the
    choice of the component is marginalised instead of sampled. Written out here, and so ours:
    minimise sum_k gate_k (temperature log pi(a_k|s) - Q(s, a_k)) with one reparameterised a_k of
    each expert, pi the whole mixture's density, gradients through gates and actions alike. That is
    E[temperature log pi - Q] with the sum over experts taken exactly; no regression of the gate.
 3. The temperature is learned, towards the entropy of the expert that climbs, as in the code, or
    of the mixture with `estimator=marginal`. 4. Eight experts instead of two.
 5. Without a command an expert is drawn by the gate at every step, in training and evaluation; a
    command holds one. `specified` is the mean of the likeliest expert, after SAC's mean: how the
    source evaluates was not found.
 6. SAC's own four differences, in its module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.api import Spec
from bench.ranges import require

from . import register
from .common.learner import Scalars
from .common.mixture import Mixture, MixturePolicy, pick
from .common.offpolicy import Batch
from .sac import SAC
from .sac import Config as SACConfig

ESTIMATORS = ("best", "marginal")


@dataclass
class Config(SACConfig):
    """Settings of PMOE."""

    experts: int = 8
    estimator: str = "best"  # best | marginal: which experts climb

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[2, inf)", "experts")
        if self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator={self.estimator!r}: valid are {', '.join(ESTIMATORS)}")


@register(
    "pmoe",
    config=Config,
    policy="Gaussian mixture",
    data="off-policy",
    commanded="yes",
    source="Ren et al. 2021, arXiv 2104.09122",
)
class PMOE(SAC):
    """SAC with a mixture of experts, of which the best climbs."""

    actor: MixturePolicy

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        self.num_modes = config.experts
        super().__init__(spec, config, device)

    def make_actor(self) -> MixturePolicy:
        """Return a network of a gate and K Gaussians."""
        spec, config = self.spec, self.config
        return MixturePolicy(
            spec.obs_dim, spec.act_dim, config.experts, config.hidden, config.activation
        )

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the expert that is commanded or drawn by the gate."""
        mixture, rng = self.actor(self.norm(obs)), self.rng if explore else None
        expert = mixture.choose(rng) if mode is None else mode
        if self.config.deterministic and not explore:
            return pick(mixture.mean, expert).tanh()
        action = pick(mixture.draw(rng), expert).tanh()
        return self.explore(action) if explore else action

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Return the squashed mean of the likeliest expert."""
        mixture = self.actor(self.norm(obs))
        return pick(mixture.mean, mixture.log_gate.argmax(-1)).tanh()

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let actions (R, A) of states (R, O) become likely (see `bench.api.Imitates`)."""
        self.fit(self.actor, self.actor.surprise, obs, action, steps)

    def policy(self, norm_obs: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return actions (B, A) of experts drawn by the gate, and their log-densities (B,)."""
        mixture = self.actor(norm_obs)
        expert, raw = mixture.choose(rng), mixture.draw(rng)
        return pick(raw, expert).tanh(), pick(self.log_densities(mixture, raw), expert)

    def log_densities(self, mixture: Mixture, raw: Tensor) -> Tensor:
        """Return log-densities (B, K) of every expert's action: its own, or the mixture's."""
        if self.config.estimator == "marginal":
            return mixture.log_density(raw)
        return mixture.log_components(raw).diagonal(dim1=-2, dim2=-1)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return the loss of the best expert and of the gate, or of all weighted by the gate."""
        norm_obs = batch["norm_obs"]
        mixture = self.actor(norm_obs)
        raw, gate = mixture.draw(self.rng), mixture.log_gate.exp()
        features = self.critic.features(norm_obs[None])
        action = raw.tanh().flatten(0, 1)[None]
        value = self.critic.values(features, action)[0].amin(0).view_as(gate)
        log_density = self.log_densities(mixture, raw)
        temperature = self.log_temperature.exp().detach()
        if self.config.estimator == "marginal":
            weight = gate
            loss = (gate * (temperature * log_density - value)).sum(-1)
        else:
            weight = F.one_hot(value.argmax(-1), gate.shape[-1]).to(gate)
            loss = (weight * (temperature * log_density - value)).sum(-1)
            loss = loss + (gate - weight).square().sum(-1)
        return loss.mean(), {
            "value": (weight * value).sum(-1).mean().detach(),
            "entropy": -(weight * log_density).sum(-1).mean().detach(),
            "temperature": temperature,
            "gate_entropy": -(gate * mixture.log_gate).sum(-1).mean().detach(),
        }
