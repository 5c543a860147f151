"""Partition: every leaf goes to the transformation of its label, and to no other."""

import pytest
import torch
from torch.testing import assert_close

from fnet import optim, tree

PARAMS = {
    "stem": {"conv.weight": torch.ones(2, 1, 3, 3), "conv.bias": torch.ones(2)},
    "head": (torch.ones(4, 2), torch.ones(4)),
}
GRADS = tree.map(lambda param: torch.full_like(param, 0.5), PARAMS)


def test_each_leaf_is_updated_as_if_alone() -> None:
    transforms = {"big": optim.adam(0.1), "small": optim.sgd(0.2, momentum=0.9)}
    tx = optim.partition(transforms, lambda path, leaf: "big" if leaf.ndim > 1 else "small")
    state = tx.init(PARAMS)
    for _ in range(2):
        updates, state = tx.update(GRADS, state, PARAMS)

    paths = dict(tree.flatten_with_path(updates))
    params, grads = dict(tree.flatten_with_path(PARAMS)), dict(tree.flatten_with_path(GRADS))
    for path, update in paths.items():
        alone = transforms["big" if params[path].ndim > 1 else "small"]
        inner = alone.init(params[path])
        for _ in range(2):
            expected, inner = alone.update(grads[path], inner, params[path])
        assert_close(update, expected, rtol=0, atol=0)
    assert tree.map(lambda leaf: 0, updates) == tree.map(lambda leaf: 0, PARAMS)


def test_labels_come_from_paths_of_the_params() -> None:
    seen: list[str] = []

    def label(path: str, leaf: torch.Tensor) -> str:
        seen.append(path)
        assert leaf.eq(1).all()
        return "all"

    tx = optim.partition({"all": optim.sgd(0.1)}, label)
    tx.update(GRADS, tx.init(PARAMS), PARAMS)
    assert set(seen) == {"stem/conv.weight", "stem/conv.bias", "head/0", "head/1"}


def test_partitions_nest_and_may_have_labels_without_leaves() -> None:
    def is_head(path: str, leaf: torch.Tensor) -> str:
        return "head" if path.startswith("head/") else "body"

    def is_bias(path: str, leaf: torch.Tensor) -> str:
        return "bias" if leaf.ndim == 1 else "weight"

    inner = {"bias": optim.sgd(0.1), "weight": optim.sgd(0.2)}
    transforms = {
        "head": optim.partition(inner, is_bias),
        "body": optim.set_to_zero(),
        "none": optim.adam(),
    }
    tx = optim.partition(transforms, is_head)
    state = tx.init(PARAMS)
    updates, _ = tx.update(GRADS, state, PARAMS)
    rates = {"stem": {"conv.weight": 0.0, "conv.bias": 0.0}, "head": (0.2, 0.1)}
    assert_close(updates, tree.map(lambda grad, rate: -rate * grad, GRADS, rates))
    assert optim.get_hyper(state, "weight/learning_rate").item() == 0.2
    assert optim.get_hyper(state, "head/bias/learning_rate").item() == 0.1


def test_an_unknown_label_is_refused_by_path() -> None:
    tx = optim.partition({"a": optim.sgd(0.1)}, lambda path, leaf: "a" if leaf.ndim == 1 else "b")
    with pytest.raises(ValueError, match=r"'stem/conv.weight' the label 'b'.*the labels are 'a'"):
        tx.init(PARAMS)
