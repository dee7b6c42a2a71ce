"""What an evaluation says: success, which modes, how evenly, and whether commands are obeyed.

One table, `METRICS`: a metric is one entry. Mode labels are those of the task: 0..K-1 named modes,
K another success, -1 failure. Letters: E episodes, G evaluations, K modes, C commands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.found import MIN_COUNT, MIN_SHARE


@dataclass
class Evaluations:
    """E episodes of G evaluations, each by one protocol.

    Attributes:
        group: (E,) which evaluation an episode is of, 0..G-1, none of them empty.
        mode: (E,) labels.
        success: (E,) bool.
        returns: (E,).
        lengths: (E,) steps.
        commanded: (E,) the mode that was commanded, -1 for none.
        num_modes: K.
        detours: (E,) path length over the shortest route of the path's own mode, NaN where
            unknown.
        headings: (G, B, D) how many sampled actions head in each of D directions at B branch
            states, below 0 where there is no such direction or nothing was recorded; or None.
    """

    group: np.ndarray
    mode: np.ndarray
    success: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    commanded: np.ndarray
    num_modes: int
    detours: np.ndarray
    headings: np.ndarray | None = None

    @cached_property
    def episodes(self) -> np.ndarray:
        """Episodes of each evaluation, (G,)."""
        return np.bincount(self.group)

    @cached_property
    def tally(self) -> np.ndarray:
        """How many episodes have each label, (G, K + 2): named modes, other, failure."""
        found = np.zeros((len(self.episodes), self.num_modes + 2), int)
        np.add.at(found, (self.group, self.mode), 1)  # -1, a failure, is the last column
        return found

    @property
    def named(self) -> np.ndarray:
        """How many episodes succeeded in each named mode, (G, K)."""
        return self.tally[:, : self.num_modes]

    @cached_property
    def has_commands(self) -> np.ndarray:
        """Whether modes were commanded, (G,) bool."""
        return self.mean(self.commanded >= 0) > 0

    @cached_property
    def halves(self) -> np.ndarray:
        """Labels by half and command, (2, G, C, K + 2): the episodes of a command in turn."""
        commands, command = np.unique(self.commanded, return_inverse=True)
        cell = self.group * len(commands) + command
        order = np.argsort(cell, kind="stable")
        first = np.searchsorted(cell[order], cell[order])  # where the cell's episodes begin
        rank = np.empty(len(cell), int)
        rank[order] = np.arange(len(cell)) - first
        shape = (2, len(self.episodes), len(commands), self.num_modes + 2)
        found = np.zeros(shape, int)
        np.add.at(found, (rank % 2, self.group, command, self.mode), 1)
        return found

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the episodes of each evaluation, (E,) to (G,)."""
        groups = len(self.episodes)
        return np.bincount(self.group, weights=values, minlength=groups) / self.episodes


def modes_found(e: Evaluations) -> np.ndarray:
    """Return how many named modes are found.

    Sampled: with max(2, 5 % of the successes) episodes. Commanded: with two episodes, and 5 % of
    the episodes, of some command.
    """
    return found(e).sum(axis=-1)


def found(e: Evaluations) -> np.ndarray:
    """Return which named modes are found in each evaluation, (G, K) bool (see `modes_found`)."""
    won = e.tally[:, :-1].sum(axis=-1, keepdims=True)
    sampled = e.named >= np.maximum(MIN_COUNT, MIN_SHARE * won)
    if not e.has_commands.any():
        return sampled
    cells = e.halves.sum(axis=0)  # (G, C, K + 2)
    needed = np.maximum(MIN_COUNT, MIN_SHARE * cells.sum(axis=-1, keepdims=True))
    commanded = (cells[..., : e.num_modes] >= needed).any(axis=1)
    return np.where(e.has_commands[:, None], commanded, sampled)


def entropy(n: np.ndarray) -> np.ndarray:
    """Return the entropy of counts (..., K) in nats, corrected by Miller and Madow.

    The plain estimate is low: with 8 equal modes, 10 episodes give 0.80 of the truth. The
    correction adds (seen - 1) / 2n for the number of modes seen; the result is at most log(seen),
    so that an evaluation never has more effective modes than it has shown. 0 for fewer than two
    counts.
    """
    total, seen = n.sum(axis=-1), (n > 0).sum(axis=-1)
    p = n / np.maximum(total, 1)[..., None]
    plain = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    corrected = plain + (seen - 1) / (2 * np.maximum(total, 1))
    return np.where(total < 2, 0.0, np.minimum(corrected, np.log(np.maximum(seen, 1))))


def mode_entropy(e: Evaluations) -> np.ndarray:
    """Return the entropy over named successes as a share of log K; NaN for K = 1."""
    if e.num_modes < 2:
        return np.full(len(e.episodes), np.nan)
    return entropy(e.named) / np.log(e.num_modes)


def effective_modes(e: Evaluations) -> np.ndarray:
    """Return exp(entropy): the number of equally used modes that would be as even; 0 for none."""
    return np.where(e.named.sum(axis=-1) > 0, np.exp(entropy(e.named)), 0.0)


def solved_modes(e: Evaluations) -> np.ndarray:
    """Return the share of the modes that is effectively solved: named successes x evenness."""
    return e.named.sum(axis=-1) / e.episodes * effective_modes(e) / e.num_modes


def multi_goal_score(e: Evaluations) -> np.ndarray:
    """Return the sum over modes of min(share of the episodes, 1/K): DrAC's, over modes."""
    return np.minimum(e.named / e.episodes[:, None], 1 / e.num_modes).sum(axis=-1)


def obtained(e: Evaluations) -> np.ndarray:
    """Return how reliably each named mode is obtained by the command for it, (G, K).

    The command for mode k is the one that obtains it most often on one half of the episodes; the
    share of its episodes that obtain k is taken on the other half; then the halves are swapped, and
    the two shares averaged. Judged on the same episodes a policy that ignores commands would look
    obedient.
    """
    count = e.halves.sum(axis=-1, keepdims=True)
    share = (e.halves / np.maximum(count, 1))[..., : e.num_modes]  # (2, G, C, K)
    asked = count.sum(axis=0) > 0  # (G, C, 1); of a table with other protocols' rows not all are
    chosen = np.where(asked, share, -1).argmax(axis=2)[:, :, None]  # (2, G, 1, K)
    held_out = np.take_along_axis(share[::-1], chosen, axis=2)[:, :, 0]
    return held_out.mean(axis=0)


def command_coverage(e: Evaluations) -> np.ndarray:
    """Return the mean over modes of how reliably the command for it obtains it.

    At most 1/K in expectation for a policy that ignores its commands.
    """
    return obtained(e).mean(axis=-1)


def reachable_modes(e: Evaluations) -> np.ndarray:
    """Return how many modes the command for them obtains in at least half of its episodes."""
    return (obtained(e) >= 0.5).sum(axis=-1)


def command_information(e: Evaluations) -> np.ndarray:
    """Return the mutual information of command and label as a share of log min(C, K).

    The plug-in estimate less its Miller-Madow bias, within [0, 1]; failures are one label. 0 for
    a policy that ignores its commands or has only one; NaN for K = 1.
    """
    cells = e.halves.sum(axis=0)  # (G, C, K + 2)
    total = np.maximum(cells.sum(axis=(1, 2)), 1)
    p = cells / total[:, None, None]
    of_label, of_command = p.sum(axis=1, keepdims=True), p.sum(axis=2, keepdims=True)
    ratio = np.where(p > 0, p / np.where(p > 0, of_label * of_command, 1), 1)
    plain = (p * np.log(ratio)).sum(axis=(1, 2))
    labels, commands = (of_label > 0).sum(axis=(1, 2)), (of_command > 0).sum(axis=(1, 2))
    bias = ((cells > 0).sum(axis=(1, 2)) - labels - commands + 1) / (2 * total)
    most = np.log(np.maximum(np.minimum(commands, e.num_modes), 1))
    share = np.clip((plain - bias) / np.where(most > 0, most, 1), 0, 1)
    return np.where(most > 0, share, np.nan if e.num_modes < 2 else 0.0)


def detour(e: Evaluations) -> np.ndarray:
    """Return the mean over named successes of path length over the mode's shortest route.

    Routes run from cell centre to cell centre, so that a path that cuts corners and ends at the
    goal's rim is below 1 (down to 0.6 in small mazes): compare policies on one task, not tasks.
    """
    known = ~np.isnan(e.detours)
    groups = len(e.episodes)
    count = np.bincount(e.group[known], minlength=groups)
    total = np.bincount(e.group[known], weights=e.detours[known], minlength=groups)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def branch_entropy(e: Evaluations) -> np.ndarray:
    """Return how evenly sampled actions choose between the directions in which modes part.

    At the branch states of a maze: its start and the cells from which two named modes part. Each
    heading counts for the nearest of the D directions in which modes go on from there
    (`bench.probes.headings`), and the entropy of the counts is a share of log D, corrected as all
    others; the mean over branch states is returned. D is of directions, not of modes, several of
    which may set out alike: so an even choice is 1. It cannot tell one broad heading between two
    directions from a choice of either. An agent is asked at rest, wherever its own paths lead: a
    policy that never comes to a branch state is judged there, too. NaN where an action has no
    heading (ants) or none was recorded.
    """
    if e.headings is None:
        return np.full(len(e.episodes), np.nan)
    ways = (e.headings >= 0).sum(axis=-1)  # (G, B)
    share = entropy(np.maximum(e.headings, 0)) / np.log(np.maximum(ways, 2))
    return np.where(ways > 1, share, np.nan).mean(axis=-1)


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation.

    Attributes:
        label: what figures and tables call it.
        of: its values (G,).
        span: smallest and largest value; None where there is no bound.
        commanded: whether it judges obedience, and so is defined where modes were commanded.
        modes: whether it needs a task with modes.
        more_is_better: whether a larger value is better.
        probed: whether it is of probes instead of episodes, and so defined where these are.
    """

    label: str
    of: Callable[[Evaluations], np.ndarray]
    span: tuple[float, float | None] | None = (0.0, 1.0)
    commanded: bool = False
    modes: bool = True
    more_is_better: bool = True
    probed: bool = False

    @property
    def title(self) -> str:
        """Its label, and which end is good where that is not the upper one."""
        return self.label if self.more_is_better else f"{self.label} (less is better)"

    @property
    def nothing(self) -> float:
        """Its value where nothing is solved; NaN where that leaves it undefined."""
        solves = self.modes and self.more_is_better and not self.probed
        return 0.0 if solves else float("nan")


METRICS: dict[str, Metric] = {
    "success": Metric("success rate", lambda e: e.mean(e.success)),
    "other": Metric("successes in no named mode", lambda e: e.tally[:, -2] / e.episodes,
                    more_is_better=False),
    "modes_found": Metric("modes found", modes_found, (0, None)),
    "mode_coverage": Metric("mode coverage", lambda e: modes_found(e) / e.num_modes),
    "mode_entropy": Metric("mode entropy", mode_entropy),
    "effective_modes": Metric("effective modes", effective_modes, (0, None)),
    "solved_modes": Metric("solved modes", solved_modes),
    "multi_goal_score": Metric("multi-goal score", multi_goal_score),
    "coverage_return": Metric("coverage × return",
                              lambda e: e.mean(e.returns) * modes_found(e) / e.num_modes, None),
    "command_coverage": Metric("command coverage", command_coverage, commanded=True),
    "command_information": Metric("command information", command_information, commanded=True),
    "command_success": Metric("command success", lambda e: e.mean(e.success), commanded=True),
    "reachable_modes": Metric("reachable modes", reachable_modes, (0, None), commanded=True),
    "detour": Metric("detour", detour, (0, None), more_is_better=False),
    "branch_entropy": Metric("branch entropy", branch_entropy, probed=True),
    "return": Metric("return", lambda e: e.mean(e.returns), None, modes=False),
    "length": Metric("episode length", lambda e: e.mean(e.lengths), (0, None), modes=False,
                     more_is_better=False),
}  # fmt: skip


def evaluations(e: Evaluations) -> dict[str, np.ndarray]:
    """Return all metrics of G evaluations, each (G,); NaN where one is not defined."""
    unknown = np.full(len(e.episodes), np.nan)
    scores = {}
    for name, metric in METRICS.items():
        defined = (e.num_modes > 0 or not metric.modes) and (
            e.has_commands.any() or not metric.commanded
        )
        values = np.asarray(metric.of(e), float) if defined else unknown
        scores[name] = np.where(e.has_commands, values, np.nan) if metric.commanded else values
    return scores
