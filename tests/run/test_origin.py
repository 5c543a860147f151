"""A recipe may live anywhere: its record and its messages name the command that works."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from records import edit

from fnet.run import cli
from fnet.run.config import ConfigError
from fnet.run.loading import is_recipe_of, load_recipe
from fnet.run.opened import open_run
from fnet.run.origin import Origin, of_file, of_namespace
from recipes import net, report

ROOT = Path(__file__).parent.parent.parent
RECIPE = '''"""Tiny."""
from fnet.run import cli
from fnet.run.recipe import Recipe
from recipes import net
RECIPE = Recipe("tiny", __doc__, "shapes", net.VARIANTS, net.build)
if __name__ == "__main__":
    cli.run(RECIPE)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with a recipe as a file and as a module of a package."""
    package = tmp_path / "my" / "recipes"
    package.mkdir(parents=True)
    (tmp_path / "mine.py").write_text(RECIPE)
    (package / "tiny.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my"]:
        del sys.modules[name]


def call(*words):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
    )


@pytest.mark.parametrize(
    ("words", "name"), [(["mine.py"], "mine.py"), (["-m", "my.recipes.tiny"], "my.recipes.tiny")]
)
def test_a_recipe_elsewhere_trains_resumes_and_has_a_report(
    words, name, folder, image_folder, capsys
):
    command = " ".join(["python", *words])
    assert f"usage: {command}" in call(*words, "--help").stdout
    options = ["--data", str(image_folder), "--limit", "64", "--batch-size", "32"]
    options += ["--epochs", "1", "--no-compile"]
    done = call(*words, *options, "--out", "runs")
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["recipe"] == (str(folder / name) if name.endswith(".py") else name)
    assert len(recorded.get("recipe_checksum", "")) == (64 if name.endswith(".py") else 0)

    assert cli.main(net.RECIPE, ["--resume", str(run)]) == 2
    capsys.readouterr()
    assert report.main([str(run)]) == 2
    # What the message says to give is what works.
    _, option, given = capsys.readouterr().err.strip().rpartition("--recipe ")
    assert option
    assert report.main([str(run), "--recipe", given]) == 0
    assert f"{command} --variant default" in (run / "report.html").read_text()

    (folder / "mine.py").write_text(RECIPE + "# changed\n")
    more = call(*words, "--resume", str(run), "--epochs", "2")
    assert more.returncode == 0, more.stderr
    assert ("mine.py has changed" in more.stdout) == (name == "mine.py")


def test_another_recipe_is_told_the_command(folder, trained_run, tmp_path, capsys):
    recipe = load_recipe("mine.py")
    assert recipe.origin == of_file("mine.py")
    assert cli.main(recipe, ["--resume", str(trained_run)]) == 2
    assert "python -m recipes.dainet7 --resume" in capsys.readouterr().err


def test_a_record_imports_no_file(folder, trained_run, tmp_path):
    (folder / "mine.py").write_text("raise SystemExit('executed')")
    copy = shutil.copytree(trained_run, tmp_path / "copy")
    edit(copy / "config.json", recipe=str(folder / "mine.py"), recipe_checksum="0" * 64)
    with pytest.raises(ConfigError, match=r"only modules of recipes\.\*.*--recipe .*mine\.py"):
        open_run(copy)


def test_an_old_record_of_a_recipe_elsewhere_is_its_own(folder):
    mine = load_recipe("mine.py")
    assert is_recipe_of(mine, Origin("recipes.tiny"))
    assert not is_recipe_of(mine, Origin("recipes.net"))
    assert not is_recipe_of(mine, Origin("os"))
    assert is_recipe_of(net.RECIPE, Origin("recipes.net"))


def test_a_package_is_run_by_its_name():
    assert Origin("my.tiny.__main__").command == "python -m my.tiny"
    assert of_namespace({"__name__": "__main__"}) == Origin("__main__")


def test_a_file_that_moved_is_the_same_recipe(folder):
    before = of_file("mine.py")
    (folder / "mine.py").rename(folder / "other.py")
    assert of_file("other.py").same_place(before)
    assert of_file("other.py").command == "python other.py"


def test_importing_recipes_changes_nothing():
    script = (
        "import sys\nhook, known = sys.excepthook, set(sys.modules)\nimport recipes\n"
        "assert sys.excepthook is hook\nprint(sorted(set(sys.modules) - known))\n"
        "import recipes.net, recipes.report\nassert sys.excepthook is hook\n"
        "assert 'triton' not in sys.modules"
    )
    done = call("-c", script)
    assert (done.stdout, done.returncode) == ("['recipes']\n", 0), done.stderr
