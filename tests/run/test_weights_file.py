"""Files of weights by other programs: what is read, and what is refused with one sentence."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fnet.run.config import ConfigError
from fnet.run.weights_file import read_state_dict

LINEAR = nn.Linear(3, 2)


class Loaded:
    """An object that says when a program loads it."""

    def __reduce__(self):
        return print, ("loaded",)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"net": state, "optimizer": {"state": {}}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {**state, "epoch": 3},
    ],
)
def test_a_state_dict_is_read_also_if_it_is_nested(tmp_path, wrap, new):
    file = tmp_path / "weights.pth"
    torch.save(wrap(LINEAR.state_dict()), file, _use_new_zipfile_serialization=new)
    found = read_state_dict(file)
    assert found.keys() == {"weight", "bias"}
    assert torch.equal(found["weight"], LINEAR.weight)
    assert not found["weight"].requires_grad


def test_safetensors_are_known_by_their_content(tmp_path):
    save_file(LINEAR.state_dict(), tmp_path / "weights.pth")
    assert torch.equal(read_state_dict(tmp_path / "weights.pth")["bias"], LINEAR.bias)


def whole(file):
    torch.save(LINEAR, file)


def whole_of_old(file):
    torch.save(LINEAR, file, _use_new_zipfile_serialization=False)


def malicious(file):
    torch.save({"model": LINEAR.state_dict(), "x": Loaded()}, file)


def half(write):
    def cut(file):
        write(file)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])

    return cut


def weights(file):
    torch.save(LINEAR.state_dict(), file)


def weights_of_old(file):
    torch.save(LINEAR.state_dict(), file, _use_new_zipfile_serialization=False)


def arrays(file):
    with file.open("wb") as opened:
        np.savez(opened, a=np.zeros(3))


def other_archive(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


REFUSED = {
    "a whole module": (whole, r"Python objects \(torch.nn.modules.linear.Linear\).*state_dict\(\)"),
    "a whole module, old": (whole_of_old, "Python objects .*Linear.*weights_only=False"),
    "code": (malicious, "Python objects .*print.*runs code"),
    "half a file": (half(weights), "damaged or truncated"),
    "half an old file": (half(weights_of_old), "damaged or truncated"),
    "half a safetensors file": (
        half(lambda file: save_file(LINEAR.state_dict(), file)),
        "cannot read weights .* not a safetensors file",
    ),
    "an empty file": (lambda file: file.write_bytes(b""), "is empty"),
    "a text": (lambda file: file.write_text("weights\n"), "is not a file of weights"),
    "a page": (lambda file: file.write_text("<!DOCTYPE html>"), "is not a file of weights"),
    "arrays": (arrays, "not one of torch.save"),
    "a document": (other_archive, "is a zip archive, but not one of torch.save"),
    "a number": (lambda file: torch.save(3, file), "contains a int, not weights by name"),
    "a tensor": (lambda file: torch.save(torch.ones(2), file), "a Tensor, not weights by name"),
    "figures": (lambda file: torch.save({"loss": 0.5}, file), "it has 'loss'"),
    "nothing": (lambda file: torch.save({}, file), "it has nothing"),
    "sparse weights": (
        lambda file: torch.save({"weight": torch.eye(2).to_sparse()}, file),
        "'weight' in .* is not a plain tensor",
    ),
    "a folder": (lambda file: file.mkdir(), "cannot read weights from"),
    "no file": (lambda file: None, "cannot read weights from .*: No such file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_file_of_weights_is_refused(tmp_path, capsys, kind):
    write, message = REFUSED[kind]
    file = tmp_path / "weights.pth"
    write(file)
    with pytest.raises(ConfigError, match=message) as refused:
        read_state_dict(file)
    assert len(str(refused.value).splitlines()) == 1
    assert str(file) in str(refused.value)
    assert "loaded" not in capsys.readouterr().out


def test_a_program_is_refused_with_the_way_to_its_weights(tmp_path):
    file = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(LINEAR, (torch.zeros(1, 3),)), file)
    with pytest.raises(ConfigError, match=r"torch.export.load\(.*\).state_dict"):
        read_state_dict(file)
