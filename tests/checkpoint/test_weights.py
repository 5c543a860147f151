import pytest
import torch
from networks import full, plain
from safetensors.torch import save_file

from fnet import random, tree
from fnet.checkpoint import load_weights, save_weights, weights_epoch
from fnet.nn import ModelError


@pytest.mark.parametrize("epoch", [None, 12])
def test_weights_come_back_as_they_were(tmp_path, epoch):
    model = full()
    params = model.init(random.key(0))
    save_weights(tmp_path / "w.safetensors", model, params, epoch=epoch)
    assert weights_epoch(tmp_path / "w.safetensors") == epoch
    like = model.init(random.key(1))
    loaded = load_weights(tmp_path / "w.safetensors", like)
    tree.assert_equal(loaded, params)
    assert tree.first_layout_difference(loaded, params) is None
    assert not tree.equal(like, params)


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, plain(), plain().init(random.key(0)))
    with pytest.raises(ModelError, match="these weights are not this model's"):
        load_weights(path, full().init(random.key(0)))


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 64])
def test_a_broken_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot read weights from .*w\.safetensors"):
        load_weights(path, plain().init(random.key(0)))
    with pytest.raises(ModelError, match="cannot read weights"):
        load_weights(tmp_path / "nothing", plain().init(random.key(0)))
    for file in (path, tmp_path / "nothing"):
        with pytest.raises(ModelError, match="cannot read weights"):
            weights_epoch(file)


@pytest.mark.parametrize("epoch", ["", "0", "-1", "1.5", "twelve", "٣", "9" * 5000])
def test_an_epoch_that_is_no_number_is_none(tmp_path, epoch):
    save_file({"weight": torch.ones(1)}, tmp_path / "w.safetensors", {"epoch": epoch})
    assert weights_epoch(tmp_path / "w.safetensors") is None
