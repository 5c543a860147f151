"""Batch norm and max pooling replaced: the same results as PyTorch's own layers."""

import pytest
import torch
from exchange import compiled as by_inductor
from exchange import exchanged, recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from fnet import tree
from fnet.compiler.kernels import native, pool

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
    """Treat the images below as large ones."""
    torch.compiler.reset()
    monkeypatch.setattr(pool, "_MAX_LOOP_ELEMENTS", 0)


def made(name):
    layer = LAYERS[name]()
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_batches_tracked = None
    return layer


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


def compiled(layer, weights, x, compiler=exchanged):
    return compiler(lambda weights, x: run(layer, weights, x))(weights, x)


@each_layer
@each_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_compiled_it_is_the_layer_it_replaces(name, layout, dtype, training):
    layer = made(name)
    # With ties, as after an activation, and with negative numbers.
    x, weights = images(layout, dtype).relu() - 1, state(layer)
    expected = run(layer.train(training), weights, x)
    got = compiled(layer.train(training), weights, x)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    tree.assert_close(got, expected, rtol=tolerance, atol=10 * tolerance)
    assert got[1][0].stride() == expected[1][0].stride()


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "batch norm"])
@each_layout
def test_compiled_pooling_is_pytorchs_bit_for_bit(name, layout):
    layer = made(name)
    x = images(layout).relu() - 1
    tree.assert_equal(compiled(layer, {}, x), run(layer, {}, x))


@each_layout
def test_the_compilers_loops_compute_the_same(layout):
    # In one graph, which Inductor compiles in the time that each of them would take.
    layers = {name: made(name) for name in ("batch norm", "max pool", "max pool, padded tiles")}
    weights = {name: state(layer) for name, layer in layers.items()}
    x = {name: images(layout) for name in layers}

    def all_of(weights, x):
        return {name: run(layer, weights[name], x[name]) for name, layer in layers.items()}

    got = by_inductor(all_of)(weights, x)
    tree.assert_close(got, all_of(weights, x), rtol=1e-5, atol=1e-5)


def test_batch_norm_in_fp64_is_pytorchs():
    layer = made("batch norm")
    x = images(dtype=torch.float64)
    weights = tree.map(torch.Tensor.double, state(layer))
    expected = run(layer, weights, x)
    tree.assert_close(compiled(layer, weights, x), expected, rtol=1e-12, atol=1e-12)


def test_far_from_zero_batch_norm_is_as_exact_as_pytorchs():
    layer = made("batch norm")
    x, weights = images() + 1000, state(layer)
    exact = tree.leaves(run(layer, tree.map(torch.Tensor.double, weights), x.double()))
    both = [tree.leaves(result) for result in (compiled(layer, weights, x), run(layer, weights, x))]
    for mine, other, true in zip(*both, exact, strict=True):
        error, allowed = [(leaf - true).abs().max().item() for leaf in (mine, other)]
        assert error <= 2 * allowed + 1e-6 * true.abs().max().item()


@pytest.mark.parametrize(
    ("names", "compiler"),
    # All in one graph, which Inductor compiles in the time that each of them would take.
    [*(([name], exchanged) for name in LAYERS), ([*LAYERS], by_inductor)],
    ids=[*LAYERS, "all by Inductor"],
)
def test_vmap_is_a_loop(names, compiler):
    layers = {name: made(name) for name in names}
    cases = {
        name: [(state(layer, seed), images(seed=seed)) for seed in (3, 4, 5)]
        for name, layer in layers.items()
    }
    stacked = {name: tree.map(lambda *leaves: torch.stack(leaves), *cases[name]) for name in names}

    def together(stacked):
        return {
            name: vmap(lambda w, x, layer=layer: run(layer, w, x))(*stacked[name])
            for name, layer in layers.items()
        }

    result = compiler(together)(stacked)
    for name, layer in layers.items():
        for place, case in enumerate(cases[name]):
            one = tree.map(lambda leaf, place=place: leaf[place], result[name])
            tree.assert_close(one, run(layer, *case), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiler", [exchanged, by_inductor])
def test_vmap_over_models_of_the_same_images_is_a_loop(compiler):
    layer, x = made("batch norm"), images(seed=3)
    cases = [state(layer, seed) for seed in (3, 4, 5)]
    weights = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    result = compiler(vmap(lambda w, x: run(layer, w, x), in_dims=(0, None)))(weights, x)
    for place, case in enumerate(cases):
        one = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(one, run(layer, case, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["batch norm", "max pool", "max pool, padded"])
def test_second_derivatives_are_right(name):
    layer = made(name)
    weights = state(layer)

    def energy(weights, x):
        def steepness(x):
            fresh = tree.map(torch.clone, weights)
            slope = grad(lambda x: functional_call(layer, fresh, (x,)).pow(3).sum())(x)
            return slope.pow(2).mean()

        return grad(steepness)(x)

    x = images()
    got, expected = exchanged(energy)(weights, x), energy(weights, x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def way(name, x, training=True):
    """Return the implementation of a compiled layer: "library", "loops" or "operation"."""
    layer = made(name)
    step, seen = recorded(lambda w, x: run(layer.train(training), w, x))
    step(state(layer), x)
    if any("fnet." in target for target in seen):
        return "operation"
    return "loops" if any("as_strided" in target for target in seen) else "library"


def forward_way(name, x):
    """Return the implementation of a layer in evaluation mode, without a gradient."""
    layer = made(name).eval()
    call, seen = recorded(lambda w, x: functional_call(layer, w, (x,)))
    weights = state(layer)
    torch.testing.assert_close(call(weights, x), functional_call(layer, weights, (x,)))
    ours = any("fnet." in target or "as_strided" in target for target in seen)
    return "ours" if ours else "library"


@each_layer
@each_layout
def test_which_way_a_layer_goes(name, layout, monkeypatch):
    x = images(layout)
    tiled = name in TILED and layout == torch.channels_last
    loops = tiled or name == "batch norm"
    in_rows = name == "max pool" and layout == torch.contiguous_format
    assert way(name, x) == ("loops" if loops else "operation")
    if name == "batch norm":
        assert way(name, x, training=False) == "library"
    assert forward_way(name, x) == "library"
    monkeypatch.setattr(pool, "_MAX_LOOP_ELEMENTS", x.numel())
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
    # With ties, also among the largest numbers.
    x = x.clamp(-0.5, 0.5)
    ours, theirs = (run(layer, {}, x) for layer in (InRows(threads), nn.MaxPool2d(2)))
    tree.assert_equal(ours, theirs)
    apart = x.repeat_interleave(2, dim=3)[..., ::2]
    tree.assert_equal(run(InRows(threads), {}, apart)[1], theirs[1])


class InRows(nn.Module):
    """The operations of `pool` for tiles of 2 x 2 in contiguous images."""

    def __init__(self, threads):
        super().__init__()
        native.library("pool.cpp")
        self.threads = threads

    def forward(self, x):
        threads = self.threads

        class Rows(torch.autograd.Function):
            @staticmethod
            def forward(x):
                return pool._pool(x, threads)

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.save_for_backward(output[1])
                ctx.mark_non_differentiable(output[1])

            @staticmethod
            def backward(ctx, grad, _):
                return pool._pool_backward(grad, *ctx.saved_tensors, threads)

        return Rows.apply(x)[0]


@each_layout
def test_not_a_number_stays_one(layout):
    layer = made("max pool")
    x = images(layout)
    x[1, 2, 3, 4] = torch.nan
    assert compiled(layer, {}, x)[1][0].isnan().nonzero().tolist() == [[1, 2, 1, 2]]


@given(
    pixels=st.lists(st.sampled_from([-1.0, 0.0, 1.0, torch.nan]), min_size=8, max_size=8),
    kernel=st.sampled_from([(2, 2), (1, 4), (2, 4)]),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
@settings(deadline=None, max_examples=20)
def test_the_gradient_goes_to_the_pixel_that_pytorch_finds(pixels, kernel, layout):
    x = torch.tensor(pixels).view(1, 1, 2, 4).expand(2, 3, 2, 4).contiguous(memory_format=layout)
    layer = nn.MaxPool2d(kernel)
    got, expected = compiled(layer, {}, x), run(layer, {}, x)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("stride", [0, (0, 0), (2, 0)])
def test_a_stride_of_zero_is_refused_as_pytorch_does(stride):
    with pytest.raises(RuntimeError, match="stride should not be zero"):
        exchanged(lambda x: functional.max_pool2d(x, 2, stride=stride))(images())


def test_an_empty_stride_is_the_windows_size():
    def pooled(x):
        return functional.max_pool2d(x, 2, stride=())

    assert torch.equal(exchanged(pooled)(images()), pooled(images()))


def test_batch_norm_all_in_bf16_is_pytorchs():
    layer, x = made("batch norm"), images(dtype=torch.bfloat16)
    weights = tree.map(torch.Tensor.bfloat16, state(layer))
    expected = run(layer, weights, x)
    tree.assert_close(compiled(layer, weights, x), expected, rtol=2e-2, atol=2e-2)


def test_one_number_for_each_channel_is_refused_as_pytorch_does():
    layer = made("batch norm")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        compiled(layer, state(layer), images()[:1, :, :1, :1])


def test_more_padding_than_half_a_window_is_refused_as_pytorch_does():
    layer = nn.MaxPool2d(2, padding=(2, 1))
    with pytest.raises(RuntimeError, match="at most half of"):
        compiled(layer, {}, images())


def test_other_channels_are_refused_as_pytorch_does():
    layer = made("batch norm")
    with pytest.raises(RuntimeError, match="3"):
        compiled(layer, state(layer), images()[:, :2])


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.AvgPool2d(2),
    ],
    ids=str,
)
def test_other_layers_are_the_librarys(layer):
    layer.num_batches_tracked = None
    step, seen = recorded(lambda w, x: run(layer, w, x))
    weights = state(layer)
    tree.assert_close(step(weights, images()), run(layer, weights, images()), rtol=1e-4, atol=1e-4)
    assert not any("fnet." in target or "as_strided" in target for target in seen)


def test_batch_norm_of_vectors_is_the_librarys():
    x = images()[:, :, 0, 0]
    weights = [torch.zeros(3), torch.ones(3), torch.rand(3), torch.rand(3)]

    def norm(x, mean, var, *weights):
        return functional.batch_norm(x, mean.clone(), var.clone(), *weights, training=True)

    step, seen = recorded(norm)
    torch.testing.assert_close(step(x, *weights), norm(x, *weights))
    assert not any("as_strided" in target for target in seen)


def test_pooling_that_returns_places_is_the_librarys():
    def pooled(x):
        return functional.max_pool2d(x, 2, return_indices=True)

    step, seen = recorded(pooled)
    tree.assert_equal(step(images()), pooled(images()))
    assert not any("fnet." in target for target in seen)


@pytest.mark.parametrize("call", [functional.batch_norm, torch.batch_norm])
def test_batch_norm_as_a_function_is_quick_too(call):
    x, weights = images(), state(made("batch norm"))
    order = ("running_mean", "running_var", "weight", "bias")
    if call is torch.batch_norm:
        order = ("weight", "bias", "running_mean", "running_var")

    def norm(weights, x):
        given = {name: leaf.clone() for name, leaf in weights.items()}
        rest = (True, 0.2, 1e-5, False)[: 4 if call is torch.batch_norm else 3]
        return call(x, *(given[name] for name in order), *rest), given

    step, seen = recorded(norm)
    tree.assert_close(step(weights, x), norm(weights, x), rtol=1e-5, atol=1e-5)
    assert any("as_strided" in target for target in seen)
