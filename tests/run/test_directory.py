import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from records import line, read, read_lines, setup

from fnet.run.checkpoint import CheckpointError
from fnet.run.config import ConfigError
from fnet.run.directory import RunDirectory, new_directory, read_setup
from fnet.run.runtime import describe, resolve
from fnet.run.schema import Environment, Line, Setup
from fnet.run.typed_json import from_json

ENVIRONMENT = describe(resolve("cpu"))
LINES = [from_json(Line, line(epoch)) for epoch in (1, 2, 7)]


def test_each_run_gets_a_directory_of_its_own(tmp_path):
    paths = [new_directory(tmp_path / "runs", "net").name for _ in range(3)]
    assert paths == ["net", "net-2", "net-3"]


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert new_directory(Path("~/runs"), "net") == tmp_path / "runs" / "net"


def test_records_are_json_with_checksums(tmp_path):
    run = RunDirectory(new_directory(tmp_path, "net"))
    # The name of a folder may be no Unicode.
    names = setup(data="größe", config={"root": os.fsdecode(b"/data/\xff")})
    run.write_setup(from_json(Setup, names), ENVIRONMENT)
    for written_line in LINES[:2]:
        run.append_metrics(written_line)
    written = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    assert list(written) == [*names, "sha256"]
    assert read(run.path / "config.json") == names
    written_environment = read(run.path / "environment.json")
    assert written_environment == asdict(ENVIRONMENT)
    assert from_json(Environment, written_environment) == ENVIRONMENT
    assert read_setup(run.path) == from_json(Setup, names)
    assert os.fsencode(written["config"]["root"]) == b"/data/\xff"
    assert read_lines(run.path / "metrics.jsonl") == [line(1), line(2)]


def test_a_file_where_the_directory_should_be_is_refused(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        new_directory(tmp_path / "runs", "net")
    assert (tmp_path / "runs").read_text() == "mine"


def test_metrics_can_be_written_anew(tmp_path):
    run = RunDirectory(tmp_path)
    first, second, seventh = LINES
    run.append_metrics(seventh)
    run.write_metrics([first])
    run.append_metrics(second)
    assert read_lines(tmp_path / "metrics.jsonl") == [line(1), line(2)]


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.write_setup(from_json(Setup, setup()), ENVIRONMENT),
        lambda run: run.append_metrics(LINES[0]),
        lambda run: run.write_metrics([]),
    ],
)
def test_a_full_disk_is_one_message(write, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device: free disk space"):
        write(RunDirectory(tmp_path))
