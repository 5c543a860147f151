"""The format of a checkpoint: a directory with the tensors as safetensors, all else as JSON.

| file | content |
| --- | --- |
| `tensors.safetensors` | the leaves, contiguous, named "0", "1", ... |
| `state.json` | each leaf's path, dtype, shape and strides; a note; the SHA-256 of both files |

Nothing in it is executed, and checksums detect any damage.
"""

import errno
import hashlib
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fnet.files import checksum, directory_atomically, open_regular, write_synced
from fnet.run.checkpoint.errors import CheckpointError, DamagedError
from fnet.run.checkpoint.format_json import (
    VERSION,
    Leaf,
    OtherVersionError,
    Record,
    from_bytes,
    to_bytes,
)
from fnet.run.write_errors import write_error
from fnet.tree import Tree, flatten_with_path, map_with_path

TENSORS, RECORD = "tensors.safetensors", "state.json"

DTYPES = (
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
    *(torch.float8_e8m0fnu, torch.float4_e2m1fn_x2),
)
"""The dtypes that leaves may have: those of safetensors."""

_MAX_RECORD = 16_000_000  # bytes; parsed JSON takes up to twenty times as much memory
# There is no such file, or it is a link, a pipe or a directory.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
_Kind: TypeAlias = tuple[str, list[int]]  # dtype and shape, as in JSON


def save_state(path: Path, state: Tree, note: Any = None) -> None:
    """Write a state as the directory `path`, with fsync and an atomic rename.

    Needs memory for two copies of the tensors: contiguous tensors, and the bytes of the file.

    Args:
        path: a new name in an existing directory.
        state: a tree of dense tensors of `DTYPES` with distinct paths; they may share memory.
        note: any JSON value, returned by `restore_state`.

    Raises:
        CheckpointError: the state cannot be written, or `path` exists.
        TypeError, ValueError: the state or the note could not be restored.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "checkpoint")
    >>> save_state(path, {"weight": torch.ones(2)}, note={"epoch": 3})
    >>> restore_state(path, like={"weight": torch.zeros(2)})
    ({'weight': tensor([1., 1.])}, {'epoch': 3})
    """
    leaves = _by_path(state)
    tensors = save({str(place): _compact(leaf) for place, leaf in enumerate(leaves.values())})
    entries = tuple(_entry(name, leaf) for name, leaf in leaves.items())
    record = to_bytes(Record(VERSION, checksum([tensors]), note, entries))
    if len(record) > _MAX_RECORD:
        raise ValueError(f"the paths and the note make {len(record)} bytes, beyond {_MAX_RECORD}")
    try:
        with directory_atomically(path) as directory:
            write_synced(directory / TENSORS, tensors)
            write_synced(directory / RECORD, record)
    except OSError as error:
        size = (len(tensors) + len(record)) / 1e6
        raise CheckpointError(
            write_error(f"write the checkpoint {path} ({size:.1f} MB)", error.strerror or error)
        ) from error


def restore_state(path: Path, like: Tree) -> tuple[Tree, Any]:
    """Return the state that `save_state` wrote, and the note.

    The state has the structure of `like`; leaves are matched by path. They are on the devices of
    `like`, with the strides of `torch.empty_like`: those of `like` if it is non-overlapping and
    dense.

    Raises:
        DamagedError: there is no checkpoint, or a file is missing, is a link, or has a wrong
            checksum.
        CheckpointError: the paths, shapes or dtypes are not those of `like` (the message names the
            first difference), another version wrote it, or there is no permission to read it.
    """
    leaves = _by_path(like)
    record = _read_record(path)
    stored = {leaf.path: (leaf.dtype, list(leaf.shape)) for leaf in record.leaves}
    difference = next(_differences(stored, leaves), None)
    if difference is not None:
        raise CheckpointError(
            f"the checkpoint {path} has another state than this run: {difference}: resume with the "
            "options and the version that it was saved with, or train again"
        )
    names = {name: str(place) for place, name in enumerate(stored)}
    file = path / TENSORS
    with _reading(file):
        _check_tensors(file, record.tensors, sum(leaf.nbytes for leaf in leaves.values()))
        with safe_open(file, framework="pt") as tensors:
            state = map_with_path(
                lambda name, leaf: _laid_out(tensors.get_tensor(names[name]), leaf), like
            )
    return state, record.note


def _by_path(tree: Tree) -> dict[str, Tensor]:
    leaves: dict[str, Tensor] = {}
    for name, leaf in flatten_with_path(tree):
        if not isinstance(leaf, Tensor):
            raise TypeError(f"{name!r} must be a tensor, got {type(leaf).__name__}")
        if leaf.layout != torch.strided or leaf.dtype not in DTYPES:
            raise TypeError(
                f"{name!r} must be a dense tensor of a dtype that safetensors supports, got "
                f"{leaf.dtype} ({leaf.layout})"
            )
        if name in leaves:
            raise ValueError(f"two leaves have the path {name!r}: give one of them another name")
        leaves[name] = leaf
    return leaves


def _compact(leaf: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU: safetensors accepts neither strides nor aliases."""
    return torch.empty(leaf.shape, dtype=leaf.dtype, device="cpu").copy_(leaf.detach())


def _laid_out(stored: Tensor, leaf: Tensor) -> Tensor:
    if stored.dtype != leaf.dtype or stored.shape != leaf.shape:
        raise ValueError(f"its tensors are not those of {RECORD}")
    return torch.empty_like(leaf).copy_(stored)


def _kind(leaf: Tensor) -> _Kind:
    return str(leaf.dtype).removeprefix("torch."), list(leaf.shape)


def _entry(name: str, leaf: Tensor) -> Leaf:
    dtype, shape = _kind(leaf)
    return Leaf(name, dtype, tuple(shape), leaf.stride())


def _differences(stored: Mapping[str, _Kind], leaves: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the differences between a checkpoint's leaves and the expected ones, paths first."""
    for name in leaves:
        if name not in stored:
            yield f"it has no {name!r}"
    for name in stored:
        if name not in leaves:
            yield f"it has {name!r}, which is not expected"
    for name, leaf in leaves.items():
        kinds = zip(("dtype", "shape"), stored[name], _kind(leaf), strict=True)
        for what, found, expected in kinds:
            if found != expected:
                there, here = reprlib.repr(found), reprlib.repr(expected)
                yield f"the {what} of {name!r} is {there} in it and {here} here"


def _read_record(path: Path) -> Record:
    if path.is_symlink() or not path.is_dir():
        raise DamagedError(f"there is no checkpoint {path}: it is not a directory")
    file = path / RECORD
    try:
        with _reading(file):
            with open_regular(file) as opened:
                text = opened.read(_MAX_RECORD + 1)
            if len(text) > _MAX_RECORD:
                raise ValueError(f"it has more than {_MAX_RECORD // 1_000_000} MB")
            return from_bytes(text)
    except OtherVersionError as error:
        raise CheckpointError(
            f"the checkpoint {path} has format {error}, and this fnet reads {VERSION}: open it "
            "with the version of fnet that wrote it"
        ) from error


def _check_tensors(file: Path, recorded: str, data_bytes: int) -> None:
    with open_regular(file) as opened:
        # Before the checksum, so that a file or a header of terabytes is not read.
        header_bytes = int.from_bytes(opened.read(8), "little")
        if 8 + header_bytes + data_bytes != os.fstat(opened.fileno()).st_size:
            raise ValueError("its size is wrong")
        opened.seek(0)
        if hashlib.file_digest(opened, "sha256").hexdigest() != recorded:
            raise ValueError("its checksum is wrong")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn errors within the context into a `CheckpointError` that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_FILE:
            raise DamagedError(f"cannot read {file}: {error.strerror}") from error
        # The file may be undamaged, so falling back to an older checkpoint would be wrong.
        raise CheckpointError(
            f"cannot read {file}: {error.strerror or error}: change its permissions, and try again"
        ) from error
    except (ValueError, SafetensorError) as error:
        raise DamagedError(f"{file} is damaged: {error}") from error
