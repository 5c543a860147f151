"""Metrics: sums that do not depend on how samples are split into batches."""

import math

import pytest
import torch
from graphs import traced
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from fnet import metrics


def make(samples: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return losses, logits, labels and weights, some of these 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, 3, generator=generator)
    labels = torch.randint(3, (samples,), generator=generator)
    weight = torch.randint(3, (samples,), generator=generator) / 2
    return torch.rand(samples, generator=generator), logits, labels, weight


@given(samples=st.integers(0, 20), cut=st.integers(0, 20), seed=st.integers(0, 2**16))
def test_batches_add_up(samples: int, cut: int, seed: int) -> None:
    batch = make(samples, seed)
    before = [part.clone() for part in batch]
    whole = metrics.from_logits(*batch)
    first = metrics.from_logits(*(part[:cut] for part in batch))
    second = metrics.from_logits(*(part[cut:] for part in batch))
    total = metrics.add(first, second)
    assert_close(total, whole, rtol=1e-12, atol=0)
    assert_close(list(batch), before, rtol=0, atol=0)
    assert all(value.shape == () and value.dtype == torch.float64 for value in whole.values())


def test_means_are_weighted() -> None:
    losses, logits, labels, weight = make(50)
    means = metrics.means(metrics.from_logits(losses, logits, labels, weight))
    correct = (logits.argmax(-1) == labels).double()
    assert list(means) == ["loss", "accuracy"]
    assert means["loss"] == pytest.approx((losses * weight).sum().item() / weight.sum().item())
    assert means["accuracy"] == pytest.approx((correct @ weight.double() / weight.sum()).item())


def test_samples_of_weight_zero_count_for_nothing() -> None:
    losses, logits, labels, weight = make(8)
    weight[5:] = 0
    broken = losses.clone()
    broken[5:] = torch.tensor([math.nan, math.inf, -math.inf])
    expected = metrics.from_logits(losses[:5], logits[:5], labels[:5], weight[:5])
    assert_close(metrics.from_logits(broken, logits, labels, weight), expected, rtol=0, atol=0)


def test_a_probability_label_is_its_most_probable_class() -> None:
    losses, logits, labels, weight = make(20)
    soft = 0.6 * torch.nn.functional.one_hot(labels, 3) + 0.4 / 3
    expected = metrics.from_logits(losses, logits, labels, weight)
    assert_close(metrics.from_logits(losses, logits, soft, weight), expected)


def test_counts_stay_exact_beyond_float32() -> None:
    one = {"correct": torch.ones((), dtype=torch.float64), "count": torch.ones(()).double()}
    many = {name: torch.tensor(2.0**24, dtype=torch.float64) for name in one}
    assert metrics.add(many, one)["count"].item() == 2**24 + 1


def test_no_samples_give_nan() -> None:
    means = metrics.means(metrics.from_logits(*make(0)))
    assert all(math.isnan(value) for value in means.values())


def test_an_entry_of_ones_own_is_divided_by_the_count() -> None:
    sums = {"grad_norm": torch.tensor(6.0), "count": torch.tensor(4.0)}
    assert metrics.means(sums) == {"grad_norm": 1.5}


def test_vmap_is_a_loop() -> None:
    models = [make(6, seed) for seed in range(3)]
    stacked = [torch.stack(parts) for parts in zip(*models, strict=True)]
    together = torch.vmap(metrics.from_logits)(*stacked)
    for i, model in enumerate(models):
        one = {name: value[i] for name, value in together.items()}
        assert_close(one, metrics.from_logits(*model))


def test_compiled_is_eager() -> None:
    compiled = traced(metrics.from_logits)
    assert_close(compiled(*make(6)), metrics.from_logits(*make(6)))


def test_metrics_that_do_not_match_are_refused() -> None:
    sums = metrics.from_logits(*make(3))
    with pytest.raises(ValueError, match="same entries"):
        metrics.add(sums, {"count": sums["count"]})
    with pytest.raises(ValueError, match='a "count" to divide by'):
        metrics.means({"loss": sums["loss"]})
