"""Every recipe: its variants build and fit, its smoke runs end to end, its facts are in order."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from records import read_lines
from safetensors.torch import load_file

from fnet import data, random, tree
from fnet.data import Dataset
from fnet.nn import summary
from fnet.run import cli, train
from fnet.run.learning_rate import effective_rate, with_lr_scale
from fnet.run.splits import Splits
from recipes import cnn, dainet, dainet7, fer2013, mnist, mynet, net, resnet50
from recipes.__main__ import main, modules

RECIPES = {
    module.RECIPE.name: module.RECIPE
    for module in (cnn, dainet, dainet7, fer2013, mnist, mynet, net, resnet50)
}
VARIANTS = [(name, variant) for name, recipe in RECIPES.items() for variant in recipe.variants]
each_variant = pytest.mark.parametrize(("name", "variant"), VARIANTS)
SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28), "fer2013": (1, 48, 48)}


def splits_of(name):
    """Return a data set of the recipe's shape, without memory behind it."""
    recipe = RECIPES[name]
    images = torch.zeros(1, dtype=torch.uint8).expand(50_000, *SHAPES[recipe.data])
    classes = tuple("abcdefg" if name == "fer2013" else "abcdefghij")
    dataset = Dataset(images, torch.zeros(50_000, dtype=torch.int64), classes, recipe.data)
    return Splits(dataset, dataset)


PARAMETERS = {
    ("cnn", "default"): 34_634,
    ("cnn", "pro"): 75_786,
    ("dainet", "default"): 42_618,
    ("dainet", "dainet"): 212_022,
    ("dainet", "deeper"): 217_278,
    ("net", "author"): 62_006,
    ("dainet7", "default"): 1_149_770,
    ("mnist", "default"): 61_706,
    ("mnist", "mycnn"): 8_110,
    ("mynet", "default"): 5_499_434,
    ("net", "default"): 62_006,
    ("resnet50", "default"): 23_520_842,
}


@each_variant
def test_every_variant_builds(name, variant):
    recipe = RECIPES[name]
    splits = splits_of(name)
    experiment = recipe.build(recipe.variants[variant], splits)
    table = summary(experiment.model, splits.input_shape)
    assert table.layers[-1].output_shape == (1, len(splits.train.classes))
    if (name, variant) in PARAMETERS:
        assert table.parameters == PARAMETERS[name, variant]
    opt_state = experiment.tx.init({"w": torch.zeros(2, 3, 1, 1), "b": torch.zeros(2)})
    rate = effective_rate(opt_state, experiment.learning_rate)
    scaled = with_lr_scale(
        opt_state, torch.tensor(0.5, dtype=torch.float64), experiment.learning_rate
    )
    assert effective_rate(scaled, experiment.learning_rate) == rate / 2
    assert experiment.preprocess(splits.train.images[:1]).dtype == torch.float32


@pytest.mark.parametrize("name", RECIPES)
def test_reported_figures_belong_to_variants_and_are_in_the_docstring(name):
    recipe = RECIPES[name]
    assert recipe.reported.keys() <= recipe.variants.keys()
    for figures in recipe.reported.values():
        for figure in figures.values():
            assert figure.split("%")[0].split()[-1] in recipe.doc


@each_variant
def test_every_variant_is_in_the_docstring(name, variant):
    described = RECIPES[name].doc.partition("Variants:")[2]
    assert re.search(rf"(\* |, |; |\(){re.escape(variant)}(:|,| has)", described)


@pytest.mark.parametrize("name", RECIPES)
def test_variants_come_in_pairs_by_the_same_words(name):
    variants = set(RECIPES[name].variants)
    assert variants >= {"default", "author", "smoke"}
    seconds = {variant.removesuffix("-author") for variant in variants if "-author" in variant}
    assert variants >= seconds
    assert RECIPES[name].variant("original") == "author"


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "optimizer", "lr"),
    [
        (("net", "author"), 2, 4, "momentum", 1e-3),
        (("cnn", "author"), 5, 32, "adam", 1e-3),
        (("cnn", "pro-author"), 5, 32, "adam", 1e-3),
        (("cnn", "lr0.1"), 10, 32, "adam", 0.1),
        (("mynet", "author"), 20, 128, "momentum", 0.1),
        (("mnist", "author"), 5, 128, "adam", 1e-3),
        (("mnist", "mycnn-author"), 5, 128, "adam", 1e-3),
        (("dainet", "author"), 200, 128, "adam", 1e-3),
        (("dainet", "dainet-author"), 200, 128, "sgd", 0.1),
        (("dainet", "deeper-author"), 200, 128, "adam", 1e-3),
        (("dainet7", "author"), 250, 128, "adam", 1e-3),
        (("resnet50", "author"), 250, 128, "adam", 1e-3),
        (("fer2013", "author"), 10, 32, "adam", 1e-3),
    ],
)
def test_author_is_as_the_author_wrote_it(name, epochs, batch_size, optimizer, lr):
    config = RECIPES[name[0]].variants[name[1]]
    found = (config.epochs, config.batch_size, config.optimizer, config.lr)
    assert found == (epochs, batch_size, optimizer, lr)
    assert config.schedule in ("constant", "plateau", "author")
    assert (config.label_smoothing, config.average, config.fresh_statistics) == (0, 0, 0)
    assert (config.sizes, config.cutout, config.crop) == ((), 0, 4)


def test_an_old_name_of_a_variant_is_understood(tmp_path, monkeypatch, capsys):
    started = []

    def train(recipe, variant, config, display, world):
        started.append((variant, config))
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(cli, "train", train)
    assert cli.main(dainet7.RECIPE, ["--variant", "original", "--seed", "3"]) == 0
    author = dainet7.VARIANTS["author"]
    assert started == [("author", replace(author, seed=3))]
    with pytest.raises(SystemExit):
        cli.main(dainet7.RECIPE, ["--help"])
    assert "original is an old name of author" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("name", "variant"), [pair for pair in VARIANTS if pair[1].startswith("smoke")]
)
def test_smoke_variants_run_end_to_end(name, variant, tmp_path, capsys):
    # A step of Muon on ResNet50 takes ten seconds.
    limit = "4" if name == "resnet50" else "8"
    few = ["--limit", limit, "--batch-size", "4", "--out", str(tmp_path)]
    assert cli.main(RECIPES[name], ["--variant", variant, *few]) == 0
    (directory,) = tmp_path.iterdir()
    assert directory.name == f"{name}-{variant}-s0"
    assert load_file(directory / "best.safetensors")
    result = json.loads((directory / "result.json").read_text())
    assert result["status"] == "complete"
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("Test accuracy ")


def test_validation_chooses_the_best_epoch_on_images_held_out(tmp_path):
    options = ["--variant", "smoke", "--limit", "64", "--validation", "0.25", "--epochs", "3"]
    assert cli.main(cnn.RECIPE, [*options, "--batch-size", "16", "--out", str(tmp_path)]) == 0
    (directory,) = tmp_path.iterdir()
    record = json.loads((directory / "config.json").read_text())
    assert record["train_images"] == 48
    lines = read_lines(directory / "metrics.jsonl")
    assert lines[0]["step"] == 3
    best = json.loads((directory / "result.json").read_text())["best"]
    assert best["validation_accuracy"] == max(line["validation_accuracy"] for line in lines)
    assert "test_accuracy" in best


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ("1", "--validation must be at least 0 and below 1"),
        ("0.001", "holds out at least one image"),
    ],
)
def test_a_wrong_share_is_refused(share, message, tmp_path, capsys):
    options = ["--variant", "smoke", "--limit", "64", "--validation", share]
    assert cli.main(cnn.RECIPE, [*options, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_summary_prints_the_layers_and_trains_nothing(tmp_path, capsys):
    options = ["--variant", "smoke", "--summary", "--out", str(tmp_path)]
    assert cli.main(mynet.RECIPE, options) == 0
    assert "5,499,434" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_quiet_run_prints_its_directory_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "_write_report", lambda *_: None)
    options = ["--variant", "smoke", "--limit", "32", "--quiet", "--out", str(tmp_path)]
    assert cli.main(net.RECIPE, options) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'net-smoke-s0'}\n"


def test_the_list_has_every_recipe_and_tool(capsys):
    listed = modules()
    assert {name for name, (_, is_tool) in listed.items() if not is_tool} == RECIPES.keys()
    assert {name for name, (_, is_tool) in listed.items() if is_tool} >= {
        "compare",
        "evaluate",
        "predict",
        "report",
        "study",
    }
    assert all(len(line) > 10 for line, _ in listed.values())
    main()
    printed = capsys.readouterr().out
    assert all(f"python -m recipes.{name}" in printed for name in listed)


@pytest.mark.parametrize("columns", [40, 59, 60, 120])
def test_the_list_cuts_no_word(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    main()
    printed = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= columns
    assert {word for line, _ in modules().values() for word in line.split()} <= set(printed.split())


def test_mynet_begins_with_xavier_weights_and_zero_biases():
    experiment = mynet.build(mynet.VARIANTS["default"], splits_of("mynet"))
    params = experiment.model.init(random.key(0)).trainable
    assert all(not leaf.any() for path, leaf in params.items() if path.endswith("bias"))
    bound = max(float(leaf.abs().max()) for leaf in params.values() if leaf.shape == (2048, 2592))
    assert bound == pytest.approx((6 / (2048 + 2592)) ** 0.5, rel=1e-3)


def test_the_models_of_a_study_of_softmax_differ_by_it():
    config = replace(dainet.VARIANTS["default"], softmax=True)
    images = data.load("shapes", split="test").images[:2]
    model = dainet.build(config, splits_of("dainet")).model
    params = model.init(random.key(0))
    outputs, _ = model.apply(params, images.float())
    torch.testing.assert_close(outputs.sum(1), torch.ones(2))
    assert tree.size(params.trainable) == 42_618


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")
def test_a_terminal_is_told_at_once_what_is_waited_for():
    here, there = os.openpty()
    command = [sys.executable, "-m", "recipes.net", "--help"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=there) as process:
        try:
            assert os.read(here, 100).startswith(b"Loading PyTorch")
        finally:
            process.kill()
            os.close(here)
            os.close(there)
