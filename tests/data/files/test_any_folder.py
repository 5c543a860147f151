"""Folders as users have them: any layout, sizes and modes, files that are no images, gaps."""

import os
import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fnet import random
from fnet.data import DataError, DataWarning, load
from fnet.data.dataset import held_out
from fnet.data.files import folder as folder_module
from fnet.data.files.decode import read_image

MODES = ("RGB", "L", "RGBA", "P", "CMYK", "1", "LA")


@pytest.fixture
def photos(tmp_path, cache):
    """Two class folders without a split: 10 and 5 images of all modes and many sizes."""
    rng = np.random.default_rng(0)
    for label, (name, n) in enumerate((("cat", 10), ("dog", 5))):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(n):
            width, height = rng.integers(5, 60, 2)
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            mode = MODES[(i + label) % len(MODES)]
            suffix = "jpg" if mode == "CMYK" else "png"
            Image.fromarray(pixels).convert(mode).save(folder / f"{i}.{suffix}")
    return tmp_path / "photos"


def both(folder, **options):
    return [load(folder, split=split, **options) for split in ("train", "test")]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_folder_without_a_split_is_divided_class_by_class(photos, fit):
    train, test = both(photos, size=(12, 16), fit=fit, test=0.2)
    assert train.images.shape == (12, 3, 12, 16)
    assert test.images.shape == (3, 3, 12, 16)
    assert train.labels.bincount().tolist() == [8, 4]
    assert test.labels.bincount().tolist() == [2, 1]
    every = torch.cat([train.images, test.images]).flatten(1)
    assert len(every.unique(dim=0)) == 15
    whole = load(photos, split="test", size=(12, 16), fit=fit, test=1)
    for split in (train, test):
        for image in split.images:
            assert any(image.equal(other) for other in whole.images)


def test_the_split_is_a_function_of_the_key(photos):
    first = both(photos, size=(8, 8), test=0.4, key=random.key(1))
    for one, same in zip(
        first, both(photos, size=(8, 8), test=0.4, key=random.key(1)), strict=True
    ):
        assert one.images.equal(same.images)
    other = [load(photos, size=(8, 8), test=0.4, key=random.key(seed)) for seed in range(2, 6)]
    assert any(not first[0].images.equal(train.images) for train in other)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), max_size=40), st.floats(0.01, 0.99), st.integers(0, 9))
def test_every_class_keeps_an_image_in_each_split(labels, fraction, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    chosen = held_out(random.key(seed), labels, 4, fraction)
    for label in range(4):
        of_class = chosen[labels == label]
        n, tested = len(of_class), int(of_class.sum())
        assert abs(tested - fraction * n) <= 1
        assert n < 2 or 1 <= tested < n
        # The choice in a class does not depend on the other classes.
        only = held_out(random.key(seed), labels[labels == label], 4, fraction)
        assert only.equal(of_class)


def test_train_and_val_or_train_alone(photos):
    shutil.move(photos, photos.parent / "all")
    shutil.copytree(photos.parent / "all", photos / "train")
    train, test = both(photos, size=(8, 8), test=0.2)
    assert (len(train), len(test)) == (12, 3)
    with pytest.raises(DataError, match=r"no folder 'test'.* --test 0\.2"):
        load(photos, size=(8, 8))
    shutil.copytree(photos.parent / "all" / "cat", photos / "val" / "cat")
    shutil.copytree(photos.parent / "all" / "dog", photos / "val" / "dog")
    train, test = both(photos, size=(8, 8))
    assert train.images.equal(test.images)
    with pytest.raises(DataError, match=r"already split .*do not give --test"):
        load(photos, size=(8, 8), test=0.2)
    shutil.copytree(photos / "val", photos / "test")
    with pytest.warns(DataWarning, match="'val' is not used"):
        load(photos, size=(8, 8))


def test_mixed_sizes_need_a_size_and_no_split_needs_a_fraction(photos):
    with pytest.raises(DataError, match=r"different sizes: .*give --size, such as --size 64"):
        load(photos, test=0.2)
    with pytest.raises(DataError, match=r"no folder 'train'.*Give --test 0\.2"):
        load(photos, size=(8, 8))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_one_image_is_read_as_the_folder_is(photos, fit):
    whole = load(photos, split="test", size=(9, 14), fit=fit, test=1)
    files = sorted(photos.glob("cat/*")) + sorted(photos.glob("dog/*"))
    for image, file in zip(whole.images, files, strict=True):
        assert read_image(file, (3, 9, 14), fit).equal(image)


def test_size_and_fit_are_part_of_the_cache_entry(photos, cache, monkeypatch):
    shapes = [((8, 8), "crop"), ((8, 8), "pad"), ((16, 8), "pad")]
    first = [load(photos, size=size, fit=fit, test=0.2).images for size, fit in shapes]
    assert len(list(cache.iterdir())) == 3
    monkeypatch.setattr(folder_module, "decode", lambda *_: pytest.fail("decoded again"))
    for images, (size, fit) in zip(first, shapes, strict=True):
        assert load(photos, size=size, fit=fit, test=0.2).images.equal(images)
    assert not first[0].equal(first[1])
    # Another split of the same folder needs no decoding either.
    load(photos, size=(8, 8), test=0.4, key=random.key(7))


def test_a_sample_decodes_only_its_images(photos, monkeypatch):
    expected = load(photos, size=(8, 8), test=0.2).take(3)
    counts = []
    decode = folder_module.decode

    def counted(paths, *args):
        counts.append(len(paths))
        return decode(paths, *args)

    monkeypatch.setattr(folder_module, "decode", counted)
    for _ in range(2):
        sample = load(photos, size=(8, 8), test=0.2, limit=3)
        assert sample.labels.equal(expected.labels)
        assert sample.with_channels(3).images.equal(expected.images)
    assert counts == [3]
    assert len(load(photos, size=(8, 8), test=0.2, limit=99)) == 12


def test_files_that_are_no_images_by_name_are_passed_over(photos):
    extra = ("Thumbs.db", "desktop.ini", "notes.txt", ".DS_Store", "._1.png", "LICENSE", "x.HEIC")
    for name in extra:
        (photos / "dog" / name).write_bytes(b"no image")
    shutil.copy(photos / "cat/0.png", photos / "cat" / "without_suffix")
    shutil.copy(photos / "cat/0.png", photos / "cat" / "upper.PNG")
    (photos / "cat" / ".hidden").mkdir()
    train, test = both(photos, size=(8, 8), test=0.2)
    assert len(train) + len(test) == 17
    assert train.ignored == test.ignored == tuple(sorted(f"dog/{name}" for name in extra))
    assert train.skipped == ()


def warned(folder, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        loaded = both(folder, **options)
    texts = [str(warning.message) for warning in caught]
    half = len(texts) // 2
    assert texts[:half] == texts[half:], "said alike by both splits, so that it is shown once"
    return *loaded, texts[:half]


def test_gaps_are_trained_with_a_warning_that_says_what_they_mean(folder):
    shutil.copytree(folder / "train/ant", folder / "train/fly")
    (folder / "train/new folder").mkdir()
    for path in (folder / "train/bee").iterdir():
        path.unlink()
    train, test, said = warned(folder)
    assert train.classes == test.classes == ("ant", "bee", "fly")
    assert train.labels.bincount(minlength=3).tolist() == [4, 0, 4]
    assert test.labels.bincount(minlength=3).tolist() == [2, 2, 0]
    empty, untrained, untested = said
    assert "'new folder'" in empty
    assert "left out" in empty
    assert "cannot learn 'bee'" in untrained
    assert "no 'fly': it is trained, but the test accuracy says nothing about it" in untested


def test_a_single_class_and_a_single_image(photos):
    shutil.rmtree(photos / "dog")
    _, _, said = warned(photos, size=(8, 8), test=0.2)
    assert ["only one class, 'cat'" in text for text in said] == [True]
    (photos / "emu").mkdir()
    shutil.copy(photos / "cat/0.png", photos / "emu/0.png")
    train, test, said = warned(photos, size=(8, 8), test=0.2)
    assert (train.labels == 1).sum() == 1
    assert not (test.labels == 1).any()
    assert ["no 'emu'" in text for text in said] == [True]


def test_broken_images_without_a_split_are_said_once(photos):
    (photos / "cat/0.png").write_text("no image")
    with pytest.raises(DataError, match=r"cat.0\.png is not an image"):
        load(photos, size=(8, 8), test=0.2)
    train, test = both(photos, size=(8, 8), test=0.2, skip_broken=True)
    assert (train.skipped, test.skipped) == (("cat/0.png",), ())
    assert len(train) + len(test) == 14
    assert len(load(photos, size=(8, 8), test=0.2, skip_broken=True, limit=4)) == 4


def test_exchanged_folders_and_files_are_not_served_from_the_cache(folder):
    """Equal names, sizes and times: only inodes and change times tell them apart."""
    for path in folder.glob("*/*/*.png"):
        pixels = np.asarray(Image.open(path))
        path.with_suffix(".bmp").write_bytes(b"")
        Image.fromarray(pixels).save(path.with_suffix(".bmp"))
        path.unlink()
        os.utime(path.with_suffix(".bmp"), ns=(10**18, 10**18))
    before = load(folder)
    ant, bee = folder / "train/ant", folder / "train/bee"
    ant.rename(folder / "train/-")
    bee.rename(ant)
    (folder / "train/-").rename(bee)
    after = load(folder)
    assert after.images[:4].equal(before.images[4:])
    assert after.images[4:].equal(before.images[:4])

    one, other = ant / "0.bmp", bee / "0.bmp"
    content = other.read_bytes()
    assert one.stat().st_size == len(content)
    replacement = ant / "-.bmp"
    replacement.write_bytes(content)
    os.utime(replacement, ns=(10**18, 10**18))
    replacement.rename(one)
    assert load(folder).images[0].equal(after.images[4])
    one.write_bytes((ant / "1.bmp").read_bytes())
    os.utime(one, ns=(10**18, 10**18))
    assert load(folder).images[0].equal(after.images[1])


def test_shapes_are_drawn_to_the_limit():
    whole = load("shapes", split="test")
    for limit in (1, 7, 64):
        for _ in range(2):  # drawn, and from the cache
            sample = load("shapes", split="test", limit=limit)
            assert sample.images.equal(whole.take(limit).images)
            assert sample.labels.equal(whole.take(limit).labels)


def test_published_and_generated_images_are_resized_too():
    images = load("shapes", limit=12, size=(20, 24), fit="stretch").images
    assert images.shape == (12, 3, 20, 24)
    assert images.is_contiguous(memory_format=torch.channels_last)
