"""The process's global random generators: PyTorch's, Python's and numpy's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

NAMES = ("PyTorch", "Python", "numpy")


def states(seed_only: bool = False) -> tuple[Any, ...]:
    """Return the generators' states, in the order of `NAMES`, as values comparable with `==`.

    With `seed_only`, the state of PyTorch's generator is only its seed: within a `torch.func`
    transform, its full state cannot be read.
    """
    kind, words, *rest = np.random.get_state()
    numpy = (kind, np.asarray(words).tobytes(), *rest)
    own = torch.initial_seed() if seed_only else bytes(torch.get_rng_state().numpy())
    return own, random.getstate(), numpy


@contextmanager
def isolated(seed: int | None = None) -> Iterator[None]:
    """Seed the generators at the start (with None: do not), and restore their states at the end.

    >>> before = states()
    >>> with isolated(0):
    ...     _ = torch.rand(2), random.random()
    >>> states() == before
    True
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                # Not torch.manual_seed, which would also seed the generators of all GPUs.
                torch.default_generator.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed & 0xFFFFFFFF)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
