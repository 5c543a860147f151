"""A compiled function is the function: its trees, its errors, and how often it is traced."""

import gc
import random
import weakref
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import torch
from graphs import traced
from torch.func import grad

from fnet import tree
from fnet.jit import jit
from fnet.trace import is_compiling


class Pair(NamedTuple):
    first: torch.Tensor
    others: dict


X = torch.arange(3.0)


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x + 1,
        lambda x: {"b": x + 1, "a": {}},
        lambda x: Pair(2 * x, {"none": None, "rows": [x * x, (x.sum(),)]}),
        lambda x: (x, x, x[1:]),
        lambda x: (),
        lambda x: {"n": 3, "x": -x},
    ],
)
def test_results_are_the_functions_own(fn):
    compiled = traced(fn)
    for x in (X, X + 1):
        got, expected = compiled(x), fn(x)
        assert type(got) is type(expected)
        if isinstance(got, dict):
            assert list(got) == list(expected)
        tree.assert_equal(got, expected)


def test_arguments_have_their_names():
    def difference(a, *, b):
        return a["x"] - b

    compiled = traced(difference)
    assert torch.equal(compiled({"x": X}, b=X + 1), torch.full((3,), -1.0))
    assert torch.equal(compiled(b=X, a={"x": X}), torch.zeros(3))


def test_what_is_handed_on_is_not_copied():
    compiled = traced(lambda x: (x, x[1:]))
    whole, part = compiled(X)
    assert whole.data_ptr() == X.data_ptr()
    assert part.data_ptr() == X[1:].data_ptr()


@pytest.mark.parametrize("compiler", [None, "inductor"])
def test_tensors_that_it_closes_over_are_arguments(compiler):
    weights, shift = torch.randn(3, 3), torch.randn(3)
    tables = {3: torch.randn(3), 5: torch.randn(5)}

    def fn(x):
        def of(v):
            return (v @ weights.T + shift).square().sum()

        rows = torch.vmap(lambda row: row * shift)(weights)
        return {"grad": grad(of)(x[:3]), "rows": rows, "x": x + tables[len(x)], "shift": shift}

    compiled = traced(fn, compiler)
    for x in (X, X + 1, torch.ones(5), X):
        tree.assert_close(compiled(x), fn(x))
    weights.mul_(2)
    tree.assert_close(compiled(X), fn(X))
    assert compiled(X)["shift"].data_ptr() == shift.data_ptr()


def test_without_arguments_it_is_a_function_of_what_it_closes_over():
    compiled = traced(lambda: 2 * X)
    assert torch.equal(compiled(), 2 * X)


def test_what_is_no_tensor_is_taken_for_constant():
    compiled = traced(lambda x, n, name: {name: n * x})
    for n, name in ((2, "a"), (3, "a"), (2, "b"), (2.0, "a")):
        tree.assert_equal(compiled(X, n, name=name), {name: n * X})


def test_tensors_made_of_numbers_are_constants():
    table = np.ones(3, np.float32)
    compiled = traced(
        lambda x: x + torch.from_numpy(table) + torch.tensor([1.0, 2.0, 3.0]) + torch.tensor(table)
    )
    assert torch.equal(compiled(X), torch.tensor([3.0, 5.0, 7.0]))


def test_tensors_of_foreign_data_are_read_at_each_call():
    data = bytearray(12)
    values = torch.frombuffer(data, dtype=torch.float32)
    compiled = traced(lambda x: x + torch.frombuffer(data, dtype=torch.float32))
    for n in range(2):
        values.fill_(n)
        assert torch.equal(compiled(X), X + n)


def test_a_branch_on_a_value_is_torch_cond():
    weight = torch.ones(3)

    def fn(x):
        return torch.cond(x.sum() > 0, lambda x: x.sin() * weight, torch.cos, (x,))

    compiled = traced(fn, "inductor")
    for x in (X, -X, X + 1):
        tree.assert_close(compiled(x), x.sin() * weight if x.sum() > 0 else x.cos())
        weight += 1


def test_what_is_neither_a_tensor_nor_hashable_is_refused():
    with pytest.raises(TypeError, match=r"tensors and of hashable constants: .*ndarray"):
        traced(lambda x, y: x + y)(X, np.ones(3))


def test_one_function_has_results_of_several_structures():
    def sums(t):
        return tree.map(torch.sum, t)

    compiled = traced(sums)
    trees = [
        *({"a": X, "b": X}, {"b": X, "a": X}, {"a": X}),
        *((X, [X]), (X, (X,)), (X, {"b": X}), Pair(X, {"b": X}), Pair({"b": X}, X)),
    ]
    for t in (*trees, *trees):
        assert type(compiled(t)) is type(t)
        tree.assert_equal(compiled(t), sums(t))


def test_a_function_is_traced_for_shapes_and_not_for_values():
    runs = []

    def double(x):
        runs.append(x.shape)
        return 2 * x

    compiled = traced(double)
    for x in (X, X + 1, torch.ones(5), X):
        assert torch.equal(compiled(x), 2 * x)
    assert runs == [(3,), (5,)]


@pytest.mark.parametrize("error", [ValueError("a batch of 8"), TypeError("no"), KeyError("fc")])
def test_errors_are_the_functions_own(error):
    raising = True

    def fn(x):
        if raising:
            raise error
        return x + 1

    compiled = traced(fn)
    with pytest.raises(type(error)) as caught:
        compiled(X)
    assert caught.value is error
    raising = False
    assert torch.equal(compiled(X), X + 1)


def test_a_branch_on_a_value_is_refused():
    with pytest.raises(RuntimeError, match="data-dependent"):
        traced(lambda x: x + 1 if x.sum() > 0 else x)(X)


def test_what_torch_is_told_for_all_is_part_of_a_graph():
    compiled = traced(lambda x: x @ x + torch.ones(2))
    x = torch.eye(2)
    assert compiled(x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert compiled(x.bfloat16()).dtype == torch.float32
        compiled_inside = traced(lambda x: x @ x)
        assert compiled_inside(x).dtype == torch.bfloat16
    assert compiled_inside(x).dtype == torch.float32
    with default_dtype(torch.float64):
        assert compiled(x).dtype == torch.float64
    with torch.device("meta"), pytest.raises(RuntimeError, match="device"):
        compiled(x)
    assert compiled(x).dtype == torch.float32


@pytest.mark.parametrize("inside", [True, False])
def test_autocast_is_that_of_the_function(inside):
    layer, x = torch.nn.Conv2d(2, 3, 3), torch.randn(1, 2, 8, 8)

    def fn(x):
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            return x[0, 0] @ x[0, 1], layer(x)

    compiled = jit(fn)
    for outside in (not inside, inside, not inside):
        with torch.autocast("cpu", torch.bfloat16, enabled=outside):
            got, expected = compiled(x), fn(x)
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.dtype == (torch.bfloat16 if inside else torch.float32)
            tree.assert_close(one, other.detach(), rtol=2e-2, atol=2e-2)


def test_it_is_traced_with_what_is_compiled_around_it():
    runs = []

    def double(x):
        runs.append(x)
        return 2 * x

    inner = jit(double)
    outer = traced(torch.vmap(grad(lambda x: inner(x) ** 2)))
    assert torch.equal(outer(X), 8 * X)
    assert torch.equal(outer(X + 1), 8 * (X + 1))
    assert len(runs) == 1


def test_within_a_transform_it_says_what_to_compile():
    double = traced(lambda x: 2 * x)
    double(X[0])
    for transform in (grad, torch.vmap):
        with pytest.raises(RuntimeError, match=r"compile\(vmap\(step\)\)"):
            transform(double)(X if transform is torch.vmap else X[0])


@pytest.mark.parametrize("compiler", [None, "inductor"])
def test_results_take_no_part_in_autograd(compiler):
    weight = torch.nn.Parameter(torch.ones(3))
    slope = traced(lambda w, x: grad(lambda w: (w * x).square().sum())(w), compiler)(weight, X)
    assert torch.equal(slope.detach(), 2 * X**2)


def test_that_arguments_share_memory_is_no_part_of_a_graph():
    def swap(a, b):
        a.copy_(2 * b)
        b.copy_(a + 1)

    compiled = traced(swap, "inductor")
    shared = torch.arange(6.0)
    for a, b in (shared.split(3), (X.clone(), torch.ones(3))):
        expected = [2 * b, 2 * b + 1]
        compiled(a, b)
        tree.assert_equal([a, b], expected)


def test_arguments_and_results_are_not_kept():
    x = torch.ones(3)
    compiled = traced(lambda x: (x, 2 * x), "inductor")
    kept = [weakref.ref(tensor) for tensor in (x, *compiled(x))]
    del x
    gc.collect()
    assert [one() for one in kept] == [None] * 3


def is_in_cache(fn, *args):
    """Compile and call a function; say whether it was compiled before, by any process."""
    hits = torch._dynamo.utils.counters["aot_autograd"]
    before = hits["autograd_cache_hit"]
    jit(fn)(*args)
    return hits["autograd_cache_hit"] > before


def test_what_is_compiled_once_is_found_in_the_cache():
    number = random.random()

    def fn_of(tensor):
        return lambda x: (x - number).cos() @ tensor

    # Neither which tensor is closed over nor its values are what a graph is known by.
    assert [is_in_cache(fn_of(tensor), X) for tensor in (X, X + 1)] == [False, True]


def test_what_is_compiled_is_for_a_number_of_threads(monkeypatch):
    number = random.random()
    for threads, known in ((1, False), (2, False), (1, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert is_in_cache(lambda x: x.cos() + number, X) == known


def test_it_knows_that_it_is_compiled():
    seen = []

    def fn(x):
        seen.append(is_compiling())
        return x + 1

    traced(fn)(X)
    assert seen
    assert all(seen)
    assert not is_compiling()
    fn(X)
    assert seen[-1] is False


def test_none_among_the_arguments_stays_none():
    def fn(t):
        assert t["none"] is t["rows"][1] is t["pair"].others["none"] is None
        return {**t, "x": 2 * t["rows"][0]}

    t = {"none": None, "rows": [X, None], "pair": Pair(X, {"none": None})}
    tree.assert_equal(traced(fn)(t), fn(t))
