"""A file server on this machine that can answer ranges, and break off in the middle once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """One file at ``/image``; ``requests`` are (method, Range header). ``break_at`` ends the next answer there."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.requests: list[tuple[str, str]] = []
        self.break_at = 0
        self.missing = False
        self.url = ""


@contextmanager
def serving(content: bytes, address: str = "172.31.250.1") -> Iterator[Site]:
    """Serve until the block ends."""
    site = Site(content)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(send=False)

        def do_GET(self) -> None:
            self._answer(send=True)

        def _answer(self, *, send: bool) -> None:
            wanted = self.headers.get("Range", "")
            site.requests.append((self.command, wanted))
            if site.missing:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if wanted and start >= len(site.content):
                self.send_error(416)
                return
            body = site.content[start:]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body)))
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            self.end_headers()
            if send:
                cut, site.break_at = site.break_at or len(body), 0
                self.wfile.write(body[:cut])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((address, 0), Handler)
    site.url = f"http://{address}:{server.server_port}/image"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
