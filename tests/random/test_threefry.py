import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from fnet.random.threefry import rounds, threefry2x32


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_known_answers_of_the_block_function(key, counter, expected, kind):
    make = np.array if kind == "numpy" else torch.tensor
    words = rounds(*[make(word) for word in (*key, *counter)])
    assert tuple(int(word) for word in words) == expected


# Without a GPU, Triton can interpret a kernel on the CPU, or compile it for a GPU. The choice is
# made when Triton is imported, so each runs in its own process.
KEYS_AND_COUNTS = """
from torch import arange, broadcast_tensors, tensor
from fnet import random
from fnet.random.threefry import threefry2x32
from fnet.random.threefry_triton import blocks

keys = random.split(random.key(3), 5)
for key, count in [
    (keys[0], arange(1000)),
    (keys, tensor(2**32 - 1)),
    (keys[:, None], arange(7)),
    (keys.mT.contiguous().mT, arange(10)[::2]),
    (keys[:, None], arange(15).reshape(3, 5).T),
    (keys, arange(0)[:, None]),
]:
    words = blocks(*broadcast_tensors(*key.unbind(-1), count))
    assert words.equal(threefry2x32(key, count)), (key, count)
"""
COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fnet.random.threefry_triton import _blocks

types = dict.fromkeys(["k0", "k1", "count", "words"], "*i64")
types |= dict.fromkeys(["n", "key_step", "count_step"], "i32") | {"size": "constexpr"}
for capability in (80, 90):
    source = ASTSource(fn=_blocks, signature=types, constexprs={"size": 256})
    assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="there is no Triton")
@pytest.mark.parametrize(
    ("script", "interpreted"), [(KEYS_AND_COUNTS, "1"), (COMPILED, "0")], ids=["words", "compiles"]
)
def test_the_kernel_of_a_gpu(script, interpreted, tmp_path):
    environment = {"TRITON_INTERPRET": interpreted, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_has_the_words_of_a_cpu():
    key, count = torch.tensor([[1, 2], [3, 2**32 - 1]]), torch.arange(1000)[:, None]
    words = threefry2x32(key.to("cuda"), count.to("cuda"))
    assert words.cpu().equal(threefry2x32(key, count))
