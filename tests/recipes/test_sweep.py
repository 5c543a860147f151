"""Sweeps, as a user runs them; eager, on a few images."""

import io
import json
import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import final_state
from records import edit, read, read_lines
from rich.console import Console
from stops import stopped_after

import fnet.run.sweep.arms
from fnet.run import cli
from fnet.run.config import ConfigError
from fnet.run.sweep import Arm, Sweep, conduct, open_sweep
from fnet.run.sweep.display import MemberDisplay
from fnet.run.sweep.grid import grid, words
from fnet.run.sweep.halving import schedule
from fnet.show import plots
from recipes import net
from recipes.sweep import main

pytestmark = pytest.mark.usefixtures("no_reports")


@pytest.fixture
def few(image_folder):
    """Options with which a run takes a moment: three steps an epoch."""
    options = ["--data", str(image_folder), "--limit", "48", "--batch-size", "16"]
    return ["--variant", "smoke", *options, "--device", "cpu", "--precision", "fp32"]


@pytest.fixture
def nothing_trains(monkeypatch):
    """Fail if a run is begun or continued."""

    def forbid():
        for name in ("train", "resume"):
            monkeypatch.setattr(
                fnet.run.sweep.arms, name, lambda *_, **__: pytest.fail("a run was trained")
            )

    return forbid


@pytest.fixture
def no_plots(monkeypatch):
    """Sweeps end without their plots, which take longer than runs of a few steps."""
    monkeypatch.setattr("fnet.run.sweep.conductor.draw", lambda *_: [])


def sweep_json(directory):
    return json.loads((directory / "sweep.json").read_text())


def test_each_member_is_the_run_trained_alone(few, tmp_path, capsys):
    options = ["net", *few, "--lr", "0.1", "0.01", "--epochs", "1", "--seeds", "2"]
    assert main([*options, "--out", str(tmp_path)]) == 0
    directory = tmp_path / "sweep-net"
    record = sweep_json(directory)
    assert record["seeds"] == [0, 1]
    assert [arm["values"] for arm in record["arms"]] == [{"lr": 0.1}, {"lr": 0.01}]
    for arm in record["arms"]:
        assert arm["runs"] == [f"net-{arm['label']}-s{seed}" for seed in (0, 1)]
        for run, final in zip(arm["runs"], arm["final"], strict=True):
            assert read_lines(directory / run / "metrics.jsonl")[-1] == final
    for name in ("swept", "curves"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").exists()
    printed = capsys.readouterr().out
    assert "net: which --lr? On" in printed
    assert "lr=0.01, seed 1: epoch 1/1, train" in printed
    alone = [*few, "--lr", "0.01", "--epochs", "1", "--seed", "1", "--out", str(tmp_path)]
    assert cli.main(net.RECIPE, alone) == 0
    assert final_state(tmp_path / "net-smoke-s1") == final_state(directory / "net-lr=0.01-s1")


def test_a_stopped_sweep_goes_on_and_redoes_nothing(
    few, tmp_path, monkeypatch, capsys, no_plots, nothing_trains
):
    options = ["net", *few, "--lr", "0.1", "0.01", "--epochs", "2"]
    assert main([*options, "--out", str(tmp_path / "straight")]) == 0
    with stopped_after(4, monkeypatch):
        assert main([*options, "--out", str(tmp_path)]) == 143
    directory = tmp_path / "sweep-net"
    assert f"python -m recipes.sweep --resume {directory}" in capsys.readouterr().out
    record = sweep_json(directory)
    assert [arm["runs"] for arm in record["arms"]] == [["net-lr=0.1-s0"], []]
    assert main(["--resume", str(directory)]) == 0
    assert "lr=0.1, seed 0: Resumed after step 4" in " ".join(capsys.readouterr().out.split())
    for run in ("net-lr=0.1-s0", "net-lr=0.01-s0"):
        assert final_state(directory / run) == final_state(tmp_path / "straight/sweep-net" / run)
    nothing_trains()
    before = sweep_json(directory)
    assert main(["--resume", str(directory)]) == 0
    assert sweep_json(directory) == before


def test_halving_stops_what_lags_and_says_when_and_why(
    few, tmp_path, capsys, no_plots, nothing_trains
):
    options = ["net", *few, "--optimizer", "adam", "--lr", "0.002", "1e-9", "1e-8", "1e-7"]
    options += ["--epochs", "4", "--out", str(tmp_path)]
    assert main([*options, "--halving"]) == 0
    directory = tmp_path / "sweep-net"
    record = sweep_json(directory)
    done = {
        arm["values"]["lr"]: [
            line["test_accuracy"]
            for line in read_lines(directory / arm["runs"][0] / "metrics.jsonl")
        ]
        for arm in record["arms"]
    }
    stopped = {each["arm"]: each for each in record["stopped"]}
    assert sorted(map(len, done.values())) == [1, 1, 2, 4]
    assert sorted(each["epoch"] for each in stopped.values()) == [1, 1, 2]
    for lr, accuracies in done.items():
        better = [own for own in done.values() if len(own) > len(accuracies)]
        epoch = len(accuracies)
        assert all(own[epoch - 1] >= accuracies[-1] for own in better)
        label, run = f"lr={lr}", directory / f"net-lr={lr}-s0"
        if epoch == 4:
            assert read(run / "result.json")["status"] == "complete"
            survivor = lr
            continue
        assert stopped[label]["epoch"] == epoch
        reason = stopped[label]["reason"]
        assert f"after epoch {epoch} the accuracy of {label} was" in reason
        assert read(run / "result.json")["reason"] == reason
    assert "Halving: after epoch 1" in capsys.readouterr().out
    alone = [*few, "--optimizer", "adam", "--lr", str(survivor), "--epochs", "4"]
    assert cli.main(net.RECIPE, [*alone, "--out", str(tmp_path)]) == 0
    own = directory / f"net-lr={survivor}-s0"
    assert final_state(tmp_path / "net-smoke-s0") == final_state(own)
    nothing_trains()
    assert main(["--resume", str(directory)]) == 0
    assert sweep_json(directory) == record


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lrr", "0.1"], "there is no option --lrr of net: did you mean --lr?"),
        (["--lr", "0.1", "1e-1"], "--lr is given the value 0.1 twice"),
        (["--no-lr", "0.1"], "there is no option --no-lr of net"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--seed", "1", "2", "--seeds", "2"], "give one of both"),
        (["--batch-size", "16", "64"], "'batch-size=64' cannot be trained: a batch size of 64"),
        (["--epochs", "2", "0"], "--epochs must be at least 1"),
        (["--linears", "3", "9"], "linears"),
        (["--variant", "none"], "there is no variant 'none' of net"),
        (["--out", "a", "b"], "give one"),
        (["--halving"], "--halving compares arms: give several values"),
        (["--halving", "--lr", "0.1", "0.2", "--epochs", "1"], "at least --epochs 2"),
        (["--halving", "--epochs", "2", "3"], "give one value of --epochs"),
        (["--seed", *map(str, range(40)), "--lr", *map(str, range(1001))], "at most 1000 arms"),
        (["--resume", "runs"], "keeps its options"),
        (["--workers", "0"], "--workers must be at least 1"),
    ],
)
def test_a_mistake_gets_one_message_and_leaves_nothing(
    options, message, few, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("variant", "batch-size"):
        if f"--{name}" in options:
            place = few.index(f"--{name}")
            few = few[:place] + few[place + 2 :]
    assert main(["net", *few, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_value_of_another_type_is_refused_before_anything_starts(few, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["net", *few, "--lr", "0.1", "fast", "--out", str(tmp_path / "runs")])
    assert stop.value.code == 2
    assert "fast" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "is not a sweep, it has no sweep.json"),
        (["study.json"], "is a study of an older version of fnet, which cannot be continued"),
        (["sweep.json"], "is damaged or from another version of fnet"),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_sentence(files, message, tmp_path, capsys):
    for name in files:
        (tmp_path / name).write_text("{}")
    assert main(["--resume", str(tmp_path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_without_a_recipe_or_ray_one_message_says_so(few, monkeypatch, capsys):
    assert main([]) == 2
    assert "give a recipe, such as dainet7" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    assert main(["net", *few, "--ray"]) == 2
    assert 'needs Ray: pip install "fnet[ray]"' in capsys.readouterr().err


@pytest.mark.parametrize(("options", "expected"), [([], "--seeds"), (["net"], "--weight-decay")])
def test_help_lists_the_options(options, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*options, "--help"])
    assert stop.value.code == 0
    assert expected in capsys.readouterr().out


rates = st.lists(st.floats(1e-6, 10), min_size=1, max_size=3, unique=True)


@settings(max_examples=20)
@given(lr=rates, decay=rates, softmax=st.sampled_from([[], ["--softmax"], ["--no-softmax"]]))
def test_a_grid_has_every_combination_once(lr, decay, softmax):
    args = ["--lr", *map(str, lr), "--weight-decay", *map(str, decay), *softmax]
    arms, seeds = grid(net.RECIPE, "default", words(args)[1])
    assert seeds == []
    found = [(arm.config.lr, arm.config.weight_decay) for arm in arms]
    assert found == [(a, b) for a in lr for b in decay]
    assert {arm.config.softmax for arm in arms} == {softmax == ["--softmax"]}
    assert len({arm.label for arm in arms}) == len(arms)
    swept = {name for name, values in (("lr", lr), ("weight_decay", decay)) if len(values) > 1}
    assert all(set(arm.values) == swept for arm in arms)


@pytest.mark.parametrize(
    ("args", "name", "values"),
    [
        ("--softmax --no-softmax", "softmax", [True, False]),
        ("--softmax False True", "softmax", [False, True]),
        ("--sizes 24 28 --sizes 32 --sizes", "sizes", [(24, 28), (32,), ()]),
        ("--limit 8 None", "limit", [8, None]),
        ("--batch_size=8 16", "batch_size", [8, 16]),
        ("--optimizer sgd --optimizer adam", "optimizer", ["sgd", "adam"]),
    ],
)
def test_every_kind_of_option_is_swept(args, name, values):
    arms, _ = grid(net.RECIPE, "default", words(args.split())[1])
    assert [getattr(arm.config, name) for arm in arms] == values
    assert len({arm.label for arm in arms}) == len(values)


@given(epochs=st.integers(1, 300), arms=st.integers(2, 64))
def test_halving_compares_while_there_is_something_to_compare(epochs, arms):
    found = schedule(epochs, arms)
    assert found == sorted(set(found))
    assert all(1 <= epoch < epochs for epoch in found)
    assert bool(found) == (epochs > 1)
    left = arms
    for _ in found:
        left = math.ceil(left / 2)
    assert left >= 1


def test_a_terminal_shows_what_each_arm_is_doing(tmp_path):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    arms = [Arm(net.RECIPE, f"lr={lr}", net.Config(lr=lr), values={"lr": lr}) for lr in (0.5, 0.25)]

    def runner(members, out, until, display):
        assert (out, until) == (tmp_path, None)
        assert [member.label for member in members] == ["lr=0.5, seed 7", "lr=0.25, seed 7"]
        own = MemberDisplay(display, members[1])
        with own.live():
            own.progress("epoch", 3, 9, "5 images/s")
            display.refresh()
        return 1

    assert conduct(Sweep("Which?", arms, [7]), tmp_path, console, runner=runner) == 1
    shown = stream.getvalue()
    assert "seed 7: 3/9 steps 5 images/s" in shown
    assert "Which? On nothing yet" in shown
    sweep, stopped = open_sweep(tmp_path)
    assert ([arm.config for arm in sweep.arms], list(sweep.seeds), stopped) == (
        [arm.config for arm in arms],
        [7],
        [],
    )


def test_values_of_one_name_have_members_of_their_own(few, tmp_path, capsys, no_plots):
    """Where labels are parts of file names, these two would be the same."""
    source = few[few.index("--data") + 1]
    (tmp_path / "a").mkdir()
    data = [tmp_path / "a/b", tmp_path / "a_b", tmp_path / ("long" * 40)]
    for path in data:
        path.symlink_to(source)
    options = [word for word in few if word not in ("--data", source)]
    given = [*options, "--data", *map(str, data), "--epochs", "1", "--out", str(tmp_path)]
    assert main(["net", *given]) == 0
    record = sweep_json(tmp_path / "sweep-net")
    runs = [arm["runs"] for arm in record["arms"]]
    assert len({run for arm in runs for run in arm}) == 3
    for arm, (run,) in zip(record["arms"], runs, strict=True):
        config = read(tmp_path / "sweep-net" / run / "config.json")["config"]
        assert config["data"] == arm["values"]["data"]


def test_a_member_that_cannot_be_read_is_named(few, tmp_path, capsys, no_plots):
    options = ["net", *few, "--lr", "0.1", "0.01", "--epochs", "1", "--out", str(tmp_path)]
    assert main(options) == 0
    directory = tmp_path / "sweep-net"
    file = directory / "net-lr=0.01-s0/config.json"
    file.write_text(file.read_text().replace('"epochs": 1', '"epochs": 2'))
    capsys.readouterr()
    assert main(["--resume", str(directory)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "lr=0.01, seed 0: Not continued: " in printed
    assert "checksum is wrong" in printed
    assert sweep_json(directory)["arms"][1]["runs"] == ["net-lr=0.01-s0-2"]
    assert '"epochs": 2' in file.read_text()


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1e-3, 1e-1], "log"), ([0.0, 1e-3, 1e-1], "symlog"), ([1, 2], "linear"), (["a"], "linear")],
)
def test_an_axis_suits_its_values(values, scale):
    points = [({"lr": value, "b": other}, [0.5, 0.7]) for value in values for other in ("x", "y")]
    figure = plots.swept(points)
    axes = figure.axes[0]
    if len(values) == 1:  # only the other option has several values
        assert [text.get_text() for text in axes.get_xticklabels()] == ["x", "y"]
        return
    assert axes.get_xscale() == scale
    if scale == "linear":
        assert [text.get_text() for text in axes.get_xticklabels()] == [f"{v:g}" for v in values]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["b x", "b y"]
    assert axes.get_lines()[0].get_ydata() == pytest.approx([60] * len(values))


def test_a_plot_needs_a_point():
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.swept([])


def test_a_sweep_is_not_of_a_recipe_elsewhere_unasked(tmp_path):
    arms = [Arm(net.RECIPE, "a", net.Config())]
    conduct(Sweep("Which?", arms), tmp_path, Console(quiet=True), runner=lambda *_: 1)
    (arm,) = read(tmp_path / "sweep.json")["arms"]
    edit(tmp_path / "sweep.json", arms=[{**arm, "recipe": "elsewhere.net"}])
    with pytest.raises(ConfigError, match=r"--recipe elsewhere\.net"):
        open_sweep(tmp_path)
