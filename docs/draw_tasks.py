"""Draw docs/tasks.png: the manipulation tasks, one colour of end-effector path per mode.

  MUJOCO_GL=egl python -m docs.draw_tasks

The paths are those of the tests' scripted controllers (tests/tasks/test_manipulation.py).
"""

import numpy as np
from PIL import Image

from bench import rendering  # sets MUJOCO_GL, so before anything imports mujoco
from bench.analysis.style import MODES
from bench.tasks import make_task
from bench.words import parse
from docs.studies import start
from tests.tasks.test_manipulation import TASKS, follow, scripts


def main(words: list[str]) -> int:
    """Play every script and draw each task's start with all paths."""
    parse(words, {})
    pictures = []
    for name in TASKS:
        task = make_task(name)
        trails = []
        for mode, waypoints in enumerate(scripts(task)):
            env = task.make(1, seed=mode, training=False)
            reached, _, path = follow(env, waypoints)
            assert reached == mode
            trails.append((path, MODES[mode]))
            if mode == 0:
                env.reset()
                kept = env, env.state[0].copy()
        env, state = kept
        painter = rendering.Painter(env, 480)
        frame = painter.frame(state, trails, 1.2)
        painter.close()
        pictures.append(rendering.caption(frame, f"{name}: {', '.join(task.modes)}", (0.2,) * 3))
    Image.fromarray(np.asarray(rendering.tile(pictures, 4))).save("docs/tasks.png", optimize=True)
    return 0


if __name__ == "__main__":
    start(main)
