"""Data sets: what they refuse, and the stratified choice of `take`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet import random
from fnet.data import Dataset, shapes

counts = st.lists(st.integers(1, 30), min_size=1, max_size=5)


def sorted_by_class(counts):
    """Return a data set with so many images of each class; an image's pixels hold its place."""
    n = sum(counts)
    places = torch.arange(n).to(torch.uint8).view(n, 1, 1, 1)
    images = places.expand(n, 2, 2, 3).contiguous().permute(0, 3, 1, 2)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Dataset(images, labels, tuple(f"class {i}" for i in range(len(counts))), "sorted")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.bool),
            torch.zeros(2, dtype=torch.int64),
            r"images must be uint8",
        ),
        (
            torch.full((2, 3, 4, 4), 256),
            torch.zeros(2, dtype=torch.int64),
            r"values 0 to 255, got 256 to 256",
        ),
        (
            np.zeros((2, 3, 4, 4), "U1"),
            torch.zeros(2, dtype=torch.int64),
            r"images must be a tensor or an array of numbers, got <U1",
        ),
        (
            np.zeros((2, 32, 32, 3)),
            torch.zeros(2, dtype=torch.int64),
            r"looks like \[N, H, W, C\].*transpose\(0, 3, 1, 2\)",
        ),
        (np.zeros((2, 28, 28)), torch.zeros(2, dtype=torch.int64), r"images\[:, None\]"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"\[N, C"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2), r"labels must be int64 \[2\]"),
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
            torch.zeros(3, dtype=torch.int64),
            r"int64 \[2\], one for each image, got torch.int64 \[3\]",
        ),
    ],
)
def test_wrong_tensors_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Dataset(images, labels, ("a", "b"), "wrong")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 5], r"labels must be 0 to 1, .* image 2 has the label 2$"),
        ([0, -1, 0, 1], r"image 1 has the label -1$"),
    ],
)
def test_a_label_that_is_no_class_is_refused(labels, message):
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=message):
        Dataset(images, torch.tensor(labels), ("a", "b"), "wrong")


@pytest.mark.parametrize("kind", ["tensors", "numpy", "read-only", "reversed", "big-endian"])
@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        ("uint8", torch.uint8),
        ("int64", torch.uint8),
        ("uint16", torch.uint8),
        ("float16", torch.float16),
        ("float32", torch.float32),
        ("float64", torch.float32),
    ],
)
def test_any_tensors_and_arrays_are_taken(kind, dtype, becomes):
    values = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    images, labels = values.copy(), np.array([1, 0], np.int32)
    if kind == "tensors":
        images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    elif kind == "read-only":
        images.flags.writeable = labels.flags.writeable = False
    elif kind == "reversed":
        images, labels = np.flip(np.flip(images, 0).copy(), 0), np.flip(np.array([0, 1]))
    elif kind == "big-endian":
        images, labels = images.astype(images.dtype.newbyteorder(">")), labels.astype(">i2")
    dataset = Dataset(images, labels, ["a", "b"], "arrays")
    assert dataset.images.dtype == becomes
    assert dataset.images.tolist() == values.tolist()
    assert dataset.labels.dtype == torch.int64
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.classes == ("a", "b")
    assert dataset.take(1).images.dtype == becomes


def test_what_needs_no_change_shares_its_memory():
    images = np.zeros((2, 3, 4, 4), np.float32)
    dataset = Dataset(images, torch.tensor([0, 1]), ("a", "b"), "shared")
    assert dataset.images.data_ptr() == images.ctypes.data
    tensor = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert Dataset(tensor, torch.tensor([0, 1]), ("a", "b"), "shared").images is tensor


@pytest.mark.parametrize("n", [0, -1, 7])
def test_take_refuses_what_is_not_there(n):
    with pytest.raises(ValueError, match="ask for 1 to 6"):
        sorted_by_class([3, 3]).take(n)


@settings(deadline=None, max_examples=50)
@given(counts, st.data())
def test_take_is_stratified_nested_and_in_order(counts, data):
    dataset = sorted_by_class(counts)
    n = data.draw(st.integers(1, len(dataset)))
    taken = dataset.take(n)
    places = taken.images[:, 0, 0, 0].tolist()
    assert len(taken) == n
    assert places == sorted(set(places))
    assert taken.labels.tolist() == dataset.labels[places].tolist()
    assert set(places) <= set(dataset.take(min(n + 1, len(dataset))).images[:, 0, 0, 0].tolist())
    for label, count in enumerate(counts):
        share = count / len(dataset)
        rounding = 0.5 + share * len(counts) / 2
        assert abs((taken.labels == label).sum().item() - n * share) <= rounding + 1e-9


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 6), st.data())
def test_classes_of_one_size_stay_balanced(count, classes, data):
    dataset = sorted_by_class([count] * classes)
    taken = dataset.take(data.draw(st.integers(1, len(dataset))))
    per_class = torch.bincount(taken.labels, minlength=classes)
    assert per_class.max() - per_class.min() <= 1


def test_take_is_not_the_beginning_of_each_class_and_never_changes():
    places = sorted_by_class([50, 50]).take(10).images[:, 0, 0, 0].tolist()
    assert places == sorted_by_class([50, 50]).take(10).images[:, 0, 0, 0].tolist()
    assert places[4] > 10
    assert sorted_by_class([50, 50]).take(100).images.equal(sorted_by_class([50, 50]).images)


def test_take_and_to_keep_the_strides():
    dataset = sorted_by_class([4, 4])
    for images in (dataset.take(3).images, dataset.to("cpu").images):
        assert images.stride() == (12, 1, 6, 3)
    assert dataset.to("meta").images.stride() == (12, 1, 6, 3)
    assert dataset.to("meta").labels.device.type == "meta"


@pytest.mark.parametrize("n", [1, 7, 30, 59])
def test_what_is_held_out_and_the_rest_are_all_images_once(n):
    dataset = shapes(random.key(0), 60)
    rest, held_out = dataset.hold_out(n)
    assert (len(rest), len(held_out)) == (60 - n, n)
    assert held_out.images.equal(dataset.take(n).images)
    both = torch.cat([rest.images, held_out.images]).flatten(1)
    everything = dataset.images.flatten(1)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, everything.tolist()))
    counts = torch.bincount(held_out.labels, minlength=10)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("n", [0, 60])
def test_some_images_stay_on_either_side(n):
    with pytest.raises(ValueError, match="hold out 1 to 59"):
        shapes(random.key(0), 60).hold_out(n)
