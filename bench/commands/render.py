"""Film a trained policy: one episode per mode side by side, and a picture of its paths.

  python -m bench render RUN_DIR [episodes=8] [size=320] [fps=25] [seed=0]

Every mode of a policy that takes commands is played `episodes` times; of the others, 12 x as many
episodes are sampled and sorted by the task's own modes. Shown is each one's success of median
length. Writes RUN_DIR/render/: episodes.mp4 (a GIF without the package imageio-ffmpeg), paths.png.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench import rendering
from bench.analysis.style import FAILURE, mode_color
from bench.api import Task
from bench.errors import UsageError
from bench.evaluation import mode_name
from bench.policy import Policy, load_policy, load_task
from bench.words import parse, whole


@dataclass(frozen=True)
class Episode:
    """One played episode: its states (T, S), path (T + 1, P) in m, command and mode label."""

    states: np.ndarray
    path: np.ndarray
    command: int
    mode: int


def main(words: list[str]) -> int:
    """Write the video and the picture; print where they are."""
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {"episodes": "8", "size": "320", "fps": "25", "seed": "0"}
    plain, values = parse(words, defaults)
    if len(plain) != 1:
        raise UsageError("render needs one run directory")
    numbers = {key: whole(key, value, 0 if key == "seed" else 1) for key, value in values.items()}
    policy, task = load_policy(plain[0]), load_task(plain[0])
    groups = max(policy.num_modes, 1)
    count = numbers["episodes"] * (groups if policy.num_modes else 12)
    commands = np.arange(count) % groups if policy.num_modes else np.full(count, -1)
    env: Any = task.make(count, numbers["seed"], 1, training=False)
    painter = rendering.Painter(env, numbers["size"])
    try:
        episodes = play(policy, task, env, commands, numbers["seed"])
        chosen = choose(episodes)
        out = Path(plain[0]) / "render"
        video = rendering.write_video(out, "episodes", film(painter, task, chosen), numbers["fps"])
        trails = [(e.path, rgb(e.mode, task)) for e in sorted(episodes, key=lambda e: e.mode)]
        large = rendering.Painter(env, 2 * numbers["size"])
        Image.fromarray(large.frame(chosen[0].states[0], trails, 0.5)).save(out / "paths.png")
        large.close()
    finally:
        painter.close()
        env.close()
    for episode in chosen:
        command = "sampled" if episode.command < 0 else f"mode {episode.command}"
        print(f"{command}: {mode_name(task, episode.mode)} after {len(episode.states)} steps")
    print(f"Video: {video}\nPicture: {out / 'paths.png'}")
    return 0


def rgb(mode: int, task: Task) -> tuple[float, float, float]:
    """Return a mode label's colour."""
    from matplotlib.colors import to_rgb

    color: Any = FAILURE if mode < 0 else mode_color(mode, len(task.modes))
    return to_rgb(color)


def play(policy: Policy, task: Task, env: Any, commands: np.ndarray, seed: int) -> list[Episode]:
    """Play one episode per command (-1: none) and keep every physics state."""
    count, where = len(commands), task.position or slice(0, 0)
    obs, _ = env.reset(seed=seed)
    active, length = np.ones(count, bool), np.zeros(count, np.int64)
    label = np.full(count, -1)
    states, track = [], [obs[:, where].copy()]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        while active.any():
            states.append(env.state.copy())
            rows = torch.as_tensor(obs, dtype=torch.float32, device=policy.device)
            mode = torch.as_tensor(commands, device=policy.device) if policy.num_modes else None
            obs, _, terminated, truncated, infos = env.step(
                policy.algo.act(rows, mode=mode).cpu().numpy()
            )
            ended = terminated | truncated
            after = obs[:, where].copy()
            if ended.any():
                after[ended] = infos["final_obs"][ended][:, where]
                label[active & ended] = infos["final_info"]["mode"][active & ended]
            track.append(after)
            length[active] += 1
            active &= ~ended
    all_states, path = np.array(states), np.array(track)
    return [
        Episode(all_states[:n, i], path[: n + 1, i], int(commands[i]), int(label[i]))
        for i, n in enumerate(length)
    ]


def choose(episodes: list[Episode]) -> list[Episode]:
    """Return one episode per command, or per mode obtained where nothing was commanded."""
    commanded = episodes[0].command >= 0
    groups: dict[int, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.command if commanded else episode.mode, []).append(episode)
    chosen = []
    for key in sorted(groups):
        good = [e for e in groups[key] if e.mode >= 0] or groups[key]
        chosen.append(sorted(good, key=lambda e: len(e.states))[(len(good) - 1) // 2])
    return chosen


def film(painter: rendering.Painter, task: Task, chosen: list[Episode]) -> list[np.ndarray]:
    """Return the video's frames: all chosen episodes at once, each stopping at its end."""
    columns = min(len(chosen), 4)
    frames = []
    for t in range(max(len(e.states) for e in chosen)):
        parts = []
        for e in chosen:
            now = min(t, len(e.states) - 1)
            color = rgb(e.mode, task)
            text = mode_name(task, e.mode)
            text = text if e.command < 0 else f"command {e.command}: {text}"
            shown = painter.frame(e.states[now], [(e.path[: now + 2], color)])
            parts.append(rendering.caption(shown, text, color))
        frames.append(rendering.tile(parts, columns))
    return frames + frames[-1:] * 12
