import copy
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from trees import trees

from fnet import tree
from fnet.tree.arguments import signature, split_tensors

few = settings(max_examples=25, deadline=None)

X = torch.ones(2)


@few
@given(trees)
def test_what_split_takes_apart_join_puts_together(t):
    tensors, join = split_tensors({"n": 3, "none": None, "t": t})
    assert [id(leaf) for leaf in tensors] == [id(leaf) for leaf in tree.leaves(t)]
    joined = join([leaf + 1 for leaf in tensors])
    assert joined["n"] == 3
    assert joined["none"] is None
    tree.assert_equal(joined["t"], tree.map(lambda leaf: leaf + 1, t))


@few
@given(trees, trees)
def test_a_signature_is_all_but_the_values(a, b):
    tensors, description = signature(a)
    assert [id(leaf) for leaf in tensors] == [id(leaf) for leaf in tree.leaves(a)]
    assert description == signature(tree.map(torch.clone, a))[1]
    same = str(tree.flatten(a)[1]) == str(tree.flatten(b)[1])
    same = same and tree.first_layout_difference(a, b) is None
    assert (description == signature(b)[1]) == same


@pytest.mark.parametrize(
    "others",
    [
        [1, True, 1.0, "1", None, torch.ones(2)],
        [torch.ones(2), torch.ones(3), torch.ones(2).double(), torch.ones(4)[::2]],
        [torch.ones(2, 2), torch.ones(2, 2).T, torch.ones(2, 2, device="meta")],
        [kind(x=X, y=X) for kind in (dict, OrderedDict)]
        + [{"y": X, "x": X}, (X, X), [X, X], (X, (X,)), (X, X, X), (X, X, None)],
    ],
)
def test_signatures_tell_trees_apart(others):
    assert len({signature(other)[1] for other in others}) == len(others)


@dataclass(frozen=True)
class Rate:
    start: float
    note: object = field(default=None, compare=False)


@pytest.mark.parametrize(
    "pair",
    [
        (0.0, -0.0),
        (np.float64(0.0), np.float64(-0.0)),
        (np.float32(0.0), np.float32(-0.0)),
        (np.float64(1.0), 1.0),
        (complex(0.0, 0.0), complex(0.0, -0.0)),
        (Rate(0.0), Rate(-0.0)),
        (Rate(1), Rate(True)),
        (Rate((Rate(0.0),)), Rate((Rate(-0.0),))),
        (frozenset({0.0}), frozenset({-0.0})),
        *(({a: X, "b": X}, {b: X, "b": X}) for a, b in ((1, True), (0.0, -0.0), ((0,), (False,)))),
        (OrderedDict({1: X}), OrderedDict({True: X})),
    ],
)
def test_constants_that_are_equal_but_not_the_same_are_told_apart(pair):
    one, other = (signature({"x": [value]})[1] for value in pair)
    assert one != other
    again, _ = (signature({"x": [copy.deepcopy(value)]})[1] for value in pair)
    assert one == again


def test_every_nan_is_one_constant():
    for kind in (float, np.float64, np.float32, lambda nan: Rate(float(nan), note=[])):
        one, other = (signature(kind("nan"))[1] for _ in range(2))
        assert one == other
        assert hash(one) == hash(other)
