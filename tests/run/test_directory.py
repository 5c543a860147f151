import errno
import json
import os
from pathlib import Path

import pytest
from records import read, read_lines

from fnet.run.checkpoint import CheckpointError
from fnet.run.config import ConfigError
from fnet.run.directory import RunDirectory, new_directory


def test_each_run_gets_a_directory_of_its_own(tmp_path):
    paths = [new_directory(tmp_path / "runs", "net").name for _ in range(3)]
    assert paths == ["net", "net-2", "net-3"]


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert new_directory(Path("~/runs"), "net") == tmp_path / "runs" / "net"


def test_records_are_json_with_checksums(tmp_path):
    run = RunDirectory(new_directory(tmp_path, "net"))
    # The name of a folder may be no Unicode.
    names = {"data": "größe", "root": os.fsdecode(b"/data/\xff")}
    run.write_json("config.json", names)
    for epoch in (1, 2):
        run.append_metrics({"epoch": epoch})
    written = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    assert list(written) == ["data", "root", "crc32"]
    assert read(run.path / "config.json") == names
    assert os.fsencode(written["root"]) == b"/data/\xff"
    assert read_lines(run.path / "metrics.jsonl") == [{"epoch": 1}, {"epoch": 2}]


def test_a_file_where_the_directory_should_be_is_refused(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        new_directory(tmp_path / "runs", "net")
    assert (tmp_path / "runs").read_text() == "mine"


def test_metrics_can_be_written_anew(tmp_path):
    run = RunDirectory(tmp_path)
    run.append_metrics({"epoch": 7})
    run.write_metrics([{"epoch": 1}])
    run.append_metrics({"epoch": 2})
    assert read_lines(tmp_path / "metrics.jsonl") == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.write_json("config.json", {}),
        lambda run: run.append_metrics({}),
        lambda run: run.write_metrics([]),
    ],
)
def test_a_full_disk_is_one_message(write, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device: make room"):
        write(RunDirectory(tmp_path))
