"""aiohttp's connections, used again only if nobody has spoken on them meanwhile: see ``_idle``."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from airflow_provider_operations.hooks._body import MAX_WIRE_BYTES
from airflow_provider_operations.hooks._idle import has_spoken

if TYPE_CHECKING:
    from aiohttp.connector import Connection

__all__ = ["SilentConnector"]

PIECE_BYTES = 16 * 1024
"""So much of what arrives is parsed in one go: heads and chunks of a few bytes each make that slow."""


class _Handler(ResponseHandler):
    """A connection that is closed by the first byte which comes while it is idle, or by too many for one answer."""

    idle = False
    _received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls: Any = getattr(transport, "_ssl_protocol", None)
        part: Any
        for part in (transport, tls, getattr(tls, "_transport", None)):
            if hasattr(part, "max_size"):  # of asyncio's transports and their TLS: how much is read in one go
                part.max_size = PIECE_BYTES
        if hasattr(tls, "_ssl_buffer"):  # what it reads into from Python 3.11 on, made for the size that was
            tls._ssl_buffer = bytearray(PIECE_BYTES)
            tls._ssl_buffer_view = memoryview(tls._ssl_buffer)

    def begin(self) -> None:
        """Note that a request begins."""
        self.idle, self._received = False, 0

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if data and (self.idle or self._received > MAX_WIRE_BYTES):  # without, it is aiohttp's own call
            self.close()
        else:
            super().data_received(data)


class SilentConnector(aiohttp.TCPConnector):
    """
    A connector whose idle connections are used again only if nothing has come on them.

    aiohttp has no public place for this: see docs/private-apis.md.
    """

    _factory: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._factory = partial(_Handler, loop=asyncio.get_running_loop())

    async def _get(self, *args: Any, **kwargs: Any) -> Connection | None:
        while (connection := await super()._get(*args, **kwargs)) is not None:
            handler: Any = connection.protocol
            # What the event loop hasn't read yet is in the kernel.
            if not has_spoken(handler.transport.get_extra_info("socket")):
                handler.begin()
                return connection
            connection.close()
        return None

    def _release(self, key: Any, protocol: Any, **kwargs: Any) -> None:
        protocol.idle = True
        super()._release(key, protocol, **kwargs)
