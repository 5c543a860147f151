import pytest
from networks import full, plain

from fnet import random, tree
from fnet.checkpoint import load_weights, save_weights
from fnet.nn import ModelError


def test_weights_come_back_as_they_were(tmp_path):
    model = full()
    params = model.init(random.key(0))
    save_weights(tmp_path / "w.safetensors", model, params)
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
