"""The options that choose a network or a training: each does what it says."""

from types import SimpleNamespace

import pytest
from records import read, read_lines
from torch import nn

from fnet import data, random, tree
from fnet.loop import fit
from fnet.optim import get_hyper
from fnet.run import cli
from fnet.run.splits import Splits
from fnet.step import make_grad, make_step
from recipes import cnn, dainet, dainet7, mynet, net

SMOKE = ["--variant", "smoke", "--limit", "16", "--batch-size", "8", "--device", "cpu"]


@pytest.fixture(scope="module")
def splits():
    images = data.shapes(random.key(0), 16)
    return Splits(images, images)


@pytest.fixture
def build(monkeypatch, splits):
    """From a command line to the experiment that a run of it trains."""

    def experiment_of(recipe, options):
        configs = []

        def train(recipe, variant, config, display, world):
            configs.append(config)
            return SimpleNamespace(exit_code=0)

        monkeypatch.setattr(cli, "train", train)
        assert cli.main(recipe, [*SMOKE, *options]) == 0
        configs[0].validate()
        return recipe.build(configs[0], splits)

    return experiment_of


def trained(experiment, splits):
    """Return the records of two steps."""
    params = experiment.model.init(random.key(0))
    grad_fn = make_grad(
        experiment.model,
        experiment.loss,
        preprocess=experiment.preprocess,
        augment=experiment.augment,
    )
    step, opt_state = make_step(grad_fn, experiment.tx), experiment.tx.init(params.trainable)
    return list(fit(step, params, opt_state, random.key(1), splits.train, size=8, epochs=1))


@pytest.mark.parametrize(
    ("recipe", "options", "kind", "count"),
    [
        (net.RECIPE, ["--activation", "sigmoid"], nn.Sigmoid, 4),
        (net.RECIPE, ["--linears", "2"], nn.Linear, 2),
        (net.RECIPE, ["--softmax"], nn.Softmax, 1),
        (dainet.RECIPE, ["--activation", "tanh"], nn.Tanh, 5),
        (dainet.RECIPE, ["--linears", "1"], nn.Linear, 1),
        (dainet.RECIPE, ["--softmax"], nn.Softmax, 1),
        (dainet7.RECIPE, ["--activation", "softplus"], nn.Softplus, 6),
    ],
)
def test_a_network_has_the_layers_asked_for(recipe, options, kind, count, build):
    layers = list(build(recipe, options).model.make().modules())
    assert sum(isinstance(layer, kind) for layer in layers) == count
    if "--activation" in options:
        assert not any(isinstance(layer, nn.ReLU) for layer in layers)


ALTERNATIVES = {
    "augment": (cnn.RECIPE, [["--augment", name] for name in ("none", "crop_flip", "more")]),
    "optimizer": (
        net.RECIPE,
        [["--optimizer", name] for name in ("sgd", "momentum", "rmsprop", "adam", "adamw")],
    ),
    "dropout": (dainet.RECIPE, [["--dropout", name] for name in ("first", "every", "none")]),
    "dainet7": (
        dainet7.RECIPE,
        [
            [],
            ["--optimizer", "adam"],
            ["--weight-decay", "0.5"],
            ["--label-smoothing", "0.5"],
            ["--dropout", "1"],
        ],
    ),
}


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_each_alternative_leads_to_other_weights(name, build, splits):
    recipe, alternatives = ALTERNATIVES[name]
    reached = {}
    for options in alternatives:
        trainable = trained(build(recipe, options), splits)[-1].params.trainable
        reached[tuple(options)] = tuple(float(leaf.sum()) for leaf in tree.leaves(trainable))
    assert len(set(reached.values())) == len(alternatives)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("one_cycle", [0.1 * 0.625, 0.0]), ("author", [0.1, 0.1]), ("plateau", [0.1, 0.1])],
)
def test_a_schedule_gives_the_rate_of_each_step(schedule, rates, build, splits):
    options = ["--optimizer", "adam", "--lr", "0.1", "--schedule", schedule]
    experiment = build(dainet7.RECIPE, options)
    records = trained(experiment, splits)
    found = [float(get_hyper(record.opt_state, "learning_rate")) for record in records]
    assert found == pytest.approx(rates, abs=1e-3)
    assert (experiment.plateau is not None) == (schedule == "plateau")


PLATEAU = ["--optimizer", "sgd", "--schedule", "plateau", "--lr", "0.1"]


@pytest.mark.parametrize(
    ("recipe", "options", "scales"),
    [
        (mynet.RECIPE, [], [1, 0.5, 0.25]),
        (mynet.RECIPE, ["--factor", "0.25"], [1, 0.25, 0.0625]),
        (mynet.RECIPE, ["--patience", "1"], [1, 1, 0.5]),
        (mynet.RECIPE, ["--min-lr", "0.08"], [1, 0.8, 0.8]),
        (dainet7.RECIPE, PLATEAU, [1] * 11 + [0.1]),
    ],
)
def test_a_plateau_scales_the_rate(recipe, options, scales, build):
    plateau = build(recipe, options).plateau
    state, found = plateau.init(), []
    for _ in scales:
        scale, state = plateau.update(1.0, state)
        found.append(float(scale))
    assert found == pytest.approx(scales)


@pytest.mark.usefixtures("no_reports")
def test_a_plateau_of_the_train_loss_lowers_the_rate(tmp_path):
    # At this learning rate the loss is not a number after the first step: nothing improves.
    options = [*SMOKE, "--lr", "1e30", "--on-nonfinite", "skip", "--epochs", "3"]
    options += ["--batch-size", "16", "--factor", "0.25", "--out", str(tmp_path)]
    assert cli.main(mynet.RECIPE, options) == 0
    lines = read_lines(next(tmp_path.iterdir()) / "metrics.jsonl")
    assert [line["learning_rate"] / 1e30 for line in lines] == pytest.approx([1, 1, 0.25])


@pytest.mark.usefixtures("no_reports")
def test_how_numbers_are_computed_is_in_the_record(tmp_path):
    options = [*SMOKE, "--precision", "bf16", "--deterministic", "--out", str(tmp_path)]
    assert cli.main(cnn.RECIPE, options) == 0
    environment = read(next(tmp_path.iterdir()) / "environment.json")
    assert (environment["precision"], environment["deterministic"]) == ("bf16", True)


def test_root_is_where_published_data_sets_are_looked_for(tmp_path, capsys):
    options = [*SMOKE, "--data", "fer2013", "--root", str(tmp_path / "there")]
    assert cli.main(cnn.RECIPE, [*options, "--out", str(tmp_path / "runs")]) == 2
    assert str(tmp_path / "there" / "fer2013") in capsys.readouterr().err
