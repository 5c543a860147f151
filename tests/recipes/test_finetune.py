"""Training from given weights: `--init-from`, `--freeze`, and `python -m recipes.finetune`."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from records import read
from safetensors.torch import load_file, save_file
from torch import nn

from fnet import optim, random, tree
from fnet.data import PadResize, load
from fnet.nn import Params, from_module
from fnet.run import cli
from fnet.run.config import ConfigError
from fnet.run.opened import open_run
from fnet.run.source import Given, first_params, read_source
from fnet.run.splits import Splits
from recipes import cnn, finetune, networks
from recipes.training import frozen_names, partly_trained

pytestmark = pytest.mark.usefixtures("no_reports")

SMOKE = ["--variant", "smoke", "--limit", "32", "--batch-size", "16", "--device", "cpu"]
BODY = [f"{layer}.{leaf}" for layer in (0, 4) for leaf in ("weight", "bias")]


@pytest.fixture(scope="module")
def source(tmp_path_factory, image_folder):
    """A run of CNN on the ten classes of `image_folder`."""
    out = tmp_path_factory.mktemp("runs")
    assert cli.main(cnn.RECIPE, [*SMOKE, "--data", str(image_folder), "--out", str(out)]) == 0
    return next(out.iterdir())


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory, image_folder):
    """Images of three classes."""
    folder = tmp_path_factory.mktemp("data") / "three"
    for file in sorted(image_folder.glob("*/*/*.png")):
        if file.parent.name in ("bar", "cross", "ring"):
            to = folder / file.relative_to(image_folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
    assert len(list(folder.glob("train/*"))) == 3
    return folder


def finetuned(tmp_path, *options):
    """Return the directory of the run of a command."""
    out = tmp_path / "out"
    given = ["--out", out, "--limit", "16", "--batch-size", "8", "--device", "cpu", *options]
    assert finetune.main(list(map(str, given))) == 0
    return max(out.iterdir(), key=lambda path: path.stat().st_mtime)


def weights(path):
    return load_file(path / "final.safetensors")


def test_a_run_trains_on_with_a_new_head(source, three_classes, tmp_path, capsys):
    run = finetuned(
        tmp_path, "--from", source, "--data", three_classes, "--freeze", "0", "4*", "--epochs", "2"
    )
    record = read(run / "config.json")
    assert run.name == "cnn-finetune-s0"
    assert record["recipe"] == "recipes.cnn"
    assert (record["config"]["body_lr"], record["config"]["freeze"]) == (0.1, ["0", "4*"])
    assert record["source"]["new"] == ["9.bias", "9.weight"]
    assert Path(record["source"]["path"]) == source / "best.safetensors"
    before, after = load_file(source / "best.safetensors"), weights(run)
    for name in BODY:
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["1.weight"], after["1.weight"])
    assert after["9.weight"].shape[0] == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Weights from {source}" in printed
    assert "new: other classes" in printed
    assert open_run(run).classes == ("bar", "cross", "ring")


def test_other_classes_of_the_same_number_get_a_new_head(source, image_folder, tmp_path, capsys):
    renamed = shutil.copytree(image_folder, tmp_path / "renamed")
    for folder in list(renamed.glob("*/bar")):
        folder.rename(folder.with_name("bier"))
    run = finetuned(tmp_path, "--from", source, "--data", renamed)
    assert read(run / "config.json")["source"]["new"] == ["9.bias", "9.weight"]
    assert "new: other classes" in " ".join(capsys.readouterr().out.split())
    run = finetuned(tmp_path, "--from", source, "--data", image_folder)
    assert "new" not in read(run / "config.json")["source"]


def test_the_weights_keep_their_preprocessing(source, three_classes, tmp_path):
    run = finetuned(tmp_path, "--from", source, "--data", three_classes, "--no-pad-resize")
    assert open_run(run).preprocess == PadResize(4, open_run(source).preprocess.then)


def test_a_resumed_run_does_not_need_the_source_and_has_the_same_bits(
    source, three_classes, tmp_path, monkeypatch
):
    copied = shutil.copytree(source, tmp_path / "source")
    options = ["--from", copied, "--data", three_classes, "--epochs", "2"]
    straight = finetuned(tmp_path / "straight", *options)
    stopped = shutil.copytree(straight, tmp_path / "stopped")
    for file in ("result.json", "metrics.jsonl", "final.safetensors", "best.safetensors"):
        (stopped / file).unlink()
    again = finetuned(tmp_path / "again", *options)
    steps = sorted((again / "checkpoints").iterdir())
    shutil.rmtree(copied)
    shutil.rmtree(stopped / "checkpoints")
    shutil.copytree(again / "checkpoints", stopped / "checkpoints")
    shutil.rmtree(stopped / "checkpoints" / steps[-1].name)
    (stopped / "metrics.jsonl").write_text((again / "metrics.jsonl").read_text().splitlines()[0])
    assert cli.main(cnn.RECIPE, ["--resume", str(stopped)]) == 0
    assert weights(stopped).keys() == weights(straight).keys()
    for name, leaf in weights(straight).items():
        assert torch.equal(weights(stopped)[name], leaf)
    assert read(stopped / "config.json")["source"] == read(straight / "config.json")["source"]


def test_a_run_that_stopped_before_its_first_step_begins_with_the_given_weights(
    source, three_classes, tmp_path, monkeypatch
):
    first = []

    def stop(self, step, state, note=None):
        save(self, step, state, note)
        first.append(step)
        raise KeyboardInterrupt

    from fnet.run.checkpoint import Checkpoints

    save = Checkpoints.save
    options = ["--from", source, "--data", three_classes, "--out", tmp_path, "--epochs", "1"]
    options += ["--limit", "16", "--batch-size", "8", "--device", "cpu"]
    monkeypatch.setattr(Checkpoints, "save", stop)
    assert finetune.main(list(map(str, options))) == 130
    assert first == [0]
    monkeypatch.setattr(Checkpoints, "save", save)
    run = tmp_path / "cnn-finetune-s0"
    assert cli.main(cnn.RECIPE, ["--resume", str(run)]) == 0
    straight = finetuned(tmp_path / "other", *options[:4], "--epochs", "1")
    for name, leaf in weights(straight).items():
        assert torch.equal(weights(run)[name], leaf)


def test_weights_that_are_new_are_not_frozen(source, image_folder, tmp_path, capsys):
    grey = shutil.copytree(image_folder, tmp_path / "grey")
    for file in grey.glob("*/*/*.png"):
        Image.open(file).convert("L").save(file)
    options = ["--from", source, "--data", grey, "--out", tmp_path, "--freeze", "0", "1"]
    assert finetune.main(list(map(str, options))) == 2
    assert "'0.weight' would be frozen" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grey"]


def test_a_run_without_its_first_checkpoint_begins_anew(source, three_classes, tmp_path, capsys):
    run = finetuned(tmp_path, "--from", source, "--data", three_classes)
    for file in ("result.json", "metrics.jsonl"):
        (run / file).unlink()
    shutil.rmtree(run / "checkpoints")
    assert cli.main(cnn.RECIPE, ["--resume", str(run)]) == 2
    assert "stopped before its first checkpoint" in capsys.readouterr().err


FOUND_IN = {
    "as it is": lambda state: state,
    "nested": lambda state: {"state_dict": state},
    "of DataParallel": lambda state: {f"module.{name}": leaf for name, leaf in state.items()},
    "compiled": lambda state: {f"_orig_mod.{name}": leaf for name, leaf in state.items()},
    "both": lambda state: {"net": {f"module._orig_mod.{n}": leaf for n, leaf in state.items()}},
    "an attribute": lambda state: {f"backbone.{name}": leaf for name, leaf in state.items()},
    "half": lambda state: {name: leaf.half() for name, leaf in state.items()},
}


@pytest.mark.parametrize("kind", FOUND_IN)
def test_a_file_starts_torchvisions_network(kind, three_classes, tmp_path):
    from torchvision import models as zoo

    state = zoo.squeezenet1_1(num_classes=5).half().float().state_dict()
    torch.save(FOUND_IN[kind](state), tmp_path / "w.pth")
    start = start_of(tmp_path / "w.pth", three_classes, "squeezenet1_1")
    assert start.loaded.source.new == ("classifier.1.bias", "classifier.1.weight")
    assert start.loaded.source.left_over == 0
    for name, leaf in start.state.params.trainable.items():
        if not name.startswith("classifier"):
            assert torch.equal(leaf, state[name])


def start_of(file, folder, name):
    """Return the start of a fine-tuning without its training."""
    from fnet.run.runtime import resolve
    from fnet.run.start import start_from

    splits = Splits(load(folder), load(folder, split="test"))
    config = finetune.Config(network=name, init_from=str(file), batch_size=8)
    experiment = finetune.build(config, splits)
    given = read_source(file)
    return start_from(given, config, experiment, splits, resolve("cpu", "fp32", False))[1]


def test_what_is_left_over_and_missing_is_listed(three_classes, tmp_path):
    from torchvision import models as zoo

    state = zoo.squeezenet1_1(num_classes=3).state_dict()
    del state["features.0.bias"]
    save_file(state | {"aux.weight": torch.ones(1)}, tmp_path / "w.safetensors")
    start = start_of(tmp_path / "w.safetensors", three_classes, "squeezenet1_1")
    assert (start.loaded.source.new, start.loaded.source.left_over) == (("features.0.bias",), 1)
    assert start.loaded.report.left_over == ["aux.weight"]


def test_the_command_trains_from_a_file(source, three_classes, tmp_path):
    file = shutil.copy(source / "best.safetensors", tmp_path / "w.safetensors")
    options = ["--variant", "smoke", "--data", three_classes, "--network", "cnn"]
    run = finetuned(tmp_path, "--from", file, *options)
    assert run.name == "finetune-smoke-s0"
    opened = open_run(run)
    assert opened.config.network == "cnn"
    assert Path(opened.config.init_from) == Path(file)
    assert len(json.loads((run / "config.json").read_text())["source"]["checksum"]) == 64


def not_finite(source, tmp_path):
    state = load_file(source / "best.safetensors")
    state["0.bias"][0] = torch.nan
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def of_another(source, tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def module(source, tmp_path):
    torch.save(nn.Linear(3, 2), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def damaged(source, tmp_path):
    run = shutil.copytree(source, tmp_path / "run")
    content = bytearray((run / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "best.safetensors").write_bytes(content)
    return run


def without_weights(source, tmp_path):
    run = shutil.copytree(source, tmp_path / "run")
    for file in run.glob("*.safetensors"):
        file.unlink()
    return run


def the_run(source, tmp_path):
    return source


REFUSED = {
    "nothing there": (lambda s, t: t / "gone.pth", [], "No such file"),
    "a folder": (lambda s, t: t, [], "is a folder, but not a run directory"),
    "a whole module": (module, [], "is not only weights"),
    "not finite": (not_finite, [], "'0.bias' in"),
    "another network's": (of_another, [], "no weight in"),
    "damaged": (damaged, [], "its checksum is wrong"),
    "no weights": (without_weights, [], "has no weights yet"),
    "no such network": (of_another, ["--network", "resnet81"], "did you mean"),
    "a pattern for nothing": (the_run, ["--freeze", "features.*"], "matches no weight"),
    "all frozen": (the_run, ["--freeze", "*"], "freezes all weights"),
    "a variant of a run": (the_run, ["--variant", "smoke"], "--variant is for weights from a file"),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_a_mistake_gets_one_message(source, three_classes, tmp_path, capsys, problem):
    make, options, message = REFUSED[problem]
    given = make(source, tmp_path)
    command = ["--from", given, "--data", three_classes, "--out", tmp_path / "out", *options]
    command += ["--batch-size", "8"]
    assert finetune.main(list(map(str, command))) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_images_are_asked_for(source, capsys):
    assert finetune.main(["--from", str(source)]) == 2
    assert "--data DIR" in capsys.readouterr().err


def test_the_smoke_variant_trains_from_scratch(tmp_path):
    options = ["--out", str(tmp_path), "--limit", "32", "--batch-size", "16"]
    assert finetune.main(["--variant", "smoke", *options]) == 0
    assert "source" not in read(tmp_path / "finetune-smoke-s0" / "config.json")


@pytest.mark.parametrize("own", [True, False])
def test_a_network_of_one_layer_is_loaded_whole_or_not_at_all(own):
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    params, given = model.init(random.key(0)), model.init(random.key(1)).trainable
    source = Given(Path("w.pth"), "", given, ("a", "b" if own else "c"))
    if own:
        loaded = first_params(source, model, params, ("a", "b"))
        tree.assert_equal(loaded.params.trainable, given)
    else:
        with pytest.raises(ConfigError, match=r"no weight in w\.pth fits"):
            first_params(source, model, params, ("a", "b"))


@pytest.mark.parametrize("average", [False, True])
def test_frozen_weights_stay_and_the_body_is_slower(average):
    model = cnn.models.cnn()
    params = model.init(random.key(0)).trainable
    grads = {name: torch.ones_like(leaf) for name, leaf in params.items()}
    tx = partly_trained(
        optim.sgd(0.5, momentum=0.9), model, frozen=frozen_names(model, ["0"]), body_lr=0.25
    )
    if average:
        tx = optim.chain(tx, optim.ema_params(0.5))
    updates, state = tx.update(grads, tx.init(params), params)
    for name, update in updates.items():
        expected = 0.0 if name.startswith("0.") else -0.5 if name.startswith("9.") else -0.125
        assert update.unique().tolist() == [expected]
    if average:
        averaged = optim.averaged_params(state, params)
        assert torch.equal(averaged["0.weight"], params["0.weight"])


@pytest.mark.parametrize(("name", "channels"), [("mobilenet_v3_small", 1), ("resnet18", 3)])
def test_torchvisions_networks_take_the_images(name, channels):
    images = torch.zeros(4, channels, 32, 32, dtype=torch.uint8)
    from fnet.data import Dataset

    data = Dataset(images, torch.tensor([0, 1, 2, 0]), ("a", "b", "c"), "few")
    model = networks.network(name, Splits(data, data))
    params: Params = model.init(random.key(0))
    logits, _ = model.apply(params, torch.zeros(2, channels, 32, 32))
    assert logits.shape == (2, 3)
