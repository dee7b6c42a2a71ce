"""Checks that every algorithm and every task must pass; public, so that a plugin tests itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

import bench.algos
import bench.tasks
from bench.api import ActsAsSpecified, Algorithm, Imitates, Spec, StoresPolicy, Task, Transition
from bench.rollout import Episode, Rollout
from bench.storage import load_state, save_state

SPEC = Spec(obs_dim=4, act_dim=2, num_envs=8, horizon=10, position_dim=2, max_return=10.0, seed=1)


def check_algorithm(name: str, settings: dict[str, Any] | None = None, steps: int = 60) -> None:
    """Check a registered algorithm's side of `bench.api.Algorithm` on random transitions.

    Args:
        name: of the registry.
        settings: of its dataclass, where the defaults learn too late or too slowly to be checked.
        steps: vector steps of the 8 environments that it is shown.

    Raises:
        AssertionError: naming what does not hold.
    """
    entry = bench.algos.discover()[name]
    config = entry.config(**(settings or {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        algo: Algorithm = entry.factory(SPEC, config, "cpu")
        feed(algo, steps, seed=2)
        obs = torch.randn(3, SPEC.obs_dim)
        check_acting(algo, obs)
        twin = entry.factory(SPEC, config, "cpu")
        twin.load_state_dict(through_a_file(algo.state_dict(), "state_dict"))
        assert same(acted(algo, obs), acted(twin, obs)), (
            "state_dict does not hold all of the policy"
        )
        if isinstance(algo, StoresPolicy):
            reader = entry.factory(SPEC, config, "cpu")
            kept = through_a_file(algo.policy_state_dict(), "policy_state_dict")
            reader.load_policy_state_dict(kept)
            assert same(acted(algo, obs), acted(reader, obs)), (
                "policy_state_dict does not hold all that acting needs"
            )
        for one in (algo, twin):
            torch.manual_seed(3)
            feed(one, 2, seed=4)
        assert same(acted(algo, obs), acted(twin, obs)), (
            "state_dict does not hold all that learning goes on from"
        )
        if isinstance(algo, Imitates):
            check_imitating(algo, obs)


def through_a_file(state: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a state as it comes back from a file, stored and read as a run does both.

    Raises:
        AssertionError: if it holds what is not stored, saying where.
    """
    file = io.BytesIO()
    try:
        save_state(state, file, name)
    except TypeError as error:
        raise AssertionError(str(error)) from None
    loaded: dict[str, Any] = load_state(file.getvalue(), Path(name), "cpu")
    return loaded


def acted(algo: Algorithm, obs: Tensor) -> list[Tensor]:
    """Return what a policy does freely, by each command and as specified where it is.

    torch's generator is seeded alike for each.
    """
    commands = [None, *(torch.full((len(obs),), mode) for mode in range(algo.num_modes))]
    actions = []
    for mode in commands:
        torch.manual_seed(5)
        actions.append(algo.act(obs, mode=mode))
    if isinstance(algo, ActsAsSpecified):
        torch.manual_seed(5)
        actions.append(algo.act_as_specified(obs))
    return actions


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Say whether two lists of actions are equal."""
    return len(one) == len(other) and all(map(torch.equal, one, other))


def feed(algo: Algorithm, steps: int, seed: int) -> None:
    """Let an algorithm act, observe and update on `steps` random vector steps.

    Observations are noise. Even environments walk to the right, odd ones to the left, and half of
    the episodes succeed at their end: there are two modes to be found.
    """
    rng = torch.Generator().manual_seed(seed)
    obs = torch.randn(SPEC.num_envs, SPEC.obs_dim, generator=rng)
    stride = torch.zeros(SPEC.num_envs, SPEC.position_dim)
    stride[::2, 0], stride[1::2, 0] = 1.0, -1.0
    for step in range(steps):
        action = algo.act(obs, explore=True)
        check_actions(action, SPEC.num_envs)
        after = torch.randn(SPEC.num_envs, SPEC.obs_dim, generator=rng)
        last = torch.full((SPEC.num_envs,), (step + 1) % SPEC.horizon == 0)
        success = last & (torch.rand(SPEC.num_envs, generator=rng) < 0.5)
        position = step % SPEC.horizon * stride
        algo.observe(Transition(
            obs, action, 10.0 * success.float(), after, success, last & ~success, success,
            position, position + stride,
        ))  # fmt: skip
        for key, value in algo.update().items():
            assert torch.isfinite(torch.as_tensor(value)), f"{key} is {value} at step {step + 1}"
        obs = after


def check_acting(algo: Algorithm, obs: Tensor) -> None:
    """Check that acting without exploration changes nothing, is seeded, and obeys commands."""
    before = plain(algo.state_dict())
    actions = acted(algo, obs)
    for action in actions:
        check_actions(action, len(obs))
    check_actions(algo.act(obs[:1]), 1)
    assert same(actions, acted(algo, obs)), "act is no function of its inputs and torch's generator"
    commanded = actions[1 : 1 + algo.num_modes]
    for i, action in enumerate(commanded):
        for other in commanded[:i]:
            assert not torch.equal(action, other), "two commands lead to the same actions"
    assert plain(algo.state_dict()) == before, "act(explore=False) changes the state"


def check_imitating(algo: Algorithm, obs: Tensor) -> None:
    """Check that what acts is what has imitated, freely and by every command."""
    assert isinstance(algo, Imitates)
    before = acted(algo, obs)
    rows = torch.randn(64, SPEC.obs_dim)
    algo.imitate(rows, 2 * torch.rand(64, SPEC.act_dim) - 1, steps=2)
    for one, other in zip(before, acted(algo, obs), strict=True):
        check_actions(other, len(obs))
        assert not torch.equal(one, other), "what acts does not follow what imitates"


def check_actions(action: Tensor, rows: int) -> None:
    """Check shape, finiteness and bounds of actions."""
    shape = (rows, SPEC.act_dim)
    assert action.shape == shape, f"act returned {tuple(action.shape)}, expected {shape}"
    assert torch.isfinite(action).all() and action.abs().max() <= 1, "actions leave [-1, 1]"


def plain(state: dict[str, Any]) -> bytes:
    """Return a state as bytes that are equal where it is."""
    stored = io.BytesIO()
    torch.save(state, stored)
    return stored.getvalue()


def check_task(name: str, steps: int = 60, **settings: Any) -> None:
    """Check a registered task's side of `bench.api.Task`.

    Args:
        name: of the registry.
        steps: vector steps that are compared.
        settings: of its dataclass.

    Raises:
        AssertionError: naming what does not hold.
    """
    task = bench.tasks.make_task(name, **settings)
    assert len(set(task.modes)) == len(task.modes), "two modes share a name"
    if f"bench/{name}-v0" in gymnasium.registry:
        single = gymnasium.make(f"bench/{name}-v0", **settings).unwrapped
        check_env(single, skip_render_check=True)
        single.close()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (2 * steps, 3, task.act_dim)).astype(np.float32)
    first, second = (Rollout(task.make(3, seed=7)) for _ in range(2))
    assert first.obs.shape == (3, task.obs_dim), f"observations have shape {first.obs.shape}"
    assert np.array_equal(first.obs, second.obs), "reset is not seeded"
    played = play(task, first, actions[:steps])
    others = Rollout(task.make(3, seed=7))
    assert not np.array_equal(played, play(task, others, -actions[:steps])), "actions are ignored"
    others.env.close()
    assert np.array_equal(played, play(task, second, actions[:steps])), "steps are not seeded"
    state = first.get_state()
    onwards = play(task, first, actions[steps:])
    third = Rollout(task.make(3, seed=8))
    third.set_state(state)
    assert np.array_equal(onwards, play(task, third, actions[steps:])), "get_state misses something"
    for rollout in (first, second, third):
        rollout.env.close()


def play(task: Task, rollout: Rollout, actions: np.ndarray) -> np.ndarray:
    """Return what T vector steps give, (T, N, O + P + 1), checking what ends and every number."""
    seen = []
    for action in actions:
        step = rollout.step(action)
        for key in ("reward", "next_obs", "next_position"):
            assert np.isfinite(getattr(step, key)).all(), f"{key} is not finite"
        shape = (rollout.env.num_envs, task.position_dim)
        assert step.next_position.shape == shape, f"positions have shape {shape}"
        done = np.flatnonzero(step.terminated | step.truncated).tolist()
        assert [episode.slot for episode in step.ended] == done, "final_info misses an episode"
        over = step.terminated | step.truncated
        assert not (step.success & ~over).any(), "a success that ends no episode"
        for episode in step.ended:
            check_episode(task, episode)
        seen.append(np.concatenate([step.next_obs, step.next_position, step.reward[:, None]], 1))
    return np.array(seen)


def check_episode(task: Task, episode: Episode) -> None:
    """Check that an ended episode's path, mode and success fit each other."""
    expected = (episode.length + 1, task.position_dim)
    assert episode.path.shape == expected, f"path {episode.path.shape}, expected {expected}"
    if task.modes:
        assert (episode.mode >= 0) == bool(episode.success), "a mode is labelled iff successful"
        assert episode.mode <= len(task.modes), "a mode label exceeds K"
        assert task.label(episode.path) == episode.mode, "label(path) is not the mode recorded"
