"""Episodes as Minari datasets: those a policy plays, those a replay holds, those a run begins with.

Minari (https://minari.farama.org) keeps datasets by name below MINARI_DATASETS_PATH, by default
~/.minari/datasets; `pip install multimodal-rl-bench[data]` brings it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from bench.api import HasReplay, Task, Transition
from bench.errors import UsageError
from bench.evaluation import mode_name
from bench.finite import ACTION_BOUND
from bench.rollout import Step

NAME = "multimodal-rl-bench"


@dataclass(frozen=True)
class Trajectory:
    """One whole episode.

    Attributes:
        obs: (T + 1, O) float32, the last of them after the last action.
        action: (T, A) float32.
        reward: (T,) float32, the task's own.
        terminated: whether it ended by itself; else a time limit ended it.
        position: (T + 1, P) float32, in m; P is 0 where a task has none.
        notes: further facts of the episode.
    """

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: bool
    position: np.ndarray
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reward)


class Recorder:
    """Keeps the episodes that `play_episodes` plays; its `watch`."""

    def __init__(self) -> None:
        self.waves: list[dict[int, Trajectory]] = []
        self.steps: list[Step] = []
        self.playing = 0

    def __call__(self, step: Step, active: np.ndarray) -> None:
        """Take in a step and which environments (N,) are playing their first episode."""
        if not self.playing:
            self.waves.append({})
            self.steps, self.playing = [], int(active.sum())
        self.steps.append(step)
        for slot in (episode.slot for episode in step.ended if active[episode.slot]):
            self.waves[-1][slot] = joined([
                {key: getattr(one, key)[slot] for key in FIELDS} for one in self.steps
            ])  # fmt: skip
            self.playing -= 1

    def trajectories(self) -> list[Trajectory]:
        """Return all episodes, in the order in which `evaluate` returns them."""
        return [wave[slot] for wave in self.waves for slot in sorted(wave)]


FIELDS = ("obs", "action", "reward", "next_obs", "terminated", "position", "next_position")


def joined(steps: Sequence[Mapping[str, Any]]) -> Trajectory:
    """Return the episode that steps make, each with the fields of one environment's transition."""
    last = steps[-1]

    def column(key: str, *more: Any) -> np.ndarray:
        return np.stack([*(step[key] for step in steps), *more]).astype(np.float32)

    return Trajectory(
        column("obs", last["next_obs"]), column("action"), column("reward"),
        bool(last["terminated"]), column("position", last["next_position"]),
    )  # fmt: skip


def remembered(algo: HasReplay) -> Iterator[Trajectory]:
    """Yield the whole episodes of a replay, from the oldest on, environment by environment.

    What a full replay holds of an episode whose beginning it has lost is left out, and so are the
    running episodes.
    """
    stored = {key: value.cpu().numpy() for key, value in algo.transitions().items()}
    whole = stored.pop("whole")
    for env in range(stored["ended"].shape[1]):
        start = 0
        for end in np.flatnonzero(stored["ended"][:, env]).tolist():
            if start or whole:
                steps = [
                    {key: stored[key][t, env] for key in FIELDS} for t in range(start, end + 1)
                ]
                yield joined(steps)
            start = end + 1


def labelled(task: Task, trajectory: Trajectory) -> dict[str, Any]:
    """Return the mode that the task's label gives an episode, and whether that is a success."""
    if not trajectory.position.shape[1]:
        return {}
    label = task.label(trajectory.position)
    return {"success": label >= 0, "mode": label, "mode_name": mode_name(task, label)}


def minari() -> ModuleType:
    """Return Minari.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import minari
    except ModuleNotFoundError:
        raise UsageError(f"datasets need Minari: pip install '{NAME}[data]'") from None
    return minari  # type: ignore[no-any-return]


def check_free(name: str) -> None:
    """Check that a dataset may be made under this name.

    Raises:
        UsageError: if it is none by Minari's rules, or taken.
    """
    library = minari()
    try:
        library.dataset.minari_dataset.parse_dataset_id(name)
    except (ValueError, TypeError):  # the second where there is no version
        raise UsageError(f"id={name}: valid are names like group/name-v0") from None
    if library.storage.get_dataset_path(name).exists():
        raise UsageError(
            f"id={name}: there is a dataset of this name; give another one, or remove it by "
            f"`minari delete {name}`"
        )


def write(
    name: str,
    trajectories: Sequence[Trajectory],
    task: Task,
    env: gymnasium.envs.registration.EnvSpec | None,
    algorithm: str,
    description: str,
) -> None:
    """Make a Minari dataset of episodes; positions are the info `position`, notes the metadata.

    Args:
        name: of the dataset.
        trajectories: of at least one episode.
        task: whose sizes of observations and actions they have.
        env: of the environment to which `MinariDataset.recover_environment` leads back.
        algorithm: that made them.
        description: in plain words.
    """
    library = minari()
    buffers = [
        library.data_collector.EpisodeBuffer(
            observations=one.obs, actions=one.action, rewards=one.reward,
            terminations=ending(len(one), one.terminated),
            truncations=ending(len(one), not one.terminated),
            infos={"position": one.position} if one.position.shape[1] else None,
        )
        for one in trajectories
    ]  # fmt: skip
    # Not its "arrow", whose time grows with the square of the number of episodes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on authors and links, which we do not know
        dataset = library.create_dataset_from_buffers(
            name, buffers, env=env, algorithm_name=algorithm, description=description,
            observation_space=Box(-np.inf, np.inf, (task.obs_dim,), np.float32),
            action_space=Box(-1.0, 1.0, (task.act_dim,), np.float32),
            requirements=[f"{NAME}=={version(NAME)}"], data_format="hdf5",
        )  # fmt: skip
    dataset.storage.update_episode_metadata([
        {key: value for key, value in (labelled(task, one) | dict(one.notes)).items()
         if value is not None}
        for one in trajectories
    ])  # fmt: skip


def ending(length: int, ended: bool) -> np.ndarray:
    """Return flags (T,) of which at most the last is set."""
    return np.arange(length) == (length - 1 if ended else length)


def find(name: str) -> Any:
    """Return a local Minari dataset.

    Raises:
        UsageError: if there is none.
    """
    library = minari()
    try:
        return library.load_dataset(name)
    except (FileNotFoundError, ValueError):
        known = ", ".join(library.list_local_datasets()) or "none"
        raise UsageError(f"data={name}: no such dataset of Minari here; valid: {known}") from None


def read(name: str) -> list[Trajectory]:
    """Return the episodes of a local Minari dataset of flat observations and actions.

    Raises:
        UsageError: if there is none, or its observations or actions are not flat arrays.
    """
    dataset = find(name)
    for space in (dataset.observation_space, dataset.action_space):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise UsageError(f"data={name}: has {space}, valid are flat arrays of numbers")
    return [
        Trajectory(
            episode.observations.astype(np.float32), episode.actions.astype(np.float32),
            episode.rewards.astype(np.float32), bool(episode.terminations[-1]),
            positions(episode), notes,
        )
        for episode, notes in zip(
            dataset.iterate_episodes(),
            dataset.storage.get_episode_metadata(range(dataset.total_episodes)),
            strict=True,
        )
    ]  # fmt: skip


def positions(episode: Any) -> np.ndarray:
    """Return the positions (T + 1, P) of an episode of Minari's; P is 0 where it has none."""
    known = (episode.infos or {}).get("position")
    if known is None:
        return np.zeros((len(episode.observations), 0), np.float32)
    return np.asarray(known, np.float32)


def check_fits(name: str, trajectories: Sequence[Trajectory], task: Task, num_envs: int) -> None:
    """Check that a run can begin with these episodes.

    Raises:
        UsageError: naming what does not fit.
    """
    for one in trajectories:
        for what, has, needed in (
            ("observations", one.obs.shape[1], task.obs_dim),
            ("actions", one.action.shape[1], task.act_dim),
            ("positions", one.position.shape[1], task.position_dim),
        ):
            if has != needed:
                raise UsageError(
                    f"data={name}: has {what} of {has} numbers, {task.name} of {needed}"
                )
        if len(one) > task.horizon:
            raise UsageError(
                f"data={name}: has an episode of {len(one)} steps, {task.name} of {task.horizon}"
            )
        for what, values in (("observation", one.obs), ("action", one.action),
                             ("reward", one.reward), ("position", one.position)):  # fmt: skip
            if not np.isfinite(values).all():
                raise UsageError(f"data={name}: has {what}s that are not finite")
        largest = np.abs(one.action).max(initial=0)
        if largest > ACTION_BOUND:
            raise UsageError(f"data={name}: has actions as large as {largest:.3g}, valid are -1 to "
                             "1, the box that every task here acts in")  # fmt: skip
    if len(trajectories) < num_envs:
        raise UsageError(f"data={name}: has {len(trajectories)} episodes, which is less than one "
                         f"for each of num_envs={num_envs}")  # fmt: skip


def transitions(
    trajectories: Sequence[Trajectory],
    task: Task,
    num_envs: int,
    device: str,
    tell: Callable[[torch.Tensor], None] = lambda label: None,
) -> Iterator[Transition]:
    """Yield episodes as the steps of N environments that play them one after the other.

    Each episode goes to the environment that has fewest steps so far. All end with the first of
    them that has no more episodes; those that are running then are truncated there.

    Args:
        trajectories: the episodes.
        task: that they are of.
        num_envs: N.
        device: of the tensors.
        tell: told, before each step, the labels (N,) of what ends with it (see `TakesLabels`).
    """
    lanes: list[list[Trajectory]] = [[] for _ in range(num_envs)]
    lengths = np.zeros(num_envs, int)
    for one in trajectories:
        lane = int(lengths.argmin())
        lanes[lane].append(one)
        lengths[lane] += len(one)
    shared = int(lengths.min())
    columns = [[stretched(one, task) for one in lane] for lane in lanes]
    whole = [{key: np.concatenate([part[key] for part in lane])[:shared] for key in lane[0]}
             for lane in columns]  # fmt: skip
    stacked = {key: np.stack([lane[key] for lane in whole], axis=1) for key in whole[0]}
    stacked["truncated"][-1] |= ~stacked["terminated"][-1]
    tensors = {key: torch.as_tensor(value, device=device) for key, value in stacked.items()}
    labels = tensors.pop("label")
    for t in range(shared):
        tell(labels[t])
        yield Transition(**{key: value[t] for key, value in tensors.items()})


def stretched(one: Trajectory, task: Task) -> dict[str, np.ndarray]:
    """Return an episode's transitions, each field with T rows."""
    known = one.notes.get("success")  # of what was played; else what its path says
    of_path = labelled(task, one)
    success = bool(of_path.get("success", False) if known is None else known)
    mode = of_path.get("mode", -1)
    label = (mode if mode >= 0 else len(task.modes)) if success else -1
    return {
        "obs": one.obs[:-1], "action": one.action, "reward": one.reward, "next_obs": one.obs[1:],
        "terminated": ending(len(one), one.terminated),
        "truncated": ending(len(one), not one.terminated),
        "success": ending(len(one), success),
        "label": np.where(ending(len(one), True), label, -1),
        "position": one.position[:-1], "next_position": one.position[1:],
    }  # fmt: skip
