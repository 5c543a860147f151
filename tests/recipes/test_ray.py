"""A sweep on Ray: with a stand-in for Ray, and two workers on this machine, one of them killed."""

import os
import pickle
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from kills import final_state
from records import read

import fnet.run.config
import fnet.run.sweep.arms
from recipes.sweep import main

ROOT = Path(__file__).parent.parent.parent


def holder(run: Path) -> int | None:
    """Return the process that writes to a run and has saved a checkpoint, None if there is none."""
    try:
        process = int((run / ".lock.pid").read_text())
        return process if any((run / "checkpoints").glob("step-*")) else None
    except (OSError, ValueError):
        return None


@pytest.fixture
def stand_in(monkeypatch):
    """A Ray that runs members here, one after the other; `died` are errors of its workers."""
    ray, tune = ModuleType("ray"), ModuleType("ray.tune")
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    monkeypatch.setattr("fnet.run.sweep.ray_tune.find_spec", lambda name: ray)
    for name in ("RAY_ADDRESS", "RAY_CHDIR_TO_TRIAL_DIR"):
        monkeypatch.setenv(name, "")
    state = SimpleNamespace(initialized=False, died={}, calls=[], cores=None)
    ray.tune = tune
    ray.is_initialized = lambda: state.initialized
    ray.init = lambda **options: state.calls.append(("init", options.get("address")))
    ray.shutdown = lambda: state.calls.append("shutdown")
    ray.cluster_resources = lambda: {"CPU": 6.0}
    tune.Callback = object
    tune.grid_search = list
    for name in ("TuneConfig", "RunConfig", "FailureConfig"):
        setattr(tune, name, SimpleNamespace)

    def with_resources(train, resources):
        state.cores = resources["cpu"]
        return train

    class Tuner:
        def __init__(self, train, param_space, tune_config, run_config):
            self.train, self.space, self.config = train, param_space, run_config
            assert tune_config.max_concurrent_trials == 3
            assert run_config.failure_config.max_failures == 3
            # Ray stores the callbacks.
            assert run_config.callbacks[0].__getstate__() == {}

        def fit(self):
            for spec in pickle.loads(pickle.dumps(self.space)):
                last = {}

                def report(metrics, spec=spec, last=last):
                    last.update(metrics)
                    trial = SimpleNamespace(config=spec)
                    self.config.callbacks[0].on_trial_result(0, [], trial, metrics)

                tune.report = report
                error = state.died.get(spec["seed"])
                if error is None:
                    self.train(spec)
                yield SimpleNamespace(error=error, config=spec, metrics=last)

    tune.with_resources, tune.Tuner = with_resources, Tuner
    return state


@pytest.fixture
def few(image_folder):
    options = ["--variant", "smoke", "--data", str(image_folder), "--limit", "48"]
    return [*options, "--batch-size", "16", "--device", "cpu", "--precision", "fp32"]


@pytest.mark.usefixtures("no_reports")
def test_members_run_in_workers_and_report_their_epochs(
    stand_in, few, tmp_path, monkeypatch, capsys
):
    options = ["net", *few, "--lr", "0.1", "0.01", "--out", str(tmp_path)]
    monkeypatch.setattr("fnet.run.sweep.conductor.draw", lambda *_: [])  # takes long
    assert main([*options, "--ray", "--workers", "3"]) == 0
    assert stand_in.cores == 2
    assert stand_in.calls == [("init", None), "shutdown"]
    directory = tmp_path / "sweep-net"
    assert [len(arm["runs"]) for arm in read(directory / "sweep.json")["arms"]] == [1, 1]
    assert "lr=0.01, seed 0: epoch 1/1, train" in capsys.readouterr().out
    assert main(["--resume", str(directory), "--ray", "--workers", "3"]) == 0
    assert len(stand_in.calls) == 2  # nothing was left to do


@pytest.mark.usefixtures("no_reports")
def test_a_worker_that_dies_again_and_again_is_named(stand_in, few, tmp_path, capsys):
    stand_in.died[1] = RuntimeError("the worker died\nout of memory")
    options = ["net", *few, "--seeds", "2", "--out", str(tmp_path), "--ray", "--workers", "3"]
    assert main(options) == 2
    captured = capsys.readouterr()
    assert "smoke, seed 1: its worker died more than 3 times" in captured.err
    assert "out of memory" in captured.err
    assert f"--resume {tmp_path / 'sweep-net'}" in captured.out


@pytest.mark.usefixtures("no_reports")
def test_an_error_of_the_user_in_a_worker_is_said_once(
    stand_in, few, tmp_path, monkeypatch, capsys
):
    def refuse(*_, **__):
        raise fnet.run.config.ConfigError("there is no room")

    monkeypatch.setattr(fnet.run.sweep.arms, "train", refuse)
    options = ["net", *few, "--seeds", "2", "--out", str(tmp_path), "--ray", "--workers", "3"]
    assert main(options) == 2
    assert capsys.readouterr().err == "error: smoke, seed 0: there is no room\n"


@pytest.mark.skipif(find_spec("ray") is None, reason='needs pip install "fnet[ray]"')
def test_a_killed_worker_s_member_goes_on_from_its_checkpoint(image_folder, tmp_path):
    few = ["--variant", "smoke", "--data", str(image_folder), "--limit", "80", "--batch-size", "8"]
    few += ["--device", "cpu", "--precision", "fp32", "--epochs", "6", "--checkpoint-minutes", "0"]
    swept = ["net", *few, "--lr", "0.1", "0.01"]
    command = [sys.executable, "-m", "recipes.sweep", *swept]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    on_ray = [*command, "--out", str(tmp_path / "ray"), "--ray", "--workers", "2"]
    directory = tmp_path / "ray" / "sweep-net"
    runs = [directory / f"net-lr={lr}-s0" for lr in (0.1, 0.01)]
    killed, workers = None, set()
    with (tmp_path / "log").open("w") as log:
        started = subprocess.Popen(on_ray, cwd=ROOT, env=environment, stdout=log, stderr=log)
        while started.poll() is None:
            workers |= {process for run in runs if (process := holder(run))}
            if killed is None and (killed := holder(runs[0])):
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.02)
    assert started.returncode == 0, (tmp_path / "log").read_text()
    assert killed is not None
    assert len(workers) == 3  # two at the same time, and one instead of the killed one
    alone = [*command, "--out", str(tmp_path / "alone")]
    subprocess.run(alone, cwd=ROOT, env=environment, check=True, capture_output=True)
    for run in runs:
        assert read(run / "result.json")["status"] == "complete"
        assert final_state(run) == final_state(tmp_path / "alone" / "sweep-net" / run.name)
