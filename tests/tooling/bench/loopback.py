"""As much of HTTP/1.1 as a server of the bench needs: requests without a body, answers of a known length."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[str], tuple[int, bytes]]
    """From the request's target to status and body."""

__all__ = ["BODY", "LOOPBACK", "Answering", "body_of", "listening"]

LOOPBACK = "127.0.0.1"
BODY = (
    '{"name":"%s","metadata":{"@type":"type.googleapis.com/google.cloud.example.v1.OperationMetadata",'
    '"createTime":"2026-11-24T12:00:00.000000Z","target":"projects/bench/things/thing","verb":"create",'
    '"progressPercent":40,"requestedCancellation":false,"apiVersion":"v1"},"done":%s}'
)
"""An operation as Google's services answer it, about 300 bytes."""


def body_of(name: str, *, done: bool = False) -> bytes:
    """Return an operation's JSON."""
    return (BODY % (name, "true" if done else "false")).encode()


def listening(port: int = 0, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; ``shared``: several processes may listen there, and the kernel spreads."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(4096)
    return listener


class Answering(asyncio.Protocol):
    """One connection; it stays open until the client closes it."""

    def __init__(self, answer: Answer, opened: Callable[[int], None] = lambda _: None) -> None:
        self._answer = answer
        self._opened = opened
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opened(1)

    def connection_lost(self, error: Exception | None) -> None:
        """Count it no more."""
        self._opened(-1)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while self._transport is not None and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            status, body = self._answer(head.split(b" ", 2)[1].decode())
            answer = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            self._transport.write(answer % (status, len(body), body))
