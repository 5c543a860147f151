"""Files of weights, in safetensors format, which PyTorch can load without fnet."""

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

# A single entry of the metadata: safetensors writes several entries in a random order.
_ABOUT = "fnet"


@dataclass(frozen=True)
class _About:
    """The metadata of `save_weights`: the epoch, the checksum of the tensors, and details."""

    epoch: int | None = None
    tensors: str | None = None
    details: dict[str, Any] | None = None


def save_weights(
    path: Path,
    model: Model,
    params: Params,
    *,
    epoch: int | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Write the `state_dict` of the equivalent `nn.Module`, which PyTorch can load without fnet.

    Args:
        path: the file, replaced atomically.
        model: the network.
        params: its parameters.
        epoch: the epoch of the weights, counted from 1. The metadata of the file contain it and a
            checksum of the tensors; see `weights_epoch`.
        details: JSON values by name, further metadata; see `weights_details`.

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
    about = _About(epoch, files.checksum(_parts(tensors)), details)
    write_atomically(path, save(tensors, {_ABOUT: files.dumps(to_json(about))}))


def load_weights(path: Path, like: Params) -> Params:
    """Return the weights in the file, with the devices and strides of `like`.

    A file of another program has no checksum, so damage in it is not detected.

    Raises:
        ModelError: the file cannot be read or is damaged, or its weights are of another model.
    """
    return from_state_dict(like, read_weights(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors in the file by name, on the CPU.

    Raises:
        ModelError: the file cannot be read or is damaged.
    """
    with _opened(path) as file:
        about = _about(file)
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    recorded = None if about is None else about.tensors
    if recorded is not None and not files.has_checksum(_parts(state), recorded):
        raise ModelError(
            f"{path} is damaged (its checksum is wrong): restore it from a backup, or train again"
        )
    return state


def weights_details(path: Path) -> dict[str, Any]:
    """Return the `details` that `save_weights` was given, {} for a file without them.

    Raises:
        ModelError: the file cannot be read.
    """
    with _opened(path) as file:
        about = _about(file)
    return {} if about is None or about.details is None else about.details


def weights_epoch(path: Path) -> int | None:
    """Return the epoch of the weights in the file, or None if the file does not record it.

    Raises:
        ModelError: the file cannot be read.
    """
    with _opened(path) as file:
        about = _about(file)
    return None if about is None else about.epoch


def _about(file: Any) -> _About | None:
    """Return the metadata of `save_weights`, or None for a file of another program."""
    text = (file.metadata() or {}).get(_ABOUT)
    return None if text is None else from_json(_About, files.loads(text))


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """Yield what the checksum is of: names, dtypes, shapes and bytes."""
    for name, leaf in sorted(tensors.items()):
        yield repr((name, leaf.dtype, tuple(leaf.shape))).encode()
        yield leaf.reshape(-1).view(torch.uint8).numpy()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file of weights, and turn errors within the context into a `ModelError`."""
    try:
        # Opened in Python first: safetensors reports any file it cannot open as missing.
        with open_regular(path, links=True), safe_open(path, framework="pt") as file:
            yield file
    except (OSError, ValueError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot read weights from {path}: {reason}") from error
