"""States come back to the last bit, or with an error that names what differs."""

import errno
import json
import os
import re
import tempfile
from pathlib import Path

import pytest
import torch
from disk import failing, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from states import LAYOUTS, Pair, assert_same, laid_out, noise, states

from fnet import tree
from fnet.run.checkpoint import CheckpointError, DamagedError, restore_state, save_state
from fnet.run.checkpoint.format import DTYPES

NOTES = [None, 3, "größe", [1.5, None, {"a": [True]}], {"loss": float("inf")}, 10**30]
STATE = {"conv.weight": torch.ones(2, 3), "opt": Pair({"mu": torch.zeros(2)}, [torch.tensor(7)])}


def zeros(state):
    return tree.map(torch.zeros_like, state)


@settings(max_examples=100, deadline=None)
@given(states, st.sampled_from(NOTES))
def test_what_is_saved_is_restored(state, note):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "checkpoint")
        save_state(path, state, note)
        assert [file.name for file in Path(directory).iterdir()] == ["checkpoint"]
        like = zeros(state)
        restored = restore_state(path, like)
    assert_same(restored[0], state)
    assert tree.first_layout_difference(restored[0], like) is None
    assert restored[1] == note


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_in_every_layout(tmp_path, dtype, layout):
    leaf = laid_out(noise(dtype, (2, 3, 4, 5)), layout)
    save_state(tmp_path / "a", leaf)
    restored, _ = restore_state(tmp_path / "a", torch.empty_like(leaf))
    assert_same(restored, leaf)
    assert restored.stride() == torch.empty_like(leaf).stride()
    if layout in ("contiguous", "transposed", "channels last"):
        assert restored.stride() == leaf.stride()


def test_the_layout_is_that_of_like(tmp_path):
    saved = torch.randn(2, 3, 4, 5)
    save_state(tmp_path / "a", saved)
    like = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    restored, _ = restore_state(tmp_path / "a", like)
    assert restored.stride() == like.stride()
    tree.assert_equal(restored, saved)


def test_leaves_are_found_by_path_not_by_order(tmp_path):
    save_state(tmp_path / "a", {"x": torch.tensor(1), "y": torch.tensor(2)})
    like = {"y": torch.tensor(0), "x": torch.tensor(0)}
    assert restore_state(tmp_path / "a", like)[0] == {"x": torch.tensor(1), "y": torch.tensor(2)}


def test_shared_memory_is_saved_and_not_shared_again(tmp_path):
    whole = torch.arange(6.0)
    state = {"whole": whole, "same": whole, "part": whole[2:5], "tied": whole.view(2, 3).T}
    save_state(tmp_path / "a", state)
    restored, _ = restore_state(tmp_path / "a", state)
    assert_same(restored, state)
    assert len({leaf.data_ptr() for leaf in [*restored.values(), whole]}) == 5


def test_views_that_conjugate_or_negate_are_saved_by_value(tmp_path):
    number = torch.tensor([1 + 2j, 3 - 4j])
    state = {"conj": number.conj(), "neg": number.conj().imag}
    save_state(tmp_path / "a", state)
    assert state["conj"].is_conj()
    assert state["neg"].is_neg()
    tree.assert_equal(restore_state(tmp_path / "a", zeros(state))[0], state)


def test_nothing_given_is_changed_and_parameters_are_tensors(tmp_path):
    state = {"w": torch.nn.Parameter(torch.ones(2))}
    like = {"w": torch.nn.Parameter(torch.zeros(2))}
    save_state(tmp_path / "a", state)
    restored, _ = restore_state(tmp_path / "a", like)
    assert restored["w"].tolist() == state["w"].tolist() == [1, 1]
    assert like["w"].tolist() == [0, 0]
    assert not restored["w"].requires_grad


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({**STATE, "fc": torch.ones(1)}, "it has no 'fc'"),
        ({**STATE, "opt": None}, "it has 'opt/first/mu', which is not expected"),
        ({**STATE, "opt": Pair({"nu": torch.zeros(2)}, [])}, "it has no 'opt/first/nu'"),
        (
            {**STATE, "conv.weight": torch.ones(3, 2)},
            "the shape of 'conv.weight' is [2, 3] in it and [3, 2] here",
        ),
        (
            {**STATE, "opt": Pair({"mu": torch.zeros(2)}, [torch.tensor(7.0)])},
            "the dtype of 'opt/second/0' is 'int64' in it and 'float32' here",
        ),
        (
            {**STATE, "conv.weight": torch.ones(3, 2), "fc": torch.ones(1)},
            "it has no 'fc'",
        ),
        ({}, "it has 'conv.weight', which is not expected"),
    ],
)
def test_the_first_difference_is_named(tmp_path, like, message):
    save_state(tmp_path / "a", STATE)
    with pytest.raises(CheckpointError, match=re.escape(message)) as error:
        restore_state(tmp_path / "a", like)
    assert not isinstance(error.value, DamagedError)
    assert str(tmp_path / "a") in str(error.value)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"a": 3}, TypeError, "'a' must be a tensor, got int"),
        ({"a": torch.ones(1, dtype=torch.complex128)}, TypeError, "'a' .*complex128"),
        ({"a": torch.ones(2).to_sparse()}, TypeError, "'a' .*sparse"),
        ({"a/b": torch.ones(1), "a": {"b": torch.ones(1)}}, ValueError, "have the path 'a/b'"),
        ({3: torch.ones(1), "3": torch.ones(1)}, ValueError, "have the path '3'"),
    ],
)
def test_what_could_not_be_restored_is_not_saved(tmp_path, state, error, message):
    with pytest.raises(error, match=message):
        save_state(tmp_path / "a", state)
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_is_no_json_or_is_huge_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        save_state(tmp_path / "a", STATE, note=torch.ones(1))
    with pytest.raises(ValueError, match="bytes, beyond"):
        save_state(tmp_path / "a", STATE, note="x" * 17_000_000)
    assert list(tmp_path.iterdir()) == []


def test_the_files_are_plain_json_and_safetensors(tmp_path):
    save_state(tmp_path / "a", STATE, note="hello")
    record = json.loads((tmp_path / "a" / "state.json").read_text(encoding="utf-8"))
    assert record["version"] == 2
    assert record["note"] == "hello"
    assert record["leaves"][0] == {
        "path": "conv.weight",
        "dtype": "float32",
        "shape": [2, 3],
        "strides": [3, 1],
    }
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        "state.json",
        "tensors.safetensors",
    ]


def test_nothing_is_overwritten(tmp_path):
    save_state(tmp_path / "a", STATE, note=1)
    with pytest.raises(CheckpointError, match="exists"):
        save_state(tmp_path / "a", STATE, note=2)
    assert restore_state(tmp_path / "a", STATE)[1] == 1


def test_all_of_it_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / "a"
    with recorded(monkeypatch) as calls:
        save_state(path, STATE)
    files = [path / "tensors.safetensors", path / "state.json", path]
    assert calls == [*(f.stat().st_ino for f in files), "rename", tmp_path.stat().st_ino]


STAGES = ["mkdir 1", "write 1", "write 2", "fsync 1", "fsync 2", "fsync 3", "rename 1"]


@pytest.mark.parametrize("stage", STAGES)
def test_on_a_full_disk_nothing_is_left(tmp_path, monkeypatch, stage):
    path = tmp_path / "a"
    with (
        failing(monkeypatch, stage),
        pytest.raises(CheckpointError, match=r"a \(0\.0 MB\): No space left on device: free disk"),
    ):
        save_state(path, STATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_what_may_not_be_read_is_not_damage(tmp_path, monkeypatch, name):
    path = tmp_path / "a"
    save_state(path, STATE)
    opens = os.open

    def forbidden(file, *flags):
        if file == path / name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return opens(file, *flags)

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(
        CheckpointError, match=f"{name}: Permission denied: change its permissions"
    ) as error:
        restore_state(path, STATE)
    assert not isinstance(error.value, DamagedError)
