"""`python -m recipes.plot`: what it writes, and what it refuses."""

import shutil

import pytest
from PIL import Image

from recipes import plot

ALL = {"curves", "confusion", "images", "mistakes", "filters"}


def written(out):
    return {file.name for file in out.iterdir()}


def test_a_run_is_drawn_as_png_and_svg(trained_run, tmp_path):
    out = tmp_path / "plots"
    assert plot.main([str(trained_run), "--out", str(out), "--images", "9", "--dark"]) == 0
    names = {
        f"{name}{dark}.{kind}" for name in ALL for dark in ("", "-dark") for kind in ("png", "svg")
    }
    assert written(out) == names
    for file in out.glob("*.png"):
        with Image.open(file) as image:
            assert min(image.size) > 200
    assert all("<svg" in file.read_text() for file in out.glob("*.svg"))


def test_several_runs_are_drawn_in_one_plot(trained_run, tmp_path):
    other = shutil.copytree(trained_run, tmp_path / "other")
    out = tmp_path / "plots"
    assert plot.main([str(trained_run), str(other), "--out", str(out)]) == 0
    assert written(out) == {"curves.png", "curves.svg"}
    drawn = (out / "curves.png").read_bytes()
    alone = tmp_path / "alone"
    assert plot.main([str(trained_run), "--out", str(alone), "--only", "curves"]) == 0
    assert (alone / "curves.png").read_bytes() != drawn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["RUN", "--only", "roc"],
            "--only must be one or more of curves, confusion, images, mistakes, filters",
        ),
        (["RUN", "RUN", "--only", "images"], "--only images is for a single run"),
        (["RUN", "RUN"], "is given twice"),
        (["RUN", "--images", "0"], "--images must be at least 1"),
        (["/no/such/run"], "there is no run /no/such/run"),
        (["RUN", "--data", "/nowhere"], "no data set '/nowhere'"),
        (["RUN", "--out", "/dev/null/plots"], "cannot write to --out"),
        (["RUN", "--only", "curves", "--out", "x" * 300], "cannot write to --out"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    options, message, trained_run, tmp_path, capsys
):
    given = [str(trained_run) if option == "RUN" else option for option in options]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "plots")]
    assert plot.main(given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "plots").exists()


def test_files_are_not_overwritten(trained_run, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "curves.svg"
    mine.write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plot.main([str(trained_run), "--only", "curves", "--out=~"]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert written(tmp_path) == {"curves.svg"}
