"""The compiler: `torch.compile`, what it is told, and the kernels it may choose."""

from fnet.compiler.compile import compile
from fnet.compiler.trace import TraceError

__all__ = ["TraceError", "compile"]
