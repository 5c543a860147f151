"""Download of an http or https URL, with limits on time and size that the server cannot exceed."""

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


def is_url(text: str) -> bool:
    """Return whether a text is a URL (scheme://...), of any scheme, also one that `fetch` refuses.

    >>> is_url("https://example.org/cat.png"), is_url("cat.png")
    (True, False)
    """
    return "://" in text


def fetch(url: str, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a URL.

    Follows up to `MAX_REDIRECTS` redirects, only to http and https URLs. Uses the proxy of the
    environment (`http_proxy`, `https_proxy`).

    Args:
        url: an http or https URL.
        seconds: the timeout for everything together: DNS resolution, redirects, transfer.
        max_bytes: the limit on the size of the content, checked while it is read.

    Raises:
        DataError: the URL has another scheme, cannot be reached, answers with an error, takes too
            long, or sends too much or less than its Content-Length.
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

    # In a thread: neither DNS resolution nor a header sent byte by byte has a timeout.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise DataError(
            f"{url} was not downloaded within the limit of {seconds:g} s: try again, or save the "
            "image and give the file"
        )
    if isinstance(result[0], DataError):
        raise result[0]
    return result[0]


def _fetch(url: str, deadline: float, max_bytes: int) -> bytes:
    opener = _opener()
    place = quote(url, safe=string.punctuation)
    for hop in range(MAX_REDIRECTS + 1):
        if urlsplit(place).scheme not in _SCHEMES:
            led = f" redirects to {place!r}, which" if hop else ""
            raise DataError(
                f"{url}{led} is not an http or https URL: give one, or save the image and give the "
                "file"
            )
        request = urllib.request.Request(place, headers={"User-Agent": "fnet"})
        with opener.open(request, timeout=max(deadline - time.monotonic(), 1e-3)) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                # The body of a redirect is never read: it can have any size.
                # http.client decodes headers as Latin-1.
                target = quote(response.headers["Location"], string.punctuation, "latin-1")
                place = urljoin(place, target)
                continue
            if response.status != 200:
                raise DataError(
                    f"{url} cannot be fetched: the server answers "
                    f"{response.status} {response.reason}"
                )
            return _read(response, url, deadline, max_bytes)
    raise DataError(f"{url} redirects more than {MAX_REDIRECTS} times: give the final URL")


def _read(response: HTTPResponse, url: str, deadline: float, max_bytes: int) -> bytes:
    expected = response.length  # None if there is no Content-Length
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > max_bytes:
            raise DataError(
                f"{url} sends more than the limit of {max_bytes / 1e6:g} MB: save a smaller copy, "
                "and give that file"
            )
        if time.monotonic() > deadline:
            raise TimeoutError  # ends the thread; the caller has given up
    if expected is not None and len(content) < expected:
        raise DataError(
            f"{url} ended after {len(content):,} of {expected:,} bytes: try again, or save the "
            "image and give the file"
        )
    return bytes(content)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https only, which follows no redirects."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
    ):
        opener.add_handler(handler)
    return opener
