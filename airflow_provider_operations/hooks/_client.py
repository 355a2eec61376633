"""What all asynchronous hooks of one connection share on an event loop: the session, the connection, the pace."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiohttp
from airflow.providers.common.compat.connection import get_async_connection
from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_operations._airflow.compat import ask_airflow, get_async_extra_dejson, mask_secret
from airflow_provider_operations._connection.fields import ConnectionFields, InvalidConnection
from airflow_provider_operations._connection.settings import Settings, read_settings
from airflow_provider_operations._protocol import clock
from airflow_provider_operations.hooks._apart import AT_ONCE
from airflow_provider_operations.hooks._base import secrets_of, tls_of, to_mask
from airflow_provider_operations.hooks._list_cache import GIVEN_UP_S, ListCache
from airflow_provider_operations.hooks._metrics import Figures
from airflow_provider_operations.hooks._rate_limit import AdaptiveRateLimiter
from airflow_provider_operations.hooks._reuse import SilentConnector
from airflow_provider_operations.hooks._tokens import TokenSource, token_source_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from airflow_provider_operations._protocol.request import Service
    from airflow_provider_operations._protocol.sent_secrets import SentSecrets

__all__ = ["Ready", "SharedClient"]

log = logging.getLogger(__name__)

CONNECTION_KEPT_S = 300.0
"""After so long a connection is looked up again,"""

LOOK_AGAIN_S = 30.0
"""or after so long, where that failed; meanwhile what was read last is used."""


@dataclass(frozen=True)
class Ready:
    """A connection, read and checked with one set of overrides; and what was made of it off the event loop."""

    client: SharedClient
    settings: Settings
    tls: ssl.SSLContext | bool
    proxy: str | None
    tokens: TokenSource | None
    secrets: SentSecrets


class SharedClient:
    """
    One session and one pace for all that use a connection on one event loop.

    ``of`` counts the users; the last one to ``leave`` closes the session.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.rate_limiter = AdaptiveRateLimiter()
        self.figures = Figures(conn_id)
        self.slots = asyncio.Semaphore(1)  # the connection says how many
        self.reading_apart = asyncio.Semaphore(AT_ONCE)
        self.masked: str | None = None
        """The token that Airflow's masker knows of."""
        self.list_caches: dict[tuple[Any, ...], ListCache] = {}
        """By service and parent."""
        self._without_wait_until: dict[Service, float] = {}
        """Until when (by the loop's clock) services count as having no ``wait``."""
        self._users = 0
        self._session: aiohttp.ClientSession | None = None
        self._fields: ConnectionFields | None = None
        self._look_up_at_s = float("-inf")
        self._looking_up = asyncio.Lock()
        self._ready: dict[tuple[Any, ...], Ready] = {}
        self._connections: int | None = None

    @classmethod
    def of(cls, conn_id: str) -> SharedClient:
        """Return the connection's client on the running loop, and count one user more."""
        clients = _clients.setdefault(asyncio.get_running_loop(), {})
        client = clients.get(conn_id)
        if client is None:
            client = clients[conn_id] = cls(conn_id)
        client._users += 1
        return client

    async def leave(self) -> None:
        """Count one user less."""
        self._users -= 1
        if self._users > 0:
            return
        clients = _clients.get(asyncio.get_running_loop(), {})
        if clients.get(self.conn_id) is self:
            del clients[self.conn_id]
        self.figures.send()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session; connections are bounded by ``slots``, as waiting for one is no part of a request's time."""
        if self._session is None:
            self._session = self.new_session()
        return self._session

    @staticmethod
    def new_session() -> aiohttp.ClientSession:
        """Return a session with connections of its own, for the caller to close."""
        # No cookies kept, no ~/.netrc read: what is sent is what the connection says.
        session = aiohttp.ClientSession(
            connector=SilentConnector(limit=0, keepalive_timeout=60.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,  # ``Body`` does, within bounds
        )
        # aiohttp would silently send PUT, DELETE and GET again after a lost answer; what is repeated is
        # decided in ``Retries``. It has no public setting for this; its own test client does the same.
        session._retry_connection = False
        return session

    def may_wait(self, service: Service) -> bool:
        """Tell whether a service may have ``wait``, as far as is known."""
        now_s = asyncio.get_running_loop().time()
        return now_s >= self._without_wait_until.get(service, now_s)

    def has_no_wait(self, service: Service, problem: str) -> None:
        """Note that a service has no ``wait``; it is tried again later, as a proxy may have said so."""
        if service not in self._without_wait_until:
            log.warning("%s has no wait (%s); polling", service.base_url, problem)
        self._without_wait_until[service] = asyncio.get_running_loop().time() + GIVEN_UP_S

    async def ready(self, overrides: Mapping[str, Any], hook: Any) -> Ready:
        """
        Return what the connection says, where the task says ``overrides``.

        :param hook: class that looks the connection up.
        :raises InvalidConnection: see ``read_settings``.
        """
        key = tuple(overrides.values())
        if (known := self._ready.get(key)) is not None and clock.monotonic() < self._look_up_at_s:
            return known
        async with self._looking_up:
            fields = await self._fresh_fields(hook)
            if (known := self._ready.get(key)) is None:
                try:
                    known = self._ready[key] = await self._read(fields, overrides)
                except Exception:
                    # Somebody is probably changing the connection.
                    self._look_up_at_s = min(self._look_up_at_s, clock.monotonic() + LOOK_AGAIN_S)
                    raise
            return known

    async def fields(self, hook: Any) -> ConnectionFields:
        """
        Return the connection's fields.

        :param hook: class that looks the connection up.
        """
        async with self._looking_up:
            return await self._fresh_fields(hook)

    async def _fresh_fields(self, hook: Any) -> ConnectionFields:
        if self._fields is None or clock.monotonic() >= self._look_up_at_s:
            return await self._look_up(hook)
        return self._fields

    async def _look_up(self, hook: Any) -> ConnectionFields:
        try:
            connection = await get_async_connection(self.conn_id, hook=hook)
            extra = await get_async_extra_dejson(connection)
            fields = ConnectionFields.of(connection, extra, hook.conn_type)
        except Exception as error:
            if self._fields is None:
                raise
            log.warning(
                "connection %r can't be looked up (%s); going on with what it said before",
                self.conn_id,
                type(error).__name__,
            )
            self._look_up_at_s = clock.monotonic() + LOOK_AGAIN_S
            await self._read_files_again()
            return self._fields
        if fields != self._fields:
            self._fields = fields
            self._ready.clear()
        self._look_up_at_s = clock.monotonic() + CONNECTION_KEPT_S
        await self._read_files_again()
        return fields

    async def _read_files_again(self) -> None:
        """Read the certificates anew: they are renewed under the names of the old ones."""
        for key, ready in self._ready.items():
            if isinstance(ready.tls, bool):
                continue
            try:
                tls = await asyncio.to_thread(tls_of, ready.settings)
            except InvalidConnection as error:
                log.warning("connection %r: %s; going on with what was read before", self.conn_id, error)
                self._look_up_at_s = min(self._look_up_at_s, clock.monotonic() + LOOK_AGAIN_S)
            else:
                self._ready[key] = replace(ready, tls=tls)

    async def _read(self, fields: ConnectionFields, overrides: Mapping[str, Any]) -> Ready:
        settings = read_settings(fields, overrides)
        secrets = secrets_of(settings)
        # It tells the supervisor by a synchronous call, which would block the loop.
        await ask_airflow(mask_secret, to_mask(settings, secrets))
        tls = await asyncio.to_thread(tls_of, settings)
        base_url = settings.service.base_url
        # The connection's proxy, else the environment's, by the same rules as requests.
        proxy: str | None = select_proxy(base_url, {**get_environ_proxies(base_url), **settings.proxies})
        if settings.max_connections != self._connections:
            self._connections = settings.max_connections
            self.slots = asyncio.Semaphore(settings.max_connections)
        if settings.max_requests_per_second != self.rate_limiter.most_per_s:
            self.rate_limiter = AdaptiveRateLimiter(settings.max_requests_per_second)
        return Ready(self, settings, tls, proxy, token_source_of(settings), secrets)


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedClient]] = WeakKeyDictionary()
