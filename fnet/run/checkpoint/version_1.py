"""The first format of a checkpoint's record: read, and written no more.

`{"sha256": H, "content": RECORD}`, where H is the SHA-256 of the bytes of RECORD, and RECORD has
that of the tensors as its entry "sha256".
"""

import hashlib
import json
import re
from typing import Any

_SEALED = re.compile(rb'\{"sha256":"([0-9a-f]{64})","content":(.*)\}\n', re.DOTALL)


def unseal(sealed: bytes) -> Any | None:
    """Return the content of a record of the first format, None where the bytes are none.

    Raises:
        ValueError: it is nested too deeply, or is no JSON.
    """
    match = _SEALED.fullmatch(sealed)
    if match is None or hashlib.sha256(match[2]).hexdigest().encode() != match[1]:
        return None
    try:
        return json.loads(match[2])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
