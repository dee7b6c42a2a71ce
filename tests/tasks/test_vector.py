"""What the vector environment does where an episode ends badly: by a fall, by divergence."""

import numpy as np
import pytest

from bench.rollout import Rollout
from bench.tasks import make_task
from bench.tasks.maze import MazeWorld
from bench.tasks.vector import WorldVectorEnv
from bench.tasks.world import Verdict


class Falling(MazeWorld):
    """An ant whose episode ends without success once its torso is low or turned over."""

    def judge(self, before, position, qpos):
        """Judge as the maze does, and say who has fallen."""
        verdict = super().judge(before, position, qpos)
        return Verdict(verdict.reward, verdict.goal, qpos[:, 2] < 0.6)


def test_an_episode_can_end_by_falling_which_is_no_success():
    task = make_task("antmaze-v1", integrator="implicitfast")
    rollout = Rollout(WorldVectorEnv(task, Falling(task, training=False), 4, seed=0))
    ended = []
    for _ in range(60):
        step = rollout.step(np.zeros((4, 8), np.float32))
        ended += step.ended
        fell = step.terminated
        assert not step.truncated.any() and not step.success.any()
        assert (step.next_obs[fell, 2] < 0.6).all() and (rollout.obs[fell, 2] > 0.7).all()
        if fell.any():
            break
    assert [episode.slot for episode in ended] == [0, 1, 2, 3]
    for episode in ended:
        assert (episode.success, episode.goal, episode.mode) == (False, -1, -1)
        assert task.label(episode.path) == -1 and len(episode.path) == episode.length + 1


@pytest.mark.parametrize("integrator", ["rk4", "implicitfast"])
def test_a_diverged_simulation_is_truncated_where_it_last_was_sound(
    integrator, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning there
    env = make_task("antmaze-v1", integrator=integrator).make(3, seed=0)
    rollout = Rollout(env)
    for _ in range(3):
        rollout.step(np.full((3, 8), 0.3, np.float32))
    sound, place = rollout.obs.copy(), rollout.position.copy()
    env.model.actuator_gear[:, 0] *= 1e14  # forces that no simulation bears; 0 stays 0
    step = rollout.step(np.array([[0.0], [1.0], [0.0]]) * np.ones(8))
    env.model.actuator_gear[:, 0] /= 1e14
    assert step.truncated.tolist() == [False, True, False] and not step.terminated.any()
    assert np.isfinite(step.next_obs).all() and np.isfinite(rollout.obs).all()
    assert np.array_equal(step.next_position[1], place[1]), "the path jumps"
    assert np.array_equal(step.ended[0].path[-2:], place[[1, 1]]) and not step.reward.any()
    assert np.array_equal(step.next_obs[1], sound[1])
    assert env.statistics()["diverged"] == 1
    before = rollout.obs.copy()
    again = rollout.step(np.zeros((3, 8), np.float32))
    assert not (again.truncated | again.terminated).any(), "the next episode goes on"
    assert np.abs(again.next_position - rollout.position).max() == 0
    assert np.abs(again.next_obs[:, :2] - before[:, :2]).max() < 1


def test_sound_simulations_are_not_called_diverged():
    for name in ("antmaze-v1", "pointmaze-v3", "reach"):
        env = make_task(name).make(4, seed=0)
        rollout = Rollout(env)
        rng = np.random.default_rng(0)
        for _ in range(300):
            rollout.step(rng.uniform(-1, 1, (4, env.single_action_space.shape[0])))
        assert "diverged" not in env.statistics()
        env.close()
