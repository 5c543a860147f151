"""Muon against a plain reference and torch.optim.Muon, and its documented properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from fnet import optim


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 99))
def test_newton_schulz_keeps_singular_vectors_and_evens_values(
    rows: int, columns: int, seed: int
) -> None:
    u, _, vh = torch.linalg.svd(randn(rows, columns, seed=seed), full_matrices=False)
    values = torch.linspace(0.1, 1.0, u.shape[1], dtype=torch.float64)
    result = u.mT @ optim.newton_schulz(u * values @ vh) @ vh.mT
    evened = result.diagonal()
    assert_close(result, torch.diag(evened), rtol=0, atol=1e-9)
    assert (evened > 0.6).all()
    assert (evened < 1.25).all()


def test_newton_schulz_has_the_scale_of_its_argument_removed() -> None:
    matrix = randn(4, 6)
    assert_close(optim.newton_schulz(1e3 * matrix), optim.newton_schulz(matrix))
    assert_close(optim.newton_schulz(0.0 * matrix), torch.zeros(4, 6, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_one_step_follows_torch_to_bfloat16(shape: tuple[int, int]) -> None:
    start, grad = randn(*shape, dtype=torch.float32), randn(*shape, seed=1, dtype=torch.float32)
    theirs = start.clone()
    theirs.grad = grad.clone()
    torch.optim.Muon([theirs], lr=1.0, weight_decay=0.1).step()

    tx = optim.muon(1.0, weight_decay=0.1)
    updates, _ = tx.update({"w": grad}, tx.init({"w": start}), {"w": start})
    assert_close(updates["w"], theirs - start, rtol=0, atol=0.03)


def reference(grads: list[Tensor], start: Tensor, nesterov: bool) -> Tensor:
    """Return the param after steps of Keller Jordan's formulas, for one matrix."""
    param, buffer = start.clone(), torch.zeros_like(start)
    for grad in grads:
        buffer = 0.95 * buffer + grad
        x = (grad + 0.95 * buffer) if nesterov else buffer
        x = x / x.norm()
        if transposed := x.shape[0] > x.shape[1]:
            x = x.T
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        if transposed:
            x = x.T
        scale = max(1, start.shape[0] / start.shape[1]) ** 0.5
        param = param - 0.02 * 0.1 * param - 0.02 * scale * x
    return param


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (6, 2, 1, 2), (2, 3, 2, 2)])
def test_follows_the_reference(shape: tuple[int, ...], nesterov: bool) -> None:
    start, grads = randn(*shape), [randn(*shape, seed=i) for i in range(1, 21)]
    tx = optim.muon(0.02, nesterov=nesterov, weight_decay=0.1)
    params = {"w": start}
    state = tx.init(params)
    for grad in grads:
        updates, state = tx.update({"w": grad}, state, params)
        params = optim.apply_updates(params, updates)
    expected = reference([grad.flatten(1) for grad in grads], start.flatten(1), nesterov)
    assert_close(params["w"].flatten(1), expected, rtol=1e-9, atol=1e-9)


def test_vectors_are_refused_by_path() -> None:
    vectors = {"conv": {"w": randn(2)}}
    with pytest.raises(ValueError, match=r"'conv/w' has shape \(2,\).*optim.partition"):
        optim.muon(0.02).init(vectors)
    with pytest.raises(ValueError, match="'conv/w' has shape"):
        optim.orthogonalize().update(vectors, (), vectors)
