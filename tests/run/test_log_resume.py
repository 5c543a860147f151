"""What the loggers of a run show that was stopped and went on: each step and each epoch once."""

import csv

import pytest
from kills import TIMES, options
from stops import stopped_after

from fnet.run import cli
from recipes import net

pytestmark = pytest.mark.usefixtures("no_reports")
LOG = ["--log", "csv", "--log-steps", "1"]


def rows(directory):
    """The rows of both files, without times."""
    found = []
    for name in ("steps.csv", "metrics.csv"):
        with (directory / name).open(newline="") as file:
            found += csv.DictReader(file)
    return [{name: value for name, value in row.items() if name not in TIMES} for row in found]


def start(image_folder, out):
    code = cli.main(net.RECIPE, [*options(image_folder, epochs=2), *LOG, "--out", str(out)])
    return code, out / "net-smoke-s0"


@pytest.fixture(scope="module")
def straight(image_folder, tmp_path_factory):
    code, directory = start(image_folder, tmp_path_factory.mktemp("straight"))
    assert code == 0
    return rows(directory)


def resume(directory):
    return cli.main(net.RECIPE, ["--resume", str(directory)])


@pytest.mark.parametrize("stops", [(3,), (8, 11)])
def test_a_run_that_goes_on_shows_what_the_straight_one_does(
    stops, image_folder, straight, tmp_path, monkeypatch
):
    with stopped_after(stops[0], monkeypatch):
        code, directory = start(image_folder, tmp_path)
    for step in stops[1:]:
        assert code == 143
        with stopped_after(step, monkeypatch):
            code = resume(directory)
    assert resume(directory) == 0
    assert rows(directory) == straight


@pytest.mark.parametrize("stops", [(6, 7), (8, 9)])
def test_what_is_done_again_is_shown_once(stops, image_folder, straight, tmp_path, monkeypatch):
    """Also an epoch that was written down after its last step's checkpoint."""
    with stopped_after(stops[0], monkeypatch):
        _, directory = start(image_folder, tmp_path)
    with stopped_after(stops[1], monkeypatch):
        assert resume(directory) == 143
    newest = max((directory / "checkpoints").glob("step-*"))
    (newest / "tensors.safetensors").write_bytes(b"no tensors")
    assert resume(directory) == 0
    assert rows(directory) == straight
