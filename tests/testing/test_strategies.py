"""The values of the strategies, and the error if hypothesis is not installed."""

import importlib
import sys

import pytest
import torch
from hypothesis import given, settings
from networks import plain

from fnet import tree
from fnet.data import Batch
from fnet.testing import strategies

quick = settings(max_examples=20, deadline=None)


@quick
@given(key=strategies.keys(), rows=strategies.batches(4, (1, 6, 5), 3, padding=True))
def test_keys_and_batches(key, rows):
    assert isinstance(rows, Batch)
    assert key.shape == rows.key.shape == (2,)
    assert rows.images.shape == (4, 1, 6, 5)
    assert rows.images.dtype == torch.uint8
    assert rows.images.permute(0, 2, 3, 1).is_contiguous()
    assert 0 <= int(rows.labels.min()) <= int(rows.labels.max()) < 3
    assert rows.weight[0] == 1


@quick
@given(alike=strategies.trees(3, [torch.bfloat16]), single=strategies.trees())
def test_trees(alike, single):
    assert len(alike) == 3
    for other in alike[1:]:
        assert tree.first_layout_difference(other, alike[0]) is None
        assert not tree.equal(other, alike[0])
    assert alike[0]["z.bias"].dtype == torch.bfloat16
    assert single["z.bias"].shape == (3,)


@settings(max_examples=3, deadline=None)
@given(params=strategies.params(plain()))
def test_params_are_a_models(params):
    assert plain().apply(params, torch.zeros(2, 3, 8, 8))[0].shape == (2, 5)


def test_without_hypothesis_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "fnet.testing.strategies")
    with pytest.raises(ModuleNotFoundError, match=r"fnet\[test\]"):
        importlib.import_module("fnet.testing.strategies")
