"""Latent SAC: a skill per episode and a reward for being recognised by it.

SAC (`sac`) whose actor and critic see a discrete skill z, held for a whole training episode, and
the reward of DIAYN (Eysenbach et al. 2018, arXiv 1802.06070): log q(z|s') - log p(z) of a
discriminator q and uniform p, which makes skills part. Added to the task's reward it is the
cheapest policy whose modes can be commanded. Differences from DIAYN:
 1. The task's reward is learned too. `diversity` is the largest reward of a recognised step, in
    units of the task's largest return as the bonus is: log q - log p is divided by log K. The
    rarely recognised step, for which it has no bound, costs at most as much as a recognised one
    pays, so that returns stay within a categorical critic's support.
 2. `gate`: only successful episodes are paid for diversity, as SMERL (Kumar et al. 2020,
    arXiv 2010.14484) pays near-optimal ones alone. Ungated, under a sparse reward, skills part by
    failing in different places, and a success ends what diversity would go on to pay.
 3. Every step of an n-step return has its own reward, by the discriminator of the moment.
 4. A transition of random exploration follows no skill: it trains the critic under a skill drawn
    anew each time, what it holds being true of all, and the discriminator not at all.
 5. Uncommanded evaluation. `act` sees one state and no episode, so a skill cannot be held. It is
    drawn at every step from a second discriminator, p(z|s) of observations: the policy
    sum_z p(z|s) pi(a|s, z) visits states and actions as often as holding uniform skills does.
    A held skill is what a command is.
 6. `judge`: of the task's positions instead of whole observations, where a task has them; the
    paper's section on prior knowledge has the same choice.
 7. `skill_size`: actor and critic see a skill as 5 among 0s. With the usual 1 the untrained actor
    hardly tells skills apart, all climb to the same peak of Q, and a discriminator that sees them
    in one place has nothing to pay for (one of four peaks of the bandit; with 5 all four).
 8. SAC's own four differences, in its module; skills share one temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require

from . import register
from .common.critics import TwinCritic
from .common.learner import Scalars
from .common.mixture import Mixture, even_mixture
from .common.networks import RunningNorm, gradient_step, mlp
from .common.offpolicy import Batch
from .common.replay import take
from .common.skills import Skills, recognition_loss, sample_categorical
from .sac import SAC
from .sac import Config as SACConfig

JUDGED = ("position", "observation")
STATES = ("norm_obs", "norm_bootstrap_obs")  # of a batch, which are followed by skills


@dataclass
class Config(SACConfig):
    """Settings of latent SAC."""

    skills: int = 8
    skill_size: float = 5.0  # of a skill's 1 among the 0s that actor and critic see
    diversity: float = 0.005  # largest reward per step, in units of the task's largest return;
    # together with the bonus below 1 - gamma, or loitering pays more than arriving
    gate: bool = True  # whether only successful episodes are paid for diversity
    judge: str = "position"  # position | observation: by which a skill is recognised; the second
    # where a task has no positions
    discriminator: tuple[int, ...] = (64, 64)  # hidden layers of both discriminators
    discriminator_lr: float = 1e-3
    recent: int = 65_536  # the discriminators learn on this many latest transitions

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        require(self, "[2, inf)", "skills")
        require(self, "(0, inf)", "skill_size")
        require(self, "[0, inf)", "diversity", "discriminator_lr")
        require(self, "[1, inf)", "discriminator", "recent")
        if self.judge not in JUDGED:
            raise ValueError(f"judge={self.judge!r}: valid are {', '.join(JUDGED)}")


@register(
    "latent-sac",
    config=Config,
    policy="Gaussian, discrete skill",
    data="off-policy",
    commanded="yes",
    source="Eysenbach et al. 2018, arXiv 1802.06070",
)
class LatentSAC(SAC):
    """SAC with a skill per episode and a reward for being recognised by it."""

    begun: Tensor
    acting = ("actor", "norm", "posterior")

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        self.num_modes = config.skills
        super().__init__(spec, config, device)
        self.skills = Skills(config.skills, spec.num_envs, config.skill_size)
        self.by_position = config.judge == "position" and spec.position_dim > 0
        self.position_norm = RunningNorm(spec.position_dim, self.by_position)
        judged = spec.position_dim if self.by_position else spec.obs_dim
        self.discriminator = mlp([judged, *config.discriminator, config.skills])
        self.posterior = mlp([spec.obs_dim, *config.discriminator, config.skills])
        self.register_buffer("begun", torch.zeros(spec.num_envs, dtype=torch.int64))
        self.to(device)
        both = nn.ModuleList([self.discriminator, self.posterior])
        self.discriminator_opt = torch.optim.Adam(
            both.parameters(), config.discriminator_lr, fused=True
        )
        self.optimizers["discriminator"] = self.discriminator_opt

    def make_actor(self) -> nn.Module:
        """Return a network of means and log standard deviations, of states and skills."""
        sizes = [self.spec.obs_dim + self.num_modes, *self.config.hidden, 2 * self.spec.act_dim]
        return mlp(sizes, self.config.activation)

    def make_critic(self) -> TwinCritic:
        """Return a twin critic of states, skills and actions."""
        spec = self.spec
        return TwinCritic(1, spec.obs_dim + self.num_modes, spec.act_dim, self.config.critic)

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the Gaussian of each environment's skill, the commanded or a drawn one."""
        norm_obs = self.norm(obs)
        if explore:
            state = self.skills.given(norm_obs, self.skills.held)
            return self.explore(self.policy(state, self.rng)[0])
        state = self.skills.given(norm_obs, self.recognised(norm_obs) if mode is None else mode)
        return self.mean(state) if self.config.deterministic else self.policy(state)[0]

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Return the squashed mean of a drawn skill."""
        norm_obs = self.norm(obs)
        return self.mean(self.skills.given(norm_obs, self.recognised(norm_obs)))

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let actions (R, A) of states (R, O) become likely (see `bench.api.Imitates`).

        The likelihood is that of the mixture of all skills, so that they share the actions out
        among themselves: a skill learns most from those that it is likelier to take than others.
        """

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            return self.of_all_skills(norm_obs).surprise(action)

        self.fit(self.actor, loss, obs, action, steps)

    def of_all_skills(self, norm_obs: Tensor) -> Mixture:
        """Return the mixture of the K skills' Gaussians in states (B, O), under their prior."""
        rows, count = len(norm_obs), self.num_modes
        skill = torch.arange(count, device=norm_obs.device).repeat(rows)
        state = self.skills.given(norm_obs.repeat_interleave(count, dim=0), skill)
        return even_mixture(self.actor(state).unflatten(0, (rows, count)))

    def recognised(self, norm_obs: Tensor) -> Tensor:
        """Draw the skills (B,) that may have led to states (B, O), by torch's own generator."""
        return sample_categorical(self.posterior(norm_obs))

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step with its skills, and in the end whether the episode succeeded."""
        skill = self.skills.followed(self.exploration.random).float()
        self.position_norm.observe(step.position)
        super().observe(step, skill=skill, solved=step.success.float(), **extra)
        replay, envs = self.replay, self.spec.num_envs
        for env in step.success.nonzero()[:, 0].tolist():
            rows = torch.arange(int(self.begun[env]) + env, replay.added, envs) % replay.size
            replay.fields["solved"][rows.to(self.device)] = 1.0
        done = step.terminated | step.truncated
        self.begun[done] = replay.added
        self.skills.observe(done, self.rng)

    @torch.no_grad()
    def sample(self) -> Batch:
        """Draw a batch whose states are followed by skills and whose rewards hold diversity's."""
        config, batch = self.config, super().sample()
        skill = batch["skill"].long()
        skill = torch.where(skill < 0, self.skills.draw(len(skill), self.rng), skill)
        if config.diversity:
            rows, counted = self.replay.ahead(batch["index"], config.n_step)
            powers = config.gamma ** torch.arange(config.n_step, device=self.device)[:, None]
            reward = (powers * counted * self.diversity(rows, skill)).sum(0)
            paid = batch["solved"] if config.gate else 1.0
            batch["n_step_reward"] = batch["n_step_reward"] + paid * reward
        return batch | {key: self.skills.given(batch[key], skill) for key in STATES}

    def diversity(self, rows: Tensor, skill: Tensor) -> Tensor:
        """Return the reward for where the steps in rows (n, B) lead under skills (B,), (n, B)."""
        log_q = self.discriminator(self.judged(rows)).log_softmax(-1)
        log_q = log_q.gather(-1, skill.expand_as(rows)[..., None])[..., 0]
        return self.config.diversity * (1 + log_q / math.log(self.num_modes)).clamp(min=-1)

    def judged(self, rows: Tensor) -> Tensor:
        """Return what skills are recognised by where the steps in rows (...) lead."""
        if self.by_position:
            return self.position_norm(take(self.replay.fields["next_position"], rows))
        return self.norm(take(self.replay.fields["next_obs"], rows))

    def learn(self) -> Scalars:
        """Take one step of everything that SAC has, and of the discriminators."""
        return super().learn() | self.step_discriminators()

    def step_discriminators(self) -> Scalars:
        """Take one step of both discriminators on the latest transitions that follow skills."""
        rows = self.replay.draw(self.config.batch, self.rng, self.config.recent)
        skill = take(self.replay.fields["skill"], rows).long()
        norm_obs = self.norm(take(self.replay.fields["obs"], rows))
        judged = recognition_loss(self.discriminator(self.judged(rows)), skill)
        posterior = recognition_loss(self.posterior(norm_obs), skill)
        gradient_step(self.discriminator_opt, judged + posterior)
        return {"skill_loss": judged.detach(), "posterior_loss": posterior.detach()}

    @property
    def value_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the values that `values` returns."""
        return tuple(f"skill {z}" for z in range(self.num_modes))

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """Return what the critic expects of following each skill, (K, B)."""
        norm_obs = self.norm(obs)
        found = []
        for z in range(self.num_modes):
            state = self.skills.given(norm_obs, torch.full((len(obs),), z, device=obs.device))
            found.append(self.value(state, self.policy(state)[0]))
        return torch.stack(found)
