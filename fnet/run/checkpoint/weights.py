"""Weights on disk, as safetensors that PyTorch loads without fnet."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fnet import files
from fnet.files import open_regular, write_atomically
from fnet.nn import Model, ModelError, Params, from_state_dict, to_module
from fnet.run.typed_json import from_json, to_json

# One entry of a file's metadata: safetensors writes several in an order of its own each time.
_ABOUT = "fnet"


@dataclass(frozen=True)
class _About:
    """What `save_weights` notes beside the tensors: their epoch and their checksum."""

    epoch: int | None
    tensors: str


def save_weights(path: Path, model: Model, params: Params, *, epoch: int | None = None) -> None:
    """Write the `state_dict` of the equivalent `nn.Module`, which PyTorch loads without fnet.

    Args:
        path: the file, replaced as a whole.
        model: the network.
        params: its parameters.
        epoch: the one they are of, counted from 1: kept in the file's metadata with a checksum of
            the tensors; see `weights_epoch`.

    >>> import tempfile
    >>> from safetensors.torch import load_file
    >>> from fnet import models, random
    >>> model = models.dainet7()
    >>> path = Path(tempfile.mkdtemp(), "weights.safetensors")
    >>> save_weights(path, model, model.init(random.key(0)))
    >>> model.make().load_state_dict(load_file(path))
    <All keys matched successfully>
    """
    state = to_module(model, params).state_dict()
    tensors = {name: leaf.cpu().contiguous() for name, leaf in state.items()}
    about = _About(epoch, files.checksum(_parts(tensors)))
    write_atomically(path, save(tensors, {_ABOUT: files.dumps(to_json(about))}))


def load_weights(path: Path, like: Params) -> Params:
    """Return the weights in the file, laid out as those of `like`.

    What other programs have written comes without a checksum, and is taken as it is.

    Raises:
        ModelError: the file cannot be read or is damaged, or its weights are those of another
            model.
    """
    with _opened(path) as file:
        about = _about(file)
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about is not None and not files.has_checksum(_parts(state), about.tensors):
        raise ModelError(
            f"{path} is damaged (its checksum is wrong): bring it back from a copy, or train again"
        )
    return from_state_dict(like, state)


def weights_epoch(path: Path) -> int | None:
    """Return the epoch that the weights in the file are of, None where it does not say.

    Raises:
        ModelError: the file cannot be read.
    """
    with _opened(path) as file:
        about = _about(file)
    return None if about is None else about.epoch


def _about(file: Any) -> _About | None:
    """Return what `save_weights` has noted, None in another program's file."""
    text = (file.metadata() or {}).get(_ABOUT)
    return None if text is None else from_json(_About, files.loads(text))


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """Yield what the checksum is of: names, dtypes, shapes and bytes."""
    for name, leaf in sorted(tensors.items()):
        yield repr((name, leaf.dtype, tuple(leaf.shape))).encode()
        yield leaf.reshape(-1).view(torch.uint8).numpy()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file of weights, and turn what goes wrong until it is read into a message."""
    try:
        # safetensors says of every file that cannot be opened that it is not there.
        with open_regular(path, links=True), safe_open(path, framework="pt") as file:
            yield file
    except (OSError, ValueError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot read weights from {path}: {reason}") from error
