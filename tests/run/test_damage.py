"""Damage to the JSON files of a run: what is read is what was written, or it is said that not."""

import re
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import edit, read_lines, write_lines

from fnet import files
from fnet.run.checkpoint import CheckpointError
from fnet.run.config import ConfigError
from fnet.run.opened import open_run
from fnet.run.record import read_run
from fnet.run.resume import require_checkpoint, same_runtime
from fnet.run.schema import config_from_json
from recipes import dainet7

FILES = ("config.json", "environment.json", "result.json", "metrics.jsonl")
CONFIG, ENVIRONMENT, RESULT, METRICS = FILES


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    """The directory of a run of three epochs, as far as its JSON files say."""
    run = shutil.copytree(trained_run, tmp_path_factory.mktemp("damage") / "run")
    (line,) = read_lines(run / METRICS)
    lines = [line | {"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]
    write_lines(run / METRICS, lines)
    edit(run / RESULT, final=lines[-1], best=lines[0])
    return run


@pytest.fixture(scope="module")
def whole(run):
    return read_run(run)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed_or_changes_nothing(run, name):
    content = (run / name).read_bytes()
    if name == METRICS:
        content = content.splitlines()[0]
    expected, noticed = files.loads(content.decode()), 0
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        try:
            assert files.loads(flipped.decode(errors="replace")) == expected
        except ValueError:
            noticed += 1
    assert noticed > 7 * len(content)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(FILES), st.sampled_from(["flip", "delete", "insert", "cut"]))
def test_damage_is_named_or_changes_nothing(run, whole, data, name, kind):
    file = run / name
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    some = data.draw(st.binary(min_size=1, max_size=9))
    length = data.draw(st.integers(1, len(content)))
    file.write_bytes(
        {
            "flip": content[:place] + bytes([content[place] ^ some[0]]) + content[place + 1 :],
            "delete": content[:place] + content[place + length :],
            "insert": content[:place] + some + content[place:],
            "cut": content[:place],
        }[kind]
    )
    try:
        check(run, whole, name)
    finally:
        file.write_bytes(content)


def check(run, whole, damaged):
    """Check what is read of a run of which one file is damaged."""
    try:
        record = read_run(run)
    except ConfigError:
        assert damaged == CONFIG
        with pytest.raises(ConfigError, match=re.escape(f"{run / CONFIG} is damaged")):
            open_run(run)
        return
    assert record.setup == whole.setup
    assert record.unreadable.keys() <= {damaged} - {CONFIG, METRICS}
    assert record.environment == (None if ENVIRONMENT in record.unreadable else whole.environment)
    assert record.result == (None if RESULT in record.unreadable else whole.result)
    assert (record.status == "damaged") == (RESULT in record.unreadable)
    assert record.damaged or record.lines == whole.lines
    assert set(map(str, record.lines)) <= set(map(str, whole.lines))
    if damaged == CONFIG:
        assert open_run(run).setup == whole.setup
    if damaged == ENVIRONMENT and record.unreadable:
        with pytest.raises(ConfigError, match="missing or damaged"):
            same_runtime(record, config_from_json(dainet7.Config, record.config))
    # Without its checkpoints it is never taken for a run that has not begun.
    with pytest.raises(CheckpointError, match="has results"):
        require_checkpoint(None, record, steps=6)
