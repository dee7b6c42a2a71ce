"""FPMD: one-step flow policy mirror descent (Chen et al. 2025, arXiv 2507.23675).

DPMD with a rectified flow in place of the diffusion: the flow learns from its own samples, weighted
by exp(Q / temperature). As the policy narrows, its paths become straight and one Euler step is as
good as many: one network call per action. Differences from the authors' code beside those of
`dpmd`, settings where they are choices (`preset=paper` has the code's):
 1. The variant with a rectified flow, FPMD-R; the one with mean flows is not here.
 2. Evaluation, as training, follows the flow in all of its steps: where the policy has several
    modes, one step leads to the point between them. One step from the middle of the noise, the
    code's fast mode, is the protocol `specified`; the code's other mode keeps the best of 32.
 3. The clean action is predicted, and its error weighs alike at all times; the code predicts the
    velocity, whose error would weigh 1 / (1 - u)^2 as much at time u.
 4. Five Euler steps instead of 20, at times that are learned alone; noise of std 1 in sampling as
    in learning, where the code samples from 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from . import dpmd, register
from .common.diffusion import DiffusionPolicy
from .common.flow import FlowPolicy


@dataclass
class Config(dpmd.Config):
    """Settings of FPMD: those of DPMD."""

    actor_class: ClassVar[type[DiffusionPolicy]] = FlowPolicy


@register(
    "fpmd",
    config=Config,
    policy="rectified flow, mirror descent",
    data="off-policy",
    commanded="no",
    source="Chen et al. 2025, arXiv 2507.23675",
)
class FPMD(dpmd.DPMD):
    """Flow policy that imitates its own samples, exponentially weighted by Q."""

    acting: tuple[str, ...] = ("ema_actor", "norm")

    def make_actor(self) -> FlowPolicy:
        """Return a flow policy conditioned on the observation."""
        return FlowPolicy(self.spec.act_dim, self.spec.obs_dim, self.config.actor)

    @torch.no_grad()
    def act_as_specified(self, obs: Tensor) -> Tensor:
        """Follow the flow in one step, as the code's fast mode does."""
        policy = self.policy
        assert isinstance(policy, FlowPolicy)
        return policy.one_step(self.norm(obs))
