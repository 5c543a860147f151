"""Private names of PyTorch deleted, one a process: a compiled step runs on, with one warning.

`python tests/private_names.py [NAME ...]`; a name is "module:attribute". Each line begins with what
was found:

* as before: the step has the same loss. The number of warnings and their text follow.
* PyTorch's own: the step fails, and so does a step of plain PyTorch, compiled by `torch.compile`
  in a process that never imports fnet. No fallback of fnet's can help.
* DIFFERS, FAILS: fnet needs the name. The exit code is then 1.
"""

import re
import subprocess
import sys

NAMES = [
    "torch._dynamo:nonstrict_trace",
    "torch._C._functorch:peek_interpreter_stack",
    "torch._C._functorch:is_batchedtensor",
    "torch._C:_len_torch_function_stack",
    "torch.utils._python_dispatch:TorchDispatchMode",
    "torch._subclasses:FakeTensor",
    "torch._inductor.custom_graph_pass:CustomGraphPass",
    "torch._inductor.decomposition:select_decomp_table",
    "torch.fx.experimental.proxy_tensor:make_fx",
    "torch:_foreach_copy_",
    "torch.nn.modules.batchnorm:_NormBase",
]
DELETE = """
import sys, warnings, importlib
import torch, torch._dynamo, torch._inductor.compile_fx, torch._inductor.custom_graph_pass
module, _, name = sys.argv[1].partition(":")
if name:
    delattr(importlib.import_module(module), name)
"""
FNET = """
import fnet.step
from fnet import data, losses, models, optim, random
from fnet.compiler import compile
from fnet.step import make_grad, make_step
images = data.shapes(random.key(0), 64)
model, tx = models.cnn(), optim.sgd(0.1, momentum=0.9)
params = model.init(random.key(1))
state = tx.init(params.trainable)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    step = compile(make_step(make_grad(model, losses.cross_entropy, preprocess=data.NORM_HALF), tx))
    for n in range(3):
        params, state, sums = step(params, state, data.batch_at(random.key(2), images, 16, n))
ours = {str(w.message) for w in caught if "this PyTorch has no" in str(w.message)}
print(round(float(sums["loss"]), 3), len(ours), *ours)
"""
PLAIN = """
from torch import nn
from torch.func import functional_call, grad
torch.manual_seed(0)
norm = nn.BatchNorm2d(8, track_running_stats=False)  # its counter would be written in grad
parts = nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
net = nn.Sequential(*parts, nn.Linear(8 * 15 * 15, 10))
weights, x = dict(net.named_parameters()), torch.randn(4, 3, 32, 32)
def step(weights, x):
    def loss(weights):
        return functional_call(net, weights, (x,)).square().mean()
    slopes = grad(loss)(weights)
    return {name: leaf.detach() - 0.1 * slopes[name] for name, leaf in weights.items()}
for _ in range(3):
    weights = torch.compile(step, fullgraph=True, dynamic=False)(weights, x)
"""


def run(code: str, name: str) -> str:
    """Run the code in a process that lacks this name, and return what it printed.

    Raises:
        RuntimeError: it failed; the message is the line of its exception.
    """
    done = subprocess.run(
        [sys.executable, "-c", DELETE + code, name], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        # Dynamo adds advice below the line of the exception.
        raise RuntimeError(([one for one in lines if re.match(r"[\w.]+: ", one)] or lines)[-1])
    return done.stdout


def metrics(name: str) -> tuple[float, int, str]:
    """Return the loss after three steps of fnet, the number of warnings, and their text."""
    loss, count, *text = run(FNET, name).split(" ", 2)
    return float(loss), int(count), " ".join(text).strip()


def verdict(name: str, expected: float) -> tuple[str, str]:
    """Return what happens without this name, and the details."""
    try:
        loss, count, text = metrics(name)
    except RuntimeError as error:
        try:
            run(PLAIN, name)
        except RuntimeError as own:
            return "PyTorch's own", str(own)
        return "FAILS", str(error)
    return "as before" if abs(loss - expected) < 2e-3 else "DIFFERS", f"{count} {text}"


def main(names: list[str]) -> int:
    """Print a line for each name, and return the exit code."""
    expected, *_ = metrics("")
    run(PLAIN, "")  # with all names it works: where it fails, the name is the reason
    failed = False
    for name in names or NAMES:
        kind, details = verdict(name, expected)
        failed |= kind in ("DIFFERS", "FAILS")
        print(f"{kind:13}", name, details, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
