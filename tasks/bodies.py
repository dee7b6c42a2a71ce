"""MuJoCo models of an agent in a maze, built in code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import mujoco

from .layout import CELL, GOAL_RADIUS, Layout

WALL_HEIGHT = 6.0  # m; an ant driven by novelty climbs over walls of 2 m
INTEGRATORS = {
    "rk4": mujoco.mjtIntegrator.mjINT_RK4,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}


def load(package: str, file: str) -> mujoco.MjSpec:
    """Return a model that a package ships, without importing the package."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    return mujoco.MjSpec.from_file(str(Path(found.origin).parent / file))


def ant(layout: Layout, integrator: str) -> mujoco.MjModel:
    """Return D4RL's low-gear ant in a maze: Gymnasium's model with gear 30 and steps of 0.02 s."""
    spec = load("gymnasium", "envs/mujoco/assets/ant.xml")
    spec.option.timestep = 0.02
    spec.option.integrator = INTEGRATORS[integrator]
    for actuator in spec.actuators:
        actuator.gear[0] = 30
    add_walls(spec, layout)
    paint(spec, layout)
    return spec.compile()


def point(layout: Layout) -> mujoco.MjModel:
    """Return gymnasium-robotics' point, made so crisp that its speed halves every step of 0.1 s.

    A sphere of 1 kg and 0.3 m radius with damping 6.93 N s/m and at most 27.7 N: it moves 0.4 m
    per step at full speed and reaches it within three steps. Gravity and friction are off.
    """
    spec = load("gymnasium_robotics", "envs/assets/point/point.xml")
    spec.option.timestep = 0.025
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    geom = spec.geom("particle_geom")
    geom.size[0] = 0.3
    geom.mass = 1.0
    geom.rgba = [0.2, 0.35, 0.7, 1]  # it has none
    for joint in spec.joints:
        joint.damping[0] = 6.93
    for actuator in spec.actuators:
        actuator.gear[0] = 27.7
    spec.geom("ground").contype = 0  # a point has no height to fall
    add_walls(spec, layout)
    paint(spec, layout)
    return spec.compile()


def add_walls(spec: mujoco.MjSpec, layout: Layout) -> None:
    """Add a box per horizontal run of wall cells, which vertical neighbours may lengthen."""
    left = layout.walls.copy()
    rows, columns = left.shape
    for i in range(rows):
        for j in range(columns):
            if not left[i, j]:
                continue
            width = 1
            while j + width < columns and left[i, j + width]:
                width += 1
            height = 1
            while i + height < rows and left[i + height, j : j + width].all():
                height += 1
            left[i : i + height, j : j + width] = False
            x, y = (layout.centre((i, j)) + layout.centre((i + height - 1, j + width - 1))) / 2
            spec.worldbody.add_geom(
                name=f"wall_{i}_{j}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[x, y, WALL_HEIGHT / 2],
                size=[CELL / 2 * width, CELL / 2 * height, WALL_HEIGHT / 2],
                contype=1,
                conaffinity=1,
                rgba=[0.55, 0.57, 0.6, 1],
            )


def paint(spec: mujoco.MjSpec, layout: Layout) -> None:
    """Draw a plain floor in soft light, and the goals as wide as they count."""
    floor = next(g for g in spec.geoms if g.type == mujoco.mjtGeom.mjGEOM_PLANE)
    floor.material, floor.rgba = "", [0.93, 0.93, 0.91, 1]
    for light in spec.lights:
        light.active = False  # too bright for anything but a checkered floor
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = [0.5] * 3, [0.4] * 3, [0.1] * 3
    for x, y in layout.goal_positions:
        spec.worldbody.add_site(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[x, y, 0.01], size=[GOAL_RADIUS, 0.01, 0],
            rgba=[0.18, 0.62, 0.36, 1],
        )  # fmt: skip
