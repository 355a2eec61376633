"""A server whose connections are kept alive, and which says on them whatever a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


def operation(name: str, result: str | None = None) -> bytes:
    """An answer that is an operation: running, or done with a result."""
    body: dict[str, Any] = {"name": name, "metadata": {"of": name}}
    if result is not None:
        body |= {"done": True, "response": {"result": result}}
    return said(json.dumps(body).encode())


def said(body: bytes) -> bytes:
    """An answer after which the connection stays open."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


class KeptAlive:
    """
    Answers requests one after the other on each connection.

    :param answer: from the request's path, the number of its connection and its number on it to what is sent: bytes, or
        several with the pauses before them.
    """

    def __init__(
        self,
        answer: Callable[[str, int, int], bytes | list[tuple[float, bytes]]],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.seen: list[tuple[int, str]] = []
        """Number of the connection, and path."""
        self._answer = answer
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._over = threading.Event()

    def __enter__(self) -> KeptAlive:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for closed in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                closed.shutdown(socket.SHUT_RDWR)
            closed.close()
        self._thread.join()

    @property
    def connections(self) -> int:
        """How many there were."""
        return len(self._connections)

    def _accept(self) -> None:
        threads = []
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
                if self._context:
                    connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:
                break
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threads.append(
                threading.Thread(target=self._serve, args=(connection, len(self._connections) - 1))
            )
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as lines:
            for index in range(1000):
                head = []
                while (line := lines.readline()) != b"\r\n":
                    if not line:
                        return
                    head.append(line)
                lengths = [
                    int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")
                ]
                lines.read(sum(lengths))
                path = head[0].decode("latin-1").split(" ")[1]
                self.seen.append((number, path))
                answer = self._answer(path, number, index)
                for pause_s, data in [(0.0, answer)] if isinstance(answer, bytes) else answer:
                    if self._over.wait(pause_s):
                        return
                    connection.sendall(data)
