"""The options of a recipe, end to end, eager, on a few images."""

import csv
import importlib.util
import time

import pytest
from records import read_lines
from safetensors.torch import load_file

from fnet.run import cli, config
from fnet.run.config import ConfigError
from recipes import mnist

TIMES = ("seconds", "images_per_second")


def run(image_folder, out, *extra):
    options = (
        f"--variant smoke --data {image_folder} --limit 64 --epochs 2 --device cpu --out {out}"
    )
    code = cli.main(mnist.RECIPE, [*options.split(), *extra])
    return code, out / "mnist-smoke-s0"


def lines(directory):
    found = read_lines(directory / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k not in TIMES} for line in found]


def test_loggers_change_nothing_in_a_run(image_folder, tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    _, plain = run(image_folder, tmp_path / "plain")
    started = time.monotonic()
    address = "http://127.0.0.1:1"
    code, logged = run(
        image_folder, tmp_path / "logged", "--log", "csv", "tensorboard", "visdom",
        "--log-steps", "1", "--log-graph", "--visdom", address,
    )  # fmt: skip
    assert code == 0
    assert time.monotonic() - started < 20
    assert lines(plain) == lines(logged)
    for name in ("final", "best"):
        weights = [load_file(d / f"{name}.safetensors") for d in (plain, logged)]
        assert weights[0].keys() == weights[1].keys()
        assert all(value.equal(weights[1][key]) for key, value in weights[0].items())
    with (logged / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows] == [x["train_loss"] for x in lines(logged)]
    assert len((logged / "steps.csv").read_text().splitlines()) == 1 + 2 * 2
    assert len(list(logged.glob("events.out.tfevents.*"))) == 1
    assert capsys.readouterr().out.count(f"Visdom does not answer at {address}") == 1
    assert not list(plain.glob("*.csv")) + list(plain.glob("events*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--log-steps", "5"], "--log csv"),
        (["--log", "csv", "--log-steps", "-1"], "at least 0"),
        (["--log", "csv", "--log-graph"], "--log tensorboard"),
        (["--log", "visdom", "--visdom", "localhost:8097"], "http://localhost:8097"),
        (["--log", "visdom", "--visdom", "http://localhost:http"], "http://localhost:8097"),
    ],
)
def test_options_that_cannot_be(image_folder, tmp_path, capsys, given, said):
    code, directory = run(image_folder, tmp_path, *given)
    assert code == 2
    assert said in capsys.readouterr().err
    assert not directory.exists()


def test_an_unknown_logger_is_refused():
    with pytest.raises(ConfigError, match="csv, tensorboard, visdom; got 'wandb'"):
        config.Config(log=("wandb",)).validate()


def test_a_missing_tensorboard_names_the_extra(image_folder, tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(config, "find_spec", lambda n: None if n == "tensorboard" else found(n))
    code, _ = run(image_folder, tmp_path, "--log", "tensorboard")
    assert code == 2
    assert 'pip install "fnet[tensorboard]"' in capsys.readouterr().err
