#!/usr/bin/env bash
# Gymnasium-Robotics' Fetch environments cannot be made beside MuJoCo 4.0.0 (3.12 on, by reports).
#
# gymnasium-robotics 1.4.2 asks for mujoco>=2.2.0, and pip takes the newest, 4.0.0 today. Expected:
# gymnasium.make("FetchReach-v4") works. Seen: an AssertionError without a message, from a check of
# joint types that is right. What changed is a comparison: a joint type as a model's array has it, a
# numpy.int32, is equal to MuJoCo's enum from the left and unequal from the right, and `x in (a, b)`
# asks a and b from the right. So whatever sorts joints by `in` sorts wrongly, and in code without an
# assertion nothing says so. With mujoco 3.11.0 both sides agree and the environment is made; point
# and ant mazes do not look at joint types and work with both. Remedy: int() around the array's value,
# or mujoco<3.12.
#
# Output seen:
#   mujoco 3.11.0: array == enum True, enum == array True, in a tuple True
#   mujoco 3.11.0: FetchReach-v4 made
#   mujoco 4.0.0: array == enum True, enum == array False, in a tuple False
#   mujoco 4.0.0: FetchReach-v4 AssertionError, message ''
#   mujoco 4.0.0: PointMaze_UMaze-v3 made
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/probe.py" <<'PROBE'
import sys

import gymnasium
import gymnasium_robotics
import mujoco

gymnasium.register_envs(gymnasium_robotics)
name = f"mujoco {mujoco.__version__}"
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><body><joint type='hinge'/><geom size='0.1'/></body></worldbody></mujoco>"
)
kind, hinge = model.jnt_type[0], mujoco.mjtJoint.mjJNT_HINGE
left, right, inside = bool(kind == hinge), bool(hinge == kind), kind in (hinge,)
print(f"{name}: array == enum {left}, enum == array {right}, in a tuple {inside}")


def made(task):
    try:
        gymnasium.make(task).close()
    except AssertionError as error:
        print(f"{name}: {task} AssertionError, message {str(error)!r}")
        return False
    print(f"{name}: {task} made")
    return True


fetch = made("FetchReach-v4")
new = sys.argv[1] == "new"
assert (left, right, inside) == ((True, False, False) if new else (True, True, True))
assert fetch is not new
if new:
    assert made("PointMaze_UMaze-v3")
PROBE
for version in old:3.11.0 new:4.0.0; do
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet gymnasium==1.4.0 gymnasium-robotics==1.4.2 \
        "mujoco==${version#*:}" numpy==2.4.6
    "$folder/venv/bin/python" -W ignore "$folder/probe.py" "${version%:*}"
    rm -rf "$folder/venv"
done
