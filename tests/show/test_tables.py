import io

import torch
from rich.console import Console
from torch import nn

from fnet import models
from fnet.evaluation import evaluate_logits
from fnet.losses import cross_entropy
from fnet.nn import Layer, Summary, from_module, summary
from fnet.show.tables import class_rows, evaluation_rows, layer_rows, layer_table


def test_the_layer_table():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 1000)))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(layer_table(summary(model, (3, 32, 32))))
    printed = console.file.getvalue()
    title, *_, first, second, third, fourth = map(str.strip, printed.splitlines())
    assert title == "Layers, for one image 3 × 32 × 32"
    assert "│ 1     │ Linear  │ 1000         │  3,073,000 │     3,072,000 │" in printed
    assert "│ total │         │              │  3,073,000 │     3,072,000 │" in printed
    assert first.split() == ["input", "0.01", "MB"]
    assert second.split() == ["forward", "and", "backward", "0.01", "MB"]
    assert third.split() == ["parameters", "11.72", "MB"]
    assert fourth.split() == ["total", "11.74", "MB"]


def test_a_narrow_terminal_breaks_names_and_nothing_else():
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(layer_table(summary(models.resnet50(), (3, 32, 32))))
    table = [line for line in console.file.getvalue().splitlines() if line.startswith("│")]
    names, types, shapes = ([line.split("│")[at].strip() for line in table] for at in (1, 2, 3))
    assert "256 × 32 × 32" in shapes
    assert "layer1.0.downsample.0" in "".join(names)
    assert "AdaptiveAvgPool2d" in "".join(types)
    assert not any("…" in line for line in table)
    assert not any(shape.endswith("×") for shape in shapes)


def test_shapes_keep_a_first_size_that_is_no_batch_of_one():
    table = Summary((3, 8, 8), tuple(Layer("", "", sizes, 0, 0) for sizes in ((4, 9), (1,), None)))
    assert [row[2] for row in layer_rows(table)] == ["4 × 9", "1", "-"]


def test_the_rows_of_an_evaluation():
    logits = torch.tensor([[0.0, 9.0, 1.0], [9.0, 0.0, 1.0], [0.0, 9.0, 1.0], [0.0, 9.0, 1.0]])
    found = evaluate_logits(logits, torch.tensor([1, 0, 1, 0]), cross_entropy)
    assert class_rows(found, ("cat", "dog", "owl")) == [
        ["cat", "2", "50.00%"],
        ["dog", "2", "100.00%"],
        ["owl", "0", "-"],
    ]
    rows = dict(evaluation_rows(found))
    # The correct class is always among five of three.
    assert list(rows) == ["loss", "top-1 accuracy", "calibration error"]
    assert rows["top-1 accuracy"] == "75.00%"
    found = evaluate_logits(torch.eye(6), torch.tensor([0, 1, 2, 3, 4, 0]), cross_entropy)
    rows = dict(evaluation_rows(found))
    assert list(rows) == ["loss", "top-1 accuracy", "top-5 accuracy", "calibration error"]
    assert rows["top-5 accuracy"] == "100.00%"
