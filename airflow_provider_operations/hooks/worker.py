"""
The client for workers, on requests.

It is all of ``OperationsHook`` but what that has of Airflow's http provider, whose import takes longer than ours: tasks
use this one.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import parse_url

from airflow_provider_operations._airflow.compat import mask_secret
from airflow_provider_operations._connection.fields import ConnectionFields
from airflow_provider_operations._connection.options import ServiceOptions, checked_endpoint
from airflow_provider_operations._connection.settings import Settings, read_settings
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Outcome, Watch
from airflow_provider_operations._protocol.polling import as_seconds
from airflow_provider_operations._protocol.response import CallFailure, HttpResponse
from airflow_provider_operations._protocol.sent_secrets import SentSecrets
from airflow_provider_operations.hooks._base import (
    CONNECT_TIMEOUT_S,
    Exchange,
    OperationsCalls,
    check_origin,
    counted,
    finished,
    no_token,
    refused_token,
    secret_headers,
    secrets_of,
    tls_of,
    to_mask,
    wanted,
)
from airflow_provider_operations.hooks._body import TooLargeError
from airflow_provider_operations.hooks._deadline_adapter import BoundedAdapter
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from airflow_provider_operations._google_apis.own import ApiDocument
    from airflow_provider_operations._protocol.request import Request
    from airflow_provider_operations._protocol.retries import Retries
    from airflow_provider_operations.hooks._tokens import Token, TokenSource

__all__ = ["WorkerClient"]

T = TypeVar("T")
Client = TypeVar("Client", bound="WorkerClient")


class WorkerClient(OperationsCalls, BaseHook):
    """Get, cancel, list, delete, wait for and start operations; ``OperationsHook`` documents arguments and errors."""

    default_conn_name = "operations_default"
    conn_type = "operations"
    reads_apart = False
    """Whether a large answer is abridged by a process of its own; what is kept shows how the operation stands."""
    asks_again = False
    """
    Whether Airflow is asked anew for another connection that brings the credentials, for each token.

    Not in a task: it would be asked in another thread, while a supervisor answers one question after the other.
    """

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
        retries: Retries | None = None,
    ) -> None:
        super().__init__(**self._arguments_of_airflow(operations_conn_id))
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
        self.api, self._endpoint, self._location = api, checked_endpoint(endpoint), location
        self._settings: Settings | None = None
        self._sent = SentSecrets()
        """The secrets that requests were sent with so far."""
        self._session: requests.Session | None = None
        self._masks = True
        self._masked: Token | None = None

    @staticmethod
    def _arguments_of_airflow(_: str) -> dict[str, Any]:
        """Return the arguments of Airflow's base class, by the connection's id."""
        return {}

    @property
    def settings(self) -> Settings:
        """What the connection says."""
        return self.look_up()

    def look_up(self) -> Settings:
        """Look the connection up, once; return what it says."""
        if self._settings is None:
            connection = self._connection()
            fields = ConnectionFields.of(connection, connection.extra_dejson, self.conn_type)
            if self.api is None:
                settings = read_settings(fields, self._overrides)
            else:
                from airflow_provider_operations.hooks._google_api import api_in_use

                api = api_in_use(self.api, self._location, self._endpoint)
                settings, self._overrides = api.read(fields, self._overrides)
            self._sent = secrets_of(settings)
            mask_secret(to_mask(settings, self._sent))
            tls_of(settings)
            if settings.auth.tokens is not None:  # now, as a kill's thread had better import nothing
                import_module("airflow_provider_operations.hooks._tokens")
            self._settings = settings
        return self._settings

    def _connection(self) -> Any:
        """
        Return Airflow's connection; where it is missing, the error proposes another, which is never taken by itself.

        :raises AirflowNotFoundException: there is none.
        """
        try:
            return self.get_connection(self.operations_conn_id)
        except AirflowNotFoundException as error:
            if self.api is None:
                raise
            from airflow_provider_operations.hooks._google_api import another_proposed

            raise another_proposed(error, self.api) from error

    @property
    def options(self) -> ServiceOptions:
        """What a hook has to be made with to ask the same service, without a table; looks the connection up."""
        self.look_up()
        return ServiceOptions(self.operations_conn_id, **self._overrides)

    def new_session(self, headers: Mapping[str, str] | None = None) -> requests.Session:
        """Return a session with the connection's headers, proxies and TLS settings, and nothing else of it."""
        settings = self.settings
        session = _Session(settings.service.base_url)
        session.headers.update(_in_utf8({**settings.auth.headers, **(headers or {})}))
        session.verify = settings.verify
        session.cert = settings.cert
        session.proxies.update(settings.proxies)
        # Without an auth of its own, requests would look for one in ~/.netrc.
        session.auth = _leave_as_is
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = BoundedAdapter()
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session

    def detached(self: Client, *, timeout_s: float = math.inf) -> Client:
        """
        Return a client that shares the settings but no session: for a signal handler or another thread.

        :param timeout_s: how long a request may take, unless the connection says less.
        """
        client = copy(self)
        client._settings = replace(self.settings, timeout_s=min(self.settings.timeout_s, timeout_s))
        client._session = None
        client._answers_as = {}
        # Telling Airflow to mask a renewed token could deadlock; it isn't logged anyway.
        client._masks = False
        return client

    def close(self) -> None:
        """Close the session; the next call opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self: Client) -> Client:
        """Use it as a context manager that closes its session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    # --- calls ---------------------------------------------------------------------------------------------

    def get_operation(self, name: str) -> Operation:
        """Return the operation's latest state."""
        return wanted(self._call(self.settings.service.get_operation(name)), name)

    def cancel_operation(self, name: str) -> None:
        """
        Ask the server to cancel the operation; success means asked, not cancelled.

        :raises OperationsCallErrorFinal: among others with ``Code.UNIMPLEMENTED``: the server can't cancel.
        """
        wanted(self.try_cancel(name), name)

    def delete_operation(self, name: str) -> None:
        """Tell the server that nobody is interested in the result any more; this doesn't cancel."""
        wanted(self._call(self.settings.service.delete_operation(name)), name)

    def wait_operation(self, name: str, timeout: timedelta | float) -> Operation:
        """
        Let the server wait until the operation is over, at most ``timeout`` (seconds if a number).

        :return: the latest state, which may still be running.
        """
        longest = timedelta(seconds=as_seconds("timeout", timeout))
        return wanted(self._call(self.settings.service.wait_operation(name, longest)), name)

    def list_operations(
        self,
        parent: str,
        filter: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Operation]:
        """
        Iterate over the operations under a parent, page after page.

        :param parent: e.g. ``projects/p/locations/l``; empty for all of the service.
        :param filter: in the service's filter language, e.g. ``done=false``.
        :raises OperationsCallErrorFinal: among others, there are more than ``MAX_PAGES`` (10,000) pages.
        """
        token: str | None = None
        turned: set[bytes] = set()
        while True:
            request = self.settings.service.list_operations(parent, filter, page_size, token)
            operations, token = wanted(self._call(request))
            yield from operations
            if not self._goes_on(request, self.settings, token, turned):
                return

    def start_operation(
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
        """
        Make a call that answers with an operation.

        :param path: below the prefix; with a leading ``/`` below the base URL instead.
        :param json: any JSON value for the body.
        :param query: query parameters.
        :param idempotent: true only when a request id in it lets the server recognise a repetition.
        :param encoded: the path is percent-encoded already, and begins with ``/``.
        :param validates: the service is asked only whether it would start an operation; what it answers counts as done.
        """
        request = self._start_request(
            self.settings,
            path,
            method=method,
            json=json,
            query=query,
            headers=headers,
            idempotent=idempotent,
            encoded=encoded,
            validates=validates,
        )
        if secrets := list(secret_headers(request.headers)):
            sent = SentSecrets(secrets)
            self._knows(sent, sent.forms)
        return wanted(self._call(request, retries))

    def wait_until_done(
        self,
        name: str,
        *,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float | None = None,
        outage_tolerance: timedelta | float = 600.0,
    ) -> Operation:
        """
        Poll until the operation is over, however it ended.

        :param poke_interval: longest pause between polls; they begin at half a second.
        :param outage_tolerance: how long the server may give no usable answer.
        :raises OperationTimeout: still running after ``timeout``.
        :raises OperationsCallError: no usable answer for ``outage_tolerance``; the operation is gone; or for a minute
            from the first poll on what looks as if it would stay so, such as 403.
        """
        return finished(self.watch(Watch.from_now(name, poke_interval, timeout, outage_tolerance)))

    # --- calls that return failures as values ----------------------------------------------------------------

    def poll(self, name: str) -> Operation | CallFailure:
        """Ask once for the operation."""
        return self._ask(self.settings.service.get_operation(name))

    def list_page(
        self, parent: str, filter_: str | None, page_size: int, token: str | None, retries: Retries
    ) -> tuple[list[Operation], str] | CallFailure:
        """Ask for a page of a list: its operations, and the next one's token."""
        return self._call(self.settings.service.list_operations(parent, filter_, page_size, token), retries)

    def try_cancel(self, name: str, retries: Retries | None = None) -> CallFailure | None:
        """Ask for the cancellation; return what went wrong, if anything."""
        return self._call(self.settings.service.cancel_operation(name), retries)

    def cancel_unless_over(self, name: str) -> CallFailure | None:
        """Ask for the cancellation; a refusal because there is nothing left to cancel is no failure."""
        failure = self.try_cancel(name)
        if failure is None or failure.transient:
            return failure
        seen = self.poll(name)
        return None if isinstance(seen, Operation) and seen.done else failure

    def watch(
        self,
        watch: Watch,
        *,
        seen: Operation | CallFailure | None = None,
        pause: Callable[[float], None] | None = None,
        on_poll: Callable[[Watch], None] | None = None,
    ) -> Outcome:
        """
        Poll until the watch has an outcome.

        :param seen: what the caller knows already, instead of a first poll; it doesn't count as found by a poll.
        :param pause: sleeps between two polls, or raises to wait elsewhere.
        :param on_poll: called after every poll; ``None`` logs what is new.
        """
        while True:
            found = watch.found
            verdict = watch.judge(self.poll(watch.name) if seen is None else seen, clock.now())
            if seen is not None:
                watch.found = found
            (on_poll or self.log_news)(watch)
            if isinstance(verdict, Outcome):
                return verdict
            (pause or clock.sleep)(verdict)
            seen = None

    def log_news(self, watch: Watch) -> None:
        """Log what is new since the last poll."""
        for line in watch.take_news():
            self.log.info("%s", line)

    def test_connection(self) -> tuple[bool, str]:
        """List one operation; a server that has no list is reachable all the same."""
        try:
            seen = self._ask(self.settings.service.list_operations("", None, 1, None))
            return self._verdict_on_connection(self.settings, seen)
        except Exception as error:  # the UI shows the text, whatever went wrong
            return False, str(error)
        finally:
            self.close()

    # --- sending ---------------------------------------------------------------------------------------------

    def _call(self, request: Request[T], retries: Retries | None = None) -> T | CallFailure:
        retrying = tenacity.Retrying(
            **(retries or self.retries).options(request, self.log), sleep=clock.sleep
        )
        return counted(retrying(self._ask, request), retrying.statistics)

    def _ask(self, request: Request[T]) -> T | CallFailure:
        """Send a request once and read its answer; if that names another operation, send it once more, alone."""
        result = self._read(request, self._readable(self._exchange(request)))
        again = self._again(request, result)
        if again is None:
            return result
        first, result = result, self._read(again, self._readable(self._exchange(again)))
        self._note_other_name(again, first, result)
        return result

    def _readable(self, answer: HttpResponse | CallFailure) -> HttpResponse | CallFailure:
        if not self.reads_apart or isinstance(answer, CallFailure):
            return answer
        from airflow_provider_operations.hooks._apart import QUICKLY_READ_BYTES, abridged

        if len(answer.body) <= QUICKLY_READ_BYTES:
            return answer
        return replace(answer, abridged=abridged(answer.body))

    def _exchange(self, request: Request[Any]) -> HttpResponse | CallFailure:
        """Send a request once; where the service refuses a token, once more with a new one."""
        source = self._token_source()
        if source is None:
            return self._send(request, {})
        from airflow_provider_operations.hooks._tokens import NoToken

        rejected: Token | None = None
        while True:
            try:
                token = source.get(rejected, may_ask=self.asks_again)
            except NoToken as error:
                return no_token(request, self.settings, error)
            if token is not self._masked:
                self._knows(token.secrets, token.to_mask)
                self._masked = token
            answer = self._send(request, token.headers)
            if rejected is not None or not refused_token(answer):
                return answer
            rejected = token

    def _token_source(self) -> TokenSource | None:
        """Return the source of the connection's tokens; what it takes is loaded only if it has any."""
        settings = self.settings
        if settings.auth.tokens is None:
            return None
        from airflow_provider_operations.hooks._tokens import token_source_of

        return token_source_of(settings)

    def _knows(self, secrets: SentSecrets, to_mask: list[Any]) -> None:
        """Remember secrets that are about to be sent, and have Airflow mask them."""
        if self._masks:
            mask_secret(to_mask)
        self._sent = self._sent + secrets

    def _send(self, request: Request[Any], token: Mapping[str, str]) -> HttpResponse | CallFailure:
        settings = self.settings
        exchange = Exchange(request, settings, self._sent, token)
        try:
            with (
                self._session_for(request) as session,
                session.request(
                    request.method,
                    exchange.url,
                    data=exchange.body,
                    headers=_in_utf8(exchange.headers),
                    timeout=(min(CONNECT_TIMEOUT_S, exchange.timeout_s), exchange.timeout_s),
                    # Here, and not only in the session: REQUESTS_CA_BUNDLE and HTTPS_PROXY would override that.
                    verify=settings.verify,
                    proxies=dict(settings.proxies),
                    allow_redirects=False,
                ) as response,
            ):
                body = response.content
        except TooLargeError as error:
            return exchange.failed(error, sent=True, transient=False)
        except requests.exceptions.InvalidHeader:
            # Its text repeats the value, which may be a credential.
            problem = "InvalidHeader: a header's value is not what HTTP can carry"
            return exchange.failed(problem, sent=False, transient=False)
        except requests.exceptions.SSLError as error:
            # Only a refused certificate certainly comes before the request; a TLS stream may break after it.
            distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            return exchange.failed(error, sent=not distrusted, transient=not distrusted)
        except requests.exceptions.ConnectTimeout as error:
            return exchange.failed(error, sent=False)
        except requests.exceptions.ConnectionError as error:
            return exchange.failed(error, sent=not _never_connected(error))
        except (
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            return exchange.failed(error, sent=True)
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            return exchange.failed(error, sent=False, transient=False)
        return exchange.answered(response.status_code, response.headers, body)

    @contextmanager
    def _session_for(self, request: Request[Any]) -> Iterator[requests.Session]:
        """Lend the hook's session, or, for a request that goes alone, one that is closed after it."""
        if request.alone:
            with self.new_session() as session:
                yield session
            return
        if self._session is None:
            self._session = self.new_session()
        yield self._session


class _Session(requests.Session):
    """
    A session for one origin, that leaves alone what a redirect says that isn't to be followed.

    :param base_url: of the origin.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """
        Send a request if it goes where it should, by the parser that made its URL and by the one that connects.

        :raises InvalidConnection: it doesn't.
        """
        url = request.url or ""
        for parts in (parse_url(url), urlsplit(url)):
            check_origin(self._base_url, parts.scheme, parts.hostname, parts.port)
        return super().send(request, **kwargs)

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """
        Follow redirects where that is asked for, but don't prepare a request for ``Response.next``.

        To do so, requests reads the whole body, however long, and stumbles over a Location that is no URL.
        """
        if not kwargs.get("yield_requests"):
            yield from super().resolve_redirects(*args, **kwargs)


def _in_utf8(headers: Mapping[str, str]) -> dict[str, str | bytes]:
    """Encode headers as aiohttp does, so that a service gets the same from worker and triggerer; requests: Latin-1."""
    return {
        name: value.encode() if isinstance(value, str) and not value.isascii() else value
        for name, value in headers.items()
    }


def _leave_as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Do what an auth object of requests does when there is nothing to add."""
    return request


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    """Return whether no connection came about, so that the request can't have reached the server."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
