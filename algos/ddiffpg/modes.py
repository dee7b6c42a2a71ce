"""Which behaviour modes there are: successful episodes, their clusters and what each inherits.

Part of DDiffPG (Li et al. 2024, arXiv 2406.00681, section 4.1); `clustering` holds the mathematics.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.ranges import require

from .clustering import average_linkage, cut_height, distances, match, partition, summarize
from .episodes import Episodes


@dataclass
class ModesConfig:
    """Settings of mode discovery."""

    discover: bool = True  # False: one mode holds every success (the method without clustering)
    labels: str = "clusters"  # clusters | task: what sorts the successes; the task's own labels
    # are an oracle, for ablations alone
    equal: bool = True  # modes share memory and batch equally; False: as often as they succeed
    threshold: float = 2.5  # m, root-mean-square DTW distance; 0: 0.7 x the largest merge
    loop_radius: float = 3.0  # m; a path that comes back this near has made a loop
    points: int = 32  # of a path, after resampling
    tube: float = 2.5  # m; a Q-function's episode ends where it leaves this far from its mode's
    # paths, so that no value leaks in through another mode's route; 0, or discover=false: never
    tube_paths: int = 8  # shortest successes of a mode whose surroundings are its tube
    every: int = 50  # vector steps between reclusterings
    smallest: int = 2  # successes that make a mode, unless no cluster has as many
    most: int = 12  # modes
    beyond: str = "merge"  # merge | drop: the nearest clusters, or the smallest, beyond `most`
    capacity: int = 400  # episodes kept: one half successes, shared equally by modes, one failures
    settled: int = 0  # the same once nothing explores any more; 0: as before
    evict: str = "longest"  # longest | random | spread: which success gives way; spread: one of
    # those that began nearest to each other, so that a mode is known from wherever it can begin
    failures: str = "shared"  # shared | nearest: whose batches hold a failed episode
    stuck: float = 1.0  # weight in draws of a failed episode's last steps, in which it stays where
    # it ends, relative to all others
    stuck_within: float = 0.5  # m of where it ends

    def __post_init__(self) -> None:
        """Check what the types do not.

        Raises:
            ValueError: naming the setting, its value and the valid ones.
        """
        if self.beyond not in ("merge", "drop"):
            raise ValueError(f"beyond={self.beyond!r}: valid are merge, drop")
        if self.labels not in ("clusters", "task"):
            raise ValueError(f"labels={self.labels!r}: valid are clusters, task")
        if self.labels == "task" and not self.discover:
            raise ValueError("labels=task: needs modes.discover=true")
        if self.evict not in ("longest", "random", "spread"):
            raise ValueError(f"evict={self.evict!r}: valid are longest, random, spread")
        if self.failures not in ("shared", "nearest"):
            raise ValueError(f"failures={self.failures!r}: valid are shared, nearest")
        require(self, "(0, 1]", "stuck")
        if self.settled and not self.settled >= self.capacity:  # NaN is not
            raise ValueError(f"settled={self.settled}: valid are 0 and integers from capacity on")
        require(self, "[0, inf)", "threshold", "loop_radius", "tube", "stuck_within")
        require(self, "[1, inf)", "tube_paths", "every", "smallest", "most")
        require(self, "[2, inf)", "points", "capacity")


@dataclass
class Inheritance:
    """What the modes after a reclustering take over from those before (see `clustering.match`)."""

    parents: list[int]
    fresh: list[bool]
    embeddings: list[int]


class Modes:
    """Files finished episodes into `episodes` and keeps them sorted into M modes.

    Successes wait unassigned (label -1) if no mode is near them, until the next reclustering.
    """

    def __init__(
        self, episodes: Episodes, config: ModesConfig, rng: torch.Generator | None = None
    ) -> None:
        self.config, self.rng = config, rng
        self.episodes = episodes
        self.capacity = config.capacity
        self.count = 0  # M
        self.slots: list[int] = []  # of the successes, in the order of the arrays below
        self.labels = np.zeros(0, np.int64)  # (n,) mode of each success, -1 none
        self.truth = np.zeros(0, np.int64)  # (n,) the task's label of each, if it was told
        self.summaries = np.zeros((0, config.points, 0))  # (n, L, P)
        self.matrix = np.zeros((0, 0))  # (n, n) m
        self.failures: list[int] = []  # slots, oldest first
        self.failure_labels: list[int] = []
        self.leaving: list[int] = []  # modes that the last reclustering would have dropped

    def add_episode(self, env: int, truth: int = -1) -> None:
        """Store the ended episode of `env`, giving up another where memory is full.

        Args:
            env: whose episode ended.
            truth: the task's label of it, for `labels=task`.
        """
        half = self.capacity // 2
        if self.episodes.success[env]:
            if len(self.slots) >= half:
                self.forget([self.surplus(np.arange(len(self.slots)))])
            slot = self.episodes.free_slot()
            self.episodes.store(env, slot)
            if slot is not None:
                self.append_success(slot, truth)
        else:
            if len(self.failures) >= half:
                self.episodes.number[self.failures.pop(0)] = -1
                self.failure_labels.pop(0)
            slot = self.episodes.free_slot()
            self.episodes.store(env, slot)
            if slot is not None:
                self.failures.append(slot)
                self.failure_labels.append(self.nearest_mode(self.summary(slot)))

    def settle(self) -> None:
        """Be told that nothing explores any more: from now on more episodes are kept.

        A policy improves fastest by what it did lately, and of that it needs much to be steady.
        """
        self.capacity = max(self.config.capacity, self.config.settled)

    def summary(self, slot: int) -> np.ndarray:
        """Return the resampled, loop-free path of the episode in `slot`, (1, L, P)."""
        if not self.config.discover:
            return np.zeros((1, self.config.points, 1))
        path = self.episodes.path(slot).cpu().numpy()
        return summarize(path, self.config.points, self.config.loop_radius)[None]

    def append_success(self, slot: int, truth: int = -1) -> None:
        """Add a success with its distances to all others; it joins the nearest mode at once."""
        new = self.summary(slot)
        old = self.summaries if len(self.slots) else np.zeros((0, *new.shape[1:]))
        row = distances(old, new)[0] if self.config.discover else np.zeros(len(old) + 1)
        self.summaries = np.concatenate([old, new])
        self.matrix = np.block([[self.matrix, row[:-1, None]], [row[None]]])
        if self.config.labels == "task":
            alike = self.labels[self.truth == truth]
            mode = int(alike[0]) if len(alike) else -1
            if truth < 0:
                raise ValueError("modes.labels=task: the labels of this task are not known")
        else:
            mode = self.nearest(row[:-1], self.config.threshold)
        self.labels, self.truth = np.append(self.labels, mode), np.append(self.truth, truth)
        self.slots.append(slot)

    def nearest(self, row: np.ndarray, limit: float) -> int:
        """Return the mode with the smallest mean distance (n,), or -1 if none is within limit."""
        means = [
            row[self.labels == mode].mean() if (self.labels == mode).any() else np.inf
            for mode in range(self.count)
        ]
        if not means or (limit > 0 and min(means) > limit):
            return -1
        return int(np.argmin(means))

    def nearest_mode(self, summary: np.ndarray) -> int:
        """Return the mode whose successes are nearest to a failure, judged by three of each."""
        if self.config.failures == "shared" or not (self.config.discover and self.count):
            return -1
        some = np.concatenate(
            [np.flatnonzero(self.labels == mode)[:3] for mode in range(self.count)]
        )
        row = np.full(len(self.labels), np.nan)
        row[some] = distances(self.summaries[some], summary)[0, :-1]
        means = [  # a mode may have lost all of its successes where shares are not equal
            np.nanmean(row[self.labels == mode]) if (self.labels == mode).any() else np.inf
            for mode in range(self.count)
        ]
        return int(np.argmin(means))

    def surplus(self, among: np.ndarray) -> int:
        """Return which success gives way: of the largest mode among these, as `evict` says.

        Without equal shares it is the oldest, whatever its mode.
        """
        if not self.config.equal:
            return int(among[0])
        labels, counts = np.unique(self.labels[among], return_counts=True)
        crowd = among[self.labels[among] == labels[counts.argmax()]]
        slots = [self.slots[i] for i in crowd]
        if self.config.evict == "longest":
            return int(crowd[int(self.episodes.length[slots].argmax())])
        if self.config.evict == "spread":
            start = self.episodes.position[slots, 0]
            gap = torch.cdist(start, start).fill_diagonal_(torch.inf).amin(0)
            crowd = crowd[(gap <= gap.min() + 1e-6).cpu().numpy()]
        which = torch.randint(len(crowd), (), device=self.episodes.device, generator=self.rng)
        return int(crowd[int(which)])

    def forget(self, which: list[int]) -> None:
        """Drop the successes at these places."""
        keep = np.setdiff1d(np.arange(len(self.slots)), which)
        for i in which:
            self.episodes.number[self.slots[i]] = -1
        self.slots = [self.slots[i] for i in keep]
        self.labels, self.truth = self.labels[keep], self.truth[keep]
        self.summaries = self.summaries[keep]
        self.matrix = self.matrix[np.ix_(keep, keep)]

    def recluster(self) -> Inheritance | None:
        """Sort the successes anew; return what the new modes inherit (None: nothing to sort).

        A mode is only dropped when two reclusterings in a row would drop it, so that one noisy
        partition cannot destroy what was learned; until then all modes stay as they are.
        """
        if not (self.slots or self.failures):
            return None
        if not self.config.discover:
            self.labels[:] = 0
            first, self.count = self.count == 0, 1
            return Inheritance([-1 if first else 0], [first], [-1 if first else 0])
        if not self.slots:
            return None
        old = self.members()
        before = self.labels
        self.labels = self.ranked(self.sorted())
        inheritance = Inheritance(*match(self.members(), old))
        drops = [j for j in range(len(old)) if j not in inheritance.parents]
        if not set(drops) <= set(self.leaving):
            self.leaving, self.labels = drops, before
            return None
        self.leaving = []
        self.count = len(inheritance.parents)
        self.balance()
        self.failure_labels = [self.nearest_mode(self.summary(slot)) for slot in self.failures]
        return inheritance

    def sorted(self) -> np.ndarray:
        """Return the cluster of each success, (n,) integers from 0."""
        if self.config.labels == "task":
            return np.unique(self.truth, return_inverse=True)[1]
        limit = self.config.most if self.config.beyond == "merge" else len(self.slots)
        return partition(self.matrix, self.config.threshold, limit)

    def ranked(self, labels: np.ndarray) -> np.ndarray:
        """Renumber clusters by size, largest first, -1 for those too small to be a mode."""
        sizes = np.bincount(labels)
        least = self.config.smallest if sizes.max() >= self.config.smallest else 1
        order = [c for c in np.argsort(-sizes, kind="stable") if sizes[c] >= least]
        order = order[: self.config.most]
        rank = np.full(len(sizes), -1)
        rank[order] = np.arange(len(order))
        return rank[labels]

    def members(self) -> list[set[int]]:
        """Return the episode numbers of each mode's successes."""
        number = self.episodes.number[self.slots].tolist() if self.slots else []
        modes = int(self.labels.max()) + 1 if len(self.labels) else 0
        return [{number[i] for i in np.flatnonzero(self.labels == mode)} for mode in range(modes)]

    def balance(self) -> None:
        """Keep at most an equal share of the memory's successes in each mode."""
        if not self.config.equal:
            return
        share = max(self.capacity // (2 * self.count), 1)
        for mode in range(self.count):
            while (self.labels == mode).sum() > share:
                self.forget([self.surplus(np.flatnonzero(self.labels == mode))])

    def weights(self) -> Tensor:
        """Return how often each slot is drawn for each mode, (3, M, S).

        In turn its own successes, failures, and rivals: the successes of other modes. A slot
        counts by its steps (see `Episodes.mass`). What a mode has none of is replaced by the next
        it has.
        """
        shape = (3, self.count, self.episodes.slots)
        weights = torch.zeros(shape, device=self.episodes.device)
        mass = self.episodes.mass()
        for mode in range(self.count):
            own, rivals = (
                [self.slots[i] for i in np.flatnonzero(mask)]
                for mask in (self.labels == mode, self.labels != mode)
            )
            lost = [
                slot
                for slot, label in zip(self.failures, self.failure_labels, strict=True)
                if label in (-1, mode)
            ]
            for row, slots in zip(
                weights, (own or lost, lost or own, rivals or lost or own), strict=True
            ):
                row[mode, slots] = mass[slots]
        return weights

    def sizes(self) -> Tensor:
        """Return how many successes of each mode are stored, (M,)."""
        known = self.labels[self.labels >= 0]
        return torch.as_tensor(np.bincount(known, minlength=self.count))

    def shares(self) -> Tensor:
        """Return each mode's share of the batch times M, (M,): all 1 where they are equal."""
        if self.config.equal:
            return torch.ones(self.count)
        sizes = self.sizes()
        if not sizes.sum():
            return torch.ones(self.count)  # one mode, of failures alone
        return (sizes * self.count / sizes.sum()).float()

    def tubes(self) -> Tensor:
        """Return points of the shortest paths of every mode, (M, tube_paths x L, P).

        A mode may have lost all of its successes since the last clustering, where shares are not
        equal; the paths of all modes then surround it.
        """
        points, every = [], np.arange(len(self.labels))
        for mode in range(self.count):
            own = np.flatnonzero(self.labels == mode)
            own = own if len(own) else every
            length = np.linalg.norm(np.diff(self.summaries[own], axis=1), axis=2).sum(1)
            best = own[
                np.resize(length.argsort()[: self.config.tube_paths], self.config.tube_paths)
            ]
            points.append(self.summaries[best].reshape(-1, self.summaries.shape[-1]))
        return torch.as_tensor(np.stack(points), dtype=torch.float32, device=self.episodes.device)

    def tree(self) -> dict[str, object]:
        """Return the successes' average linkage (n - 1, 4), labels (n,) and where it is cut, m."""
        if len(self.slots) < 2 or not self.config.discover or self.config.labels == "task":
            return {}
        linkage = average_linkage(self.matrix)
        cut = cut_height(linkage, self.config.threshold)
        return {"linkage": linkage, "labels": self.labels, "cut": cut}

    def state_dict(self) -> dict[str, object]:
        """Return a copy of the book-keeping; the episodes have a state of their own."""
        return {
            "count": self.count,
            "slots": list(self.slots),
            "labels": torch.tensor(self.labels),
            "truth": torch.tensor(self.truth),
            "summaries": torch.tensor(self.summaries),
            "matrix": torch.tensor(self.matrix),
            "failures": list(self.failures),
            "failure_labels": list(self.failure_labels),
            "leaving": list(self.leaving),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take back what `state_dict` returned."""
        for name, value in deepcopy(state).items():
            setattr(self, name, value.cpu().numpy() if isinstance(value, Tensor) else value)
