"""Folders of images: what they load as, and what every mistake in one is called."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fnet.data import DataError, DataWarning, load
from fnet.data.files import folder as folder_module


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
    with pytest.warns(DataWarning, match="only one class, 'happy'"):
        loaded = load(faces)
    assert loaded.images.shape == (4, 1, 5, 6)
    assert loaded.classes == ("happy",)


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


def test_images_are_turned_upright_and_laid_over_black(folder):
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter, clockwise
    Image.fromarray(noise).save(folder / "train/ant/0.png", exif=exif)
    Image.new("RGBA", (6, 5), (200, 100, 50, 128)).save(folder / "train/ant/1.png")
    images = load(folder).images.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images[0], np.rot90(noise, -1))
    assert images[1, 2, 3].tolist() == [100, 50, 25]


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
    "no image": (
        lambda f: [path.unlink() for path in f.glob("train/*/*")],
        r"class folders in .*train are empty",
    ),
    "a class only in test": (lambda f: save(f / "test/fly/0.png"), r"insects.train has no 'fly'\."),
    "classes in both": (
        lambda f: [save(f / name) for name in ("train/Ant/0.png", "test/fly/0.png")],
        r"differ: .*test has no 'Ant', and .*train has no 'fly'\.",
    ),
    "a file for train": (
        lambda f: [shutil.rmtree(f / "train"), (f / "train").touch()],
        r"no folder 'train' \(it is a file\)",
    ),
    "a class that links nowhere": (
        lambda f: (f / "train/fly").symlink_to(f / "gone"),
        r"train.fly cannot be read \(No such file",
    ),
    "a class that links to itself": (
        lambda f: (f / "train/fly").symlink_to(f / "train/fly"),
        r"train.fly cannot be read \(Too many levels",
    ),
    "a folder that links to itself": (
        lambda f: [shutil.rmtree(f / "test"), (f / "test").symlink_to(f / "test")],
        "no folder 'test'",
    ),
    "an image that links to itself": (
        lambda f: (f / "train/ant/1a.png").symlink_to(f / "train/ant/1a.png"),
        r"1a\.png cannot be read \(Too many levels",
    ),
    "a folder in itself": (
        lambda f: (f / "train/ant/loop").symlink_to(f / "train/ant"),
        r"ant.loop is a folder",
    ),
    "a pipe": (lambda f: os.mkfifo(f / "train/ant/pipe"), r"ant.pipe is a pipe"),
    "a broken image": (lambda f: cut_short(f / "train/bee/2.png"), r"bee.2\.png .* broken"),
    "not an image": (lambda f: (f / "train/ant/notes.png").write_text("hi"), r"notes\.png is not"),
    "an empty file": (lambda f: (f / "train/ant/0.png").write_text(""), r"ant.0\.png is not"),
    "mixed sizes": (
        lambda f: save(f / "train/bee/1.png", size=(8, 5)),
        r"ant.0\.png has 6 x 5 pixels, .*bee.1\.png has 8 x 5",
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
        lambda f: [path.unlink() for path in f.glob("*/Training_*")],
        r"class folders in .*faces are empty",
    ),
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
    with pytest.raises(DataError, match=r"data\.zip is a file, not a folder.*unpack"):
        load(tmp_path / "data.zip")


def test_an_unknown_split():
    with pytest.raises(ValueError, match='split is "train" or "test", got \'valid\''):
        load("shapes", split="valid")


@pytest.mark.parametrize(
    "name",
    ["~nobody-of-this-name/images", "x" * 5000, "a\0b", "caf\udce9"],
    ids=["user", "length", "null", "bytes"],
)
def test_a_path_that_cannot_be(name):
    with pytest.raises(DataError, match="There is no data set"):
        load(name)


def test_what_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"insects.train cannot be read \(Permission denied\)"):
            load(folder)
    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: refuse(path))
    with pytest.raises(DataError, match=r"ant.0\.png cannot be read \(Permission denied\)"):
        load(folder)


def test_classes_that_differ_by_case_only_are_two(folder):
    for split in ("train", "test"):
        save(folder / split / "Ant" / "0.png")
    if (folder / "train/Ant").samefile(folder / "train/ant"):
        pytest.skip("the file system knows no case")
    assert load(folder).classes == ("Ant", "ant", "bee")


@pytest.mark.parametrize("what", ["folder", "class", "file"])
def test_names_that_are_no_unicode(folder, what):
    bad = os.fsdecode(b"caf\xe9")
    try:
        if what == "folder":
            folder = folder.rename(folder.with_name(bad))
        elif what == "class":
            for split in ("train", "test"):
                (folder / split / "ant").rename(folder / split / bad)
        else:
            (folder / "train/ant/3.png").rename(folder / "train/ant" / f"{bad}.png")
    except OSError:
        pytest.skip("the file system knows Unicode only")
    for _ in range(2):
        dataset = load(folder)
        assert len(dataset) == 8
        for text in (dataset.name, *dataset.classes):
            text.encode()
    next(folder.glob("train/*/[0c]*.png")).write_text("no image")
    with pytest.raises(DataError, match=r"\.png is not an image") as error:
        load(folder)
    assert str(error.value).encode()
    assert all(name.encode() for name in load(folder, skip_broken=True).skipped)


def test_broken_files_are_left_out_on_demand_only(folder, cache, monkeypatch):
    cut_short(folder / "train/ant/0.png")
    (folder / "train/bee/notes.png").write_text("hi")
    (folder / "train/bee/5.png").symlink_to("gone.png")
    left_out = ("ant/0.png", "bee/5.png", "bee/notes.png")
    for _ in range(2):
        with pytest.raises(DataError, match=r"ant.0\.png .* with --skip-broken"):
            load(folder)
        dataset = load(folder, skip_broken=True)
        assert dataset.skipped == left_out
        assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert dataset.images[:, 0, 1, 1].tolist() == [10, 20, 30, 100, 110, 120, 130]
    assert dataset.take(2).skipped == left_out
    assert not load(folder, split="test", skip_broken=True).skipped
    monkeypatch.setattr(folder_module, "decode", lambda *_: pytest.fail("decoded again"))
    assert load(folder, skip_broken=True).skipped == left_out


def test_an_entry_without_broken_files_is_not_taken_for_one_with_all(folder):
    whole = folder / "train/ant/0.png"
    load(folder)
    whole.write_bytes(bytes(len(whole.read_bytes())))
    for _ in range(2):
        with pytest.raises(DataError, match=r"ant.0\.png is not an image"):
            load(folder)
        assert len(load(folder, skip_broken=True)) == 7


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train/*/*.png", r"All 8 image files are broken, from .*ant.0\.png to .*bee.3\.png"),
        ("train/bee/*.png", r"All images in the class folder .*train.bee are broken"),
    ],
)
def test_something_has_to_be_left(folder, cache, pattern, message):
    for path in folder.glob(pattern):
        path.write_text("no image")
    with pytest.raises(DataError, match=message):
        load(folder, skip_broken=True)
    assert not cache.exists()


def test_sizes_and_depths_are_no_breakage(folder):
    for mode, size, message in (("I;16", (6, 5), "8-bit"), ("RGB", (8, 5), "different sizes")):
        save(folder / "train/ant/2.png", mode, size)
        with pytest.raises(DataError, match=message):
            load(folder, skip_broken=True)
