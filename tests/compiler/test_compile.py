"""Compiled functions: the same results and errors as the function, and the number of traces."""

import functools
import gc
import os
import random
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from unittest import mock

import graphs
import numpy as np
import pytest
import torch
from graphs import nothing_compiled, traced
from torch.func import grad, grad_and_value

from fnet import private, tree
from fnet.compiler import TraceError, compile
from fnet.private import is_tracing


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
    for x in (X, torch.ones(5)):
        runs.clear()
        assert torch.equal(compiled(x), 2 * x)
        assert {*runs} == {x.shape}
    runs.clear()
    for x in (X, X + 1, torch.zeros(5), X):
        assert torch.equal(compiled(x), 2 * x)
    assert not runs


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

    compiled = compile(fn)
    for outside in (not inside, inside, not inside):
        with torch.autocast("cpu", torch.bfloat16, enabled=outside):
            got, expected = compiled(x), fn(x)
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.dtype == (torch.bfloat16 if inside else torch.float32)
            tree.assert_close(one, other.detach(), rtol=2e-2, atol=2e-2)


def test_it_is_traced_with_what_is_compiled_around_it():
    runs = []

    def double(x):
        runs.append(x.shape)
        return 2 * x

    inner = compile(double)
    outer = traced(torch.vmap(grad(lambda x: inner(x) ** 2)))
    assert torch.equal(outer(X), 8 * X)
    assert runs
    runs.clear()
    assert torch.equal(outer(X + 1), 8 * (X + 1))
    assert not runs


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
    """Compile and call a function; return whether it was a cache hit of Inductor's disk cache."""
    hits = torch._dynamo.utils.counters["inductor"]
    before = hits["fxgraph_cache_hit"]
    compile(fn)(*args)
    return hits["fxgraph_cache_hit"] > before


def test_what_is_compiled_once_is_found_in_the_cache():
    number = random.random()

    def fn_of(tensor):
        return lambda x: (x - number).cos() @ tensor

    # Neither the identity nor the values of a closed-over tensor are part of the cache key.
    assert [is_in_cache(fn_of(tensor), X) for tensor in (X, X + 1)] == [False, True]


def test_what_is_compiled_is_for_a_number_of_threads(monkeypatch):
    number = random.random()
    for threads, known in ((1, False), (1, True), (2, False)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert is_in_cache(lambda x: x.cos() + number, X) == known


def test_it_knows_that_it_is_compiled():
    seen = []

    def fn(x):
        seen.append(is_tracing())
        return x + 1

    traced(fn)(X)
    assert seen
    assert all(seen)
    assert not is_tracing()
    fn(X)
    assert seen[-1] is False


def test_none_among_the_arguments_stays_none():
    def fn(t):
        assert t["none"] is t["rows"][1] is t["pair"].others["none"] is None
        return {**t, "x": 2 * t["rows"][0]}

    t = {"none": None, "rows": [X, None], "pair": Pair(X, {"none": None})}
    tree.assert_equal(traced(fn)(t), fn(t))


def test_arguments_that_are_one_tensor_are_compiled_apart():
    compiled = traced(lambda a, b: (a + b, a * b), "inductor")
    for a, b in ((X, X), (X, 10 * X), (X, X)):
        tree.assert_equal(compiled(a, b), (a + b, a * b))


def test_arguments_that_overlap_are_compiled_apart():
    def shift(a, b):
        a.copy_(b + 1)
        return b * 2

    compiled = traced(shift, "inductor")
    for distance in (1, 2, 4, 1):
        memory = torch.arange(8.0)
        expected = memory.clone()
        results = [fn(m[:4], m[distance : distance + 4]) for fn, m in
                   ((shift, expected), (compiled, memory))]  # fmt: skip
        assert torch.equal(results[1], results[0])
        assert torch.equal(memory, expected)


def test_what_it_closes_over_may_be_an_argument_too():
    weight = torch.ones(3)

    def add(w):
        w.add_(1)
        return w + weight

    compiled = traced(add, "inductor")
    for w in (weight, torch.zeros(3), weight):
        expected = w + 1 + (w + 1 if w is weight else weight)
        assert torch.equal(compiled(w), expected)


def test_a_closed_over_tensor_may_change_its_size():
    weight = torch.nn.Parameter(torch.ones(3))
    compiled = traced(lambda x: x + weight.sum())
    for size in (3, 5, 3):
        weight.data = torch.ones(size)
        assert torch.equal(compiled(X), X + size)


def test_signed_zeros_are_different_constants():
    compiled = traced(lambda x, zero: x.abs().copysign(torch.full_like(x, zero)))
    assert torch.equal(compiled(X + 1, 0.0), X + 1)
    assert torch.equal(compiled(X + 1, -0.0), -X - 1)
    with nothing_compiled():
        compiled(X, 0.0)


def test_not_a_number_is_one_constant():
    compiled = traced(lambda x, fill: x + fill)
    assert compiled(X, float("nan")).isnan().all()
    with nothing_compiled():
        assert compiled(X, float("nan")).isnan().all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.float32])
def test_a_branch_on_a_counter_is_refused(dtype):
    with pytest.raises(TraceError, match=r"data-dependent.*torch\.where"):
        traced(lambda x, count: x + 1 if count > 3 else x)(X, torch.tensor(4, dtype=dtype))


@pytest.mark.parametrize(
    "read", [float, int, bool, torch.Tensor.item, torch.Tensor.tolist, torch.nonzero]
)
def test_to_read_a_value_is_refused(read):
    with pytest.raises(TraceError, match="data-dependent"):
        traced(lambda x: (read(x.sum()), x + 1)[1])(X)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x + torch.randn(3),
        torch.rand_like,
        torch.bernoulli,
        torch.nn.functional.dropout,
        lambda x: x.clone().normal_(),
        lambda x: torch.randperm(3),
    ],
)
def test_a_draw_from_the_global_generator_is_refused(draw):
    state = torch.random.get_rng_state()
    with pytest.raises(TraceError, match=r"draws from the global generator.*fnet\.random"):
        traced(draw)(X)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_mask_as_an_index_is_refused_and_numbers_are_not():
    with pytest.raises(TraceError, match=r"data-dependent shape.*torch\.where"):
        traced(lambda x: x[x > 1])(X)
    places = torch.tensor([2, 0])
    assert torch.equal(traced(lambda x: x[places])(X), X[places])


def test_what_draws_nothing_is_not_refused():
    compiled = traced(lambda x: torch.nn.functional.dropout(x, 0.0) + x)
    assert torch.equal(compiled(X), 2 * X)


def attention(x, rate=0.0):
    return torch.nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=rate)


def test_attention_is_refused_only_if_it_drops_out():
    x = torch.arange(64.0).reshape(1, 2, 4, 8) / 64
    for fn in (attention, grad(lambda x: attention(x).sum())):
        torch.testing.assert_close(traced(fn)(x), fn(x))
    with pytest.raises(TraceError, match="draws from the global generator"):
        traced(lambda x: attention(x, 0.5))(x)


@dataclass
class Notes:
    last: torch.Tensor | None = None


def test_a_tensor_that_outlives_the_trace_is_refused():
    notes, history, table = Notes(), [], {}

    def to_object(x):
        notes.last = x + 1
        return x

    def to_list(x):
        history.append(x.sum())
        return x

    def to_dict(x):
        table["mean"] = y = x * 2
        return y

    for fn, name in ((to_object, "'last'"), (to_list, ""), (to_dict, "'mean'")):
        with pytest.raises(TraceError, match=f"keeps a reference.*{name}"):
            traced(fn)(X)


class Opaque:
    def __init__(self, x):
        self.x = x


def test_a_result_that_is_no_tree_is_refused():
    with pytest.raises(TypeError, match=r"at 'a/0' it returned a Opaque"):
        traced(lambda x: {"a": [Opaque(x)]})(X)


def test_errors_have_the_users_own_lines():
    def inner(x):
        raise KeyError("fc.weight")

    with pytest.raises(KeyError) as caught:
        traced(lambda x: inner(x) + 1)(X)
    assert "inner" in [frame.name for frame in caught.traceback]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_threads_compile_and_call_at_once():
    barrier = threading.Barrier(6)
    compiled = compile(lambda x, n: (x * n).cumsum(0))

    def call(n):
        barrier.wait()
        for size in (3, 4, 3):
            x = torch.arange(float(size)) + n
            assert torch.equal(compiled(x, n % 2), (x * (n % 2)).cumsum(0))
        return n

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(call, range(6))) == list(range(6))


def test_a_stance_holds_for_it_as_for_torch_compile():
    runs = []

    def double(x):
        runs.append(private.is_tracing())
        return {"y": 2 * x}

    compiled = traced(double)
    with torch.compiler.set_stance("force_eager"):
        assert torch.equal(compiled(X)["y"], 2 * X)
    assert runs == [False]
    assert torch.equal(compiled(X)["y"], 2 * X)
    assert runs[-1] is True
    count = len(runs)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert torch.equal(compiled(X + 1)["y"], 2 * X + 2)
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            compiled(torch.ones(5))
    assert len(runs) == count


def test_torch_compile_by_hand_is_supported():
    weight = torch.randn(3, 3)

    def step(params, x):
        value, slope = grad_and_value(lambda w: (x @ w).square().sum())(params["w"])
        return {"w": params["w"] - 0.1 * value}, slope

    by_hand = torch.compile(step, fullgraph=True, backend="aot_eager")
    tree.assert_close(by_hand({"w": weight}, X), step({"w": weight}, X))
    inside = torch.compile(lambda p, x: compile(step)(p, x)[1] * 2, fullgraph=True, backend="eager")
    assert torch.allclose(inside({"w": weight}, X), 2 * step({"w": weight}, X)[1])


def test_modes_are_part_of_the_signature():
    compiled = traced(lambda x: x * (2.0 if torch.is_grad_enabled() else 3.0))
    for enabled in (True, False, True):
        with torch.set_grad_enabled(enabled):
            assert torch.equal(compiled(X), X * (2.0 if enabled else 3.0))
    with torch.inference_mode():
        assert torch.equal(compiled(X.clone()), 3 * X)


def test_another_layout_is_another_graph():
    x = torch.arange(6.0).view(2, 3)
    compiled = traced(lambda x: x.view(-1) if x.is_contiguous() else x.t().reshape(-1))
    for y in (x, x.t(), x, torch.arange(12.0).view(2, 6)[:, ::2]):
        expected = y.view(-1) if y.is_contiguous() else y.t().reshape(-1)
        assert torch.equal(compiled(y), expected)


def test_the_environment_is_what_it_was():
    before = dict(os.environ)
    traced(lambda x: x + 1)(X)
    assert dict(os.environ) == before


@pytest.mark.parametrize("compiler", [None, "inductor"])
@pytest.mark.parametrize(
    "step",
    [
        lambda p, s, b: ({"a": p["b"], "b": p["a"]}, s, {}),
        lambda p, s, b: ({"a": p["b"].flip(0).T, "b": p["a"].T}, s, {"a": p["a"], "s": s["t"][0]}),
        lambda p, s, b: ({**p, "a": p["a"] + b}, {"t": p["a"]}, {"b": p["b"]}),
        lambda p, s, b: ({"a": s["t"], "b": p["b"]}, {"t": p["b"]}, {}),
    ],
)
def test_a_donated_step_may_return_what_it_is_given(step, compiler):
    def args():
        a, b, t, batch = torch.arange(16.0).view(4, 2, 2)
        return {"a": a.clone(), "b": b.clone()}, {"t": t.clone()}, batch

    with mock.patch.object(graphs, "compile", functools.partial(compile, donate=True)):
        donated = traced(step, compiler)
    p, s, b = args()
    for n in range(2):
        expected = tree.map(torch.clone, step(p, s, b + n))
        new_p, new_s, sums = donated(p, s, b + n)
        assert new_p is p
        tree.assert_equal((new_p, new_s, sums), expected)


def test_modes_of_precision_and_determinism_are_part_of_the_signature():
    compiled = traced(lambda x: x * torch.get_deterministic_debug_mode())
    try:
        for mode in (0, 1, 2, 0):
            torch.set_deterministic_debug_mode(mode)
            assert torch.equal(compiled(X), X * mode)
    finally:
        torch.set_deterministic_debug_mode(0)


def test_the_precision_of_one_backend_may_be_set():
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    compiled = traced(lambda x: x * (1 + (settings.fp32_precision == "bf16")))
    try:
        for precision in ("bf16", "ieee", "bf16"):
            settings.fp32_precision = precision
            assert torch.equal(compiled(X), X * (1 + (precision == "bf16")))
    finally:
        settings.fp32_precision = before


def test_a_forced_backend_holds_for_what_is_compiled_already():
    calls = []

    def forced(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    weight = torch.ones(3)
    compiled = traced(lambda x: {"y": 2 * x + weight}, "inductor")
    for force in (False, True, True, False):
        with torch.compiler.set_stance("default", force_backend=forced if force else None):
            assert torch.equal(compiled(X + force)["y"], 2 * X + 2 * force + weight)
    assert len(calls) == 1


def test_kernels_are_named():
    with pytest.raises(ValueError, match="'fast'"):
        compile(lambda x: x, kernels="fast")
