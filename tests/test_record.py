import dataclasses
import json
import shlex
import shutil

import pytest
import tyro

from fnet.environment import ConfigError
from fnet.record import changed_options, command, read_run
from recipes import cnn, dainet7


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def test_a_whole_run_is_read(run):
    record = read_run(run)
    result = json.loads((run / "result.json").read_text())
    assert (record.name, record.status, record.damaged) == ("run", "complete", 0)
    assert (record.final, record.best) == (result["final"], result["best"])
    assert changed_options(record, dainet7.RECIPE) >= {"data", "limit", "out"}


@pytest.mark.parametrize("damage", ['{"epoch": 2, "te', "7", '{"epoch": "2"}', '{"test": 1}', "\0"])
def test_a_damaged_line_is_left_out(run, damage):
    whole = read_run(run).lines
    with (run / "metrics.jsonl").open("a") as file:
        file.write(damage)
    record = read_run(run)
    assert (record.lines, record.damaged) == (whole, 1)


@pytest.mark.parametrize(
    "gone", [["metrics.jsonl"], ["result.json"], ["result.json", "metrics.jsonl"]]
)
def test_what_is_not_there_yet_is_empty(run, gone):
    for name in gone:
        (run / name).unlink()
    record = read_run(run)
    assert (record.status == "unfinished") == ("result.json" in gone)
    assert (record.final is None) == (record.best is None) == ("metrics.jsonl" in gone)


def test_best_is_chosen_as_in_training(run):
    lines = [
        {"epoch": 1, "test_accuracy": 0.5, "validation_accuracy": 0.1},
        {"epoch": 2, "test_accuracy": 0.1, "validation_accuracy": 0.5},
        {"epoch": 3, "test_accuracy": 0.2, "validation_accuracy": 0.5},
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_run(run).best == lines[1]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_no_run_is_an_error(run, content):
    (run / "config.json").unlink()
    if content:
        (run / "config.json").write_text(content)
    with pytest.raises(ConfigError):
        read_run(run)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lr": 0.25, "compile": False, "epochs": 3},
        {"data": "my images; rm *", "limit": 7, "network": "cnnpro"},
    ],
)
@pytest.mark.parametrize("variant", ["default", "lr0.1", "an arm of a study"])
def test_the_command_repeats_the_config(run, variant, changes):
    config = dataclasses.replace(cnn.VARIANTS.get(variant, cnn.VARIANTS["default"]), **changes)
    setup = json.loads((run / "config.json").read_text())
    setup |= {"recipe": "recipes.cnn", "variant": variant, "config": dataclasses.asdict(config)}
    (run / "config.json").write_text(json.dumps(setup))
    record = read_run(run)
    words = shlex.split(command(record, cnn.RECIPE))
    assert words[:4] == ["python", "-m", "recipes.cnn", "--variant"]
    assert tyro.cli(cnn.Config, default=cnn.VARIANTS[words[4]], args=words[5:]) == config
    assert changed_options(record, cnn.RECIPE) == changes.keys()


def test_a_stand_in_is_named_as_the_data(run):
    setup = json.loads((run / "config.json").read_text())
    setup |= {"stand_in": True, "data": "shapes"}
    setup["config"]["data"] = "auto"
    (run / "config.json").write_text(json.dumps(setup))
    assert "--data shapes" in command(read_run(run), dainet7.RECIPE)
    assert not read_run(run).reported
