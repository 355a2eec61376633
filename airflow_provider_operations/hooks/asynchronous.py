"""The hook for triggers, on aiohttp; nothing in it blocks the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import tenacity
import yarl
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.http.hooks.http import HttpAsyncHook, SessionConfig
from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_operations import clock
from airflow_provider_operations.compat import get_async_extra_dejson, mask_secret
from airflow_provider_operations.connection import Settings, read_settings
from airflow_provider_operations.fields import ConnectionFields
from airflow_provider_operations.hooks.calls import (
    CHUNK_BYTES,
    CONNECT_TIMEOUT_S,
    MAX_BODY_BYTES,
    OperationsCalls,
    TooLargeError,
    as_timedelta,
    cause_of,
    counted,
    finished,
    refused_token,
    secrets_of,
    tls_of,
    wanted,
    watch_of,
)
from airflow_provider_operations.hooks.tokens import NoToken, Token, token_source_of
from airflow_provider_operations.outcome import Outcome, Watch
from airflow_provider_operations.wire import Answer, CallFailure, Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import timedelta
    from types import TracebackType

    from airflow_provider_operations.operation import Operation
    from airflow_provider_operations.retries import Retries

LARGE_BODY_BYTES = 128 * 1024

T = TypeVar("T")


class OperationsAsyncHook(OperationsCalls, HttpAsyncHook):
    """
    The same calls as coroutines; arguments as in ``OperationsHook``.

    Use it as an asynchronous context manager, or ``close`` it: it keeps one session.
    """

    conn_name_attr = "operations_conn_id"
    default_conn_name = "operations_default"
    conn_type = "operations"
    hook_name = "Long-Running Operations"

    def __init__(
        self,
        operations_conn_id: str = default_conn_name,
        *,
        base_url: str | None = None,
        path_prefix: str | None = None,
        cancel_suffix: str | None = None,
        cancel_method: str | None = None,
        error_format: int | None = None,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(http_conn_id=operations_conn_id)
        self._keep_arguments(
            operations_conn_id, base_url, path_prefix, cancel_suffix, cancel_method, error_format, retries
        )
        self._settings: Settings | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | bool = True
        self._masked: Token | None = None

    async def settings(self) -> Settings:
        """Return what the connection says, looked up once, off the event loop's way."""
        if self._settings is None:
            connection = await get_async_connection(self.operations_conn_id, hook=type(self))
            extra = await get_async_extra_dejson(connection)
            settings = read_settings(ConnectionFields.of(connection, extra), self._overrides)
            for secret in secrets_of(settings):
                # It tells the supervisor by a synchronous call, which would block the loop.
                await asyncio.to_thread(mask_secret, secret)
            self._tls = await asyncio.to_thread(tls_of, settings)
            self._settings = settings
            self.base_url = settings.service.base_url
        return self._settings

    async def config(self) -> SessionConfig:
        """Return what ``HttpAsyncHook.run`` sends: the connection's headers, and nothing else of it."""
        settings = await self.settings()
        return SessionConfig(base_url=settings.service.base_url, headers=dict(settings.auth.headers))

    async def close(self) -> None:
        """Close the session; the next call opens another."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def __aenter__(self) -> OperationsAsyncHook:
        """Use the hook as a context manager that closes its session."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self.close()

    # --- calls ---------------------------------------------------------------------------------------------

    async def get_operation(self, name: str) -> Operation:
        """Return the operation's latest state."""
        request = (await self.settings()).service.get_operation(name)
        return wanted(await self._call(request, self._read_operation), name)

    async def cancel_operation(self, name: str) -> None:
        """Ask the server to cancel the operation; success means asked, not cancelled."""
        wanted(await self.try_cancel(name), name)

    async def delete_operation(self, name: str) -> None:
        """Tell the server that nobody is interested in the result any more; this doesn't cancel."""
        wanted(await self._call((await self.settings()).service.delete_operation(name), self._read), name)

    async def wait_operation(self, name: str, timeout: timedelta | float) -> Operation:
        """Let the server wait until the operation is over, at most ``timeout`` (seconds if a number)."""
        request = (await self.settings()).service.wait_operation(name, as_timedelta(timeout))
        return wanted(await self._call(request, self._read_operation), name)

    async def list_operations(
        self,
        parent: str,
        filter: str | None = None,  # noqa: A002  as the protocol spells it
        page_size: int | None = None,
    ) -> AsyncIterator[Operation]:
        """Iterate over the operations under a parent, page after page."""
        token: str | None = None
        turned: set[str] = set()
        while True:
            request = (await self.settings()).service.list_operations(parent, filter, page_size, token)
            operations, token = wanted(await self._call(request, self._read_page))
            for operation in operations:
                yield operation
            if not self._goes_on(token, turned):
                return

    async def start_operation(
        self,
        path: str,
        *,
        method: str = "POST",
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        retries: Retries | None = None,
    ) -> Operation:
        """Make a call that answers with an operation."""
        request = (await self.settings()).service.start_operation(
            path, method=method, body=json, params=params, headers=headers, repeatable=repeatable
        )
        return wanted(await self._call(request, self._read_started, retries))

    async def wait_until_done(
        self,
        name: str,
        *,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float | None = None,
        outage_tolerance: timedelta | float = 600.0,
    ) -> Operation:
        """Poll until the operation is over, however it ended."""
        return finished(await self.watch(watch_of(name, poke_interval, timeout, outage_tolerance)))

    # --- calls that return failures as values ----------------------------------------------------------------

    async def poll(self, name: str) -> Operation | CallFailure:
        """Ask once for the operation."""
        settings = await self.settings()
        request = settings.service.get_operation(name)
        answer = await self._exchange(request, settings)
        return await _off_the_loop(self._read_operation, request, settings, answer)

    async def try_cancel(self, name: str, retries: Retries | None = None) -> CallFailure | None:
        """Ask for the cancellation; return what went wrong, if anything."""
        request = (await self.settings()).service.cancel_operation(name)
        result = await self._call(request, self._read, retries)
        return result if isinstance(result, CallFailure) else None

    async def watch(self, watch: Watch) -> Outcome:
        """Poll until the watch says that it's over, logging what is new."""
        while True:
            verdict = watch.judge(await self.poll(watch.name), clock.now())
            for line in watch.take_news():
                self.log.info("%s", line)
            if isinstance(verdict, Outcome):
                return verdict
            await clock.asleep(verdict)

    async def test_connection(self) -> tuple[bool, str]:
        """List one operation; a server that has no list is reachable all the same."""
        try:
            settings = await self.settings()
            request = settings.service.list_operations("", None, 1, None)
            seen = self._read_page(request, settings, await self._exchange(request, settings))
            return self._verdict_on_connection(settings, seen)
        except Exception as error:  # noqa: BLE001  the caller shows the text, whatever went wrong
            return False, str(error)
        finally:
            await self.close()

    # --- sending ---------------------------------------------------------------------------------------------

    async def _call(
        self,
        request: Request,
        read: Callable[[Request, Settings, Answer | CallFailure], T | CallFailure],
        retries: Retries | None = None,
    ) -> T | CallFailure:
        settings = await self.settings()

        async def attempt() -> T | CallFailure:
            return await _off_the_loop(read, request, settings, await self._exchange(request, settings))

        retrying = tenacity.AsyncRetrying(**(retries or self.retries).options(request), sleep=clock.asleep)
        return counted(await retrying(attempt), retrying.statistics)

    async def _exchange(self, request: Request, settings: Settings) -> Answer | CallFailure:
        """Send a request once; where the service refuses a token, once more with a new one."""
        source = token_source_of(settings)
        if source is None:
            return await self._send(request, settings, {})
        rejected: Token | None = None
        while True:
            try:
                token = await source.aget(rejected)
            except NoToken as error:
                return self._no_token(request, settings, error)
            if token is not self._masked:
                await asyncio.to_thread(mask_secret, token.secret)
                self._masked = token
            answer = await self._send(request, settings, token.headers)
            if rejected is not None or not refused_token(answer):
                return answer
            rejected = token

    async def _send(
        self, request: Request, settings: Settings, token: Mapping[str, str]
    ) -> Answer | CallFailure:
        base_url = settings.service.base_url
        if self._session is None:
            # No cookies kept, no ~/.netrc read: what is sent is what the connection says.
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("Content-Type",)
            )
            # aiohttp would silently send PUT, DELETE and GET again after a lost answer; what is repeated is
            # decided in ``Retries``. It has no public setting for this; its own test client does the same.
            self._session._retry_connection = False
        timeout_s = request.timeout_s or settings.timeout_s

        def no_answer(error: BaseException, *, sent: bool, may_pass: bool = True) -> CallFailure:
            return CallFailure.no_answer(request, base_url, cause_of(error), sent=sent, may_pass=may_pass)

        try:
            async with self._session.request(
                request.method,
                yarl.URL(base_url + request.target, encoded=True),
                data=self._payload(request),
                headers=self._headers(settings, request, token),
                timeout=aiohttp.ClientTimeout(
                    total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s)
                ),
                allow_redirects=False,
                ssl=self._tls,
                proxy=_proxy(settings, base_url),
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise TooLargeError(f"the answer is longer than {MAX_BODY_BYTES} bytes")  # noqa: TRY301
        except TooLargeError as error:
            return no_answer(error, sent=True, may_pass=False)
        except aiohttp.ClientConnectorCertificateError as error:
            return no_answer(error, sent=False, may_pass=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return no_answer(error, sent=False)
        except aiohttp.InvalidURL as error:
            return self._unexpected(request, settings, error)
        except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError) as error:
            return no_answer(error, sent=True)
        except (OSError, ValueError) as error:
            return self._unexpected(request, settings, error)
        return Answer(response.status, response.headers, bytes(body))


async def _off_the_loop(
    read: Callable[[Request, Settings, Answer | CallFailure], T | CallFailure],
    request: Request,
    settings: Settings,
    answer: Answer | CallFailure,
) -> T | CallFailure:
    """Read a large answer in a thread: parsing megabytes of JSON would hold up every other trigger."""
    if isinstance(answer, Answer) and len(answer.body) > LARGE_BODY_BYTES:
        return await asyncio.to_thread(read, request, settings, answer)
    return read(request, settings, answer)


def _proxy(settings: Settings, base_url: str) -> str | None:
    """Return the connection's proxy, else the environment's, by the same rules as requests."""
    proxy: str | None = select_proxy(base_url, {**get_environ_proxies(base_url), **settings.proxies})
    return proxy
