"""JSON objects with a checksum of their content, in files that people and other programs read too.

The bytes of such a file are free, as in any JSON: its layout, the order of entries, how a number is
written. What it says is what was written, or an error.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

_CHECKSUM = "crc32"


def dumps(content: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return the content as JSON, with a last entry "crc32": 8 hexadecimal digits.

    They are the CRC-32 of all else as canonical JSON: sorted keys, no spaces, ASCII. The text is
    ASCII as well, so that names of files that are no Unicode come back as they were.

    Args:
        content: JSON values by names other than "crc32"; NaN and the infinities are as in `json`.
        indent: as in `json`.

    >>> dumps({"epoch": 3})
    '{"epoch": 3, "crc32": "e44cf0fb"}'
    """
    return json.dumps({**content, _CHECKSUM: _checksum(content)}, indent=indent)


def loads(text: str) -> dict[str, Any]:
    """Return the content that `dumps` was given.

    Raises:
        ValueError: the text is no JSON object, or its checksum is missing or wrong.

    >>> loads(dumps({"epoch": 3}))
    {'epoch': 3}
    """
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        if _CHECKSUM not in content:
            raise ValueError("it has no checksum")
        if content.pop(_CHECKSUM) != _checksum(content):
            raise ValueError("its checksum is wrong")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(canonical.encode('ascii')):08x}"
