"""A Franka Panda for manipulation scenes: its MuJoCo model and vectorised kinematics.

Model and meshes are those that gymnasium-robotics ships (its kitchen's). Changed for speed and for
learning: the fingers are closed and rigid, with one box each in place of 13 collision shapes; links
0 to 3 and pairs of links do not collide; gravity is compensated, as the real arm's controller does.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

JOINTS = 7
TIMESTEP, FRAME_SKIP = 0.01, 4  # s; implicitfast keeps contacts clean at this step
INCREMENT = 0.05  # rad, of a full action
ARM, THINGS = 1, 2  # collision bits: the arm collides with things, neither with its own kind
TIP = (0.0, 0.0, 0.255)  # of the fingers, in link 7, m
# kp over damping sets how fast an arm follows a target that stays one increment ahead
DAMPING = (60.0, 60.0, 60.0, 60.0, 8.0, 8.0, 8.0)  # N m s/rad


def arm() -> mujoco.MjSpec:
    """Return the arm with 7 position servos, standing at the origin; scenes add to it."""
    found = find_spec("gymnasium_robotics")
    assert found is not None and found.origin is not None
    folder = Path(found.origin).parent / "envs/assets/kitchen_franka/franka_assets"
    parts = ("assets.xml", "chain.xml", "actuator.xml")
    spec = mujoco.MjSpec.from_string(
        '<mujoco><include file="assets.xml"/><worldbody><include file="chain.xml"/></worldbody>'
        '<include file="actuator.xml"/></mujoco>',
        include={part: (folder / part).read_bytes() for part in parts},
    )
    spec.meshdir = str(folder / "meshes")
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for name in ("l_gripper_finger_joint", "r_gripper_finger_joint"):
        spec.delete(spec.actuator(name))
    for name in ("robot:panda0_finger_joint1", "robot:panda0_finger_joint2"):
        spec.delete(spec.joint(name))
    for i, damping in enumerate(DAMPING, 1):
        spec.joint(f"robot:panda0_joint{i}").damping[0] = damping
    for body in spec.bodies:
        if not body.name.startswith("panda0"):
            continue
        body.gravcomp = 1.0
        colliding = body.name not in {f"panda0_link{i}" for i in range(4)}
        for geom in body.geoms:
            finger = "finger" in body.name
            if finger and geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE:
                spec.delete(geom)
            elif finger and geom.type == mujoco.mjtGeom.mjGEOM_BOX:
                geom.size = [0.011, 0.012, 0.047]
                geom.pos = [0, 0.012 if "left" in body.name else -0.012, 0.047]
                geom.quat = [1, 0, 0, 0]
                collide(geom, ARM)
            elif geom.contype or geom.conaffinity:
                collide(geom, ARM if colliding else 0)
    return spec


def collide(geom: mujoco.MjsGeom, bit: int) -> None:
    """Let a shape collide as part of the arm (ARM), as a thing (THINGS) or not at all (0)."""
    geom.contype = 1 if bit == ARM else 0
    geom.conaffinity = 1 if bit == THINGS else 0


def box(
    body: mujoco.MjsBody,
    pos: tuple[float, float, float],
    size: tuple[float, float, float],
    rgba: tuple[float, float, float, float] = (0.62, 0.55, 0.46, 1.0),
    mass: float | None = None,
) -> None:
    """Add a box that the arm collides with; `size` are full lengths in m."""
    geom = body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=list(pos), size=[s / 2 for s in size], rgba=list(rgba)
    )
    if mass is not None:
        geom.mass = mass
    collide(geom, THINGS)


def furnish(spec: mujoco.MjSpec) -> None:
    """Add the table top at height 0, a light and a plain sky."""
    table = spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=[0.3, 0, -0.02], size=[0.7, 0.7, 0.02],
        rgba=[0.88, 0.88, 0.86, 1],
    )  # fmt: skip
    collide(table, THINGS)
    spec.worldbody.add_light(pos=[0.2, -1.0, 2.5], dir=[0.1, 0.4, -1.0], castshadow=True)
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, rgb1=[1, 1, 1], rgb2=[0.86, 0.89, 0.93],
    )  # fmt: skip


class Kinematics:
    """Positions and velocities of a point of link 7, for N arms at once.

    Closed form on the compiled model's own frames: exact at the state that a step ended in, where
    MuJoCo's sensors lag by one physics step.
    """

    def __init__(self, model: mujoco.MjModel, point: tuple[float, float, float]) -> None:
        self.point = np.array(point)
        self.frames = []
        for i in range(1, JOINTS + 1):
            body = model.body(f"panda0_link{i}")
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, body.quat)
            self.frames.append((rotation.reshape(3, 3), body.pos.copy()))
        self.base = model.body("panda0_link0").pos.copy()

    def __call__(self, q: np.ndarray, qd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the point's position and velocity, (N, 3) each, of joints (N, 7) in rad, rad/s."""
        tip, jacobian = self.jacobian(q)
        return tip, np.einsum("nij,nj->ni", jacobian, qd)

    def jacobian(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the point's position (N, 3) and its Jacobian (N, 3, 7)."""
        count = len(q)
        turned = np.broadcast_to(np.eye(3), (count, 3, 3))
        origin = np.broadcast_to(self.base, (count, 3))
        axes, origins = [], []
        cos, sin = np.cos(q), np.sin(q)
        for i, (rotation, offset) in enumerate(self.frames):
            origin = origin + turned @ offset
            turned = turned @ rotation
            axes.append(turned[:, :, 2])
            origins.append(origin)
            x = turned[:, :, 0] * cos[:, i, None] + turned[:, :, 1] * sin[:, i, None]
            y = turned[:, :, 1] * cos[:, i, None] - turned[:, :, 0] * sin[:, i, None]
            turned = np.stack([x, y, turned[:, :, 2]], axis=2)
        tip = origin + turned @ self.point
        columns = [np.cross(axis, tip - start) for axis, start in zip(axes, origins, strict=True)]
        return tip, np.stack(columns, axis=2)
