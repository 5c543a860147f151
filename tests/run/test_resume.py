"""A run that was stopped and goes on is the run that was never stopped, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import kills
import pytest
from disk import failing
from kills import final_state, options
from records import edit, read
from safetensors.torch import load_file
from stops import stopped_after

from fnet.run import cli
from fnet.run.checkpoint import run_lock
from fnet.run.config import Config
from fnet.run.progress import Progress
from fnet.run.signals import noted_interrupt, stop_request
from recipes import cnn, dainet7, mynet, net
from recipes.training import TrainingConfig

pytestmark = pytest.mark.usefixtures("no_reports")
RECIPES = {"net": net.RECIPE, "mynet": mynet.RECIPE, "dainet7": dainet7.RECIPE}
STEPS = 6  # an epoch


@pytest.fixture(scope="module")
def start(image_folder):
    """A function that starts a run, and returns its exit code and its directory."""

    def run(recipe, out, *more):
        code = cli.main(recipe, [*options(image_folder, epochs=2), "--out", str(out), *more])
        return code, out / f"{recipe.name}-smoke-s0"

    return run


@pytest.fixture(scope="module")
def straight(start, tmp_path_factory):
    """The final states of undisturbed runs, by recipe, made when first asked for."""
    made = {}

    def of(name):
        if name not in made:
            code, directory = start(RECIPES[name], tmp_path_factory.mktemp(name))
            assert code == 0
            made[name] = final_state(directory)
        return made[name]

    return of


@pytest.mark.parametrize(
    ("name", "step"),
    [*(("net", step) for step in (1, 5, 6, 7, 11, 12)), ("mynet", 3), ("mynet", 6), ("dainet7", 8)],
)
def test_a_run_goes_on_from_any_step(name, step, start, straight, tmp_path, monkeypatch, capsys):
    with stopped_after(step, monkeypatch):
        code, directory = start(RECIPES[name], tmp_path)
    assert code == 143
    assert f"python -m recipes.{name} --resume {directory}" in capsys.readouterr().out
    result = json.loads((directory / "result.json").read_text())
    assert (result["status"], result["step"]) == ("interrupted", step)
    assert cli.main(RECIPES[name], ["--resume", str(directory)]) == 0
    printed = capsys.readouterr().out
    assert f"Resumed after step {step}; the result is bit for bit" in " ".join(printed.split())
    assert final_state(directory) == straight(name)


def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_been():
    # In a process of its own: it forks, and one that has used threads of autograd cannot.
    command = [sys.executable, str(Path(kills.__file__)), "30", "net"]
    root = str(Path(kills.__file__).parent.parent)
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "PYTHONPATH": root})


def test_a_damaged_checkpoint_is_passed_over(start, straight, tmp_path, monkeypatch, capsys):
    with stopped_after(9, monkeypatch):
        _, directory = start(net.RECIPE, tmp_path)
    newest = max((directory / "checkpoints").glob("step-*"))
    (newest / "tensors.safetensors").write_bytes(b"no tensors")
    capsys.readouterr()
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Checkpoint skipped" in printed
    assert "Resumed after step 8" in printed
    assert final_state(directory) == straight("net")


def test_metrics_that_were_lost_or_damaged_come_back(start, straight, tmp_path, monkeypatch):
    with stopped_after(9, monkeypatch):
        _, directory = start(net.RECIPE, tmp_path)
    (directory / "metrics.jsonl").write_text('{"epoch": 1, "tr')
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 0
    assert final_state(directory) == straight("net")


@pytest.fixture(scope="module")
def stopped(start, tmp_path_factory):
    """The directory of a run that was stopped in its second epoch: to copy."""
    with pytest.MonkeyPatch.context() as patch, stopped_after(9, patch):
        _, directory = start(net.RECIPE, tmp_path_factory.mktemp("stopped"))
    return directory


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--lr", "0.5"], "--lr is 0.001 in this run, and a resumed run keeps its options"),
        (["--batch-size", "4"], "--batch-size is 8 in this run"),
        (["--seed", "3"], "--seed is 0 in this run"),
        (["--out", "elsewhere"], "--out is"),
        (["--variant", "default"], "has the variant 'smoke'"),
        (["--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_options_that_may_not_change_are_refused_by_name(given, message, stopped, capsys):
    before = sorted(file.name for file in stopped.iterdir())
    assert cli.main(net.RECIPE, ["--resume", str(stopped), *given]) == 2
    assert message in capsys.readouterr().err
    assert sorted(file.name for file in stopped.iterdir()) == before


def test_a_run_of_a_variant_s_old_name_goes_on(stopped, straight, tmp_path):
    """An older version called the variant otherwise, and did not know the options of today."""
    directory = shutil.copytree(stopped, tmp_path / "run")
    record = read(directory / "config.json")
    shared = {field.name for field in fields(TrainingConfig)} - {f.name for f in fields(Config)}
    new = {"target", *shared} - {"optimizer", "lr"}
    old = {name: value for name, value in record["config"].items() if name not in new}
    edit(directory / "config.json", variant="tiny", config=old)
    recipe = replace(net.RECIPE, aliases={"tiny": "smoke"})
    assert cli.main(recipe, ["--resume", str(directory), "--variant", "smoke"]) == 0
    assert final_state(directory) == straight("net")


def test_what_may_change_is_said_where_the_result_is_another(stopped, tmp_path, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    arguments = ["--resume", str(directory), "--epochs", "3", "--log", "csv"]
    assert cli.main(net.RECIPE, arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "not exactly that of a run never stopped: --epochs 3 (was 2)" in printed
    assert len((directory / "metrics.jsonl").read_text().splitlines()) == 3
    assert len((directory / "metrics.csv").read_text().splitlines()) == 3


def damage_environment(directory):
    (directory / "environment.json").write_text("{")


def other_data(directory):
    edit(directory / "config.json", data_checksum="00000000")


def damage_checkpoints(directory):
    for file in (directory / "checkpoints").rglob("state.json"):
        file.write_text("[")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage_environment, "environment.json is missing or damaged"),
        (other_data, "are not those that the run"),
        (damage_checkpoints, "checkpoint"),
        (shutil.rmtree, "there is no run"),
    ],
)
def test_a_run_that_cannot_go_on_gets_one_message(change, message, stopped, tmp_path, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    change(directory)
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_run_of_another_recipe_is_refused(stopped, capsys):
    assert cli.main(cnn.RECIPE, ["--resume", str(stopped)]) == 2
    assert "python -m recipes.net --resume" in capsys.readouterr().err


def test_a_complete_run_needs_more_epochs(stopped, tmp_path, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 0
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "is complete" in error
    # As if it had been killed while its report was written.
    assert f"its report was not written: python -m recipes.report {directory}" in error
    (directory / "report.html").touch()
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    assert "recipes.report" not in capsys.readouterr().err


def test_a_signal_after_the_last_step_ends_the_command(start, tmp_path, monkeypatch, capsys):
    add = Progress.add

    def add_then_signal(self, line, record):
        add(self, line, record)
        if line.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "add", add_then_signal)
    code, directory = start(net.RECIPE, tmp_path)
    assert code == 143
    assert read(directory / "result.json")["status"] == "complete"
    assert "Test accuracy" in capsys.readouterr().out


def test_ctrl_c_that_a_library_swallows_is_noted():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with noted_interrupt() as interrupt:
            assert not interrupt
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            assert interrupt.signal == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def no_environment(directory):
    (directory / "environment.json").unlink()


def no_config(directory):
    (directory / "config.json").unlink()


@pytest.mark.parametrize("lost", [no_environment, damage_environment, no_config])
def test_a_run_that_was_killed_while_it_was_set_up_is_begun_anew(lost, stopped, tmp_path, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    shutil.rmtree(directory / "checkpoints")
    for file in directory.iterdir():
        if file.name not in (".lock", "config.json", "environment.json"):
            file.unlink()
    lost(directory)
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    assert "Start a new run" in " ".join(capsys.readouterr().err.split())


def test_a_run_has_one_writer(stopped, tmp_path, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    with run_lock(directory):
        assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    assert "process" in capsys.readouterr().err


def test_without_a_checkpoint_a_run_begins_again(stopped, straight, tmp_path, capsys):
    directory = shutil.copytree(stopped, tmp_path / "run")
    shutil.rmtree(directory / "checkpoints")
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 2
    assert "has results, but no checkpoint" in capsys.readouterr().err
    (directory / "result.json").unlink()  # as if it had been killed in its first epoch
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 0
    assert "Resumed from the beginning" in capsys.readouterr().out
    assert final_state(directory) == straight("net")


def test_what_was_changed_once_is_not_forgotten(start, tmp_path, monkeypatch, capsys):
    with stopped_after(3, monkeypatch):
        _, directory = start(net.RECIPE, tmp_path)
    with stopped_after(9, monkeypatch):
        assert cli.main(net.RECIPE, ["--resume", str(directory), "--epochs", "3"]) == 143
    capsys.readouterr()
    assert cli.main(net.RECIPE, ["--resume", str(directory), "--epochs", "1"]) == 2
    assert "has already done 9 steps" in capsys.readouterr().err
    assert cli.main(net.RECIPE, ["--resume", str(directory)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "not exactly that of a run never stopped: --epochs 3 (was 2)" in printed
    assert json.loads((directory / "result.json").read_text())["step"] == 18


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_second_signal_has_its_usual_effect(number):
    heard = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # Below nohup it is ignored, and stays so.
    outside = signal.signal(number, signal.SIG_DFL)
    try:
        with stop_request(heard.append) as stop:
            assert not stop
            os.kill(os.getpid(), number)
            assert (stop.signal, heard) == (number, [number])
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(number, outside)


@pytest.mark.parametrize("call", ["fsync 1", "fsync 3"])
def test_a_disk_that_is_full_at_the_start_leaves_no_run(call, start, tmp_path, monkeypatch, capsys):
    with failing(monkeypatch, call):
        code, directory = start(mynet.RECIPE, tmp_path / "runs")
    assert (code, directory.exists()) == (2, False)
    error = " ".join(capsys.readouterr().err.split())
    assert f"cannot write the run {directory}: No space left on device: free disk space" in error
    assert "--resume" not in error


@pytest.fixture
def diverged(start, tmp_path, capsys):
    """The directory of a run whose loss was not finite, and what it printed."""
    code, directory = start(mynet.RECIPE, tmp_path, "--lr", "1e30")
    assert code == 1
    return directory, " ".join(capsys.readouterr().out.split())


def test_a_loss_that_is_not_finite_stops_the_run(diverged):
    directory, printed = diverged
    result = json.loads((directory / "result.json").read_text())
    assert result["status"] == "diverged"
    assert f"Step {result['step'] + 1}, at a learning rate of 1e+30" in result["reason"]
    assert "params/" in result["reason"]
    final = load_file(directory / "final.safetensors")
    assert all(leaf.isfinite().all() for leaf in final.values())
    assert "--on-nonfinite skip" in printed
    assert "To resume" not in printed
    newest = max((directory / "checkpoints").glob("step-*"))
    assert newest.name == f"step-{result['step']:08d}"


def test_steps_that_are_not_finite_can_be_left_out(diverged):
    directory, _ = diverged
    arguments = ["--resume", str(directory), "--on-nonfinite", "skip"]
    assert cli.main(mynet.RECIPE, arguments) == 0
    result = json.loads((directory / "result.json").read_text())
    assert (result["status"], result["step"]) == ("complete", 12)
    assert result["final"]["skipped_steps"] > 0
