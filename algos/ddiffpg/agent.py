"""DDiffPG: deep diffusion policy gradient (Li et al. 2024, arXiv 2406.00681).

Successful episodes are clustered into behaviour modes; every mode has a Q-function and an equal
share of every batch, so that neither greed nor the replay's imbalance can erase one. One
diffusion policy imitates actions that each mode's Q-function has improved by gradient ascent. An
embedding tells it which mode to follow; without one it acts as their mixture.

Differences from the released code. Those that are choices are settings, and `preset=paper` has the
paper's; D-numbers are the defects that are not reproduced.
 1. The C51 support covers the rewards, which are divided by the task's largest return (D1).
 2. Cross-entropy against the projected distribution of the head with the lower mean, instead of
    binary cross-entropy against an elementwise minimum (D2, D3).
 3. Clusters are cut at an absolute distance between loop-free paths of equally many points
    (D4, D5, D10); beyond `modes.most` the nearest are merged or the smallest left out, instead of
    merging all (D6); distances are kept and computed once (D8, D9); a mode is dropped only at
    the second request (D20).
 4. A new success joins the nearest mode at once (D13).
 5. True successors everywhere; only a termination stops bootstrapping, and nothing stops the
    exploration Q-function's (D14, D15, D16).
 6. Gradient ascent on the sum over rows, so that a step does not depend on their number (D19).
 7. A whole episode follows one embedding (D21), and embeddings are on by default (D18).
 8. `target_start`: ascent begins at a sample of the policy instead of the stored target, which is
    stale where a transition is revisited rarely.
 9. `success_share`: half of a mode's rows are from its successes; all modes share the failures.
    `rival_share`: a quarter are other modes' successes, which train its Q-function alone.
10. `n_step` returns in the mode Q-functions, which take no intrinsic reward.
11. The actor predicts the clean action, and an average of it acts (`actor.predict`, `ema`).
12. The exploration Q-function learns from the latest transitions, those of running episodes
    included, where the release joins stored episodes and running ones.
13. A Q-function that starts afresh (a split's second heir) loses its optimiser's momentum and
    keeps its curvature estimate.
14. The exploration Q-function may learn from n-step returns (`explorer.n_step`).
15. `explorer.failures=False`: episodes that explored in vain are no mode's failures.
16. `explorer.beyond=new`: a success is the end for the exploration Q-function too, and is worth
    `explorer.reward` of its reward. But what lies at the end of a mode that the episode has
    followed is no discovery and worth nothing. So a second way to a known goal is sought.
    With `explorer.away` what is near to a known way pays no bonus either, but for its end.
17. `modes.stuck`: the steps in which a failed episode is stuck are drawn less often than others.
18. `established`: once a mode has so many successes the actor learns from these alone. Where all
    actions in failures are worth the same it would confirm its own: an ant that stands still. The
    mode's ascent may take smaller steps (`refine_lr`): what is known is to be repeated, not sought.
19. After `explorer.until` the modes share the whole batch: what explores learns no more. And
    more episodes are remembered (`modes.settled`).
20. `modes.evict=spread`: what is remembered of a mode begins wherever episodes begin.
21. `mixture=episodes`: without embedding modes are imitated as if each had equally many episodes.
    Of equally many steps the mode whose episodes are longest has the fewest beginnings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.api import Spec, Transition
from bench.ranges import require

from .. import register
from ..common.ascent import climb
from ..common.critics import TwinCritic, clip_by_group, inherit
from ..common.diffusion import DiffusionConfig, DiffusionPolicy
from ..common.exploration import BehaviourNoise
from ..common.learner import Learner, LearnerConfig, Scalars
from ..common.networks import compute_in, gradient_step
from ..common.novelty import NovelD
from .episodes import Episodes
from .explorer import Explorer, ExplorerConfig
from .modes import Inheritance, Modes, ModesConfig
from .rows import ModeRows, Rows


@dataclass
class Config(LearnerConfig):
    """Settings of DDiffPG.

    `n_step` is of the mode Q-functions, `batch` counts the rows of all groups together, and `clip`
    bounds the gradient norm of each Q-function by itself.
    """

    replay: int = 200_000  # transitions that the exploration Q-function learns from
    tau: float = 0.05  # rate of the target critics
    actor: DiffusionConfig = field(default_factory=DiffusionConfig)
    ema: float = 0.001  # rate of the averaged actor that acts; 1: the actor itself
    weight_decay: float = 0.0
    target_start: str = "anchored"  # where the ascent of target actions begins: policy | stored |
    # anchored: at the executed action in a mode's own successes, else at a sample of the policy
    ascent_steps: int = 5
    ascent_lr: float = 0.1
    refine_lr: float = 0.0  # the same for established modes; 0: ascent_lr
    smoothing: float = 0.8  # std of the noise on next actions
    smoothing_clip: float = 0.2
    noise: tuple[float, float] = (0.05, 0.6)  # std of behaviour noise, first to last environment
    embedding: int = 5  # dimensions
    mask: float = 0.5  # share of rows that train the policy without embedding
    mask_failures: bool = False  # whether failed episodes do so too
    mixture: str = "steps"  # steps | episodes: of what it imitates equally many of each mode
    success_share: float = 0.5  # of a mode's rows, from its successes; 0: uniform over its
    # episodes, failed or not
    rival_share: float = 0.25  # of a mode's rows: from the successes of other modes
    established: int = 0  # successes from which on a mode is: its failures teach the actor no more
    # and its ascent is by `refine_lr`; 0: never
    mode_novelty: float = 0.0  # weight of the intrinsic reward in the mode Q-functions
    explorer: ExplorerConfig = field(default_factory=ExplorerConfig)
    command_share: float = 0.8  # of the episodes that do not explore: command a mode, not none
    modes: ModesConfig = field(default_factory=ModesConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        if self.target_start not in ("policy", "anchored", "stored"):
            raise ValueError(
                f"target_start={self.target_start!r}: valid are policy, anchored, stored"
            )
        if self.mixture not in ("steps", "episodes"):
            raise ValueError(f"mixture={self.mixture!r}: valid are steps, episodes")
        DiffusionPolicy.check(self.actor, "actor")
        require(self, "(0, 1]", "ema")
        require(self, "[0, 1]", "mask", "rival_share", "command_share")
        require(self, "[1, inf)", "embedding", "ascent_steps")
        require(self, "[0, inf)", "weight_decay", "ascent_lr", "refine_lr", "smoothing",
                "smoothing_clip", "noise", "established", "mode_novelty")  # fmt: skip
        if self.batch <= self.modes.most:
            raise ValueError(
                f"batch={self.batch}: valid are integers above modes.most={self.modes.most}"
            )
        if self.success_share and self.success_share + self.rival_share > 1:
            raise ValueError(
                f"rival_share={self.rival_share}: valid are numbers up to 1 - success_share"
            )
        if self.explorer.beyond == "new" and not (self.modes.discover and self.modes.tube > 0):
            raise ValueError("explorer.beyond=new: needs modes.discover=true and modes.tube > 0")
        if self.refine_lr and not self.established:
            raise ValueError(f"refine_lr={self.refine_lr}: needs established above 0")
        if self.mode_novelty and self.novelty.kind != "noveld":
            raise ValueError(f"mode_novelty={self.mode_novelty}: needs novelty.kind=noveld")

    def check_task(self, spec: Spec) -> None:
        """Check that what the settings go by is there.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().check_task(spec)
        if self.explorer.beyond == "new" and not spec.position_dim:
            raise ValueError("explorer.beyond=new: needs a task with a position; valid is after")


@register(
    "ddiffpg",
    config=Config,
    policy="diffusion, mode embedding",
    data="off-policy",
    commanded="yes",
    source="Li et al. 2024, arXiv 2406.00681",
    renamed={
        f"explore_{name}": f"explorer.{name}"
        for name in ("share", "until", "n_step", "scale", "reward", "beyond", "failures")
    }
    | {"failures_until": "established", "many": "established"},
)
class DDiffPG(Learner):
    """Diffusion policy gradient with discovered modes, a Q-function each and commands."""

    embeddings: Tensor
    role: Tensor
    acting = ("ema_actor", "norm")

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        groups = config.modes.most + 1  # group 0 explores, see `lead`
        self.critic = TwinCritic(groups, spec.obs_dim, spec.act_dim, config.critic)
        self.actor = DiffusionPolicy(spec.act_dim, spec.obs_dim + config.embedding, config.actor)
        compute_in(config.precision, device, self.actor, self.critic)
        self.target_critic = self.average(self.critic, config.tau)
        self.ema_actor = self.average(self.actor, config.ema)
        self.register_buffer("embeddings", torch.randn(groups + 1, config.embedding))
        self.embeddings[-1] = 0  # no command; so index -1 means none
        self.register_buffer("role", torch.zeros(spec.num_envs, dtype=torch.int64))
        self.noise = BehaviourNoise(config.noise, spec.num_envs)
        self.to(device)
        copies = config.modes.most if config.target_start == "stored" else 0
        modes = config.modes
        kept = max(modes.capacity, modes.settled)
        self.episodes = Episodes(spec, kept, device, copies, modes.stuck, modes.stuck_within)
        self.modes = Modes(self.episodes, modes, self.rng)
        self.explorer = Explorer(spec, config.explorer, modes).to(device)
        self.mode_rows = ModeRows(self.modes, config.success_share, config.rival_share)
        decay = config.weight_decay
        self.actor_opt = torch.optim.AdamW(
            self.actor.parameters(), config.actor_lr, weight_decay=decay, fused=True
        )
        self.critic_opt = torch.optim.AdamW(
            self.critic.parameters(), config.critic_lr, weight_decay=decay, fused=True
        )
        self.optimizers |= {"actor": self.actor_opt, "critic": self.critic_opt}
        self.num_modes = 0
        self.lead = 1  # groups before those of the modes: what explores, until it has ended
        self.vector_steps = 0
        self.told = torch.full((spec.num_envs,), -1)  # the task's labels, if a harness shows them

    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Sample the averaged actor: commanded, uncommanded or as each environment's role says."""
        if explore:
            index, rng = self.role, self.rng
        else:
            index = torch.full((len(obs),), -1, device=obs.device) if mode is None else mode + 1
            rng = None
        action = self.ema_actor.sample(self.condition(obs, self.embeddings[index]), rng)
        return self.explore(self.noise(action, rng)) if explore else action

    @property
    def value_names(self) -> tuple[str, ...]:
        """Names of the Q-functions that `values` asks."""
        return (*("exploration",) * self.lead, *(f"mode {k}" for k in range(self.num_modes)))

    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """Return what each of G Q-functions expects where its own mode is followed, (G, B)."""
        groups = self.lead + self.num_modes
        rows = obs.expand(groups, *obs.shape)
        embedding = self.group_embeddings[:, None].expand(-1, len(obs), -1)
        action = self.ema_actor.sample(self.condition(rows, embedding).flatten(0, 1))
        features = self.critic.features(self.norm(rows))
        return self.critic.values(features, action.view(groups, len(obs), -1)).min(dim=1).values

    @property
    def group_embeddings(self) -> Tensor:
        """Embeddings of the groups that learn, (G, E)."""
        return self.embeddings[1 - self.lead : self.num_modes + 1]

    def clusters(self) -> dict[str, Any]:
        """Return how the successes are clustered (see `Modes.tree`)."""
        return self.modes.tree()

    def condition(self, obs: Tensor, embedding: Tensor) -> Tensor:
        """Return what the actor is conditioned on, (..., O + E)."""
        return torch.cat([self.norm(obs), embedding], dim=-1)

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step; file ended episodes; recluster when it is time."""
        warming_up = self.exploration.warming_up
        stored = {"target": step.action} if self.config.target_start == "stored" else {}
        super().observe(step, **stored, **self.explorer.note(step), **extra)
        ended = self.episodes.append(step._replace(reward=step.reward * self.reward_scale))
        aside = self.set_aside(ended)
        for env, forget in zip(ended.tolist(), aside.tolist(), strict=True):
            if forget:
                self.episodes.store(env, None)
            else:
                self.modes.add_episode(env, int(self.told[env]))
        self.vector_steps += 1
        due = self.vector_steps % self.config.modes.every == 0
        if not self.exploration.warming_up and (due or warming_up):
            self.adopt(self.modes.recluster())
        if len(ended):
            self.mode_rows.changed()
            self.role[ended] = self.draw_roles(len(ended))

    def set_aside(self, ended: Tensor) -> Tensor:
        """Say which of the environments (E,) whose episodes ended have explored in vain, (E,)."""
        exploring = (self.role[ended] == 0) & ~self.episodes.success[ended]
        return exploring & bool(self.num_modes and not self.config.explorer.failures)

    def observe_labels(self, label: Tensor) -> None:
        """Be told the task's labels (N,) of what ends next; heeded with `modes.labels=task`."""
        self.told = label

    def draw_roles(self, count: int) -> Tensor:
        """Draw what new training episodes follow, (count,): 0 explores, k mode k-1, -1 nothing."""
        if self.num_modes == 0:
            return torch.zeros(count, dtype=torch.int64, device=self.device)
        config, device, rng = self.config, self.device, self.rng
        chance = torch.rand(2, count, device=device, generator=rng)
        share = self.explorer.share(self.num_modes, self.exploration.steps)
        mode = torch.randint(1, self.num_modes + 1, (count,), device=device, generator=rng)
        free = torch.where(chance[0] < config.command_share, mode, -1)
        return torch.where(chance[1] < share, 0, free)

    def adopt(self, inheritance: Inheritance | None) -> None:
        """Rebuild Q-functions, embeddings, stored targets and roles for the modes found anew."""
        if inheritance is None:
            return
        lead = range(self.lead)
        # What no earlier mode has part of begins with the Q-function that explores or has explored.
        explores = 0 if self.lead else self.config.modes.most
        parents = [*lead, *(self.lead + p if p >= 0 else explores for p in inheritance.parents)]
        self.arrange(parents, [*(False for _ in lead), *inheritance.fresh])
        before = self.embeddings.clone()
        role = torch.full_like(self.role, -1)
        role[self.role == 0] = 0
        for new, old in enumerate(inheritance.embeddings):
            new_row = torch.randn_like(before[0], generator=self.rng) if old < 0 else None
            row = before[old + 1] if new_row is None else new_row
            self.embeddings[new + 1] = row
            if old >= 0:
                role[self.role == old + 1] = new + 1
        self.role = role
        self.num_modes = len(inheritance.parents)
        self.episodes.inherit_targets(inheritance.parents)
        self.explorer.adopt(self.modes, self.episodes)
        self.mode_rows.changed()

    def arrange(self, parents: list[int], fresh: list[bool]) -> None:
        """Make the Q-functions copies of those of the groups `parents` (see `inherit`)."""
        of = torch.tensor(parents, device=self.device)
        still = torch.tensor(fresh, device=self.device)
        inherit(self.critic, of, still, self.critic_opt)
        inherit(self.target_critic, of, still, None)

    def end_exploring(self) -> None:
        """Leave the batch to the modes, once no episode will explore any more.

        The Q-function that has explored stays behind the modes', for such as are found later.
        """
        if self.lead and self.num_modes and self.explorer.ended(self.exploration.steps):
            modes = range(1, self.num_modes + 1)
            spare = self.config.modes.most + 1 - self.num_modes
            self.arrange([*modes, *[0] * spare], [*(False for _ in modes), *[True] * spare])
            self.lead = 0
            self.modes.settle()

    def learn(self) -> Scalars:
        """Take one step of every Q-function, the actor and the novelty model."""
        self.end_exploring()
        batch = self.sample()
        critic_loss = self.learn_critics(batch)
        batch = self.for_actor(batch)
        target, value = self.improve(batch)
        actor_loss = self.learn_actor(batch, target)
        self.follow()
        return self.step_novelty() | {
            "critic_loss": critic_loss.mean(),
            "explore_value": value[0].mean() if self.lead else 0.0,
            "mode_value": value[self.lead :].mean() if self.num_modes else 0.0,
            "actor_loss": actor_loss,
            "modes": float(self.num_modes),
        }

    @torch.no_grad()
    def sample(self) -> Rows:
        """Draw equally many rows for all G groups; every field is (G, b, ...).

        Fields: obs, action, reward, next_obs, discount, embedding, success (whether the row is
        from the mode's own successes); index says where the exploring rows are from in the
        replay, slot and step where the others are from in the episodes.
        """
        config, where, parts = self.config, {}, []
        rows = config.batch // (self.lead + self.num_modes)
        if self.lead:
            index = where["index"] = self.novelty.draw(self.replay, rows, self.rng)
            bonus = self.step_bonus if self.novelty.coef else None
            parts.append(self.explorer.rows(self.replay, index, config.gamma, bonus))
        if self.num_modes:
            slot, step, own = self.mode_rows.draw(rows, self.rng)
            where |= {"slot": slot, "step": step}
            paid = self.mode_bonus if config.mode_novelty and self.novelty.coef else None
            parts.append(self.mode_rows.rows(slot, step, own, config.n_step, config.gamma, paid))
        fields = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        embedding = self.group_embeddings[:, None].expand(-1, rows, -1)
        return fields | where | {"embedding": embedding}

    def mode_bonus(self, obs: Tensor, position: Tensor, counted: Tensor) -> Tensor:
        """Return what the modes' Q-functions take of the bonus."""
        assert isinstance(self.novelty, NovelD)  # see `Config`
        return self.config.mode_novelty * self.novelty.bonus(self.norm(obs), position, counted)

    def for_actor(self, batch: Rows) -> Rows:
        """Return the batch without the rows that are for Q-functions alone, its last ones.

        Other modes' successes tell a mode's Q-function what leads elsewhere. The actor would see in
        them, above all near the start, its own samples confirmed wherever that Q-function is still
        flat.
        """
        rows = batch["action"].shape[1]
        kept = rows - self.mode_rows.rivals(rows)
        return {k: v[:kept] if k == "index" else v[:, :kept] for k, v in batch.items()}

    def learn_critics(self, batch: Rows) -> Tensor:
        """Step all Q-functions towards their target networks'; return their losses (G,)."""
        config = self.config
        with torch.no_grad():
            condition = self.condition(batch["next_obs"], batch["embedding"]).flatten(0, 1)
            action = self.ema_actor.sample(condition, self.rng).view_as(batch["action"])
            noise = config.smoothing * torch.randn_like(action, generator=self.rng)
            limit = config.smoothing_clip
            action = (action + noise.clamp(-limit, limit)).clamp(-1, 1)
            target = self.target_critic.target(
                self.norm(batch["next_obs"]), action, batch["reward"], batch["discount"]
            )
        losses = self.critic.loss(self.norm(batch["obs"]), batch["action"], target)
        self.critic_opt.zero_grad()
        losses.sum().backward()
        clip_by_group(self.critic, len(losses), config.clip)
        self.critic_opt.step()
        return losses.detach()

    def improve(self, batch: Rows) -> tuple[Tensor, Tensor]:
        """Climb each group's own Q-function from a policy sample or the stored target.

        Adam on the sum over rows of min Q, `ascent_steps` times.

        Returns:
            Target actions (G, b, A), and their values at the last step (G, b).
        """
        config = self.config
        if config.target_start != "stored":
            with torch.no_grad():
                condition = self.condition(batch["obs"], batch["embedding"]).flatten(0, 1)
                start = self.ema_actor.sample(condition, self.rng).view_as(batch["action"])
                if config.target_start == "anchored":
                    start = torch.where(batch["success"][..., None], batch["action"], start)
        else:
            stored = [self.replay.fields["target"][batch["index"]][None]] if self.lead else []
            if self.num_modes:
                stored.append(self.episodes.targets(batch["slot"], batch["step"]))
            start = torch.cat(stored)
        with torch.no_grad():
            slope = self.critic.slope(self.critic.features(self.norm(batch["obs"])))
        refined = config.refine_lr or config.ascent_lr
        lr = torch.where(self.established(), refined, config.ascent_lr)[:, None, None]
        action, reached = climb(slope, start, config.ascent_steps, lr)
        if config.target_start == "stored":
            if self.lead:
                self.replay.fields["target"][batch["index"]] = action[0]
            if self.num_modes:
                self.episodes.set_targets(batch["slot"], batch["step"], action[self.lead :])
        return action, reached

    def learn_actor(self, batch: Rows, target: Tensor) -> Tensor:
        """Step the actor towards the improved actions; some rows come without embedding."""
        config = self.config
        chance = torch.rand(target.shape[:2], device=self.device, generator=self.rng)
        masked = chance < config.mask
        if not config.mask_failures:
            masked = masked & batch["success"]
        masked[: self.lead] = False  # the exploring embedding is no mode
        embedding = batch["embedding"] * ~masked[..., None]
        condition = self.condition(batch["obs"], embedding).flatten(0, 1)
        loss = self.actor.loss(target.flatten(0, 1), condition, self.rng)
        if not config.modes.equal:
            share = torch.cat([torch.ones(self.lead), self.modes.shares()]).to(self.device)
            loss = loss * share.repeat_interleave(target.shape[1])
        if config.established:
            loss = loss * self.lessons(batch["success"]).flatten()
        if config.mixture == "episodes" and self.num_modes:
            loss = loss * torch.where(masked, self.lengths()[:, None], 1).flatten()
        loss = loss.mean()
        gradient_step(self.actor_opt, loss, config.clip)
        return loss.detach()

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Denoise actions (R, A) of states (R, O) (see `bench.api.Imitates`).

        As in learning without embedding in a share of the rows. None means a mode yet, so in the
        others it is any: embeddings of modes that are found later are drawn in the same way.
        """
        config = self.config

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            shape = len(action), config.embedding
            embedding = torch.randn(shape, device=self.device, generator=self.rng)
            chance = torch.rand(len(action), 1, device=self.device, generator=self.rng)
            condition = torch.cat([norm_obs, embedding * (chance >= config.mask)], dim=-1)
            return self.actor.loss(action, condition, self.rng).mean()

        self.fit(self.actor, loss, obs, action, steps)

    def established(self) -> Tensor:
        """Say which groups are established modes, (G,)."""
        known = self.modes.sizes().to(self.device) >= self.config.established
        lead = torch.zeros(self.lead, dtype=torch.bool, device=self.device)
        return torch.cat([lead, known & (self.config.established > 0)])

    def lessons(self, success: Tensor) -> Tensor:
        """Return the weights of the actor's rows (G, b), whose mean is 1 in each group."""
        heeded = (success | ~self.established()[:, None]).float()
        return heeded / heeded.mean(dim=1, keepdim=True).clamp(min=1e-6)

    def lengths(self) -> Tensor:
        """Return how long each group's successes are relative to all modes', (G,).

        The policy without embedding is to begin every mode equally often. Of equally many steps of
        each fewer are beginnings where its episodes are long.
        """
        length = self.mode_rows.lengths()
        return torch.cat([length.new_ones(self.lead), length / length.mean()])

    def policy_state_dict(self) -> dict[str, Any]:
        """Return what acting needs: the averaged actor, normalisation, embeddings, M."""
        modes = {"embeddings": self.embeddings, "num_modes": self.num_modes}
        return super().policy_state_dict() | modes

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        super().load_policy_state_dict(state)
        self.embeddings.copy_(state["embeddings"])
        self.num_modes = state["num_modes"]

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks and memories."""
        return super().get_extra_state() | {
            "modes": self.modes.state_dict(),
            "num_modes": self.num_modes,
            "lead": self.lead,
            "vector_steps": self.vector_steps,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.modes.load_state_dict(state["modes"])
        self.num_modes, self.lead = state["num_modes"], state["lead"]
        if not self.lead:
            self.modes.settle()
        self.vector_steps = state["vector_steps"]
        self.mode_rows.changed()
