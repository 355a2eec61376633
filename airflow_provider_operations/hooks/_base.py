"""What the sync and the async hook share: arguments, making requests, telling failures apart."""

from __future__ import annotations

import base64
import json as jsonlib
import logging
import os
import re
import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_provider_operations import __version__
from airflow_provider_operations._connection.credentials import ClientCredentials, GoogleCredentials
from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.readers import is_named
from airflow_provider_operations._protocol.rendering import one_line
from airflow_provider_operations._protocol.request import InvalidRequest, Request
from airflow_provider_operations._protocol.response import CallFailure, HttpResponse
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations._protocol.sent_secrets import SentSecrets
from airflow_provider_operations._protocol.urls import Origin, origin_of
from airflow_provider_operations.exceptions import OperationEventError, error_of, error_of_call
from airflow_provider_operations.hooks._body import ACCEPT_ENCODING
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_operations._connection.options import ServiceOptions
    from airflow_provider_operations._connection.settings import Settings
    from airflow_provider_operations.hooks._tokens import NoToken

MAX_OTHER_NAMES = 1000
"""So many operations of a hook are remembered that the service calls by another name."""

MAX_PAGES = 10_000
"""So many pages of one list are read."""

CONNECT_TIMEOUT_S = 10.0

_USER_AGENT = f"airflow-provider-operations/{__version__}"

T = TypeVar("T")

log = logging.getLogger(__name__)


class OperationsCalls:
    """What both hooks share: their arguments, and how requests are made and answers read."""

    operations_conn_id: str
    retries: Retries
    _overrides: dict[str, Any]

    def _keep_arguments(self, options: ServiceOptions, retries: Retries | None) -> None:
        self._answers_as: dict[str, str] = {}
        """The other name by which the service certainly calls an operation, by the name that was asked for."""
        self.retries = retries or Retries()
        self._overrides = options.arguments()
        self.operations_conn_id = self._overrides.pop("operations_conn_id")

    @staticmethod
    def _start_request(
        settings: Settings,
        path: str,
        *,
        method: str,
        json: Any,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        idempotent: bool,
        encoded: bool = False,
        validates: bool = False,
    ) -> Request[Operation]:
        """
        Make the request of a start.

        :raises InvalidRequest: among others, it would replace the connection's credentials: what is started is
            asked for and cancelled with these, and whose they are is the connection's to say.
        """
        own = {name.lower() for name in settings.auth.headers if _is_credential(name)}
        if settings.auth.tokens is not None:
            own.add("authorization")
        for name in headers or {}:
            if str(name).lower() in own:
                raise InvalidRequest(
                    f"header {str(name)[:100]!r} of the start would replace the connection's credentials; use "
                    "another connection"
                )
        return settings.service.start_operation(
            path,
            method=method,
            body=json,
            query=query,
            headers=headers,
            idempotent=idempotent,
            encoded=encoded,
            validates=validates,
        )

    def _again(self, request: Request[T], result: T | CallFailure) -> Request[T] | None:
        """
        Return the request to send again, alone, if its answer names an operation that wasn't asked for.

        A connection that is shared may have brought the answer to another request. Or the service calls the operation
        by another name, e.g. with the number of a project for its id.
        """
        name = request.operation
        if name is None or not isinstance(result, Operation) or is_named(result, name) or request.alone:
            return None
        known = self._answers_as.get(name)
        return None if known and known == result.name else replace(request, alone=True)

    def _note_other_name(self, request: Request[Any], first: object, result: object) -> None:
        """Remember the other name that came over a connection of its own, where it can't be another's answer."""
        name = request.operation
        if name is None or not isinstance(result, Operation) or not isinstance(first, Operation):
            return
        if first.name != result.name:
            log.warning(
                "%s: the server answered with %s, which was not asked for; over a connection of its own it answers "
                "with %s",
                name, one_line(first.name, 300) or "no name", one_line(result.name, 300) or "no name",
            )  # fmt: skip
        if len(self._answers_as) >= MAX_OTHER_NAMES:
            self._answers_as.clear()
        if not is_named(result, name):
            self._answers_as[name] = result.name

    @staticmethod
    def _read(request: Request[T], response: HttpResponse | CallFailure) -> T | CallFailure:
        if isinstance(response, CallFailure):
            return response
        return request.read(response, datetime.now(timezone.utc))

    @staticmethod
    def _goes_on(request: Request[Any], settings: Settings, token: str, turned: set[bytes]) -> bool:
        """
        Tell whether a page token leads to a page that wasn't read before; remembers it as read.

        :raises OperationsCallErrorFinal: there is no end of pages.
        """
        digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = digest in turned
        turned.add(digest)
        if token and not known and len(turned) >= MAX_PAGES:
            problem = f"the list has more than {MAX_PAGES} pages; give a filter, or a larger page size"
            raise error_of_call(CallFailure.no_end(request, settings.service.base_url, problem))
        return bool(token) and not known

    @staticmethod
    def _verdict_on_connection(settings: Settings, seen: object) -> tuple[bool, str]:
        where = settings.service.base_url
        if not isinstance(seen, CallFailure):
            return True, f"{where} lists operations"
        if seen.http_status in {400, 404, 405, 501}:
            said = f"{seen.problem}: {seen.status.code_name}" if seen.names_code else seen.problem
            no_api = "" if seen.names_code else "; if that isn't an API, look at host and path_prefix"
            return True, (
                f"{where} answers, but lists no operations ({said}), so whether it takes the credentials isn't known"
                f"{no_api}"
            )
        return False, str(error_of_call(seen))


class Exchange:
    """
    One request on its way: what is sent, and what is made of what comes back.

    :param secrets: all that it is sent with but for its own headers, those of the token included.
    :param token: headers that have it.
    """

    def __init__(
        self, request: Request[Any], settings: Settings, secrets: SentSecrets, token: Mapping[str, str]
    ) -> None:
        self._request = request
        self._settings = settings
        own = list(secret_headers(request.headers))
        self._secrets = secrets + SentSecrets(own) if own else secrets
        self._token = token
        self.url = settings.service.base_url + request.target
        self.timeout_s = request.timeout_s or settings.timeout_s

    @property
    def headers(self) -> dict[str, str]:
        """What is sent before the body; the request's own win, then the token's."""
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": ACCEPT_ENCODING,
            "User-Agent": _USER_AGENT,
            **self._settings.auth.headers,
            **self._token,
        }
        if self._request.body is not None:
            headers["Content-Type"] = "application/json"
        return {**headers, **self._request.headers}

    @property
    def body(self) -> bytes | None:
        """What is sent as the body."""
        return None if self._request.body is None else jsonlib.dumps(self._request.body).encode()

    def answered(self, http_status: int, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Return what came back."""
        request = self._request
        url = request.url(self._settings.service.base_url)
        return HttpResponse(request.method, url, http_status, headers, body, self._secrets)

    def failed(self, why: BaseException | str, *, sent: bool, transient: bool = True) -> CallFailure:
        """Describe why nothing came back."""
        problem = why if isinstance(why, str) else cause_of(why, self._secrets.hidden_in)
        base_url = self._settings.service.base_url
        return CallFailure.no_answer(self._request, base_url, problem, sent=sent, transient=transient)


def no_token(request: Request[Any], settings: Settings, error: NoToken) -> CallFailure:
    """Describe a request that wasn't sent, as there is no token for it."""
    problem = f"no token: {error}"
    return CallFailure.no_answer(
        request, settings.service.base_url, problem, sent=False, transient=error.transient
    )


def check_origin(base_url: str, scheme: str | None, host: str | None, port: int | None) -> None:
    """
    Compare where an HTTP client will send a request, by its own reading of the URL, with what was checked.

    :param host: an IPv6 address with or without brackets.
    :param port: ``None``: the scheme's.
    :raises InvalidConnection: it's somewhere else.
    """
    sends_to = Origin.of(scheme or "", (host or "").strip("[]"), port)
    if sends_to != origin_of(base_url):
        raise InvalidConnection(
            f"the request would go to {sends_to.scheme}://{sends_to.host}:{sends_to.port} instead of {base_url}"
        )


def cause_of(error: BaseException, hide: Callable[[str], str]) -> str:
    """
    Name the innermost cause: what wraps it repeats URLs, and queries may hold keys.

    :param hide: takes secrets out of its text before that is cut.
    """
    seen = {id(error)}
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, Exception):
            inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if inner is None:
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        # A time-out of asyncio is caused by a cancellation, which says less.
        if not isinstance(inner, Exception) or id(inner) in seen:
            # One line of text, whatever bytes of the server's are in it.
            text = one_line(hide(str(error)), 300)
            return f"{type(error).__name__}: {text}" if text else type(error).__name__
        seen.add(id(inner))
        error = inner


def tls_of(settings: Settings) -> ssl.SSLContext | bool:
    """
    Return how to check the server's certificate and what to show of our own; reads files.

    :return: true for the usual, false for unchecked, or a context.
    :raises InvalidConnection: a file can't be read, or isn't what it should be.
    """
    verify, cert = settings.verify, settings.cert
    if verify is True:  # as requests does
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, bool) and cert is None:
        return verify
    try:
        if isinstance(verify, bool):
            context = ssl.create_default_context()
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        elif os.path.isdir(verify):
            context = ssl.create_default_context(capath=verify)
        else:
            context = ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise InvalidConnection(
            f"'verify' names a CA bundle that can't be read, {verify!r}: {error}"
        ) from error
    if cert is not None:
        try:
            # A key with a password would be asked for at the terminal.
            context.load_cert_chain(*cert, password=lambda: "")
        except OSError as error:
            raise InvalidConnection(
                f"'cert' names a client certificate that can't be read, {' and '.join(cert)}: {error}"
            ) from error
    return context


def counted(result: T | CallFailure, statistics: Mapping[str, Any]) -> T | CallFailure:
    """Return the result of tenacity's work; a failure says how often it was sent, whatever ended it."""
    if isinstance(result, CallFailure):
        return replace(result, attempts=statistics["attempt_number"])
    return result


def refused_token(answer: HttpResponse | CallFailure) -> bool:
    """Tell whether the service didn't take the token: it has done nothing, so even a start may be sent again."""
    return isinstance(answer, HttpResponse) and answer.http_status == 401


def wanted(result: T | CallFailure, name: str | None = None) -> T:
    """Return the result of a call, or raise what its failure calls for."""
    if isinstance(result, CallFailure):
        raise error_of_call(result, name)
    return result


def finished(outcome: Outcome) -> Operation:
    """Return the operation of an outcome, or raise what a wait without an end calls for."""
    if outcome.kind is Kind.DONE and outcome.operation:
        return outcome.operation
    # Only an operation that is done calls for no error.
    raise error_of(outcome, final=lambda _: False) or OperationEventError(f"{outcome.name} has no outcome")


def secrets_of(settings: Settings) -> SentSecrets:
    """Return what is sent and must not be shown: credentials in headers, client secrets, passwords of proxies."""
    secrets = list(secret_headers(settings.auth.headers))
    tokens = settings.auth.tokens
    if isinstance(tokens, ClientCredentials):
        secrets += [tokens.client_secret, f"{tokens.client_id}:{tokens.client_secret}"]
    elif tokens is not None and tokens.key:
        key = jsonlib.loads(tokens.key)
        secrets += [value for name in _KEY_SECRETS if isinstance(value := key.get(name), str) and value]
    secrets += [password for url in settings.proxies.values() if (password := urlsplit(url).password)]
    return SentSecrets(secrets)


def _is_credential(header: str) -> bool:
    """Tell by its name whether a header's value is to be kept secret."""
    return _SECRET_NAME.search(header) is not None


def to_mask(settings: Settings, secrets: SentSecrets) -> list[Any]:
    """Return what Airflow's masker is to know: what is sent, and private keys, which aren't."""
    tokens = settings.auth.tokens
    key = (
        jsonlib.loads(tokens.key).get("private_key")
        if isinstance(tokens, GoogleCredentials) and tokens.key
        else None
    )
    if not isinstance(key, str) or not key.strip():
        return secrets.forms
    # Without the line break at its end, which may be cut; and as JSON and ``repr`` write it.
    return [*secrets.forms, key.strip(), jsonlib.dumps(key.strip())[1:-1]]


def secret_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the credentials in headers, those of Basic decoded, too."""
    for name, value in headers.items():
        if name.lower() == "authorization":
            yield value
            scheme, _, credentials = value.partition(" ")
            yield credentials or value
            if scheme.lower() == "basic":
                with suppress(ValueError):
                    pair = base64.b64decode(credentials).decode()
                    yield pair
                    yield pair.partition(":")[2]
        elif _is_credential(name):
            yield value


_KEY_SECRETS = ("client_secret", "refresh_token")
_SECRET_NAME = re.compile("auth|key|token|secret|password|cookie|credential", re.IGNORECASE)
