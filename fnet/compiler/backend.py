"""`torch.compile` as fnet calls it: its options, and what Inductor made of a graph."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from fnet import private
from fnet.compiler import passes
from fnet.compiler.passes import Kernels

_NUMBERS = itertools.count()


class Backend:
    """Inductor, which remembers what it made of a graph.

    A graph that Dynamo hands over has the function's inputs and results in order, unless two of
    them are one tensor; then what is remembered is not used.
    """

    def __init__(self, cpp_wrapper: bool, kernels: Kernels) -> None:
        self.told = told(cpp_wrapper, kernels)
        self._compiler = self.told["backend"]
        if callable(self._compiler):
            self.told["backend"] = self._compile
        self._made: Callable[..., Sequence[Tensor]] | None = None
        self._results: Sequence[Tensor] | None = None
        self._names: list[str] = []

    def _compile(self, graph: Any, inputs: Any, **told: Any) -> Callable[..., Sequence[Tensor]]:
        made = self._compiler(graph, inputs, **told)
        self._names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        self._made = made

        def call(*inputs: Tensor) -> Sequence[Tensor]:
            if self._results is None:
                self._results = made(*inputs)
                return self._results
            return made(*inputs)

        return call

    def function(
        self, inputs: int, results: Sequence[Tensor]
    ) -> Callable[..., Sequence[Tensor]] | None:
        """Return what was made of the function, if its first results are those of the graph."""
        made, computed, self._results = self._made, self._results, ()
        if made is None or computed is None or len(computed) != len(results):
            return None
        if self._names != [f"l_inputs_{n}_" for n in range(inputs)]:
            return None
        same = all(one is other for one, other in zip(computed, results, strict=True))
        return made if same else None


def torch_compile(
    flat: Callable[..., list[Tensor]], name: str, backend: Backend
) -> Callable[..., list[Tensor]]:
    """Return `flat` compiled for the tensors of its first call; no later call is looked at."""

    def entry(*inputs: Tensor) -> list[Tensor]:
        return traced(*inputs)

    mark = private.nonstrict_trace()
    traced = flat if mark is None else mark(flat)
    # Dynamo keeps what it compiled by the code object: each graph needs one of its own.
    code = entry.__code__.replace(co_name=f"{name}_{next(_NUMBERS)}")
    entry = FunctionType(code, globals(), name, None, entry.__closure__)
    return torch.compile(entry, fullgraph=True, dynamic=False, **backend.told)


def told(cpp_wrapper: bool, kernels: Kernels) -> dict[str, Any]:
    """Return what makes a graph quick, as arguments of `torch.compile`."""
    options = {
        "cpp_wrapper": cpp_wrapper,
        # Said because torch 2.11 leaves the number of threads out of its cache's keys.
        "cpp.threads": torch.get_num_threads(),
        **passes.options(kernels),
    }
    guards = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    backend = private.inductor(options)
    return {"backend": backend, "options": guards if callable(backend) else options | guards}


@contextmanager
def no_restart() -> Iterator[None]:
    """Have Dynamo not trace twice.

    It takes 0-d inputs for numbers that might be read, and begins anew when they were not.
    """
    name = "TENSORIFY_PYTHON_SCALARS"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
