"""Folders of images: what they load as, and what every mistake in one is called."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fnet.data import DataError, load


def save(path, mode="RGB", size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def test_a_folder_loads(folder):
    dataset = load(folder)
    assert (dataset.name, dataset.classes, len(dataset)) == ("insects", ("ant", "bee"), 8)
    assert dataset.images.shape == (8, 3, 5, 6)
    assert dataset.images.stride() == (90, 1, 18, 3)
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert dataset.images[:, 0, 1, 1].tolist() == [0, 10, 20, 30, 100, 110, 120, 130]
    assert dataset.images[3, :, 0, 1].tolist() == [1, 2, 3]
    assert len(load(str(folder), split="test")) == 4


def test_a_folder_split_by_names_loads(faces):
    for _ in range(2):
        train, test = load(faces), load(faces, split="test")
        assert (train.name, train.classes) == ("faces", ("happy", "sad"))
        assert train.images.shape == test.images.shape == (4, 1, 5, 6)
        assert train.labels.tolist() == test.labels.tolist() == [0, 0, 1, 1]
        # Sorted by name: Training_10 and Training_7, PrivateTest and PublicTest.
        assert train.images[:, 0, 0, 0].tolist() == [10, 0, 110, 100]
        assert test.images[:, 0, 0, 0].tolist() == [30, 20, 130, 120]


def test_folders_train_and_test_come_before_names(faces):
    for split in ("train", "test"):
        shutil.copytree(faces / "happy", faces / split / "happy")
    assert load(faces).images.shape == (4, 1, 5, 6)
    assert load(faces).classes == ("happy",)


def test_progress_is_told_up_to_the_end(folder):
    calls = []
    load(folder, on_progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (8, 8)


def test_grey_images_have_one_channel_among_colour_three(folder):
    for path in folder.glob("*/*/*.png"):
        Image.open(path).convert("L").save(path)
    grey = load(folder)
    assert grey.images.shape == (8, 1, 5, 6)
    assert grey.images[:, 0, 1, 1].tolist() == [0, 10, 20, 30, 100, 110, 120, 130]
    save(folder / "train/ant/0.png")
    mixed = load(folder)
    assert mixed.images.shape == (8, 3, 5, 6)
    assert mixed.images[7, :, 1, 1].tolist() == [130, 130, 130]


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("1", 1), ("RGBA", 3), ("P", 3)])
def test_other_modes_become_grey_or_rgb(folder, mode, channels):
    for path in folder.glob("*/*/*.png"):
        save(path, mode)
    assert load(folder).images.shape == (8, channels, 5, 6)


def test_jpegs_decode_as_pillow_decodes_them(folder):
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "train/ant/0.jpg", quality=70)
    expected = torch.from_numpy(np.array(Image.open(folder / "train/ant/0.jpg")))
    assert load(folder).images[0].permute(1, 2, 0).equal(expected)


def test_hidden_files_are_passed_over(folder):
    (folder / "train/ant/.DS_Store").write_bytes(b"not an image")
    (folder / "train/.cache").mkdir()
    assert len(load(folder)) == 8


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-30])


PROBLEMS = {
    "missing": (shutil.rmtree, "insects"),
    "no train": (lambda f: shutil.rmtree(f / "train"), "no folder 'train'"),
    "no test": (lambda f: shutil.rmtree(f / "test"), "no folder 'test'"),
    "no classes": (
        lambda f: [shutil.rmtree(f / "train" / name) for name in ("ant", "bee")],
        r"insects.train has no class folders",
    ),
    "an empty class": (
        lambda f: [path.unlink() for path in (f / "train/bee").iterdir()],
        r"train.bee is empty",
    ),
    "a class only in train": (lambda f: save(f / "train/fly/0.png"), r"'fly' in .*train is not in"),
    "a class only in test": (lambda f: save(f / "test/fly/0.png"), r"'fly' in .*test is not in"),
    "a broken image": (lambda f: cut_short(f / "train/bee/2.png"), r"bee.2\.png .* broken"),
    "not an image": (lambda f: (f / "train/ant/notes.txt").write_text("hi"), r"notes\.txt is not"),
    "an empty file": (lambda f: (f / "train/ant/0.png").write_text(""), r"ant.0\.png is not"),
    "mixed sizes": (
        lambda f: save(f / "train/bee/1.png", size=(8, 5)),
        r"ant.0\.png is 6 x 5 pixels, .*bee.1\.png is 8 x 5",
    ),
    "a folder among images": (lambda f: (f / "train/ant/more").mkdir(), r"ant.more is a folder"),
    "16 bits": (lambda f: save(f / "train/ant/0.png", "I;16"), r"0\.png is not an 8-bit image"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_is_named(folder, cache, problem):
    break_it, message = PROBLEMS[problem]
    break_it(folder)
    with pytest.raises(DataError, match=message):
        load(folder)
    assert not cache.exists()


FACES_PROBLEMS = {
    "another name": (
        lambda f: save(f / "sad/angry_1.png"),
        r"sad.angry_1\.png does not begin with Training_ or PublicTest_ or PrivateTest_",
    ),
    "no training images": (
        lambda f: [path.unlink() for path in f.glob("sad/Training_*")],
        r"class folder .*sad has no file that begins with Training_: the train",
    ),
    "an empty class": (lambda f: (f / "angry").mkdir(), r"angry is empty"),
    "a folder train": (lambda f: (f / "train").mkdir(), r"train has no class folders"),
    "no such names": (
        lambda f: [path.rename(path.with_name(path.name[-6:])) for path in f.glob("*/*")],
        "no folder 'train'",
    ),
}


@pytest.mark.parametrize("problem", FACES_PROBLEMS)
def test_every_problem_of_a_folder_split_by_names_is_named(faces, cache, problem):
    break_it, message = FACES_PROBLEMS[problem]
    break_it(faces)
    with pytest.raises(DataError, match=message):
        load(faces)
    assert not cache.exists()


def test_a_name_that_is_neither_set_nor_folder():
    with pytest.raises(DataError, match=r"no data set 'cifar', .*cifar10, cifar100, mnist"):
        load("cifar")


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "data.zip").touch()
    with pytest.raises(DataError, match=r"no folder .*data\.zip"):
        load(tmp_path / "data.zip")


def test_an_unknown_split():
    with pytest.raises(ValueError, match='split is "train" or "test", got \'valid\''):
        load("shapes", split="valid")
