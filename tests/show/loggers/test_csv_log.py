import csv

import torch

from fnet.show.loggers import CsvLog, Start


def rows(file):
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_rows_read_back(tmp_path):
    log = CsvLog(tmp_path)
    lines = [{"epoch": n, "train_loss": 1 / n, "note": 'a, "b"\nü'} for n in (1, 2, 3)]
    for number, line in enumerate(lines, 1):
        log.epoch(line)
        assert len(rows(tmp_path / "metrics.csv")) == number  # while the run goes on
    log.close()
    read = rows(tmp_path / "metrics.csv")
    assert [
        {**row, "epoch": int(row["epoch"]), "train_loss": float(row["train_loss"])} for row in read
    ] == lines
    assert not (tmp_path / "steps.csv").exists()


def test_steps_have_a_file_of_their_own(tmp_path):
    log = CsvLog(tmp_path)
    log.step(10, {"loss": 0.1, "accuracy": 0.5})
    log.step(20, {"loss": float("nan"), "accuracy": 1.0})
    log.close()
    assert rows(tmp_path / "steps.csv") == [
        {"step": "10", "loss": "0.1", "accuracy": "0.5"},
        {"step": "20", "loss": "nan", "accuracy": "1.0"},
    ]
    assert not (tmp_path / "metrics.csv").exists()


def test_a_run_that_goes_on_has_every_step_once(tmp_path):
    log = CsvLog(tmp_path)
    for step in (10, 20, 30):
        log.step(step, {"loss": 1 / step})
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("40,0.0")  # cut off by a kill
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    log = CsvLog(tmp_path)
    log.start(Start({}, images, images.float(), lambda: torch.nn.Identity(), step=20))
    log.step(30, {"loss": 0.5})
    assert [(row["step"], row["loss"]) for row in rows(tmp_path / "steps.csv")] == [
        ("10", "0.1"),
        ("20", "0.05"),
        ("30", "0.5"),
    ]


def test_an_epoch_that_is_concluded_again_has_one_row(tmp_path):
    """Its last step was done, but the checkpoint of that step is older than its row."""
    log = CsvLog(tmp_path)
    for epoch in (1, 2):
        log.epoch({"epoch": epoch, "step": 10 * epoch, "train_loss": 0.5})
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    log = CsvLog(tmp_path)
    log.start(Start({}, images, images.float(), lambda: torch.nn.Identity(), step=20, epoch=1))
    assert [row["epoch"] for row in rows(tmp_path / "metrics.csv")] == ["1"]
