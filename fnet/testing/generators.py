"""The global random generators of a process: those of torch, numpy and Python."""

import random as python_random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch


class Generator(NamedTuple):
    """One global generator: how to read its state, write it, and seed it."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]
    seed: Callable[[int], Any]


def generators() -> list[Generator]:
    """Return the global generators of this process; CUDA's only if CUDA is in use.

    >>> [generator.name for generator in generators()][-2:]
    ["numpy's global generator", "Python's global generator"]
    """
    found = [
        Generator(
            "torch's global generator",
            torch.get_rng_state,
            torch.set_rng_state,
            torch.default_generator.manual_seed,
        )
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found.append(
            Generator(
                "torch's global CUDA generator",
                torch.cuda.get_rng_state_all,
                torch.cuda.set_rng_state_all,
                torch.cuda.manual_seed_all,
            )
        )
    found += [
        Generator(
            "numpy's global generator", np.random.get_state, np.random.set_state, np.random.seed
        ),
        Generator(
            "Python's global generator",
            python_random.getstate,
            python_random.setstate,
            python_random.seed,
        ),
    ]
    return found


@contextmanager
def preserved() -> Iterator[None]:
    """Restore the state of every global generator at the end of the context."""
    before = [(generator, generator.get()) for generator in generators()]
    try:
        yield
    finally:
        for generator, state in before:
            generator.set(state)


def seed_all(seed: int) -> None:
    """Seed every global generator."""
    for generator in generators():
        generator.seed(seed)


def same_state(a: Any, b: Any) -> bool:
    """Return whether two states of one generator are equal: nested tuples, tensors and arrays."""
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same_state, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(np.array_equal(a, b))
