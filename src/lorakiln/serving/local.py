"""A server for this machine alone, behind a token that is a part of every address.

Who may come in: the server listens at 127.0.0.1 and nowhere else; all that it answers lies below /TOKEN/, drawn anew
for each start; and a request must name the server as 127.0.0.1 or localhost in its Host header, so that a page from
elsewhere whose name is made to lead here (DNS rebinding) gets nothing.
"""

import hmac
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lorakiln.console.errors import UserError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # by which a browser on this machine calls it
LARGEST = 10_000_000  # bytes of a request
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",  # the address is the key
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Site(Protocol):
    """What is shown."""

    def make_app(self, token: str, port: int) -> ASGIApp:
        """What answers below /`token`/, inside a `Gate`."""
        ...


@dataclass(frozen=True)
class Gate:
    """Lets through what comes from this machine's browser and knows the token; the rest learns nothing."""

    app: ASGIApp
    token: str
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        host = Headers(scope=scope).get("host", "")
        inside = scope["path"].split("/")[1]
        if host not in [f"{name}:{self.port}" for name in NAMES]:
            answer = PlainTextResponse("this server has another name\n", 421)
        elif not hmac.compare_digest(inside.encode(), self.token.encode()):
            answer = PlainTextResponse("open the address that the command has printed\n", 403)
        elif int(Headers(scope=scope).get("content-length", "0")) > LARGEST:
            answer = PlainTextResponse("too large\n", 413)
        else:
            await self.app(scope, receive, send)
            return
        await answer(scope, receive, send)


def answer_file(package: str, name: str) -> Response:
    """A file of a package's page: one of those that are there, by its name."""
    files = {path.name: path for path in resources.files(package).joinpath("page").iterdir()}
    if name not in files:
        return PlainTextResponse("no such file\n", 404, HEADERS)
    kind = KINDS.get(Path(name).suffix, "application/octet-stream")
    return Response(files[name].read_bytes(), media_type=kind, headers={**HEADERS, "Cache-Control": "no-store"})


def listen(port: int) -> socket.socket:
    """A socket at this machine's own address.

    Args:
        port: 0: one that is free.

    Raises:
        UserError: another program has the port.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # from now on a browser that is quick waits, and is not refused
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot listen at port {port} ({error.strerror})", where="--port", fix="name another"
        ) from error
    return listening


def make_server(site: Site, listening: socket.socket) -> tuple[uvicorn.Server, str]:
    """What answers at a socket, and the address that a browser is to open."""
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    config = uvicorn.Config(
        site.make_app(token, port),
        log_config=None,
        log_level="warning",
        access_log=False,  # it would show the token
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config), f"http://{HOST}:{port}/{token}/"


def serve(site: Site, port: int, tell: Callable[[str], None]) -> None:
    """Answer until the program is told to end.

    Args:
        tell: gets the address that a browser is to open.

    Raises:
        UserError: the port is taken.
    """
    with listen(port) as listening:
        server, address = make_server(site, listening)
        tell(address)
        server.run([listening])
