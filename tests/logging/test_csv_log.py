import csv

from fnet.logging import CsvLog


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
