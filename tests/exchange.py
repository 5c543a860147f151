"""Functions whose operations are replaced by our kernels, for tests."""

from collections.abc import Callable

import torch
from torch._dynamo import nonstrict_trace
from torch.fx.experimental.proxy_tensor import make_fx

from fnet.compiler import passes
from fnet.compiler.passes import tracing_modes
from fnet.tree.arguments import split_tensors


def compiled(fn: Callable, kernels="auto", **options) -> Callable:
    """Return the function compiled by Inductor with these kernels: of trees of tensors."""
    joined = {}

    def call(*args):
        tensors, arguments = split_tensors((args, {}))

        def flat(*tensors):
            with tracing_modes(kernels):
                results, joined["results"] = split_tensors(fn(*arguments(tensors)[0]))
            return results

        torch.compiler.reset()  # also clears the code traced in this way
        traced = nonstrict_trace(flat)
        compiled = torch.compile(
            lambda *tensors: traced(*tensors),
            fullgraph=True,
            dynamic=False,
            options={**passes.options(kernels), **options},
        )
        results = compiled(*tensors)
        return joined["results"](results)

    return call


def exchanged(fn: Callable, seen: list[str] | None = None, kernels="auto") -> Callable:
    """Return the function as its graph, exchanged, and run operation by operation.

    Quicker than `compiled`. The names of the graph's operations are added to `seen`.
    """

    def call(*args):
        tensors, arguments = split_tensors((args, {}))
        joined = []

        def flat(*tensors):
            with tracing_modes(kernels):
                results, join = split_tensors(fn(*arguments(tensors)[0]))
            joined.append(join)
            return results

        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
            graph = make_fx(flat, _allow_non_fake_inputs=True)(*map(mode.from_tensor, tensors))
        if kernels == "auto":
            passes.exchange(graph.graph)
            graph.recompile()
        if seen is not None:
            seen.extend(str(node.target) for node in graph.graph.nodes)
        return joined[-1](graph(*tensors))

    return call


def recorded(fn: Callable, kernels="auto") -> tuple[Callable, list[str]]:
    """Return the function exchanged, and the list that the names of its operations will be in."""
    seen: list[str] = []
    return exchanged(fn, seen, kernels), seen
