"""Every task is a plain Gymnasium environment: other libraries train on it by its id, as it is.

Stable-Baselines3 is part of the development setup; TorchRL and Tianshou are tried where they are
installed. What was seen of all three is in docs/ecosystem.md.
"""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from test_manipulation import follow, scripts

from bench import load_policy
from bench.tasks import make_task, registry

SUITE = [name for name in registry if registry[name].info["suite"] == "yes"]
FAMILIES = ("pointmaze-v1", "antmaze-v1", "reach")  # one task of each
STEPS = 1_000
ANT = Path(__file__).parents[2] / "results/reference/hour/antmaze-v1/sac/seed=10"


@pytest.fixture(scope="module", params=FAMILIES)
def solved(request):
    """Return id, settings and actions of an episode that succeeds, and its mode.

    The point is pushed along a corridor, the ant walks by a policy of the reference results, and
    the arm by script.
    """
    if request.param == "pointmaze-v1":
        settings = {"layout": ["#####", "#R.G#", "#####"]}
        return "bench/pointmaze-v1-v0", settings, np.tile(np.float32([1, 0]), (30, 1)), 0
    if request.param == "antmaze-v1":
        torch.manual_seed(0)
        policy, env = load_policy(ANT), gymnasium.make("bench/antmaze-v1-v0", training=False)
        for _ in range(5):  # an ant falls now and then
            obs, actions, ended = env.reset()[0], [], False
            while not ended:
                actions.append(policy.act(obs[None])[0])
                obs, _, success, truncated, info = env.step(actions[-1])
                ended = success or truncated
            if success:
                break
        assert success
        return "bench/antmaze-v1-v0", {"training": False}, np.array(actions), info["mode"]
    task, actions = make_task("reach"), []
    env = task.make(1, seed=0)
    step = env.step
    env.step = lambda action: (actions.append(action[0]), step(action))[1]
    mode, _, _ = follow(env, scripts(task)[2])
    return "bench/reach-v0", {}, np.array(actions), mode


@pytest.mark.parametrize("name", SUITE)
def test_stable_baselines3_trains_and_counts_episodes(name):
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env(f"bench/{name}-v0", n_envs=1, seed=0)
    model = sb3.SAC("MlpPolicy", env, learning_starts=100, train_freq=10, batch_size=32, seed=0)
    model.learn(STEPS)
    horizon = env.get_attr("spec")[0].max_episode_steps
    assert len(model.ep_info_buffer) >= STEPS // horizon >= 1
    for episode in model.ep_info_buffer:
        assert episode["r"] in (0.0, 10.0) and (episode["l"] == horizon) >= (episode["r"] == 0.0)
    action, _ = model.predict(env.reset())
    assert action[0] in env.action_space
    env.close()


def test_stable_baselines3_reads_success(solved):
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    key, settings, actions, _ = solved

    class Script:
        left = iter(actions)

        def predict(self, obs, **kwargs):
            return next(self.left)[None], None

    env = make_vec_env(key, n_envs=1, env_kwargs=settings)
    callback = EvalCallback(env)
    returns, lengths = evaluate_policy(
        Script(), env, 1, callback=callback._log_success_callback, return_episode_rewards=True
    )
    assert callback._is_success_buffer == [True] and returns == [10.0]
    assert lengths[0] <= len(actions)


def test_stable_baselines3_records_a_video(tmp_path):
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("moviepy")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecVideoRecorder

    env = make_vec_env("bench/pointmaze-v1-v0", n_envs=2)
    env = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=5)
    env.reset()
    for _ in range(6):
        env.step(np.zeros((2, 2), np.float32))
    env.close()
    assert [path.stat().st_size > 1_000 for path in tmp_path.glob("*.mp4")] == [True]


@pytest.fixture
def filmed(tmp_path):
    """Return a function that makes a recorded environment, and the folder of its videos."""
    pytest.importorskip("moviepy")

    def make(name):
        env = gymnasium.make(f"bench/{name}-v0", render_mode="rgb_array", max_episode_steps=6)
        return gymnasium.wrappers.RecordVideo(env, str(tmp_path), episode_trigger=lambda _: True)

    return make, tmp_path


def torchrl_env(key, **settings):
    """Return TorchRL's environment of an id with a reader of success and mode."""
    from torchrl.data import Composite, Unbounded
    from torchrl.envs import GymEnv
    from torchrl.envs.gym_like import BaseInfoDictReader

    class Reader(BaseInfoDictReader):
        info_spec = Composite(
            is_success=Unbounded((), dtype=torch.bool), mode=Unbounded((), dtype=torch.int64)
        )

        def __call__(self, info, tensordict):
            return tensordict.update({key: torch.tensor(info[key]) for key in self.info_spec})

        def reset(self):
            pass

    return GymEnv(key, **settings).set_info_dict_reader(Reader())


@pytest.mark.parametrize("name", FAMILIES)
def test_torchrl_trains_and_counts_episodes(name):
    pytest.importorskip("torchrl")
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.data import LazyTensorStorage, ReplayBuffer
    from torchrl.envs import Compose, RewardSum, StepCounter, TransformedEnv
    from torchrl.modules import MLP, TanhModule, ValueOperator
    from torchrl.objectives import DDPGLoss

    counted = Compose(RewardSum(), StepCounter())
    env = TransformedEnv(torchrl_env(f"bench/{name}-v0"), counted)
    obs_dim, act_dim = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    mlp = TensorDictModule(MLP(in_features=obs_dim, out_features=act_dim, num_cells=[64]),
                           ["observation"], ["raw"])  # fmt: skip
    actor = torch.nn.Sequential(mlp, TanhModule(in_keys=["raw"], out_keys=["action"]))
    actor = TensorDictModule(actor, ["observation"], ["action"])
    critic = ValueOperator(MLP(in_features=obs_dim + act_dim, out_features=1, num_cells=[64]),
                           in_keys=["observation", "action"])  # fmt: skip
    loss = DDPGLoss(actor, critic)
    optimiser = torch.optim.Adam(loss.parameters())
    replay = ReplayBuffer(storage=LazyTensorStorage(STEPS), batch_size=32)
    horizon, ended = make_task(name).horizon, 0
    for batch in Collector(env, None, frames_per_batch=100, total_frames=STEPS):
        replay.extend(batch)
        done = batch["next", "done"].squeeze(-1)
        keys = ("step_count", "episode_reward", "is_success")
        columns = [batch["next", key].squeeze(-1)[done].tolist() for key in keys[:2]]
        for length, total, success in zip(*columns, batch["next", keys[2]][done], strict=True):
            assert total == 10 * success and (length == horizon) >= (not success)
            ended += 1
        losses = loss(replay.sample())
        optimiser.zero_grad()
        (losses["loss_actor"] + losses["loss_value"]).backward()
        optimiser.step()
    assert len(replay) == STEPS and ended >= STEPS // horizon


def test_torchrl_reads_success_and_pixels(solved):
    pytest.importorskip("torchrl")
    from torchrl.envs import GymEnv

    key, settings, actions, mode = solved
    left = iter(torch.as_tensor(actions))
    played = torchrl_env(key, **settings).rollout(
        len(actions), policy=lambda td: td.set("action", next(left))
    )
    assert played["next", "is_success"].tolist() == [False] * (len(played) - 1) + [True]
    assert played["next", "reward"].sum() == 10 and played["next", "mode"][-1] == mode
    seen = GymEnv(key, from_pixels=True, pixels_only=False, **settings).rollout(2)
    assert seen["pixels"].shape == (2, 480, 480, 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_torchrl_records_a_video(name, filmed):
    pytest.importorskip("torchrl")
    from torchrl.envs import GymWrapper

    make, folder = filmed
    env = GymWrapper(make(name))
    assert len(env.rollout(10)) == 6
    env.close()
    assert [path.stat().st_size > 1_000 for path in folder.glob("*.mp4")] == [True]


@pytest.mark.parametrize("name", FAMILIES)
def test_tianshou_trains_and_counts_episodes(name):
    pytest.importorskip("tianshou", minversion="2")
    from tianshou.algorithm import SAC
    from tianshou.algorithm.modelfree.sac import SACPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.trainer import OffPolicyTrainerParams
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic

    one = gymnasium.make(f"bench/{name}-v0")
    obs, act, adam = one.observation_space.shape, one.action_space.shape, AdamOptimizerFactory()
    actor = ContinuousActorProbabilistic(
        preprocess_net=Net(state_shape=obs, hidden_sizes=[64]), action_shape=act, unbounded=True,
        conditioned_sigma=True,
    )  # fmt: skip
    critic = ContinuousCritic(
        preprocess_net=Net(state_shape=obs, action_shape=act, hidden_sizes=[64], concat=True)
    )
    algorithm = SAC(
        policy=SACPolicy(actor=actor, action_space=one.action_space), policy_optim=adam,
        critic=critic, critic_optim=adam,
    )  # fmt: skip
    envs = [DummyVectorEnv([lambda: gymnasium.make(f"bench/{name}-v0")] * n) for n in (2, 1)]
    training = Collector(algorithm, envs[0], VectorReplayBuffer(STEPS, 2))
    training.reset()
    algorithm.run_training(OffPolicyTrainerParams(
        max_epochs=1, epoch_num_steps=STEPS, training_collector=training,
        test_collector=Collector(algorithm, envs[1]), test_step_num_episodes=1,
        collection_step_num_env_steps=100, update_step_num_gradient_steps_per_sample=0.1,
        batch_size=32, show_progress=False, verbose=False,
    ))  # fmt: skip
    stored = training.buffer
    assert len(stored) == STEPS and stored.info.is_success.sum() == (stored.rew == 10).sum()
    played = Collector(algorithm, envs[1]).collect(n_episode=1, reset_before_collect=True)
    assert played.lens[0] == make_task(name).horizon or played.returns[0] == 10


def test_tianshou_reads_success(solved):
    pytest.importorskip("tianshou", minversion="2")
    from tianshou.env import DummyVectorEnv

    key, settings, actions, mode = solved
    env = DummyVectorEnv([lambda: gymnasium.make(key, **settings)])
    env.reset()
    for action in actions:
        _, reward, terminated, _, info = env.step(action[None])
        assert info[0]["is_success"] == terminated[0] == (reward[0] == 10)
        if terminated[0]:
            break
    assert info[0]["is_success"] and info[0]["mode"] == mode


@pytest.mark.parametrize("name", FAMILIES)
def test_tianshou_records_a_video(name, filmed):
    pytest.importorskip("tianshou", minversion="2")
    from tianshou.env import DummyVectorEnv

    make, folder = filmed
    env = DummyVectorEnv([lambda: make(name)])
    env.reset()
    for _ in range(6):
        *_, truncated, _ = env.step(np.zeros((1, *env.action_space[0].shape), np.float32))
    assert truncated[0]
    env.close()
    assert [path.stat().st_size > 1_000 for path in folder.glob("*.mp4")] == [True]
