"""Weights on disk, as safetensors that PyTorch loads without fnet."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from fnet.checkpoint.files import write_atomically
from fnet.nn import Model, ModelError, Params, from_state_dict, to_module

_EPOCH = re.compile(r"[1-9]\d{0,8}", re.ASCII)


def save_weights(path: Path, model: Model, params: Params, *, epoch: int | None = None) -> None:
    """Write the `state_dict` of the equivalent `nn.Module`, which PyTorch loads without fnet.

    Args:
        path: the file, replaced as a whole.
        model: the network.
        params: its parameters.
        epoch: the one they are of, counted from 1, kept as the metadata "epoch"; see
            `weights_epoch`.

    >>> import tempfile
    >>> from fnet import models, random
    >>> model = models.dainet7()
    >>> path = Path(tempfile.mkdtemp(), "weights.safetensors")
    >>> save_weights(path, model, model.init(random.key(0)))
    >>> model.make().load_state_dict(load_file(path))
    <All keys matched successfully>
    """
    state = to_module(model, params).state_dict()
    tensors = {name: leaf.cpu().contiguous() for name, leaf in state.items()}
    write_atomically(path, save(tensors, None if epoch is None else {"epoch": str(epoch)}))


def load_weights(path: Path, like: Params) -> Params:
    """Return the weights in the file, laid out as those of `like`.

    Raises:
        ModelError: the file cannot be read, or its weights are those of another model.
    """
    with _reading(path):
        state: Mapping[str, Tensor] = load_file(path)
    return from_state_dict(like, state)


def weights_epoch(path: Path) -> int | None:
    """Return the epoch that the weights in the file are of, None where it does not say.

    Raises:
        ModelError: the file cannot be read.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        epoch = (file.metadata() or {}).get("epoch", "")
    return int(epoch) if _EPOCH.fullmatch(epoch) else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read weights from {path}: {error}") from error
