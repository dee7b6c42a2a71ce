"""How fast an algorithm learns: what an update computes, how fast that is, and where time goes.

And what one action costs, which is counted and takes no clock.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import bench.algos
import bench.tasks
from bench.algos.common.learner import Learner
from bench.api import Algorithm, Spec, Task
from bench.configuration import resolve, understand
from bench.errors import UsageError
from bench.rollout import Rollout

PARTS = {  # methods of a learner, and what the time that they take for themselves is called
    "sample": "sampling",
    "step_bonus": "bonus",
    "next_action": "next actions",
    "critic_target": "targets",
    "learn_critics": "critics",
    "improve": "ascent",
    "weigh": "candidates",
    "denoise": "proposals",
    "step_actor": "actor",
    "learn_actor": "actor",
    "follow": "averages",
    "step_novelty": "novelty",
}
REST = "critic's step"  # of OffPolicy.learn; of DDiffPG's nearly nothing
ROUNDS = 7  # what is compared is measured in turn, so that noise hits both alike
TRIES = 20_000  # vector steps until an algorithm learns
ROWS = 8  # states in which actions are counted: so few that none puts them through in parts
Shapes = Counter[tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class Speed:
    """What was measured of one algorithm's updates.

    Attributes:
        rate: updates/s.
        rows: of a batch.
        modes: known to the policy, among which DDiffPG shares the batch.
        flops: floating-point operations of an update, of its matrix products alone.
        share: time of these products by themselves in float32, on matrices of the same shapes, in
            the update's time: what is left is what an update costs beside them.
        parts: share of an update's time by part, the largest first.
    """

    rate: float
    rows: int
    modes: int
    flops: float
    share: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Action:
    """What was counted of one action, as evaluation takes it without a command.

    Attributes:
        calls: of networks: five, for a denoiser of five steps.
        flops: floating-point operations of its matrix products.
    """

    calls: int
    flops: float


def learner(
    name: str, task_name: str, size: str, warmup: int | None, words: Iterable[str] = (),
    device: str = "cpu",
) -> Learner:  # fmt: skip
    """Return an algorithm that has a replay (see `has_replay`) and has begun to learn a task.

    Args:
        name: of the algorithm.
        task_name: of the task.
        size: preset whose networks and batch it has.
        warmup: env steps of random exploration; None: the preset's.
        words: further settings.
        device: of the algorithm.

    Raises:
        UsageError: if it does not learn.
    """
    later = [] if warmup is None else [f"algo.exploration.warmup={warmup}"]
    algo, spec, task = untrained(name, task_name, size, [*words, *later], device)
    assert isinstance(algo, Learner)
    rollout = Rollout(task.make(spec.num_envs, 0))
    try:
        for _ in range(TRIES):
            obs = torch.as_tensor(rollout.obs, dtype=torch.float32, device=device)
            action = algo.act(obs, explore=True)
            algo.observe(rollout.step(action.cpu().numpy()).transition(device))
            if algo.update():
                return algo
    finally:
        rollout.env.close()
    raise UsageError(f"algo={name}: did not begin to learn within {TRIES} vector steps")


def has_replay(name: str) -> bool:
    """Say whether an algorithm learns from a replay, and so in updates that can be timed."""
    factory = bench.algos.registry[name].factory
    return isinstance(factory, type) and issubclass(factory, Learner)


def untrained(
    name: str, task_name: str, size: str, words: Iterable[str] = (), device: str = "cpu"
) -> tuple[Algorithm, Spec, Task]:
    """Return an algorithm as a quick run makes it, what it is told and its task (see `learner`)."""
    request = understand([f"algo={name}", f"task={task_name}", "budget=quick", f"preset={size}"])
    settings = resolve([*request.overrides(name, task_name, "0"), *words])
    task = bench.tasks.registry[task_name].factory(task_name, settings.task)
    torch.manual_seed(0)
    spec = Spec.of(task, settings.num_envs, 0)
    return bench.algos.registry[name].factory(spec, settings.algo, device), spec, task


def measure(algos: Sequence[Learner], seconds: float) -> list[Speed]:
    """Measure the updates of learners in turn, for about so long in all."""
    works: list[Callable[[], Any]] = []
    counted = []
    for algo in algos:
        algo.learn()
        with FlopCounterMode(display=False) as counter, Products() as products:
            algo.learn()
        works += [algo.learn, products.repeat]
        counted.append(counter.get_total_flops())
    rounds = in_turn(works, seconds)
    found = []
    for i, (algo, flops) in enumerate(zip(algos, counted, strict=True)):
        pairs = [times[2 * i : 2 * i + 2] for times in rounds]
        rate = median(1 / update for update, _ in pairs)
        share = median(alone / update for update, alone in pairs)
        spent = parts(algo, max(3, int(rate * seconds / 4 / len(algos))))
        found.append(Speed(rate, algo.config.batch, algo.num_modes, flops, share, spent))
    return found


def count_action(algo: Algorithm, spec: Spec, device: str = "cpu") -> Action | None:
    """Count what an action takes, or return None if there is no network in it.

    A network is called as often as the matrix of it that is multiplied most often: neither what it
    computes once for all steps counts, nor how many layers it has.
    """
    if not isinstance(algo, nn.Module):
        return None
    obs = torch.zeros(ROWS, spec.obs_dim, device=device)
    with FlopCounterMode(display=False) as counter, Products() as products:
        algo.act(obs)
    networks = {of.untyped_storage().data_ptr(): name.split(".")[0]
                for name, of in algo.named_parameters()}  # fmt: skip
    calls: dict[str, int] = defaultdict(int)
    for (storage, *_), count in products.factors.items():
        if storage in networks:
            name = networks[storage]
            calls[name] = max(calls[name], count)
    if not calls:
        return None
    return Action(sum(calls.values()), counter.get_total_flops() / ROWS)


def in_turn(works: list[Callable[[], Any]], seconds: float) -> list[tuple[float, ...]]:
    """Return what each of some works takes in each of several rounds, s, of so many s in all."""
    counts = []
    for work in works:
        once = clock(work, 1)
        counts.append(max(1, int(seconds / ROUNDS / len(works) / once)))
    return [tuple(map(clock, works, counts)) for _ in range(ROUNDS)]


def clock(work: Callable[[], Any], count: int) -> float:
    """Return the mean time of a work, s, done so many times."""
    start = time.perf_counter()
    for _ in range(count):
        work()
    finish()
    return (time.perf_counter() - start) / count


def finish() -> None:
    """Wait for what a GPU has been asked to do, if one is used."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}  # products, and where their factors begin


class Products(TorchDispatchMode):
    """Notes all matrix products in its context, and can repeat them alone.

    Attributes:
        shapes: of both factors, and how many products have them.
        factors: where in memory a factor lies (storage, offset, shape), and how often it is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Shapes = Counter()
        self.factors: Counter[tuple[Any, ...]] = Counter()
        self.device = torch.device("cpu")
        self.work: list[tuple[Callable[..., Tensor], Tensor, Tensor, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note a product, and let every operation take place."""
        name = func.overloadpacket.__name__
        if name in FACTORS:
            first, second = args[FACTORS[name] : FACTORS[name] + 2]
            self.device = first.device
            self.shapes[tuple(first.shape), tuple(second.shape)] += 1
            for one in (first, second):
                place = one.untyped_storage().data_ptr(), one.storage_offset(), tuple(one.shape)
                self.factors[place] += 1
        return func(*args, **(kwargs or {}))

    def repeat(self) -> None:
        """Compute as many products of the same shapes in float32, of matrices that lie at hand."""
        if not self.work:
            ones = partial(torch.ones, device=self.device)
            self.work = [
                (torch.mm if len(one) == 2 else torch.bmm, ones(one), ones(other), n)
                for (one, other), n in self.shapes.items()
            ]
        for product, one, other, count in self.work:
            for _ in range(count):
                product(one, other)


def parts(algo: Learner, updates: int) -> dict[str, float]:
    """Return how the time of some updates is shared among their parts (see `PARTS`)."""
    spent: dict[str, float] = defaultdict(float)
    names, last = [REST], time.perf_counter()

    def switch() -> None:
        nonlocal last
        finish()
        now = time.perf_counter()
        spent[names[-1]] += now - last
        last = now

    def timed(method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def work(*args: Any, **kwargs: Any) -> Any:
            switch()
            names.append(name)
            try:
                return method(*args, **kwargs)
            finally:
                switch()
                names.pop()

        return work

    wrapped = [key for key in PARTS if hasattr(algo, key)]
    for key in wrapped:
        algo.__dict__[key] = timed(getattr(algo, key), PARTS[key])
    try:
        switch()
        spent.clear()
        for _ in range(updates):
            algo.learn()
        switch()
    finally:
        for key in wrapped:
            del algo.__dict__[key]
    total = sum(spent.values())
    return {k: v / total for k, v in sorted(spent.items(), key=lambda item: -item[1])}


def beside_stable_baselines3(
    name: str, seconds: float, words: Iterable[str] = ()
) -> tuple[float, float, float] | None:
    """Return updates/s of an algorithm, of Stable-Baselines3's, and the median ratio.

    On Pendulum with that library's default networks and batch, which the suite's preset of
    `task=gym` has; None where the library is not installed or has no such algorithm, or this one
    does not learn from a replay.

    Args:
        name: of an algorithm; the library's class is sought by it.
        seconds: to measure for.
        words: further settings of the algorithm.
    """
    try:
        import stable_baselines3
        from stable_baselines3.common.logger import Logger
    except ImportError:
        return None
    kind = getattr(stable_baselines3, name.upper(), None)
    if kind is None or not has_replay(name):
        return None
    ours = learner(name, "gym", "suite", None, words)
    theirs = kind("MlpPolicy", "Pendulum-v1", device="cpu")
    theirs.learn(theirs.learning_starts + 1)
    theirs.set_logger(Logger(None, []))
    works = [ours.learn, lambda: theirs.train(gradient_steps=1, batch_size=theirs.batch_size)]
    pairs = in_turn(works, seconds)
    return (
        median(1 / a for a, _ in pairs), median(1 / b for _, b in pairs),
        median(b / a for a, b in pairs),
    )  # fmt: skip
