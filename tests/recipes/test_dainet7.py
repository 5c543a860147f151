"""The recipe end to end, as a user runs it; eager, on a few images."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from records import read, read_lines
from safetensors.torch import load_file

from fnet import data, models, random
from fnet.data import DataError
from fnet.data.dataset import printable
from fnet.optim import get_hyper
from fnet.run import cli, splits
from fnet.run.splits import Splits
from recipes.dainet7 import RECIPE, VARIANTS

ROOT = Path(__file__).parent.parent.parent


def run(tmp_path, *options):
    code = cli.main(RECIPE, ["--variant", "smoke", "--out", str(tmp_path), *options])
    assert code == 0
    newest = max((p for p in tmp_path.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime_ns)
    return newest


def metrics_of(directory):
    lines = read_lines(directory / "metrics.jsonl")
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def test_a_first_convolution_that_whitens_is_not_trained(tmp_path, capsys):
    directory = run(tmp_path, "--limit", "64", "--whiten")
    weights = load_file(directory / "final.safetensors")
    first, second = weights["0.weight"][:27], weights["4.weight"][:27]
    assert torch.equal(first, -weights["0.weight"][27:54])
    assert not torch.equal(second, -weights["4.weight"][27:54])
    assert weights["0.bias"].abs().max() > 0
    assert cli.main(RECIPE, ["--resume", str(directory), "--epochs", "2"]) == 0
    resumed = load_file(directory / "final.safetensors")
    assert torch.equal(resumed["0.weight"], weights["0.weight"])
    assert not torch.equal(resumed["4.weight"], weights["4.weight"])


def test_a_run_leaves_what_it_promises(tmp_path, capsys):
    directory = run(tmp_path, "--epochs", "2", "--limit", "64")
    assert directory.name == "dainet7-smoke-s0"
    config = json.loads((directory / "config.json").read_text())
    assert config["config"]["limit"] == 64
    assert config["recipe"] == "recipes.dainet7"
    # The smoke variant's images are not the author's, so they have their own mean.
    drawn = data.load("shapes", limit=64)
    assert config["preprocess"]["mean"] == pytest.approx(list(data.statistics(drawn)[0]))
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["device"] == "cpu"
    assert [line["epoch"] for line in metrics_of(directory)] == [1, 2]
    result = json.loads((directory / "result.json").read_text())
    assert result["status"] == "complete"
    assert result["best"]["test_accuracy"] >= result["final"]["test_accuracy"]
    module = models.dainet7().make()
    module.load_state_dict(load_file(directory / "final.safetensors"))
    module.load_state_dict(load_file(directory / "best.safetensors"))
    printed = capsys.readouterr().out
    assert "2/2" in printed
    assert printed.strip().splitlines()[-1].startswith("Test accuracy ")


@pytest.mark.usefixtures("no_report")
def test_a_seed_decides_everything_and_no_run_is_overwritten(tmp_path):
    options = ("--limit", "64", "--optimizer", "sgd", "--lr", "0.1")
    first, again = run(tmp_path, *options), run(tmp_path, *options)
    other = run(tmp_path, *options, "--seed", "1")
    assert [d.name for d in (first, again, other)] == [
        "dainet7-smoke-s0",
        "dainet7-smoke-s0-2",
        "dainet7-smoke-s1",
    ]
    assert metrics_of(first) == metrics_of(again) != metrics_of(other)
    weights = [(d / "final.safetensors").read_bytes() for d in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_the_same_run_in_another_process_gives_the_same_bits(tmp_path, image_folder):
    command = [sys.executable, "-m", "recipes.dainet7", "--variant", "smoke", "--limit", "64"]
    command += ["--data", str(image_folder)]
    for name in "ab":
        subprocess.run([*command, "--out", str(tmp_path / name)], cwd=ROOT, check=True)
    a, b = (tmp_path / name / "dainet7-smoke-s0" for name in "ab")
    assert metrics_of(a) == metrics_of(b)
    assert (a / "final.safetensors").read_bytes() == (b / "final.safetensors").read_bytes()


def test_author_is_the_authors_training():
    config = VARIANTS["author"]
    assert (config.optimizer, config.schedule, config.epochs) == ("adam", "author", 250)
    images = data.load("shapes")
    experiment = RECIPE.build(config, Splits(images, images))
    state = experiment.tx.init({"w": torch.zeros(2)})
    steps = len(images) // 128
    update = experiment.tx.update
    rates = {}
    for epoch in (0, 49, 50, 99, 100, 150, 200, 229, 230, 249):
        moved = _at_step(state, epoch * steps)
        _, after = update({"w": torch.ones(2)}, moved, {"w": torch.zeros(2)})
        rates[epoch] = float(get_hyper(after, "learning_rate"))
    expected = [1e-3, 1e-3, 5e-4, 5e-4, 3e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6]
    assert list(rates.values()) == pytest.approx(expected)
    params = experiment.model.init(random.key(0))
    rates = [leaf.item() for name, leaf in params.stats.items() if name.endswith(".p")]
    assert rates == pytest.approx([0.1, 0.1, 0.5, 0.5])


def _at_step(state, step):
    """Return an optimizer state with every count at `step`."""
    if hasattr(state, "_fields"):
        return type(state)(
            *(
                torch.full_like(value, step) if name == "count" else _at_step(value, step)
                for name, value in zip(state._fields, state, strict=True)
            )
        )
    if isinstance(state, tuple):
        return tuple(_at_step(inner, step) for inner in state)
    return state


def test_without_the_data_a_marked_stand_in_runs(tmp_path, monkeypatch, capsys):
    load = data.load

    def nothing(name, *args, **options):
        if name == "cifar10":
            raise DataError("cifar10 cannot be downloaded: no network.")
        return load(name, *args, **options)

    monkeypatch.setattr(data, "load", nothing)
    directory = run(tmp_path, "--data", "auto", "--limit", "64", "--epochs", "9")
    printed = capsys.readouterr().out
    assert "cifar10 is not available" in printed
    assert "a stand-in for cifar10: not a result of dainet7" in printed.splitlines()[-1]
    assert "91.91" not in printed
    assert json.loads((directory / "result.json").read_text())["stand_in"] is True
    record = json.loads((directory / "config.json").read_text())
    assert record["data"] == "shapes"
    assert record["config"]["epochs"] == splits.STAND_IN_EPOCHS
    code = cli.main(RECIPE, ["--variant", "smoke", "--data", "cifar10", "--out", str(tmp_path)])
    assert code == 2
    assert "no network" in capsys.readouterr().err


def folder(root, sizes=(32, 32), broken=False):
    for split in ("train", "test"):
        for label, size in zip(("cat", "dog"), sizes, strict=True):
            place = root / split / label
            place.mkdir(parents=True)
            for n in range(4):
                pixels = np.full((size, size, 3), 40 * n, dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{n}.png")
    if broken:
        (root / "train" / "dog" / "2.png").write_text("not an image")
    return root


@pytest.mark.parametrize("name", [b"pets", b"p\xffts"], ids=["text", "no Unicode"])
def test_a_folder_of_images_can_be_trained_on(name, tmp_path, capfd):
    images = folder(tmp_path / os.fsdecode(name))
    directory = run(tmp_path, "--data", str(images), "--limit", "8", "--batch-size", "4")
    record = read(directory / "config.json")
    assert record["config"]["data"] == str(images)
    assert (record["data"], record["classes"]) == (printable(images.name), ["cat", "dog"])
    assert printable(images.name) in capfd.readouterr().out
    assert (directory / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "/nowhere/at/all"], "no data set '/nowhere/at/all'"),
        (["--batch-size", "-1"], "--batch-size must be at least 1; got -1"),
        (["--epochs", "0"], "--epochs must be at least 1; got 0"),
        (["--test", "0.2"], "--test is for a folder without train and test, and shapes has a test"),
        (["--test", "1"], "--test must be above 0 and below 1; got 1.0"),
        (["--size", "big"], "--size must be one side in pixels, or width x height, such as 64"),
        (["--limit", "1000"], "--limit 1000 is more than the 256 training images"),
        (["--seed", "-1"], "--seed must be between 0 and"),
        (["--device", "cuda:7"], "there is no device 'cuda:7'"),
        (["--device", "toaster"], "there is no device 'toaster'"),
        (["--label-smoothing", "2"], "label_smoothing is in [0, 1]; got 2.0"),
        (["--dropout", "3"], "dropout probability"),
        (["--lr", "-1"], "--lr must be at least 0; got -1.0"),
        (["--weight-decay", "nan"], "--weight-decay must be at least 0; got nan"),
        (["--summary", "--dropout", "3"], "dropout probability"),
        (["--variant", "huge"], "there is no variant 'huge' of dainet7"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(tmp_path, capsys, options, message):
    given = [] if "--variant" in options else ["--variant", "smoke"]
    limit = [] if {"--limit", "--batch-size"} & set(options) else ["--limit", "64"]
    if "--batch-size" in options:
        limit = ["--limit", "256"]
    assert cli.main(RECIPE, [*given, "--out", str(tmp_path), *limit, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.mkdir() or p, "train"),
        (lambda p: (p / "train").mkdir(parents=True) or (p / "test").mkdir() or p, "class"),
        (lambda p: folder(p, broken=True), "2.png"),
        (lambda p: folder(p, sizes=(32, 16)), "size"),
        (lambda p: folder(p, sizes=(3, 3)), "3 x 3 pixels, and this network needs at least 4 x 4"),
    ],
    ids=["empty", "no classes", "broken image", "mixed sizes", "too small"],
)
def test_a_bad_folder_gets_one_message_and_exit_code_2(tmp_path, capsys, make, message):
    images = make(tmp_path / "pets")
    options = ["--variant", "smoke", "--data", str(images), "--limit", "8", "--batch-size", "4"]
    assert cli.main(RECIPE, [*options, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("no_report")
def test_images_of_another_size_are_trained_on(tmp_path):
    images = folder(tmp_path / "pets", sizes=(20, 20))
    options = ["--variant", "smoke", "--data", str(images), "--limit", "8", "--batch-size", "4"]
    assert cli.main(RECIPE, [*options, "--out", str(tmp_path / "runs")]) == 0


def test_an_unknown_option_gets_exit_code_2(capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(RECIPE, ["--learning-rat", "3"])
    assert error.value.code == 2
    assert "learning-rat" in capsys.readouterr().err


@pytest.mark.usefixtures("no_report")
def test_without_a_compiler_it_says_so_and_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    run(tmp_path, "--compile", "--limit", "64")
    assert "this machine has no C++ compiler (no-such-compiler)" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_reached(tmp_path, image_folder):
    command = [sys.executable, "-u", "-m", "recipes.dainet7", "--variant", "smoke", "--epochs"]
    command += ["1000", "--limit", "32", "--data", str(image_folder)]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        # A shell starts background jobs, this test run perhaps, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    directory = tmp_path / "dainet7-smoke-s0"
    deadline = time.monotonic() + 240
    with process:
        try:
            while not (directory / "metrics.jsonl").exists():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "the weights are saved" in out.splitlines()[-1]
    result = json.loads((directory / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert result["step"] >= 1
    assert load_file(directory / "final.safetensors")
