"""The compiler: `torch.compile` with fnet's options, and the kernels that it may use."""

from fnet.compiler.compile import compile
from fnet.compiler.refusals import TraceError

__all__ = ["TraceError", "compile"]
