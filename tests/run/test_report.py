import math
import re
import shutil
from dataclasses import replace

import pytest
import torch
from pages import read_page
from records import edit, edit_config, read, read_lines, write_lines

from fnet import data
from fnet.data import Dataset
from fnet.nn import summary
from fnet.run.config import ConfigError
from fnet.run.opened import open_run
from fnet.run.rate_curve import rate_curve
from fnet.run.recipe import Recipe
from fnet.run.record import read_run
from fnet.run.report import comparison, differences, evaluate_run, named, report, write_page
from fnet.run.report.curves import curves_view
from fnet.run.report.page import Header, Section, Table, Tile, render, render_table
from fnet.run.report.pictures import plot, themed
from fnet.run.report.reproduce import load_code
from fnet.run.runtime import resolve
from fnet.show import plots
from fnet.show.plots.style import DARK, LIGHT
from recipes import dainet7

SECTIONS = [
    "Curves",
    "Evaluation",
    "Epochs",
    "Network",
    "Configuration",
    "Data",
    "Environment",
    "Reproduce and use",
]
NASTY = "<script>alert('1')</script>&\"$x$"


@pytest.fixture
def copy(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


def test_whatever_is_shown_is_escaped():
    table = Table([NASTY], [[NASTY]], footer=(NASTY,))
    assert "<script" not in render_table(table)
    assert render_table(table).count("&lt;script&gt;") == 3
    tiles, milestones = (Tile(NASTY, NASTY, NASTY),), ((NASTY, NASTY),)
    header = Header(NASTY, NASTY, (NASTY,), NASTY, (NASTY,), tiles, milestones)
    page = render(NASTY, header, [Section(NASTY, "environment", [(NASTY, NASTY)])])
    text, _ = read_page(page)
    assert "<script" not in page
    # In the window's title, the header with its link to the section, and the section.
    assert text.count(NASTY) == 15


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
    assert images == 4 + 24 + min(24, mistakes) + len(evaluated.filters)
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
    assert images == 4


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


def sections(page):
    """Return the text below each heading of a section."""
    parts = re.split(r"<h2>(.*?)</h2>", page)
    return {
        name: re.sub(r"<[^>]*>", "", part.replace("<img", "image <")).strip()
        for name, part in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_sections_are_in_order_and_each_has_content(trained_run, copy):
    run = open_run(trained_run)
    whole = report(
        read_run(trained_run), run.recipe, summary(run.model, run.input_shape), note="Not now."
    )
    assert list(sections(whole)) == SECTIONS
    before_the_first_epoch(copy)
    for file in copy.glob("*.safetensors"):
        file.unlink()
    no_environment(copy)
    least = report(read_run(copy), run.recipe)
    assert list(sections(least)) == SECTIONS[4:]
    for page in (whole, least):
        assert all(sections(page).values())
        assert re.findall(r'<a href="#(\w+)">', page) == re.findall(r'<section id="(\w+)">', page)


def test_the_headline_comes_first(copy):
    edit_config(copy, data="cifar10")
    (line,) = read_lines(copy / "metrics.jsonl")
    write_lines(copy / "metrics.jsonl", [line | {"test_accuracy": 0.83, "seconds": 75.0}])
    top = report(read_run(copy), dainet7.RECIPE).partition("<section")[0]
    text, _ = read_page(f"{top}</main></body></html>")
    for shown in ("final test accuracy", "83.00%", "1 min 15 s", "80%", "70%"):
        assert shown in text
    assert "85%" not in text


@pytest.mark.parametrize(
    ("data", "config", "is_authors"),
    [
        ("cifar10", "auto", True),
        ("cifar10", "cifar10", True),
        ("cifar10", "/home/me/cifar10", False),
        ("drawings", "drawings", False),
        ("shapes", "shapes", False),
    ],
)
def test_the_authors_figures_stand_beside_the_authors_data_only(copy, data, config, is_authors):
    result = {**read(copy / "result.json"), "reported": {"test accuracy, final": "91.91 %"}}
    edit(copy / "result.json", **result)
    edit(copy / "config.json", data=data)
    edit_config(copy, data=config)
    page = report(read_run(copy), dainet7.RECIPE)
    assert ("reported by the author: 91.91 %" in page) == is_authors


def test_the_learning_rate_of_each_step_is_drawn(trained_run):
    run, record = open_run(trained_run), read_run(trained_run)
    rates = rate_curve(run.experiment, record.lines)
    assert len(rates) == record.lines[-1].step
    page = report(record, run.recipe, rates=rates)
    expected = plots.curve_panels({record.name: record.curves}, {record.name: rates})
    assert plot(expected["learning rate"]) in page
    stair = dict(curves_view({record.name: record}, [()])["panels"])["learning rate"]
    assert stair not in page
    assert plot(expected["learning rate"]) in (trained_run / "report.html").read_text()


def test_the_lines_that_load_the_weights_run(trained_run):
    record, recipe = read_run(trained_run), dainet7.RECIPE
    code = load_code(record, recipe, "best")
    names = {"images": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)}
    exec(code, names)
    assert names["probabilities"].shape == (2, 10)
    text, _ = read_page(report(record, recipe))
    assert code in text
