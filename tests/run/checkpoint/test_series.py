"""The newest whole checkpoint is always there, whatever happens to the process and the disk."""

import os
import subprocess
import sys

import pytest
import torch
from disk import failing
from states import assert_same

from fnet.run.checkpoint import CheckpointError, Checkpoints
from fnet.run.command import exit_code


def state(step):
    return {"weight": torch.full((3, 4), float(step)), "step": torch.tensor(step)}


LIKE = state(0)


def saved(directory, *steps, keep=2):
    checkpoints = Checkpoints(directory, keep)
    for step in steps:
        checkpoints.save(step, state(step), {"step": step})
    return checkpoints


def damage(directory, step):
    file = directory / f"step-{step:08d}" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_few_are_kept(tmp_path, keep):
    directory = tmp_path / "run" / "checkpoints"
    checkpoints = saved(directory, 9, 90, 390, 100_000_000, keep=keep)
    assert checkpoints.steps() == [9, 90, 390, 100_000_000][-keep:]
    assert len(names(directory)) == keep
    restored = checkpoints.restore(LIKE)
    assert (restored.step, restored.note, restored.damaged) == (100_000_000, {"step": 10**8}, ())
    assert_same(restored.state, state(100_000_000))


def test_no_checkpoints_is_none(tmp_path):
    assert Checkpoints(tmp_path).restore(LIKE) is None
    assert Checkpoints(tmp_path / "nothing").restore(LIKE) is None
    assert not (tmp_path / "nothing").exists()


def test_none_to_keep_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpoints(tmp_path, keep=0)


def test_damaged_ones_are_passed_over_and_named(tmp_path):
    checkpoints = saved(tmp_path, 10, 20, 30, keep=3)
    damage(tmp_path, 30)
    damage(tmp_path, 20)
    restored = checkpoints.restore(LIKE)
    assert (restored.step, restored.note) == (10, {"step": 10})
    for step, reason in zip((30, 20), restored.damaged, strict=True):
        assert f"step-{step:08d}" in reason
        assert "its size is wrong" in reason
    checkpoints.discard_after(10)
    assert names(tmp_path) == ["step-00000010"]


def test_if_all_are_damaged_all_are_named(tmp_path, capsys):
    checkpoints = saved(tmp_path, 10, 20)
    damage(tmp_path, 10)
    (tmp_path / "step-00000020" / "state.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"all checkpoints .* damaged: .*20.*: .*10.*: restore"
    ):
        checkpoints.restore(LIKE)
    assert exit_code(lambda: checkpoints.restore(LIKE)) == 2
    assert "are damaged" in capsys.readouterr().err
    assert checkpoints.steps() == [10, 20]


def test_one_of_another_state_is_not_damage(tmp_path):
    checkpoints = saved(tmp_path, 10, 20)
    with pytest.raises(
        CheckpointError, match=r"step-00000020 has another state .*it has no 'more'"
    ):
        checkpoints.restore({**LIKE, "more": torch.ones(1)})


def test_a_step_saved_again_stays_as_it_was(tmp_path):
    checkpoints = saved(tmp_path, 10)
    checkpoints.save(10, state(10), {"step": "again"})
    assert checkpoints.restore(LIKE).note == {"step": 10}
    damage(tmp_path, 10)
    checkpoints.save(10, state(10), {"step": "again"})
    assert checkpoints.restore(LIKE).note == {"step": "again"}
    assert names(tmp_path) == ["step-00000010"]


def test_damaged_newer_ones_do_not_count(tmp_path):
    checkpoints = saved(tmp_path, 10, 20, 30, 40, keep=4)
    for step in (20, 30, 40):
        damage(tmp_path, step)
    one = Checkpoints(tmp_path, keep=1)
    one.save(15, state(15))
    assert one.restore(LIKE).step == 15
    assert checkpoints.steps() == [15, 20, 30, 40]


FOREIGN = [
    "notes.txt",
    "step-390",
    "step-000000390",
    "step-00000390.bak",
    "Step-00000390",
    "step-٠٠٠٠٠٣٩٠",
    ".step-00000390",
    ".step-mine",
    ".step-00000390.12-copied",
    "step-",
]


def test_foreign_names_are_left_alone(tmp_path):
    for name in FOREIGN:
        (tmp_path / name).mkdir()
    checkpoints = saved(tmp_path, 1, 2, 3, keep=1)
    assert checkpoints.steps() == [3]
    checkpoints.discard_after(0)
    assert names(tmp_path) == sorted(FOREIGN)
    assert checkpoints.restore(LIKE) is None


def test_leftovers_of_interrupted_writing_are_removed(tmp_path):
    for name in (".step-00000010.123-0123abcd", ".step-00000020.99999-ffffffff"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tensors.safetensors").write_bytes(b"half")
    assert Checkpoints(tmp_path).restore(LIKE) is None
    saved(tmp_path, 30)
    assert names(tmp_path) == ["step-00000030"]


STAGES = ["mkdir 1", "write 1", "write 2", "fsync 1", "fsync 2", "fsync 3", "fsync 4", "rename 1"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_leaves_the_last_ones_intact(tmp_path, monkeypatch, stage):
    checkpoints = saved(tmp_path, 10, 20)
    with (
        failing(monkeypatch, stage),
        pytest.raises(CheckpointError, match=r"step-00000030 .*No space left on device: free disk"),
    ):
        checkpoints.save(30, state(30))
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    assert checkpoints.steps()[:2] == [10, 20]
    checkpoints.discard_after(20)
    restored = checkpoints.restore(LIKE)
    assert (restored.step, restored.damaged) == (20, ())
    assert_same(restored.state, state(20))


def test_one_that_cannot_be_removed_is_an_error_after_saving(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 10, 20)
    with (
        failing(monkeypatch, "rename 2"),
        pytest.raises(CheckpointError, match=r"cannot remove .*step-00000010: No space"),
    ):
        checkpoints.save(30, state(30))
    assert checkpoints.restore(LIKE).step == 30


@pytest.mark.parametrize("place", ["checkpoints", "step-00000010"])
def test_links_are_neither_followed_nor_emptied(tmp_path, place):
    saved(tmp_path / "other", 10)
    directory = tmp_path / "checkpoints"
    if place == "checkpoints":
        directory.symlink_to(tmp_path / "other", target_is_directory=True)
        checkpoints = Checkpoints(directory)
        for work in (
            lambda: checkpoints.restore(LIKE),
            lambda: checkpoints.save(20, state(20)),
            lambda: checkpoints.discard_after(0),
        ):
            with pytest.raises(CheckpointError, match="is a symbolic link"):
                work()
    else:
        checkpoints = saved(directory, 5)
        (directory / place).symlink_to(tmp_path / "other" / place, target_is_directory=True)
        restored = checkpoints.restore(LIKE)
        assert restored.step == 5
        assert "not a directory" in restored.damaged[0]
        checkpoints.discard_after(5)
        assert names(directory) == ["step-00000005"]
    assert Checkpoints(tmp_path / "other").restore(LIKE).step == 10


def test_a_file_in_place_of_the_directory_is_named(tmp_path):
    (tmp_path / "checkpoints").write_bytes(b"mine")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for work in (lambda: checkpoints.restore(LIKE), lambda: checkpoints.save(1, state(1))):
        with pytest.raises(CheckpointError, match=r"cannot read .*checkpoints: Not a directory"):
            work()
    assert (tmp_path / "checkpoints").read_bytes() == b"mine"


# Ends in the middle of anything. The children are forked from a process of one thread.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from fnet.run.checkpoint import Checkpoints, run_lock

def state(step):
    return {str(i): torch.full((40, 500), float(step + i)) for i in range(10)}

run = Path(sys.argv[1])
checkpoints = Checkpoints(run / "checkpoints")
last = 0
checkpoints.save(last, state(last))
random.seed(0)
for _ in range(8):
    child = os.fork()
    if not child:
        with run_lock(run):
            while True:
                last += 1
                checkpoints.save(last, state(last))
    time.sleep(random.uniform(0.05, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    restored = checkpoints.restore(state(0))
    assert restored.damaged == (), restored.damaged
    assert restored.step >= last
    assert len(checkpoints.steps()) <= 3
    expected = state(restored.step)
    assert all(torch.equal(leaf, expected[name]) for name, leaf in restored.state.items())
    last = restored.step
with run_lock(run):
    checkpoints.save(last + 1, state(last + 1))
print(last, sorted(os.listdir(run / "checkpoints")))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_leaves_a_whole_newest_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    last, left = done.stdout.split(maxsplit=1)
    assert int(last) >= 8, "hardly anything was saved between the kills"
    assert left.strip() == str([f"step-{int(last) + i:08d}" for i in (0, 1)])
