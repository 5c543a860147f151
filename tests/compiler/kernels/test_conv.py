"""Convolutions replaced in the graph: the same results as PyTorch's own layer."""

import itertools

import pytest
import torch
from exchange import compiled, exchanged, recorded
from gradients import gradients
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional

from fnet import tree
from fnet.compiler.kernels import direct

LAYERS = {
    "5 x 5": lambda: nn.Conv2d(3, 4, 5),
    "padded": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "not square, no bias": lambda: nn.Conv2d(3, 4, (3, 2), padding=(1, 2), bias=False),
    "1 x 1": lambda: nn.Conv2d(3, 1, 1),
    "not square, 5 wide": lambda: nn.Conv2d(3, 7, (2, 5), padding=(1, 4)),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def case(name, dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    """Return a layer, weights, and images [2, 3, 8, 7]."""
    layer = LAYERS[name]()
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(leaf.shape, generator=generator).to(dtype)
        for name, leaf in layer.named_parameters()
    }
    x = torch.randn(2, 3, 8, 7, generator=generator).to(dtype).contiguous(memory_format=layout)
    return layer, weights, x


def assert_equal_strides(a, b):
    assert a.stride() == b.stride()
    return a


def run(layer, weights, x):
    """Return the gradients with respect to weights and `x`, and the result."""
    return gradients(lambda weights, x: functional_call(layer, weights, (x,)), weights, x)


def is_direct(layer, weights, x):
    """Return whether the compiled layer uses `direct.cpp`; its result must equal the eager one."""
    call, seen = recorded(lambda w, x: functional_call(layer, w, (x,)))
    result = call(weights, x)
    torch.testing.assert_close(result, functional_call(layer, weights, (x,)), rtol=1e-5, atol=1e-5)
    return any("direct" in target for target in seen)


@each_layer
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_it_is_the_layer_it_replaces(name, layout, dtype):
    layer, weights, x = case(name, dtype, layout)
    got = exchanged(lambda w, x: run(layer, w, x))(weights, x)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    expected = run(layer, weights, x)
    tree.assert_close(got, expected, rtol=tolerance, atol=10 * tolerance)
    tree.map(lambda a, b: assert_equal_strides(a, b), got, expected)


@each_layer
@pytest.mark.parametrize("shared", [False, True])
def test_vmap_is_a_loop(name, shared):
    layer, _, x = case(name)
    cases = [case(name, seed=seed)[1:] for seed in (1, 2, 3)]
    if shared:
        cases = [(weights, x) for weights, _ in cases]
    weights = {name: torch.stack([w[name] for w, _ in cases]) for name in cases[0][0]}
    stacked = x if shared else torch.stack([x for _, x in cases])
    together = vmap(lambda w, x: run(layer, w, x), in_dims=(0, None if shared else 0))
    result = exchanged(together)(weights, stacked)
    for place, one in enumerate(cases):
        alone = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(alone, run(layer, *one), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_vmap_over_models_of_the_same_images_is_a_loop(training):
    layer, _, x = case("padded")
    cases = [case("padded", seed=seed)[1] for seed in (1, 2, 3)]

    def forward(weights, x):
        return functional_call(layer.train(training), weights, (x,))

    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    together = exchanged(vmap(forward, in_dims=(0, None)))(stacked, x)
    alone = torch.stack([forward(weights, x) for weights in cases])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


# PyTorch raises this warning itself at the first use of forward-mode differentiation.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_forward_mode_is_right():
    layer, weights, x = case("padded")

    def slope(weights, x):
        return jvp(lambda x: functional_call(layer, weights, (x,)), (x,), (x.cos(),))[1]

    got, expected = exchanged(slope)(weights, x), slope(weights, x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_autocast_casts_as_it_does():
    layer, weights, x = case("padded")

    def forward(weights, x):
        with torch.autocast("cpu", torch.bfloat16):
            return functional_call(layer, weights, (x,))

    got, expected = exchanged(forward)(weights, x), forward(weights, x)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, expected)


def test_a_bias_of_another_dtype_is_refused_as_pytorch_does():
    layer, weights, x = case("padded")
    with pytest.raises(RuntimeError, match="type"):
        exchanged(lambda w, x: functional_call(layer, w, (x,)))(
            {**weights, "bias": weights["bias"].double()}, x
        )


def test_vmap_of_the_forward_pass_alone_is_a_loop():
    layer, _, _ = case("padded")
    cases = [case("padded", seed=seed)[1:] for seed in (1, 2, 3)]

    def forward(weights, x):
        return functional_call(layer, weights, (x,))

    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    together = exchanged(vmap(forward))(*stacked)
    alone = torch.stack([forward(*one) for one in cases])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_second_derivatives_are_right():
    layer, weights, x = case("padded")

    def energy(weights, x):
        def steepness(x):
            slope = grad(lambda x: functional_call(layer, weights, (x,)).pow(3).sum())(x)
            return slope.pow(2).mean()

        return grad(steepness)(x)

    got, expected = exchanged(energy)(weights, x), energy(weights, x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_small_images_are_read_where_they_lie(monkeypatch):
    layer, weights, x = case("padded")
    assert is_direct(layer, weights, x)
    assert is_direct(layer.eval(), weights, x)
    assert is_direct(layer, weights, x[0])
    # 8 rows of 7 results, which cost as much as 8 results: one SIMD register.
    work = 2 * 8 * 8 * weights["weight"].numel()
    monkeypatch.setattr(direct, "_MAX_MULTIPLY_ADDS", work)
    assert is_direct(layer, weights, x)
    monkeypatch.setattr(direct, "_MAX_MULTIPLY_ADDS", work - 1)
    assert not is_direct(layer, weights, x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.ConvTranspose2d(4, 4, 3),
        nn.Conv1d(4, 4, 3),
        nn.Conv2d(4, 4, 3).half(),
    ],
    ids=str,
)
def test_other_convolutions_are_the_librarys(layer):
    weights = dict(layer.named_parameters())
    dtype = weights["weight"].dtype
    x = torch.randn(2, 4, 8, dtype=dtype) if isinstance(layer, nn.Conv1d) else IMAGES.to(dtype)
    call, seen = recorded(lambda w, x: run(layer, w, x))
    call(tree.map(torch.Tensor.detach, weights), x)
    assert not any("fnet" in target for target in seen)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.LazyConv2d(4, 3),
    ],
    ids=str,
)
def test_subclasses_and_every_padding_get_the_kernels(layer):
    layer(IMAGES)
    weights = tree.map(torch.Tensor.detach, dict(layer.named_parameters()))
    call, seen = recorded(lambda w, x: run(layer, w, x))
    tree.assert_close(call(weights, IMAGES), run(layer, weights, IMAGES), rtol=1e-5, atol=1e-4)
    assert {"fnet.direct.default", "fnet.direct_weight_gradient.default"} <= set(seen)


IMAGES = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def anybodys(weights, x):
    """A network that uses the result of a convolution in many ways that depend on its strides."""
    y = functional.conv2d(x, weights["weight"], weights["bias"], padding=1)
    scale = y.view(len(y), -1).softmax(1).view(y.shape) if y.is_contiguous() else y.tanh()
    z = functional.max_pool2d(y * scale, 2)
    return z.flatten(1) @ weights["linear"]


LAYOUTS = [torch.channels_last, torch.contiguous_format]


def of_anybody(layout, windows):
    """Return weights and images for `anybodys`, in these layouts."""
    generator = torch.Generator().manual_seed(1)
    weights = {
        "weight": torch.randn(6, 4, 3, 3, generator=generator).contiguous(memory_format=windows),
        "bias": torch.randn(6, generator=generator),
        "linear": torch.randn(96, 3, generator=generator),
    }
    return weights, IMAGES.clone().contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("windows", LAYOUTS)
def test_a_functions_convolutions_are_exchanged(layout, windows):
    weights, x = of_anybody(layout, windows)
    expected = gradients(anybodys, weights, x)
    call, seen = recorded(lambda w, x: gradients(anybodys, w, x))
    got = call(weights, x)
    tree.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    tree.map(assert_equal_strides, got, expected)
    assert "fnet.direct.default" in seen


def test_a_functions_convolutions_are_exchanged_by_inductor():
    # All layouts in one graph, which is compiled in the time that each of them would take.
    cases = [of_anybody(*layouts) for layouts in itertools.product(LAYOUTS, LAYOUTS)]

    def all_of(cases):
        return [gradients(anybodys, weights, x) for weights, x in cases]

    got, expected = compiled(all_of)(cases), all_of(cases)
    tree.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    tree.map(assert_equal_strides, got, expected)


def test_library_leaves_the_graph_alone():
    layer, weights, x = case("padded")
    call, seen = recorded(lambda w, x: run(layer, w, x), kernels="library")
    call(weights, x)
    assert not any("fnet" in target for target in seen)


def first_numbers(weights, x):
    y = functional.conv2d(x, weights["weight"], weights["bias"], padding=1)
    return y.as_strided((5,), (1,)), y.cos()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_looks_at_memory_sees_the_strides_of_before(layout):
    _, weights, x = case("padded", layout=layout)
    call, seen = recorded(first_numbers)
    got, expected = call(weights, x), first_numbers(weights, x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert "fnet.direct.default" in seen


def test_what_looks_at_memory_sees_the_strides_of_before_by_inductor():
    cases = [case("padded", layout=layout)[1:] for layout in LAYOUTS]

    def all_of(cases):
        return [first_numbers(weights, x) for weights, x in cases]

    got, expected = compiled(all_of)(cases), all_of(cases)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
