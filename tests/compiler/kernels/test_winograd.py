"""Winograd convolutions: the same results as the library's."""

import pytest
import torch
from exchange import compiled, exchanged, recorded
from gradients import gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import differentiable
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from fnet import tree
from fnet.compiler.kernels import native, winograd
from fnet.compiler.kernels.winograd import is_worth_it

convolution = differentiable(winograd)
LAYERS = {
    "padded": lambda: nn.Conv2d(64, 64, 3, padding=1),
    "not padded": lambda: nn.Conv2d(64, 64, 3),
    "padded unevenly, no bias": lambda: nn.Conv2d(64, 80, 3, padding=(2, 1), bias=False),
    "5 x 5": lambda: nn.Conv2d(64, 32, 5, padding=2),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True, scope="module")
def compiled_for_one_thread():
    native.library("winograd.cpp")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def case(name, layout=torch.channels_last, seed=0):
    """Return a layer, weights, and images `[16, 64, 12, 20]`."""
    layer = LAYERS[name]()
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(leaf.shape, generator=generator)
        for name, leaf in layer.named_parameters()
    }
    x = torch.randn(16, 64, 12, 20, generator=generator).contiguous(memory_format=layout)
    return layer, weights, x


def called(layer):
    return lambda weights, x: functional_call(layer, weights, (x,))


def assert_close(got, exact, tolerance=1e-5):
    """Assert that the error of each number is at most this fraction of the largest number."""

    def error(ours, theirs):
        assert ours.shape == theirs.shape
        return (ours - theirs).abs().max().item() / theirs.abs().max().item()

    errors = tree.map(error, got, exact)
    assert max(tree.leaves(errors)) < tolerance, errors


def exactly(convolve, weights, x):
    return gradients(convolve, *tree.map(torch.Tensor.double, (weights, x)))


@each_layer
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_compiled_it_is_the_layer_it_replaces(name, layout):
    layer, weights, x = case(name, layout)
    got = exchanged(lambda w, x: gradients(called(layer), w, x))(weights, x)
    assert_close(got, exactly(called(layer), weights, x))


def test_inductor_makes_of_it_what_it_is():
    layer, weights, x = case("padded")

    def after_another(weights, x):
        return gradients(lambda w, x: called(layer)(w, 2 * x.relu()).relu(), weights, x)

    def exact(weights, x):
        return called(layer)(weights, 2 * x.relu()).relu()

    got = compiled(after_another)(weights, x)
    assert_close(got, exactly(exact, weights, x))


@given(
    n=st.integers(1, 3),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    padding=st.lists(st.integers(1, 2), min_size=2, max_size=2),
    window=st.sampled_from([3, 5]),
)
@settings(deadline=None)
def test_any_size_has_whole_tiles(n, size, padding, window):
    padding = [zeros + window - 3 for zeros in padding]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 16, *size, generator=generator, dtype=torch.float64)
    weights = {
        "weight": torch.randn(32, 16, window, window, generator=generator, dtype=torch.float64),
        "bias": torch.randn(32, generator=generator, dtype=torch.float64),
    }
    got = gradients(lambda w, x: convolution(x, w["weight"], w["bias"], padding), weights, x)
    expected = gradients(
        lambda w, x: functional.conv2d(x, w["weight"], w["bias"], padding=padding), weights, x
    )
    # The kernel is never used for fp64. Here fp64 tests the formulas without rounding errors.
    assert_close(got, expected, tolerance=1e-12)


def test_second_derivatives_are_right():
    layer, weights, x = case("padded")

    def energy(weight, bias, x):
        def steepness(weight):
            def loss(weight):
                return called(layer)({"weight": weight, "bias": bias}, x).pow(2).mean()

            return grad(loss)(weight).pow(2).mean()

        return grad(steepness)(weight)

    got = exchanged(energy)(weights["weight"], weights["bias"], x)
    expected = energy(weights["weight"], weights["bias"], x)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


def is_used(layer, weights, x, wrap=lambda fn: fn):
    """Return whether the compiled layer uses Winograd tiles."""
    call, seen = recorded(wrap(lambda w, x: gradients(called(layer), w, x)))
    call(weights, x)
    return any("winograd" in target for target in seen)


def two(leaf):
    return torch.stack([leaf, leaf])


def test_it_is_for_fp32_without_vmap():
    layer, weights, x = case("padded")
    assert is_used(layer, weights, x)
    assert not is_used(layer, tree.map(two, weights), two(x), vmap)
    assert not is_used(layer, *tree.map(torch.Tensor.bfloat16, (weights, x)))


@pytest.mark.parametrize(
    ("n", "size", "channels", "window", "padding", "expected"),
    [
        (8, (32, 32), (64, 64), 3, 1, True),
        (8, (32, 32), (16, 80), 3, 1, True),
        (8, (32, 32), (72, 64), 3, 1, False),
        (8, (32, 32), (3, 64), 3, 1, False),
        (8, (32, 32), (64, 64), 3, 3, False),
        (8, (32, 32), (64, 64), 5, 2, True),
        (8, (32, 32), (64, 64), 5, 5, False),
        (8, (32, 32), (64, 64), 7, 3, False),
        # The smallest number of multiplications that is worth it, and fewer.
        (2, (32, 32), (16, 128), 3, 1, True),
        (2, (32, 32), (16, 112), 3, 1, False),
        # Tiles of 4 x 4 results: 32 of them, and 31.
        (32, (4, 4), (128, 64), 3, 1, True),
        (31, (4, 4), (256, 256), 3, 1, False),
        # 72 % of the tiles' results are used, and 56 %.
        (8, (17, 17), (64, 64), 3, 1, True),
        (8, (9, 9), (64, 64), 3, 1, False),
        (8, (1, 1), (64, 64), 3, 0, False),
    ],
)
def test_it_is_for_panels_of_channels_and_many_full_tiles(
    n, size, channels, window, padding, expected
):
    x = torch.empty(n, channels[0], *size)
    weight = torch.empty(*channels[::-1], window, window)
    assert is_worth_it(x, weight, [padding, padding]) is expected


def test_other_channels_and_dtypes_are_refused_as_pytorch_does():
    layer, weights, x = case("padded")
    with pytest.raises(RuntimeError, match="32 channels"):
        exchanged(called(layer))(weights, x[:, :32])
    with pytest.raises(RuntimeError, match="type"):
        exchanged(called(layer))({**weights, "weight": weights["weight"].double()}, x)


def test_it_is_not_for_more_threads_than_have_tiles_and_memory(monkeypatch):
    x, weight = torch.empty(64, 512, 8, 8, device="meta"), torch.empty(512, 512, 3, 3)
    for threads, expected in [(7, True), (8, False)]:
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert is_worth_it(x, weight, [1, 1]) is expected
    x, weight = torch.empty(64, 64, 8, 8, device="meta"), torch.empty(64, 64, 3, 3)
    for threads, expected in [(8, True), (9, False)]:
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert is_worth_it(x, weight, [1, 1]) is expected


def test_it_is_not_where_the_compiler_may_not_know_registers(monkeypatch):
    layer, weights, x = case("padded")
    monkeypatch.setattr(native, "is_possible", lambda *_: False)
    assert not is_used(layer, weights, x)


def test_evaluation_is_made_of_tiles_too():
    layer, weights, x = case("padded")
    call, seen = recorded(called(layer.eval()))
    assert_close(call(weights, x), exactly(called(layer), weights, x)[1])
    assert any("winograd" in target for target in seen)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [16, 32, 48])
def test_weights_lie_as_they_will(layout, channels):
    generator = torch.Generator().manual_seed(channels)
    x, w = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in [(2, channels, 7, 7), (80, channels, 3, 3)]
    )
    bias = torch.arange(160, dtype=torch.float64)[::2]
    laid_out = {"weight": w.contiguous(memory_format=layout), "bias": bias}
    got = gradients(lambda w, x: convolution(x, w["weight"], w["bias"], [1, 1]), laid_out, x)
    expected = gradients(
        lambda w, x: functional.conv2d(x, w["weight"], w["bias"], padding=1), laid_out, x
    )
    assert_close(got, expected, tolerance=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_share_the_tiles(threads):
    layer, weights, x = case("padded")
    try:
        torch.set_num_threads(threads)
        assert is_used(layer, weights, x)
        got = exchanged(lambda w, x: gradients(called(layer), w, x))(weights, x)
        again = exchanged(lambda w, x: gradients(called(layer), w, x))(weights, x)
    finally:
        torch.set_num_threads(1)
    tree.assert_equal(got, again)
    assert_close(got, exactly(called(nn.Conv2d(64, 64, 3, padding=1)), weights, x))


def test_numbers_that_are_not_finite_stay_so():
    layer, weights, x = case("padded")
    x[1, 5, 6, 7] = torch.nan
    y = exchanged(called(layer))(weights, x)
    assert y[1, :, 5:8, 6:9].isnan().all()
    assert y[2:].isfinite().all()


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "window"),
    [
        (16, 16, 32, 3),
        (64, 64, 32, 3),
        (128, 256, 8, 3),
        (512, 512, 4, 3),
        (16, 32, 16, 5),
        (256, 256, 8, 5),
    ],
)
def test_rounding_is_close_to_that_of_the_library(inputs, outputs, size, window):
    generator = torch.Generator().manual_seed(outputs)
    x = torch.randn(16, inputs, size, size, generator=generator).relu()
    weights = {
        "weight": torch.randn(outputs, inputs, window, window, generator=generator) / 30,
        "bias": torch.randn(outputs, generator=generator),
    }
    library = nn.Conv2d(inputs, outputs, window, padding=window // 2)
    padding = [*library.padding]
    got = gradients(lambda w, x: convolution(x, w["weight"], w["bias"], padding), weights, x)
    assert_close(got, exactly(called(library), weights, x), tolerance=2e-5)
