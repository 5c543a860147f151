import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet.files import checksum, dumps, has_checksum, loads, loads_exactly

names = st.text(max_size=5) | st.binary(max_size=5).map(os.fsdecode)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
CONTENT = {"epoch": 3, "loss": 0.125, "lr": 1e-05, "data": "größe", "list": [1, None, True]}


@settings(max_examples=50, deadline=None)
@given(content=st.dictionaries(names.filter(lambda name: name != "sha256"), values, max_size=5))
@pytest.mark.parametrize("indent", [None, 2])
def test_content_comes_back(content, indent):
    text = dumps(content, indent=indent)
    assert text.isascii()
    # Compared as text, because NaN != NaN and -0.0 == 0.0.
    assert repr(loads(text)) == repr(content)


def test_the_checksum_is_the_last_entry_of_an_ordinary_object():
    found = json.loads(dumps(CONTENT))
    assert list(found) == [*CONTENT, "sha256"]
    assert {name: found[name] for name in CONTENT} == CONTENT
    assert len(found["sha256"]) == 64


def test_the_layout_and_the_order_are_free():
    text = dumps(CONTENT)
    found = json.loads(text)
    for other in (
        json.dumps(found, indent=4),
        json.dumps(found, ensure_ascii=False, sort_keys=True),
        text.replace("1e-05", "0.00001").replace(" ", "\r\n\t"),
    ):
        assert other != text
        assert loads(other) == CONTENT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"epoch": 3', "Expecting"),
        ("[]", "it is not a JSON object"),
        ("{}", "it has no checksum"),
        (json.dumps(CONTENT), "it has no checksum"),
        (json.dumps({**CONTENT, "crc32": None}), "its checksum is wrong"),
        (json.dumps({**CONTENT, "sha256": None}), "its checksum is wrong"),
        (json.dumps({**CONTENT, "sha256": "0" * 8}), "its checksum is wrong"),
        (dumps(CONTENT).replace("0.125", "0.126"), "its checksum is wrong"),
        (dumps(CONTENT).replace(": 3", ": 3.0"), "its checksum is wrong"),
        (dumps(CONTENT).replace("true", "1"), "its checksum is wrong"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "integer string conversion"),
    ],
)
def test_what_was_not_written_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        loads(text)


def with_crc32(content):
    """Return JSON with a checksum as fnet wrote it before there were SHA-256."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "crc32": f"{zlib.crc32(canonical.encode()):08x}"}, indent=2)


def test_what_older_versions_wrote_is_read():
    assert loads(with_crc32(CONTENT)) == CONTENT
    with pytest.raises(ValueError, match="its checksum is wrong"):
        loads(with_crc32(CONTENT).replace("0.125", "0.126"))


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.binary(max_size=20), max_size=4), other=st.binary(max_size=20))
def test_a_checksum_is_of_all_bytes_in_order(parts, other):
    whole = b"".join(parts)
    for recorded in (checksum(parts), f"{zlib.crc32(whole):08x}"):
        assert has_checksum(parts, recorded)
        assert has_checksum([whole], recorded)
        assert has_checksum([other], recorded) == (other == whole)
    assert not has_checksum(parts, None)


def test_a_checksum_of_arrays_is_that_of_their_bytes():
    for array in (np.arange(12).reshape(3, 4), np.zeros((0, 3)), np.array(True)):
        assert checksum([array]) == checksum([array.tobytes()])


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_exact_reading_notices_every_byte(data):
    whole = dumps(CONTENT).encode()
    assert loads_exactly(whole) == CONTENT
    cut = data.draw(st.slices(len(whole)))
    for changed in (whole[cut], whole + b" ", whole.replace(b": ", b":", 1), whole.upper()):
        if changed != whole:
            with pytest.raises(ValueError, match="its checksum is wrong"):
                loads_exactly(changed)
