"""The bytes behind an http or https address, within bounds that the sender cannot stretch."""

import string
import threading
import time
import urllib.request
from http.client import HTTPException, HTTPResponse
from urllib.parse import quote, urljoin, urlsplit

from fnet.data import DataError

SECONDS, MAX_SECONDS = 10.0, 3600.0
MAX_BYTES = 20_000_000
MAX_REDIRECTS = 5

_SCHEMES = ("http", "https")
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16


def is_address(text: str) -> bool:
    """Say whether a text is an address (scheme://...), one that `fetch` refuses included.

    >>> is_address("https://example.org/cat.png"), is_address("cat.png")
    (True, False)
    """
    return "://" in text


def fetch(url: str, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> bytes:
    """Return what is at an address.

    Follows up to `MAX_REDIRECTS` redirects, to http and https addresses only. A proxy of the
    environment (`http_proxy`, `https_proxy`) is used.

    Args:
        url: an http or https address.
        seconds: the limit on everything together: name look-up, redirects, transfer.
        max_bytes: the limit on the content, held while it is read.

    Raises:
        DataError: the address is not of these schemes, cannot be reached, answers with an error,
            takes too long, sends too much, or less than it said.
    """
    result: list[bytes | DataError] = []
    deadline = time.monotonic() + seconds

    def work() -> None:
        try:
            result.append(_fetch(url, deadline, max_bytes))
        except DataError as error:
            result.append(error)
        except (OSError, HTTPException, ValueError) as error:
            if time.monotonic() < deadline:
                result.append(DataError(f"{url} cannot be fetched: {error}"))

    # In a thread: neither the look-up of a name nor a header sent byte by byte knows a time limit.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise DataError(
            f"{url} has not come within {seconds:g} s, the limit: try again, or save the image "
            "and give the file"
        )
    if isinstance(result[0], DataError):
        raise result[0]
    return result[0]


def _fetch(url: str, deadline: float, max_bytes: int) -> bytes:
    opener = _opener()
    place = quote(url, safe=string.punctuation)
    for hop in range(MAX_REDIRECTS + 1):
        if urlsplit(place).scheme not in _SCHEMES:
            led = f" leads to {place!r}, which" if hop else ""
            raise DataError(f"{url}{led} is not an http or https address: only those are fetched")
        request = urllib.request.Request(place, headers={"User-Agent": "fnet"})
        with opener.open(request, timeout=max(deadline - time.monotonic(), 1e-3)) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                # The body of a redirect is never read: it can be of any size.
                # Header bytes come decoded as Latin-1.
                target = quote(response.headers["Location"], string.punctuation, "latin-1")
                place = urljoin(place, target)
                continue
            if response.status != 200:
                raise DataError(
                    f"{url} cannot be fetched: the server answers "
                    f"{response.status} {response.reason}"
                )
            return _read(response, url, deadline, max_bytes)
    raise DataError(f"{url} is redirected more than {MAX_REDIRECTS} times: give the final address")


def _read(response: HTTPResponse, url: str, deadline: float, max_bytes: int) -> bytes:
    expected = response.length  # None where the sender does not say
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > max_bytes:
            raise DataError(
                f"{url} sends more than {max_bytes / 1e6:g} MB, the limit: save a smaller copy, "
                "and give that file"
            )
        if time.monotonic() > deadline:
            raise TimeoutError  # ends the thread; the caller has given up
    if expected is not None and len(content) < expected:
        raise DataError(
            f"{url} breaks off after {len(content):,} of {expected:,} bytes: try again, or save "
            "the image and give the file"
        )
    return bytes(content)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, and neither files nor ftp, and follows no redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
    ):
        opener.add_handler(handler)
    return opener
