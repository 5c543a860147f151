"""Data parallelism: steps and runs of several processes are those of one."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import many_processes
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from many_processes import limit_of, network
from networks import batch
from torch.func import grad, vmap

from fnet import losses, tree
from fnet.compiler import compile
from fnet.data import NORM_HALF
from fnet.parallel import (
    World,
    collective,
    gradient,
    launched,
    mean_over_processes,
    own_rows,
    process_group,
    sum_over_processes,
    total_over_processes,
)
from fnet.parallel.batch_norm import SyncBatchNorm
from fnet.random import key
from fnet.run.config import ConfigError
from fnet.run.record import command, read_run
from fnet.run.resume import same_runtime
from fnet.run.runtime import resolve
from fnet.run.schema import config_from_json
from fnet.step import make_grad
from recipes import dainet7, evaluate, sweep

GRAD_FN = make_grad(network(), losses.cross_entropy, preprocess=NORM_HALF)


def run_apart(*arguments):
    """Run the script of many processes in a program of its own: it forks."""
    root = Path(many_processes.__file__).parent
    path = os.pathsep.join([str(root.parent), str(root)])
    done = subprocess.run(
        [sys.executable, many_processes.__file__, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done


@pytest.fixture
def alone_in_a_group(monkeypatch):
    """A group of one process, in which collectives run."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_synchronized_steps_of_two_processes_are_those_of_one():
    found, _ = run_apart("2")
    assert found["codes"] == [0, 0]
    assert found["distances"].keys() >= {"sgd", "adam", "muon", "weights", "local"}
    for name, distance in found["distances"].items():
        assert distance <= limit_of(name), name


def test_a_run_of_two_processes_survives_a_death_and_stops_as_one():
    found, done = run_apart("disturbed")
    assert found["killed"] == [1, -9]
    assert (found["stopped"], found["status"]) == ([143, 143], "interrupted")
    assert (found["resumed"], found["is straight"]) == ([0, 0], True)
    assert (found["processes"], found["runs"]) == (2, 1)
    assert found["--sync-bn"] == [2, 2, 2]
    # One of two, or of three, processes says it.
    assert done.stderr.count("another process of this group has ended") == 1
    assert done.stderr.count("--batch-size 8 cannot be divided among 3 processes") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout.count("torchrun --nproc-per-node 2 -m recipes.cnn --resume") == 1


@given(st.integers(1, 40), st.integers(1, 8))
def test_the_processes_share_the_rows_of_a_batch(n, size):
    whole = batch(0, n)

    def part(rank):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gradient, "rank_and_size", lambda: (rank, size))
            return own_rows(whole)

    if n < size:
        with pytest.raises(ValueError, match=f"a batch of {n} cannot be divided among {size}"):
            part(0)
        return
    parts = [part(rank) for rank in range(size)]
    for name in ("images", "labels", "index", "weight"):
        joined = torch.cat([getattr(each, name) for each in parts])
        assert torch.equal(joined, getattr(whole, name))
    lengths = [len(each.labels) for each in parts]
    assert max(lengths) - min(lengths) <= 1


def test_without_a_group_functions_stay_as_they_are():
    def eval_step(params, batch):
        return {}

    assert mean_over_processes(GRAD_FN) is GRAD_FN
    assert total_over_processes(eval_step) is eval_step
    with process_group() as world:
        assert world == World() == launched()
        assert world.first(lambda: 3) == world.together(lambda: 3) == world.in_turn(lambda: 3) == 3
        assert world.most(1, 2) == [1, 2]


def test_a_sum_over_processes_is_compiled_as_one_operation(alone_in_a_group):
    step = compile(lambda x: tuple(2 * y for y in sum_over_processes(x + 1, x.double())))
    ours, wide = step(torch.ones(3))
    assert (ours.tolist(), wide.tolist()) == ([4.0] * 3, [2.0] * 3)
    assert wide.dtype == torch.float64


def test_a_sum_within_vmap_or_a_derivative_is_refused(alone_in_a_group, monkeypatch):
    def total(x):
        return sum_over_processes(x)[0].sum()

    with pytest.raises(RuntimeError, match="called within vmap"):
        vmap(total)(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="has no derivative"):
        grad(total)(torch.ones(3))
    for module in (gradient, collective):
        monkeypatch.setattr(module, "rank_and_size", lambda: (0, 2))
    params = network().init(key(0))
    many = tree.map(lambda leaf: torch.stack([leaf, leaf]), params)
    for sync in (False, True):
        mean = mean_over_processes(GRAD_FN, sync_batch_norm=sync)
        with pytest.raises(RuntimeError, match="called within vmap"):
            vmap(mean, in_dims=(0, None))(many, batch(0))


def test_other_functions_and_evaluation_are_left_alone(alone_in_a_group):
    model, images = network(), torch.zeros(4, 3, 8, 8)
    params = model.init(key(0))
    with SyncBatchNorm(torch.tensor(4.0), 0, 1):
        logits, _ = model.apply(params, images)
    assert torch.equal(logits, model.apply(params, images)[0])


def test_tools_refuse_torchrun(monkeypatch, capsys):
    for name in ("RANK", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    for tool, name in ((evaluate.main, "evaluate"), (sweep.main, "sweep")):
        assert tool(["net"]) == 2
        message = f"start it without torchrun: python -m recipes.{name}"
        assert message in capsys.readouterr().err
    assert launched() == World(0, 2, 0, 2, 0)


def test_a_resume_with_another_number_of_processes_is_said(trained_run):
    record = read_run(trained_run)
    was = replace(record.environment, processes=2, threads=7)
    config = config_from_json(dainet7.Config, record.config)
    runtime, different = same_runtime(replace(record, environment=was), config)
    assert different == ["processes 1 (was 2)"]
    assert (runtime.processes, runtime.threads) == (1, torch.get_num_threads())
    assert command(replace(record, environment=was), dainet7.RECIPE).startswith(
        "torchrun --nproc-per-node 2 -m recipes.dainet7 --variant smoke"
    )


@pytest.mark.parametrize(("variable", "threads"), [(None, 3), ("1", 3), ("2", None)])
def test_the_processes_of_a_machine_share_its_cores(variable, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    monkeypatch.delenv("OMP_NUM_THREADS")
    if variable:  # torchrun sets 1
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    runtime = resolve("cpu", world=World(5, 8, 1, 4))
    assert runtime.threads == (threads or torch.get_num_threads())
    assert runtime.processes == 8
    with pytest.raises(ConfigError, match="each process has its own"):
        resolve("cuda:1", world=World(0, 2, 0, 2))
