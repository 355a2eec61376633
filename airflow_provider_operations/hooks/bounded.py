"""
An adapter for requests that bounds how long the head of an answer may take.

requests counts its timeout anew for every read, so a server that sends a byte now and then would hold a worker
for ever; the body is bounded where it is read, the head is read inside ``http.client``.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from requests_toolbelt.adapters.socket_options import TCPKeepAliveAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_operations.hooks.informational import FinalResponse

if TYPE_CHECKING:
    import http.client

__all__ = ["BoundedAdapter"]


class _BoundedHead:
    """What a connection of urllib3 does more: hang up when the head isn't complete in time."""

    sock: socket.socket
    timeout: float | None
    response_class: type[http.client.HTTPResponse] = FinalResponse

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        sock = self.sock
        # urllib3 1 has set the read timeout on the socket by now, urllib3 2 is about to.
        limit_s = max(sock.gettimeout() or 0.0, self.timeout or 0.0)
        late = threading.Event()

        def hang_up() -> None:
            late.set()
            with contextlib.suppress(OSError):
                # Not by SSLSocket's own method, which isn't made for two threads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

        timer = threading.Timer(limit_s, hang_up)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse(*args, **kwargs)  # type: ignore[misc]  # urllib3's, by inheritance
        except Exception as error:
            if not late.is_set():
                raise
            raise TimeoutError("timed out") from error
        finally:
            timer.cancel()
        if late.is_set():  # http.client takes the end of the stream for the end of the head
            response.close()
            raise TimeoutError("timed out")
        return response


class _Connection(_BoundedHead, HTTPConnection):
    pass


class _SecureConnection(_BoundedHead, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class BoundedAdapter(TCPKeepAliveAdapter):  # type: ignore[misc]  # requests-toolbelt has no annotations
    """An adapter with TCP keep-alive, as Airflow's HTTP hook has it, and with a bound for the head."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that are bounded."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Do so behind a proxy, too."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
