"""Compiled functions for tests: with a compiler that is quick to start, and what they call."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from fnet import jit as module
from fnet.jit import jit


def operations(traced, _):
    """Return the graph, which calls one operation after the other: the quickest compiler."""
    return traced.graph


def traced(fn, compiler=None):
    """Return the function traced as `fnet.step.compile` traces it, and run operation by operation.

    Args:
        fn: the function.
        compiler: what is made of a `fnet.trace.Traced` instead; "inductor" for the usual.
    """
    compiled = jit(fn)
    if compiler == "inductor":
        return compiled

    @functools.wraps(fn)
    def call(*args, **kwargs):
        with mock.patch.object(module, "_inductor", compiler or operations):
            return compiled(*args, **kwargs)

    return call


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """Have it be an error where a function is traced and compiled."""
    with mock.patch.object(module, "_graph", side_effect=AssertionError("compiled again")):
        yield


def recorded(fn):
    """Return the function traced, and the list that the names of its operations will be in."""
    names = []

    def look(traced, _):
        names.extend(str(node.target) for node in traced.graph.graph.nodes)
        return traced.graph

    return traced(fn, look), names
