"""The graph pass in Inductor: its cache key, the cache, and a PyTorch without graph passes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fnet import private
from fnet.compiler import passes

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import torch
from torch._dynamo.utils import counters
from exchange import compiled
from fnet.compiler import passes

if sys.argv[1:]:
    sources = passes.sources
    def changed():
        return [(n, s + b" " if n == sys.argv[1] else s) for n, s in sources()]
    passes.sources = changed
x, weight = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3)
y = compiled(torch.nn.functional.conv2d)(x, weight)
assert torch.equal(y, torch.full((2, 4, 6, 6), 27.0))
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""

WITHOUT_KERNELS = """
import torch
from torch.nn.functional import max_pool2d
from fnet.compiler import compile, passes

x = torch.arange(16.0).view(1, 1, 4, 4)
y = compile(lambda x: max_pool2d(x, 2))(x)
print(passes.__file__, torch.equal(y, max_pool2d(x, 2)))
"""


def key(kernels="auto"):
    return passes.options(kernels)["joint_custom_pre_pass"].uuid()


def test_a_graph_is_found_again_until_a_source_changes(tmp_path):
    def counted(*changed):
        path = f"{ROOT}:{ROOT / 'tests'}"
        environment = {
            "PYTHONPATH": path,
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
            "TORCHINDUCTOR_AUTOGRAD_CACHE": "0",
            # In an empty cache, precompiled headers cost more than they save.
            "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
            "PATH": os.environ["PATH"],
        }
        command = [sys.executable, "-c", PROGRAM, *changed]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert counted() == ["0", "1"]
    # A cache hit: the graph calls the kernel although no pass has loaded its library.
    assert counted() == ["1", "0"]
    assert counted("direct.cpp") == ["0", "1"]


def test_the_key_is_of_sources_threads_and_cpu(monkeypatch):
    keys = [key(), key()]
    assert len(set(keys)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 77)
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
        keys.append(key())
    for name in ("native.h", "winograd.cpp", "rules.py"):
        sources = [(n, s + b" " if n == name else s) for n, s in passes.sources()]
        with monkeypatch.context() as patch:
            patch.setattr(passes, "sources", lambda sources=sources: sources)
            keys.append(key())
    assert len(set(keys[1:])) == len(keys) - 1


def test_the_library_needs_no_pass():
    assert passes.options("library") == {}


@pytest.mark.parametrize(
    "name",
    [
        "torch._inductor.custom_graph_pass.CustomGraphPass",
        "torch._inductor.decomposition.select_decomp_table",
        "torch._inductor.codecache.CppCodeCache",
        "torch.fx.experimental.proxy_tensor.make_fx",
    ],
)
def test_without_graph_passes_there_is_a_warning(name, monkeypatch):
    monkeypatch.delattr(name)
    private._warn_missing.cache_clear()
    with pytest.warns(UserWarning, match="hook for a graph pass.*steps take longer"):
        assert passes.options("auto") == {}


def test_only_the_pass_knows_the_kernels():
    knowing = {
        str(file.relative_to(ROOT / "fnet"))
        for file in (ROOT / "fnet").rglob("*.py")
        if "compiler.kernels" in file.read_text(encoding="utf-8")
        and "compiler/kernels" not in str(file)
    }
    assert knowing == {"compiler/passes.py"}


@pytest.mark.parametrize("left", ["nothing", "bytecode"])
def test_the_folder_of_the_kernels_can_be_deleted(left, tmp_path):
    kernels = tmp_path / "fnet/compiler/kernels"
    ignored = shutil.ignore_patterns("__pycache__", "kernels")
    shutil.copytree(ROOT / "fnet", tmp_path / "fnet", ignore=ignored)
    if left == "bytecode":  # as after `git rm -r`
        (kernels / "__pycache__").mkdir(parents=True)
        (kernels / "__pycache__/rules.cpython-311.pyc").touch()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERNELS],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "fnet/compiler/passes.py"), "True"]
