"""Servers that never come to an end: each byte arrives in time, the answer doesn't."""

from __future__ import annotations

import contextlib
import socket
import threading
import zlib
from typing import TYPE_CHECKING, Any

from .raw_server import RawServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PAUSE_S = 0.02
"""Between two pieces of what drips."""

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
"""A stored block of no bytes, of which a deflate stream may have any number."""


ENDLESS: dict[str, tuple[bytes, bytes, float]] = {
    "trailers": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n", PAUSE_S),
    "trailers, fast": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n" * 1000, 0),
    "chunk size": (CHUNKED + b"\r\n", b"0", PAUSE_S),
    "chunk extension": (CHUNKED + b"\r\n2;a=", b"b", PAUSE_S),
    "empty deflate blocks": (
        CHUNKED + b"Content-Encoding: deflate\r\n\r\n2\r\n" + zlib.compress(b"")[:2] + b"\r\n",
        b"5\r\n" + EMPTY_BLOCK + b"\r\n",
        PAUSE_S,
    ),
    "empty deflate blocks, fast": (
        HEAD + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(b"")[:2],
        EMPTY_BLOCK * 1000,
        0,
    ),
    "name in gzip": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03",
        b"n",
        PAUSE_S,
    ),
    "name in gzip, fast": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03",
        b"n" * 10_000,
        0,
    ),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", PAUSE_S),
    "header": (HEAD + b"X-A: ", b"a", PAUSE_S),
    "body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", PAUSE_S),
    "body without length": (HEAD + b"\r\n", b" ", PAUSE_S),
}
"""What comes first, what comes again and again, and the pause between."""


def dripping(name: str) -> RawServer:
    """Make a server that answers with one of ``ENDLESS``, until the client has gone or the test is over."""
    first, piece, pause_s = ENDLESS[name]

    def drip(connection: socket.socket) -> None:
        connection.sendall(first)
        while not server.released.wait(pause_s):
            connection.sendall(piece)

    server = RawServer(drip)
    return server


class Listener:
    """Takes connections and does with each what a test wants, in a thread of its own, until the test is over."""

    def __init__(self, serve: Callable[[socket.socket], object], *, backlog: int = 16) -> None:
        self.released = threading.Event()
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Listener:
        self._threads[0].start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve_one, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._serve(connection)

    def drip(self, connection: socket.socket, pieces: Iterable[bytes]) -> None:
        """Send one piece after the other, slowly."""
        for piece in pieces:
            if self.released.wait(PAUSE_S):
                return
            connection.sendall(piece)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns or raises; fail where it takes longer, and leave it to end with its server."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(call())
        except BaseException as error:  # noqa: BLE001  handed over to the test
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still under way after {seconds:g} s"
    return ended[0]
