"""The one place that steps environments, on one whose every number is known."""

import numpy as np
import pytest

from bench.api import TaskEnv
from bench.rollout import Rollout, play_episodes


class Counting(TaskEnv):
    """N counters; environment i counts its steps from 0 and succeeds at count i + 2.

    It writes observations into one array over and over, as an environment may.
    """

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.count = np.zeros((num_envs, 1), np.float32)
        self.actions = []

    @property
    def position(self):
        return 10 * self.count

    def reset(self, *, seed=None, options=None):
        self.count[:] = 0
        self.total = np.zeros(self.num_envs)
        return self.count, {}

    def step(self, actions):
        self.actions.append(np.array(actions))
        self.count += 1
        reward = self.count[:, 0].astype(float)
        self.total += reward
        done = self.count[:, 0] == np.arange(self.num_envs) + 2
        never = np.zeros(self.num_envs, bool)
        infos = {}
        if done.any():
            length = np.where(done, self.count[:, 0], 0).astype(int)
            paths = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(done):
                paths[i] = 10 * np.arange(length[i] + 1, dtype=np.float32)[:, None]
            final = {
                "success": done.copy(), "_success": done.copy(),
                "path": paths, "_path": done.copy(),
                "episode": {"r": self.total.copy(), "l": length},
            }  # fmt: skip
            infos = {"final_obs": self.count.copy(), "final_info": final}
            self.count[done], self.total[done] = 0, 0
        return self.count, reward, done, never, infos


def test_successors_are_true_where_episodes_end_and_arrays_are_not_shared():
    rollout = Rollout(Counting(2))
    first, second, third = (rollout.step(np.zeros((2, 1))) for _ in range(3))
    assert first.obs.ravel().tolist() == [0, 0] and first.next_obs.ravel().tolist() == [1, 1]
    assert second.next_obs.ravel().tolist() == [2, 2], "not the first observation after the end"
    assert third.obs.ravel().tolist() == [0, 2], "the next episode starts anew"
    assert second.next_position.ravel().tolist() == [20, 20]
    assert third.position.ravel().tolist() == [0, 20]
    assert second.success.tolist() == [True, False] and not second.truncated.any()
    (episode,) = second.ended
    assert (episode.slot, episode.length, episode.total_reward) == (0, 2, 3.0)
    assert (episode.success, episode.goal, episode.mode) == (True, -1, -1)
    assert episode.path.ravel().tolist() == [0, 10, 20]
    batch = second.transition("cpu")
    assert batch.next_obs.tolist() == [[2.0], [2.0]] and batch.terminated.tolist() == [True, False]


@pytest.mark.parametrize("episodes", [None, 2])
def test_every_slot_plays_its_first_episode_and_no_other(episodes):
    env, asked, watched = Counting(4), [], []

    def act(obs, slots):
        asked.append(slots.tolist())
        return np.ones((len(slots), 1))

    played = play_episodes(
        env, act, 0, episodes, lambda step, active: watched.append(active.copy())
    )
    count = episodes or 4
    assert [episode.slot for episode in played] == list(range(count))
    assert [episode.length for episode in played] == [2, 3, 4, 5][:count]
    assert asked[0] == list(range(count)) and asked[-1] == [count - 1]
    assert np.array_equal(np.array(env.actions)[..., 0].astype(bool), np.array(watched))
