"""Every task of the suite is a plain Gymnasium environment: another library trains on it as is."""

import gymnasium
import pytest

from bench.tasks import registry

SUITE = [name for name in registry if registry[name].info["suite"] == "yes"]


@pytest.mark.parametrize("name", SUITE)
def test_sac_of_stable_baselines3_trains_unchanged(name):
    sb3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make(f"bench/{name}-v0")
    model = sb3.SAC("MlpPolicy", env, learning_starts=100, train_freq=10, batch_size=32, seed=0)
    model.learn(1000)
    action, _ = model.predict(env.reset(seed=0)[0])
    assert action in env.action_space
    env.close()
