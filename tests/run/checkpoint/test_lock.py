"""One writer for a run; a dead one does not matter."""

import os
import signal
import warnings
from contextlib import contextmanager, suppress

import pytest

from fnet.run.checkpoint import CheckpointError, RunLockedError, run_lock
from fnet.run.command import exit_code


@contextmanager
def held_elsewhere(directory):
    """Let another process hold the lock; yields its id and a function that kills it."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Of the threads that the process may have: the child uses nothing that they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            with run_lock(directory):
                os.write(writer, b"held")
                signal.pause()
        finally:
            os._exit(1)
    os.close(writer)

    def kill():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    try:
        assert os.read(reader, 4) == b"held"
        yield child, kill
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_second_process_is_refused_and_a_dead_one_succeeded(tmp_path, capsys):
    with held_elsewhere(tmp_path) as (pid, kill):
        message = f"process {pid} is writing to the run .*: wait until it ends, or stop it"
        with pytest.raises(RunLockedError, match=message), run_lock(tmp_path):
            raise AssertionError("the lock was taken")

        def work():
            with run_lock(tmp_path):
                return 0

        assert exit_code(work) == 2
        assert f"process {pid}" in capsys.readouterr().err
        kill()
        assert (tmp_path / ".lock.pid").read_text() == f"{pid}\n"
        with run_lock(tmp_path):
            assert (tmp_path / ".lock.pid").read_text() == f"{os.getpid()}\n"


def test_it_is_released_however_the_context_ends(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), run_lock(tmp_path):
            raise error
    with run_lock(tmp_path), pytest.raises(RunLockedError), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("content", [b"", b"\xff\x1b[31m", b"12 34", b"9" * 100])
def test_a_holder_that_is_not_known_is_another_process(tmp_path, content):
    with run_lock(tmp_path):
        (tmp_path / ".lock.pid").write_bytes(content)
        with pytest.raises(RunLockedError, match=r"^(another process|process 9{20}) is"):
            run_lock(tmp_path).__enter__()


def test_what_cannot_be_locked_is_explained(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such directory"):
        run_lock(tmp_path / "nothing").__enter__()
    assert not (tmp_path / "nothing").exists()
    (tmp_path / ".lock").mkdir()
    with pytest.raises(CheckpointError, match=r"cannot lock .*directory"):
        run_lock(tmp_path).__enter__()


@pytest.mark.parametrize("name", [".lock", ".lock.pid"])
@pytest.mark.skipif(os.name == "nt", reason="links are those of POSIX")
def test_links_are_not_written_through(tmp_path, name):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (run / name).symlink_to(tmp_path / "mine")
    if name == ".lock":
        with pytest.raises(CheckpointError, match="cannot lock"):
            run_lock(run).__enter__()
    else:
        with run_lock(run):
            pass
    assert (tmp_path / "mine").read_bytes() == b"mine"
