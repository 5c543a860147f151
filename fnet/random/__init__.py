"""Random numbers as pure functions of explicit keys, with the bits of `jax.random`."""

from fnet.random.keys import (
    bernoulli,
    bits,
    fast_bernoulli,
    fast_bits,
    fold_in,
    key,
    normal,
    permutation,
    randint,
    split,
    uniform,
)

__all__ = [
    "bernoulli",
    "bits",
    "fast_bernoulli",
    "fast_bits",
    "fold_in",
    "key",
    "normal",
    "permutation",
    "randint",
    "split",
    "uniform",
]
