"""The studies, as a user runs them; eager, on a few images."""

import json
import signal
from dataclasses import replace

import pytest
from records import line, read_lines

import fnet.run.sweep.arms
import fnet.run.train
from fnet import data
from fnet.run.checkpoint import CheckpointError
from fnet.run.outcome import TEST_BEST, TEST_FINAL, TRAIN_FINAL, Outcome
from fnet.run.schema import Line
from fnet.run.splits import Splits
from fnet.run.sweep import Arm, ArmResult
from fnet.run.sweep.figures import spread
from fnet.run.typed_json import from_json
from recipes import cnn, study
from recipes.study import STUDIES, main

pytestmark = pytest.mark.usefixtures("no_reports")


@pytest.fixture
def few(image_folder):
    """Options with which a run takes a moment."""
    options = ["--data", str(image_folder), "--limit", "32", "--batch-size", "16", "--epochs", "1"]
    return [*options, "--no-compile", "--device", "cpu", "--precision", "fp32"]


def test_a_study_compares_its_arms(few, tmp_path, capsys):
    assert main(["lr", *few, "--seeds", "2", "--out", str(tmp_path)]) == 0
    directory = tmp_path / "study-lr"
    record = json.loads((directory / "sweep.json").read_text())
    arms = {arm["label"]: arm for arm in record["arms"]}
    assert list(arms) == ["lr 0.1", "lr 0.01", "lr 0.001"]
    assert arms["lr 0.1"]["reported"] == "43 %"
    for label, arm in arms.items():
        assert [run.rpartition("-")[2] for run in arm["runs"]] == ["s0", "s1"]
        for run, final in zip(arm["runs"], arm["final"], strict=True):
            config = json.loads((directory / run / "config.json").read_text())["config"]
            assert config["lr"] == float(label.split()[1])
            assert (config["epochs"], config["limit"]) == (1, 32)
            assert (config["device"], config["precision"]) == ("cpu", "fp32")
            assert read_lines(directory / run / "metrics.jsonl")[-1] == final
    assert (directory / "curves.png").stat().st_size > 10_000
    assert (directory / "curves.svg").stat().st_size > 1_000
    printed = capsys.readouterr().out
    assert "43 %" in printed
    assert " to " in printed


@pytest.fixture(scope="module")
def splits():
    images = data.load("shapes", split="test")
    return Splits(images, images)


@pytest.mark.parametrize("name", STUDIES)
def test_the_arms_of_a_study_differ_in_their_config_alone(name, splits):
    arms = STUDIES[name].arms
    assert len({arm.label for arm in arms}) == len(arms) >= 2
    for arm in arms:
        arm.config.validate()
        arm.recipe.build(arm.config, splits)
        assert isinstance(arm.config, type(arm.recipe.variants["default"]))
    assert len({(arm.recipe.name, arm.config) for arm in arms}) == len(arms)


def test_every_study_can_be_named():
    assert set(study.Name.__args__) == set(STUDIES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--data", "/nowhere"], "no data set '/nowhere'"),
        (["--device", "toaster"], "no device 'toaster'"),
        (["--limit", "81"], "more than the 80 training images"),
    ],
)
def test_a_mistake_gets_one_message_and_leaves_nothing(options, message, few, tmp_path, capsys):
    assert main(["lr", *few, *options, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_what_the_last_arm_cannot_do_is_said_before_the_first_trains(
    image_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        fnet.run.sweep.arms, "train", lambda *_, **__: pytest.fail("an arm was trained")
    )
    options = ["--data", str(image_folder), "--device", "cpu", "--out", str(tmp_path)]
    monkeypatch.setitem(STUDIES, "batch", replace(STUDIES["batch"], arms=of_batches(16, 1024)))
    assert main(["batch", *options]) == 2
    error = capsys.readouterr().err
    assert "'batch 1024' cannot be trained: a batch size of 1024 does not fit" in error
    assert not list(tmp_path.iterdir())


def of_batches(*sizes):
    return [Arm(cnn.RECIPE, f"batch {size}", cnn.Config(batch_size=size)) for size in sizes]


def test_an_arm_that_fails_leaves_what_was_reached(few, tmp_path, monkeypatch, capsys):
    train, calls = fnet.run.sweep.arms.train, []

    def failing_in_the_second(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise CheckpointError("no room is left")
        return train(*args, **options)

    monkeypatch.setattr(fnet.run.sweep.arms, "train", failing_in_the_second)
    assert main(["lr", *few, "--out", str(tmp_path)]) == 2
    record = json.loads((tmp_path / "study-lr" / "sweep.json").read_text())
    assert [len(arm["runs"]) for arm in record["arms"]] == [1, 0, 0]
    assert (tmp_path / "study-lr" / "curves.png").exists()
    captured = capsys.readouterr()
    assert "lr 0.001" in captured.out
    assert captured.err == "error: no room is left\n"


def test_a_stopped_study_shows_what_was_reached(few, tmp_path, monkeypatch, capsys):
    train, calls = fnet.run.sweep.arms.train, []

    def stopped_in_the_second(*args, **options):
        calls.append(args)
        outcome = train(*args, **options)
        if len(calls) < 2:
            return outcome
        return replace(outcome, status="interrupted", signal=signal.SIGTERM)

    monkeypatch.setattr(fnet.run.sweep.arms, "train", stopped_in_the_second)
    assert main(["lr", *few, "--out", str(tmp_path)]) == 143
    assert len(calls) == 2
    record = json.loads((tmp_path / "study-lr" / "sweep.json").read_text())
    assert [len(arm["runs"]) for arm in record["arms"]] == [1, 1, 0]
    assert "lr 0.001" in capsys.readouterr().out


def test_ctrl_c_while_data_are_opened_shows_what_was_reached(few, tmp_path, monkeypatch, capsys):
    open_splits, calls = fnet.run.train.open_splits, []

    def ctrl_c_in_the_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return open_splits(*args)

    monkeypatch.setattr(fnet.run.train, "open_splits", ctrl_c_in_the_second)
    assert main(["lr", *few, "--out", str(tmp_path)]) == 130
    record = json.loads((tmp_path / "study-lr" / "sweep.json").read_text())
    assert [len(arm["runs"]) for arm in record["arms"]] == [1, 0, 0]
    assert "lr 0.001" in capsys.readouterr().out


def test_figures_of_an_arm_are_means_over_its_runs(tmp_path):
    def outcome(accuracy):
        final = from_json(Line, line(1, test_accuracy=accuracy, train_accuracy=accuracy + 0.2))
        best = from_json(Line, line(1, test_accuracy=accuracy + 0.1))
        return Outcome("complete", None, tmp_path, "shapes", False, final, best)

    arm = Arm(cnn.RECIPE, "a", cnn.Config())
    result = ArmResult(arm, [outcome(0.5), outcome(0.7)])
    assert result.figures(TEST_FINAL) == [0.5, 0.7]
    assert spread(result.figures(TEST_BEST)) == "70.0 % (60.0 to 80.0)"
    assert spread(result.figures(TRAIN_FINAL)) == "80.0 % (70.0 to 90.0)"
    assert spread(ArmResult(arm, []).figures(TRAIN_FINAL)) == "-"
