"""After how many seconds of a run an accuracy was reached, and runs that end when it is."""

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import options
from records import line, read, read_lines

from fnet.run import cli, trainer
from fnet.run.progress import Progress
from fnet.run.schema import Line
from fnet.run.time_to_accuracy import THRESHOLDS, in_percent, is_reached, time_to
from fnet.run.typed_json import from_json
from recipes import net

shares = st.floats(0, 1)


def lines_of(accuracies, seconds=2.0, name="test_accuracy"):
    return [
        from_json(Line, line(epoch, seconds=seconds, **{name: accuracy}))
        for epoch, accuracy in enumerate(accuracies, 1)
    ]


@given(st.lists(shares, max_size=6), shares)
def test_the_time_is_that_of_the_first_epoch_that_is_as_good(accuracies, threshold):
    lines = lines_of(accuracies)
    seconds = time_to(lines, [threshold])[threshold]
    assert (seconds is not None) == is_reached(threshold, lines)
    if seconds is not None:
        epoch = round(seconds / 2)
        assert accuracies[epoch - 1] >= threshold
        assert all(accuracy < threshold for accuracy in accuracies[: epoch - 1])


def test_an_accuracy_once_reached_stays_reached():
    assert time_to(lines_of([0.55, 0.45, 0.7]), [0.5, 0.6, 0.8]) == {0.5: 2, 0.6: 6, 0.8: None}


def test_after_a_lost_epoch_the_time_is_not_known():
    lines = lines_of([0.1, 0.55, 0.7])
    assert time_to([lines[0], lines[2]], [0.1, 0.5]) == {0.1: 2, 0.5: None}


def test_validation_images_decide_where_there_are_some():
    lines = lines_of([0.2, 0.9], name="validation_accuracy")
    assert time_to(lines, [0.5]) == {0.5: 4}


def test_without_a_target_none_is_reached():
    assert not is_reached(None, lines_of([1.0]))


def scripted(monkeypatch, accuracies):
    """Have the evaluations of a run give these accuracies in turn."""
    turns = iter(accuracies)
    monkeypatch.setattr(
        trainer.HeldOut,
        "evaluate",
        lambda *_, **__: {"test_loss": 1.0, "test_accuracy": next(turns)},
    )


@pytest.mark.usefixtures("no_reports")
def test_a_run_ends_at_its_target_and_goes_on_without(image_folder, tmp_path, monkeypatch, capsys):
    scripted(monkeypatch, [0.3, 0.52, 0.4])
    arguments = [*options(image_folder, epochs=3), "--out", str(tmp_path)]
    assert cli.main(net.RECIPE, [*arguments, "--target", "0.5"]) == 0
    (directory,) = tmp_path.iterdir()
    lines, result = read_lines(directory / "metrics.jsonl"), read(directory / "result.json")
    assert [line["test_accuracy"] for line in lines] == [0.3, 0.52]
    assert result["status"] == "stopped at target"
    assert "Stopped at target" in capsys.readouterr().out.strip().splitlines()[-1]
    seconds = sum(line["seconds"] for line in lines)
    assert result["seconds_to_accuracy"]["50"] == pytest.approx(seconds)
    assert result["seconds_to_accuracy"]["60"] is None
    assert list(result["seconds_to_accuracy"]) == list(in_percent(dict.fromkeys(THRESHOLDS)))

    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    assert "has reached its target" in capsys.readouterr().err
    assert cli.main(net.RECIPE, ["--resume", str(directory), "--target", "None"]) == 0
    assert read(directory / "result.json")["status"] == "complete"
    assert "bit for bit" in capsys.readouterr().out
    assert len(read_lines(directory / "metrics.jsonl")) == 3


@pytest.mark.usefixtures("no_reports")
def test_a_resumed_run_counts_the_seconds_of_its_earlier_parts(image_folder, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.3, 0.52])
    add = Progress.add

    def stop_after(self, *arguments):
        add(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "add", stop_after)
    arguments = [*options(image_folder, epochs=2), "--out", str(tmp_path)]
    assert cli.main(net.RECIPE, arguments) == 128 + signal.SIGTERM
    (directory,) = tmp_path.iterdir()
    (first,) = read_lines(directory / "metrics.jsonl")
    assert read(directory / "result.json")["seconds_to_accuracy"]["50"] is None
    monkeypatch.setattr(Progress, "add", add)
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 0
    second = read_lines(directory / "metrics.jsonl")[1]
    reached = read(directory / "result.json")["seconds_to_accuracy"]["50"]
    assert reached == pytest.approx(first["seconds"] + second["seconds"])


@pytest.mark.parametrize("target", ["0", "1.5", "nan"])
def test_a_target_is_an_accuracy(target, tmp_path, capsys):
    options = ["--variant", "smoke", "--target", target, "--out", str(tmp_path)]
    assert cli.main(net.RECIPE, options) == 2
    assert "--target must be above 0" in capsys.readouterr().err
