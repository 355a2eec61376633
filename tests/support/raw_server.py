"""A server that does with a connection whatever a test wants, and remembers what came."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Seen(NamedTuple):
    """One request: its first line, its headers in order with lower-case names, its body."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]


class RawServer:
    """
    A loopback server of single-request connections.

    :param answer: called with the socket after each request was read; the connection is closed afterwards.
    """

    def __init__(self, answer: Callable[[socket.socket], object], host: str = "127.0.0.1") -> None:
        self.seen: list[Seen] = []
        self.released = threading.Event()
        """Set when the test is over: what a stalled answer waits for."""
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline().decode("latin-1").strip()
                if not line:
                    return
                headers = []
                while (text := self.rfile.readline().decode("latin-1").strip()) != "":
                    name, _, value = text.partition(":")
                    headers.append((name.lower(), value.strip()))
                length = int(dict(headers).get("content-length", 0))
                outer.seen.append(Seen(line, headers, self.rfile.read(length)))
                with contextlib.suppress(OSError):
                    answer(self.connection)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        if ":" in host:
            Server.address_family = socket.AF_INET6
        self._server = Server((host, 0), Handler)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(
    http_status: int = 200, body: bytes = b'{"name": "operations/x"}', headers: dict[str, str] | None = None
) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {http_status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sends(data: bytes) -> Callable[[socket.socket], object]:
    """Answer every request with these bytes."""
    return lambda connection: connection.sendall(data)
