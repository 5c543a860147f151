"""What a program does before it imports the rest of fnet."""

import importlib.util
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys
from fnet.run.process import leave_out_triton
leave_out_triton()
import torch
from fnet.compiler import compile
print(compile(lambda x: x.sin() + 1)(torch.zeros(3)).tolist(), sys.modules.get("triton"))
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU, Triton is what compiles")
def test_a_cpu_compiles_without_triton_and_a_word():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout == "[1.0, 1.0, 1.0] None\n", done.stderr
    assert "triton" not in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="there is no Triton")
@pytest.mark.parametrize("before", ["import triton", "torch.cuda.is_available = lambda: True"])
def test_it_stays_where_it_is_in_use_or_a_gpu_is(before):
    script = (
        f"import torch, sys\n{before}\nfrom fnet.run.process import leave_out_triton\n"
        "leave_out_triton()\nimport triton\nprint(triton.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "triton\n", done.stderr


def test_a_recipe_starts_without_what_takes_seconds_to_import():
    modules = "recipes.dainet7, recipes.resnet50, recipes.predict, recipes.evaluate"
    slow = "{'torchvision', 'torch._dynamo', 'torch._inductor', 'matplotlib'}"
    script = f"import {modules}, sys\nprint({slow} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr
