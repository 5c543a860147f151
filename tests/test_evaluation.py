"""The figures of an evaluation, against plain loops; the logits of a data set, row by row."""

import math
from functools import partial

import pytest
import torch
from graphs import traced
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import batch, full
from torch.func import vmap

from fnet import metrics, random, tree
from fnet.data import Dataset, normalize
from fnet.evaluation import (
    all_logits,
    calibration_error,
    class_accuracy,
    confusion_matrix,
    evaluate_logits,
    make_forward,
    topk_accuracy,
    worst_mistakes,
)
from fnet.loop import evaluate
from fnet.losses import cross_entropy
from fnet.step import make_eval

MODEL = full()
PARAMS = MODEL.init(random.key(0))
PREPROCESS = normalize(0.5, 0.25)


def dataset(n):
    images, labels, *_ = batch(3, n)
    return Dataset(images, labels, ("a", "b", "c", "d", "e"), "noise")


@st.composite
def classified(draw, most=30):
    """Logits, on a coarse grid so that there are ties, and labels."""
    n, classes = draw(st.integers(1, most)), draw(st.integers(1, 7))
    logits_key, labels_key = random.split(random.key(draw(st.integers(0, 2**32 - 1))))
    logits = random.randint(logits_key, (n, classes), -8, 9) / 2
    return logits, random.randint(labels_key, (n,), 0, classes)


@given(classified())
def test_figures_are_those_of_plain_loops(sample):
    logits, labels = sample
    n, classes = logits.shape
    found = evaluate_logits(logits, labels, cross_entropy, max_mistakes=3)
    predicted = [row.index(max(row)) for row in logits.tolist()]
    truth = labels.tolist()
    counts = [[0] * classes for _ in range(classes)]
    for label, guess in zip(truth, predicted, strict=True):
        counts[label][guess] += 1
    assert found.confusion == counts
    assert found.images == n
    assert found.top1 == pytest.approx(sum(counts[c][c] for c in range(classes)) / n)
    assert found.top5 == 1.0 or classes > 5
    assert found.loss == pytest.approx(cross_entropy(logits, labels).mean().item(), rel=1e-5)
    for c, share in enumerate(found.class_accuracy):
        assert share == (pytest.approx(counts[c][c] / sum(counts[c])) if c in truth else None)
    assert len(found.mistakes) == min(3, sum(a != b for a, b in zip(truth, predicted, strict=True)))
    for mistake in found.mistakes:
        assert mistake.label == truth[mistake.index] != mistake.predicted
        assert mistake.predicted == predicted[mistake.index]
    confidences = [mistake.confidence for mistake in found.mistakes]
    assert confidences == sorted(confidences, reverse=True)


@given(classified(), st.integers(1, 20))
def test_calibration_error_is_guos(sample, bins):
    probabilities = sample[0].double().softmax(-1)
    n, error = len(probabilities), 0.0
    confidence, predicted = (part.tolist() for part in probabilities.max(-1))
    right = [a == b for a, b in zip(predicted, sample[1].tolist(), strict=True)]
    for m in range(1, bins + 1):
        members = [i for i in range(n) if (m - 1) / bins < confidence[i] <= m / bins]
        if members:
            accuracy = sum(right[i] for i in members) / len(members)
            mean = sum(confidence[i] for i in members) / len(members)
            error += len(members) / n * abs(accuracy - mean)
    assert calibration_error(probabilities, sample[1], bins).item() == pytest.approx(error)


@given(classified(), st.integers(1, 7))
def test_topk_grows_to_one_and_starts_as_training_counts(sample, k):
    logits, labels = sample
    zeros, ones = torch.zeros(len(labels)), torch.ones(len(labels))
    counted = metrics.means(metrics.from_logits(zeros, logits, labels, ones))["accuracy"]
    assert topk_accuracy(logits, labels).item() == pytest.approx(counted)
    assert topk_accuracy(logits, labels, k) <= topk_accuracy(logits, labels, k + 1)
    assert topk_accuracy(logits, labels, logits.shape[1]) == 1


def test_perfect_calibration_and_none():
    labels = torch.zeros(10, dtype=torch.int64)
    labels[:3] = 1
    probabilities = torch.tensor([[0.7, 0.3]]).expand(10, 2)
    assert calibration_error(probabilities, labels).item() == pytest.approx(0.0, abs=1e-7)
    assert calibration_error(torch.tensor([[1.0, 0.0]]), torch.tensor([1])) == 1


def test_a_class_without_samples_has_no_accuracy():
    logits, labels = torch.eye(3), torch.tensor([0, 1, 1])
    assert class_accuracy(confusion_matrix(logits, labels)).isnan().tolist() == [0, 0, 1]
    assert evaluate_logits(logits, labels, cross_entropy).class_accuracy == [1.0, 0.5, None]


FIGURES = {
    "top-2": partial(topk_accuracy, k=2),
    "confusion": confusion_matrix,
    "calibration": lambda logits, labels: calibration_error(logits.softmax(-1), labels),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_pure_and_go_under_vmap_and_compile(name):
    figure = FIGURES[name]
    logits = random.normal(random.key(0), (3, 20, 5))
    labels = random.randint(random.key(1), (3, 20), 0, 5)
    before = logits.clone(), labels.clone()
    each = torch.stack([figure(x, y) for x, y in zip(logits, labels, strict=True)])
    torch.testing.assert_close(vmap(figure)(logits, labels), each)
    compiled = traced(figure)
    torch.testing.assert_close(compiled(logits[0], labels[0]), each[0])
    assert logits.equal(before[0])
    assert labels.equal(before[1])


def test_no_mistakes_are_none():
    assert worst_mistakes(torch.eye(3), torch.arange(3), 5).tolist() == []


@settings(max_examples=15)
@given(st.integers(1, 20), st.integers(1, 25), st.booleans())
def test_logits_come_one_row_an_image_in_order(n, size, flip):
    forward = make_forward(MODEL, preprocess=PREPROCESS, flip=flip)
    images = dataset(n)
    logits = all_logits(forward, PARAMS, images, size=size)
    assert logits.shape == (n, 5)
    torch.testing.assert_close(logits, forward(PARAMS, images.images), rtol=1e-4, atol=1e-5)


def test_figures_agree_with_the_evaluation_of_training():
    images = dataset(13)
    logits = all_logits(make_forward(MODEL, preprocess=PREPROCESS), PARAMS, images, size=4)
    step = make_eval(MODEL, cross_entropy, preprocess=PREPROCESS)
    means = metrics.means(evaluate(step, PARAMS, images, size=4))
    found = evaluate_logits(logits, images.labels, cross_entropy)
    assert found.top1 == means["accuracy"]
    assert math.isclose(found.loss, means["loss"], rel_tol=1e-12)


def test_flip_is_the_mean_of_the_logits_and_sees_no_side():
    forward = make_forward(MODEL, preprocess=PREPROCESS, flip=True)
    single = make_forward(MODEL, preprocess=PREPROCESS)
    images = dataset(4).images
    mirrored = images.flip(-1)
    mean = (single(PARAMS, images) + single(PARAMS, mirrored)) / 2
    assert forward(PARAMS, images).equal(mean)
    assert forward(PARAMS, mirrored).equal(mean)


def test_the_forward_pass_compiles_and_mutates_nothing():
    forward = make_forward(MODEL, preprocess=PREPROCESS, dtype=torch.bfloat16, flip=True)
    images, before = dataset(4), tree.map(torch.clone, PARAMS)
    logits = all_logits(forward, PARAMS, images, size=3)
    assert logits.dtype == torch.bfloat16
    compiled = traced(forward)
    again = all_logits(compiled, PARAMS, images, size=3)
    torch.testing.assert_close(again, logits, rtol=0.05, atol=0.05)
    tree.assert_equal(PARAMS, before)
