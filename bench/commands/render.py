"""Film a trained policy: one episode per mode side by side, and a picture of its paths.

  python -m bench render RUN_DIR [episodes=8] [size=320] [fps=25] [seed=0] [plugins=[MODULE,...]]

Every mode of a policy that takes commands is played `episodes` times; of the others, 12 x as many
episodes are sampled and sorted by the task's own modes. Shown is each one's success of median
length. Writes RUN_DIR/render/: episodes.mp4 (a GIF without the package imageio-ffmpeg), paths.png.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench import rendering
from bench.analysis.style import FAILURE, mode_color
from bench.api import Scene, Task, TaskEnv
from bench.configuration import names
from bench.divergence import silence_mujoco, tell
from bench.errors import UsageError
from bench.evaluation import Actor, isolated_generator, mode_name
from bench.policy import Policy, load_policy, load_task
from bench.rollout import play_episodes
from bench.settings import check_writable
from bench.storage import atomic, tell_unchecked
from bench.words import integer, one_run, parse, seed_of


@dataclass(frozen=True)
class Episode:
    """One played episode: states (T, S), path (T + 1, P) in m, command, mode label, divergence."""

    states: np.ndarray
    path: np.ndarray
    command: int
    mode: int
    diverged: bool


def main(words: list[str]) -> int:
    """Write the video and the picture; print where they are."""
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    defaults = {"episodes": "8", "size": "320", "fps": "25", "seed": "0", "plugins": ""}
    plain, values = parse(words, defaults)
    folder = one_run("render", plain)
    out = Path(folder) / "render"
    check_writable(out, "render")
    plugins, seed = names(values.pop("plugins")), seed_of(values.pop("seed"))
    numbers = {key: integer(key, value) for key, value in values.items()}
    policy, task = load_policy(folder, plugins=plugins), load_task(folder, plugins)
    tell_unchecked(Path(folder))
    groups = max(policy.num_modes, 1)
    count = numbers["episodes"] * (groups if policy.num_modes else 12)
    commands = np.arange(count) % groups if policy.num_modes else np.full(count, -1)
    silence_mujoco()
    env = task.make(count, seed, 1, training=False)
    scene = env.scene
    if scene is None:
        raise UsageError(f"render: task {task.name!r} has no MuJoCo scene of the suite")
    with ExitStack() as opened:
        opened.callback(env.close)
        size, pieces = numbers["size"], count * (task.horizon + 1)
        painter = opened.enter_context(closing(rendering.Painter(scene, size, task.horizon + 1)))
        large = opened.enter_context(closing(rendering.Painter(scene, 2 * size, pieces)))
        episodes = play(policy, env, scene, commands, seed)
        tell(episode.diverged for episode in episodes)
        chosen = choose(episodes)
        out.mkdir(exist_ok=True)
        video = rendering.write_video(out, "episodes", film(painter, task, chosen), numbers["fps"])
        trails = [(e.path, rgb(e.mode, task)) for e in sorted(episodes, key=lambda e: e.mode)]
        picture = Image.fromarray(large.frame(chosen[0].states[0], trails, 0.5))
        with atomic(out / "paths.png") as file:
            picture.save(file, "PNG")
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


def play(
    policy: Policy, env: TaskEnv, scene: Scene, commands: np.ndarray, seed: int
) -> list[Episode]:
    """Play one episode per command (-1: none) and keep every physics state."""
    act, states = Actor(policy.algo, commands, policy.device), []

    def filmed(obs: np.ndarray, slots: np.ndarray) -> np.ndarray:
        states.append(scene.states())
        return act(obs, slots)

    with isolated_generator(policy.device):
        torch.manual_seed(seed)
        played = play_episodes(env, filmed, seed)
    film = np.array(states)
    return [
        Episode(
            film[: one.length, one.slot], one.path, int(commands[one.slot]), one.mode, one.diverged
        )
        for one in played
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
