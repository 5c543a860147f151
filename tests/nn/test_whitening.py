"""A first convolution that whitens."""

import pytest
import torch
from torch import nn
from torch.func import vmap

from fnet import data, models, random, tree
from fnet.nn import from_module
from fnet.nn.whitening import first_convolution, whitened, whitening_filters

IMAGES = data.shapes(random.key(0), 200).images


def test_responses_are_uncorrelated_and_the_first_has_the_largest_variance():
    images = data.NORM_HALF(IMAGES)
    filters = whitening_filters(images, (3, 3), eps=0.0)
    responses = nn.functional.conv2d(images[:, :, :30, :30], filters, stride=3)
    rows = responses.double().transpose(0, 1).flatten(1)
    assert torch.allclose(rows @ rows.T / rows.shape[1], torch.eye(27).double(), atol=1e-3)
    lengths = filters.flatten(1).norm(dim=1)
    assert torch.equal(lengths, lengths.sort().values)


def test_a_direction_of_noise_is_not_amplified():
    grey = data.NORM_HALF(IMAGES[:, :1].expand(-1, 3, -1, -1))
    filters = whitening_filters(grey, (3, 3))
    assert filters.isfinite().all()
    assert filters.abs().max() <= (1 / 5e-4) ** 0.5


@pytest.mark.parametrize(("make", "name"), [(models.dainet7, "0.weight"), (models.cnn, None)])
def test_only_the_first_convolution_begins_otherwise(make, name):
    plain = make()
    name = name or first_convolution(plain)
    model = whitened(plain, IMAGES, data.NORM_HALF)
    before, after = plain.init(random.key(1)), model.init(random.key(1))
    weight, old = after.trainable[name], before.trainable[name]
    assert weight.stride() == old.stride()
    filters = whitening_filters(data.NORM_HALF(IMAGES), tuple(old.shape[2:]))
    kept = min(len(filters), len(old) // 2)
    assert torch.equal(weight[:kept], filters[:kept])
    assert torch.equal(weight[kept : 2 * kept], -filters[:kept])
    assert torch.equal(weight[2 * kept :], old[2 * kept :])
    tree.assert_equal(
        {**after.trainable, name: old, **after.stats}, {**before.trainable, **before.stats}
    )


def test_it_is_a_function_of_the_key_and_maps_over_keys():
    model = whitened(models.net(), IMAGES, data.NORM_HALF)
    keys = random.split(random.key(3), 2)
    tree.assert_equal(model.init(keys[0]), model.init(keys[0]))
    many = vmap(model.init)(keys)
    for place, key in enumerate(keys):
        alone = model.init(key)
        for name, leaf in alone.trainable.items():
            assert torch.equal(many.trainable[name][place], leaf)


def test_a_network_without_a_convolution_is_refused():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))
    with pytest.raises(ValueError, match="no convolution that could whiten"):
        whitened(model, IMAGES, data.NORM_HALF)
