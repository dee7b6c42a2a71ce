"""CPPO: a diffusion policy through conditional PPO (Liu et al. 2026, arXiv 2603.04790).

The density of a flow's actions is never asked for. A frozen flow draws a reference a0, a Gaussian
around it, pi(a | s, a0), is trained by PPO, whose ratio is that of the Gaussian alone, and what
both draw together, the marginal of a, becomes the next flow by flow matching. Only the abstract was
at hand, and notes of others on the method; what they leave open is filled in here:
 1. A flow stays the reference of `frozen` rollouts. With one the four-peak bandit's modes ran into
    each other: a flow that learns its own samples blurs what lies between them a little every time.
 2. The Gaussian's mean is a0 plus what a network makes of state and a0, 0 again for a new flow. Its
    standard deviation is one for all states, as PPO's here, and is kept.
 3. The flow learns from references drawn anew, not from the rollout's: of few actions, drawn again
    and again, a mode is lost by chance. All are drawn before the flow moves, so that no frozen copy
    of it is needed, and cut to the box, as what acts is. The flow's rate falls to 0 meanwhile.
 4. The first flow imitates the random exploration that the comparison gives to all (`imitated`):
    an untrained one would draw next to the same action always.
 5. Evaluation takes one plain sample, as training does. How the source evaluates is not known here.
 6. The entropy that the loss can weigh (`entropy`, off) is the Gaussian's, not the marginal's.
 7. The flow has five steps and predicts velocities; the notes tell of 8 and 16 steps.
As for `ppo` here: time limits bootstrap, the comparison's novelty bonus, observations standardised
by statistics that move only between rollouts, a value network apart and unclipped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require

from . import register
from .common.diffusion import DiffusionConfig
from .common.flow import FlowPolicy
from .common.imitation import fit
from .common.learner import Scalars
from .common.networks import gradient_step, mlp
from .common.onpolicy import OnPolicy, OnPolicyConfig, Rows

EXPLORED = ("obs", "action")  # what is kept of random exploration


@dataclass
class Config(OnPolicyConfig):
    """Settings of CPPO."""

    frozen: int = 10  # rollouts that a flow is the reference of, until it learns anew
    flow: DiffusionConfig = field(default_factory=lambda: DiffusionConfig(predict="velocity"))
    flow_lr: float = 1e-3
    flow_batch: int = 512  # rows of a minibatch of flow matching
    flow_epochs: int = 10  # of flow matching over the rollout's states, each with new actions
    imitated: int = 8192  # latest actions of random exploration that the first flow imitates
    imitation_epochs: int = 100  # over them

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        super().__post_init__()
        FlowPolicy.check(self.flow, "flow")
        require(self, "[0, inf)", "flow_lr")
        require(self, "[1, inf)", "frozen", "flow_batch", "flow_epochs", "imitated",
                "imitation_epochs")  # fmt: skip


@register(
    "cppo",
    config=Config,
    policy="rectified flow, conditional Gaussian",
    data="on-policy",
    commanded="no",
    source="Liu et al. 2026, arXiv 2603.04790",
)
class CPPO(OnPolicy):
    """Flow policy that becomes what PPO makes of its samples."""

    acting: tuple[str, ...] = ("flow", "actor", "norm")
    condition = ("reference",)

    def __init__(self, spec: Spec, config: Config, device: str | torch.device) -> None:
        super().__init__(spec, config, device)
        self.flow = FlowPolicy(spec.act_dim, spec.obs_dim, config.flow).to(device)
        self.flow_opt = torch.optim.Adam(self.flow.parameters(), config.flow_lr, fused=True)
        self.optimizers.append(self.flow_opt)
        kept = -(-config.imitated // spec.num_envs)  # vector steps, rounded up
        self.rollouts = 0
        self.explored: deque[Rows] = deque(maxlen=kept)  # until the first flow has imitated it

    def make_actor(self) -> nn.Module:
        """Return a network of how far the mean lies from a reference."""
        state, action = self.spec.obs_dim, self.spec.act_dim
        return mlp([state + action, *self.config.hidden, action], self.config.activation)

    def given(self, norm_obs: Tensor, rng: torch.Generator | None = None) -> Rows:
        """Draw references of the flow."""
        return {"reference": self.flow.sample(norm_obs, rng)}

    def mean(self, rows: Rows) -> Tensor:
        """Return the reference, moved."""
        reference = rows["reference"]
        return reference + self.actor(torch.cat([rows["norm_obs"], reference], dim=-1))

    def choose(self, obs: Tensor) -> Tensor:
        """Sample the flow and the Gaussian, as in training."""
        return self.marginal(self.norm(obs))

    @torch.no_grad()
    def observe(self, step: Transition) -> None:
        """Add a vector step to the rollout or, while warming up, to what the flow imitates."""
        if self.exploration.warming_up:
            self.explored.append({key: getattr(step, key) for key in EXPLORED})
        super().observe(step)

    def update(self) -> Scalars:
        """Learn when the rollout is full; once the warm-up is over, imitate it first."""
        if self.explored and not self.exploration.warming_up:
            obs, action = (torch.cat([row[key] for row in self.explored]) for key in EXPLORED)
            self.match(self.norm(obs), action, self.config.imitation_epochs)
            self.explored.clear()
        return super().update()

    def learn(self, rollout: Rows) -> Scalars:
        """Improve the Gaussian and, when due, let the flow become what both draw."""
        scalars = super().learn(rollout)
        self.rollouts += 1
        if self.rollouts % self.config.frozen == 0:
            norm_obs = self.norm(rollout["obs"]).flatten(0, 1).repeat(self.config.flow_epochs, 1)
            scalars |= self.match(norm_obs, self.marginal(norm_obs, self.rng), 1)
            self.centre()  # what the Gaussian has moved, the flow has learned
        return scalars

    def imitate(self, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let the first flow learn actions (R, A) of states (R, O) (see `bench.api.Imitates`).

        In place of the random exploration. The Gaussian around it keeps its spread, so that what
        acts is wider than what it imitates.
        """

        def loss(norm_obs: Tensor, action: Tensor) -> Tensor:
            return self.flow.loss(action, norm_obs, self.rng).mean()

        batch, clip = self.config.flow_batch, self.config.clip
        fit(self.flow, loss, self.norm(obs), action, steps, batch, clip, self.rng)
        self.centre()
        self.explored.clear()

    @torch.no_grad()
    def centre(self) -> None:
        """Let the Gaussian's mean be the reference again."""
        for parameter in list(self.actor.parameters())[-2:]:
            parameter.zero_()

    @torch.no_grad()
    def marginal(self, norm_obs: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Sample the flow and the Gaussian around its sample, (B, O) to (B, A) in the box."""
        rows = {"norm_obs": norm_obs, **self.given(norm_obs, rng)}
        return self.perturb(self.mean(rows), rng).clamp(-1, 1)

    def match(self, norm_obs: Tensor, action: Tensor, epochs: int) -> Scalars:
        """Let the flow learn actions (B, A) of states (B, O) by flow matching.

        Its rate falls to 0 on the way: what noise a last step has, all later flows inherit.
        """
        config, fields = self.config, {"norm_obs": norm_obs, "action": action}
        steps = epochs * -(-len(action) // config.flow_batch)
        for i, rows in enumerate(self.minibatches(fields, epochs, config.flow_batch)):
            self.flow_opt.param_groups[0]["lr"] = config.flow_lr * (1 - i / steps)
            loss = self.flow.loss(rows["action"], rows["norm_obs"], self.rng).mean()
            gradient_step(self.flow_opt, loss, config.clip)
        return {"flow_loss": loss.detach()}

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks; the random exploration too."""
        explored = [dict(row) for row in self.explored]
        return super().get_extra_state() | {"explored": explored, "rollouts": self.rollouts}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        super().set_extra_state(state)
        self.rollouts = state["rollouts"]
        self.explored.clear()
        self.explored.extend(
            {key: field.to(self.device) for key, field in row.items()} for row in state["explored"]
        )
