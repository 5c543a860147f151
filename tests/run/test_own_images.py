"""A run on a user's own folder: split, resized and normalised alike in training and afterwards."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fnet.data import DataError, DataWarning, Normalize, statistics
from fnet.data.files import folder as folder_module
from fnet.data.files.decode import read_image
from fnet.run import cli
from fnet.run.opened import open_run
from recipes import cnn, dainet7, net

pytestmark = pytest.mark.usefixtures("no_reports")
OPTIONS = ["--variant", "smoke", "--limit", "None", "--device", "cpu", "--precision", "fp32"]
READ = ["--size", "20x16", "--fit", "pad", "--test", "0.25", "--seed", "3"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three class folders of 8 grey and coloured images of many sizes; the current directory."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "emu"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, (*rng.integers(20, 50, 2), 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).convert("L" if i % 2 else "RGB")
            picture.save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "cat" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def run(photos, capsys):
    """The directory of a run of one epoch, and what it printed."""
    assert cli.main(cnn.RECIPE, [*OPTIONS, "--data", "photos", *READ, "--out", "runs"]) == 0
    return photos.parent / "runs" / "cnn-smoke-s3", " ".join(capsys.readouterr().out.split())


def setup_of(directory):
    return json.loads((directory / "config.json").read_text())


def test_what_is_trained_on_is_what_is_opened(run, photos):
    directory, printed = run
    assert "1 file is passed over" in printed
    assert "'cat/notes.txt'" in printed
    assert "The batch size is cut from 32 to 18: there are only 18 training images." in printed
    setup = setup_of(directory)
    assert (setup["config"]["data"], setup["config"]["batch_size"]) == (str(photos), 18)
    assert (setup["train_images"], setup["test_images"]) == (18, 6)
    assert setup["input_shape"] == [3, 16, 20]

    opened = open_run(directory)
    train, test = (opened.open_data(None, None, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (18, 6)
    assert opened.preprocess.then == Normalize(*statistics(train))
    # Prediction reads a file as training does.
    every = torch.cat([train.images, test.images])
    for file in sorted(photos.glob("*/*.png")):
        image = read_image(file, opened.input_shape, opened.fit)
        assert any(image.equal(other) for other in every)


def test_a_run_goes_on_where_its_images_are_now(run, photos, capsys):
    directory, _ = run
    moved = photos.rename(photos.with_name("moved"))
    assert cli.main(cnn.RECIPE, ["--resume", str(directory), "--epochs", "2"]) == 2
    assert f"are not in {photos}: there is no such folder" in capsys.readouterr().err
    with pytest.raises(DataError, match="the place where they are now, --data DIR"):
        open_run(directory).open_data(None, None, "test")

    (moved / "dog" / "0.png").rename(moved / "0.png")
    again = ["--resume", str(directory), "--epochs", "2", "--data", "moved"]
    assert cli.main(cnn.RECIPE, again) == 2
    assert "are not those that the run" in capsys.readouterr().err
    with pytest.warns(DataWarning, match="may have been trained on some of the images"):
        open_run(directory).open_data("moved", None, "test")
    (moved / "0.png").rename(moved / "dog" / "0.png")
    before = setup_of(directory)
    assert cli.main(cnn.RECIPE, again) == 0
    after = setup_of(directory)
    assert after["config"]["data"] == str(moved)
    assert after["preprocess"] == before["preprocess"]
    assert after["data_checksum"] == before["data_checksum"]


def test_an_undivided_folder_of_others_is_evaluated_whole(trained_run, image_folder, tmp_path):
    shutil.copytree(image_folder / "test", tmp_path / "others")
    run = open_run(trained_run)
    whole = run.open_data(str(tmp_path / "others"), None, "test")
    assert whole.images.equal(run.open_data(str(image_folder), None, "test").images)


def test_grey_training_images_beside_coloured_test_images(photos):
    for i in range(8):
        split = "train" if i % 2 else "test"
        for name in ("cat", "dog", "emu"):
            (photos / split / name).mkdir(parents=True, exist_ok=True)
            (photos / name / f"{i}.png").rename(photos / split / name / f"{i}.png")
    assert (
        cli.main(cnn.RECIPE, [*OPTIONS, "--data", "photos", "--size", "16", "--out", "runs"]) == 0
    )
    run = open_run("runs/cnn-smoke-s0")
    assert run.input_shape == (3, 16, 16)
    assert run.open_data(None, None, "train").images.shape == (12, 3, 16, 16)


def test_a_summary_reads_few_images(photos, monkeypatch, capsys):
    counts = []
    decode = folder_module.decode
    monkeypatch.setattr(
        folder_module,
        "decode",
        lambda paths, *args: counts.append(len(paths)) or decode(paths, *args),
    )
    assert cli.main(dainet7.RECIPE, [*OPTIONS, "--data", "photos", *READ, "--summary"]) == 0
    assert "3 × 16 × 20" in capsys.readouterr().out
    assert counts == [8]


def test_images_that_are_too_small_are_refused_with_the_least_size(photos, capsys):
    options = [*OPTIONS, "--data", "photos", "--test", "0.25", "--size", "20x15", "--out", "runs"]
    assert cli.main(net.RECIPE, options) == 2
    error = capsys.readouterr().err
    assert "20 x 15 pixels, and this network needs at least 16 x 16; resize" in error
