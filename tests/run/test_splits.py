"""The data of a run: broken files are left out where that is asked for, and said each time."""

import io

import pytest
from rich.console import Console

from fnet.data import DataError
from fnet.run.config import Config
from fnet.run.splits import open_splits
from fnet.show.terminal import Display


@pytest.fixture
def broken_folder(image_folder, tmp_path):
    """The folder of images, with one training image cut short and seven files that are none."""
    folder = tmp_path / "drawings"
    for path in image_folder.glob("*/*/*.png"):
        copy = folder / path.relative_to(image_folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    cut = sorted(folder.glob("train/ring/*.png"))[0]
    cut.write_bytes(cut.read_bytes()[:60])
    for i in range(7):
        (folder / f"test/ring/no-image-{i}.png").write_text("no image")
    return folder


def opened(folder, **options):
    """Return the splits, and what the user is told."""
    console = Console(file=io.StringIO(), width=100)
    config = Config(data=str(folder), batch_size=4, **options)
    _, splits, _ = open_splits("cifar10", config, Display(console))
    return splits, console.file.getvalue()


def test_broken_files_are_left_out_on_demand_and_said_at_each_start(broken_folder):
    for _ in range(2):
        splits, said = opened(broken_folder, skip_broken=True)
        assert (len(splits.train), len(splits.test)) == (79, 40)
        train, test = said.splitlines()
        assert train.startswith("1 of the train files are broken and were skipped: 'ring/")
        assert test.startswith(
            "7 of the test files are broken and were skipped: 'ring/no-image-0.png'"
        )
        assert test.endswith(" and 2 more")
        with pytest.raises(DataError, match=r"train.ring.*\.png is not .* with --skip-broken"):
            opened(broken_folder)


def test_nothing_is_said_of_what_is_whole(image_folder):
    splits, said = opened(image_folder, skip_broken=True)
    assert len(splits.train) == 80
    assert not said
