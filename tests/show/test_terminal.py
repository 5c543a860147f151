import io

import pytest
from rich.console import Console

from fnet.show import terminal
from fnet.show.terminal import Display

LINE = {
    "epoch": 1,
    "train_loss": 1.25,
    "train_accuracy": 0.5,
    "test_loss": 1.5,
    "test_accuracy": 0.4321,
    "learning_rate": 0.001,
    "seconds": 12.3,
}


def output(terminal=False, width=100):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)
    return console, Display(console)


def test_an_epoch_is_one_line_under_one_heading():
    console, shown = output()
    shown.epoch(LINE, 2)
    shown.epoch({**LINE, "epoch": 2}, 2)
    heading, first, second = console.file.getvalue().splitlines()
    assert heading.split("  ")[-1].strip() == "time"
    assert first.split() == ["1/2", "1.2500", "50.00%", "1.5000", "43.21%", "0.001", "12.3", "s"]
    assert second.split()[0] == "2/2"
    assert len(heading) <= 80 >= len(first)


def test_with_validation_images_an_epoch_shows_what_chooses_the_best():
    console, shown = output()
    shown.epoch({**LINE, "validation_loss": 1.4, "validation_accuracy": 0.4567}, 2)
    heading, line = console.file.getvalue().splitlines()
    assert line[: heading.index("valid. acc") + len("valid. acc")].endswith("45.67%")


@pytest.mark.parametrize("width", [40, 60, 66, 74, 80])
def test_a_narrow_terminal_sees_whole_columns_and_one_line(width):
    console, shown = output(terminal=True, width=width)
    shown.epoch(LINE, 2)
    lines = console.file.getvalue().splitlines()
    wide, full = output()
    full.epoch(LINE, 2)
    assert len(lines) == 2
    for line, whole in zip(lines, wide.file.getvalue().splitlines(), strict=True):
        assert len(line) <= width
        assert whole.startswith(line)
        assert len(line) == len(whole) or whole[len(line)] == " "


@pytest.mark.parametrize(("done", "expected"), [(1, True), (2, False)])
def test_nothing_is_left_of_a_bar_at_its_end(done, expected):
    console, shown = output(terminal=True)
    with shown.live():
        shown.progress("evaluating", done, 2)
        shown._live.refresh()
        last = console.file.getvalue().rpartition("\r")[2]
    assert f"{done}/2" in last
    assert ("left" in last) == expected


@pytest.mark.parametrize("show", ["say", "panel", "table"])
def test_control_characters_are_spelled_out(show):
    console, shown = output(width=200)
    text = "a\x1b[2Jb\x9bc\u202ed"
    {
        "say": lambda: shown.say(text),
        "panel": lambda: shown.panel(text, title=text),
        "table": lambda: shown.table(text, [text], [[text]]),
    }[show]()
    printed = console.file.getvalue()
    assert "\\x1b[2Jb\\x9bc\\u202ed" in printed
    assert not set("\x1b\x9b\u202e") & set(printed)


def test_a_terminal_sees_bars_and_a_file_sees_none():
    for is_terminal in (True, False):
        console, shown = output(is_terminal)
        with shown.live():
            shown.progress("epoch", 1, 3, "250 images/s")
            shown.progress("epoch", 3, 3, "250 images/s")
        printed = console.file.getvalue()
        assert ("250 images/s" in printed) == is_terminal


def test_a_file_sees_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(terminal, "_PLAIN_SECONDS", -1.0)
    console, shown = output()
    with shown.live():
        shown.progress("epoch", 3, 3, "250 images/s")
    assert console.file.getvalue() == "epoch: 3 of 3  250 images/s\n"


def test_a_terminal_sees_what_is_waited_for_and_for_how_long():
    console, shown = output(terminal=True)
    with shown.live():
        shown.wait("compiling")
    printed = console.file.getvalue()
    assert "compiling" in printed
    assert "0:00:00" in printed
    assert "0/?" not in printed
    assert "left" not in printed


def test_bars_end_with_the_live_display():
    console, shown = output(terminal=True)
    with shown.live():
        shown.progress("epoch", 3, 3)
    before = len(console.file.getvalue())
    with shown.live():
        shown.wait("compiling")
    printed = console.file.getvalue()[before:]
    assert "compiling" in printed
    assert "epoch" not in printed


def test_a_table_shows_texts_as_they_are_and_whole():
    console, shown = output()
    shown.table("[/a]", ["[/b]", "[red]"], [["[/c]", "long " * 3 + "n" * 120], ["[bold]d", "e"]])
    printed = console.file.getvalue()
    for text in ("[/a]", "[/b]", "[red]", "[/c]", "[bold]d"):
        assert text in printed
    assert printed.count("n") == 123


def test_a_bar_can_start_again_and_go_away():
    console, shown = output(terminal=True)
    with shown.live():
        shown.progress("epoch", 3, 3)
        shown.restart("epoch")
        shown.progress("epoch", 1, 3)
        shown.finish("epoch")
        shown.finish("epoch")
    assert "epoch" in console.file.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_output_that_nobody_can_read_ends_nothing(error):
    class Broken(io.StringIO):
        def write(self, text):
            raise error

    console = Console(file=Broken())
    display = Display(console)
    display.say("one")
    display.table("two", ["a"], [["b"]])
    assert console.quiet
