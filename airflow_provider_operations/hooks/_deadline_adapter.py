"""
An adapter for requests that bounds a whole exchange: how long it takes, and how much is read.

requests counts its timeout anew for every read, so a server that sends a byte now and then would hold a worker
for ever. Here, whatever is read from a connection or written to it (a proxy's answer to CONNECT, TLS, head, body,
trailers) is given only the time that is left of the whole, and counted. No thread and no lock is needed for that,
so it also works in a forked process and while a signal handler waits for another thread.
"""

from __future__ import annotations

import io
import math
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError
from urllib3.util.connection import allowed_gai_family

from airflow_provider_operations.hooks._body import (
    CHUNK_BYTES,
    MAX_BODY_BYTES,
    MAX_WIRE_BYTES,
    BadEncoding,
    Body,
    TooLargeError,
    late,
)
from airflow_provider_operations.hooks._idle import has_spoken
from airflow_provider_operations.hooks._informational import FinalResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BoundedAdapter", "ends_within"]

_WRITTEN_AT_ONCE = 16 * 1024
"""Bytes of a TLS record: ``sendall`` of a TLS socket counts its timeout anew for each record."""


class _Limits:
    """What is left of one exchange."""

    def __init__(self, total_s: float | None) -> None:
        latest = getattr(_of_thread, "deadline", None)
        deadlines = [] if total_s is None else [time.monotonic() + total_s]
        self._deadline = min([*deadlines, *([] if latest is None else [latest])], default=None)
        self._left_bytes = MAX_WIRE_BYTES

    def left_s(self) -> float:
        """Return the time that is left; infinite without a limit."""
        return math.inf if self._deadline is None else self._deadline - time.monotonic()

    def apply_to(self, sock: Any) -> None:
        """
        Give the next read or write all the time that is left, and no more.

        :raises TimeoutError: none is left.
        """
        if self._deadline is None:
            return
        if (left_s := self.left_s()) <= 0:
            raise late()
        sock.settimeout(left_s)

    def count(self, read: int) -> None:
        """Note that so many bytes have been read."""
        self._left_bytes -= read
        if self._deadline is not None and self._left_bytes < 0:
            raise TooLargeError(f"the answer is longer than {MAX_WIRE_BYTES} bytes, with what isn't its body")

    def end(self) -> None:
        """Lift the limits: whoever has the answer may read on."""
        self._deadline = None


_of_thread = threading.local()
"""``limits`` of the exchange that a thread is in, and ``deadline`` of all of its exchanges."""


def _limits() -> _Limits:
    return getattr(_of_thread, "limits", None) or _Limits(None)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Bound all exchanges of this thread together, whatever each is given."""
    before = getattr(_of_thread, "deadline", None)
    _of_thread.deadline = time.monotonic() + seconds
    try:
        yield
    finally:
        _of_thread.deadline = before


class _Reader(io.RawIOBase):
    """Reads from a socket within limits."""

    def __init__(self, sock: socket.socket, limits: _Limits) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._limits = limits

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._limits.apply_to(self._sock)
        try:
            read: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            raise late() from None
        self._limits.count(read or 0)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(FinalResponse):
    """An answer, also a proxy's to CONNECT, that is read within limits."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, _limits()))


class _TlsToProxy:
    """A TLS socket that carries another TLS stream: one read of that may take any number of its own."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, *args: Any) -> Any:
        _limits().apply_to(self._sock)
        return self._sock.recv(*args)

    def sendall(self, *args: Any) -> Any:
        _limits().apply_to(self._sock)
        return self._sock.sendall(*args)


class _Connection(HTTPConnection):
    """A connection within limits."""

    response_class = _Response

    def _new_conn(self) -> Any:
        """Connect, within the limit for all of a host's addresses; urllib3 would give each of them the whole time."""
        name, timeout_s = self._dns_host, self.timeout
        failed: NewConnectionError | ConnectTimeoutError | None = None
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # urllib3 makes a better error of it
            return super()._new_conn()
        left_s = _limits().left_s()
        ends = time.monotonic() + (left_s if timeout_s is None else min(timeout_s, left_s))
        try:
            for *_, (address, *_) in found:
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    break
                self._dns_host, self.timeout = str(address), None if left_s == math.inf else left_s
                try:
                    sock = super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failed = error
                else:
                    _limits().apply_to(sock)
                    return sock
        finally:
            self._dns_host, self.timeout = name, timeout_s
        raise failed or ConnectTimeoutError(self, f"no connection to {name} in time")

    @property
    def is_connected(self) -> bool:
        """Whether the pool may use it again, which it may not if anything has come on it."""
        return self.sock is not None and not has_spoken(self.sock)

    def send(self, data: Any) -> None:
        """Send record by record, each within the time that is left."""
        if self.sock is None or not isinstance(data, bytes):
            super().send(data)
            return
        for start in range(0, len(data), _WRITTEN_AT_ONCE):
            _limits().apply_to(self.sock)
            super().send(data[start : start + _WRITTEN_AT_ONCE])


class _SecureConnection(_Connection, HTTPSConnection):
    """A connection with TLS within limits."""

    def _connect_tls_proxy(self, *args: Any, **kwargs: Any) -> Any:
        return _TlsToProxy(super()._connect_tls_proxy(*args, **kwargs))


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


_KEEP_ALIVE_S = {"TCP_KEEPIDLE": 120, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 20}
"""As Airflow's HTTP hook has it; the last is a number of probes. Not every system has all of them."""

_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, option), value)
        for option, value in _KEEP_ALIVE_S.items()
        if hasattr(socket, option)
    ),
]


class BoundedAdapter(HTTPAdapter):
    """
    An adapter with TCP keep-alive, as Airflow's HTTP hook has it, whose exchanges are bounded.

    ``timeout`` (the one for reading, where there are two) is that of the whole exchange. With ``stream=True`` the
    bounds end with the head.

    :param most_bytes: the longest body that is taken.
    """

    def __init__(self, most_bytes: int = MAX_BODY_BYTES) -> None:
        self._most_bytes = most_bytes
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that are bounded."""
        super().init_poolmanager(*args, **{**kwargs, "socket_options": _SOCKET_OPTIONS})
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make connections through a proxy that are bounded, too."""
        manager = super().proxy_manager_for(*args, **{**kwargs, "socket_options": _SOCKET_OPTIONS})
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> requests.Response:
        """
        Send a request and read the answer.

        :raises TooLargeError: the answer is larger than what is read.
        """
        limits = _Limits(timeout[1] if isinstance(timeout, tuple) else timeout)
        before, _of_thread.limits = _limits(), limits
        try:
            response: requests.Response = super().send(request, True, timeout, *args, **kwargs)
            if stream:
                limits.end()
            else:
                response.raw = io.BytesIO(_read(response, self._most_bytes))
        finally:
            _of_thread.limits = before
        return response


def _read(response: requests.Response, most_bytes: int) -> bytes:
    """Read the whole body, so that requests, which knows no bounds, finds it read; and leave the connection."""
    try:
        body = Body(response.headers.get("content-encoding"), most_bytes)
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            body.add(chunk)
        return body.whole()
    except ReadTimeoutError as error:
        raise requests.exceptions.ReadTimeout(error) from error
    except BadEncoding as error:
        raise requests.exceptions.ContentDecodingError(str(error)) from error
    except HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    finally:
        response.close()
