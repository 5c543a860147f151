"""Waiting for a device that works by itself."""

from collections.abc import Callable
from typing import Any

import torch


def waiting(device: str) -> Callable[[Any], None]:
    """Return the function that waits until all work given to PyTorch's device is done."""
    place = torch.device(device)

    def wait(_: Any) -> None:
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    return wait
