"""Batch norm and max pooling replaced, and differentiated in other ways than once by `grad`."""

import pytest
import torch
from exchange import exchanged
from torch.autograd import forward_ad
from torch.func import grad, jvp, vjp
from torch.nn import functional

from fnet import compiler, tree
from fnet.compiler.kernels import pool

# What PyTorch says of itself at the first forward-mode derivative.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
WEIGHT, BIAS = torch.tensor([0.5, 1.5, 2.0]), torch.tensor([0.1, -1.0, 1.0])


def batch_norm(x, weight=WEIGHT):
    return functional.batch_norm(x, torch.zeros(3), torch.ones(3), weight, BIAS, training=True)


LAYERS = {
    "batch norm": batch_norm,
    "max pool": lambda x: functional.max_pool2d(x, 2),
    "max pool, overlapping": lambda x: functional.max_pool2d(x, 3, 2, 1),
}


def required(x):
    return x.detach().requires_grad_()


def by_autograd(layer, x):
    x = required(x)
    (slope,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.pow(2).sum(), x)
    return slope.detach(), second


def by_autograd_of_grad(layer, x):
    x = required(x)
    slope = grad(lambda x: layer(x).pow(3).sum())(x)
    return torch.autograd.grad(slope.pow(2).sum(), x)[0]


def by_grad_of_autograd(layer, x):
    def steepness(x):
        (slope,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        return slope.pow(2).sum()

    return grad(steepness)(x)


def forward_over_reverse(layer, x):
    y, pullback = vjp(layer, x)
    return jvp(lambda v: pullback(v)[0], (y.square(),), (y.pow(3),))


def by_dual_numbers(layer, x):
    with forward_ad.dual_level():
        y = layer(forward_ad.make_dual(x, x.square()))
        return forward_ad.unpack_dual(y).tangent


def by_dual_numbers_of_slope(layer, x):
    x = required(x)
    y = layer(x)
    with forward_ad.dual_level():
        v = forward_ad.make_dual(torch.ones_like(y), y.detach().square())
        (slope,) = torch.autograd.grad(y, x, v)
        return forward_ad.unpack_dual(slope).tangent


@pytest.fixture(autouse=True)
def large_images(monkeypatch):
    """Treat the images below as large ones."""
    monkeypatch.setattr(pool, "_MAX_LOOP_ELEMENTS", 0)


@pytest.mark.parametrize(
    "derivative",
    [
        by_autograd,
        by_autograd_of_grad,
        by_grad_of_autograd,
        forward_over_reverse,
        by_dual_numbers,
        by_dual_numbers_of_slope,
    ],
)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_each_derivative_is_pytorchs(name, layout, derivative):
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=layout)
    layer = LAYERS[name]
    got = exchanged(lambda x: derivative(layer, x))(x)
    expected = derivative(layer, x)
    atol = 1e-5 * max(leaf.abs().max().item() for leaf in tree.leaves(expected))
    tree.assert_close(got, expected, rtol=1e-5, atol=atol)


def test_a_weights_second_derivative_is_pytorchs():
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def second(weight):
        weight = required(weight)
        loss = batch_norm(x, weight).pow(4).sum()
        (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
        return torch.autograd.grad(slope.pow(2).sum(), weight)[0]

    torch.testing.assert_close(exchanged(second)(WEIGHT), second(WEIGHT), rtol=1e-5, atol=1e-3)


def test_tangents_of_a_batch_norm_are_pytorchs():
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def tangents(x, weight):
        mean, var = torch.zeros(3), torch.ones(3)
        with forward_ad.dual_level():
            weight = forward_ad.make_dual(weight, weight.square())
            y = functional.batch_norm(x, mean, var, weight, BIAS, training=True)
            assert forward_ad.unpack_dual(mean).tangent is None
            return *forward_ad.unpack_dual(y), mean, var

    got, expected = exchanged(tangents)(x, WEIGHT), tangents(x, WEIGHT)
    tree.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_the_second_derivative_of_a_pooled_cube_is_compiled_as_pytorchs():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)

    def second(x):
        return by_autograd(lambda x: functional.max_pool2d(batch_norm(x), 2), x)

    got, expected = compiler.compile(second)(x), second(x)
    tree.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected[1].abs().max().item())
