"""Batch norm and max pooling as library calls: the numbers of PyTorch's own layers."""

import pytest
import torch
from graphs import recorded, traced
from torch import nn
from torch.func import functional_call, grad, vmap

from fnet import operation, tree
from fnet.nn.norm import opaque_norm
from fnet.nn.pool import opaque_pool

LAYERS = {
    "batch norm": lambda: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3),
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool, padded": lambda: nn.MaxPool2d(3, stride=(2, 1), padding=1, ceil_mode=True),
    "max pool, dilated": lambda: nn.MaxPool2d((2, 3), dilation=(2, 1)),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def worth_a_call(monkeypatch):
    """As if the images below had millions of pixels."""
    torch.compiler.reset()
    monkeypatch.setattr(operation, "_FEW", 0)


def pair(name):
    """Return PyTorch's layer, and the opaque one in its place."""
    layer = LAYERS[name]()
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_batches_tracked = None
    replacement = opaque_norm(layer) or opaque_pool(layer)
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
    x = torch.randn(4, 3, 8, 7, generator=generator).to(dtype)
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


@each_layer
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_layer_it_replaces(name, layout, dtype, training):
    theirs, ours = pair(name)
    x, weights = images(layout, dtype), state(theirs)
    expected = run(theirs.train(training), weights, x)
    got = run(ours.train(training), weights, x)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    tree.assert_close(got, expected, rtol=tolerance, atol=10 * tolerance)
    assert got[1][0].stride() == expected[1][0].stride()


@each_layer
def test_compiled_it_is_the_same(name):
    _, ours = pair(name)
    x, weights = images(), state(ours)
    compiled = traced(lambda w, x: run(ours, w, x))
    tree.assert_equal(compiled(weights, x), run(ours, weights, x))


@each_layer
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shared", ["nothing", "images"])
def test_vmap_is_a_loop(name, shared, compiled):
    _, ours = pair(name)
    cases = [(state(ours, seed), images(seed=seed)) for seed in (3, 4, 5)]
    if shared == "images":
        cases = [(weights, cases[0][1]) for weights, _ in cases]
    weights = {name: torch.stack([w[name] for w, _ in cases]) for name in cases[0][0]}
    if shared == "images" and not weights:
        return
    x = cases[0][1] if shared == "images" else torch.stack([x for _, x in cases])
    together = vmap(lambda w, x: run(ours, w, x), in_dims=(0, None if shared == "images" else 0))
    if compiled:
        together = traced(together)
    result = together(weights, x)
    for place, case in enumerate(cases):
        one = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(one, run(ours, *case), rtol=1e-5, atol=1e-5)


@each_layer
@pytest.mark.parametrize("few", [0, 10**6])
def test_few_numbers_are_left_to_the_compiler(name, few, monkeypatch):
    monkeypatch.setattr(operation, "_FEW", few)
    theirs, ours = pair(name)
    x, weights = images(), state(ours)
    step, seen = recorded(lambda w, x: run(ours, w, x))
    tree.assert_close(step(weights, x), run(theirs, weights, x), rtol=1e-5, atol=1e-5)
    assert any("fnet." in name for name in seen) == (few == 0)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("tile", [(2, 7), (4, 1)])
def test_the_gradient_of_few_tiles_is_a_loop(tile, layout, monkeypatch):
    monkeypatch.setattr(operation, "_FEW", 10**6)
    theirs = nn.MaxPool2d(tile)
    ours = opaque_pool(theirs)
    x = images(layout).relu()  # with ties, as after an activation
    expected = run(theirs, {}, x)
    step, seen = recorded(lambda x: run(ours, {}, x))
    tree.assert_equal(step(x), expected)
    is_tiled = layout == torch.channels_last
    assert ("fnet.max_pool2d.default" in seen) == is_tiled
    assert "fnet.max_pool2d_backward.default" not in seen


def test_what_has_no_twin_stays():
    assert opaque_norm(nn.BatchNorm2d(3, affine=False)) is None
    assert opaque_norm(nn.BatchNorm2d(3, track_running_stats=False)) is None
    assert opaque_norm(nn.BatchNorm1d(3)) is None
    assert opaque_pool(nn.MaxPool2d(2, return_indices=True)) is None
    assert opaque_pool(nn.AvgPool2d(2)) is None
