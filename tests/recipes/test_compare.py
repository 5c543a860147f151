"""`python -m recipes.compare`, as a user runs it."""

import json
import shutil

import pytest
from pages import read_page
from records import edit, edit_config, line, write_lines

from recipes import compare


@pytest.fixture
def runs(trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    other = shutil.copytree(trained_run, tmp_path / "other")
    edit_config(other, seed=17)
    return [str(trained_run), str(other)]


def test_terminal_and_page_show_the_same(runs, tmp_path, capsys):
    assert compare.main(runs) == 0
    printed = capsys.readouterr().out
    text, images = read_page((tmp_path / "comparison.html").read_text())
    final = json.loads((tmp_path / "other" / "result.json").read_text())["final"]
    for shown in (f"{final['test_accuracy']:.2%}", "dainet7-smoke-s0", "other", "seed", "17"):
        assert shown in printed
        assert shown in text
    assert images == 4
    assert compare.main(runs) == 0
    assert (tmp_path / "comparison-2.html").exists()


def test_seconds_to_an_accuracy_and_the_status_are_compared(runs, tmp_path, capsys):
    lines = [line(1, test_accuracy=0.55, seconds=12.5), line(2, test_accuracy=0.81, seconds=2.25)]
    write_lines(tmp_path / "other" / "metrics.jsonl", lines)
    edit(tmp_path / "other" / "result.json", final=lines[1], status="stopped at target")
    assert compare.main(runs) == 0
    printed = capsys.readouterr().out
    text, _ = read_page((tmp_path / "comparison.html").read_text())
    for shown in ("Seconds to an accuracy", "50%", "80%", "12.5", "14.8", "stopped at target"):
        assert shown in printed
        assert shown in text
    assert "85%" not in printed
    assert compare.main([*runs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"][1]["seconds_to_accuracy"]
    assert (found["50"], found["80"], found["85"]) == (12.5, 14.75, None)


def test_json(runs, tmp_path, monkeypatch, capsys):
    assert compare.main([*runs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == {"seed": [0, 17]}
    assert [run["name"] for run in found["runs"]] == ["dainet7-smoke-s0", "other"]
    assert not list(tmp_path.glob("*.html"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compare.main([*runs, "--json", "--out=~/page.html"]) == 0
    read_page((tmp_path / "page.html").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["{0}"], "at least two runs"),
        (["{0}", "{0}"], "given twice"),
        (["{0}", "gone"], "there is no run gone"),
        (["{0}", "."], "is not a run"),
        (["{0}", "other", "--out", "there.html"], "is not overwritten"),
    ],
)
def test_a_mistake_gets_one_message(runs, tmp_path, capsys, options, message):
    (tmp_path / "there.html").write_text("mine")
    assert compare.main([option.format(*runs) for option in options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
    assert (tmp_path / "there.html").read_text() == "mine"
