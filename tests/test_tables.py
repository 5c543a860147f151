import io

import torch
from rich.console import Console
from torch import nn

from fnet.evaluation import evaluate_logits
from fnet.losses import cross_entropy
from fnet.nn import from_module, summary
from fnet.tables import class_rows, evaluation_rows, layer_table


def test_the_layer_table():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 1000)))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(layer_table(summary(model, (3, 32, 32))))
    printed = console.file.getvalue()
    title, *_, first, second, third, fourth = map(str.strip, printed.splitlines())
    assert title == "Layers, for an image 3 × 32 × 32"
    assert "│ 1     │ Linear  │ 1 × 1000     │  3,073,000 │     3,072,000 │" in printed
    assert "│ total │         │              │  3,073,000 │     3,072,000 │" in printed
    assert first.split() == ["input", "0.01", "MB"]
    assert second.split() == ["forward", "and", "backward", "0.01", "MB"]
    assert third.split() == ["parameters", "11.72", "MB"]
    assert fourth.split() == ["total", "11.74", "MB"]


def test_the_rows_of_an_evaluation():
    logits = torch.tensor([[0.0, 9.0, 1.0], [9.0, 0.0, 1.0], [0.0, 9.0, 1.0], [0.0, 9.0, 1.0]])
    found = evaluate_logits(logits, torch.tensor([1, 0, 1, 0]), cross_entropy)
    assert class_rows(found, ("cat", "dog", "owl")) == [
        ["cat", "2", "50.00%"],
        ["dog", "2", "100.00%"],
        ["owl", "0", "-"],
    ]
    rows = dict(evaluation_rows(found))
    assert list(rows) == ["loss", "top-1 accuracy", "top-5 accuracy", "calibration error"]
    assert rows["top-1 accuracy"] == "75.00%"
