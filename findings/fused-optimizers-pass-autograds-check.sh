#!/usr/bin/env bash
# Stepped by a fused optimiser, a parameter keeps its version: a stale graph goes backward in silence.
#
# torch 2.13.0 (CPU). Expected: whoever changes in place what a graph still needs gets autograd's error
# "one of the variables needed for gradient computation has been modified by an inplace operation", as
# after a step of every optimiser with foreach=True or in a plain loop. Seen: with fused=True Adam, AdamW,
# SGD and Adagrad change parameters without raising their version counter, so that the same backward pass
# returns, without a word, a gradient of no function: part of it from the weights before the step (saved
# outputs), part from those after (the weights themselves). Where: actor-critic code that computes the
# actor's loss, steps the critic, then goes backward; the check that catches this order in development is
# gone once `fused=True` is set for speed. So are caches keyed by `tensor._version`. Remedy: try new
# code with fused=False first; key caches by the number of optimiser steps.
#
# Output seen:
#   torch 2.13.0+cpu
#   SGD      foreach: version +1, then RuntimeError
#   SGD      fused:   version +0, then gradient 1.250, of the weights before 4.000, after -1.500
#   Adam     foreach: version +1, then RuntimeError
#   Adam     fused:   version +0, then gradient 2.750, of the weights before 4.000, after 1.500
#   AdamW    foreach: version +2, then RuntimeError
#   AdamW    fused:   version +0, then gradient 2.738, of the weights before 4.000, after 1.475
#   Adagrad  foreach: version +1, then RuntimeError
#   Adagrad  fused:   version +0, then gradient 2.750, of the weights before 4.000, after 1.500
#
# Fails (exit 1) if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat > "$folder/probe.py" <<'PROBE'
import torch

print("torch", torch.__version__)


def loss(outer, inner):
    return outer * (inner * outer)  # both factors of each product are needed on the way back


def stale(kind, **how):
    """Step between a forward and its backward pass; return versions raised and what came of it."""
    weights = [torch.nn.Parameter(torch.tensor(2.0)), torch.nn.Parameter(torch.tensor(1.0))]
    optimizer = kind(weights, lr=0.5, **how)
    value = loss(*weights)
    before, _ = torch.autograd.grad(value, weights, retain_graph=True)
    weights[0].grad, weights[1].grad = torch.tensor(1.0), torch.tensor(3.0)
    version = weights[0]._version
    optimizer.step()
    raised = weights[0]._version - version
    after, _ = torch.autograd.grad(loss(*weights), weights)
    try:
        found, _ = torch.autograd.grad(value, weights)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error), error
        return raised, None, None, None
    return raised, *(round(one.item(), 3) for one in (found, before, after))


seen = {}
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad):
    for name in ("foreach", "fused"):
        raised, found, before, after = seen[kind, name] = stale(kind, **{name: True})
        text = "RuntimeError"
        if found is not None:
            text = f"gradient {found:.3f}, of the weights before {before:.3f}, after {after:.3f}"
        print(f"{kind.__name__:8} {name + ':':8} version +{raised}, then {text}")
for (kind, name), (raised, found, before, after) in seen.items():
    if name == "foreach":
        assert raised > 0 and found is None, (kind, "is caught no more")
    else:
        assert raised == 0 and found not in (before, after), (kind, "raises versions now")
PROBE
"$folder/venv/bin/python" "$folder/probe.py"
