"""A function of trees of tensors as one compiled graph, traced as `jax.jit` traces.

The function runs once, on tensors without data, and every operation on tensors is written down;
its Python is not looked at. So it may close over anything, and to trace it takes seconds less
than reading its bytecode would; what it does besides computing tensors is done while it is traced.
"""

import os
import types
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fnet import tree
from fnet.tree import Tree


def jit(fn: Callable[..., Tree]) -> Callable[..., Tree]:
    """Return `fn` as one compiled graph for each structure, shapes and dtypes of its arguments.

    Arguments and results are trees of tensors; what `fn` closes over is taken for constant. What
    `fn` raises while it is traced is raised as it is.
    """
    failures: list[Exception] = []
    builders: list[Callable[[Sequence[Tensor]], Tree]] = []

    @torch._dynamo.nonstrict_trace
    def traced(*args: Tree) -> list[Tensor]:
        failures.clear()
        try:
            leaves, structure = tree.flatten(fn(*args))
        except Exception as error:
            failures.append(error)
            raise
        builders.append(tree.builder(structure))
        return leaves

    # Called right after `traced` while a graph is made, and never again: part of the graph is
    # which structure its results have.
    @torch.compiler.assume_constant_result
    def newest() -> int:
        return len(builders) - 1

    def graph(*args: Tree) -> tuple[list[Tensor], int]:
        return traced(*args), newest()

    # Otherwise Dynamo takes each 0-d tensor of float64 for a number that it might make a variable
    # of, and has everything traced twice to find that it is none.
    torch._dynamo.config.specialize_float = True
    os.environ.setdefault("TENSORIFY_PYTHON_SCALARS", "0")
    # Dynamo keeps graphs by code, and all graphs have that of one function: this gets its own.
    own = types.FunctionType(graph.__code__.replace(), graph.__globals__, closure=graph.__closure__)
    compiled = torch.compile(own, fullgraph=True, dynamic=False)

    def call(*args: Tree) -> Tree:
        try:
            leaves, which = compiled(*args)
        except Exception:
            if failures:
                # Dynamo's own error would say that `traced` cannot be traced.
                raise failures.pop() from None
            raise
        return builders[which](leaves)

    return call
