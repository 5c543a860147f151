import pytest
import torch
from networks import full, plain
from safetensors.torch import save_file

from fnet import random, tree
from fnet.nn import ModelError, to_module
from fnet.run.checkpoint import load_weights, save_weights, weights_epoch


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


def test_what_keeps_a_file_from_being_read_is_named(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "w.safetensors"
    with pytest.raises(ModelError, match=r"w\.safetensors: Not a directory$"):
        load_weights(path, plain().init(random.key(0)))
    with pytest.raises(ModelError, match=r"w\.safetensors: Not a directory$"):
        weights_epoch(path)


@pytest.mark.parametrize("about", ["", "12", "[]", '{"epoch": 12}', '{"epoch": 12, "crc32": "0"}'])
def test_what_was_noted_of_the_weights_is_checked(tmp_path, about):
    save_file({"weight": torch.ones(1)}, tmp_path / "w.safetensors", {"fnet": about})
    with pytest.raises(ModelError, match="cannot read weights"):
        weights_epoch(tmp_path / "w.safetensors")


def test_weights_are_written_the_same_each_time(tmp_path):
    params = plain().init(random.key(0))
    files = [tmp_path / f"{place}.safetensors" for place in range(8)]
    for file in files:
        save_weights(file, plain(), params, epoch=12)
    assert len({file.read_bytes() for file in files}) == 1


def test_a_changed_bit_is_noticed_wherever_it_is(tmp_path):
    path, model = tmp_path / "w.safetensors", plain()
    params, like = model.init(random.key(0)), model.init(random.key(1))
    save_weights(path, model, params, epoch=12)
    whole, harmless = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        for bit in (0, 5):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                tree.assert_equal(load_weights(path, like), params)
                harmless += 1
            except ModelError:
                pass
    assert harmless <= 4  # in the name of the checksum, which is then left out, and in blanks


def test_weights_of_other_programs_have_no_checksum(tmp_path):
    path, model = tmp_path / "w.safetensors", plain()
    params = model.init(random.key(0))
    state = to_module(model, params).state_dict()
    save_file({name: leaf.contiguous() for name, leaf in state.items()}, path)
    tree.assert_equal(load_weights(path, model.init(random.key(1))), params)
    assert weights_epoch(path) is None
