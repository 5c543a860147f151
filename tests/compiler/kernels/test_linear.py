"""Linear layers of few rows: the numbers of PyTorch's own layer."""

import pytest
import torch
from gradients import gradients
from graphs import recorded, traced
from torch import nn
from torch.func import functional_call, grad, vmap

from fnet import tree
from fnet.nn.linear import own_linear


def case(rows, bias=True, dtype=torch.float64, seed=0):
    """Return PyTorch's layer, the one in its place, weights, and `x` `[rows, 5]`."""
    layer = nn.Linear(5, 3, bias=bias)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(leaf.shape, generator=generator).to(dtype)
        for name, leaf in layer.named_parameters()
    }
    return layer, own_linear(layer), weights, torch.randn(rows, 5, generator=generator).to(dtype)


def run(layer, weights, x):
    """Return the gradients with respect to weights and `x`, and the result."""
    return gradients(lambda weights, x: functional_call(layer, weights, (x,)), weights, x)


def is_own(layer, weights, x):
    """Say whether the compiled gradient of the weights is a sum over rows, no matrix product."""
    compiled, seen = recorded(lambda w, x: run(layer, w, x))
    compiled(weights, x)
    return sum("mm" in target for target in seen) == 2


@pytest.mark.parametrize("rows", [1, 4, 7, 8])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 2e-2)])
def test_compiled_it_is_the_layer_it_replaces(rows, bias, dtype, tolerance):
    theirs, ours, weights, x = case(rows, bias, dtype)
    got = traced(lambda w, x: run(ours, w, x))(weights, x)
    tree.assert_close(got, run(theirs, weights, x), rtol=tolerance, atol=tolerance)


def test_the_compilers_loops_compute_the_same():
    theirs, ours, weights, x = case(4)
    got = traced(lambda w, x: run(ours, w, x), "inductor")(weights, x)
    tree.assert_close(got, run(theirs, weights, x), rtol=1e-12, atol=1e-12)


def test_eager_it_is_the_layer_itself():
    theirs, ours, weights, x = case(4)
    tree.assert_equal(run(ours, weights, x), run(theirs, weights, x))


def test_it_is_for_a_few_rows_in_training():
    _, ours, weights, x = case(8)
    assert is_own(ours, weights, x[:7])
    assert not is_own(ours, weights, x)
    assert not is_own(ours, weights, x[:6].view(2, 3, 5))
    assert not is_own(ours.eval(), weights, x[:7])


def test_vmap_is_a_loop():
    _, ours, _, _ = case(4)
    cases = [case(4, seed=seed)[2:] for seed in (1, 2, 3)]
    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)
    result = traced(vmap(lambda w, x: run(ours, w, x)))(*stacked)
    for place, one in enumerate(cases):
        alone = tree.map(lambda leaf, place=place: leaf[place], result)
        tree.assert_close(alone, run(ours, *one), rtol=1e-12, atol=1e-12)


def test_vmap_over_models_of_the_same_rows_is_a_loop():
    _, ours, _, x = case(4)
    cases = [case(4, seed=seed)[2] for seed in (1, 2, 3)]
    stacked = tree.map(lambda *leaves: torch.stack(leaves), *cases)

    def forward(weights, x):
        return functional_call(ours, weights, (x,))

    together = traced(vmap(forward, in_dims=(0, None)))(stacked, x)
    alone = torch.stack([forward(weights, x) for weights in cases])
    torch.testing.assert_close(together, alone)


def test_autocast_of_the_forward_pass_alone():
    theirs, ours, weights, x = case(2, dtype=torch.float32)

    def slopes(layer):
        def loss(weights, x):
            with torch.autocast("cpu", torch.bfloat16):
                y = functional_call(layer, weights, (x,)).float()
            return y.pow(2).sum()

        return lambda w, x: grad(loss, argnums=(0, 1))(w, x)

    got, expected = traced(slopes(ours))(weights, x), slopes(theirs)(weights, x)
    tree.assert_close(got, expected, rtol=1e-2, atol=1e-2)


def test_second_derivatives_are_right():
    theirs, ours, weights, x = case(4)

    def energy(layer):
        def steepness(x):
            slope = grad(lambda x: functional_call(layer, weights, (x,)).pow(3).sum())(x)
            return slope.pow(2).mean()

        return grad(steepness)

    torch.testing.assert_close(traced(energy(ours))(x), energy(theirs)(x))


def test_other_sizes_are_refused_as_pytorch_does():
    _, ours, weights, x = case(4)
    with pytest.raises(RuntimeError, match="reduction dim"):
        traced(lambda w, x: functional_call(ours, w, (x,)))(weights, x[:, :4])


def test_what_has_no_twin_stays():
    assert own_linear(nn.Bilinear(2, 2, 2)) is None
