"""Initial weights: torch's distributions, a key for each leaf."""

import pytest
import torch
from torch import nn

from fnet import random
from fnet.nn import from_module, kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform

INITIALIZERS = {
    "xavier_uniform": (xavier_uniform, nn.init.xavier_uniform_, {}),
    "xavier_normal": (xavier_normal, nn.init.xavier_normal_, {}),
    "kaiming_uniform": (kaiming_uniform, nn.init.kaiming_uniform_, {"nonlinearity": "relu"}),
    "kaiming_normal": (kaiming_normal, nn.init.kaiming_normal_, {"nonlinearity": "relu"}),
}
each_initializer = pytest.mark.parametrize("name", INITIALIZERS)


@each_initializer
@pytest.mark.parametrize("shape", [(300, 100), (40, 30, 5, 3)])
def test_weights_are_drawn_as_torch_draws_them(name, shape):
    make, theirs, options = INITIALIZERS[name]
    got = make()(random.key(0), shape)
    generator = torch.Generator().manual_seed(0)
    expected = theirs(torch.empty(shape), **options, generator=generator)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    deviation = expected.std().item()
    assert got.std().item() == pytest.approx(deviation, rel=0.02)
    assert got.mean().abs() < 0.02 * deviation
    # No uniform number is so far from 0, but one of twelve normal numbers is.
    far = [(weights.abs() > 1.74 * deviation).float().mean().item() for weights in (got, expected)]
    assert far[0] == pytest.approx(far[1], abs=0.01)


@each_initializer
def test_the_gain_is_a_factor(name):
    make, *_ = INITIALIZERS[name]
    one, two = (make(gain)(random.key(0), (5, 4)) for gain in (1.0, 2.0))
    assert torch.equal(two, 2 * one)


def test_layers_of_one_shape_begin_with_weights_of_their_own():
    model = from_module(
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6)),
        init=xavier_normal(),
    )
    params = model.init(random.key(0)).trainable
    assert not torch.equal(params["0.weight"], params["2.weight"])
    assert not params["0.bias"].any()
    assert params["1.weight"].eq(1).all()
