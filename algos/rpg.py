"""RPG without its model: a continuous latent per episode (Huang et al. 2023, arXiv 2307.10710).

Reparameterized policy gradient: a policy pi(a|s, z) with z ~ N(0, I), drawn where an episode begins
and held to its end, and an information network p(z|s, a). How well z can be told from what is done
is paid for, so that different z act differently. The paper learns a model of the world and
differentiates imagined returns; here, in its place, the actor climbs twin critics as SAC's does:
minimise E[temperature log pi(a|s, z) - Q(s, a) - information log p(z|s, a)]. Differences from the
authors' code (haosulab/RPG):
 1. No model: no imagined rollouts, no lambda-returns. The critic knows no z: Q(s, a) is a mean over
    the z that come by, each going on as itself. And the information of the present action alone is
    paid for; the code adds that of the steps to come to its returns.
 2. The critic, n-step returns, bonus (RND there) and random exploration of the comparison.
 3. `noise` of 0.2 on the actions that z is told from, as in the code's numerical experiments; it is
    0 in the others. Without it z is whispered: actions differ in digits that no task minds.
 4. `std` is 0.38, as notes of the paper have it; the code's default is 0.3989.
 5. z has no prior but N(0, I). The code learns pi(z|s_1) too where z is categorical.
 6. A transition of random exploration keeps the z that was held in vain: actor and critic learn of
    it, what random play finds being true of any z.
 7. Uncommanded evaluation. `act` sees one state and no episode, so z cannot be held. It is drawn at
    every step from a Gaussian p(z|s), learned beside: were that exact, states and actions would be
    visited as often as by holding draws of the prior. The code holds z, and takes plain samples in
    evaluation too, so that there is no protocol `specified`.
 8. Commands. The K modes that can be commanded are K draws of the prior, made once and stored with
    the policy: command k means the same z for ever. Nobody chose them: a way that few z take may
    have no command, and several commands may take the same.
 9. SAC's own four differences, in its module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from bench.api import Spec, Transition
from bench.ranges import require

from . import register
from .common.learner import Scalars
from .common.mixture import even_mixture
from .common.networks import gradient_step, mlp
from .common.offpolicy import Batch
from .common.replay import take
from .common.skills import Codes
from .sac import LOG_STD, SAC
from .sac import Config as SACConfig

DRAWS = 8  # of z per action that is imitated


@dataclass
class Config(SACConfig):
    """Settings of model-free RPG."""

    latent: int = 12  # dimensions of z
    codes: int = 8  # draws of the prior that can be commanded
    information: float = 0.005  # weight of log p(z|s, a), in units of the task's largest return
    std: float = 0.38  # of p(z|s, a), in every dimension
    noise: float = 0.2  # std of what is added to actions that z is to be told from
    recognition: tuple[int, ...] = (128, 128)  # hidden layers of p(z|s, a) and p(z|s)
    recognition_lr: float = 1e-3
    recent: int = 65_536  # p(z|s) learns on this many latest transitions

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[1, inf)", "latent", "recognition", "recent")
        require(self, "[2, inf)", "codes")
        require(self, "(0, inf)", "std")
        require(self, "[0, inf)", "information", "noise", "recognition_lr")


@register(
    "rpg",
    config=Config,
    policy="Gaussian, continuous latent",
    data="off-policy",
    commanded="yes",
    source="Huang et al. 2023, arXiv 2307.10710",
)
class RPG(SAC):
    """SAC with a continuous latent per episode, which its actions are paid to give away."""

    acting = ("actor", "norm", "latents", "posterior")
    act_as_specified = None  # type: ignore[assignment]  # the source samples, as `act` does

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        self.num_modes = config.codes
        super().__init__(spec, config, device)
        self.latents = Codes(config.latent, config.codes, spec.num_envs)
        hidden, latent = config.recognition, config.latent
        self.information = mlp([spec.obs_dim + spec.act_dim, *hidden, latent], config.activation)
        self.posterior = mlp([spec.obs_dim, *hidden, 2 * latent], config.activation)
        for parameter in self.posterior[-1].parameters():
            nn.init.zeros_(parameter)  # it begins as the prior
        self.to(device)
        both = nn.ModuleList([self.information, self.posterior])
        self.recognition_opt = torch.optim.Adam(
            both.parameters(), config.recognition_lr, fused=True
        )
        self.optimizers["recognition"] = self.recognition_opt

    def make_actor(self) -> nn.Module:
        """Return a network of means and log standard deviations, of states and latents."""
        inputs = self.spec.obs_dim + self.config.latent
        return mlp([inputs, *self.config.hidden, 2 * self.spec.act_dim], self.config.activation)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the Gaussian of each environment's latent: held, commanded or drawn."""
        norm_obs = self.norm(obs)
        if explore:
            state = torch.cat([norm_obs, self.latents.held], -1)
            return self.explore(self.policy(state, self.rng)[0])
        latent = self.believed(norm_obs).sample() if mode is None else self.latents.listed[mode]
        state = torch.cat([norm_obs, latent], -1)
        return self.mean(state) if self.config.deterministic else self.policy(state)[0]

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let actions (R, A) of states (R, O) become likely (see `bench.api.Imitates`).

        Every action is learned by the likeliest of some draws of z, so that regions of z share the
        actions out among themselves. The likelihood of all draws together would not do: it has a
        saddle where z makes no difference, and that is where an untrained actor is.
        """

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            shape = len(norm_obs), DRAWS, self.config.latent
            latent = torch.randn(shape, device=self.device, generator=self.rng)
            state = torch.cat([norm_obs[:, None].expand(-1, DRAWS, -1), latent], -1)
            return even_mixture(self.actor(state)).surprise(action, hard=True)

        self.fit(self.actor, loss, obs, action, steps)

    def believed(self, norm_obs: Tensor) -> Normal:
        """Return p(z|s): which latents may have led to states (B, O), of (B, D)."""
        mean, log_std = self.posterior(norm_obs).chunk(2, dim=-1)
        return Normal(mean, log_std.clamp(*LOG_STD).exp(), validate_args=False)

    def recognised(self, norm_obs: Tensor, action: Tensor, latent: Tensor) -> Tensor:
        """Return log p(z|s, a) of latents (B, D), by states and what is done there, (B,)."""
        noise = torch.randn_like(action, generator=self.rng)
        mean = self.information(torch.cat([norm_obs, action + self.config.noise * noise], -1))
        return Normal(mean, self.config.std, validate_args=False).log_prob(latent).sum(-1)

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step, the latents that were held, and whether they were followed."""
        follows = (~self.exploration.random).float()
        super().observe(step, latent=self.latents.held, follows=follows, **extra)
        self.latents.observe(step.terminated | step.truncated, self.rng)

    @torch.no_grad()
    def sample(self) -> Batch:
        """Draw a batch, with what the actor sees of its states, and where it bootstraps from."""
        batch = super().sample()
        latent = batch["latent"]
        return batch | {
            "state": torch.cat([batch["norm_obs"], latent], -1),
            "bootstrap_state": torch.cat([batch["norm_bootstrap_obs"], latent], -1),
        }

    @torch.no_grad()
    def critic_target(self, batch: Batch) -> Tensor:
        """Return what the critic learns, as SAC's does; a' is of the latent that was held."""
        action, log_density = self.policy(batch["bootstrap_state"], self.rng)
        reward = batch["n_step_reward"]
        if self.config.entropy_backup:
            reward = reward - batch["discount"] * self.log_temperature.exp() * log_density
        return self.backup(batch, action, reward)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Return E[temperature log pi(a|s, z) - min Q(s, a) - information log p(z|s, a)]."""
        norm_obs = batch["norm_obs"]
        action, log_density = self.policy(batch["state"], self.rng)
        value = self.value(norm_obs, action)
        information = self.recognised(norm_obs, action, batch["latent"])
        temperature = self.log_temperature.exp().detach()
        loss = temperature * log_density - value - self.config.information * information
        return loss.mean(), {
            "value": value.mean().detach(),
            "entropy": -log_density.mean().detach(),
            "temperature": temperature,
            "information": information.mean().detach(),
        }

    def step_actor(self, batch: Batch) -> Scalars:
        """Step the actor and its temperature, then what recognises its latents."""
        return super().step_actor(batch) | self.step_recognition(batch)

    def step_recognition(self, batch: Batch) -> Scalars:
        """Step p(z|s, a) on what the policy does now, p(z|s) on where it has lately been."""
        with torch.no_grad():
            action = self.policy(batch["state"], self.rng)[0]
        loss = -self.recognised(batch["norm_obs"], action, batch["latent"]).mean()
        rows = self.replay.draw(self.config.batch, self.rng, self.config.recent)
        norm_obs = self.norm(take(self.replay.fields["obs"], rows))
        latent, follows = (take(self.replay.fields[key], rows) for key in ("latent", "follows"))
        log_density = self.believed(norm_obs).log_prob(latent).sum(-1)
        posterior_loss = -(follows * log_density).sum() / follows.sum().clamp(min=1)
        gradient_step(self.recognition_opt, loss + posterior_loss, self.config.clip)
        return {"posterior_loss": posterior_loss.detach()}

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """Return what the critic expects of the policy, (1, B)."""
        norm_obs = self.norm(obs)
        state = torch.cat([norm_obs, self.believed(norm_obs).sample()], -1)
        return self.value(norm_obs, self.policy(state)[0])[None]
