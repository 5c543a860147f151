"""How commands end, and what they show of warnings."""

import io
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass

import pytest
from torch._dynamo.exc import BackendCompilerFailed

from fnet.data import DataError, DataWarning, load
from fnet.run.command import Tool, exit_code


def end(work):
    """Return the exit code, warnings being filtered as where no test runs."""
    with warnings.catch_warnings(action="default"):
        return exit_code(work)


def test_a_mistake_is_one_line_and_exit_code_2(capsys):
    def work():
        raise DataError("no image caf\udce9.png")

    assert end(work) == 2
    assert capsys.readouterr().err == "error: no image caf\\udce9.png\n"


def test_a_warning_about_data_is_one_line(capsys):
    def work():
        warnings.warn("the cache is full", DataWarning, stacklevel=1)
        return 3

    assert end(work) == 3
    assert capsys.readouterr().err == "warning: the cache is full\n"


def test_a_compiler_that_does_not_work_is_one_line_and_exit_code_2(capsys):
    def work():
        raise BackendCompilerFailed(print, OSError("No working C++ compiler\nand more"), None)

    assert end(work) == 2
    expected = "the step cannot be compiled: No working C++ compiler: repair the compiler, or give"
    assert expected in capsys.readouterr().err


def test_a_reader_that_is_gone_is_no_error():
    code = "from fnet.run.command import exit_code; exit_code(lambda: print('one line') or 0)"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert not ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("end_of_work", [lambda: 0, sys.exit])
@pytest.mark.parametrize("lines", [1, 10_000])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_2(
    lines, end_of_work, monkeypatch, capsys
):
    def work():
        print("figures\n" * lines)
        return end_of_work()

    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert end(work) == 2
    expected = "error: cannot write to standard output: No space left on device\n"
    assert capsys.readouterr().err == expected


def test_an_error_that_is_not_of_the_output_stays_what_it_is():
    with pytest.raises(OSError, match="of a disk"):
        exit_code(lambda: (_ for _ in ()).throw(OSError("of a disk")))


@pytest.mark.parametrize(
    "said",
    [
        "C++ compile error\n\nCannot create temporary file in /gone/: No such file or directory\n",
        "C++ compile error\n\nx.cpp: fatal error: error writing: No space left on device",
        "[Errno 30] Read-only file system: '/tmp/torchinductor'",
        "[Errno 2] No usable temporary directory found in ['/tmp']",
    ],
)
def test_where_temporary_files_have_no_place_tmpdir_is_named(said, capsys):
    def work():
        raise BackendCompilerFailed(print, OSError(said), None)

    assert end(work) == 2
    error = capsys.readouterr().err
    assert "set TMPDIR to a directory that has room" in error
    assert "repair the compiler" not in error
    assert len(error.splitlines()) == 1


def test_what_a_server_answers_does_not_act_on_the_terminal(capsys):
    def work():
        warnings.warn("\x1b]0;title\x07", DataWarning, stacklevel=1)
        raise DataError("404 \x1b[2J\x9b31m gone")

    assert end(work) == 2
    shown = capsys.readouterr().err
    assert shown == "warning: \\x1b]0;title\\x07\nerror: 404 \\x1b[2J\\x9b31m gone\n"


def test_help_needs_no_docstring(capsys):
    with pytest.raises(SystemExit) as ended:
        Tool("answer", None, Options, lambda options: options.code)(["--help"])
    assert ended.value.code == 0
    assert "--code" in capsys.readouterr().out


def test_another_exception_stays_what_it_is():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)


def test_what_a_stream_cannot_encode_is_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert end(lambda: print("2 × 3", flush=True) or 0) == 0
    assert stream.buffer.getvalue() == b"2 \\xd7 3\n"


def test_other_warnings_stay_as_they_are(capsys):
    def work():
        warnings.warn("of a library", UserWarning, stacklevel=1)
        return 0

    usual = warnings.showwarning
    with pytest.warns(UserWarning, match="of a library"):
        exit_code(work)
    assert not capsys.readouterr().err
    assert warnings.showwarning is usual


def test_a_cache_that_cannot_be_written_is_said_once(image_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FNET_CACHE", str(tmp_path / "file" / "cache"))

    def work():
        return len(load(image_folder)) + len(load(image_folder, split="test"))

    assert end(work) == 120
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: The cache ")
    assert line.endswith("Set FNET_CACHE to a directory that can be written.")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of a tool."""

    code: int = 0
    """What it returns."""


def test_a_tool_parses_its_command_line_and_returns_its_exit_code(capsys):
    tool = Tool("answer", "Answer.\n", Options, lambda options: options.code)
    assert tool([]) == 0
    assert tool(["--code", "3"]) == 3
    with pytest.raises(SystemExit) as ended:
        tool(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for text in ("usage: python -m recipes.answer", "Answer.", "--code", "What it returns."):
        assert text in shown
