import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from fnet.show import plots
from fnet.show.plots.style import COLORS, RIGHT, WRONG


def run(epochs, rate=lambda epoch: 0.1, **changed):
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": 2 / epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "test_loss": 2.5 / epoch,
            "test_accuracy": 0.9 - 0.5 / epoch,
            "learning_rate": rate(epoch),
            **changed,
        }
        for epoch in range(1, epochs + 1)
    ]


def legends(figure):
    return [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]


def test_the_curves_of_one_run():
    lines = run(5)
    figure = plots.curves({"dainet7": lines})
    loss, accuracy, rate = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy (%)", "learning rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    train, test = loss.lines
    assert (train.get_linestyle(), test.get_linestyle()) == ("--", "-")
    np.testing.assert_array_equal(test.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(train.get_ydata(), [line["train_loss"] for line in lines])
    np.testing.assert_array_equal(
        accuracy.lines[1].get_ydata(), [100 * line["test_accuracy"] for line in lines]
    )
    assert rate.lines[0].get_drawstyle() == "steps-pre"
    np.testing.assert_array_equal(rate.lines[0].get_xdata(), [0, 1, 2, 3, 4, 5])
    assert legends(figure) == [["train", "test"]]
    assert figure.get_suptitle() == "dainet7"


def test_each_of_12_runs_can_be_told_apart():
    names = [f"a-name-that-goes-on-and-on-and-on-until-the-seed-{seed}" for seed in range(12)]
    figure = plots.curves({name: run(40) for name in names})
    loss, _, rate = figure.axes
    assert len(loss.lines) == 24
    assert len(rate.lines) == 12
    assert len({(line.get_color(), line.get_marker()) for line in loss.lines}) == 12
    assert {line.get_color() for line in loss.lines} == set(COLORS)
    shown = legends(figure)[1]
    assert all(len(name) == 40 and name.endswith(f"-{i}") for i, name in enumerate(shown))


@pytest.mark.parametrize(
    ("rate", "scale"),
    [
        (lambda epoch: 0.1 if epoch < 3 else 0.01, "log"),
        (lambda epoch: 0.1 if epoch < 3 else 0.05, "linear"),
        (lambda epoch: 0.1 * (5 - epoch), "linear"),
    ],
    ids=["tenfold", "halved", "down to 0"],
)
def test_learning_rates_over_decades_have_a_log_scale(rate, scale):
    assert plots.curves({"run": run(5, rate)}).axes[2].get_yscale() == scale


@pytest.mark.parametrize("epochs", [1, 2, 250])
def test_epochs_are_whole_numbers_and_visible(epochs):
    loss, _, rate = plots.curves({"run": run(epochs)}).axes
    for axes in (loss, rate):
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == int(tick) for tick in ticks)
    start, every = loss.lines[0].get_markevery()
    assert len(range(start, epochs, every)) >= min(epochs, 12)
    assert low < high


def test_what_is_not_finite_or_not_there_is_a_gap():
    lines = run(4, test_loss=math.inf)
    lines[1]["train_loss"] = math.nan
    del lines[2]["train_loss"]
    figure = plots.curves({"run": lines, "interrupted": []})
    train, test, *nothing = figure.axes[0].lines
    assert [math.isnan(y) for y in train.get_ydata()] == [False, True, True, False]
    assert np.isnan(test.get_ydata()).all()
    assert [len(line.get_xdata()) for line in nothing] == [0, 0]
    assert plots.render(figure, "png")


def test_names_are_shown_as_they_are():
    figure = plots.curves({"_hidden": run(1), "$5 and $6": run(1)})
    assert legends(figure)[1] == ["_hidden", r"\$5 and \$6"]
    assert plots.render(figure, "svg")


@pytest.mark.parametrize("format", ["png", "svg"])
def test_a_name_without_a_font_is_drawn_without_a_warning(format):
    assert plots.render(plots.confusion(torch.eye(2), ["\u732b", "\u72ac"]), format)


def test_no_run_is_an_error():
    with pytest.raises(ValueError, match="give at least one run"):
        plots.curves({})


def test_the_confusion_matrix():
    figure = plots.confusion(torch.tensor([[8, 2], [0, 0]]), ["cat", "dog"])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog"]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[80, 20], [0, 0]])
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "8"),
        ((1, 0), "2"),
    ]


def test_many_classes_have_colours_only():
    axes = plots.confusion(np.ones((30, 30)), [f"class {n}" for n in range(30)]).axes[0]
    assert not axes.texts
    assert len(axes.get_xticklabels()) == 30


def test_a_confusion_matrix_that_is_not_one():
    with pytest.raises(ValueError, match=r"the matrix is \[2, 3\], expected \[2, 2\]"):
        plots.confusion(np.ones((2, 3)), ["cat", "dog"])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_image_grid(channels):
    images = torch.arange(5 * channels * 4, dtype=torch.uint8).reshape(5, channels, 2, 2)
    before = images.clone()
    figure = plots.image_grid(images, ["cat (dog)"] * 5, [True, False, True, True, True])
    assert torch.equal(images, before)
    titles = [axes.title for axes in figure.axes]
    assert [title.get_text() for title in titles[:2]] == ["✓ cat (dog)", "✗ cat (dog)"]
    assert [title.get_color() for title in titles[:2]] == [RIGHT, WRONG]
    shown = figure.axes[4].images[0]
    assert (shown.get_cmap().name == "gray") == (channels == 1)
    expected = images[4].permute(1, 2, 0).squeeze(-1) / 255
    np.testing.assert_allclose(shown.get_array(), expected, rtol=1e-6)
    if channels == 1:
        assert shown.get_clim() == (0, 1)


def test_long_titles_take_two_lines_everywhere():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    titles = ["automobile (a name as long as a sentence)", "cat (dog)"]
    figure = plots.image_grid(images, titles, [False, False])
    assert [axes.get_title() for axes in figure.axes] == [
        "✗ automobile\n(a name a…entence)",
        "✗ cat\n(dog)",
    ]


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), [], r"N at least 1"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.uint8), ["cat"], r"C 1 or 3"),
        (torch.zeros(1, 3, 4, 4), ["cat"], r"float32, expected torch.uint8"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [], r"1 images, 0 titles and 0 flags"),
    ],
    ids=["none", "channels", "dtype", "titles"],
)
def test_images_that_cannot_be_shown(images, titles, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images, titles, [True] * len(titles))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_filters_of_the_first_layer(channels):
    weights = torch.zeros(3, channels, 2, 2, requires_grad=True)
    with torch.no_grad():
        weights[0, 0, 0, 0], weights[1, 0, 1, 1] = -4, 2
        weights[2] = math.nan
    shown = [axes.images[0].get_array() for axes in plots.filters(weights).axes]
    assert len(shown) == 3
    assert shown[0].flat[0] == 0
    assert shown[1].reshape(4, channels)[3, 0] == 0.75
    assert (shown[2] == 0.5).all()
    assert plots.filters(torch.zeros(2, channels, 2, 2)).axes


def test_filters_of_a_later_layer_are_refused():
    with pytest.raises(ValueError, match=r"got \[8, 64, 3, 3\]"):
        plots.filters(torch.zeros(8, 64, 3, 3))


def test_files_are_the_same_every_time_on_both_backgrounds(tmp_path):
    figure = plots.curves({"a": run(3), "b": run(2)})
    again = plots.curves({"a": run(3), "b": run(2)})
    files = plots.save(figure, tmp_path / "run-0.1", dark=True)
    assert [file.name for file in files] == [
        "run-0.1.png",
        "run-0.1.svg",
        "run-0.1-dark.png",
        "run-0.1-dark.svg",
    ]
    assert sorted(files) == sorted(tmp_path.iterdir())
    light_png, light_svg, dark_png, dark_svg = (file.read_bytes() for file in files)
    assert light_png.startswith(b"\x89PNG")
    assert ElementTree.fromstring(light_svg).tag.endswith("svg")
    assert b"<dc:date>" not in light_svg
    assert plots.render(again, "png") == light_png
    assert plots.render(again, "svg", dark=True) == dark_svg
    assert plots.render(figure, "svg") == light_svg  # drawing left no trace
    assert light_png != dark_png


def test_a_dark_page_has_no_dark_ink():
    weights = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for figure in (plots.curves({"a": run(2), "b": run(2)}), plots.filters(weights)):
        svg = plots.render(figure, "svg", dark=True).decode()
        for color in ("#ffffff", "#24292f", "#d8dee4"):
            assert color not in svg
        assert "#0d1117" in svg


def test_only_light_files_unless_asked(tmp_path):
    figure = plots.filters(torch.ones(1, 1, 2, 2))
    assert [file.name for file in plots.save(figure, tmp_path / "a")] == ["a.png", "a.svg"]


def test_matplotlib_is_imported_for_plots_only_and_pyplot_never():
    code = """if True:
        import sys, fnet, fnet.nn
        assert "matplotlib" not in sys.modules
        import fnet.show.plots
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_learning_rate_of_each_step_is_drawn_where_it_is_known():
    points = [(0.0, 0.1), (0.5, 0.4), (1.0, 0.2), (1.5, 0.0)]
    rate = plots.curves({"a": run(2), "b": run(2)}, {"a": points}).axes[2]
    steps, stair = rate.lines
    np.testing.assert_array_equal(steps.get_xydata(), points)
    assert steps.get_drawstyle() == "default"
    assert stair.get_drawstyle() == "steps-pre"


def test_panels_are_the_plots_of_the_curves():
    runs = {"a": run(3), "b": run(2, validation_loss=1.5, validation_accuracy=0.4)}
    panels = plots.curve_panels(runs)
    together = plots.curves(runs)
    for (name, panel), axes in zip(panels.items(), together.axes, strict=True):
        assert name == axes.get_ylabel()
        (alone,) = panel.axes
        for ours, theirs in zip(alone.lines, axes.lines, strict=True):
            np.testing.assert_array_equal(ours.get_xydata(), theirs.get_xydata())
    assert [line.get_linestyle() for line in together.axes[0].lines] == ["--", "-", "--", "-", ":"]
    assert legends(together)[0] == ["train", "test", "validation"]


def test_the_accuracy_by_time_is_drawn_over_the_seconds_of_all_epochs_before():
    figure = plots.accuracy_by_time({"a": run(3, seconds=7.0), "b": run(2, seconds=20.0)})
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("seconds", "accuracy (%)")
    places = [line.get_xdata() for line in axes.lines]
    for found, expected in zip(places, [[7, 14, 21]] * 2 + [[20, 40]] * 2, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert legends(figure) == [["train", "test"], ["a", "b"]]
    (axes,) = plots.accuracy_by_time({"a": run(10, seconds=90.0)}).axes
    assert axes.get_xlabel() == "minutes"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(1, 11) * 1.5)
    plots.accuracy_by_time({"nothing yet": []})
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.accuracy_by_time({})
