"""A plugin for tests: a task without physics and a small learner, both able to go wrong."""

import os
import signal
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

import bench.algos
import bench.tasks
from bench.api import Task, TaskEnv

HORIZON = 20


@dataclass
class LineConfig:
    fault: str = ""  # reward | huge-reward | observation | infinite-reward | endless | diverged
    # | played, a NaN reward: the last three in evaluations
    at: int = 15  # steps of a training environment before it goes wrong


class Line(Task):
    """Walk on a line to either end."""

    modes = ("left", "right")
    obs_dim, act_dim, horizon, position_dim, max_return = 2, 1, HORIZON, 2, 1.0

    def __init__(self, name, config):
        self.name, self.config = name, config

    def label(self, path):
        end = path[-1, 0]
        return int(end > 0) if abs(end) >= 1 else -1

    def make(self, num_envs, seed, threads=1, training=True):
        return LineEnv(self, num_envs, seed, training)


class LineEnv(VectorEnv, TaskEnv):
    """N walkers; the state holds whatever a state may hold."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, task, num_envs, seed, training):
        self.task, self.num_envs, self.training = task, num_envs, training
        playing = ("endless", "diverged", "played")
        self.fault = task.config.fault if training or task.config.fault in playing else ""
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = Box(-1, 1, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.latest = deque(maxlen=3)
        self.steps = 0
        self.reset(seed=seed)

    @property
    def position(self):
        return np.stack([self.x, np.zeros_like(self.x)], axis=1)

    def obs(self):
        return np.stack([self.x, self.length / HORIZON], axis=1).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.x = self.rng.uniform(-0.2, 0.2, self.num_envs).astype(np.float32)
        self.length = np.zeros(self.num_envs, np.int64)
        self.paths = [[point] for point in self.position]
        return self.obs(), {}

    def step(self, actions):
        self.steps += 1
        self.x = self.x + 0.15 * actions[:, 0] + self.rng.normal(0, 0.02, self.num_envs)
        self.x = self.x.astype(np.float32)
        self.length += 1
        for path, point in zip(self.paths, self.position, strict=True):
            path.append(point)
        self.latest.append(self.x.copy())
        success = np.abs(self.x) >= 1
        reward = success.astype(np.float64)
        if self.fault == "played" and not self.training:
            reward[0] = np.nan
        done = success | (self.length >= HORIZON)
        if self.fault == "endless" and not self.training:
            done = success = np.zeros(self.num_envs, bool)
        obs, infos = self.obs(), {}
        if done.any():
            obs, infos = self.restart(obs, done, success, reward)
        if self.training and self.steps == self.task.config.at:
            if "reward" in self.fault:
                kinds = {"huge-reward": 1e30, "infinite-reward": np.inf}
                reward[-1] = kinds.get(self.fault, np.nan)
            elif self.fault == "observation":
                obs[-1, 0] = np.inf
        return obs, reward, done & success, done & ~success, infos

    def restart(self, obs, done, success, reward):
        paths = np.full(self.num_envs, None, object)
        mode = np.full(self.num_envs, -1)
        for i in np.flatnonzero(done):
            paths[i] = np.array(self.paths[i], np.float32)
            mode[i] = self.task.label(paths[i])
        diverged = done & (self.fault == "diverged" and not self.training)
        diverged[1:] = False
        final = {"success": success & ~diverged, "goal": mode, "mode": mode, "path": paths,
                 "diverged": diverged}  # fmt: skip
        masks = {f"_{key}": done for key in (*final, "episode")}
        episode = {"r": reward.copy(), "l": self.length.copy(), "_r": done, "_l": done}
        infos = {"final_obs": obs, "_final_obs": done, "_final_info": done,
                 "final_info": {**final, "episode": episode, **masks}}  # fmt: skip
        self.x = np.where(done, self.rng.uniform(-0.2, 0.2, self.num_envs), self.x)
        self.x, self.length = self.x.astype(np.float32), np.where(done, 0, self.length)
        for i in np.flatnonzero(done):
            self.paths[i] = [self.position[i]]
        return self.obs(), infos

    def get_state(self):
        return {"rng": self.rng.bit_generator.state, "x": self.x, "length": self.length,
                "paths": [list(path) for path in self.paths], "latest": self.latest,
                "steps": np.int64(self.steps)}  # fmt: skip

    def set_state(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.x, self.length, self.paths = state["x"], state["length"], state["paths"]
        self.latest, self.steps = state["latest"], int(state["steps"])
        return self.obs()


bench.tasks.register("line", config=LineConfig, suite="no")(Line)


@dataclass
class WalkerConfig:
    fault: str = ""  # constructor | loss | weight | action | huge-action | kill | interrupt | twice
    at: int = 15  # updates, or evaluations' calls of act, before it goes wrong
    seeds: str = "any"  # of the runs that go wrong: one seed of the algorithm, or any
    delay: float = 0.0  # s per update
    once: str = ""  # a file that is made when it goes wrong, and then it does not again


class Walker:
    """Learns nothing much, from a generator of its own."""

    num_modes = 0

    def __init__(self, spec, config, device):
        if config.fault == "constructor":
            raise ValueError("no [bold]such[/] thing [/red]\nsecond line")
        self.spec, self.config = spec, config
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.weight = torch.randn(spec.obs_dim, spec.act_dim, generator=self.generator)
        self.spare = torch.zeros(2)  # which neither actions nor losses depend on
        self.count = self.asked = 0

    def fails(self, now):
        wrong = now and not (self.config.once and Path(self.config.once).exists())
        if wrong and self.config.once:
            Path(self.config.once).touch()
        return wrong

    def act(self, obs, explore=False, mode=None):
        action = torch.tanh(obs @ self.weight)
        if explore:
            noise = torch.randn(action.shape, generator=self.generator)
            action = (action + noise).clamp(-1, 1)
            if "action" in self.config.fault and self.count == self.config.at:
                action[0] = 1e30 if "huge" in self.config.fault else torch.nan
        else:
            self.asked += 1
            if self.config.fault in ("interrupt", "twice") and self.fails(
                self.asked == self.config.at
            ):
                for _ in range(1 + (self.config.fault == "twice")):
                    signal.raise_signal(signal.SIGINT)
        return action

    def observe(self, step):
        self.weight += 0.01 * step.obs.mean(0, keepdim=True).T
        self.weight += 0.01 * torch.randn(self.weight.shape, generator=self.generator)

    def update(self):
        time.sleep(self.config.delay)
        self.count += 1
        now = self.count == self.config.at
        if self.config.fault == "weight" and now:
            self.spare[0] = torch.nan
        if (
            self.config.fault == "kill"
            and self.config.seeds in ("any", str(self.spec.seed))
            and (self.fails(now))
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        loss = self.weight.square().mean()
        bad = self.config.fault == "loss" and now
        return {"loss": loss * torch.nan if bad else loss, "count": float(self.count)}

    def state_dict(self):
        return {"weight": self.weight, "spare": self.spare, "generator": self.generator.get_state(),
                "count": self.count}  # fmt: skip

    def load_state_dict(self, state):
        self.weight = state["weight"].clone()
        self.spare = state["spare"].clone()
        self.generator.set_state(state["generator"].cpu())
        self.count = state["count"]


bench.algos.register("walker", config=WalkerConfig)(Walker)
