"""What the stand-ins of other people's servers share: JSON in, JSON out, on this machine, without a word on stderr."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Has the two halves of a request; a stand-in writes `do_GET` and the like."""

    def read(self) -> bytes:
        """What was sent."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def answer(self, told: Any, status: int = 200, **headers: object) -> None:
        """Send bytes as they are, anything else as JSON.

        Args:
            headers: more of them, with "_" for "-".
        """
        content = told if isinstance(told, bytes) else json.dumps(told).encode()
        kind = {} if isinstance(told, bytes) else {"Content-Type": "application/json"}
        self.send_response(status)
        for name, value in {**kind, "Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *message: object) -> None:
        """Nothing is printed."""


@contextmanager
def serving(handler: type[Handler], server: type[ThreadingHTTPServer] = ThreadingHTTPServer) -> Iterator[Any]:
    """Yield a listening server; its address is `address_of` it."""
    with server(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening
        listening.shutdown()


def address_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"
