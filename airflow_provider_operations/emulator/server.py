"""The emulator on a socket: uvicorn, with a hold on its connections."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import create_app
from .client import EmulatorControls
from .faults import Faults
from .protocol import Connections, Protocol
from .service import Service
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Tell whether a host to bind is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """
    Return a listening socket.

    :raises OSError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """
    One emulator.

    :param store: is closed when the server ends.
    :param clock: seconds since the epoch.
    :param ready: called once connections are accepted.
    """

    def __init__(self, store: Store, clock: Callable[[], float], ready: Callable[[], None]) -> None:
        connections: Connections = {}
        self._store = store
        self._ready = ready
        self._protocol = Protocol(Service(store, clock), Faults(clock), connections)
        self._open = connections
        config = uvicorn.Config(
            create_app(self._protocol),
            http=_tracked(connections),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end."""
        try:
            await super().serve(sockets)
        finally:
            self._store.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve and say so."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what waits, close every connection, end."""
        self._protocol.stopping.set()
        await asyncio.sleep(0.05)  # one turn for the answers of whoever waited
        for transport in list(self._open.values()):
            transport.close()
        await super().shutdown(sockets)


def _tracked(connections: Connections) -> type[asyncio.Protocol]:
    class TrackedProtocol(H11Protocol):
        def connection_made(  # type: ignore[override]  # as in H11Protocol: narrower than asyncio's
            self, transport: asyncio.Transport
        ) -> None:
            super().connection_made(transport)
            # asyncio does so only for sockets of a stated protocol; without it each answer waits 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections[self.client] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self.client, None)
            super().connection_lost(exc)

    return TrackedProtocol


class Emulator(EmulatorControls):
    """
    An emulator in a thread of this process, on a real socket of the loopback interface.

    :param state: an SQLite file that keeps operations, request ids and the journal; ``None``: in memory.
    :param port: 0 takes a free one.
    :param clock: seconds since the epoch; lets a test move an operation's time.

    .. code-block:: python

        with Emulator() as emulator:
            requests.post(f"{emulator.url}/v1/projects/p/things:run", json={"operation": {"duration": 2}})
            [start] = emulator.journal(kind="start")
    """

    def __init__(
        self, state: str | Path | None = None, port: int = 0, *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(f"http://{LOOPBACK}:{port}")
        self._state = state
        self._port = port
        self._clock = clock
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Emulator:
        """Start it; return once it accepts connections."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it; thread and port are free afterwards."""
        self.stop()

    def start(self) -> None:
        """
        Start serving.

        :raises OSError: the port is taken.
        :raises RuntimeError: it already runs, or the server failed to start.
        """
        if self._thread is not None:
            raise RuntimeError("the emulator is already running")
        ready = threading.Event()
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(bind(LOOPBACK, self._port))
            store = Store(self._state)
            undo.callback(store.close)
            server = Server(store, self._clock, ready.set)
            undo.pop_all()
        self.url = url_of(listener)
        thread = threading.Thread(
            target=_run, args=(server, listener, ready), name="operations-emulator", daemon=True
        )
        thread.start()
        ready.wait()
        if not server.started:
            thread.join()
            raise RuntimeError("the emulator's server failed to start")
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Stop serving; without effect when it doesn't run."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = None


def _run(server: Server, listener: socket.socket, ready: threading.Event) -> None:
    try:
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        ready.set()  # also when it failed, so that nobody waits for ever
