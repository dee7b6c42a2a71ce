"""What every learner with a replay has: memory, normalisation, bonus, random exploration, state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.api import Spec, Transition
from bench.ranges import require
from bench.seeding import TRAINING, derive, put_back

from .critics import CriticConfig
from .exploration import ExplorationConfig, RandomExploration
from .imitation import Loss, fit
from .networks import PRECISIONS, RunningNorm
from .novelty import NovelD, NoveltyConfig, make_bonus
from .replay import Replay

Scalars = dict[str, Tensor | float]
Module = TypeVar("Module", bound=nn.Module)


@dataclass
class LearnerConfig:
    """Settings of every off-policy algorithm."""

    gamma: float = 0.99
    n_step: int = 10  # of the critic's target
    batch: int = 512
    updates: int = 1  # gradient steps per vector step
    replay: int = 1_000_000  # transitions
    success_share: float = 0.0  # of a batch, drawn from successful episodes; 0: uniform replay
    normalize: bool = True  # observations, by running mean and variance
    actor_lr: float = 1e-3
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_lr: float = 1e-3
    tau: float = 0.01  # rate of the target networks
    clip: float = 1.0  # bound on gradient norms; 0: none
    precision: str = "fp32"  # of the products in actor and critic: fp32 | bf16 | auto
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        require(self, "[0, 1]", "gamma", "success_share")
        require(self, "(0, 1]", "tau")
        require(self, "[0, inf)", "actor_lr", "critic_lr", "clip")
        require(self, "[1, inf)", "n_step", "batch", "updates", "replay")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: valid are {', '.join(PRECISIONS)}")

    def check_task(self, spec: Spec) -> None:
        """Check that the bonus goes with a task (see `NoveltyConfig.check_task`)."""
        self.novelty.check_task(spec)


class Learner(nn.Module, ABC):
    """Remembers transitions and learns from them, `updates` times per vector step.

    Args:
        spec: of the task.
        config: of the algorithm.
        device: of all tensors.

    Attributes:
        rng: generator of everything random in training. Networks are initialised from torch's own
            generator, and so are the draws of `act(explore=False)`.
        optimizers: all of them, by name; a subclass adds its own.
        acting: names of the modules that acting needs.
    """

    num_modes = 0
    acting: tuple[str, ...] = ("actor", "norm")

    def __init__(self, spec: Spec, config: Any, device: str | torch.device) -> None:
        super().__init__()
        self.spec, self.config, self.device = spec, config, device
        self.norm = RunningNorm(spec.obs_dim, config.normalize)
        self.novelty = make_bonus(spec, config.novelty, config.exploration.warmup)
        self.exploration = RandomExploration(spec.num_envs, spec.act_dim, config.exploration)
        self.replay = Replay(spec, config.replay, device)
        self.optimizers: dict[str, torch.optim.Optimizer] = dict(self.novelty.optimizers)
        self.averages: list[tuple[list[Tensor], list[Tensor], float]] = []
        self.reward_scale = 1 / (spec.max_return or 1.0)
        self.rng = torch.Generator(device).manual_seed(derive(spec.seed, TRAINING))

    def average(self, source: Module, rate: float) -> Module:
        """Return a copy of a network that follows it, by a rate at every `follow`."""
        copy = deepcopy(source).requires_grad_(False)
        self.averages.append((list(copy.parameters()), list(source.parameters()), rate))
        return copy

    @torch.no_grad()
    def follow(self) -> None:
        """Move all averages, target networks among them, towards their sources."""
        for copies, sources, rate in self.averages:
            torch._foreach_lerp_(copies, sources, rate)

    def fit(self, network: nn.Module, loss: Loss, obs: Tensor, action: Tensor, steps: int) -> None:
        """Let a network minimise a loss of states (R, O) and actions (R, A), to imitate them.

        Averages of the network, and no others, are then copies of it.
        """
        batch, clip = self.config.batch, self.config.clip
        fit(network, loss, self.norm(obs), action, steps, batch, clip, self.rng)
        first = next(network.parameters())
        with torch.no_grad():
            for copies, sources, _ in self.averages:
                if sources[0] is first:
                    torch._foreach_copy_(copies, sources)

    @torch.no_grad()
    def act(self, obs: Tensor, explore: bool = False, mode: Tensor | None = None) -> Tensor:
        """Choose an action for every row (see `bench.api.Algorithm`).

        While all environments act at random, the policy is not asked.
        """
        if explore and self.exploration.warming_up:
            return self.exploration.draw(self.rng)
        return self.choose(obs, explore, mode)

    @abstractmethod
    def choose(self, obs: Tensor, explore: bool, mode: Tensor | None) -> Tensor:
        """Choose an action for every row by the policy, as `act` does."""

    def explore(self, action: Tensor) -> Tensor:
        """Return training's actions (N, A), in the box and at random where it is their turn."""
        return self.exploration.replace(action, self.rng).clamp(-1, 1)

    @torch.no_grad()
    def observe(self, step: Transition, **extra: Tensor) -> None:
        """Remember a vector step, with further (N, ...) fields, and what its bonus needs."""
        if self.config.novelty.coef:
            extra = self.novelty.note(step, self.norm) | extra
        self.norm.observe(step.obs)
        self.novelty.observe(step.position)
        self.replay.add(step._replace(reward=step.reward * self.reward_scale), **extra)
        self.exploration.observe(step.terminated | step.truncated, self.rng)

    def transitions(self) -> dict[str, Tensor]:
        """Return the replay (see `bench.api.HasReplay`)."""
        stored = self.replay.in_order()
        whole = torch.tensor(self.replay.added <= self.replay.size)
        return stored | {"reward": stored["reward"] / self.reward_scale, "whole": whole}

    def begin_with(self, steps: Iterable[Transition]) -> None:
        """Remember vector steps of others; they count as random exploration, and towards it."""
        for step in steps:
            self.observe(step)
            self.exploration.random.fill_(True)

    def update(self) -> Scalars:
        """Learn `updates` times, once the warm-up is over."""
        scalars: Scalars = {}
        if not self.exploration.warming_up:
            for _ in range(self.config.updates):
                scalars = self.learn()
        return scalars

    @abstractmethod
    def learn(self) -> Scalars:
        """Take one gradient step of everything that learns; return scalars to log."""

    def step_bonus(self, rows: Tensor, counted: Tensor) -> Tensor:
        """Return the bonus of the n steps in replay rows (n, B), 0 where not counted (n, B)."""
        return self.novelty.of_rows(self.replay.fields, self.norm, rows, counted)

    def step_novelty(self) -> Scalars:
        """Take one gradient step of the novelty model on the latest transitions, if there is one.

        What is annealed to 0 learns no more.
        """
        config = self.config.novelty
        if not isinstance(self.novelty, NovelD) or self.novelty.coef == 0:
            return {}
        recent = self.replay.draw(config.batch, self.rng, config.recent)
        obs, position = (self.replay.fields[key][recent] for key in ("next_obs", "next_position"))
        return {"novelty_loss": self.novelty.learn(self.norm(obs), position)}

    def policy_state_dict(self) -> dict[str, Any]:
        """Return the states of the modules that acting needs."""
        return {name: self.get_submodule(name).state_dict() for name in self.acting}

    def load_policy_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `policy_state_dict` returned."""
        for name in self.acting:
            self.get_submodule(name).load_state_dict(state[name])

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict` holds beside networks and memory."""
        optimizers = {name: one.state_dict() for name, one in self.optimizers.items()}
        return {"optimizers": optimizers, "rng": self.rng.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        put_back(self.rng, state["rng"], self.spec.seed)
