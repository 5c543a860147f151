"""Normalisation against torchvision's transforms."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from graphs import traced
from PIL import Image
from torchvision import transforms

from fnet import random
from fnet.data import NORM_CIFAR10, NORM_HALF, Dataset, Normalize, normalize, shapes, statistics

IMAGES = shapes(random.key(0), 20).images
GREY_IMAGES = IMAGES[:, :1].contiguous().contiguous(memory_format=torch.channels_last)
GREY = normalize(0.1307, 0.3081)
CASES = {
    "half": (NORM_HALF, IMAGES),
    "half, grey": (NORM_HALF, GREY_IMAGES),
    "cifar10": (NORM_CIFAR10, IMAGES),
    "mnist": (GREY, GREY_IMAGES),
}


@pytest.mark.parametrize("case", CASES)
def test_as_torchvision(case):
    preprocess, images = CASES[case]
    channels = images.shape[1]
    mean, std = (list(x) * (channels // len(x)) for x in (preprocess.mean, preprocess.std))
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    result = preprocess(images)
    assert (result.dtype, result.stride()) == (torch.float32, images.stride())
    for ours, image in zip(result, images, strict=True):
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).squeeze(-1).numpy())
        assert ours.equal(theirs(Image.fromarray(pixels)))


@pytest.mark.parametrize("case", CASES)
def test_compiled_and_vmapped(case):
    preprocess, images = CASES[case]
    expected = preprocess(images)
    compiled = traced(preprocess)
    assert compiled(images).equal(expected)
    assert torch.vmap(preprocess)(images.unflatten(0, (4, 5))).flatten(0, 1).equal(expected)
    assert preprocess(images.float()).equal(expected)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5, 0.5), (0.5,), "got 2 and 1"),
        ((), (), "got 0 and 0"),
        (0.5, 0.0, "every std must be above 0"),
        ((0.5, 0.5), (0.5, -1), "every std must be above 0"),
        (0.5, float("nan"), "every std must be above 0"),
    ],
)
def test_what_normalize_refuses(mean, std, message):
    with pytest.raises(ValueError, match=message):
        normalize(mean, std)


def test_channels_that_do_not_fit():
    with pytest.raises(ValueError, match="for images of 3 channels, these have 1"):
        NORM_CIFAR10(IMAGES[:, :1])


def test_a_record_of_it_goes_through_json():
    record = json.loads(json.dumps(dataclasses.asdict(NORM_CIFAR10)))
    assert normalize(**record) == NORM_CIFAR10
    assert hash(normalize(**record)) == hash(NORM_CIFAR10)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_normalise(channels):
    images = IMAGES[:, :channels]
    dataset = Dataset(images, torch.zeros(len(images), dtype=torch.int64), ("all",), "some")
    mean, std = statistics(dataset)
    exact = images.double() / 255
    torch.testing.assert_close(mean, tuple(exact.mean((0, 2, 3)).tolist()), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        std, tuple(exact.std((0, 2, 3), correction=0).tolist()), rtol=1e-12, atol=0
    )
    result = Normalize(mean, std)(images)
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(channels), rtol=0, atol=1e-5)
    torch.testing.assert_close(result.std((0, 2, 3)), torch.ones(channels), rtol=1e-4, atol=0)


def test_statistics_of_floats_are_those_of_the_same_levels():
    whole = Dataset(IMAGES, torch.zeros(len(IMAGES), dtype=torch.int64), ("a",), "levels")
    floats = dataclasses.replace(whole, images=IMAGES.to(torch.float32))
    for own, expected in zip(statistics(floats), statistics(whole), strict=True):
        assert own == pytest.approx(expected, rel=1e-12)
