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
