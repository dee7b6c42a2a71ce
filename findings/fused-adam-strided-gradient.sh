#!/usr/bin/env bash
# Fused Adam on the CPU takes a strided gradient for a contiguous one, and steps wrongly in silence.
#
# torch 2.13.0 (CPU). Expected: `fused=True` changes the speed of Adam and AdamW, not its steps. Seen:
# where `parameter.grad` is a view with other strides than its parameter, the fused kernel reads the
# memory in order, so that entries get each other's gradients (or those of another parameter), without
# an error; with `fused=False` the step is right. Where: `torch.autograd.grad` hands out such views, for
# instance slices of one weight that was joined by `cat` for a single product; whoever assigns them to
# `.grad` trains something else. `loss.backward()` is not concerned: it copies into the parameter's
# layout. Remedy: assign `grad.contiguous()`.
#
# Output seen:
#   torch 2.13.0+cpu
#   gradients of a joined weight, contiguous: autograd.grad False, backward True
#   Adam, strided gradient, fused=False: sign of every step right: True
#   Adam, strided gradient, fused=True: sign of every step right: False
#   AdamW, strided gradient, fused=True: sign of every step right: False
#   Adam, contiguous copy, fused=True: sign of every step right: True
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
torch.manual_seed(0)
left, right = (torch.nn.Parameter(torch.randn(2, n)) for n in (3, 4))


def loss():
    return (torch.ones(5, 2) @ torch.cat([left, right], dim=1)).square().sum()


handed, _ = torch.autograd.grad(loss(), [left, right])
loss().backward()
layouts = (handed.is_contiguous(), left.grad.is_contiguous())
print("gradients of a joined weight, contiguous: autograd.grad {}, backward {}".format(*layouts))


def right_step(kind, fused, copied):
    """Say whether a first step, of size lr in each entry, goes against the gradient everywhere."""
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    gradient = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    strided = gradient.T.contiguous().T  # the same numbers, laid out by columns
    parameter.grad = strided.contiguous() if copied else strided
    kind([parameter], lr=0.1, fused=fused, weight_decay=0.0).step()
    return torch.equal(parameter.detach().sign(), -gradient)


seen = []
for kind, fused, copied in (
    (torch.optim.Adam, False, False),
    (torch.optim.Adam, True, False),
    (torch.optim.AdamW, True, False),
    (torch.optim.Adam, True, True),
):
    seen.append(right_step(kind, fused, copied))
    layout = "contiguous copy" if copied else "strided gradient"
    print(f"{kind.__name__}, {layout}, fused={fused}: sign of every step right: {seen[-1]}")
raise SystemExit(0 if layouts == (False, True) and seen == [True, False, False, True] else 1)
PROBE
"$folder/venv/bin/python" "$folder/probe.py"
