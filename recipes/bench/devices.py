"""Synchronization with an asynchronous device."""

from collections.abc import Callable
from typing import Any

import torch


def waiting(device: str) -> Callable[[Any], None]:
    """Return a function that waits until all work queued on PyTorch's device is done."""
    place = torch.device(device)

    def wait(_: Any) -> None:
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    return wait
