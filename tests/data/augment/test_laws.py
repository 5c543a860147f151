"""Laws that every augmentation obeys."""

import pytest
import torch
from graphs import traced
from networks import take

from fnet import data, random
from fnet.compiler import compile
from fnet.data import (
    NORM_CIFAR10,
    Batch,
    alternating_flip,
    batch_at,
    color_jitter,
    compose,
    cutout,
    random_affine,
    random_crop,
    random_flip,
    random_grayscale,
    shapes,
)
from fnet.testing import assert_pure

BATCH = batch_at(random.key(1), shapes(random.key(0), 50), 20, step=3)
AUGMENTS = {
    "crop": random_crop(4),
    "flip": random_flip(),
    "alternating flip": alternating_flip(),
    "affine": random_affine(30, (0.1, 0.2), (0.8, 1.25), (-10, 10, -5, 5)),
    "grayscale": random_grayscale(0.5),
    "jitter": color_jitter(contrast=0.3, hue=0.4),
    "one jitter": color_jitter(hue=(0.1, 0.4)),
    "cutout": cutout(8),
    "crop and flip": compose(random_crop(4), random_flip()),
    "nested": compose(random_flip(), compose(random_crop(2), random_flip(0.3))),
    "mixed": compose(random_affine(5), random_grayscale(0.3), cutout(5)),
}
every_augment = pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)


def same(a: Batch, b: Batch) -> bool:
    return all(x.equal(y) for x, y in zip(a, b, strict=True))


@every_augment
def test_it_is_pure(augment):
    assert_pure(augment, BATCH)


@every_augment
def test_it_changes_nothing_but_the_images(augment):
    result = augment(BATCH)
    assert same(result._replace(images=BATCH.images), BATCH)
    assert not result.images.equal(BATCH.images)
    assert result.images.dtype == torch.uint8
    assert result.images.stride() == BATCH.images.stride()


@every_augment
def test_another_key_gives_other_images(augment):
    if augment is AUGMENTS["alternating flip"]:
        augment = alternating_flip(1)  # its key is its own, of the whole run
        assert augment(BATCH._replace(key=random.key(99))).images.equal(augment(BATCH).images)
        assert not augment(BATCH).images.equal(alternating_flip(2)(BATCH).images)
        return
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
    compiled = traced(augment)
    result = compiled(BATCH)
    assert same(result, augment(BATCH))
    assert result.images.stride() == BATCH.images.stride()


@pytest.mark.parametrize("name", ["crop and flip", "affine", "one jitter", "cutout"])
def test_compiled_by_inductor(name):
    def prepare(batch):
        return NORM_CIFAR10(AUGMENTS[name](batch).images)

    result = compile(prepare)(BATCH)
    torch.testing.assert_close(result, prepare(BATCH), rtol=1e-6, atol=1e-6)
    assert result.stride() == BATCH.images.stride()


def test_nothing_to_do_changes_nothing():
    for augment in (compose(), color_jitter(), color_jitter((1, 1), hue=(0, 0))):
        assert same(augment(BATCH), BATCH)


FLOATS = BATCH._replace(images=BATCH.images.to(torch.float32) / 4)
REFUSES_FLOATS = {
    "grayscale": "random_grayscale",
    "jitter": "color_jitter",
    "one jitter": "color_jitter",
    "mixed": "random_grayscale",
}


@pytest.mark.parametrize("name", AUGMENTS)
def test_floats_are_changed_as_the_same_levels_are_or_refused_by_name(name):
    if name in REFUSES_FLOATS:
        with pytest.raises(ValueError, match=f"{REFUSES_FLOATS[name]} needs .*got torch.float32"):
            AUGMENTS[name](FLOATS)
        return
    result = AUGMENTS[name](FLOATS).images
    assert result.dtype == torch.float32
    assert (4 * result).equal(AUGMENTS[name](BATCH).images.to(torch.float32))
    assert result.stride() == FLOATS.images.stride()


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "hue"])
def test_changes_of_colour_refuse_floats_by_their_own_name(change):
    with pytest.raises(ValueError, match=f"^adjust_{change} needs "):
        getattr(data, f"adjust_{change}")(FLOATS.images, torch.zeros(20))
