"""The reader of weights that any program wrote: safetensors files, and those of `torch.save`.

No code in a file is executed: PyTorch's files are read with `weights_only=True`.
"""

import pickle
import re
import shlex
import warnings
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fnet.files import open_regular
from fnet.nn import ModelError
from fnet.run.checkpoint import read_weights
from fnet.run.config import ConfigError

NESTED = (
    *("model", "state_dict", "net"),
    *("model_state_dict", "network", "module", "params", "weights"),
)
"""Entries of a checkpoint that may contain its weights, the first choice first."""

# What reading a damaged or a foreign file raises; torch parses a file before it knows what it is.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
)

_GLOBAL = re.compile(r"(?:GLOBAL|class) ([A-Za-z_][\w.]*\.\w+)")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name, on the CPU.

    The file is a `state_dict`, in the safetensors format or written by `torch.save`; or a
    checkpoint with the `state_dict` under one of the names `NESTED`.

    Raises:
        ConfigError: the file cannot be read, is damaged, is of another kind, or has Python objects
            in it that would run code when they are loaded.
    """
    try:
        with open_regular(path, links=True) as file:
            begin = file.read(9)
            file.seek(0)
            if not begin:
                raise ConfigError(f"{path} is empty: give a file of weights")
            if begin[8:] != b"{":
                return _dense(path, _weights_in(path, _loaded(path, file, begin)))
    except OSError as error:
        raise ConfigError(f"cannot read weights from {path}: {error.strerror}") from error
    try:
        return _dense(path, read_weights(path))
    except ModelError as error:
        raise ConfigError(f"{error}: it is damaged, or not a safetensors file") from error


def _loaded(path: Path, file: BufferedReader, begin: bytes) -> Any:
    """Return what `torch.save` wrote."""
    packed = begin.startswith(b"PK")
    if not packed and not begin.startswith(b"\x80"):
        raise ConfigError(
            f"{path} is not a file of weights: give a safetensors file, or one that torch.save "
            "has written"
        )
    if packed:
        _refuse_other_archives(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        objects = _objects(path, str(error))
        if objects:
            raise ConfigError(_refusal(path, objects)) from error
        raise ConfigError(
            f"{path} is damaged or truncated, or torch.save has not written it: get it again"
        ) from error


def _refuse_other_archives(path: Path) -> None:
    """Refuse a zip archive that is not one of `torch.save`, by what is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (*_UNREADABLE, OSError):
        return
    quoted = shlex.quote(str(path))
    if "constants.pkl" in names:
        raise ConfigError(
            f"{path} is a TorchScript program, not only weights. To use its weights: python -c "
            f'\'import torch; torch.save(torch.jit.load("{path}").state_dict(), "weights.pth")\''
        )
    if any(name.startswith("models/") or name == "archive_format" for name in names):
        raise ConfigError(
            f"{path} is a program of torch.export, not only weights. To use its weights: python -c "
            f'\'import torch; torch.save(torch.export.load("{path}").state_dict, "weights.pth")\''
        )
    if "data.pkl" not in names:
        raise ConfigError(
            f"{quoted} is a zip archive, but not one of torch.save: give a safetensors file, or "
            "one that torch.save has written"
        )


def _objects(path: Path, message: str) -> list[str]:
    """Return the names of the objects because of which a file was not read, empty if none are."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (*_UNREADABLE, OSError):  # the format of PyTorch before 1.6
        found = []
    return sorted(found) or sorted(set(_GLOBAL.findall(message)))


def _refusal(path: Path, objects: list[str]) -> str:
    shown = ", ".join(objects[:3]) + (f" and {len(objects) - 3} more" if len(objects) > 3 else "")
    unpack = f'whole = torch.load("{path}", weights_only=False)'
    return (
        f"{path} is not only weights: it contains Python objects ({shown}), such as a whole "
        "pickled module, and loading those runs code from the file. If you trust it, make a file "
        f"of its weights: python -c 'import torch; {unpack}; torch.save(whole.state_dict(), "
        '"weights.pth")\' (for a checkpoint: whole["model"] in place of whole.state_dict())'
    )


def _weights_in(path: Path, content: Any) -> Mapping[str, Any]:
    """Return the weights of a checkpoint: itself, or one of its entries."""
    for _ in range(3):
        if not isinstance(content, Mapping):
            raise ConfigError(
                f"{path} contains a {type(content).__name__}, not weights by name: save the "
                "network's state_dict()"
            )
        if any(isinstance(value, Tensor) for value in content.values()):
            return content
        inner = [name for name in NESTED if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        content = content[inner[0]]
    names = ", ".join(map(repr, list(content)[:8])) or "nothing"
    raise ConfigError(
        f"{path} has no weights, neither by name nor under one of {', '.join(NESTED)}; it has "
        f"{names}: save the network's state_dict()"
    )


def _dense(path: Path, weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors among the weights; refuse tensors that have no plain values."""
    dense = {}
    for name, leaf in weights.items():
        if not isinstance(leaf, Tensor):
            continue
        if leaf.layout != torch.strided or leaf.is_quantized or leaf.is_meta or leaf.is_complex():
            raise ConfigError(
                f"the weight {name!r} in {path} is not a plain tensor (it is sparse, quantized, "
                "complex, or without values): convert it before saving"
            )
        dense[str(name)] = leaf.detach()
    return dense
