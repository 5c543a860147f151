"""Batches as a pure function of (key, data set, size, step)."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet import random
from fnet.data import Batch, as_batch, batch_at, batches, eval_batches, shapes, steps_per_epoch

N = 50
sizes = st.integers(1, N)
KEY = random.key(7)


@pytest.fixture(scope="module")
def dataset():
    return shapes(random.key(0), N)


def equal(a: Batch, b: Batch) -> bool:
    return all(x.equal(y) and x.stride() == y.stride() for x, y in zip(a, b, strict=True))


@settings(deadline=None, max_examples=25)
@given(size=sizes, step=st.integers(0, 300))
def test_a_batch_is_a_function_of_its_step(dataset, size, step):
    state = torch.get_rng_state()
    batch = batch_at(KEY, dataset, size, step)
    epochs = step // steps_per_epoch(N, size) + 1
    assert equal(batch, batch_at(KEY, dataset, size, step))
    assert equal(batch, next(batches(KEY, dataset, size, epochs, start=step)))
    assert torch.get_rng_state().equal(state)


@settings(deadline=None, max_examples=25)
@given(size=sizes, step=st.integers(0, 300))
def test_what_a_batch_holds(dataset, size, step):
    batch = batch_at(KEY, dataset, size, step)
    assert batch.images.equal(dataset.images[batch.index])
    assert batch.images.stride() == (3072, 1, 96, 3)
    assert batch.labels.equal(dataset.labels[batch.index])
    assert (batch.key.dtype, batch.key.shape) == (torch.int64, (2,))
    assert (batch.index.dtype, batch.index.shape) == (torch.int64, (size,))
    assert batch.weight.equal(torch.ones(size))
    assert (batch.epoch.dtype, batch.epoch.shape) == (torch.float64, ())
    assert batch.epoch.item() == step / (N // size)


@settings(deadline=None, max_examples=15)
@given(size=sizes, epochs=st.integers(0, 3), start=st.integers(0, 20))
def test_batches_go_from_start_to_the_end(dataset, size, epochs, start):
    every = list(batches(KEY, dataset, size, epochs))
    assert len(every) == epochs * steps_per_epoch(N, size)
    rest = list(batches(KEY, dataset, size, epochs, start))
    assert len(rest) == len(every[start:])
    assert all(equal(a, b) for a, b in zip(every[start:], rest, strict=True))


@settings(deadline=None, max_examples=15)
@given(size=sizes)
def test_an_epoch_takes_no_image_twice(dataset, size):
    index = torch.cat([batch.index for batch in batches(KEY, dataset, size)])
    assert len(index.unique()) == len(index) == N // size * size


def test_epochs_keys_and_batches_differ(dataset):
    run = list(batches(KEY, dataset, 10, epochs=4))
    orders = torch.stack([batch.index for batch in run]).view(4, N)
    assert len(orders.unique(dim=0)) == 4
    assert len(torch.stack([batch.key for batch in run]).unique(dim=0)) == 20
    other = batch_at(random.key(8), dataset, 10, 0)
    assert not other.index.equal(run[0].index)
    assert not other.key.equal(run[0].key)


def test_the_left_over_images_change_from_epoch_to_epoch(dataset):
    run = batches(KEY, dataset, 40, epochs=12)
    assert len(torch.cat([batch.index for batch in run]).unique()) == N


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 3 * N))
def test_evaluation_counts_every_image_once(dataset, size):
    run = list(eval_batches(dataset, size))
    assert {batch.images.shape for batch in run} == {(size, 3, 32, 32)}
    assert {batch.images.stride() for batch in run} == {(3072, 1, 96, 3)}
    index, weight = (torch.cat([b[i] for b in run]) for i in map(Batch._fields.index, FIELDS))
    assert weight.sum() == N
    assert index[weight == 1].equal(torch.arange(N))
    assert index[weight == 0].eq(0).all()
    for batch in run:
        assert batch.images.equal(dataset.images[batch.index])
        assert batch.labels.equal(dataset.labels[batch.index])
        assert [x.dtype for x in batch] == [x.dtype for x in batch_at(KEY, dataset, 1, 0)]


FIELDS = ("index", "weight")


@pytest.mark.parametrize("size", [0, -1, N + 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda dataset, size: batch_at(KEY, dataset, size, 0),
        lambda dataset, size: batches(KEY, dataset, size),
        lambda dataset, size: steps_per_epoch(len(dataset), size),
    ],
    ids=["batch_at", "batches", "steps_per_epoch"],
)
def test_a_size_that_does_not_fit(dataset, make, size):
    with pytest.raises(ValueError, match=f"size of {size} does not fit .* 50 images: choose 1"):
        make(dataset, size)


def test_other_arguments_that_do_not_fit(dataset):
    with pytest.raises(ValueError, match="at least 1 row, got size 0"):
        eval_batches(dataset, 0)
    with pytest.raises(ValueError, match="got step -1"):
        batch_at(KEY, dataset, 10, -1)
    with pytest.raises(ValueError, match="got start=-2"):
        batches(KEY, dataset, 10, start=-2)


def test_iterating_is_lazy(dataset):
    assert len(list(itertools.islice(batches(KEY, dataset, 10, epochs=10**9), 3))) == 3


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_a_batch_of_other_arrays_is_one_of_the_data_set(dataset, library):
    own = batch_at(KEY, dataset, 8, 3)
    images, labels, index = own.images, own.labels.to(torch.int32), own.index.to(torch.int32)
    images = images.contiguous()
    if library == "numpy":
        images, labels, index = images.numpy(), labels.numpy(), index.numpy()
    made = as_batch(images, labels, KEY, 3, index=index, steps_per_epoch=6)
    assert equal(made._replace(key=own.key), own)
    assert made.key.equal(random.fold_in(KEY, 3))


def test_batches_of_other_arrays_have_keys_and_places_of_their_own():
    images, soft = np.zeros((4, 3, 8, 8)), torch.rand(4, 5)
    first, second = (as_batch(images, soft, KEY, step) for step in (0, 1))
    assert first.images.dtype == torch.float32
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    assert first.labels is soft
    assert first.index.tolist() == [0, 1, 2, 3]
    assert not first.key.equal(second.key)
    assert first.epoch.item() == second.epoch.item() == 0.0


def test_what_is_no_batch_is_refused():
    images, labels = np.zeros((4, 3, 8, 8)), np.arange(4)
    with pytest.raises(ValueError, match="from 0, got step -1"):
        as_batch(images, labels, KEY, -1)
    with pytest.raises(ValueError, match=r"index must be int64 \[4\]"):
        as_batch(images, labels, KEY, 0, index=np.arange(3))
    with pytest.raises(ValueError, match=r"labels must be int64 \[4\]"):
        as_batch(images, labels / 2, KEY, 0)
    with pytest.raises(ValueError, match="images must be uint8 or float"):
        as_batch(images[0], labels, KEY, 0)
