"""Private names of PyTorch deleted, one a process: a compiled step runs on, with one warning.

`python tests/private_names.py [NAME ...]`; a name is "module:attribute".
"""

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
CODE = """
import sys, warnings, importlib
import torch, torch._dynamo, torch._inductor.compile_fx, torch._inductor.custom_graph_pass
module, _, name = sys.argv[1].partition(":")
if name:
    delattr(importlib.import_module(module), name)
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


def metrics(name: str) -> tuple[float, int, str]:
    """Return the loss after three steps, the number of warnings, and their text."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, name], capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    loss, count, *text = done.stdout.split(" ", 2)
    return float(loss), int(count), " ".join(text).strip()


if __name__ == "__main__":
    expected, *_ = metrics("")
    for name in sys.argv[1:] or NAMES:
        try:
            loss, count, text = metrics(name)
        except RuntimeError as error:
            print("FAILS  ", error)
            continue
        print("as before" if abs(loss - expected) < 2e-3 else "DIFFERS", name, count, text)
