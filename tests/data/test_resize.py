"""Resizing, alone and before normalisation, against torchvision."""

import dataclasses
import json

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from graphs import traced
from torchvision import transforms

from fnet import random
from fnet.compiler import compile
from fnet.data import (
    NORM_CIFAR10,
    NORM_HALF,
    Dataset,
    Normalize,
    PadResize,
    pad_and_resize,
    prepare,
    resize,
    shapes,
)

IMAGES = shapes(random.key(0), 20).images
WIDE = IMAGES[..., :24, :]
SIZES = {"down": (28, 28), "up": (64, 48), "same": (32, 32), "one": (1, 1), "shorter": 48}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("images", [IMAGES, WIDE, IMAGES[:, :1], WIDE.float()])
def test_resize_is_torchvision_s(size, images):
    result = resize(images, size)
    assert result.equal(TF.resize(images, [size] if isinstance(size, int) else list(size)))
    assert result.dtype == images.dtype


@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_strides_stay(n, channels):
    images = IMAGES[:n, :channels].contiguous(memory_format=torch.channels_last)
    assert pad_and_resize(images, 4).stride() == images.stride()
    assert resize(images, 28).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_pad_and_resize_is_torchvision_s(padding):
    assert pad_and_resize(IMAGES, padding).equal(TF.resize(TF.pad(IMAGES, [padding]), [32, 32]))


def test_as_the_transforms_of_pil_images():
    theirs = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.Pad(4),
            transforms.Resize(32),
            transforms.ToTensor(),
            transforms.Normalize(NORM_HALF.mean * 3, NORM_HALF.std * 3),
        ]
    )
    result = PadResize(4, NORM_HALF)(IMAGES)
    assert (result.dtype, result.stride()) == (torch.float32, IMAGES.stride())
    levels = (result - torch.stack([theirs(image) for image in IMAGES])).abs() * 127.5
    assert levels.max() < 2.01
    assert (levels > 0.5).float().mean() < 0.06


@pytest.mark.parametrize("then", [NORM_HALF, NORM_CIFAR10])
def test_compiled_and_vmapped(then):
    preprocess = PadResize(4, then)
    expected, before = preprocess(IMAGES), IMAGES.clone()
    compiled = traced(preprocess)
    assert compiled(IMAGES).equal(expected)
    assert torch.vmap(preprocess)(IMAGES.unflatten(0, (4, 5))).flatten(0, 1).equal(expected)
    assert IMAGES.equal(before)


def test_ahead_for_a_whole_data_set_it_is_the_same():
    dataset = Dataset(IMAGES, torch.arange(len(IMAGES)) % 2, ("a", "b"), "two")
    preprocess = PadResize(4, NORM_CIFAR10)
    rest, (prepared,) = prepare(preprocess, dataset)
    assert rest(prepared.images).equal(preprocess(IMAGES))
    assert prepared.images.stride() == IMAGES.stride()
    assert (prepared.name, prepared.labels.equal(dataset.labels)) == ("two", True)
    assert prepare(NORM_CIFAR10, dataset) == (NORM_CIFAR10, [dataset])


def test_compiled_by_inductor():
    preprocess = PadResize(4, NORM_CIFAR10)
    result = compile(preprocess)(IMAGES)
    torch.testing.assert_close(result, preprocess(IMAGES), rtol=1e-6, atol=1e-6)
    assert result.stride() == IMAGES.stride()


def test_a_record_of_it_goes_through_json():
    record = json.loads(json.dumps(dataclasses.asdict(PadResize(4, NORM_CIFAR10))))
    assert record["padding"] == 4
    assert Normalize(*(tuple(record["then"][name]) for name in ("mean", "std"))) == NORM_CIFAR10
    assert hash(PadResize(4, NORM_HALF)) == hash(PadResize(4, NORM_HALF))


def test_a_padding_below_0():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        PadResize(-1, NORM_HALF)
