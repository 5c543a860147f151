"""C++ of the package: compiled once, called with tensors of the dtype it is for."""

from types import SimpleNamespace

import pytest
import torch

from fnet import native


def test_a_source_file_is_compiled_once():
    library = native.library("fnet.nn", "winograd.cpp")
    assert library is native.library("fnet.nn", "winograd.cpp")
    assert library.scratch(16, 32) > 36 * 48


@pytest.mark.parametrize(
    "dtypes", [[torch.bfloat16], [torch.float32, torch.float64], [torch.float32, torch.int64]]
)
def test_tensors_are_float_or_double_alone(dtypes):
    library = native.library("fnet.nn", "winograd.cpp")
    with pytest.raises(TypeError, match=str(dtypes[-1])):
        native.call(library, "convolve", [], *(torch.zeros(1, dtype=dtype) for dtype in dtypes))


def test_operations_are_installed_once():
    native.install("fnet.nn", "direct.cpp")
    native.install("fnet.nn", "direct.cpp")
    assert torch.ops.fnet.direct.default is not None


def test_pytorch_refuses_what_it_does_not_take(monkeypatch):
    monkeypatch.setattr(native, "library", lambda *_: SimpleNamespace(install=lambda: 1))
    with pytest.raises(RuntimeError, match=r"other\.cpp"):
        native.install("fnet.nn", "other.cpp")


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16])
def test_operations_refuse_other_dtypes(dtype):
    native.install("fnet.nn", "direct.cpp")
    x, weight = torch.zeros(1, 1, 5, 5, dtype=dtype), torch.zeros(1, 1, 3, 3, dtype=dtype)
    with pytest.raises(RuntimeError, match="float32 or float64"):
        torch.ops.fnet.direct(x, weight, weight.new_zeros(1), 0, 0, 1)


@pytest.fixture
def asked_anew():
    native.is_possible.cache_clear()
    yield
    native.is_possible.cache_clear()


def test_what_cannot_be_compiled_is_done_without(asked_anew, monkeypatch):
    def fail(*_):
        raise RuntimeError("C++ compile error\nregisters")

    monkeypatch.setattr(native, "library", fail)
    with pytest.warns(UserWarning, match=r"other\.cpp was not compiled: C\+\+ compile error$"):
        assert not native.is_possible("fnet.nn", "other.cpp")


def test_another_platform_does_without(asked_anew, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    assert not native.is_possible("fnet.nn", "direct.cpp")
