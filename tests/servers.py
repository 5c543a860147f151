"""A web server on the loopback device, well and badly behaved, for the tests of addresses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@contextmanager
def running(handler: type[BaseHTTPRequestHandler], closing: threading.Event) -> Iterator[str]:
    """Serve while the context lasts; yields the address. At its end `closing` is set."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serve(content: bytes) -> Iterator[str]:
    """Serve while the context lasts; yields the address, "http://127.0.0.1:port".

    | path | answer |
    | --- | --- |
    | /content, /größe | the content |
    | /text | a text |
    | /short | half of the content, with the length of all of it |
    | /hang | nothing |
    | /drip/head, /drip/body | a byte every 50 ms, for ever |
    | /endless | a body without end |
    | /hops/n | the content, after n redirects |
    | /to/address | a redirect to that address |
    | /endless-redirect | a redirect to the content, with a body without end |
    | anything else | 404 |
    """
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                self.answer(unquote(urlsplit(self.path).path))
            self.close_connection = True

        def answer(self, path):
            match path.split("/")[1:]:
                case ["content" | "größe"] | ["hops", "0"]:
                    self.start(200)
                    self.wfile.write(content)
                case ["text"]:
                    self.start(200)
                    self.wfile.write(b"not an image")
                case ["short"]:
                    self.start(200, length=len(content))
                    self.wfile.write(content[: len(content) // 2])
                case ["hang"]:
                    closing.wait()
                case ["drip", "head"]:
                    self.drip(b"X")
                case ["drip", "body"]:
                    self.start(200)
                    self.drip(b"X")
                case ["endless"]:
                    self.start(200)
                    self.endless()
                case ["hops", n]:
                    self.start(302, f"/hops/{int(n) - 1}")
                case ["to", *address]:
                    self.start(302, "/".join(address))
                case ["endless-redirect"]:
                    self.start(302, "/content")
                    self.endless()
                case _:
                    self.start(404)

        def start(self, status, location=None, length=None):
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            if length:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def drip(self, byte):
            while not closing.wait(0.05):
                self.wfile.write(byte)

        def endless(self):
            while not closing.is_set():
                self.wfile.write(bytes(1 << 16))

        def log_message(self, *_):
            pass

    with running(Handler, closing) as address:
        yield address
