"""A function of trees of tensors as one compiled graph, traced as `jax.jit` traces.

The function runs on tensors without data, and every operation on tensors is written down. Its
Python is not looked at: it may be any, and tracing it takes seconds less than reading its bytecode
would. What it does besides computing tensors is done while it is traced, and not again.
"""

import os
import re
import types
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from fnet import tree
from fnet.closure import ClosedOver
from fnet.tree import Tree

_TRACING = ContextVar("tracing", default=False)

_NOT_AN_ARGUMENT = (
    "a compiled function makes a tensor of foreign data each time it runs (torch.frombuffer, "
    "torch.from_dlpack): make it outside, and let the function close over it"
)


def is_compiling() -> bool:
    """Say whether what runs is being compiled: by `jit`, or by `torch.compile` itself."""
    return torch.compiler.is_compiling() or _TRACING.get()


def jit(fn: Callable[..., Tree], *, cpp_wrapper: bool = False) -> Callable[..., Tree]:
    """Return `fn` as one compiled graph for each structure, shapes and dtypes of its arguments.

    Arguments and results are trees of tensors; what else is in the arguments must be hashable, and
    there is a graph for each value of it. Tensors that `fn` closes over are arguments as well, all
    else that it closes over is taken for constant. What `fn` raises while it is traced is raised as
    it is. With `cpp_wrapper` C++ calls the kernels instead of Python.
    """
    graphs: dict[Hashable, Callable[[list[Tensor]], Tree]] = {}

    def call(*args: Tree, **kwargs: Tree) -> Tree:
        tensors, rest = tree.tensors((args, kwargs))
        try:
            graph = graphs.get(rest)
        except TypeError as error:
            raise TypeError(
                f"a compiled function takes trees of tensors and of hashable constants: {error}"
            ) from None
        if graph is None:
            graph = graphs[rest] = _graph(fn, (args, kwargs), cpp_wrapper)
        return graph(tensors)

    return call


def _graph(
    fn: Callable[..., Tree], like: Tree, cpp_wrapper: bool
) -> Callable[[list[Tensor]], Tree]:
    """Return `fn` of the tensors in arguments that else are `like` these, as a compiled graph."""
    leaves, structure = tree.flatten(like)
    # Dynamo is given a flat list, for reading trees takes it seconds; and the first tensors are
    # not to be kept.
    constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    arguments = tree.builder(structure)
    closed_over: list[Tensor] = []
    failures: list[Exception] = []
    builders: list[Callable[[Sequence[Tensor]], Tree]] = []
    searched = False

    @torch._dynamo.nonstrict_trace
    def traced(tensors: list[Tensor]) -> list[Tensor]:
        nonlocal searched
        failures.clear()
        values = list(constants)
        for place, tensor in zip(places, tensors, strict=False):
            values[place] = tensor
        args, kwargs = arguments(values)
        closure = ClosedOver(closed_over, tensors[len(places) :])
        token = _TRACING.set(True)
        try:
            # What has none is left alone, once that is known: `torch.cond` bears no such mode.
            with nullcontext() if searched and not closed_over else closure:
                results = fn(*args, **kwargs)
            leaves, structure = tree.flatten(results)
            leaves = closure.instead_of(leaves)
            if len(tensors) < len(places) + len(closed_over):
                raise RuntimeError(_NOT_AN_ARGUMENT)
        except Exception as error:
            failures.append(error)
            raise
        finally:
            _TRACING.reset(token)
        builders.append(tree.builder(structure))
        searched = True
        return leaves

    # Called right after `traced` while a graph is made, and never again: part of the graph is
    # which structure its results have.
    @torch.compiler.assume_constant_result
    def newest() -> int:
        return len(builders) - 1

    def graph(tensors: list[Tensor]) -> tuple[list[Tensor], int]:
        return traced(tensors), newest()

    # Otherwise Dynamo takes each 0-d tensor of float64 for a number that it might make a variable
    # of, and has everything traced twice to find that it is none.
    torch._dynamo.config.specialize_float = True
    os.environ.setdefault("TENSORIFY_PYTHON_SCALARS", "0")
    # Dynamo keeps graphs by code, and all graphs have that of one function: this gets its own.
    own = types.FunctionType(graph.__code__.replace(), graph.__globals__, closure=graph.__closure__)
    options: dict[str, Any] = {"guard_filter_fn": _of_arguments, "cpp_wrapper": cpp_wrapper}
    compiled = torch.compile(own, fullgraph=True, dynamic=False, options=options)

    def call(tensors: list[Tensor], again: bool = False) -> Tree:
        nonlocal searched
        known, searched = len(closed_over), False
        try:
            leaves, which = compiled([*tensors, *closed_over])
        except Exception:
            if len(closed_over) > known and not again:
                return call(tensors, again=True)
            if failures:
                # Dynamo's own error would say that `traced` cannot be traced.
                raise failures.pop() from None
            raise
        return builders[which](leaves)

    return call


def _of_arguments(guards: Sequence[Any]) -> list[bool]:
    """Choose what is checked at each call: the tensors and torch's modes, not code."""
    return [not guard.name or re.search(r"\btensors\b", guard.name) is not None for guard in guards]
