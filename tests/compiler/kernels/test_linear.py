"""Weight gradients of linear layers for few rows: the same results as PyTorch's own layer."""

import pytest
import torch
from exchange import compiled, exchanged, recorded
from gradients import gradients
from torch import nn
from torch.func import functional_call, grad, vmap

from fnet import tree


def case(rows, bias=True, dtype=torch.float64, seed=0):
    """Return a layer, weights, and `x` `[rows, 5]`."""
    layer = nn.Linear(5, 3, bias=bias)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(leaf.shape, generator=generator).to(dtype)
        for name, leaf in layer.named_parameters()
    }
    return layer, weights, torch.randn(rows, 5, generator=generator).to(dtype)


def run(layer, weights, x):
    """Return the gradients with respect to weights and `x`, and the result."""
    return gradients(lambda weights, x: functional_call(layer, weights, (x,)), weights, x)


def is_own(layer, weights, x):
    """Return whether the compiled weight gradient is a sum over rows, not a matrix product."""
    call, seen = recorded(lambda w, x: run(layer, w, x))
    call(weights, x)
    return sum("mm" in target for target in seen) == 2


@pytest.mark.parametrize("rows", [1, 4, 7, 8])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 2e-2)])
def test_compiled_it_is_the_layer_it_replaces(rows, bias, dtype, tolerance):
    layer, weights, x = case(rows, bias, dtype)
    got = exchanged(lambda w, x: run(layer, w, x))(weights, x)
    tree.assert_close(got, run(layer, weights, x), rtol=tolerance, atol=tolerance)


def test_the_compilers_loops_compute_the_same():
    layer, weights, x = case(4)
    got = compiled(lambda w, x: run(layer, w, x))(weights, x)
    tree.assert_close(got, run(layer, weights, x), rtol=1e-12, atol=1e-12)


def test_it_is_for_a_few_rows():
    layer, weights, x = case(8)
    assert is_own(layer, weights, x[:7])
    assert not is_own(layer, weights, x)
    # Six rows in total, with two batch dimensions.
    assert is_own(layer, weights, x[:6].view(2, 3, 5))
    assert is_own(layer.eval(), weights, x[:7])


def test_vmap_is_a_loop():
    layer, _, _ = case(4)
    cases = [case(4, seed=seed)[1:] for seed in (1, 2, 3)]
    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    result = exchanged(vmap(lambda w, x: run(layer, w, x)))(*stacked)
    for place, one in enumerate(cases):
        alone = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(alone, run(layer, *one), rtol=1e-12, atol=1e-12)


def test_vmap_over_models_of_the_same_rows_is_a_loop():
    layer, _, x = case(4)
    cases = [case(4, seed=seed)[1] for seed in (1, 2, 3)]
    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)

    def forward(weights, x):
        return functional_call(layer, weights, (x,))

    together = exchanged(vmap(forward, in_dims=(0, None)))(stacked, x)
    alone = torch.stack([forward(weights, x) for weights in cases])
    torch.testing.assert_close(together, alone)


def test_autocast_of_the_forward_pass_alone():
    layer, weights, x = case(2, dtype=torch.float32)

    def slopes(weights, x):
        def loss(weights, x):
            with torch.autocast("cpu", torch.bfloat16):
                y = functional_call(layer, weights, (x,)).float()
            return y.pow(2).sum()

        return grad(loss, argnums=(0, 1))(weights, x)

    got, expected = exchanged(slopes)(weights, x), slopes(weights, x)
    tree.assert_close(got, expected, rtol=1e-2, atol=1e-2)


def test_second_derivatives_are_right():
    layer, weights, x = case(4)

    def energy(weights, x):
        def steepness(x):
            slope = grad(lambda x: functional_call(layer, weights, (x,)).pow(3).sum())(x)
            return slope.pow(2).mean()

        return grad(steepness)(x)

    torch.testing.assert_close(exchanged(energy)(weights, x), energy(weights, x))


def test_other_sizes_are_refused_as_pytorch_does():
    layer, weights, x = case(4)
    with pytest.raises(RuntimeError, match="reduction dim"):
        exchanged(lambda w, x: functional_call(layer, w, (x,)))(weights, x[:, :4])


def test_a_product_that_is_no_weight_gradient_is_the_librarys():
    *_, x = case(8)
    few = x[:, :4] @ x[:, :4].t()
    call, seen = recorded(lambda x: x[:, :4] @ x[:, :4].t())
    torch.testing.assert_close(call(x), few)
    assert "aten.mm.default" in seen
