"""The weights of the best epoch, when a run goes on and they are not what it left."""

import shutil

import pytest
from kills import options
from safetensors.torch import load, save_file
from stops import stopped_after

from fnet import files
from fnet.run import cli
from fnet.run.checkpoint import weights_epoch
from fnet.run.progress import best_problem
from recipes import net

pytestmark = pytest.mark.usefixtures("no_reports")
STEPS = 6
"""Of an epoch."""


@pytest.fixture(scope="module")
def stopped(image_folder, tmp_path_factory):
    """The directory of a run that was stopped after the first step of its second epoch: to copy."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch, stopped_after(STEPS + 1, patch):
        assert cli.main(net.RECIPE, [*options(image_folder), "--out", str(out)]) == 143
    return out / "net-smoke-s0"


def missing(best):
    best.unlink()


def damaged(best):
    best.write_bytes(best.read_bytes()[:-1])


def without_an_epoch(best):
    save_file(load(best.read_bytes()), best)


def of_epoch_3(best):
    save_file(load(best.read_bytes()), best, {"fnet": files.dumps({"epoch": 3})})


LATER = "the run continues from before the end of that epoch, and will write the file again there"
LOST = "and the weights of epoch 1, the best so far, are lost"
OTHERS = [
    (missing, "is missing", LOST),
    (damaged, "is damaged", LOST),
    (without_an_epoch, "does not record its epoch", LOST),
    (of_epoch_3, "is from epoch 3", LATER),
]


def test_weights_say_their_epoch(stopped):
    epochs = {name: weights_epoch(stopped / f"{name}.safetensors") for name in ("best", "final")}
    assert epochs == {"best": 1, "final": 2}


def go_on(directory, to, monkeypatch, capsys):
    """Resume a run until after a step; return what it said."""
    capsys.readouterr()
    with stopped_after(to, monkeypatch):
        assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 143
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("change", "said", "_"), OTHERS)
def test_from_the_end_of_the_best_epoch_they_are_written_again(
    change, said, _, stopped, tmp_path, monkeypatch, capsys
):
    directory = shutil.copytree(stopped, tmp_path / "run")
    change(directory / "best.safetensors")
    newest = max((directory / "checkpoints").glob("step-*"))
    (newest / "tensors.safetensors").write_bytes(b"no tensors")
    printed = go_on(directory, STEPS + 1, monkeypatch, capsys)
    assert f"best.safetensors {said}: it is written again, with the weights of epoch 1" in printed
    before, after = (place / "best.safetensors" for place in (stopped, directory))
    assert after.read_bytes() == before.read_bytes()


@pytest.mark.parametrize(("change", "said", "why"), OTHERS)
def test_from_a_later_step_it_is_said_that_they_are_others(
    change, said, why, stopped, tmp_path, monkeypatch, capsys
):
    directory = shutil.copytree(stopped, tmp_path / "run")
    change(directory / "best.safetensors")
    printed = go_on(directory, STEPS + 2, monkeypatch, capsys)
    assert f"best.safetensors {said}" in printed
    assert why in printed


def test_nothing_is_said_of_the_right_ones(stopped, tmp_path, monkeypatch, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    assert "best.safetensors" not in go_on(directory, STEPS + 2, monkeypatch, capsys)


def test_before_the_first_epoch_ends_there_are_none(stopped, tmp_path):
    assert best_problem(tmp_path / "best.safetensors", None, 0, in_memory=False) is None
    problem = best_problem(stopped / "best.safetensors", None, 0, in_memory=False)
    assert problem == f"best.safetensors is from epoch 1: {LATER}."
