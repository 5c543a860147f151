"""Weights on disk, as safetensors that PyTorch loads without fnet."""

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fnet.checkpoint.files import write_atomically
from fnet.nn import Model, ModelError, Params, from_state_dict, to_module

_CHECKSUM, _EPOCH_NAME = "crc32", "epoch"
_EPOCH = re.compile(r"[1-9]\d{0,8}", re.ASCII)


def save_weights(path: Path, model: Model, params: Params, *, epoch: int | None = None) -> None:
    """Write the `state_dict` of the equivalent `nn.Module`, which PyTorch loads without fnet.

    Args:
        path: the file, replaced as a whole.
        model: the network.
        params: its parameters.
        epoch: the one they are of, counted from 1, kept as the metadata "epoch"; see
            `weights_epoch`. A checksum of all is kept beside it.

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
    metadata = {} if epoch is None else {_EPOCH_NAME: str(epoch)}
    checksum = _checksum(tensors, metadata)
    write_atomically(path, save(tensors, {**metadata, _CHECKSUM: checksum}))


def load_weights(path: Path, like: Params) -> Params:
    """Return the weights in the file, laid out as those of `like`.

    What other programs have written comes without a checksum, and is taken as it is.

    Raises:
        ModelError: the file cannot be read or is damaged, or its weights are those of another
            model.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.pop(_CHECKSUM, None) not in (None, _checksum(state, metadata)):
        raise ModelError(
            f"{path} is damaged (its checksum is wrong): bring it back from a copy, or train again"
        )
    return from_state_dict(like, state)


def weights_epoch(path: Path) -> int | None:
    """Return the epoch that the weights in the file are of, None where it does not say.

    Raises:
        ModelError: the file cannot be read.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        epoch = (file.metadata() or {}).get(_EPOCH_NAME, "")
    return int(epoch) if _EPOCH.fullmatch(epoch) else None


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the CRC-32 of names, dtypes, shapes, bytes and metadata: 8 hexadecimal digits."""
    checksum = zlib.crc32(repr(sorted(metadata.items())).encode())
    for name, leaf in sorted(tensors.items()):
        checksum = zlib.crc32(repr((name, leaf.dtype, tuple(leaf.shape))).encode(), checksum)
        checksum = zlib.crc32(leaf.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read weights from {path}: {error}") from error
