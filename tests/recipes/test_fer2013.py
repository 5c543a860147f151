"""FER2013's recipe on a CSV file of the published form, with faces made up."""

import hashlib
import json

import numpy as np
import pytest
from records import read_lines
from torchvision import datasets

from fnet.run import cli
from recipes.fer2013 import RECIPE

FACES, CLASSES = 63, 7
USAGE = ["Training"] * 5 + ["PublicTest", "PrivateTest"]


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """Return the directory that holds `fer2013/fer2013.csv`."""
    folder = tmp_path / "data" / "fer2013"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (FACES, 48 * 48))
    rows = [
        f"{place % CLASSES},{' '.join(map(str, face))},{USAGE[place // CLASSES % len(USAGE)]}"
        for place, face in enumerate(pixels)
    ]
    content = "\n".join(["emotion,pixels,Usage", *rows]).encode()
    (folder / "fer2013.csv").write_bytes(content)
    checksum = ("fer2013.csv", hashlib.md5(content).hexdigest())
    known = datasets.FER2013._RESOURCES | {"fer": checksum}
    monkeypatch.setattr(datasets.FER2013, "_RESOURCES", known)
    return folder.parent


@pytest.mark.usefixtures("no_reports")
@pytest.mark.parametrize("variant", RECIPE.variants)
def test_every_variant_trains_on_the_official_split(variant, faces, tmp_path):
    options = ["--variant", variant, "--data", "fer2013", "--root", str(faces), "--no-compile"]
    options += ["--epochs", "2", "--batch-size", "9", "--limit", "None", "--device", "cpu"]
    assert cli.main(RECIPE, [*options, "--out", str(tmp_path / "runs")]) == 0
    (directory,) = (tmp_path / "runs").iterdir()
    record = json.loads((directory / "config.json").read_text())
    assert (record["data"], record["input_shape"]) == ("fer2013", [1, 48, 48])
    assert len(record["classes"]) == CLASSES
    assert (record["train_images"], record["test_images"]) == (49, 14)
    assert len(read_lines(directory / "metrics.jsonl")) == 2
    reported = json.loads((directory / "result.json").read_text())["reported"]
    assert bool(reported) == (variant != "smoke")
