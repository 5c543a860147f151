"""The C++ sources of this package: compiled at first use, with Inductor's C++ compiler."""

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
    """Return the number of threads of an operation."""
    return torch.get_num_threads()


def is_possible(name: str) -> bool:
    """Compile a source file if necessary; return whether this worked, and warn if it failed.

    On Windows, return False without a warning: the C++ uses the vector extensions of GCC and Clang,
    which MSVC does not have.
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
    """Return the functions of a source file (preceded by `native.h`), compiled or from the cache.

    If the source has a function `install`, it is called: it registers kernels with PyTorch's
    dispatcher, which then calls them without Python.

    Raises:
        RuntimeError: the compiler failed, or PyTorch did not register the kernels.
    """
    source = "\n".join(read(part) for part in ("native.h", name))
    # Allow FMA contraction (-ffp-contract=fast).
    with inductor_config().patch({"cpp.enable_floating_point_contract_flag": "fast"}):
        loaded = CppCodeCache().load(source)
    if hasattr(loaded, "install") and loaded.install() != 0:
        raise RuntimeError(f"PyTorch did not register the operations of {name}")
    return loaded


def read(name: str) -> str:
    """Return the text of a source file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def loading(name: str, operation: str) -> Callable[..., Any]:
    """Return a kernel of `fnet::operation` that loads the library, then calls the operation again.

    It is needed if a graph comes from Inductor's cache: then no pass has run in this process, and
    the library is not loaded yet.
    """

    def first(*args: Any) -> Any:
        library(name)
        return getattr(torch.ops.fnet, operation).default(*args)

    return first


def call(library: ctypes.CDLL, name: str, sizes: Sequence[int], *tensors: Tensor) -> None:
    """Call a library's `name_float` or `name_double`, depending on the dtype of the tensors.

    Args:
        library: the result of `library`.
        name: the function's name, without the suffix for the dtype.
        sizes: its first argument, passed as a pointer to 64-bit integers.
        tensors: the other arguments, passed as pointers: contiguous tensors of one dtype.

    Raises:
        TypeError: the tensors have several dtypes, or another one than float32 and float64.
    """
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) != 1 or not dtypes <= _NUMBERS.keys():
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{name} got {found}, expected only torch.float32 or only torch.float64")
    function = getattr(library, f"{name}_{_NUMBERS[dtypes.pop()]}")
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    function((ctypes.c_int64 * len(sizes))(*sizes), *pointers)
