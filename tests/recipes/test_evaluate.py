"""`python -m recipes.evaluate`, as a user runs it."""

import json
import shutil

import pytest
from PIL import Image

from fnet.data import load
from recipes import evaluate


def record(capsys, *args):
    assert evaluate.main([*map(str, args), "--json", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


@pytest.mark.parametrize("weights", ["best", "final"])
def test_json_repeats_what_training_measured(trained_run, capsys, weights):
    found = record(capsys, trained_run, "--weights", weights)
    measured = json.loads((trained_run / "result.json").read_text())[weights]
    assert found["top1"] == measured["test_accuracy"]
    assert found["loss"] == pytest.approx(measured["test_loss"], rel=1e-9)
    assert (found["weights"], found["data"], found["images"]) == (weights, "drawings", 40)
    assert [sum(row) for row in found["confusion"]] == [4] * 10
    assert found["top1"] <= found["top5"]
    assert len(found["class_accuracy"]) == len(found["classes"]) == 10


def test_tables_show_every_figure(trained_run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    found = record(capsys, trained_run)
    assert evaluate.main([str(trained_run), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for figure in ("top1", "top5", "calibration_error"):
        assert f"{found[figure]:.2%}" in printed
    assert f"{found['loss']:.4f}" in printed
    for place, name in enumerate(found["classes"]):
        assert f"{place} {name}" in printed
    worst = found["mistakes"][0]
    assert f"{worst['confidence']:.2%}" in printed
    monkeypatch.setenv("COLUMNS", "40")
    assert evaluate.main([str(trained_run), "--device", "cpu"]) == 0
    assert "wider than this terminal" in capsys.readouterr().out


def test_flip_and_other_data_count(trained_run, image_folder, capsys):
    plain = record(capsys, trained_run)
    assert record(capsys, trained_run, "--flip")["loss"] != plain["loss"]
    train = record(capsys, trained_run, "--split", "train", "--data", image_folder)
    assert train["images"] == len(load(image_folder)) == 80
    assert len(record(capsys, trained_run, "--mistakes", "2")["mistakes"]) == 2


def without_weights(run):
    for file in run.glob("*.safetensors"):
        file.unlink()


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (shutil.rmtree, [], "there is no run"),
        (without_weights, [], "it was stopped before the first were saved"),
        (lambda r: (r / "config.json").write_text("{"), [], "is damaged"),
        (None, ["--data", "/nowhere"], "no data set '/nowhere'"),
        (None, ["--data", "shapes"], "needs classes (bar, "),
        (None, ["--data", "fer2013", "--root", "/nowhere"], "/nowhere/fer2013 has none"),
        (None, ["--device", "toaster"], "there is no device 'toaster'"),
        (None, ["--recipe", "gone"], "the recipe 'gone' cannot be imported"),
        (None, ["--mistakes", "-1"], "--mistakes must be at least 0"),
    ],
)
def test_a_mistake_gets_one_message(trained_run, tmp_path, capsys, prepare, options, message):
    run = shutil.copytree(trained_run, tmp_path / "run")
    if prepare:
        prepare(run)
    assert evaluate.main([str(run), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_images_of_another_shape_are_refused(trained_run, image_folder, tmp_path, capsys):
    other = shutil.copytree(image_folder, tmp_path / "small")
    for file in other.glob("*/*/*.png"):
        Image.new("L", (28, 28)).save(file)
    assert evaluate.main([str(trained_run), "--data", str(other)]) == 2
    assert "images of shape (3, 32, 32), but small has (1, 28, 28)" in capsys.readouterr().err
