"""
Tokens: fetched in a thread of their own, once for everybody who needs the same, and kept in memory only.

google-auth and authlib are optional (extras ``google`` and ``oauth2``) and imported when a token is needed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import tenacity

from airflow_provider_operations._airflow.compat import ask_airflow
from airflow_provider_operations._airflow.redaction import without_secrets
from airflow_provider_operations._connection.credentials import (
    ClientCredentials,
    GoogleCredentials,
    with_checked_addresses,
)
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.rendering import one_line
from airflow_provider_operations._protocol.sent_secrets import SentSecrets
from airflow_provider_operations.hooks._body import TooLargeError
from airflow_provider_operations.hooks._deadline_adapter import BoundedAdapter, ends_within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_operations._connection.settings import Settings

__all__ = ["NoToken", "Token", "TokenSource", "token_source_of"]

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 256 * 1024
"""Longest answer of a token server: decoding a longer one would hold up others in this process."""

MAX_TOKEN_CHARS = 16 * 1024
"""Servers take no longer header; and to mask a longer one takes Airflow seconds."""

FETCH_TIMEOUT_S = 30.0
"""How long all requests to token servers for one token may take together."""

WAIT_S = 40.0
"""Longest wait for a token; for some, Airflow is asked for a connection, too."""

LEAST_LIFE_S = 10.0
"""A token is used for at least so long, even if its life is said to be shorter; a service may refuse it."""

MARGIN_S = 225.0
"""A token is renewed this long before it ends, as google-auth does, or in the last quarter of a shorter life."""

FAILURE_KEPT_S = 5.0
"""After a failure the token server isn't asked again for so long, however many operations are watched."""


class NoToken(Exception):
    """No token could be had; the text says why, without credentials. ``transient``: trying again may help."""

    def __init__(self, problem: str, *, transient: bool) -> None:
        super().__init__(problem)
        self.transient = transient


@dataclass(frozen=True)
class Token:
    """
    A token, and when it is to be renewed and when it ends, by ``clock.now()``.

    :param headers: what a request is sent with.
    """

    secret: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    renew_at_s: float = float("inf")
    ends_at_s: float = float("inf")

    @cached_property
    def secrets(self) -> SentSecrets:
        """The secrets that are sent with it."""
        return SentSecrets([self.secret, *self.headers.values()])

    @property
    def to_mask(self) -> list[Any]:
        """
        What Airflow's masker is to know: the token alone, as it stands in all that is sent with it.

        The masker keeps what it was ever told, and compiles all of it anew for each text that it is told.
        """
        return [self.secret]

    @classmethod
    def lasting(cls, seconds: float | None, secret: str, headers: Mapping[str, str] | None = None) -> Token:
        """
        Return a token that lasts so long from now on; ``None``: nobody said.

        :raises NoToken: it is none.
        """
        if len(secret) > MAX_TOKEN_CHARS:
            raise NoToken(f"a token of {len(secret)} characters is none to send", transient=False)
        headers = headers or {"Authorization": f"Bearer {secret}"}
        if seconds is None:
            return cls(secret, headers)
        if not math.isfinite(seconds):
            raise NoToken(f"a token can't last {seconds} s", transient=False)
        now = clock.now()
        seconds = max(seconds, LEAST_LIFE_S)
        return cls(secret, headers, now + seconds - min(MARGIN_S, seconds / 4), now + seconds)


class TokenSource:
    """
    The token of one set of credentials.

    :param fetch: gets a new one, in a thread of its own, and is told whether Airflow may be asked there without need;
        raises ``NoToken``.
    :param asks_airflow: it needs a connection.
    """

    def __init__(self, fetch: Callable[[bool], Token], *, asks_airflow: bool = False) -> None:
        self._fetch = fetch
        self._asks_airflow = asks_airflow
        self._token: Token | None = None
        self._renewal: Future[Token] | None = None
        self._failed_at_s = float("-inf")
        self._lock = threading.Lock()

    def get(self, rejected: Token | None = None, *, may_ask: bool = False) -> Token:
        """
        Return a token that hasn't ended; one that is about to is renewed meanwhile.

        :param rejected: a token that the service has refused; it isn't returned again.
        :param may_ask: whether Airflow may be asked for a connection again.
        :raises NoToken: there is none.
        """
        valid = self._valid(rejected)
        if valid is not None:
            # Without the lock, which may be held by code that a kill has interrupted.
            if self._is_due(valid):
                self._begin_behind(partial(self._in_a_thread, may_ask))
            return valid
        with self._lock:
            known = self._known(rejected, partial(self._in_a_thread, may_ask))
        if isinstance(known, Token):
            return known
        try:
            return known.result(WAIT_S)
        except FutureTimeoutError:
            raise _no_token_in_time() from None

    async def aget(self, rejected: Token | None = None) -> Token:
        """Do as ``get`` without blocking the event loop; a cancellation doesn't stop it for others."""
        start = self._on_the_loop if self._asks_airflow else partial(self._in_a_thread, False)
        with self._lock:
            known = self._known(rejected, start)
        if isinstance(known, Token):
            return known
        awaited = asyncio.wrap_future(known)
        awaited.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            async with clock.timeout(WAIT_S):
                return await asyncio.shield(awaited)
        except asyncio.TimeoutError:
            raise _no_token_in_time() from None

    def _in_a_thread(self, may_ask: bool, renewal: Future[Token]) -> None:
        threading.Thread(target=self._renew, args=(renewal, may_ask), name="token", daemon=True).start()

    def _on_the_loop(self, renewal: Future[Token]) -> None:
        begun = threading.Event()

        def renew() -> None:
            begun.set()
            self._renew(renewal, True)

        async def asking() -> None:
            try:
                await ask_airflow(renew)
            except Exception as error:  # such as too many threads
                self._has_failed(renewal, error)
            except asyncio.CancelledError as error:  # the loop ends; a thread goes on
                if not begun.is_set():
                    self._has_failed(renewal, error)
                raise

        self._task = asyncio.get_running_loop().create_task(asking())

    def _begin_behind(self, start: Callable[[Future[Token]], None]) -> None:
        """Start a fetch from another thread, in which no signal comes between the lock and what it guards."""

        def begin() -> None:
            with self._lock:
                self._known(None, start)

        try:
            threading.Thread(target=begin, name="token", daemon=True).start()
        except RuntimeError as error:
            self._failed_at_s = clock.monotonic()
            log.warning("the token could not be renewed and is used until it ends: %s", error)

    def _known(self, rejected: Token | None, start: Callable[[Future[Token]], None]) -> Token | Future[Token]:
        """Return the token, or the fetch that will bring it; start one if need be. With the lock."""
        valid = self._valid(rejected)
        if valid is not None and not self._is_due(valid):
            return valid
        renewal = self._renewal
        if renewal is None or self._may_begin(renewal):
            renewal = self._renewal = Future()
            try:
                start(renewal)
            except BaseException as error:  # such as too many threads, or a signal
                self._has_failed(renewal, error)
                if not isinstance(error, Exception):
                    raise
        return renewal if valid is None else valid

    def _may_begin(self, before: Future[Token]) -> bool:
        """Tell whether another fetch may follow one: that is over, and hasn't failed just now."""
        return before.done() and clock.monotonic() - self._failed_at_s >= FAILURE_KEPT_S

    def _is_due(self, token: Token) -> bool:
        """Tell whether a token is about to end, and another is to be fetched."""
        return clock.now() >= token.renew_at_s and (self._renewal is None or self._may_begin(self._renewal))

    def _valid(self, rejected: Token | None) -> Token | None:
        token = self._token
        return (
            token if token is not None and token is not rejected and clock.now() < token.ends_at_s else None
        )

    def _renew(self, renewal: Future[Token], may_ask: bool) -> None:
        try:
            token = self._fetch(may_ask)
        except Exception as error:  # libraries of others; whoever waits must hear of it
            self._has_failed(renewal, error)
        else:
            self._token, self._failed_at_s = token, float("-inf")
            if not renewal.done():
                renewal.set_result(token)

    def _has_failed(self, renewal: Future[Token], error: BaseException) -> None:
        if renewal.done():
            return
        problem = error if isinstance(error, NoToken) else NoToken(_said(error), transient=True)
        self._failed_at_s = clock.monotonic()
        if self._valid(None) is not None:
            log.warning("the token could not be renewed and is used until it ends: %s", problem)
        renewal.set_exception(problem)


def _no_token_in_time() -> NoToken:
    return NoToken(f"there was none for {WAIT_S:g} s", transient=True)


def token_source_of(settings: Settings) -> TokenSource | None:
    """Return the source of a connection's tokens, which all its hooks share; ``None``: it has fixed headers."""
    wanted = settings.auth.tokens
    if wanted is None:
        return None
    return _source(wanted, settings.verify, tuple(sorted(settings.proxies.items())))


@lru_cache(maxsize=128)
def _source(
    wanted: GoogleCredentials | ClientCredentials, verify: bool | str, proxies: tuple[tuple[str, str], ...]
) -> TokenSource:
    if isinstance(wanted, ClientCredentials):
        return TokenSource(lambda _: _fetch_with_client_credentials(wanted, verify, dict(proxies)))
    return TokenSource(_Google(wanted, dict(proxies)).fetch, asks_airflow=wanted.gcp_conn_id is not None)


# A fork in the midst of a renewal has its future, and nobody who brings the token.
os.register_at_fork(after_in_child=_source.cache_clear)


class _Session(requests.Session):
    """A session that follows no redirect, which would carry a signed assertion to another host."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send once."""
        return super().send(request, **{**kwargs, "allow_redirects": False})


_AnySession = TypeVar("_AnySession", bound=requests.Session)


def _bounded(session: _AnySession) -> _AnySession:
    """Give a session the same limits as requests to services have."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter(MAX_ANSWER_BYTES))
    return session


# --- Google ------------------------------------------------------------------------------------------------


class _Google:
    """
    Google's credentials.

    They are kept, as some keep tokens of their own; but those that are in a file are read again for each token, and in a
    triggerer those of another connection: it may run for longer than a key is valid. In a killed worker a question to
    Airflow might wait for one that the kill has interrupted. To look for those of the machine takes requests.
    """

    def __init__(self, wanted: GoogleCredentials, proxies: dict[str, str]) -> None:
        self._wanted = wanted
        self._proxies = proxies
        self._credentials: Any = None

    def fetch(self, may_ask: bool) -> Token:
        try:
            from google.auth import exceptions
            from google.auth.transport.requests import Request
        except ImportError as error:
            raise NoToken(_not_installed("google", error), transient=False) from None
        with _bounded(_Session()) as session, ends_within(FETCH_TIMEOUT_S):
            session.proxies.update(self._proxies)
            request = partial(Request(session), timeout=FETCH_TIMEOUT_S)
            try:
                self._read(request, may_ask)
                self._credentials.refresh(request)
            except (exceptions.TransportError, TooLargeError) as error:
                raise NoToken(f"Google's token server: {_said(error)}", transient=True) from None
            except exceptions.GoogleAuthError as error:
                raise NoToken(
                    f"Google's credentials: {_said(error)}", transient=_is_transient(error)
                ) from None
            except (OSError, ValueError) as error:  # a key that is none, or a file that can't be read
                problem = f"Google's credentials can't be read: {_said(error)}"
                raise NoToken(problem, transient=False) from None
            except (TypeError, KeyError) as error:  # google-auth takes any answer for JSON of the right shape
                problem = f"Google's token server: the answer is no token ({_said(error)})"
                raise NoToken(problem, transient=False) from None
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        ends = self._credentials.expiry
        left_s = (ends - datetime.now(timezone.utc).replace(tzinfo=None)).total_seconds() if ends else None
        return Token.lasting(left_s, self._credentials.token, headers)

    def _read(self, request: Any, may_ask: bool) -> None:
        wanted = self._wanted
        in_a_file = wanted.key_path or (not wanted.key and os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))
        again = may_ask if wanted.gcp_conn_id else in_a_file
        if self._credentials is not None and not again:
            return
        try:
            self._credentials = _google_credentials(
                self._wanted, request, patiently=self._credentials is None
            )
        except Exception as error:  # of a file, of Airflow, of any secrets backend
            if self._credentials is None:
                raise
            problem = type(error).__name__
            log.warning(
                "Google's credentials can't be read again (%s); going on with what was read before", problem
            )


def _google_credentials(wanted: GoogleCredentials, request: Any, *, patiently: bool) -> Any:
    """Make the credentials; asks the network only where they come from the machine that this runs on."""
    import google.auth
    from google.auth import impersonated_credentials

    scopes = list(wanted.scopes)
    if wanted.gcp_conn_id:
        credentials = _of_google_provider(wanted.gcp_conn_id)
    elif wanted.key or wanted.key_path:
        key = json.loads(wanted.key) if wanted.key else _read_key(wanted.key_path or "", patiently=patiently)
        credentials = _of_key(key, scopes, wanted.allowed_hosts)
    else:
        credentials, _ = google.auth.default(scopes=scopes, request=request)
    if wanted.impersonation_chain:
        *delegates, target = wanted.impersonation_chain
        credentials = impersonated_credentials.Credentials(
            credentials, target, scopes, delegates, lifetime=3600
        )
    if wanted.quota_project:
        credentials = credentials.with_quota_project(wanted.quota_project)
    return credentials


def _of_key(key: Any, scopes: list[str], allowed_hosts: tuple[str, ...]) -> Any:
    """Make credentials of the JSON that Google's console gives out, by its type."""
    from google.auth import aws, identity_pool, impersonated_credentials
    from google.oauth2 import credentials, service_account

    kind = key.get("type") if isinstance(key, dict) else None
    if kind == "service_account":
        return service_account.Credentials.from_service_account_info(key, scopes=scopes)
    if kind == "authorized_user":
        return credentials.Credentials.from_authorized_user_info(key, scopes=scopes)
    if kind == "impersonated_service_account":
        return impersonated_credentials.Credentials.from_impersonated_service_account_info(key, scopes=scopes)
    if kind == "external_account":
        key = with_checked_addresses(key, allowed_hosts)
        source = key.get("credential_source") or {}
        if "executable" in source:
            raise ValueError("a credential_source that runs a program is not supported")
        is_aws = str(source.get("environment_id", "")).startswith("aws")
        of: Any = aws.Credentials if is_aws else identity_pool.Credentials
        return of.from_info(key, scopes=scopes)
    raise ValueError(f"unknown type of credentials: {kind!r}")


def _of_google_provider(conn_id: str) -> Any:
    try:
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    except ImportError as error:
        problem = f"'gcp_conn_id' needs the package apache-airflow-providers-google ({error})"
        raise NoToken(problem, transient=False) from None
    return GoogleBaseHook(gcp_conn_id=conn_id).get_credentials()


def _read_key(path: str, *, patiently: bool) -> Any:
    """Read a key file; ``patiently``: one that is just being replaced is there in a moment."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never be read to its end
        raise ValueError("the key file is no regular file")
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((OSError, ValueError)),
        stop=tenacity.stop_after_attempt(4 if patiently else 1),
        wait=tenacity.wait_fixed(0.5),
        sleep=clock.sleep,
        reraise=True,
    )
    return attempts(_read_json, path)


def _read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _is_transient(error: Any) -> bool:
    """Tell whether credentials may be granted later, as google-auth says, or the error that IAM answered."""
    if getattr(error, "retryable", False):
        return True
    for said in error.args[1:]:
        try:
            body = json.loads(said) if isinstance(said, str) else said
            return int(body["error"]["code"]) in {408, 429, 500, 502, 503, 504}
        except (ValueError, TypeError, KeyError):
            continue
    return False


# --- OAuth 2 -----------------------------------------------------------------------------------------------


def _fetch_with_client_credentials(
    wanted: ClientCredentials, verify: bool | str, proxies: dict[str, str]
) -> Token:
    try:
        from authlib.integrations.base_client import OAuthError
        from authlib.integrations.requests_client import OAuth2Session
    except ImportError as error:
        raise NoToken(_not_installed("oauth2", error), transient=False) from None
    asked = {"audience": wanted.audience} if wanted.audience else {}
    try:
        made = OAuth2Session(
            wanted.client_id,
            wanted.client_secret,
            scope=wanted.scope,
            token_endpoint_auth_method=wanted.client_auth,
        )
        with _bounded(made) as session, ends_within(FETCH_TIMEOUT_S):
            answer = session.fetch_token(
                wanted.token_url,
                grant_type="client_credentials",
                timeout=FETCH_TIMEOUT_S,
                verify=verify,
                proxies=proxies,
                allow_redirects=False,
                **asked,
            )
    except OAuthError as error:
        raise NoToken(
            f"{wanted.token_url}: {_said(error, wanted.client_secret)}",
            transient=error.error in {"temporarily_unavailable", "server_error"},
        ) from None
    except requests.exceptions.HTTPError as error:
        problem = f"{wanted.token_url}: {_said(error, wanted.client_secret)}"
        raise NoToken(problem, transient=True) from None
    except ValueError as error:  # not JSON; requests' JSONDecodeError is a RequestException too
        problem = f"{wanted.token_url}: the answer is no token: {_said(error, wanted.client_secret)}"
        raise NoToken(problem, transient=False) from None
    except (requests.exceptions.RequestException, TooLargeError) as error:
        problem = f"{wanted.token_url}: {_said(error, wanted.client_secret)}"
        raise NoToken(problem, transient=True) from None
    secret = answer.get("access_token")
    if (
        not isinstance(secret, str)
        or not secret
        or str(answer.get("token_type", "bearer")).lower() != "bearer"
    ):
        raise NoToken(f"{wanted.token_url}: the answer holds no bearer token", transient=False)
    lasts_s = answer.get("expires_in")
    return Token.lasting(float(lasts_s) if lasts_s is not None else None, secret)


def _not_installed(extra: str, error: ImportError) -> str:
    return f"auth {extra!r} needs pip install 'airflow-provider-operations[{extra}]' ({error})"


def _said(error: BaseException, *secrets: str) -> str:
    """Return one printable line of an error's text, in which no secret stands."""
    said = str(error.args[0]) if error.args else str(error)
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.strerror}: {error.filename!r}"
    for secret in secrets:
        said = said.replace(secret, "***")
    return one_line(without_secrets(f"{type(error).__name__}: {said}"), 500)
