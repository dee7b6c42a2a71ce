#!/usr/bin/env bash
# Two optimisers, one handed the other's state_dict() directly, share their state from then on.
#
# torch 2.13.0 (CPU). Expected from `Module.load_state_dict`, which copies: loading makes the second
# independent. Seen: `Optimizer.load_state_dict` keeps the very tensors that it is given where device
# and dtype fit. A step of the first then moves the momentum, the curvature estimate and even the step
# count of the second, without an error. Where: twins in tests, population-based training, a
# "rollback" copy kept in memory; through torch.save and torch.load nothing is shared, so that a test
# by file does not see it. Remedy: copy.deepcopy(state_dict()) before loading.
#
# Output seen:
#   torch 2.13.0+cpu
#   module weights shared: False
#   exp_avg shared: True
#   step count of the copy after a step of the original: 1.0 -> 2.0
#   momentum of the copy moved by it: True
#   after deepcopy, shared: False
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat > "$folder/probe.py" <<'PROBE'
import copy

import torch


def parameter_with_adam():
    parameter = torch.nn.Parameter(torch.ones(3))
    return parameter, torch.optim.Adam([parameter], lr=0.1)


def step(parameter, optimizer, gradient):
    parameter.grad = torch.full((3,), gradient)
    optimizer.step()


print("torch", torch.__version__)
one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
other.load_state_dict(one.state_dict())
modules = one.weight.data_ptr() == other.weight.data_ptr()
print("module weights shared:", modules)

p, original = parameter_with_adam()
step(p, original, 1.0)
q, copied = parameter_with_adam()
copied.load_state_dict(original.state_dict())
shared = original.state[p]["exp_avg"].data_ptr() == copied.state[q]["exp_avg"].data_ptr()
print("exp_avg shared:", shared)
count, momentum = float(copied.state[q]["step"]), copied.state[q]["exp_avg"].clone()
step(p, original, -1.0)
print("step count of the copy after a step of the original:", count, "->",
      float(copied.state[q]["step"]))
moved = not torch.equal(momentum, copied.state[q]["exp_avg"])
print("momentum of the copy moved by it:", moved)

r, independent = parameter_with_adam()
independent.load_state_dict(copy.deepcopy(original.state_dict()))
apart = original.state[p]["exp_avg"].data_ptr() != independent.state[r]["exp_avg"].data_ptr()
print("after deepcopy, shared:", not apart)
raise SystemExit(0 if shared and moved and apart and not modules and count == 1.0 else 1)
PROBE
"$folder/venv/bin/python" "$folder/probe.py"
