import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_script_runs_as_it_stands_in_at_most_25_lines(monkeypatch, capsys):
    (script,) = blocks("python")
    assert len([line for line in script.splitlines() if line.strip()]) <= 25
    # Compiling is tested elsewhere, and takes longer than all of this.
    monkeypatch.setattr("fnet.step.compile", lambda fn: fn)
    names: dict = {}
    exec(compile(script, "README.md", "exec"), names)
    assert "accuracy" in capsys.readouterr().out
    assert names["record"].step == 8


def test_the_ci_runs_the_test_command():
    command = blocks("sh")[1].rpartition("&& ")[2].strip()
    assert command in (Path(__file__).parent.parent / ".ci/run").read_text(encoding="utf-8")
