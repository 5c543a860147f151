"""The call of `torch.compile`, and direct access to the graph that Inductor compiled."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from fnet import private
from fnet.compiler import options
from fnet.compiler.passes import Kernels

_NUMBERS = itertools.count()


class Backend:
    """A backend that calls Inductor and stores the compiled graph, to call it without Dynamo.

    The inputs and results of the graph that Dynamo passes are those of the function, in order,
    unless two of them are the same tensor. In that case `function` returns None.
    """

    def __init__(self, cpp_wrapper: bool, kernels: Kernels) -> None:
        self.options = options.compile_options(cpp_wrapper, kernels)
        self._compiler = self.options["backend"]
        if callable(self._compiler):
            self.options["backend"] = self._compile
        self._compiled_graph: Callable[..., Sequence[Tensor]] | None = None
        self._results: Sequence[Tensor] | None = None
        self._names: list[str] = []

    def _compile(self, graph: Any, inputs: Any, **options: Any) -> Callable[..., Sequence[Tensor]]:
        compiled = self._compiler(graph, inputs, **options)
        self._names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        self._compiled_graph = compiled

        def call(*inputs: Tensor) -> Sequence[Tensor]:
            if self._results is None:
                self._results = compiled(*inputs)
                return self._results
            return compiled(*inputs)

        return call

    def function(
        self, inputs: int, results: Sequence[Tensor]
    ) -> Callable[..., Sequence[Tensor]] | None:
        """Return the compiled graph if its inputs and first results are those of the function."""
        compiled, computed, self._results = self._compiled_graph, self._results, ()
        if compiled is None or computed is None or len(computed) != len(results):
            return None
        if self._names != [f"l_inputs_{n}_" for n in range(inputs)]:
            return None
        same = all(one is other for one, other in zip(computed, results, strict=True))
        return compiled if same else None


def torch_compile(
    flat: Callable[..., list[Tensor]], name: str, backend: Backend
) -> Callable[..., list[Tensor]]:
    """Return `flat` compiled for the tensors of its first call; there are no guards."""

    def entry(*inputs: Tensor) -> list[Tensor]:
        return traced(*inputs)

    mark = private.nonstrict_trace()
    traced = flat if mark is None else mark(flat)
    # The key of Dynamo's cache is the code object: each graph needs its own.
    code = entry.__code__.replace(co_name=f"{name}_{next(_NUMBERS)}")
    entry = FunctionType(code, globals(), name, None, entry.__closure__)
    return torch.compile(entry, fullgraph=True, dynamic=False, **backend.options)


@contextmanager
def no_restart() -> Iterator[None]:
    """Prevent Dynamo from tracing twice, within this context.

    Otherwise it treats 0-d inputs as Python scalars, whose values may be read, and restarts tracing
    if they are not read.
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
