"""Crop, flip and affine maps against torchvision on the same draw; how often each is drawn."""

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet import random
from fnet.data import (
    Batch,
    affine,
    alternating_flip,
    compose,
    crop,
    cutout,
    erase,
    flip,
    random_affine,
    random_crop,
    random_flip,
    shapes,
)

IMAGES = shapes(random.key(0), 20).images


def white(n: int, height: int, width: int, key: int = 0) -> Batch:
    """Return n images that are black but for one white pixel, in the middle."""
    images = torch.zeros(n, height, width, 1, dtype=torch.uint8).permute(0, 3, 1, 2)
    images[:, :, height // 2, width // 2] = 255
    rest = torch.ones(n), torch.zeros((), dtype=torch.float64)
    return Batch(images, torch.zeros(n).long(), random.key(key), torch.arange(n), *rest)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([1, 3]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.data(),
)
def test_crop_is_torchvision_s(channels, height, width, padding, data):
    offset = st.integers(0, 2 * padding)
    offsets = data.draw(st.lists(st.tuples(offset, offset), min_size=1, max_size=4))
    shape = (len(offsets), channels, height, width)
    images = random.bits(random.key(0), shape).remainder(256).to(torch.uint8)
    result = crop(images, torch.tensor(offsets), padding)
    for ours, image, (top, left) in zip(result, images, offsets, strict=True):
        assert ours.equal(TF.crop(TF.pad(image, padding), top, left, height, width))


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_is_torchvision_s(channels):
    images = IMAGES[:, :channels]
    flips = torch.arange(len(images)) % 3 == 0
    for ours, image, mirrored in zip(flip(images, flips), images, flips, strict=True):
        assert ours.equal(TF.hflip(image) if mirrored else image)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(1, 8, 8), (3, 7, 9), (3, 32, 32)]),
    st.floats(-180, 180),
    st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    st.floats(0.5, 2),
    st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
)
def test_affine_is_torchvision_s(shape, angle, translate, scale, shear):
    image = random.randint(random.key(0), (1, *shape), 1, 256).to(torch.uint8)
    exact = {"dtype": torch.float64}
    ours, nudged, back = (
        affine(
            image,
            torch.tensor([angle], **exact),
            torch.tensor([translate], **exact) + nudge,
            torch.tensor([scale], **exact),
            torch.tensor([shear], **exact),
        )
        for nudge in (0, 1e-4, -1e-4)
    )
    theirs = TF.affine(image, angle, list(translate), scale, list(shear))
    # A source may lie halfway between two pixels; there, torchvision's float32 decides.
    decided = (ours == nudged) & (ours == back)
    assert ours[decided].equal(theirs[decided])


def test_affine_of_a_batch_is_torchvision_s_to_the_pixel():
    n = len(IMAGES)
    angle, translate = torch.linspace(-180, 180, n), torch.arange(2 * n).view(n, 2) % 7 - 3
    scale, shear = torch.linspace(0.7, 1.5, n), torch.linspace(-20, 20, 2 * n).view(n, 2)
    ours = affine(IMAGES, angle, translate, scale, shear)
    parameters = (x.tolist() for x in (angle, translate, scale, shear))
    each = zip(IMAGES, *parameters, strict=True)
    assert ours.equal(torch.stack([TF.affine(image, *rest) for image, *rest in each]))
    assert ours.stride() == IMAGES.stride()


@pytest.mark.parametrize(("shape", "size"), [((5, 7), 3), ((6, 6), 4), ((3, 4), 9)])
def test_erased_is_a_clipped_square(shape, size):
    height, width = shape
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    images = torch.full((len(places), 2, height, width), 7, dtype=torch.uint8)
    for image, (row, column) in zip(erase(images, places, size), places.tolist(), strict=True):
        expected = torch.full((2, height, width), 7, dtype=torch.uint8)
        top, left = row - size // 2, column - size // 2
        expected[:, max(0, top) : top + size, max(0, left) : left + size] = 0
        assert image.equal(expected)


def test_every_offset_is_equally_likely():
    n, side = 8100, 9
    images = random_crop(4)(white(n, side, side)).images
    counts = (images > 0).sum((0, 1))
    assert counts.sum() == n, "the white pixel is in every image"
    chi_squared = ((counts - n / side**2) ** 2 / (n / side**2)).sum()
    assert chi_squared < 125, "80 degrees of freedom: 1 of 1000 keys passes 125"


def test_every_centre_is_equally_likely():
    n, side = 8100, 9
    batch = white(n, side, side)
    images = cutout(1)(batch._replace(images=torch.ones_like(batch.images))).images
    counts = (images == 0).sum((0, 1))
    assert counts.sum() == n, "one pixel in every image"
    chi_squared = ((counts - n / side**2) ** 2 / (n / side**2)).sum()
    assert chi_squared < 125, "80 degrees of freedom: 1 of 1000 keys passes 125"


def test_affine_shifts_as_torchvision_draws_them():
    n = 8000
    where = random_affine(0, translate=(0.2, 0.4))(white(n, 9, 9)).images.flatten(1).argmax(1)
    column, row = where % 9 - 4, where // 9 - 4
    # Rounded uniform numbers of +-1.8 and +-3.6: the outermost shifts are rarer.
    for shift, reach in ((column, 1.8), (row, 3.6)):
        edges = torch.tensor([-reach, *torch.arange(-round(reach) + 0.5, round(reach)), reach])
        expected = n * edges.diff() / (2 * reach)
        counts = torch.bincount(shift + round(reach)).float()
        assert ((counts - expected) ** 2 / expected).sum() < 30, "8 degrees of freedom at most"


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_flips_come_at_their_rate(p):
    n = 10_000
    images = random_flip(p)(white(n, 1, 2)).images
    flipped = (images[:, 0, 0, 0] > 0).float().mean()
    assert abs(flipped - p) <= 4 * (p * (1 - p) / n) ** 0.5


def test_every_image_is_mirrored_in_every_other_epoch():
    n = 10_000
    batch = white(n, 1, 2)
    batch.images.zero_()[..., 1] = 200
    flipped = []
    for epoch in (0.0, 0.999, 1.0, 2.25, 3.5):
        passed = torch.tensor(epoch, dtype=torch.float64)
        images = alternating_flip(7)(batch._replace(epoch=passed)).images
        flipped.append(images[:, 0, 0, 0] == 200)
    assert abs(flipped[0].float().mean() - 0.5) < 0.02
    for other, same in zip(flipped[1:], (True, False, True, False), strict=True):
        assert other.equal(flipped[0] if same else ~flipped[0])


def test_parts_of_a_composition_draw_independently():
    n = 10_000
    twice = compose(random_flip(), random_flip())(white(n, 1, 2)).images
    assert abs((twice[:, 0, 0, 0] > 0).float().mean() - 0.5) < 0.02


def test_a_flip_tells_nothing_about_the_crop_before_it():
    n = 10_000
    batch = white(n, 5, 9)
    batch.images.zero_()[..., 3], batch.images[..., 5] = 100, 200
    row = compose(random_crop(2), random_flip())(batch).images[:, 0, 2]
    left, right = ((row == value).float().argmax(1).double() for value in (100, 200))
    flipped = left > right
    shift = torch.where(flipped, -1, 1) * ((left + right) / 2 - 4)
    assert shift.unique().tolist() == [-2, -1, 0, 1, 2]
    assert torch.corrcoef(torch.stack([shift, flipped.double()]))[0, 1].abs() < 0.04


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_crop(-1), "0 or more, got -1"),
        (lambda: random_flip(1.5), "from 0 to 1, got 1.5"),
        (lambda: random_flip(-0.5), "from 0 to 1, got -0.5"),
        (lambda: cutout(0), "1 or more, got 0"),
        (lambda: random_affine(-5), "degrees must be a number, 0 or more"),
        (lambda: random_affine((5, -5)), "degrees must be a number, 0 or more"),
        (lambda: random_affine(0, translate=(0, 1.5)), "0 to 1, got"),
        (lambda: random_affine(0, scale=(0, 1)), "above 0, got"),
        (lambda: random_affine(0, shear=(1, 2, 3)), "shear must be a number, 0 or more"),
        (lambda: random_affine(0, shear=(0, 1, 2, 1)), "shear must be a number, 0 or more"),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
