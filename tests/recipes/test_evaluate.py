"""`python -m recipes.evaluate`, as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from records import edit, edit_config

from fnet.data import load
from fnet.evaluation import make_forward
from fnet.run import cli, train
from fnet.run.opened import open_run
from recipes import cnn, evaluate


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


@pytest.fixture(scope="module")
def other_run(tmp_path_factory, image_folder):
    """A run of CNN on the images of `trained_run`."""
    out = tmp_path_factory.mktemp("runs")
    options = ["--variant", "smoke", "--limit", "64", "--batch-size", "16", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_write_report", lambda *_: None)
        assert cli.main(cnn.RECIPE, [*options, "--data", str(image_folder)]) == 0
    return next(out.iterdir())


def test_mistakes_are_named_by_file_with_both_probabilities(trained_run, image_folder, capsys):
    held = load(image_folder, split="test")
    run = open_run(trained_run)
    for mistake in record(capsys, trained_run)["mistakes"]:
        file = Path(mistake["file"])
        assert file.parent.name == run.classes[mistake["label"]]
        image = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        assert torch.equal(held.images[mistake["index"]], image)
        logits, _ = run.model.apply(run.params, run.preprocess(image[None]))
        probabilities = logits[0].softmax(-1)
        of_label, confidence = probabilities[[mistake["label"], mistake["predicted"]]].tolist()
        assert mistake["label_confidence"] == pytest.approx(of_label, abs=1e-6)
        assert mistake["confidence"] == pytest.approx(confidence, abs=1e-6)
        assert of_label < confidence


def test_several_runs_are_averaged(trained_run, other_run, image_folder, capsys):
    held = load(image_folder, split="test")
    runs = [open_run(trained_run), open_run(other_run)]
    each = [
        make_forward(run.model, preprocess=run.preprocess)(run.params, held.images) for run in runs
    ]
    probabilities = torch.stack([one.double().softmax(-1) for one in each]).mean(0)
    expected = (probabilities.argmax(-1) == held.labels).double().mean().item()
    alone = [record(capsys, path)["top1"] for path in (trained_run, other_run)]
    differ = (each[0].argmax(-1) != each[1].argmax(-1)).double().mean().item()
    assert differ > 0
    found = record(capsys, trained_run, other_run)
    assert found["runs"] == [str(trained_run), str(other_run)]
    assert found["top1"] == expected
    loss = runs[0].experiment.loss(probabilities.log(), held.labels).mean().item()
    assert found["loss"] == pytest.approx(loss)
    assert found["gain"]["accuracies"] == alone
    assert found["gain"]["over_mean"] == pytest.approx(expected - sum(alone) / 2)
    assert found["gain"]["over_best"] == pytest.approx(expected - max(alone))
    assert found["gain"]["disagreement"] == differ
    assert evaluate.main([str(trained_run), str(other_run), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert f"{100 * (expected - max(alone)):+.2f} over the best" in printed
    assert f"disagree on {differ:.2%}" in printed


def test_the_average_of_one_run_with_itself_is_the_run(trained_run, capsys):
    found, alone = record(capsys, trained_run, trained_run), record(capsys, trained_run)
    assert found["gain"]["disagreement"] == found["gain"]["over_best"] == 0
    assert found["confusion"] == alone["confusion"]
    assert found["loss"] == pytest.approx(alone["loss"])


def test_runs_of_other_classes_are_not_averaged(trained_run, other_run, tmp_path, capsys):
    other = shutil.copytree(other_run, tmp_path / "run")
    edit(other / "config.json", classes=[f"{place}" for place in range(10)])
    assert evaluate.main([str(trained_run), str(other)]) == 2
    captured = capsys.readouterr()
    assert "only runs with the same can be averaged" in captured.err
    assert len(captured.err.strip().splitlines()) == 1


@pytest.mark.filterwarnings("ignore:the images of train:fnet.data.DataWarning")
def test_runs_that_drew_other_test_images_are_not_averaged(
    trained_run, image_folder, tmp_path, capsys
):
    """The test images of one are training images of the other."""
    runs = [shutil.copytree(trained_run, tmp_path / f"run{seed}") for seed in (0, 1)]
    for seed, run in enumerate(runs):
        edit_config(run, data=str(image_folder / "train"), test=0.3, seed=seed)
    assert evaluate.main([str(run) for run in runs]) == 2
    assert "have different test images" in capsys.readouterr().err
    assert evaluate.main([*map(str, runs), "--data", str(image_folder)]) == 0


def test_a_run_is_asked_for(capsys):
    assert evaluate.main([]) == 2
    assert "give at least one run" in capsys.readouterr().err
