"""NovelD: a bonus for stepping from the known into the unknown.

Zhang et al. 2021 (NovelD, NeurIPS) on random network distillation (Burda et al. 2018,
arXiv 1810.12894), with the positional encoding of Li et al. 2024 (arXiv 2406.00681).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .networks import mlp
from .replay import Replay


@dataclass
class NoveltyConfig:
    """Settings of the novelty bonus; alike for all algorithms of a comparison."""

    coef: float = 0.003  # bonus per step, in units of the task's largest return; 0 turns it off
    alpha: float = 0.5  # share of the novelty of the state left that is taken off
    normalize: bool = True  # divide by the running mean, so that `coef` is the mean bonus
    observe: str = "all"  # all | position: what is novel; position needs a task that has one
    frequencies: int = 5  # octaves of the positional encoding
    hidden: tuple[int, ...] = (128,)
    features: int = 64
    lr: float = 1e-3
    recent: int = 8192  # the predictor learns on this many latest transitions
    batch: int = 128

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.observe not in ("all", "position"):
            raise ValueError(f"novelty.observe={self.observe!r}: valid are all, position")


class NovelD(nn.Module):
    """Novelty n(s) = |f(s) - g(s)| of a trained network f and a frozen random one g.

    The bonus of a step is max(n(s') - alpha n(s), 0), without the original's gate on first
    visits within an episode, as in DDiffPG.
    """

    mean: Tensor

    def __init__(self, obs_dim: int, position: slice | None, config: NoveltyConfig) -> None:
        super().__init__()
        self.config = config
        self.position = position
        planar = len(range(obs_dim)[position]) if position else 0
        self.seen = position if position and config.observe == "position" else slice(None)
        seen = len(range(obs_dim)[self.seen])
        sizes = [seen + 2 * config.frequencies * planar, *config.hidden, config.features]
        self.target = mlp(sizes, "elu").requires_grad_(False)
        self.predictor = mlp(sizes, "elu")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 2**0.5)
                nn.init.zeros_(module.bias)
        self.register_buffer("mean", torch.zeros(()))
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), lr=config.lr, fused=True)

    def encode(self, obs: Tensor, norm: nn.Module) -> Tensor:
        """Return standardised observations with sines and cosines of the raw position appended."""
        seen = norm(obs)[..., self.seen]
        if self.position is None or self.config.frequencies == 0:
            return seen
        octaves = 2.0 ** torch.arange(self.config.frequencies, device=obs.device)
        phase = (obs[..., self.position, None] * octaves).flatten(-2)
        return torch.cat([seen, phase.sin(), phase.cos()], dim=-1)

    def novelty(self, encoded: Tensor) -> Tensor:
        """Return n(s), (...)."""
        return (self.predictor(encoded) - self.target(encoded)).norm(dim=-1)

    @torch.no_grad()
    def bonus(self, obs: Tensor, next_obs: Tensor, norm: nn.Module) -> Tensor:
        """Return the bonus of steps (..., O) to (..., O), (...), 0 where it is turned off."""
        if self.config.coef == 0:
            return torch.zeros(obs.shape[:-1], device=obs.device)
        both = self.novelty(self.encode(torch.stack([obs, next_obs]), norm))
        bonus = (both[1] - self.config.alpha * both[0]).clamp(min=0)
        if self.config.normalize:
            self.mean.lerp_(bonus.mean(), 0.01 if self.mean > 0 else 1.0)
            bonus = bonus / (self.mean + 1e-8)
        return self.config.coef * bonus

    def learn_recent(self, replay: Replay, norm: nn.Module) -> dict[str, Tensor | float]:
        """Take one step on the latest of remembered transitions; none where the bonus is off."""
        if self.config.coef == 0:
            return {}
        recent = replay.draw(self.config.batch, self.config.recent)
        return {"novelty_loss": self.learn(replay.fields["next_obs"][recent], norm)}

    def learn(self, obs: Tensor, norm: nn.Module) -> Tensor:
        """Take one step of the predictor towards the random network on (B, O) observations."""
        encoded = self.encode(obs, norm)
        loss = (self.predictor(encoded) - self.target(encoded)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()
