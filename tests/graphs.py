"""Compiled functions for tests: with a compiler that is quick to start, and what they call."""

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch._dynamo.backends.common import aot_autograd

from fnet.compiler import backend as module
from fnet.compiler import compile

# The package has the function under the module's name.
compiling = importlib.import_module("fnet.compiler.compile")


def operations(graph, _):
    """Return the graph, which calls one ATen operation after the other: the quickest compiler."""
    return graph.forward


def backend(compiler):
    """Return what `torch.compile` is told, so that `compiler` gets the ATen graph."""
    return {
        "backend": aot_autograd(fw_compiler=compiler, inference_compiler=compiler),
        "options": {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
    }


def traced(fn, compiler=None):
    """Return the function as `compile` traces it, run operation by operation.

    Args:
        fn: the function.
        compiler: what gets the ATen graph instead; "inductor" for the usual.
    """
    compiled = compile(fn)
    if compiler == "inductor":
        return compiled

    @functools.wraps(fn)
    def call(*args, **kwargs):
        told = backend(compiler or operations)
        with mock.patch.object(module, "told", return_value=told):
            return compiled(*args, **kwargs)

    return call


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Have it be an error where a function is traced and compiled."""
    with mock.patch.object(compiling, "Graph", side_effect=AssertionError("compiled again")):
        yield


def recorded(fn):
    """Return the function traced, and the list that the names of its operations will be in."""
    names = []

    def look(graph, _):
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    return traced(fn, look), names
