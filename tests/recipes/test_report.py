"""`python -m recipes.report`, and the report at the end of training, as a user sees them."""

import json
import shutil

import pytest
from pages import read_page
from records import edit_config

from fnet.run import cli
from fnet.run import report as pages
from recipes import dainet7, report


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def test_training_ends_with_a_report(trained_run):
    text, images = read_page((trained_run / "report.html").read_text())
    assert "Confusion matrix" in text
    assert images > 20


def test_a_report_is_written_anew(run, capsys):
    (run / "report.html").write_text("old")
    assert report.main([str(run), "--device", "cpu"]) == 0
    text, _ = read_page((run / "report.html").read_text())
    result = json.loads((run / "result.json").read_text())
    assert f"{result['final']['test_accuracy']:.2%}" in text
    assert "The final weights on 40 test images of drawings." in text
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert report.main([str(run), "--weights", "best"]) == 0
    text, _ = read_page((run / "report.html").read_text())
    assert "The best weights on 40 test images of drawings." in text


def test_data_that_are_not_at_hand_are_not_downloaded(
    run, image_folder, tmp_path, monkeypatch, capsys
):
    edit_config(run, data="cifar10")
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert report.main([str(run), "--out=~/first.html"]) == 0
    assert "Not evaluated: cifar10 is not on this machine" in read_page(first.read_text())[0]
    assert "Not evaluated" in capsys.readouterr().out
    assert report.main([str(run), "--data", str(image_folder), "--out", str(second)]) == 0
    assert "Confusion matrix" in read_page(second.read_text())[0]


def test_a_run_without_weights_has_a_report(run, capsys):
    for name in ("final.safetensors", "best.safetensors", "metrics.jsonl", "result.json"):
        (run / name).unlink()
    assert report.main([str(run)]) == 0
    text, _ = read_page((run / "report.html").read_text())
    assert "has no final weights" in text
    assert "nothing measured" in text


def write_existing(run):
    (run.parent / "there.html").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (shutil.rmtree, [], "there is no run"),
        (lambda r: (r / "config.json").write_text("{"), [], "is damaged"),
        (None, ["--data", "/nowhere"], "no data set '/nowhere'"),
        (None, ["--device", "toaster"], "there is no device 'toaster'"),
        (write_existing, ["--out", "there.html"], "is not overwritten"),
        (None, ["--out", "no/such/folder.html"], "cannot write"),
    ],
)
def test_a_mistake_gets_one_message(run, monkeypatch, capsys, prepare, options, message):
    monkeypatch.chdir(run.parent)
    if prepare:
        prepare(run)
    assert report.main([str(run), *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_a_report_that_fails_does_not_fail_the_run(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no ink\nat all")

    monkeypatch.setattr(pages, "write_report", fail)
    options = ["--variant", "smoke", "--limit", "64", "--out", str(tmp_path)]
    assert cli.main(dainet7.RECIPE, options) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert any(
        line.startswith("No report: RuntimeError no ink. To write it later: python")
        for line in lines
    )
    assert lines[-1].startswith("Test accuracy ")
    assert (tmp_path / "dainet7-smoke-s0" / "result.json").exists()
