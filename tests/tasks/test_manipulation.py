"""Every mode of every manipulation task has a scripted solution, labelled as that mode."""

import numpy as np
import pytest

from bench.tasks import make_task
from bench.testing import check_task

TASKS = ("reach", "peg-in-hole", "drawer-close", "cabinet-open")


def follow(env, waypoints, steps=100, near=0.03):
    """Lead the end effector of one environment through points by damped least squares.

    Returns the mode it ended in (-1: failure), its length and its path.
    """
    obs, _ = env.reset()
    world, points = env.world, [np.array(p, float) for p in waypoints]
    first = env.task.position_dim + 3  # of the joint angles
    for _ in range(steps):
        while len(points) > 1 and np.linalg.norm(points[0] - obs[0, :3]) < near:
            points.pop(0)
        tip, jacobian = world.kinematics.jacobian(obs[:, first : first + 7].astype(float))
        gap = points[0] - tip[0]
        gap *= min(1.0, 0.05 / (np.linalg.norm(gap) + 1e-9))
        j = jacobian[0]
        pinv = j.T @ np.linalg.inv(j @ j.T + 1e-3 * np.eye(3))
        rest = 0.05 * (np.array(world.task.start) - obs[0, first : first + 7])
        change = pinv @ gap + (np.eye(7) - pinv @ j) @ rest
        action = change / world.increment * 1.5
        action /= max(1.0, np.abs(action).max())
        obs, _, terminated, truncated, infos = env.step(action[None].astype(np.float32))
        if terminated[0] or truncated[0]:
            final = infos["final_info"]
            return int(final["mode"][0]), int(final["episode"]["l"][0]), final["path"][0]
    raise AssertionError("the episode does not end")


def scripts(task):
    """Return waypoints of the end effector for every mode of a task, in m."""
    if task.name == "reach":
        signs = ((1, 1), (-1, 1), (1, -1), (-1, -1))
        return [
            [(0.33, 0.05 * y, 0.67 + 0.05 * z), (0.46, 0.04 * y, 0.67 + 0.04 * z), (0.56, 0, 0.65)]
            for y, z in signs
        ]
    if task.name == "peg-in-hole":
        return [[(x, y, 0.12), (x, y, 0.05), (x, y, 0.0)] for x, y, _ in task.holes]
    if task.name == "drawer-close":
        return [[(0.42, y, z), (0.72, y, z)] for y, z in task.fronts]
    return [
        [(0.46, -0.12, z), (0.53, -0.1, z), (0.51, -0.03, z), (0.45, 0.04, z), (0.4, 0.15, z)]
        for z in task.heights
    ]


@pytest.mark.parametrize("name", TASKS)
def test_a_scripted_controller_reaches_every_mode(name):
    task = make_task(name)
    for mode, waypoints in enumerate(scripts(task)):
        env = task.make(1, seed=mode, training=False)
        reached, length, path = follow(env, waypoints)
        env.close()
        assert reached == mode, f"{task.modes[mode]}: ended as {reached} after {length} steps"
        assert length < task.horizon
        assert task.label(path) == mode, "the path alone tells another mode"
        assert task.label(path[:, :3]) == mode, "the end effector's path alone tells another mode"
        doubled = np.repeat(path, 2, axis=0)
        jittered = doubled + np.random.default_rng(0).normal(0, 0.001, doubled.shape)
        jittered[-1] = path[-1]
        assert task.label(jittered) == mode, "the label does not survive noise"
        assert task.label(path[: len(path) // 2]) == -1, "half a path is no success"


@pytest.mark.parametrize("name", TASKS)
def test_check_env_and_one_equals_many(name):
    check_task(name, steps=110)


@pytest.mark.parametrize("name", TASKS)
def test_random_play_is_sparse(name):
    task, rng = make_task(name), np.random.default_rng(0)
    env = task.make(100, seed=0, threads=2)
    env.reset()
    successes = episodes = 0
    while episodes < 200:
        action = rng.uniform(-1, 1, (100, 7)).astype(np.float32)
        _, _, terminated, truncated, _ = env.step(action)
        successes, episodes = (
            successes + terminated.sum(),
            episodes + (terminated | truncated).sum(),
        )
    env.close()
    assert successes < 0.02 * episodes


def test_the_arm_stands_still_without_action_and_moves_as_told():
    task = make_task("reach")
    env = task.make(2, seed=0)
    obs, _ = env.reset()
    start = obs.copy()
    for _ in range(25):
        obs, *_ = env.step(np.zeros((2, 7), np.float32))
    assert np.abs(obs[:, :3] - start[:, :3]).max() < 0.01, "the arm sags"
    action = np.zeros((2, 7), np.float32)
    action[:, 0] = 1.0
    for _ in range(10):
        obs, *_ = env.step(action)
    turned = obs[:, 6] - start[:, 6]
    assert (turned > 0.15).all() and (turned <= 0.5).all(), "a joint ignores its target"
    env.close()


def test_kinematics_agree_with_mujoco():
    import mujoco

    from bench.tasks import panda

    model = panda.arm().compile()
    data, site = mujoco.MjData(model), model.site("end_effector").id
    kinematics = panda.Kinematics(model, (0.0, 0.0, 0.21))  # where the model has its site
    rng = np.random.default_rng(0)
    for q in rng.uniform(*model.jnt_range.T, (20, 7)):
        data.qpos[:] = q
        data.qvel[:] = rng.normal(size=7)
        mujoco.mj_forward(model, data)
        expected = np.zeros((3, 7))
        mujoco.mj_jacSite(model, data, expected, None, site)
        tip, speed = kinematics(q[None], data.qvel[None])
        np.testing.assert_allclose(tip[0], data.site_xpos[site], atol=1e-9)
        np.testing.assert_allclose(speed[0], expected @ data.qvel, atol=1e-9)
