"""The PyTorch peers see the images that fnet's network sees, and train the same network."""

import itertools

import pytest
import torch
from contenders import work

from fnet import data, random
from fnet.data import NORM_CIFAR10, NORM_HALF, PadResize
from fnet.run.splits import Splits
from recipes.bench.arrays import open_work, save_arrays
from recipes.bench.torch_memory import crop_flip, memory
from recipes.bench.torch_script import Pictures, script, transform

DRAWN = data.shapes(random.key(0), 24)
SPLITS = Splits(DRAWN, DRAWN.take(8))


@pytest.fixture
def job(tmp_path):
    """Work on a few drawings; the global generator, which the peers seed, is put back."""
    save_arrays(tmp_path, SPLITS, NORM_HALF)
    with torch.random.fork_rng():
        yield work(tmp_path, threads=torch.get_num_threads())


def test_arrays_come_back_as_they_were(job):
    experiment, splits = open_work(job)
    assert torch.equal(splits.train.images, DRAWN.images)
    assert splits.train.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(splits.test.labels, SPLITS.test.labels)
    inputs = torch.from_numpy(job.load("inputs")).permute(0, 3, 1, 2)
    assert torch.equal(inputs, experiment.preprocess(DRAWN.images))


@pytest.mark.parametrize(
    ("preprocess", "tolerance"),
    # PIL rounds what it has resized: by two levels of 255 at most.
    [(NORM_CIFAR10, 1e-6), (PadResize(4, NORM_HALF), 2 / 127.5 + 1e-6)],
)
def test_the_script_sees_what_fnet_sees(preprocess, tolerance):
    arrays = DRAWN.images.permute(0, 2, 3, 1).numpy()
    pictures = Pictures(arrays, DRAWN.labels.tolist(), transform(preprocess, (32, 32), False))
    assert len(pictures) == 24
    seen = torch.stack([pictures[place][0] for place in range(24)])
    torch.testing.assert_close(seen, preprocess(DRAWN.images), rtol=0, atol=tolerance)
    assert pictures[3][1] == DRAWN.labels[3]


def test_the_script_crops_and_flips():
    arrays = DRAWN.images.permute(0, 2, 3, 1).numpy()
    pictures = Pictures(arrays, DRAWN.labels.tolist(), transform(NORM_HALF, (32, 32), True))
    with torch.random.fork_rng():
        seen = torch.stack([pictures[0][0] for _ in range(12)])
    assert seen.shape == (12, 3, 32, 32)
    assert len(seen.unique(dim=0)) > 1


def test_grey_images_are_grey():
    arrays = DRAWN.images[:2, :1].permute(0, 2, 3, 1).numpy()
    pictures = Pictures(arrays, [0, 1], transform(NORM_HALF, (32, 32), False))
    assert pictures[1][0].shape == (1, 32, 32)


def test_crops_are_all_crops_and_mirror_images():
    padded = torch.arange(2 * 5 * 6 * 3.0).view(2, 5, 6, 3)
    possible = {
        tuple(part.permute(2, 0, 1).flatten().tolist())
        for top, left in itertools.product(range(3), range(3))
        for crop in [padded[1, top : top + 3, left : left + 4]]
        for part in (crop, crop.flip(1))
    }
    with torch.random.fork_rng():
        crops = crop_flip(padded, torch.ones(500, dtype=torch.int64), padding=1)
    assert crops.shape == (500, 3, 3, 4)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    assert {tuple(crop.flatten().tolist()) for crop in crops} == possible


FORMS = [
    {"bf16": bf16, "channels_last": channels_last, "fused": fused, "augmented": augmented}
    for bf16, channels_last, fused, augmented in [
        (False, True, None, False),
        (False, False, True, False),
        (True, True, True, False),
        (False, True, True, True),
        (False, False, None, True),
    ]
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_training_from_memory_lowers_the_loss(job, form):
    losses = steps_of(memory(job, **form))
    assert losses[-6:].mean() < losses[:6].mean()


def test_the_script_lowers_the_loss(job):
    losses = steps_of(script(job, workers=0))
    assert losses[-6:].mean() < losses[:6].mean()


def steps_of(streams):
    """Return the losses of 20 epochs of 6 steps."""
    assert streams["train"].images == 4
    return torch.stack(list(itertools.islice(streams["train"].steps, 120)))
