"""`python -m recipes.folder`: the images that are written are those that are read again."""

import pytest
import torch

from fnet.data import load
from recipes import folder


def test_a_part_of_a_data_set_is_written_and_read_again(image_folder, tmp_path, capsys):
    out = tmp_path / "part"
    options = ["--without", "bar", "ring", "--train-per-class", "3"]
    assert folder.main([str(image_folder), str(out), *options]) == 0
    assert f"{out / 'train'}: 24 images" in capsys.readouterr().out
    for split, of_each in (("train", 3), ("test", 4)):
        whole, part = load(image_folder, split=split), load(out, split=split)
        assert part.classes == tuple(c for c in whole.classes if c not in ("bar", "ring"))
        assert part.labels.bincount().tolist() == [of_each] * 8
        for label, name in enumerate(part.classes):
            expected = whole.images[whole.labels == whole.classes.index(name)][:of_each]
            assert torch.equal(part.images[part.labels == label], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--without", "zebra"], "has no class 'zebra'; its classes are bar, "),
        (["--train-per-class", "0"], "--train-per-class must be at least 1"),
    ],
)
def test_a_mistake_gets_one_message(image_folder, tmp_path, capsys, options, message):
    assert folder.main([str(image_folder), str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(image_folder, tmp_path, capsys):
    assert folder.main([str(image_folder), str(tmp_path)]) == 2
    assert f"{tmp_path} exists" in capsys.readouterr().err
