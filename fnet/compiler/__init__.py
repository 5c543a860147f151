"""The compiler: `torch.compile`, what it is told, and the kernels that it may choose."""
