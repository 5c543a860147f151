"""Keyed dropout: the drop rate, the shape of the mask, and the scale of the kept numbers."""

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from fnet import random
from fnet.nn import from_module

RATE = 0.2
LAYERS = {
    # The number of dimensions of the mask.
    "elements": (lambda: nn.Dropout(RATE), 4),
    "channels": (lambda: nn.Dropout2d(RATE), 2),
    "rows": (lambda: StochasticDepth(RATE, "row"), 1),
}


@pytest.mark.parametrize("for_each_sample", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_parts_are_dropped_at_their_rate_and_the_rest_is_scaled(name, for_each_sample):
    make, dims = LAYERS[name]
    model = from_module(lambda: nn.Sequential(make()))
    params, images = model.init(random.key(0)), torch.ones(400, 20, 2, 3)
    key = random.split(random.key(1), 400) if for_each_sample else random.key(1)
    y, _ = model.apply(params, images, key=key, train=True)
    parts = y.reshape(*y.shape[:dims], -1)
    assert torch.equal(parts, parts[..., :1].expand_as(parts))
    kept = parts[..., 0] != 0
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - RATE)])
    deviation = (RATE * (1 - RATE) / kept.numel()) ** 0.5
    assert kept.double().mean().item() == pytest.approx(1 - RATE, abs=4 * deviation)
    assert dims == 1 or not torch.equal(kept[0], kept[1])
    assert torch.equal(model.apply(params, images)[0], images)


def test_stochastic_depth_of_a_batch_keeps_or_drops_all_of_it():
    model = from_module(lambda: nn.Sequential(StochasticDepth(0.5, "batch")))
    params, images = model.init(random.key(0)), torch.ones(3, 2, 2, 2)
    drawn = [model.apply(params, images, key=random.key(n), train=True)[0] for n in range(20)]
    assert {tuple(y.unique().tolist()) for y in drawn} == {(0.0,), (2.0,)}
