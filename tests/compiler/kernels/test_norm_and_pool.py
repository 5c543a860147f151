"""Batch norm and max pooling in their own way: the numbers of PyTorch's own layers."""

import pytest
import torch
from graphs import recorded, traced
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, vmap

from fnet import native, tree
from fnet.nn import pool
from fnet.nn.norm import own_norm
from fnet.nn.pool import own_pool

LAYERS = {
    "batch norm": lambda: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3),
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool, not square": lambda: nn.MaxPool2d((4, 3)),
    "max pool, one row": lambda: nn.MaxPool2d((1, 6)),
    "max pool, padded tiles": lambda: nn.MaxPool2d((2, 5), padding=(1, 2)),
    "max pool, ragged": lambda: nn.MaxPool2d((3, 2)),
    "max pool, padded": lambda: nn.MaxPool2d(3, stride=(2, 1), padding=1, ceil_mode=True),
    "max pool, dilated": lambda: nn.MaxPool2d((2, 3), dilation=(2, 1)),
    "max pool, large tiles": lambda: nn.MaxPool2d((8, 3)),
}
TILED = {"max pool", "max pool, not square", "max pool, one row", "max pool, padded tiles"}
each_layer = pytest.mark.parametrize("name", LAYERS)
each_layout = pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch):
    """As if the images below had many pixels."""
    torch.compiler.reset()
    monkeypatch.setattr(pool, "_MANY", 0)


def pair(name):
    """Return PyTorch's layer, and the one in its place."""
    layer = LAYERS[name]()
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_batches_tracked = None
    replacement = own_norm(layer) or own_pool(layer)
    if isinstance(layer, nn.BatchNorm2d):
        replacement.num_batches_tracked = None
    return layer, replacement


def state(layer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(leaf.shape, generator=generator) + 0.5
        for name, leaf in [*layer.named_parameters(), *layer.named_buffers()]
    }


def images(layout=torch.channels_last, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, 8, 6, generator=generator).to(dtype)
    return x.contiguous(memory_format=layout)


def run(layer, weights, x):
    """Return the gradients with respect to weights and images, the result, the statistics."""

    def loss(trainable, x):
        statistics = {n: leaf.clone() for n, leaf in weights.items() if n.startswith("running")}
        y = functional_call(layer, {**trainable, **statistics}, (x,))
        scale = torch.linspace(0, 1, y.numel(), dtype=torch.float32).view(y.shape)
        return (y.float() * scale).sum(), (y, statistics)

    trainable = {n: leaf for n, leaf in weights.items() if not n.startswith("running")}
    return grad(loss, argnums=(0, 1), has_aux=True)(trainable, x)


def compiled(layer, weights, x, compiler=None):
    return traced(lambda weights, x: run(layer, weights, x), compiler)(weights, x)


@each_layer
@each_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_compiled_it_is_the_layer_it_replaces(name, layout, dtype, training):
    theirs, ours = pair(name)
    # With ties, as after an activation, and below zero.
    x, weights = images(layout, dtype).relu() - 1, state(theirs)
    expected = run(theirs.train(training), weights, x)
    got = compiled(ours.train(training), weights, x)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    tree.assert_close(got, expected, rtol=tolerance, atol=10 * tolerance)
    assert got[1][0].stride() == expected[1][0].stride()


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "batch norm"])
@each_layout
def test_compiled_pooling_is_pytorchs_bit_for_bit(name, layout):
    theirs, ours = pair(name)
    x = images(layout).relu() - 1
    tree.assert_equal(compiled(ours, {}, x), run(theirs, {}, x))


@each_layer
def test_eager_it_is_the_layer_itself(name):
    theirs, ours = pair(name)
    x, weights = images(), state(theirs)
    tree.assert_equal(run(ours, weights, x), run(theirs, weights, x))


@pytest.mark.parametrize("name", ["batch norm", "max pool", "max pool, padded tiles"])
@each_layout
def test_the_compilers_loops_compute_the_same(name, layout):
    theirs, ours = pair(name)
    x, weights = images(layout), state(theirs)
    got = compiled(ours, weights, x, "inductor")
    tree.assert_close(got, run(theirs, weights, x), rtol=1e-5, atol=1e-5)


def test_batch_norm_in_fp64_is_pytorchs():
    theirs, ours = pair("batch norm")
    x = images(dtype=torch.float64)
    weights = tree.map(torch.Tensor.double, state(theirs))
    expected = run(theirs, weights, x)
    tree.assert_close(compiled(ours, weights, x), expected, rtol=1e-12, atol=1e-12)


def test_far_from_zero_batch_norm_is_as_exact_as_pytorchs():
    theirs, ours = pair("batch norm")
    x, weights = images() + 1000, state(theirs)
    exact = tree.leaves(run(theirs, tree.map(torch.Tensor.double, weights), x.double()))
    both = [tree.leaves(result) for result in (compiled(ours, weights, x), run(theirs, weights, x))]
    for mine, other, true in zip(*both, exact, strict=True):
        error, allowed = [(leaf - true).abs().max().item() for leaf in (mine, other)]
        assert error <= 2 * allowed + 1e-6 * true.abs().max().item()


@each_layer
@pytest.mark.parametrize("compiler", [None, "inductor"])
@pytest.mark.parametrize("shared", ["nothing", "images"])
def test_vmap_is_a_loop(name, shared, compiler):
    _, ours = pair(name)
    cases = [(state(ours, seed), images(seed=seed)) for seed in (3, 4, 5)]
    if shared == "images":
        cases = [(weights, cases[0][1]) for weights, _ in cases]
    weights = {name: torch.stack([w[name] for w, _ in cases]) for name in cases[0][0]}
    if shared == "images" and not weights:
        return
    x = cases[0][1] if shared == "images" else torch.stack([x for _, x in cases])
    together = vmap(lambda w, x: run(ours, w, x), in_dims=(0, None if shared == "images" else 0))
    result = traced(together, compiler)(weights, x)
    for place, case in enumerate(cases):
        one = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(one, run(ours, *case), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["batch norm", "max pool", "max pool, padded"])
def test_second_derivatives_are_right(name):
    theirs, ours = pair(name)
    weights = state(theirs)

    def energy(layer):
        def steepness(x):
            fresh = tree.map(torch.clone, weights)
            slope = grad(lambda x: functional_call(layer, fresh, (x,)).pow(3).sum())(x)
            return slope.pow(2).mean()

        return grad(steepness)

    x = images()
    got, expected = traced(energy(ours))(x), energy(theirs)(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def way(name, x, training=True):
    """Return which way a compiled layer goes: the library's, its own loops, or an operation."""
    _, ours = pair(name)
    step, seen = recorded(lambda w, x: run(ours.train(training), w, x))
    step(state(ours), x)
    if any("fnet." in target for target in seen):
        return "operation"
    return "loops" if any("as_strided" in target for target in seen) else "library"


@each_layer
@each_layout
def test_which_way_a_layer_goes(name, layout, monkeypatch):
    x = images(layout)
    tiled = name in TILED and layout == torch.channels_last
    loops = tiled or name == "batch norm"
    in_rows = name == "max pool" and layout == torch.contiguous_format
    assert way(name, x) == ("loops" if loops else "operation")
    assert way(name, x, training=False) == "library"
    monkeypatch.setattr(pool, "_MANY", x.numel())
    assert way(name, x) == ("loops" if loops else "operation" if in_rows else "library")


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 40)),
    threads=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(deadline=None)
def test_rows_of_any_width_are_pooled_as_pytorch_does(shape, threads, dtype):
    n, channels, height, width = shape
    generator = torch.Generator().manual_seed(width)
    x = torch.randn(n, channels, 2 * height, 2 * width, generator=generator, dtype=dtype)
    # With ties, some of them at the largest.
    x = x.clamp(-0.5, 0.5)
    ours, theirs = (run(layer, {}, x) for layer in (InRows(threads), nn.MaxPool2d(2)))
    tree.assert_equal(ours, theirs)
    apart = x.repeat_interleave(2, dim=3)[..., ::2]
    tree.assert_equal(run(InRows(threads), {}, apart)[1], theirs[1])


class InRows(nn.Module):
    """What `fnet.nn.pool` makes of tiles of 2 x 2 in images that lie row after row."""

    def __init__(self, threads):
        super().__init__()
        native.library("fnet.nn", "pool.cpp")
        self.threads = threads

    def forward(self, x):
        return pool._InRows.apply(x, self.threads)[0]


@each_layout
def test_not_a_number_stays_one(layout):
    _, ours = pair("max pool")
    x = images(layout)
    x[1, 2, 3, 4] = torch.nan
    assert compiled(ours, {}, x)[1][0].isnan().nonzero().tolist() == [[1, 2, 1, 2]]


def test_one_number_for_each_channel_is_refused_as_pytorch_does():
    _, ours = pair("batch norm")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        compiled(ours, state(ours), images()[:1, :, :1, :1])


def test_more_padding_than_half_a_window_is_refused_as_pytorch_does():
    ours = own_pool(nn.MaxPool2d(2, padding=(2, 1)))
    with pytest.raises(RuntimeError, match="at most half of"):
        compiled(ours, {}, images())


def test_other_channels_are_refused_as_pytorch_does():
    _, ours = pair("batch norm")
    with pytest.raises(RuntimeError, match="3"):
        compiled(ours, state(ours), images()[:, :2])


def test_what_has_no_twin_stays():
    assert own_norm(nn.BatchNorm2d(3, affine=False)) is None
    assert own_norm(nn.BatchNorm2d(3, track_running_stats=False)) is None
    assert own_norm(nn.BatchNorm1d(3)) is None
    assert own_pool(nn.MaxPool2d(2, return_indices=True)) is None
    assert own_pool(nn.AvgPool2d(2)) is None
