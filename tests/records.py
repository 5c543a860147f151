"""The JSON files of a run's directory, read and changed: their checksums are right afterwards."""

from fnet import files


def read(file):
    """Return the content of `config.json`, `environment.json` or `result.json`."""
    return files.loads(file.read_text())


def edit(file, **changes):
    """Change entries of such a file."""
    file.write_text(files.dumps(read(file) | changes))


def edit_config(run, **changes):
    """Change options in the config of a run."""
    file = run / "config.json"
    edit(file, config=read(file)["config"] | changes)


def read_lines(file):
    """Return the lines of `metrics.jsonl`."""
    return [files.loads(line) for line in file.read_text().splitlines()]


def write_lines(file, lines):
    """Write `metrics.jsonl`."""
    file.write_text("".join(files.dumps(line) + "\n" for line in lines))


def line(epoch, **figures):
    """Return a whole line of `metrics.jsonl`."""
    means = {f"{split}_{name}": 0.5 for split in ("train", "test") for name in ("loss", "accuracy")}
    speed = {"learning_rate": 0.1, "seconds": 1.0, "images_per_second": 10.0}
    return {"epoch": epoch, "step": 3 * epoch, **means, **speed, **figures}


def setup(**entries):
    """Return a whole `config.json`."""
    return {
        "recipe": "recipes.net",
        "variant": "default",
        "config": {"epochs": 3},
        "data": "shapes",
        "data_checksum": "01234567",
        "stand_in": False,
        "train_images": 8,
        "test_images": 4,
        "classes": ["a", "b"],
        "input_shape": [3, 32, 32],
        "preprocess": {"mean": [0.5], "std": [0.5]},
        "inexact": [],
        **entries,
    }
