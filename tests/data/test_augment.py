"""Laws that every augmentation obeys, and each against torchvision on the same draw."""

import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet import random
from fnet.data import (
    NORM_CIFAR10,
    Batch,
    batch_at,
    compose,
    crop,
    flip,
    random_crop,
    random_flip,
    shapes,
)

BATCH = batch_at(random.key(1), shapes(random.key(0), 50), 20, step=3)
AUGMENTS = {
    "crop": random_crop(4),
    "flip": random_flip(),
    "crop and flip": compose(random_crop(4), random_flip()),
    "nested": compose(random_flip(), compose(random_crop(2), random_flip(0.3))),
}
every_augment = pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)


def white(n: int, height: int, width: int, key: int = 0) -> Batch:
    """Return n images that are black but for one white pixel, in the middle."""
    images = torch.zeros(n, height, width, 1, dtype=torch.uint8).permute(0, 3, 1, 2)
    images[:, :, height // 2, width // 2] = 255
    rest = torch.ones(n), torch.zeros((), dtype=torch.float64)
    return Batch(images, torch.zeros(n).long(), random.key(key), torch.arange(n), *rest)


def take(batch: Batch, rows: torch.Tensor) -> Batch:
    fields = ("images", "labels", "index", "weight")
    return batch._replace(**{name: getattr(batch, name)[rows] for name in fields})


def same(a: Batch, b: Batch) -> bool:
    return all(x.equal(y) for x, y in zip(a, b, strict=True))


@every_augment
def test_it_is_pure(augment):
    before = Batch(*(x.clone() for x in BATCH))
    state = torch.get_rng_state()
    first, second = augment(BATCH), augment(BATCH)
    assert same(first, second)
    assert same(BATCH, before)
    assert torch.get_rng_state().equal(state)


@every_augment
def test_it_changes_nothing_but_the_images(augment):
    result = augment(BATCH)
    assert same(result._replace(images=BATCH.images), BATCH)
    assert not result.images.equal(BATCH.images)
    assert result.images.dtype == torch.uint8
    assert result.images.stride() == BATCH.images.stride()


@every_augment
def test_another_key_gives_other_images(augment):
    other = augment(BATCH._replace(key=random.key(99)))
    assert not other.images.equal(augment(BATCH).images)


@every_augment
def test_samples_do_not_depend_on_how_the_batch_is_cut(augment):
    rows = torch.tensor([7, 2, 11])
    assert same(augment(take(BATCH, rows)), take(augment(BATCH), rows))


@every_augment
def test_vmap_over_keys_and_over_batches(augment):
    keys = random.split(BATCH.key, 2)
    single = [augment(BATCH._replace(key=key)) for key in keys]
    by_key = torch.vmap(lambda key: augment(BATCH._replace(key=key)).images)(keys)
    stacked = Batch(*(torch.stack([x, x]) for x in BATCH))._replace(key=keys)
    by_batch = torch.vmap(augment)(stacked).images
    for i in range(2):
        assert by_key[i].equal(single[i].images)
        assert by_batch[i].equal(single[i].images)


@every_augment
def test_compiled_in_one_graph(augment):
    torch._dynamo.reset()
    compiled = torch.compile(augment, fullgraph=True, backend="aot_eager")
    result = compiled(BATCH)
    assert same(result, augment(BATCH))
    assert result.images.stride() == BATCH.images.stride()


def test_compiled_by_inductor():
    torch._dynamo.reset()

    def prepare(batch):
        return NORM_CIFAR10(AUGMENTS["crop and flip"](batch).images)

    result = torch.compile(prepare, fullgraph=True)(BATCH)
    torch.testing.assert_close(result, prepare(BATCH), rtol=1e-6, atol=1e-6)
    assert result.stride() == BATCH.images.stride()


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
    images = BATCH.images[:, :channels]
    flips = torch.arange(len(images)) % 3 == 0
    for ours, image, mirrored in zip(flip(images, flips), images, flips, strict=True):
        assert ours.equal(TF.hflip(image) if mirrored else image)


def test_every_offset_is_equally_likely():
    n, side = 8100, 9
    images = random_crop(4)(white(n, side, side)).images
    counts = (images > 0).sum((0, 1))
    assert counts.sum() == n, "the white pixel is in every image"
    chi_squared = ((counts - n / side**2) ** 2 / (n / side**2)).sum()
    assert chi_squared < 125, "80 degrees of freedom: 1 of 1000 keys passes 125"


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_flips_come_at_their_rate(p):
    n = 10_000
    images = random_flip(p)(white(n, 1, 2)).images
    flipped = (images[:, 0, 0, 0] > 0).float().mean()
    assert abs(flipped - p) <= 4 * (p * (1 - p) / n) ** 0.5


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


def test_nothing_to_compose_changes_nothing():
    assert same(compose()(BATCH), BATCH)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_crop(-1), "0 or more, got -1"),
        (lambda: random_flip(1.5), "from 0 to 1, got 1.5"),
        (lambda: random_flip(-0.5), "from 0 to 1, got -0.5"),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
