"""What a program does before it imports the rest of fnet. Imports nothing of it."""

import logging
import os
import sys

_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Have the threads of an operation wait for each other for some 30 us, and sleep from then on.

    GNU's OpenMP lets them wait for milliseconds, in which they do nothing and hold a core that
    another program needs, or the very thread that they wait for. Beside a program that takes a
    core DaiNet7 trained on 102 to 122 images/s with this, and on 88 to 95 with that, in six and
    five epochs of two runs each (in turns `python -m recipes.dainet7 --data DIR --limit 2560
    --epochs 3` with and without `GOMP_SPINCOUNT=300000`, beside `python -c "while True: pass"`; two
    cores of an AMD EPYC, torch 2.15, 2026-11-23). Alone no difference was seen. No result depends
    on it. For programs, before torch is imported; what the user's environment says stays.
    """
    if os.environ.keys().isdisjoint(_WAITING):
        os.environ["GOMP_SPINCOUNT"] = "10000"


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
