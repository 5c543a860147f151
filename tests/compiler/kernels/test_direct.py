"""Small convolutions in C++: the same results as the library's."""

import pytest
import torch
from exchange import compiled, recorded
from gradients import gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import differentiable
from torch.func import grad
from torch.nn import functional

from fnet import tree
from fnet.compiler.kernels import direct, native
from fnet.compiler.kernels.direct import is_worth_it


@pytest.fixture(autouse=True, scope="module")
def in_cpp():
    native.library("direct.cpp")


def case(n=2, channels=(3, 7), size=(9, 11), window=(5, 5), layout=torch.contiguous_format, seed=0):
    """Return weights, and images, in fp64."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weight = randn(n, channels[0], *size), randn(*reversed(channels), *window)
    x, weight = (tensor.contiguous(memory_format=layout) for tensor in (x, weight))
    return {"weight": weight, "bias": randn(channels[1])}, x


convolution = differentiable(direct)


def own(padding):
    return lambda w, x: convolution(x, w["weight"], w.get("bias"), padding)


def library(padding):
    return lambda w, x: functional.conv2d(x, w["weight"], w.get("bias"), padding=padding)


def assert_equal_but_for_rounding(weights, x, padding):
    got, expected = (gradients(way(padding), weights, x) for way in (own, library))
    tree.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@given(
    n=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 8), st.integers(1, 13)),
    size=st.tuples(st.integers(5, 20), st.integers(5, 40)),
    window=st.tuples(st.integers(1, 5), st.sampled_from([3, 5])),
    fill=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
@settings(deadline=None)
def test_any_size_channels_and_padding(n, channels, size, window, fill, layout):
    padding = [int(part * (side - 1)) for part, side in zip(fill, window, strict=True)]
    weights, x = case(n, channels, size, window, layout)
    assert_equal_but_for_rounding(weights, x, padding)


def test_without_a_bias():
    weights, x = case()
    del weights["bias"]
    assert_equal_but_for_rounding(weights, x, [2, 2])


def test_tensors_lie_as_they_will():
    weights, x = case(size=(18, 22))
    # Slices of larger tensors, flipped and transposed tensors.
    views = {"weight": weights["weight"].transpose(2, 3), "bias": torch.arange(14.0).double()[::2]}
    assert_equal_but_for_rounding(views, x[:, :, ::2, ::2], [1, 1])
    assert_equal_but_for_rounding(views, x.transpose(2, 3)[:, :, 3:], [0, 4])
    assert_equal_but_for_rounding(views, x[:1].expand(3, 3, 18, 22), [0, 0])
    # Expanded windows (stride 0).
    views["weight"] = weights["weight"][:, :1].expand(7, 3, 5, 5)
    assert_equal_but_for_rounding(views, x, [2, 2])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_of_weights_lie_as_the_weights_do(layout):
    weights, x = case(layout=layout)
    (of_weights, _), _ = gradients(own([0, 0]), weights, x)
    assert of_weights["weight"].stride() == weights["weight"].stride()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads_share_the_images(threads):
    weights, x = case(n=3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        tree.assert_equal(gradients(own([2, 2]), weights, x), gradients(own([2, 2]), weights, x))
        assert_equal_but_for_rounding(weights, x, [2, 2])
    finally:
        torch.set_num_threads(before)


def test_numbers_that_are_not_finite_stay_where_they_are():
    weights, x = case(window=(3, 3))
    x[1, 2, 4, 5] = torch.nan
    y = own([1, 1])(weights, x)
    found = torch.zeros(y.shape, dtype=torch.bool)
    found[1, :, 3:6, 4:7] = True
    assert torch.equal(y.isnan(), found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_rounding_is_that_of_the_dtype(dtype, tolerance):
    weights, x = tree.map(lambda leaf: leaf.to(dtype), case())
    exact = gradients(library([2, 2]), *tree.map(torch.Tensor.double, (weights, x)))
    got = gradients(own([2, 2]), weights, x)

    def error(ours, theirs):
        assert ours.dtype == dtype
        return ((ours - theirs).abs().max() / theirs.abs().max()).item()

    assert max(tree.leaves(tree.map(error, got, exact))) < tolerance


def test_inductor_makes_of_it_what_it_is():
    weights, x = case()

    def between(way):
        return lambda w, x: gradients(lambda w, x: way([1, 1])(w, 2 * x.relu()).relu(), w, x)

    got = compiled(between(library))(weights, x)
    tree.assert_close(got, between(library)(weights, x), rtol=1e-11, atol=1e-11)


def test_called_by_cpp_it_is_the_same():
    weights, x = case()
    way = library([1, 1])
    got = compiled(lambda w, x: gradients(way, w, x), cpp_wrapper=True)(weights, x)
    tree.assert_close(got, gradients(way, weights, x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("shape", "weight", "padding", "expected"),
    [
        ((4, 3, 32, 32), (6, 3, 5, 5), 0, True),
        ((4, 3, 32, 32), (6, 3, 5, 5), 4, True),
        ((4, 3, 32, 32), (6, 3, 5, 5), 5, False),
        ((4, 3, 32, 32), (6, 3, 4, 4), 0, False),
        ((4, 3, 32, 32), (6, 2, 5, 5), 0, False),
        ((4, 3, 4, 4), (6, 3, 5, 5), 0, False),
        ((11, 3, 32, 32), (6, 3, 5, 5), 0, True),
        ((12, 3, 32, 32), (6, 3, 5, 5), 0, False),
        # A single result in a row costs as much as eight: one SIMD register.
        ((4, 64, 3, 3), (64, 64, 3, 3), 0, True),
        ((4, 128, 3, 3), (128, 128, 3, 3), 0, False),
    ],
)
def test_it_is_for_small_convolutions(shape, weight, padding, expected):
    x, weight = torch.empty(shape, device="meta"), torch.empty(weight, device="meta")
    assert is_worth_it(x, weight, [padding, padding]) is expected


def test_it_is_not_for_other_dtypes_nor_where_the_compiler_may_not_know_registers(monkeypatch):
    x, weight = torch.empty(4, 3, 32, 32), torch.empty(6, 3, 5, 5)
    assert is_worth_it(x.bfloat16(), weight.bfloat16(), [0, 0])
    assert not is_worth_it(x.half(), weight.half(), [0, 0])
    assert not is_worth_it(x, weight.double(), [0, 0])
    monkeypatch.setattr(native, "is_possible", lambda *_: False)
    assert not is_worth_it(x, weight, [0, 0])


def test_the_gradient_of_the_images_is_computed_only_where_it_is_asked_for():
    weights, x = case()

    def of_weights(w, x):
        return grad(lambda w: library([0, 0])(w, x).pow(2).sum())(w)

    call, operations = recorded(of_weights)
    call(weights, x)
    assert "fnet.direct_weight_gradient.default" in operations
    assert "fnet.direct_input_gradient.default" not in operations
