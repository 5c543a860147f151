"""JSON with a checksum of itself: what is read is what was written, or an error."""

import hashlib
import json
import re
from typing import Any

_SEALED = re.compile(rb'\{"sha256":"([0-9a-f]{64})","content":(.*)\}\n', re.DOTALL)


def seal(content: Any) -> bytes:
    """Return `{"sha256": ..., "content": ...}` as JSON: the SHA-256 is of the content's bytes.

    >>> seal([1, "größe"])[-24:]
    b':[1,"gr\\\\u00f6\\\\u00dfe"]}\\n'
    """
    text = json.dumps(content, separators=(",", ":")).encode()
    return b'{"sha256":"%s","content":%s}\n' % (_sha256(text), text)


def unseal(sealed: bytes) -> Any:
    """Return the content of what `seal` made: equal to the one that was sealed.

    Raises:
        ValueError: a byte was changed, lost or added since, or it was never sealed.

    >>> unseal(seal({"epoch": 3}))
    {'epoch': 3}
    """
    match = _SEALED.fullmatch(sealed)
    if match is None or _sha256(match[2]) != match[1]:
        raise ValueError("its checksum is wrong")
    try:
        return json.loads(match[2])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
