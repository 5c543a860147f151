"""Changes of colour against torchvision on the same factors."""

import itertools

import pytest
import torch
import torchvision.transforms.v2.functional as TF

from fnet import random
from fnet.data import (
    Batch,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    grayscale,
    jitter,
    random_grayscale,
    shapes,
)

SHAPES = shapes(random.key(0), 24).images
NOISE = random.randint(random.key(1), SHAPES.permute(0, 2, 3, 1).shape, 0, 256)
NOISE = NOISE.to(torch.uint8).permute(0, 3, 1, 2)
FACTORS = torch.linspace(0, 2, 24)
TURNS = torch.linspace(-0.5, 0.5, 24)
# Last: how many of the 73,728 values may be one level off.
ADJUSTMENTS = {
    "brightness": (adjust_brightness, TF.adjust_brightness, FACTORS, 0),
    "contrast": (adjust_contrast, TF.adjust_contrast, FACTORS, 0),
    "saturation": (adjust_saturation, TF.adjust_saturation, FACTORS, 147),
    "hue": (adjust_hue, TF.adjust_hue, TURNS, 7),
}
every_image = pytest.mark.parametrize("images", [SHAPES, NOISE], ids=["shapes", "noise"])
every_adjustment = pytest.mark.parametrize("name", ADJUSTMENTS)


def off(ours, theirs):
    """Return how many values differ, none by more than one level."""
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max() <= 1
    return int(difference.sum())


@every_image
@every_adjustment
@pytest.mark.parametrize("channels", [1, 3])
def test_as_torchvision(name, images, channels):
    adjust, reference, factors, allowed = ADJUSTMENTS[name]
    images = images[:, :channels]
    each = zip(images, factors.tolist(), strict=True)
    theirs = torch.stack([reference(image, factor) for image, factor in each])
    assert off(adjust(images, factors), theirs) <= allowed


@every_image
@every_adjustment
def test_a_neutral_factor_changes_nothing(name, images):
    adjust = ADJUSTMENTS[name][0]
    result = adjust(images, torch.full((24,), 0.0 if name == "hue" else 1.0))
    assert result.equal(images)
    assert result.stride() == images.stride()


def test_hue_of_all_pure_colours():
    levels = torch.tensor([0, 1, 127, 254, 255], dtype=torch.uint8)
    image = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 5, 25)
    for factor in (-0.5, -1 / 3, 0.0, 0.1, 1 / 6, 0.5):
        ours = adjust_hue(image, torch.tensor([factor], dtype=torch.float64))
        assert off(ours, TF.adjust_hue(image, factor)) <= 2


@every_image
@pytest.mark.parametrize("channels", [1, 3])
def test_grayscale_is_torchvision_s(images, channels):
    images = images[:, :channels]
    grays = torch.arange(len(images)) % 3 == 0
    for ours, image, gray in zip(grayscale(images, grays), images, grays, strict=True):
        assert ours.equal(TF.rgb_to_grayscale(image, channels) if gray else image)


def test_jitter_in_every_order():
    orders = torch.tensor(list(itertools.permutations(range(4))))
    spread = random.uniform(random.key(2), (24, 4), 0.6, 1.4)
    factors = dict(zip(ADJUSTMENTS, (*spread[:, :3].unbind(1), spread[:, 3] - 1), strict=True))
    result = jitter(NOISE, factors, orders)
    for i, order in enumerate(orders.tolist()):
        theirs = NOISE[i]
        for place in order:
            name = list(ADJUSTMENTS)[place]
            theirs = ADJUSTMENTS[name][1](theirs, float(factors[name][i]))
        # One level off before a change may be three after it.
        difference = (result[i].int() - theirs.int()).abs()
        assert difference.max() <= 3
        assert (difference > 0).sum() <= 15, "of 3,072 values"


def grey_batch(n):
    """Return n images of one pixel, all (100, 100, 100)."""
    images = torch.full((n, 1, 1, 3), 100, dtype=torch.uint8).permute(0, 3, 1, 2)
    rest = torch.ones(n), torch.zeros((), dtype=torch.float64)
    return Batch(images, torch.zeros(n).long(), random.key(3), torch.arange(n), *rest)


def test_jitter_draws_factors_of_the_range():
    levels = color_jitter(brightness=(0.5, 1.5))(grey_batch(20_000)).images[:, 0, 0, 0]
    counts = torch.bincount(levels, minlength=150)[50:]
    assert counts.sum() == 20_000
    assert ((counts - 200) ** 2 / 200).sum() < 150, "99 degrees of freedom: 1 of 1000 passes 150"


def test_jitter_draws_both_orders_as_often():
    # Of pixels 50 and 200, brightness first makes 100 and 255 (clipped), then 138 and 216;
    # contrast first makes 87 and 162, then 174 and 255 (clipped).
    batch = grey_batch(10_000)
    images = torch.cat([batch.images // 2, batch.images * 2], -1)[:, :1]
    result = color_jitter(brightness=(2, 2), contrast=(0.5, 0.5))(batch._replace(images=images))
    right = result.images[:, 0, 0, 1]
    assert right.unique().tolist() == [216, 255]
    assert abs((right == right.max()).float().mean() - 0.5) < 0.02


@pytest.mark.parametrize("p", [0.0, 0.1, 1.0])
def test_greys_come_at_their_rate(p):
    n = 10_000
    batch = grey_batch(n)
    red = batch.images * torch.tensor([2, 1, 1], dtype=torch.uint8)[:, None, None]
    images = random_grayscale(p)(batch._replace(images=red)).images
    gray = (images[:, 0] == images[:, 1]).float().mean()
    assert abs(gray - p) <= 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_grayscale(2), "from 0 to 1, got 2"),
        (lambda: color_jitter(brightness=-0.1), "brightness must be a number, 0 or more"),
        (lambda: color_jitter(contrast=(-1, 1)), "within 0.0 to inf, got"),
        (lambda: color_jitter(saturation=(2, 1)), "saturation must be a number, 0 or more"),
        (lambda: color_jitter(hue=0.6), "within -0.5 to 0.5, got 0.6"),
        (lambda: adjust_hue(SHAPES.float(), TURNS), "uint8 images of 1 or 3 channels"),
        (lambda: grayscale(SHAPES[:, :2], TURNS > 0), "got torch.uint8 images of 2 channels"),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
