"""Compiled functions for tests, with a backend that starts fast, and the operations they call."""

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch._dynamo.backends.common import aot_autograd

from fnet.compiler import compile, options

# `fnet.compiler.compile` is the function: it hides the module of the same name.
compiling = importlib.import_module("fnet.compiler.compile")


def operations(graph, _):
    """A backend that runs the ATen graph eagerly: the fastest one to start."""
    return graph.forward


def backend(compiler):
    """Return the arguments of `torch.compile` with which `compiler` gets the ATen graph."""
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
        given = backend(compiler or operations)
        with mock.patch.object(options, "compile_options", return_value=given):
            return compiled(*args, **kwargs)

    return call


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Raise an AssertionError if a function is traced and compiled within this context."""
    with mock.patch.object(compiling, "Graph", side_effect=AssertionError("compiled again")):
        yield


def recorded(fn):
    """Return the traced function, and a list to which its calls append the operations' names."""
    names = []

    def look(graph, _):
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    return traced(fn, look), names
