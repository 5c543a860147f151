"""The compiler: `torch.compile`, what it is told, and the kernels it may choose."""
