import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet.files import dumps, loads

names = st.text(max_size=5) | st.binary(max_size=5).map(os.fsdecode)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
CONTENT = {"epoch": 3, "loss": 0.125, "lr": 1e-05, "data": "größe", "list": [1, None, True]}


@settings(max_examples=50, deadline=None)
@given(content=st.dictionaries(names.filter(lambda name: name != "crc32"), values, max_size=5))
@pytest.mark.parametrize("indent", [None, 2])
def test_content_comes_back(content, indent):
    text = dumps(content, indent=indent)
    assert text.isascii()
    # Compared as text, because NaN != NaN and -0.0 == 0.0.
    assert repr(loads(text)) == repr(content)


def test_the_checksum_is_the_last_entry_of_an_ordinary_object():
    found = json.loads(dumps(CONTENT))
    assert list(found) == [*CONTENT, "crc32"]
    assert {name: found[name] for name in CONTENT} == CONTENT
    assert len(found["crc32"]) == 8


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
