"""A function of tensors as a graph, written down while it runs on tensors without data.

What the function does besides computing tensors is done while it is traced, and not again. Source
of the idea: `jax.make_jaxpr`.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

_TRACING = ContextVar("tracing", default=False)


class Traced(NamedTuple):
    """The graph of a function.

    Attributes:
        graph: takes the tensors that the function was given, then those that it closes over.
        inputs: what stands for these: tensors of their shapes, dtypes and strides, without data.
        mode: what they belong to.
        closed_over: the tensors that the function closes over.
    """

    graph: GraphModule
    inputs: list[Tensor]
    mode: FakeTensorMode
    closed_over: list[Tensor]


def is_compiling() -> bool:
    """Say whether what runs is being compiled: by `torch.compile`, or traced here."""
    return torch.compiler.is_compiling() or _TRACING.get()


def trace(fn: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor]) -> Traced:
    """Return the graph of `fn(*tensors)`, which is run once. What it raises is raised as it is.

    >>> traced = trace(lambda x: [2 * x], [torch.ones(3)])
    >>> traced.graph(torch.arange(3.0))
    [tensor([0., 2., 4.])]
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    inputs = [_without_data(mode, tensor) for tensor in tensors]
    token = _TRACING.set(True)
    try:
        with mode:
            graph = make_fx(fn, _allow_non_fake_inputs=True)(*inputs)
    finally:
        _TRACING.reset(token)
    closed_over = _as_inputs(graph)
    inputs += [_without_data(mode, tensor) for tensor in closed_over]
    return Traced(graph, inputs, mode, closed_over)


def _without_data(mode: FakeTensorMode, like: Tensor) -> Tensor:
    # With memory of its own: that two arguments share theirs now must be no part of the graph.
    with mode:
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)


def _as_inputs(graph: GraphModule) -> list[Tensor]:
    """Make inputs, the last ones, of the tensors in a graph that are no constants; return them."""
    attributes = [node for node in graph.graph.nodes if node.op == "get_attr"]
    values = {node: getattr(graph, node.target) for node in attributes if not _is_constant(node)}
    found = {id(value): value for value in values.values() if isinstance(value, Tensor)}
    first = next(node for node in graph.graph.nodes if node.op != "placeholder")
    with graph.graph.inserting_before(first):
        inputs = {key: graph.graph.placeholder(f"closed_{n}") for n, key in enumerate(found)}
    for node, value in values.items():
        if id(value) in inputs:
            node.replace_all_uses_with(inputs[id(value)])
            graph.graph.erase_node(node)
    graph.recompile()
    return list(found.values())


def _is_constant(node: Node) -> bool:
    """Say whether a tensor is what `torch.tensor` made of numbers."""
    return any(user.target is torch.ops.aten.lift_fresh_copy.default for user in node.users)
