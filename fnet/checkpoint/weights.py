"""Weights on disk, as safetensors that PyTorch loads without fnet."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor

from fnet.checkpoint.files import write_atomically
from fnet.nn import Model, ModelError, Params, from_state_dict, to_module


def save_weights(path: Path, model: Model, params: Params) -> None:
    """Write the `state_dict` of the equivalent `nn.Module`, which PyTorch loads without fnet.

    >>> import tempfile
    >>> from fnet import models, random
    >>> model = models.dainet7()
    >>> path = Path(tempfile.mkdtemp(), "weights.safetensors")
    >>> save_weights(path, model, model.init(random.key(0)))
    >>> model.make().load_state_dict(load_file(path))
    <All keys matched successfully>
    """
    state = to_module(model, params).state_dict()
    write_atomically(path, save({name: leaf.cpu().contiguous() for name, leaf in state.items()}))


def load_weights(path: Path, like: Params) -> Params:
    """Return the weights in the file, laid out as those of `like`.

    Raises:
        ModelError: the file cannot be read, or its weights are those of another model.
    """
    try:
        state: Mapping[str, Tensor] = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"cannot read weights from {path}: {error}") from error
    return from_state_dict(like, state)
