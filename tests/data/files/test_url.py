"""Addresses: the bytes that are there, and the bounds that no server stretches."""

import time

import pytest
from servers import serve

from fnet.data import DataError
from fnet.data.files.url import fetch

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def server():
    with serve(CONTENT) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["content", "größe", "gr%C3%B6%C3%9Fe", "hops/1", "hops/5"])
def test_the_content_comes(server, path):
    assert fetch(f"{server}/{path}") == CONTENT


def test_the_size_limit_is_exact(server):
    assert fetch(f"{server}/content", max_bytes=len(CONTENT)) == CONTENT
    with pytest.raises(DataError, match=r"sends more than the limit of 0\.255999 MB"):
        fetch(f"{server}/content", max_bytes=len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hops/6", "redirects more than 5 times"),
        (
            "to/file:///etc/passwd",
            r"redirects to 'file:///etc/passwd', which is not an http or https",
        ),
        ("to/ftp://127.0.0.1/x", "which is not an http or https URL"),
        ("to/http://127.0.0.1:1/", "cannot be fetched: .*refused"),
        ("missing", "the server answers 404 Not Found"),
        ("endless", "sends more than the limit of 20 MB"),
        ("short", "ended after 128,000 of 256,000 bytes: try again"),
    ],
)
def test_every_problem_is_named(server, path, message):
    with pytest.raises(DataError, match=message):
        fetch(f"{server}/{path}")


@pytest.mark.parametrize("path", ["hang", "drip/head", "drip/body"])
def test_the_time_limit_is_on_all_of_it(server, path):
    started = time.monotonic()
    with pytest.raises(DataError, match=f"{path} was not downloaded within the limit of 0.3 s"):
        fetch(f"{server}/{path}", seconds=0.3)
    assert time.monotonic() - started < 2


def test_the_body_of_a_redirect_is_not_read(server):
    assert fetch(f"{server}/endless-redirect", seconds=5) == CONTENT


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("file:///etc/passwd", "^file:///etc/passwd is not an http or https URL"),
        ("ftp://127.0.0.1/x", "is not an http or https URL"),
        ("data:image/png;base64,AAAA", "is not an http or https URL"),
        ("http://", "cannot be fetched"),
        ("http://[::1", "cannot be fetched"),
        ("http://127.0.0.1:99999/", "cannot be fetched"),
        ("http://nowhere.invalid/", "cannot be fetched|was not downloaded"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address, message):
    with pytest.raises(DataError, match=message):
        fetch(address, seconds=2)
