"""The C++ of this package, compiled where it is first needed, by the compiler that Inductor has."""

import ctypes
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from fnet.private import CppCodeCache, inductor_config

_NUMBERS = {torch.float32: "float", torch.float64: "double"}


def threads() -> int:
    """Return how many threads an operation takes."""
    return torch.get_num_threads()


def is_possible(name: str) -> bool:
    """Say whether a source file is compiled, by now; warn where another compiler than MSVC failed.

    The C++ is written with registers as types, which GCC and Clang know.
    """
    return sys.platform != "win32" and _is_compiled(name)


@cache
def _is_compiled(name: str) -> bool:
    try:
        library(name)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"steps take longer: {name} was not compiled: {reason}", stacklevel=3)
        return False
    return True


@cache
def library(name: str) -> ctypes.CDLL:
    """Return the functions of a source file, after `native.h`, compiled or from a cache.

    Where one of them is `install`, PyTorch calls others as its operations from then on, without
    Python.

    Raises:
        RuntimeError: the compiler failed, or PyTorch does not take the operations.
    """
    source = "\n".join(read(part) for part in ("native.h", name))
    # Allow FMA contraction (-ffp-contract=fast).
    with inductor_config().patch({"cpp.enable_floating_point_contract_flag": "fast"}):
        loaded = CppCodeCache().load(source)
    if hasattr(loaded, "install") and loaded.install() != 0:
        raise RuntimeError(f"PyTorch did not take the operations of {name}")
    return loaded


def read(name: str) -> str:
    """Return the text of a source file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def loading(name: str, operation: str) -> Callable[..., Any]:
    """Return the kernel that `fnet::operation` has until the library that installs it is loaded.

    A graph from Inductor's cache calls the operation in a process where no pass has run.
    """

    def first(*args: Any) -> Any:
        library(name)
        return getattr(torch.ops.fnet, operation).default(*args)

    return first


def call(library: ctypes.CDLL, name: str, sizes: Sequence[int], *tensors: Tensor) -> None:
    """Call a library's `name_float` or `name_double`, whichever the tensors are of.

    Args:
        library: what `library` returns.
        name: of the function, without its numbers.
        sizes: its first argument, a pointer to 64-bit integers.
        tensors: the others, pointers to numbers that lie without gaps, of one dtype.

    Raises:
        TypeError: the tensors are of another dtype, or of several.
    """
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) != 1 or not dtypes <= _NUMBERS.keys():
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{name} was given {found}, expected torch.float32 or torch.float64 alone")
    function = getattr(library, f"{name}_{_NUMBERS[dtypes.pop()]}")
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    function((ctypes.c_int64 * len(sizes))(*sizes), *pointers)
