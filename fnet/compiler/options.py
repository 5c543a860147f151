"""The options of `torch.compile` that compiled functions are made with."""

from typing import Any

import torch

from fnet import private
from fnet.compiler import passes
from fnet.compiler.passes import Kernels


def compile_options(cpp_wrapper: bool, kernels: Kernels) -> dict[str, Any]:
    """Return the backend and the options, as arguments of `torch.compile`.

    Args:
        cpp_wrapper: call the kernels from C++, not from Python.
        kernels: "auto" for our kernels if they are faster (on the CPU); "library" for PyTorch's.
    """
    options = {
        "cpp_wrapper": cpp_wrapper,
        # Explicit, because the cache keys of torch 2.11 do not contain the number of threads.
        "cpp.threads": torch.get_num_threads(),
        **passes.options(kernels),
    }
    guards = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    backend = private.inductor(options)
    return {"backend": backend, "options": guards if callable(backend) else options | guards}
