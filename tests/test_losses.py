"""Cross-entropy against torch.nn.functional.cross_entropy, for classes and for probabilities."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from graphs import traced
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from fnet import losses

KINDS = ["classes", "probabilities"]


def make(kind: str, samples: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(samples, classes, generator=generator)
    if kind == "classes":
        return logits, torch.randint(classes, (samples,), generator=generator)
    return logits, torch.randn(samples, classes, generator=generator).softmax(-1)


@given(
    kind=st.sampled_from(KINDS),
    samples=st.integers(0, 5),
    classes=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_values_and_gradients_are_those_of_torch(
    kind: str, samples: int, classes: int, seed: int, smoothing: float
) -> None:
    logits, labels = make(kind, samples, classes, seed)
    before = logits.clone(), labels.clone()
    ours = logits.clone().requires_grad_()
    theirs = logits.clone().requires_grad_()
    loss = losses.cross_entropy(ours, labels, label_smoothing=smoothing)
    expected = F.cross_entropy(theirs, labels, reduction="none", label_smoothing=smoothing)
    assert loss.shape == (samples,)
    assert_close(loss, expected, rtol=0, atol=0)

    weights = torch.arange(1.0, samples + 1)
    (loss @ weights).backward()
    (expected @ weights).backward()
    assert_close(ours.grad, theirs.grad, rtol=0, atol=0)
    assert_close((logits, labels), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_by_its_definition(kind: str) -> None:
    logits, labels = make(kind, 4, 5, 0)
    soft = F.one_hot(labels, 5).float() if kind == "classes" else labels
    smoothed = 0.8 * soft + 0.2 / 5
    expected = -(smoothed * logits.log_softmax(-1)).sum(-1)
    assert_close(partial(losses.cross_entropy, label_smoothing=0.2)(logits, labels), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_logits_give_float32_losses(kind: str, dtype: torch.dtype) -> None:
    logits, labels = make(kind, 4, 5, 0)
    logits = logits.to(dtype)
    loss = losses.cross_entropy(logits, labels)
    assert loss.dtype == torch.float32
    assert_close(loss, losses.cross_entropy(logits.float(), labels), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_is_a_loop(kind: str) -> None:
    models = [make(kind, 4, 5, seed) for seed in range(3)]
    logits, labels = (torch.stack(parts) for parts in zip(*models, strict=True))
    together = torch.vmap(losses.cross_entropy)(logits, labels)
    grads = torch.vmap(torch.func.grad(lambda *args: losses.cross_entropy(*args).sum()))
    for i, model in enumerate(models):
        assert_close(together[i], losses.cross_entropy(*model))
        one = torch.func.grad(lambda *args: losses.cross_entropy(*args).sum())(*model)
        assert_close(grads(logits, labels)[i], one)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_is_eager(kind: str) -> None:
    loss = partial(losses.cross_entropy, label_smoothing=0.1)
    compiled = traced(loss)
    logits, labels = make(kind, 4, 5, 0)
    assert_close(compiled(logits, labels), loss(logits, labels))


def test_wrong_labels_are_refused() -> None:
    logits, labels = make("classes", 4, 5, 0)
    with pytest.raises(TypeError, match=r"int64 classes or float.*torch.int32"):
        losses.cross_entropy(logits, labels.int())
    with pytest.raises(ValueError, match=r"have shape \(4,\); got \(3,\)"):
        losses.cross_entropy(logits, labels[:3])
    with pytest.raises(ValueError, match=r"have shape \(4, 5\); got \(4,\)"):
        losses.cross_entropy(logits, labels.float())
    with pytest.raises(ValueError, match="label_smoothing is in"):
        losses.cross_entropy(logits, labels, label_smoothing=1.5)
