import dataclasses
import os
import shlex
import shutil

import pytest
import tyro
from records import edit, edit_config, line, read, write_lines

from fnet.files import dumps
from fnet.run.config import ConfigError
from fnet.run.record import changed_options, command, read_run
from recipes import cnn, dainet7


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def test_a_whole_run_is_read(run):
    record = read_run(run)
    result = read(run / "result.json")
    assert (record.name, record.status, record.damaged) == ("run", "complete", 0)
    assert record.final
    assert record.best
    assert (record.final.figures(), record.best.figures()) == (result["final"], result["best"])
    assert changed_options(record, dainet7.RECIPE) >= {"data", "limit", "out"}


@pytest.mark.parametrize(
    "damage",
    [
        '{"epoch": 2, "te',
        '{"epoch": 2}',
        '{"epoch": 2, "crc32": "00000000"}',
        dumps({"epoch": "2"}),
        dumps({"test": 1}),
        dumps(line(2) | {"epoch": "2"}),
        dumps(line(10**30)),
        dumps(line(0)),
        dumps(line(2, top5=0.5)),
        dumps({name: value for name, value in line(2).items() if name != "test_loss"}),
        "7",
        "\0",
    ],
)
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
        line(1, test_accuracy=0.5, validation_accuracy=0.1),
        line(2, test_accuracy=0.1, validation_accuracy=0.5),
        line(3, test_accuracy=0.2, validation_accuracy=0.5),
    ]
    write_lines(run / "metrics.jsonl", lines)
    best = read_run(run).best
    assert best
    assert best.figures() == lines[1]


def test_a_line_that_is_lost_is_missed(run):
    lines = [line(epoch) for epoch in (1, 2, 3)]
    for kept, lost in ((lines, 0), (lines[:2], 1), (lines[1:], 1), (lines[::2], 1), ([], 3)):
        write_lines(run / "metrics.jsonl", kept)
        edit(run / "result.json", final=lines[-1])
        record = read_run(run)
        assert (record.curves, record.damaged) == (kept, lost)


@pytest.mark.parametrize("name", ["environment.json", "result.json"])
@pytest.mark.parametrize("content", ["", "{}", "[]", '{"status": "complete", "crc32": 7}'])
def test_a_damaged_file_is_named(run, name, content):
    (run / name).write_text(content)
    record = read_run(run)
    assert list(record.unreadable) == [name]
    assert not (record.result if name == "result.json" else record.environment)
    assert record.status == ("damaged" if name == "result.json" else "complete")


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of POSIX")
@pytest.mark.parametrize("kind", ["pipe", "endless", "a loop", "directory", "too long"])
@pytest.mark.parametrize("name", ["environment.json", "result.json", "metrics.jsonl"])
def test_only_regular_files_of_a_bounded_length_are_read(run, name, kind):
    unusable(run / name, kind)
    assert list(read_run(run).unreadable) == [name]
    unusable(run / "config.json", kind)
    with pytest.raises(ConfigError, match=r"cannot read .*config\.json"):
        read_run(run)


def unusable(file, kind):
    """Put something else in the place of a file."""
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind == "too long":
        file.touch()
        os.truncate(file, 10**12)  # a sparse file: it takes no disk space
    else:
        file.symlink_to("/dev/zero" if kind == "endless" else file)


def test_a_link_to_a_file_is_read(run, tmp_path):
    whole = read_run(run)
    for name in ("config.json", "result.json", "metrics.jsonl"):
        (run / name).rename(tmp_path / name)
        (run / name).symlink_to(tmp_path / name)
    assert read_run(run) == whole


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_no_run_is_an_error(run, content):
    (run / "config.json").unlink()
    if content:
        (run / "config.json").write_text(content)
    with pytest.raises(ConfigError):
        read_run(run)


def test_a_run_that_cannot_be_reached_is_an_error(run):
    with pytest.raises(ConfigError, match=r"cannot read .*config\.json: File name too long"):
        read_run(run / ("x" * 300))
    with pytest.raises(ConfigError, match="there is no run"):
        read_run(run / "config.json" / "run")


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
    changed = {"recipe": "recipes.cnn", "variant": variant, "config": dataclasses.asdict(config)}
    edit(run / "config.json", **changed)
    record = read_run(run)
    words = shlex.split(command(record, cnn.RECIPE))
    assert words[:4] == ["python", "-m", "recipes.cnn", "--variant"]
    assert tyro.cli(cnn.Config, default=cnn.VARIANTS[words[4]], args=words[5:]) == config
    assert changed_options(record, cnn.RECIPE) == changes.keys()


def test_an_old_run_is_repeated_as_it_was_where_its_variant_has_changed(run):
    """`default` was the author's once, and a record lacks the options that came since."""
    author = dataclasses.asdict(cnn.VARIANTS["author"])
    newer = {"schedule", "average", "sizes", "target", "pad_resize", "augment", "crop"}
    old = {name: value for name, value in author.items() if name not in newer}
    edit(run / "config.json", recipe="recipes.cnn", variant="default", config=old)
    words = shlex.split(command(read_run(run), cnn.RECIPE))
    found = tyro.cli(cnn.Config, default=cnn.VARIANTS[words[4]], args=words[5:])
    assert found == cnn.VARIANTS["author"] != cnn.VARIANTS["default"]


def test_a_run_of_a_variant_s_old_name_is_told_from_today_s(run):
    config = dataclasses.asdict(dainet7.VARIANTS["author"]) | {"seed": 5}
    edit(run / "config.json", recipe="recipes.dainet7", variant="original", config=config)
    words = shlex.split(command(read_run(run), dainet7.RECIPE))
    assert words[3:] == ["--variant", "author", "--seed", "5"]
    assert changed_options(read_run(run), dainet7.RECIPE) == {"seed"}


def test_a_stand_in_is_named_as_the_data(run):
    edit(run / "config.json", stand_in=True, data="shapes")
    edit_config(run, data="auto")
    assert "--data shapes" in command(read_run(run), dainet7.RECIPE)
    assert not read_run(run).reported
