"""What a trainer evaluates, and what it keeps as the best."""

import math
from dataclasses import replace

import pytest
import torch
from kills import options
from records import read, read_lines
from safetensors.torch import load_file

from fnet import data, optim, random, tree
from fnet.run import cli, compiled, held_out
from fnet.run.checkpoint import weights_epoch
from fnet.run.runtime import Runtime
from fnet.run.splits import Splits
from recipes import net


@pytest.mark.usefixtures("no_reports")
def test_the_params_that_a_recipe_evaluates_are_those_that_are_kept(image_folder, tmp_path):
    def zeros(params, opt_state):
        return params._replace(trainable=tree.map(torch.zeros_like, params.trainable))

    def build(config, splits):
        return replace(net.build(config, splits), eval_params=zeros)

    recipe = replace(net.RECIPE, build=build)
    assert cli.main(recipe, [*options(image_folder, epochs=1), "--out", str(tmp_path)]) == 0
    (directory,) = tmp_path.iterdir()
    (line,) = read_lines(directory / "metrics.jsonl")
    # To a network of zeros each of the ten classes is as probable as the others.
    assert line["test_loss"] == pytest.approx(math.log(10))
    for name in ("best", "final"):
        assert not any(leaf.any() for leaf in load_file(directory / f"{name}.safetensors").values())


def scripted(figures):
    """Return an `evaluate` that gives these accuracies and losses in turn, by whose images."""
    turns = {images: iter(pairs) for images, pairs in figures.items()}

    def evaluate(eval_step, params, dataset, *, size):
        accuracy, loss = next(turns["test" if len(dataset) == 40 else "validation"])
        sums = {"loss": loss, "correct": accuracy, "count": 1.0}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()}

    return evaluate


def test_fewer_images_than_a_batch_of_an_evaluation_are_evaluated_compiled(monkeypatch):
    monkeypatch.setattr(compiled, "compile", lambda step, **_: step)
    drawn = data.shapes(random.key(0), 20)
    splits = Splits(drawn, drawn)
    config = net.VARIANTS["author"]
    experiment = net.build(config, splits)
    held = held_out.HeldOut(experiment, splits, config, Runtime("cpu", "fp32", True, threads=2))
    params = experiment.model.init(random.key(0))
    first = held.evaluate(params)
    assert 0 <= first["test_accuracy"] <= 1
    assert held.evaluate(params) == first


def test_an_evaluation_tells_how_many_images_are_done(monkeypatch):
    monkeypatch.setattr(held_out, "EVAL_BATCH", 8)
    drawn = data.shapes(random.key(0), 20)
    splits = Splits(drawn, drawn, drawn.take(5))
    config = replace(net.VARIANTS["default"], batch_size=4)
    experiment = net.build(config, splits)
    held = held_out.HeldOut(experiment, splits, config, Runtime("cpu", "fp32", False, threads=1))
    told = []
    params = experiment.model.init(random.key(0))
    found = held.evaluate(params, lambda done, total: told.append((done, total)))
    assert told == [(8, 25), (16, 25), (20, 25), (25, 25)]
    assert found == held.evaluate(params)


# By its accuracy the first epoch is best, by its loss the last.
FALLING = [(0.9, 0.4), (0.8, 0.3), (0.7, 0.2), (0.6, 0.1)]


@pytest.mark.usefixtures("no_reports")
@pytest.mark.parametrize("judged_by", ["test", "validation"])
def test_the_best_epoch_is_the_first_of_the_highest_accuracy(
    judged_by, image_folder, tmp_path, monkeypatch
):
    figures = {"test": FALLING, "validation": FALLING}
    figures[judged_by] = [(0.2, 1.0), (0.4, 2.0), (0.4, 0.5), (0.3, 3.0)]
    monkeypatch.setattr(held_out, "evaluate", scripted(figures))
    arguments = [*options(image_folder, epochs=4), "--out", str(tmp_path)]
    arguments += ["--validation", "0.25"] if judged_by == "validation" else []
    assert cli.main(net.RECIPE, arguments) == 0
    (directory,) = tmp_path.iterdir()
    assert weights_epoch(directory / "best.safetensors") == 2
    assert read(directory / "result.json")["best"]["epoch"] == 2


@pytest.mark.usefixtures("no_reports")
def test_a_plateau_is_one_of_the_train_loss(image_folder, tmp_path, monkeypatch):
    def build(config, splits):
        return replace(
            net.build(config, splits),
            loss=lambda logits, labels: 1 + 0 * logits.sum(-1),
            plateau=optim.plateau(config.lr, factor=0.5, patience=0),
        )

    monkeypatch.setattr(held_out, "evaluate", scripted({"test": FALLING}))
    recipe = replace(net.RECIPE, build=build)
    assert cli.main(recipe, [*options(image_folder), "--out", str(tmp_path)]) == 0
    (directory,) = tmp_path.iterdir()
    rates = [line["learning_rate"] for line in read_lines(directory / "metrics.jsonl")]
    assert [rate / rates[0] for rate in rates] == pytest.approx([1, 1, 0.5])
