"""A function of trees of tensors as one compiled graph, traced as `jax.jit` traces.

The function runs on tensors without data, and every operation on tensors is written down. Its
Python is not looked at: it may be any, and tracing it takes seconds less than reading its bytecode
would. What it does besides computing tensors is done while it is traced, and not again.
"""

import os
import re
import types
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from fnet import tree
from fnet.tree import Tree

_TRACING = ContextVar("tracing", default=False)


def is_compiling() -> bool:
    """Say whether what runs is being compiled: by `jit`, or by `torch.compile` itself."""
    return torch.compiler.is_compiling() or _TRACING.get()


def jit(fn: Callable[..., Tree]) -> Callable[..., Tree]:
    """Return `fn` as one compiled graph for each structure, shapes and dtypes of its arguments.

    Arguments and results are trees of tensors; what `fn` closes over is taken for constant. What
    `fn` raises while it is traced is raised as it is.
    """
    failures: list[Exception] = []
    builders: list[Callable[[Sequence[Tensor]], Tree]] = []

    @torch._dynamo.nonstrict_trace
    def traced(args: Tree, kwargs: Tree) -> list[Tensor]:
        failures.clear()
        token = _TRACING.set(True)
        try:
            results = fn(*tree.unmark_none(args), **tree.unmark_none(kwargs))
        except Exception as error:
            failures.append(error)
            raise
        finally:
            _TRACING.reset(token)
        leaves, structure = tree.flatten(results)
        builders.append(tree.builder(structure))
        return leaves

    # Called right after `traced` while a graph is made, and never again: part of the graph is
    # which structure its results have.
    @torch.compiler.assume_constant_result
    def newest() -> int:
        return len(builders) - 1

    def graph(*args: Tree, **kwargs: Tree) -> tuple[list[Tensor], int]:
        # torch 2.11 traces no function of None.
        return traced(tree.mark_none(args), tree.mark_none(kwargs)), newest()

    # Otherwise Dynamo takes each 0-d tensor of float64 for a number that it might make a variable
    # of, and has everything traced twice to find that it is none.
    torch._dynamo.config.specialize_float = True
    os.environ.setdefault("TENSORIFY_PYTHON_SCALARS", "0")
    # Dynamo keeps graphs by code, and all graphs have that of one function: this gets its own.
    own = types.FunctionType(graph.__code__.replace(), graph.__globals__, closure=graph.__closure__)
    options: dict[str, Any] = {"guard_filter_fn": _of_arguments}
    compiled = torch.compile(own, fullgraph=True, dynamic=False, options=options)

    def call(*args: Tree, **kwargs: Tree) -> Tree:
        try:
            leaves, which = compiled(*args, **kwargs)
        except Exception:
            if failures:
                # Dynamo's own error would say that `traced` cannot be traced.
                raise failures.pop() from None
            raise
        return builders[which](leaves)

    return call


def _of_arguments(guards: Sequence[Any]) -> list[bool]:
    """Choose what is checked at each call: the arguments and torch's modes, not code."""
    code = re.compile(r"(traced|newest)\b|.*\b__(import|dict)__\b")
    return [not guard.is_global and not code.match(guard.name) for guard in guards]
