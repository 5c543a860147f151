import json

import pytest

from fnet.environment import ConfigError
from fnet.rundir import RunDirectory


def test_each_run_gets_a_directory_of_its_own(tmp_path):
    paths = [RunDirectory(tmp_path / "runs", "net").path.name for _ in range(3)]
    assert paths == ["net", "net-2", "net-3"]


def test_records_are_json(tmp_path):
    run = RunDirectory(tmp_path, "net")
    run.write_json("config.json", {"name": "größe"})
    for epoch in (1, 2):
        run.append_metrics({"epoch": epoch})
    assert json.loads((run.path / "config.json").read_text(encoding="utf-8")) == {"name": "größe"}
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_file_where_the_directory_should_be_is_refused(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        RunDirectory(tmp_path / "runs", "net")
    assert (tmp_path / "runs").read_text() == "mine"
