"""Kernels for the CPU that take less time than the library's, for some shapes and strides.

`RULES` says by which of them a node of an ATen graph is computed; `tracing_modes` writes down what
is to be chosen there and would be decomposed before.
"""

from fnet.compiler.kernels.rules import RULES
from fnet.compiler.kernels.tracing import tracing_modes

__all__ = ["RULES", "tracing_modes"]
