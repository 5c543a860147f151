"""Compiled functions for tests: with a compiler that is quick to start, and what they call."""

import functools
from unittest import mock

import torch
from torch._dynamo.backends.common import aot_autograd

from fnet.jit import jit


def traced(fn, backend="aot_eager"):
    """Return the function traced as `fnet.step.compile` traces it, and run operation by operation.

    What is traced before is forgotten.
    """
    torch.compiler.reset()
    compile = functools.partial(torch.compile, backend=backend)
    compiled = jit(fn)

    @functools.wraps(fn)
    def call(*args, **kwargs):
        with mock.patch.object(torch, "compile", compile):
            return compiled(*args, **kwargs)

    return call


def recorded(fn):
    """Return the function traced, and the list that the names of its operations will be in."""
    names = []

    def look(graph, example_inputs):
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    return traced(fn, aot_autograd(fw_compiler=look)), names
