"""The JSON part of a checkpoint, `state.json`: its schema, written and read.

Version 1 can still be read, but is no longer written: `{"sha256": H, "content": RECORD}`, where H
is the SHA-256 of the bytes of RECORD, and RECORD has the checksum of the tensors as its entry
"sha256".
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from fnet.files import dumps, loads_exactly
from fnet.run.typed_json import from_json, to_json

VERSION = 2
"""The version of the format that is written."""

_VERSION_1 = re.compile(rb'\{"sha256":"([0-9a-f]{64})","content":(.*)\}\n', re.DOTALL)


class OtherVersionError(Exception):
    """The record is of another version: the argument."""


@dataclass(frozen=True)
class Leaf:
    """One leaf of a state."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Record:
    """The description of a state, without its tensors.

    Attributes:
        version: the version of the format.
        tensors: the checksum of the file of tensors.
        note: any JSON value.
        leaves: the leaves, in the order of the tensors' names.
    """

    version: int
    tensors: str
    note: Any
    leaves: tuple[Leaf, ...]

    def __post_init__(self) -> None:
        if len({leaf.path for leaf in self.leaves}) < len(self.leaves):
            raise ValueError("has two leaves of one path")


def to_bytes(record: Record) -> bytes:
    """Return the content of the file."""
    return dumps(to_json(record)).encode()


def from_bytes(text: bytes) -> Record:
    """Return the record that the file holds.

    Raises:
        ValueError: a byte has changed since it was written, or it is no record.
        OtherVersionError: it is of a version that is not read.
    """
    values, version = _unsealed(text), 1
    if values is None:
        values, version = loads_exactly(text), VERSION
    if not isinstance(values, dict) or type(values.get("version")) is not int:
        raise ValueError("it is no record of a state")
    if values["version"] != version:
        raise OtherVersionError(values["version"])
    try:
        return from_json(Record, values)
    except ValueError as error:
        raise ValueError(f"it {error}") from None


def _unsealed(text: bytes) -> Any:
    """Return the content of a version 1 record with the keys of version 2; else None."""
    match = _VERSION_1.fullmatch(text)
    if match is None or hashlib.sha256(match[2]).hexdigest().encode() != match[1]:
        return None
    try:
        values = json.loads(match[2])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(values, dict):
        values["tensors"] = values.pop("sha256", None)
    return values
