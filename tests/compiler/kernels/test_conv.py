"""Convolutions in their own way: the numbers of PyTorch's own layer."""

import pytest
import torch
from gradients import gradients
from graphs import recorded, traced
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.func import functional_call, grad, jvp, vmap

from fnet import tree
from fnet.nn import direct
from fnet.nn.conv import own_conv

LAYERS = {
    "5 x 5": lambda: nn.Conv2d(3, 4, 5),
    "padded": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "not square, no bias": lambda: nn.Conv2d(3, 4, (3, 2), padding=(1, 2), bias=False),
    "1 x 1": lambda: nn.Conv2d(3, 1, 1),
    "not square, 5 wide": lambda: nn.Conv2d(3, 7, (2, 5), padding=(1, 4)),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def no_graphs():
    torch.compiler.reset()


def case(name, dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    """Return PyTorch's layer, the one in its place, weights, and images [2, 3, 8, 7]."""
    layer = LAYERS[name]()
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(leaf.shape, generator=generator).to(dtype)
        for name, leaf in layer.named_parameters()
    }
    x = torch.randn(2, 3, 8, 7, generator=generator).to(dtype).contiguous(memory_format=layout)
    return layer, own_conv(layer), weights, x


def run(layer, weights, x):
    """Return the gradients with respect to weights and `x`, and the result."""
    return gradients(lambda weights, x: functional_call(layer, weights, (x,)), weights, x)


def is_direct(layer, weights, x):
    """Say whether the compiled layer is `direct.cpp`; its result is that of the plain one."""
    compiled, seen = recorded(lambda w, x: functional_call(layer, w, (x,)))
    result = compiled(weights, x)
    torch.testing.assert_close(result, functional_call(layer, weights, (x,)), rtol=1e-5, atol=1e-5)
    return any("direct" in target for target in seen)


@each_layer
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_it_is_the_layer_it_replaces(name, layout, dtype):
    theirs, ours, weights, x = case(name, dtype, layout)
    got = traced(lambda w, x: run(ours, w, x))(weights, x)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    tree.assert_close(got, run(theirs, weights, x), rtol=tolerance, atol=10 * tolerance)


@each_layer
def test_eager_it_is_the_layer_itself(name):
    theirs, ours, weights, x = case(name)
    tree.assert_equal(run(ours, weights, x), run(theirs, weights, x))


@each_layer
@pytest.mark.parametrize("shared", [False, True])
def test_vmap_is_a_loop(name, shared):
    _, ours, _, x = case(name)
    cases = [case(name, seed=seed)[2:] for seed in (1, 2, 3)]
    if shared:
        cases = [(weights, x) for weights, _ in cases]
    weights = {name: torch.stack([w[name] for w, _ in cases]) for name in cases[0][0]}
    stacked = x if shared else torch.stack([x for _, x in cases])
    together = vmap(lambda w, x: run(ours, w, x), in_dims=(0, None if shared else 0))
    result = traced(together)(weights, stacked)
    for place, one in enumerate(cases):
        alone = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(alone, run(ours, *one), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_vmap_over_models_of_the_same_images_is_a_loop(training):
    _, ours, _, x = case("padded")
    cases = [case("padded", seed=seed)[2] for seed in (1, 2, 3)]

    def forward(weights, x):
        return functional_call(ours.train(training), weights, (x,))

    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    together = traced(vmap(forward, in_dims=(0, None)))(stacked, x)
    alone = torch.stack([forward(weights, x) for weights in cases])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


# PyTorch's own, where it first meets forward mode.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_forward_mode_is_right():
    theirs, ours, weights, x = case("padded")

    def slope(layer):
        return lambda x: jvp(lambda x: functional_call(layer, weights, (x,)), (x,), (x.cos(),))[1]

    torch.testing.assert_close(traced(slope(ours))(x), slope(theirs)(x), rtol=1e-4, atol=1e-4)


def test_autocast_casts_as_it_does():
    theirs, ours, weights, x = case("padded")

    def forward(layer):
        def call(weights, x):
            with torch.autocast("cpu", torch.bfloat16):
                return functional_call(layer, weights, (x,))

        return call

    got, expected = traced(forward(ours))(weights, x), forward(theirs)(weights, x)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)


def test_a_bias_of_another_dtype_is_refused_as_pytorch_does():
    _, ours, weights, x = case("padded")
    with pytest.raises(RuntimeError, match="type"):
        traced(lambda w, x: functional_call(ours, w, (x,)))(
            {**weights, "bias": weights["bias"].double()}, x
        )


def test_torch_compile_takes_any_number_of_images():
    _, ours, weights, _ = case("5 x 5")
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph

    compiled = torch.compile(
        lambda x: functional_call(ours, weights, (x,)),
        fullgraph=True,
        backend=aot_autograd(fw_compiler=keep),
    )
    for n in range(2, 8):
        x = torch.randn(n, 3, 8, 7)
        torch.testing.assert_close(compiled(x), functional_call(ours, weights, (x,)))
    # One for 2 images, and one for any number.
    assert len(graphs) == 2


def test_vmap_of_the_forward_pass_alone_is_a_loop():
    _, ours, _, _ = case("padded")
    cases = [case("padded", seed=seed)[2:] for seed in (1, 2, 3)]

    def forward(weights, x):
        return functional_call(ours, weights, (x,))

    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    together = traced(vmap(forward))(*stacked)
    alone = torch.stack([forward(*one) for one in cases])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_right():
    theirs, ours, weights, x = case("padded")

    def energy(layer):
        def steepness(x):
            slope = grad(lambda x: functional_call(layer, weights, (x,)).pow(3).sum())(x)
            return slope.pow(2).mean()

        return grad(steepness)

    got, expected = traced(energy(ours))(x), energy(theirs)(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_small_images_are_read_where_they_lie(monkeypatch):
    _, ours, weights, x = case("padded")
    assert is_direct(ours, weights, x)
    assert is_direct(ours.eval(), weights, x)
    assert not is_direct(ours, weights, x[0])
    # 8 rows of 7 results, which take as long as 8.
    work = 2 * 8 * 8 * weights["weight"].numel()
    monkeypatch.setattr(direct, "_SMALL", work)
    assert is_direct(ours, weights, x)
    monkeypatch.setattr(direct, "_SMALL", work - 1)
    assert not is_direct(ours, weights, x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv1d(4, 4, 3),
    ],
    ids=str,
)
def test_what_has_no_twin_stays(layer):
    assert own_conv(layer) is None
