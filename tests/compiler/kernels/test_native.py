"""The C++ sources of the package: compiled once, and called with tensors of supported dtypes."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch

from fnet.compiler.kernels import native


@pytest.fixture
def asked_anew(monkeypatch):
    """Clear the caches of loaded libraries, as in a new process, and restore them at the end."""
    for name in ("library", "_is_compiled"):
        monkeypatch.setattr(native, name, cache(getattr(native, name).__wrapped__))


def test_a_source_file_is_compiled_once():
    library = native.library("winograd.cpp")
    assert library is native.library("winograd.cpp")
    assert library.scratch(16, 32) > 36 * 48


@pytest.mark.parametrize(
    "dtypes", [[torch.bfloat16], [torch.float32, torch.float64], [torch.float32, torch.int64]]
)
def test_tensors_are_float_or_double_alone(dtypes):
    library = native.library("winograd.cpp")
    with pytest.raises(TypeError, match=str(dtypes[-1])):
        native.call(library, "convolve", [], *(torch.zeros(1, dtype=dtype) for dtype in dtypes))


def test_operations_are_pytorchs():
    assert native.is_possible("direct.cpp")
    x, weight, bias = torch.ones(1, 1, 5, 5), torch.ones(1, 1, 3, 3), torch.ones(1)
    y = torch.ops.fnet.direct(x, weight, bias, 0, 0, 1)
    assert torch.equal(y, torch.full((1, 1, 3, 3), 10.0))


def test_operations_that_pytorch_refuses_are_done_without(asked_anew, monkeypatch):
    loaded = SimpleNamespace(install=lambda: 1)
    monkeypatch.setattr("torch._inductor.codecache.CppCodeCache.load", lambda _: loaded)
    with pytest.warns(UserWarning, match=r"did not register the operations of direct\.cpp"):
        assert not native.is_possible("direct.cpp")


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16])
def test_operations_refuse_other_dtypes(dtype):
    native.library("direct.cpp")
    x, weight = torch.zeros(1, 1, 5, 5, dtype=dtype), torch.zeros(1, 1, 3, 3, dtype=dtype)
    with pytest.raises(RuntimeError, match="all float32, or all float64"):
        torch.ops.fnet.direct(x, weight, weight.new_zeros(1), 0, 0, 1)
    with pytest.raises(RuntimeError, match="all float32, or all float64"):
        torch.ops.fnet.direct(x.double(), weight.double(), torch.zeros(1), 0, 0, 1)


def test_what_cannot_be_compiled_is_done_without(asked_anew, monkeypatch):
    def fail(*_):
        raise RuntimeError("C++ compile error\nregisters")

    monkeypatch.setattr(native, "library", fail)
    with pytest.warns(UserWarning, match=r"other\.cpp was not compiled: C\+\+ compile error$"):
        assert not native.is_possible("other.cpp")


def test_another_platform_does_without(asked_anew, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    assert not native.is_possible("direct.cpp")
