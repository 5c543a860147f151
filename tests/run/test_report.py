import math
import re
import shutil
from dataclasses import replace

import pytest
import torch
from pages import read_page
from records import edit, read, read_lines, write_lines

from fnet import data
from fnet.data import Dataset
from fnet.nn import summary
from fnet.run.config import ConfigError
from fnet.run.opened import open_run
from fnet.run.recipe import Recipe
from fnet.run.record import read_run
from fnet.run.report import comparison, differences, evaluate_run, named, report, write_page
from fnet.run.report.html import element, table, themed
from fnet.run.runtime import resolve
from fnet.show.plots.style import DARK, LIGHT
from recipes import dainet7

NASTY = "<script>alert('1')</script>&\"$x$"


@pytest.fixture
def copy(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def test_text_is_escaped_and_markup_is_not():
    inner = element("b", NASTY, title=NASTY)
    page = element("p", inner)
    assert "<script" not in page
    assert page.startswith("<p><b title=")
    assert "<script" not in table([NASTY], [[NASTY]], footer=[NASTY])


def test_a_drawing_follows_the_theme():
    svg = themed(
        f'<svg><defs/><path style="fill: {LIGHT.ink}"/></svg>'.replace("<defs/>", "<defs>")
    )
    assert 'style="fill: var(--ink)"' in svg
    assert DARK.ink in svg.partition("prefers-color-scheme: dark")[2]


def test_a_report_shows_everything(trained_run, image_folder):
    run = open_run(trained_run, "final")
    dataset = data.load(image_folder, split="test")
    runtime = resolve("cpu", "fp32", compile=False)
    evaluated = evaluate_run(run.experiment, run.params, "final", dataset, runtime)
    record, layers = read_run(trained_run), summary(run.model, run.input_shape)
    text, images = read_page(report(record, run.recipe, layers, evaluated))
    assert record.final
    for share in (record.final.test_accuracy, record.final.train_accuracy):
        assert f"{share:.2%}" in text
    assert evaluated.figures.top1 == record.final.test_accuracy
    for shown in (
        *dataset.classes,
        f"{layers.parameters:,}",
        "Conv2d",
        record.environment.torch,
    ):
        assert shown in text
    for part in ("Curves", "Confusion matrix", "Most confident mistakes", "First-layer filters"):
        assert part in text
    mistakes = len(evaluated.figures.mistakes)
    assert evaluated.filters is not None
    assert images == 2 + 24 + min(24, mistakes) + len(evaluated.filters)
    worst = evaluated.figures.mistakes[0]
    title = f"✗ {dataset.classes[worst.predicted]} ({dataset.classes[worst.label]})"
    assert title in text
    assert "--variant smoke" in text


def test_names_of_the_user_are_only_text(copy):
    run = open_run(copy)
    labels = torch.tensor([0, 1, 2])
    classes = (NASTY, *run.classes[1:])
    dataset = Dataset(torch.zeros(3, *run.input_shape, dtype=torch.uint8), labels, classes, NASTY)
    runtime = resolve("cpu", "fp32", compile=False)
    evaluated = evaluate_run(run.experiment, run.params, "best", dataset, runtime)
    edit(copy / "config.json", data=NASTY, classes=classes, variant=NASTY)
    page = report(read_run(copy), run.recipe, None, evaluated)
    text, _ = read_page(page)
    assert NASTY in text


def interrupted(run):
    edit(run / "result.json", status="interrupted")


def killed(run):
    (run / "result.json").unlink()


def before_the_first_epoch(run):
    interrupted(run)
    (run / "metrics.jsonl").unlink()


def damaged_line(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tr')


def not_finite(run):
    (line,) = read_lines(run / "metrics.jsonl")
    write_lines(run / "metrics.jsonl", [line | {"train_loss": math.nan}])


def stand_in(run):
    edit(run / "config.json", stand_in=True)


def damaged_environment(run):
    (run / "environment.json").write_text("{")


def no_environment(run):
    (run / "environment.json").unlink()


def damaged_result(run):
    file = run / "result.json"
    file.write_text(file.read_text().replace("complete", "complote"))


def lost_line(run):
    (run / "metrics.jsonl").write_text("")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (interrupted, "The run was stopped in epoch 2 of 1"),
        (killed, "it goes on, or was killed"),
        (before_the_first_epoch, "there is nothing measured"),
        (damaged_line, "1 damaged or lost lines"),
        (not_finite, "nan"),
        (stand_in, "stand in for cifar10"),
        (damaged_environment, "environment.json, which is damaged (Expecting property name"),
        (no_environment, "Not recorded"),
        (damaged_result, "result.json, which is damaged (its checksum is wrong)"),
        (lost_line, "1 damaged or lost lines"),
    ],
)
def test_every_state_of_a_run_has_a_report(copy, state, shown):
    state(copy)
    text, _ = read_page(report(read_run(copy), dainet7.RECIPE, note="Not evaluated."))
    assert shown in text
    assert "Not evaluated." in text


def test_options_that_were_changed_are_marked(copy):
    page = report(read_run(copy), dainet7.RECIPE)
    marked = re.findall(r'<tr class="marked"><th scope="row">(\w+)</th>', page)
    assert {"data", "limit", "out"} <= set(marked)
    assert "seed" not in marked


def test_runs_of_different_recipes_are_compared(trained_run, copy):
    setup = read(copy / "config.json")
    config = {k: v for k, v in setup["config"].items() if k != "seed"} | {"other": NASTY}
    edit(copy / "config.json", recipe="recipes.cnn", config=config, data="cifar10")
    (copy / "metrics.jsonl").unlink()
    runs = named([read_run(trained_run), read_run(copy)])
    text, images = read_page(comparison(runs))
    assert differences(runs) == {"seed": [0, None], "other": [None, NASTY]}
    for shown in (*runs, "not on the same data", NASTY):
        assert shown in text
    assert images == 2


def test_runs_of_one_name_are_told_apart_by_their_paths(trained_run, tmp_path):
    copy = shutil.copytree(trained_run, tmp_path / trained_run.name)
    assert list(named([read_run(trained_run), read_run(copy)])) == [
        str(trained_run.resolve()),
        str(copy.resolve()),
    ]
    with pytest.raises(ConfigError, match="given twice"):
        named([read_run(copy), read_run(copy)])


def test_a_page_replaces_nothing(tmp_path):
    file = tmp_path / "page.html"
    write_page(file, "first")
    with pytest.raises(ConfigError, match="not overwritten"):
        write_page(file, "second")
    assert file.read_text() == "first"
    write_page(file, "third", replace=True)
    assert file.read_text() == "third"
    with pytest.raises(ConfigError, match="cannot write"):
        write_page(tmp_path / "nowhere" / "page.html", "")


def test_a_recipe_without_the_variant_has_a_report(copy):
    edit(copy / "config.json", variant="an arm")
    assert isinstance(dainet7.RECIPE, Recipe)
    only_default = replace(dainet7.RECIPE, variants={"default": dainet7.VARIANTS["default"]})
    text, _ = read_page(report(read_run(copy), only_default))
    assert "differs from variant default" in text
