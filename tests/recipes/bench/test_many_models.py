"""`python -m recipes.bench.ensemble`, as a user runs it."""

from functools import partial

import pytest

from recipes.bench import ensemble
from recipes.bench.calibrate import gemm

QUICK = ["--models", "2", "--repeats", "1", "--seconds", "0.01", "--no-compile", "--device", "cpu"]


def test_the_table_has_a_row_for_each_network_and_count(monkeypatch, capsys):
    monkeypatch.setattr(ensemble, "gemm", partial(gemm, size=128, seconds=0.0))
    assert ensemble.main(["--only", "net", "lenet5", *QUICK, "--markdown"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    assert rows[0] == ["| network, batch", "K", "one after the other", "loop", "vmap |"]
    assert [row[:2] for row in rows[2:]] == [["| net, 4", "2"], ["| lenet5, 128", "2"]]
    assert all("×" in cell for row in rows[2:] for cell in row[3:])
    assert "GFLOP/s" in printed


@pytest.mark.parametrize("option", ["--repeats", "--models", "--seconds"])
def test_counts_are_above_0(option, capsys):
    assert ensemble.main([*QUICK, option, "0"]) == 2
    assert "must be above 0" in capsys.readouterr().err
