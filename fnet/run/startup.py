"""What a program does before it imports the rest of fnet. Imports nothing of it."""

import logging
import sys


def leave_out_triton() -> None:
    """Have PyTorch go without Triton where no GPU is, as its builds for CPUs do.

    Triton compiles for GPUs. Where it is installed, a program that only uses the CPU spends time
    and memory on it at each start: to load it, and to hash its library for the keys of the compile
    cache. For programs (the recipes do it), before `torch._dynamo` is imported, as torchvision and
    the compiler do: in this process `import triton` fails from then on.
    """
    import torch

    if "triton" not in sys.modules and not torch.cuda.is_available():
        sys.modules["triton"] = None  # type: ignore[assignment]
        # It would say at each start that it cannot count what kernels of Triton compute.
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
