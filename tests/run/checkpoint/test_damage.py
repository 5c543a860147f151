"""Damaged and forged checkpoints: refused at once, with a DamagedError and no other."""

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from states import assert_same

from fnet.files import dumps, loads
from fnet.run.checkpoint import CheckpointError, DamagedError, restore_state, save_state

STATE = {"weight": torch.arange(12.0).reshape(3, 4), "step": torch.tensor(390), "none": None}
TENSORS, RECORD = "tensors.safetensors", "state.json"
FILES = [TENSORS, RECORD]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The content of both files of a checkpoint."""
    path = tmp_path_factory.mktemp("whole") / "checkpoint"
    save_state(path, STATE, note={"epoch": 3})
    return {name: (path / name).read_bytes() for name in FILES}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint"
    save_state(path, STATE)
    return path


def restored(contents):
    """Restore from files of these contents."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in contents.items():
            Path(directory, name).write_bytes(content)
        return restore_state(Path(directory), STATE)


def forged(whole, *, stored=None, **changes):
    """Return contents with valid checksums, whatever they hold."""
    stored = whole[TENSORS] if stored is None else stored
    digest = hashlib.sha256(stored).hexdigest()
    record = {**loads(whole[RECORD].decode()), "tensors": digest, **changes}
    return {TENSORS: stored, RECORD: dumps(record).encode()}


def sealed(content):
    """Return bytes as the first format wrote them, with a checksum that is right."""
    digest = hashlib.sha256(content).hexdigest().encode()
    return b'{"sha256":"%s","content":%s}\n' % (digest, content)


def in_version_1(whole, **changes):
    """Return the files of a checkpoint as the first format had them."""
    record = loads(whole[RECORD].decode())
    record = {**record, "version": 1, "sha256": record.pop("tensors"), **changes}
    return {**whole, RECORD: sealed(json.dumps(record, separators=(",", ":")).encode())}


def safetensors_file(header, data_bytes=56):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data_bytes)


# Damage: random changes of files


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(FILES), st.sampled_from(["flip", "cut", "insert", "swap"]))
def test_any_damage_is_noticed(whole, data, name, kind):
    content = whole[name]
    place = data.draw(st.integers(0, len(content) - 1))
    some = data.draw(st.binary(min_size=1, max_size=9))
    if kind == "flip":
        bit = 1 << data.draw(st.integers(0, 7))
        content = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
    elif kind == "cut":
        content = content[:place]
    elif kind == "insert":
        content = content[:place] + some + content[place:]
    else:
        content = some + content[len(some) :] if content[: len(some)] != some else b""
    with pytest.raises(DamagedError, match=rf"{name} is damaged: its (checksum|size) is wrong"):
        restored({**whole, name: content})


def test_the_files_of_two_checkpoints_do_not_mix(whole, tmp_path):
    save_state(tmp_path / "other", {**STATE, "weight": torch.ones(3, 4)})
    with pytest.raises(DamagedError, match="checksum"):
        restored({**whole, TENSORS: (tmp_path / "other" / TENSORS).read_bytes()})


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(whole, name):
    with pytest.raises(DamagedError, match=f"{name}: No such file"):
        restored({other: content for other, content in whole.items() if other != name})


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DamagedError, match=r"there is no checkpoint .*nothing"):
        restore_state(tmp_path / "nothing", STATE)


# Forgery: checksums that are right, on contents that are not

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
LEAVES = [
    {"path": "weight", "dtype": "float32", "shape": [3, 4]},
    {"path": "step", "dtype": "int64", "shape": []},
]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["version", "tensors", "leaves"]), json_values, min_size=1))
@example({"leaves": "weight"})
@example({"leaves": [{"path": [], "dtype": "float32", "shape": []}]})
@example({"leaves": [*LEAVES, LEAVES[0]]})
@example({"leaves": [{**LEAVES[0], "shape": [3, 4.5]}, LEAVES[1]]})
@example({"leaves": [{**LEAVES[0], "dtype": {}}, LEAVES[1]]})
@example({"version": float("inf")})
@example({"version": 1})
@example({"version": 3})
@example({"tensors": None})
def test_a_forged_record_is_refused(whole, changes):
    assume(changes != {"version": 2})
    with pytest.raises(CheckpointError):
        restored(forged(whole, **changes))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_forged_tensors_are_restored_or_refused(whole, data):
    content = bytearray(whole[TENSORS])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        state, _ = restored(forged(whole, stored=bytes(content)))
    except DamagedError:
        return
    assert {name: leaf.shape for name, leaf in state.items() if leaf is not None} == {
        "weight": (3, 4),
        "step": (),
    }


WEIGHT = {"dtype": "F32", "shape": [3, 4], "data_offsets": [8, 56]}
STEP = {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}
HEADERS = {
    "as it should be, but for the values": {"0": WEIGHT, "1": STEP},
    "other names": {"a": WEIGHT, "b": STEP},
    "another shape": {"0": {**WEIGHT, "shape": [12]}, "1": STEP},
    "a shape to broadcast": {"0": {**WEIGHT, "shape": [1, 4], "data_offsets": [8, 24]}, "1": STEP},
    "another dtype": {"0": {**WEIGHT, "dtype": "I32"}, "1": STEP},
    "a dtype that torch has not": {"0": {**WEIGHT, "dtype": "F6_E2M3"}, "1": STEP},
    "an unknown dtype": {"0": {**WEIGHT, "dtype": "F99"}, "1": STEP},
    "terabytes": {"0": {**WEIGHT, "shape": [2**40], "data_offsets": [8, 2**42 + 8]}, "1": STEP},
    "more than all numbers": {"0": {**WEIGHT, "shape": [2**63, 2**63]}, "1": STEP},
    "offsets that overlap": {"0": {**WEIGHT, "data_offsets": [0, 48]}, "1": STEP},
    "offsets that run backwards": {"0": {**WEIGHT, "data_offsets": [56, 8]}, "1": STEP},
    "negative offsets": {"0": {**WEIGHT, "data_offsets": [-8, 40]}, "1": STEP},
    "a million nested lists": b"[" * 1_000_000,
    "no JSON": b"\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_forged_header_is_refused(whole, kind):
    contents = forged(whole, stored=safetensors_file(HEADERS[kind]))
    if kind.startswith("as it should be"):
        state, _ = restored(contents)
        assert_same(state, {**STATE, "weight": torch.zeros(3, 4), "step": torch.tensor(0)})
        return
    with pytest.raises(DamagedError, match=r"tensors.safetensors is damaged"):
        restored(contents)


@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 1, 0])
def test_a_header_that_claims_any_length_is_refused(whole, length):
    tensors = length.to_bytes(8, "little") + whole[TENSORS][8:]
    with pytest.raises(DamagedError, match="its size is wrong"):
        restored(forged(whole, stored=tensors))


@pytest.mark.parametrize("note", [b"[" * 1_000_000 + b"]" * 1_000_000, b"1" * 5000, b"{", b""])
def test_forged_json_is_refused(whole, note):
    content = b'{"version":2,"note":%s' % note
    digest = hashlib.sha256(content + b"}").hexdigest().encode()
    for text in (sealed(content + b"}"), content + b',"sha256":"%s"}' % digest):
        with pytest.raises(DamagedError, match=r"state.json is damaged"):
            restored({**whole, RECORD: text})


def test_the_first_format_is_restored(whole):
    state, note = restored(in_version_1(whole))
    assert_same(state, STATE)
    assert note == {"epoch": 3}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damage_to_the_first_format_is_noticed(whole, data):
    old = in_version_1(whole)
    content = bytearray(old[RECORD])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedError, match=r"state.json is damaged: its checksum is wrong"):
        restored({**old, RECORD: bytes(content)})


@pytest.mark.parametrize("changes", [{"version": 2}, {"version": None}, {"leaves": 3}])
def test_a_forged_record_of_the_first_format_is_refused(whole, changes):
    with pytest.raises(CheckpointError):
        restored(in_version_1(whole, **changes))


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_terabyte_is_refused_at_once(checkpoint, name):
    started = time.monotonic()
    os.truncate(checkpoint / name, 10**12)  # a sparse file: it takes no disk space
    with pytest.raises(DamagedError, match=r"size is wrong|more than 16 MB"):
        restore_state(checkpoint, STATE)
    assert time.monotonic() - started < 1


# Files that are none


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "directory"])
@pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of POSIX")
def test_only_regular_files_are_read(checkpoint, tmp_path, name, kind):
    file = checkpoint / name
    file.rename(tmp_path / "elsewhere")
    if kind == "link":
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "dangling link":
        file.symlink_to("nothing")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    reason = "it is a symbolic link" if "link" in kind else "it is not a regular file"
    with pytest.raises(DamagedError, match=f"{name}: {reason}"):
        restore_state(checkpoint, STATE)


def test_a_checkpoint_is_a_directory_not_a_link_or_a_file(checkpoint, tmp_path):
    (tmp_path / "link").symlink_to(checkpoint, target_is_directory=True)
    (tmp_path / "file").write_bytes(b"")
    for name in ("link", "file"):
        with pytest.raises(DamagedError, match="it is not a directory"):
            restore_state(tmp_path / name, STATE)


def test_paths_name_no_files(tmp_path):
    state = {"../../outside": torch.ones(1), "..": {"/": torch.ones(2)}}
    save_state(tmp_path / "b", state)
    assert sorted(file.name for file in tmp_path.rglob("*")) == sorted([*FILES, "b"])
