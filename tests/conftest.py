import importlib
import os

# As many tests run at once as there are processors: each has one thread, and so have the processes
# that it starts. To be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from pictures import draw_folder

from fnet.data.shapes import draw
from fnet.run import cli, train
from recipes import dainet7

# A busy machine is slow; no law is about time.
settings.register_profile("fnet", deadline=None)
settings.load_profile("fnet")


@pytest.fixture(autouse=True)
def _directories_of_its_own(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's data and caches, and none downloads into them."""
    monkeypatch.setenv("FNET_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("FNET_DATA", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session", autouse=True)
def _shapes_are_drawn_once():
    """Draw each split of "shapes" once per process: it is a pure function of its arguments."""
    drawn = {}

    def remembered(key, index):
        name = (*key.tolist(), *index.tolist())
        if name not in drawn:
            drawn[name] = draw(key, index)
        return drawn[name]

    with pytest.MonkeyPatch.context() as patch:
        # `fnet.data.load` is the function: it hides the module of the same name.
        patch.setattr(importlib.import_module("fnet.data.load"), "draw", remembered)
        yield


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A data set as a folder: of each of ten classes 8 training and 4 test images, 32 x 32 PNGs."""
    return draw_folder(tmp_path_factory.mktemp("data") / "drawings")


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, image_folder):
    """The directory of a run of two steps on `image_folder`: to read or copy, not to change."""
    out = tmp_path_factory.mktemp("runs")
    options = ["--data", str(image_folder), "--limit", "64", "--out", str(out)]
    # The same numbers on every machine, in every test.
    options += ["--device", "cpu", "--precision", "fp32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert cli.main(dainet7.RECIPE, ["--variant", "smoke", *options]) == 0
    return out / "dainet7-smoke-s0"


def _write_no_report(patch):
    patch.setattr(train, "_write_report", lambda *_: None)


@pytest.fixture(scope="module")
def no_reports():
    """Runs end without their report, which takes longer than a run of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        _write_no_report(patch)
        yield


@pytest.fixture
def no_report(monkeypatch):
    """As `no_reports`, for one test of a module in which others read the report."""
    _write_no_report(monkeypatch)
