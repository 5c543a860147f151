"""What the tests of data share: a cache of their own, and a folder of images."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The (still absent) directory that the decoded arrays go to."""
    monkeypatch.setenv("FNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, cache):
    """A folder of two classes, four training and two test images each, 6 pixels by 5."""
    for split, n in (("train", 4), ("test", 2)):
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / "insects" / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = np.full((5, 6, 3), 100 * label + 10 * i, np.uint8)
                pixels[0, 1] = (1, 2, 3)
                Image.fromarray(pixels).save(tmp_path / "insects" / split / name / f"{i}.png")
    return tmp_path / "insects"


@pytest.fixture
def faces(tmp_path, cache):
    """A folder of two classes whose files' names tell the split, one image of 6 x 5 a name."""
    names = ("Training_7", "Training_10", "PublicTest_1", "PrivateTest_2")
    for label, name in enumerate(("happy", "sad")):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i, file in enumerate(names):
            pixels = np.full((5, 6), 100 * label + 10 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / name / f"{file}.png")
    return tmp_path / "faces"
