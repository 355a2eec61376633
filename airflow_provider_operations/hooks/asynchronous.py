"""The hook for triggers, on aiohttp; nothing in it blocks the event loop."""

from __future__ import annotations

import asyncio
import math
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import tenacity
import yarl
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.providers.http.hooks.http import HttpAsyncHook, SessionConfig

from airflow_provider_operations._airflow.compat import ask_airflow, mask_secret
from airflow_provider_operations._connection.options import ServiceOptions, checked_endpoint
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Outcome, Watch
from airflow_provider_operations._protocol.polling import as_seconds
from airflow_provider_operations._protocol.response import CallFailure, HttpResponse
from airflow_provider_operations.hooks._apart import QUICKLY_READ_BYTES, read_apart
from airflow_provider_operations.hooks._base import (
    CONNECT_TIMEOUT_S,
    Exchange,
    OperationsCalls,
    check_origin,
    counted,
    finished,
    no_token,
    refused_token,
    wanted,
)
from airflow_provider_operations.hooks._body import CHUNK_BYTES, BadEncoding, Body, TooLargeError, late
from airflow_provider_operations.hooks._client import Ready, SharedClient
from airflow_provider_operations.hooks._list_cache import ListCache, parent_of
from airflow_provider_operations.hooks._tokens import NoToken, Token
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType

    from airflow_provider_operations._connection.fields import ConnectionFields
    from airflow_provider_operations._connection.settings import Settings
    from airflow_provider_operations._google_apis.own import ApiDocument
    from airflow_provider_operations._google_apis.table import Method
    from airflow_provider_operations._lifecycle.start_call import StartCall
    from airflow_provider_operations._protocol.request import Request, Service
    from airflow_provider_operations._protocol.retries import Retries
    from airflow_provider_operations._protocol.sent_secrets import SentSecrets
    from airflow_provider_operations.hooks._metrics import Figures

    Look = Callable[..., Awaitable[tuple[Operation | CallFailure, float]]]

LONGEST_WAIT_S = 60.0
"""How long a server is asked to hold an answer back."""

T = TypeVar("T")


class OperationsAsyncHook(OperationsCalls, HttpAsyncHook):
    """
    The same calls as coroutines; arguments as in ``OperationsHook``.

    Use it as an asynchronous context manager, or ``close`` it: it keeps one session.

    What returns an operation decodes it whole, in a thread: one of several MiB holds up the event loop all the same,
    as Python decodes JSON in one go. ``poll``, ``look`` and ``list_page``, by which triggers wait, read an answer of
    more than 48 KiB in a process of its own, and keep what shows how the operation stands: see ``Operation.abridged``.
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
        wait_timeout_in: str | None = None,
        scopes: str | None = None,
        api: str | ApiDocument | None = None,
        endpoint: str | None = None,
        location: str | None = None,
        poll_with: str | None = None,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(http_conn_id=operations_conn_id)
        options = ServiceOptions(
            operations_conn_id,
            base_url,
            path_prefix,
            cancel_suffix,
            cancel_method,
            error_format,
            wait_timeout_in,
            scopes,
        )
        self._keep_arguments(options, retries)
        self._overrides["poll_with"] = poll_with
        self.api, self._endpoint, self._location = api, checked_endpoint(endpoint), location
        self._needs_table = api is not None
        """Whether what the table says of the API isn't among the overrides yet."""
        self._sent_with: tuple[Ready, Token, SentSecrets] | None = None
        """The joined secrets of a connection and of a token, kept."""
        self._client: SharedClient | None = None
        self._polled: tuple[Service, str, Request[Operation]] | None = None
        """The latest request for an operation: a trigger's hook sends the same one again and again."""

    async def settings(self) -> Settings:
        """Return what the connection says, looked up once in 5 minutes for all hooks of the event loop."""
        return (await self._get_ready()).settings

    async def _get_ready(self) -> Ready:
        client = self._shared()
        if self._needs_table:
            fields = await self._fields(client)
            self._overrides = await asyncio.to_thread(self._overrides_by_table, fields)
            self._needs_table = False
        ready = await client.ready(self._overrides, type(self))
        self.base_url = ready.settings.service.base_url
        return ready

    async def _fields(self, client: SharedClient) -> ConnectionFields:
        try:
            return await client.fields(type(self))
        except AirflowNotFoundException as error:
            from airflow_provider_operations.hooks._google_api import another_proposed

            raise another_proposed(error, self.api or "") from error

    def _overrides_by_table(self, fields: ConnectionFields) -> dict[str, Any]:
        """Return the overrides with what the table says beside them; it is read, and imported, only now."""
        from airflow_provider_operations.hooks._google_api import api_in_use

        api = api_in_use(self.api or "", self._location, self._endpoint)
        return api.read(fields, self._overrides)[1]

    def _shared(self) -> SharedClient:
        """Return what all hooks of the connection share; from now on this one is among its users."""
        if self._client is None:
            self._client = SharedClient.of(self.operations_conn_id)
        return self._client

    async def config(self) -> SessionConfig:
        """Return what ``HttpAsyncHook.run`` sends: the connection's headers, and nothing else of it."""
        settings = await self.settings()
        return SessionConfig(
            base_url=settings.service.base_url,
            headers=dict(settings.auth.headers),
            # aiohttp would send all headers but Authorization to wherever a redirect leads.
            extra_options={"allow_redirects": False},
        )

    async def close(self) -> None:
        """Leave the session, which the last hook that uses it closes; the next call opens it again."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.leave()

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
        return wanted(await self._call(request, whole=True), name)

    async def cancel_operation(self, name: str) -> None:
        """Ask the server to cancel the operation; success means asked, not cancelled."""
        wanted(await self.try_cancel(name), name)

    async def delete_operation(self, name: str) -> None:
        """Tell the server that nobody is interested in the result any more; this doesn't cancel."""
        wanted(await self._call((await self.settings()).service.delete_operation(name)), name)

    async def wait_operation(self, name: str, timeout: timedelta | float) -> Operation:
        """Let the server wait until the operation is done, at most ``timeout`` (seconds if a number)."""
        request = (await self.settings()).service.wait_operation(
            name, timedelta(seconds=as_seconds("timeout", timeout))
        )
        return wanted(await self._call(request, whole=True), name)

    async def list_operations(
        self,
        parent: str,
        filter: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Operation]:
        """Iterate over the operations under a parent, page after page."""
        token: str | None = None
        turned: set[bytes] = set()
        while True:
            settings = await self.settings()
            request = settings.service.list_operations(parent, filter, page_size, token)
            operations, token = wanted(await self._call(request, whole=True))
            for operation in operations:
                yield operation
            if not self._goes_on(request, settings, token, turned):
                return

    async def start_operation(
        self,
        path: str,
        *,
        method: str = "POST",
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = False,
        encoded: bool = False,
        validates: bool = False,
        retries: Retries | None = None,
    ) -> Operation:
        """Make a call that answers with an operation."""
        request = self._start_request(
            await self.settings(),
            path,
            method=method,
            json=json,
            query=query,
            headers=headers,
            idempotent=idempotent,
            encoded=encoded,
            validates=validates,
        )
        return wanted(await self._call(request, retries, whole=True))

    async def start_method(
        self,
        api_method: str | Method,
        *,
        parameters: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        retries: Retries | None = None,
    ) -> Operation:
        """Make the call of a method of Google's that starts an operation; the hook is made with the method's ``api``."""
        settings = await self.settings()

        def read_table() -> StartCall:
            from airflow_provider_operations.hooks._google_api import (
                method_of,
                start_call_of,
                warn_without_location,
            )

            method = method_of(api_method, self.api)
            base_url = settings.service.base_url
            call = start_call_of(method, parameters, json, headers, base_url, self._endpoint)
            warn_without_location(method, call.path, base_url)
            return call

        call = await asyncio.to_thread(read_table)
        return await self.start_operation(call.path, **call.arguments(str(uuid.uuid4())), retries=retries)

    async def wait_until_done(
        self,
        name: str,
        *,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float | None = None,
        outage_tolerance: timedelta | float = 600.0,
    ) -> Operation:
        """Poll until the operation is done, however it ended."""
        return finished(await self.watch(Watch.from_now(name, poke_interval, timeout, outage_tolerance)))

    # --- calls that return failures as values ----------------------------------------------------------------

    async def poll(self, name: str, *, first: bool = False, whole: bool = False) -> Operation | CallFailure:
        """
        Ask once for the operation, when it's this request's turn.

        :param first: go before all that wait for a turn, as the last poll was refused as one too many.
        :param whole: don't abridge the operation, however large it is.
        """
        ready = await self._get_ready()
        service = ready.settings.service
        if self._polled is None or self._polled[:2] != (service, name):
            self._polled = (service, name, service.get_operation(name))
        return await self._in_turn(self._polled[2], ready, first=first, whole=whole)

    async def list_page(
        self, parent: str, filter_: str | None, page_size: int, token: str | None
    ) -> tuple[list[Operation], str] | CallFailure:
        """Ask once for a page of a list, when it's this request's turn: its operations, and the next one's token."""
        ready = await self._get_ready()
        request = ready.settings.service.list_operations(parent, filter_, page_size, token)
        return await self._in_turn(request, ready)

    async def look(
        self, name: str, max_age_s: float, *, first: bool = False
    ) -> tuple[Operation | CallFailure, float]:
        """
        Return the operation's state, polled in the way that the connection or ``poll_with`` says.

        :param max_age_s: how old a list may be that has it.
        :param first: see ``poll``.
        :return: what was seen, and for how many seconds the server has held it back, as it was asked to.
        """
        ready = await self._get_ready()
        if ready.settings.poll_with == "wait" and ready.client.may_wait(ready.settings.service):
            asked_s = clock.now()
            seen = await self._wait(name, ready)
            return seen, clock.now() - asked_s
        if ready.settings.poll_with == "list" and (listing := self._list_cache(name, ready)) is not None:
            listed = await listing.look(name, max_age_s)
            if listed is not None:
                return listed, 0.0
            seen = await self.poll(name, first=first)
            if isinstance(seen, Operation) and not seen.done:
                listing.missed()
            return seen, 0.0
        return await self.poll(name, first=first), 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Figures]:
        """Use the hook, and count one more operation that is waited for."""
        async with self:
            figures = self._shared().figures
            figures.watched(1)
            try:
                yield figures
            finally:
                figures.watched(-1)

    def _list_cache(self, name: str, ready: Ready) -> ListCache | None:
        """Return the list that should have an operation, shared by all on this loop that watch one under its parent."""
        if (parent := parent_of(name)) is None:
            return None
        key = (ready.settings.service, parent)
        listing = ready.client.list_caches.get(key)
        if listing is None:
            # It has a hook of its own, as it outlives the one that came first.
            other = type(self)(self.operations_conn_id, **self._overrides, retries=self.retries)
            listing = ready.client.list_caches[key] = ListCache(parent, other._page_in_turn)
        return listing

    async def _page_in_turn(
        self, parent: str, page_size: int, token: str | None
    ) -> tuple[list[Operation], str] | CallFailure:
        async with self:
            ready = await self._get_ready()
            return await self.list_page(parent, ready.settings.list_filter or None, page_size, token)

    async def _wait(self, name: str, ready: Ready) -> Operation | CallFailure:
        """Ask the server to hold its answer back until the operation is done; poll where it can't."""
        service = ready.settings.service
        # Not among the connection's slots: it holds one for up to a minute, and costs the server nothing.
        seen = await self._ask(service.wait_operation(name, timedelta(seconds=LONGEST_WAIT_S)), ready)
        ready.client.figures.polled(failed=not isinstance(seen, Operation), throttled_s=0.0)
        if isinstance(seen, Operation) or seen.transient:
            return seen
        found = await self.poll(name)
        if isinstance(found, Operation) and seen.http_status in {404, 405, 501}:
            ready.client.has_no_wait(service, seen.problem)
        return found

    async def try_cancel(self, name: str, retries: Retries | None = None) -> CallFailure | None:
        """Ask for the cancellation; return what went wrong, if anything."""
        request = (await self.settings()).service.cancel_operation(name)
        return await self._call(request, retries)

    async def watch(self, watch: Watch, *, look: Look | None = None, pause_s: float = 0.0) -> Outcome:
        """
        Poll until the watch has an outcome, logging what is new.

        :param look: polls once, as ``look`` does; by default that, and an operation that is done is read whole.
        :param pause_s: how long the caller has paused since an earlier poll.
        """
        first = False
        while True:
            if look is not None:
                seen, held_s = await look(watch.name, pause_s / 2, first=first)
            else:
                seen, held_s = await self._look_whole(watch, pause_s / 2, first=first)
            verdict = watch.judge(seen, clock.now())
            for line in watch.take_news():
                self.log.info("%s", line)
            if isinstance(verdict, Outcome):
                return verdict
            pause_s = verdict
            first = isinstance(seen, CallFailure) and seen.asks_for_less
            # A server that was asked to wait has held its answer back; the pause is over by then.
            await clock.asleep(max(pause_s - held_s, 0.0))

    async def _look_whole(
        self, watch: Watch, max_age_s: float, *, first: bool
    ) -> tuple[Operation | CallFailure, float]:
        left_s = math.inf if watch.deadline_epoch_s is None else watch.deadline_epoch_s - clock.now()
        if left_s < LONGEST_WAIT_S:  # a service that is asked to wait would answer too late
            seen, held_s = await self.poll(watch.name, first=first), 0.0
        else:
            seen, held_s = await self.look(watch.name, max_age_s, first=first)
        if isinstance(seen, Operation) and seen.done and seen.abridged:
            return await self.poll(watch.name, first=True, whole=True), held_s
        return seen, held_s

    async def test_connection(self) -> tuple[bool, str]:
        """List one operation; a server that has no list is reachable all the same."""
        try:
            ready = await self._get_ready()
            request = ready.settings.service.list_operations("", None, 1, None)
            seen = await self._ask(request, ready)
            return self._verdict_on_connection(ready.settings, seen)
        except Exception as error:  # the caller shows the text, whatever went wrong
            return False, str(error)
        finally:
            await self.close()

    # --- sending ---------------------------------------------------------------------------------------------

    async def _call(
        self, request: Request[T], retries: Retries | None = None, *, whole: bool = False
    ) -> T | CallFailure:
        async def attempt() -> T | CallFailure:
            return await self._ask(request, await self._get_ready(), whole=whole)

        retrying = tenacity.AsyncRetrying(
            **(retries or self.retries).options(request, self.log), sleep=clock.asleep
        )
        return counted(await retrying(attempt), retrying.statistics)

    async def _in_turn(
        self, request: Request[T], ready: Ready, *, first: bool = False, whole: bool = False
    ) -> T | CallFailure:
        """Send once, in turn; a request that the server refuses as one too many slows all down."""
        client = ready.client
        rate_limiter = client.rate_limiter
        throttled_s = 0.0 if rate_limiter.rate_per_s is None else await rate_limiter.turn(first=first)
        async with client.slots:
            result = await self._ask(request, ready, whole=whole)
        if isinstance(result, CallFailure) and result.asks_for_less:
            rate_limiter.refused()
        else:
            rate_limiter.accepted()
        client.figures.polled(failed=isinstance(result, CallFailure), throttled_s=throttled_s)
        return result

    async def _ask(self, request: Request[T], ready: Ready, *, whole: bool = False) -> T | CallFailure:
        """Send a request once and read its answer; if that names another operation, send it once more, alone."""
        result = await self._ask_once(request, ready, whole=whole)
        again = self._again(request, result)
        if again is None:
            return result
        first, result = result, await self._ask_once(again, ready, whole=whole)
        self._note_other_name(again, first, result)
        return result

    async def _ask_once(self, request: Request[T], ready: Ready, *, whole: bool) -> T | CallFailure:
        answer = await self._exchange(request, ready)
        if not isinstance(answer, HttpResponse) or len(answer.body) <= QUICKLY_READ_BYTES:
            return self._read(request, answer)
        if whole:
            return await asyncio.to_thread(self._read, request, answer)
        return await read_apart(
            answer.body,
            lambda abridged: self._read(request, replace(answer, abridged=abridged)),
            ready.client.reading_apart,
        )

    async def _exchange(self, request: Request[Any], ready: Ready) -> HttpResponse | CallFailure:
        """Send a request once; where the service refuses a token, once more with a new one."""
        if ready.tokens is None:
            return await self._send(request, ready, ready.secrets, {})
        rejected: Token | None = None
        while True:
            try:
                token = await ready.tokens.aget(rejected)
            except NoToken as error:
                return no_token(request, ready.settings, error)
            secrets = await self._secrets_with(token, ready)
            answer = await self._send(request, ready, secrets, token.headers)
            if rejected is not None or not refused_token(answer):
                return answer
            rejected = token

    async def _secrets_with(self, token: Token, ready: Ready) -> SentSecrets:
        """Return the secrets of a request with this token, once Airflow has been told to mask them."""
        if self._sent_with is not None and self._sent_with[0] is ready and self._sent_with[1] is token:
            return self._sent_with[2]
        if token.secret != ready.client.masked:
            await ask_airflow(mask_secret, token.to_mask)
            ready.client.masked = token.secret
        secrets = ready.secrets + token.secrets
        self._sent_with = (ready, token, secrets)
        return secrets

    async def _send(
        self, request: Request[Any], ready: Ready, secrets: SentSecrets, token: Mapping[str, str]
    ) -> HttpResponse | CallFailure:
        base_url = ready.settings.service.base_url
        exchange = Exchange(request, ready.settings, secrets, token)
        session = ready.client.new_session() if request.alone else ready.client.session
        try:
            url = yarl.URL(exchange.url, encoded=True)
            check_origin(base_url, url.scheme, url.raw_host, url.port)
            async with session.request(
                request.method,
                url,
                data=exchange.body,
                headers=exchange.headers,
                timeout=_timeouts(exchange.timeout_s),
                allow_redirects=False,
                ssl=ready.tls,
                proxy=ready.proxy,
            ) as response:
                body = await _body(response)
        except TooLargeError as error:
            return exchange.failed(error, sent=True, transient=False)
        except BadEncoding as error:
            return exchange.failed(error, sent=True)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL) as error:
            return exchange.failed(error, sent=False, transient=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return exchange.failed(error, sent=False)
        except (TimeoutError, asyncio.TimeoutError):
            return exchange.failed(late(), sent=True)
        except aiohttp.ClientError as error:
            return exchange.failed(error, sent=True)
        except (OSError, ValueError) as error:
            return exchange.failed(error, sent=False, transient=False)
        finally:
            if request.alone:
                await session.close()
        return exchange.answered(response.status, response.headers, body)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = Body(response.headers.get("content-encoding"))
    while chunk := await response.content.read(CHUNK_BYTES):
        body.add(chunk)
    return await asyncio.to_thread(body.whole) if body.is_costly else body.whole()


@lru_cache
def _timeouts(total_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, sock_connect=min(CONNECT_TIMEOUT_S, total_s))
