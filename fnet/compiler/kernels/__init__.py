"""CPU kernels that are faster than PyTorch's for some shapes and strides.

`RULES` choose a kernel for a node of an ATen graph. `tracing_modes` keep batch norm and max pooling
from Inductor's decompositions, which run before the graph pass.
"""

from fnet.compiler.kernels.choice import RULES
from fnet.compiler.kernels.tracing import tracing_modes

__all__ = ["RULES", "tracing_modes"]
