"""Pictures and videos of MuJoCo scenes, drawn without a screen."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bench.api import Scene
from bench.errors import UsageError
from bench.storage import atomic

Color = Sequence[float]
GEOMS = 10_000  # of a scene without paths, at most


class Painter:
    """Draws physics states of a scene.

    Args:
        scene: model and camera.
        size: pixels of the square pictures.
        pieces: of paths, in one picture at most: what `trails` add to the scene.

    Raises:
        UsageError: if nothing can be drawn here.
    """

    def __init__(self, scene: Scene, size: int, pieces: int = 0) -> None:
        import mujoco

        self.mujoco, self.model, camera = mujoco, scene.model, scene.camera
        self.data = mujoco.MjData(self.model)
        self.model.vis.global_.fovy = camera.fovy
        self.model.vis.global_.offwidth = self.model.vis.global_.offheight = max(size, 640)
        # shadows in pictures this small need no more; without a GPU they take a third of the time
        self.model.vis.quality.shadowsize = min(2048, self.model.vis.quality.shadowsize)
        self.camera = mujoco.MjvCamera()
        self.camera.lookat[:] = camera.lookat
        self.camera.distance, self.camera.azimuth = camera.distance, camera.azimuth
        self.camera.elevation = camera.elevation
        self.mirrored = camera.mirrored
        self.half_width = camera.distance * np.tan(np.radians(camera.fovy / 2))
        try:
            self.renderer = mujoco.Renderer(self.model, size, size, max_geom=GEOMS + pieces)
        except Exception as error:  # every backend raises its own
            why = str(error)
            if os.environ.get("MUJOCO_GL") == "disable":
                why = "MUJOCO_GL=disable, as without the libraries libEGL and libOpenGL or libGL"
            raise UsageError(f"render: no picture can be drawn here ({why})") from None

    def frame(
        self, state: np.ndarray, trails: Sequence[tuple[np.ndarray, Color]] = (), width: float = 1
    ) -> np.ndarray:
        """Return one picture, (size, size, 3) uint8.

        Args:
            state: (S,) full physics state.
            trails: paths (T + 1, P) with their colours; the first 3 numbers, in m, are drawn.
            width: of the lines, in percent of the picture's.
        """
        mujoco = self.mujoco
        mujoco.mj_setState(self.model, self.data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        mujoco.mj_forward(self.model, self.data)
        self.renderer.update_scene(self.data, self.camera)
        scene = self.renderer.scene
        for path, color in trails:
            place = path[:, :3]
            points = np.pad(place, ((0, 0), (0, 3 - place.shape[1])), constant_values=7.0)
            rgba = np.array([*color[:3], 1.0], np.float32)
            radius = width / 100 * self.half_width
            for start, stop in itertools.pairwise(thinned(points, 2 * radius)):
                geom = scene.geoms[scene.ngeom]
                kind = mujoco.mjtGeom.mjGEOM_CAPSULE
                mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.eye(3).ravel(), rgba)
                mujoco.mjv_connector(geom, kind, radius, start, stop)
                geom.emission, geom.specular, geom.shininess = 0.4, 0.0, 0.0
                scene.ngeom += 1
        picture = self.renderer.render()
        return picture[::-1].copy() if self.mirrored else picture

    def close(self) -> None:
        """Release the graphics context."""
        self.renderer.close()


def thinned(points: np.ndarray, gap: float) -> list[np.ndarray]:
    """Return of a path (T, 3) the points at least so far apart, and its ends.

    Without a GPU a line of a thousand pieces takes far longer to draw than the scene.
    """
    kept = [points[0]]
    for point in points[1:-1]:
        if np.linalg.norm(point - kept[-1]) >= gap:
            kept.append(point)
    return [*kept, points[-1]]


def caption(frame: np.ndarray, text: str, color: Color) -> np.ndarray:
    """Return a picture with a line of text on a coloured bar below it."""
    height, width, _ = frame.shape
    image = Image.new("RGB", (width, height + 22), tuple(int(255 * c) for c in color[:3]))
    image.paste(Image.fromarray(frame), (0, 0))
    ImageDraw.Draw(image).text((6, height + 4), text, fill="white")
    return np.asarray(image)


def tile(frames: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Return pictures of one size in a grid, (H, W, 3), even in both directions."""
    height, width, _ = frames[0].shape
    rows = -(-len(frames) // columns)
    grid = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        row, column = divmod(i, columns)
        grid[row * height : (row + 1) * height, column * width : (column + 1) * width] = frame
    return np.pad(grid, ((0, grid.shape[0] % 2), (0, grid.shape[1] % 2), (0, 0)), mode="edge")


def write_video(folder: Path, name: str, frames: Sequence[np.ndarray], fps: int) -> Path:
    """Write an mp4 by imageio-ffmpeg, or a GIF where that is missing; return its path."""
    try:
        import imageio_ffmpeg
    except ImportError:
        path = folder / f"{name}.gif"
        first, *rest = (Image.fromarray(frame) for frame in frames)
        with atomic(path) as file:
            first.save(file, "GIF", save_all=True, append_images=rest, duration=1000 // fps, loop=0)
        return path
    path, unfinished = folder / f"{name}.mp4", folder / f".{name}.tmp.mp4"
    height, width, _ = frames[0].shape
    try:
        writer = imageio_ffmpeg.write_frames(
            str(unfinished), (width, height), fps=fps, macro_block_size=2, quality=7
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
