"""
The credentials of a connection: fixed headers, or how to get tokens.

Pure: it reads the connection's fields; ``hooks._tokens`` gets the tokens.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._connection.extras import GOOGLE_EXTRAS, OAUTH2_EXTRAS, STANDARD_NAMES
from airflow_provider_operations._connection.fields import (
    InvalidConnection,
    allowed_hosts,
    checked_url,
    json_object,
    text,
    words,
)
from airflow_provider_operations._protocol.headers import unfit
from airflow_provider_operations._protocol.request_values import InvalidRequestValue, header_values
from airflow_provider_operations._protocol.urls import canonical_url, is_listed, is_loopback, origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_operations._connection.fields import ConnectionFields

__all__ = [
    "GOOGLE_HOSTS",
    "Auth",
    "ClientCredentials",
    "GoogleCredentials",
    "read_auth",
    "with_checked_addresses",
]

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"

GOOGLE_HOSTS = ("*.googleapis.com",)
"""Where Google's tokens and what they are exchanged for may go."""

_SCHEMES = ("none", "basic", "bearer", "google", "oauth2")
_CLIENT_AUTH = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True)
class GoogleCredentials:
    """
    Tokens of Google's identity platform, by google-auth.

    :param key: JSON of a service account's key, an external account's configuration or the like.
    :param key_path: a file of it. Neither: Application Default Credentials.
    :param impersonation_chain: service accounts; the last is impersonated, by way of the others.
    :param scopes: OAuth scopes.
    :param quota_project: project that is billed for the calls.
    :param gcp_conn_id: take the credentials of this connection, by the Google provider's hook.
    """

    key: str | None = field(default=None, repr=False)
    key_path: str | None = None
    impersonation_chain: tuple[str, ...] = ()
    scopes: tuple[str, ...] = (CLOUD_PLATFORM,)
    quota_project: str | None = None
    gcp_conn_id: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    """Beside Google's, for the addresses in an external account's configuration."""


@dataclass(frozen=True)
class ClientCredentials:
    """
    Tokens of an OAuth 2 server, got with client id and secret (RFC 6749, section 4.4).

    :param client_auth: ``client_secret_basic`` or ``client_secret_post`` (RFC 7591).
    """

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    audience: str | None = None
    client_auth: str = "client_secret_basic"


@dataclass(frozen=True)
class Auth:
    """
    What a request is sent with.

    :param headers: sent with every request, credentials among them.
    :param tokens: how to get a token, where the credentials are not fixed.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: GoogleCredentials | ClientCredentials | None = None

    @property
    def given(self) -> bool:
        """Whether there is anything that other hosts must not get."""
        return bool(self.headers) or self.tokens is not None


def read_auth(fields: ConnectionFields, where: str, scopes: Any = None) -> Auth:
    """
    Read the credentials, of the kind that ``auth`` names or, if it is empty, the filled-in fields tell.

    :param where: names the connection in an error.
    :param scopes: of Google's tokens, where the connection says none: who made it may want them to be few.
    :raises InvalidConnection: something is missing, contradictory or unreadable.
    """
    extra = fields.extra
    headers = _own_headers(extra, where)
    own = any(name.lower() == "authorization" for name in headers)
    scheme = text(extra.get("auth"), "auth", where).lower()
    if scheme and scheme not in _SCHEMES:
        raise InvalidConnection(f"{where}: 'auth' is one of {', '.join(_SCHEMES)}, not {scheme!r}")
    if own and scheme not in {"", "none"}:
        raise InvalidConnection(
            f"{where}: 'auth' is {scheme}, and 'headers' has an Authorization too; leave one of them out"
        )
    scheme = scheme or ("none" if own else _scheme_of(fields))
    if scheme == "google":
        return Auth(headers, _google(extra, where, _scopes(scopes, "scopes", where)))
    if scheme == "oauth2":
        return Auth(headers, _client_credentials(fields, where))
    if scheme == "basic":
        pair = f"{_needed(fields.login, 'login', scheme, where)}:{fields.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
    elif scheme == "bearer":
        # One read from a file ends with a line break.
        token = _needed(fields.password, "password", scheme, where).strip()
        if any(char in token for char in "\r\n\0"):
            raise InvalidConnection(f"{where}: the password, sent as a bearer token, is not one line of text")
        if token.lower().split()[0] == "bearer":
            raise InvalidConnection(f"{where}: the password is the token alone, without 'Bearer ' in front")
        headers["Authorization"] = f"Bearer {token}"
    return Auth(headers)


def _scheme_of(fields: ConnectionFields) -> str:
    filled = {key for key, value in fields.extra.items() if value not in (None, "", [], {})}
    if filled & OAUTH2_EXTRAS:
        return "oauth2"
    if filled & GOOGLE_EXTRAS:
        return "google"
    if fields.login:
        return "basic"
    return "bearer" if fields.password else "none"


def _own_headers(extra: Mapping[str, Any], where: str) -> dict[str, str]:
    given = json_object(extra.get("headers"))
    if given is None:
        raise InvalidConnection(f"{where}: 'headers' is a JSON object of header names and values")
    for name in given:
        if why := unfit(name):
            raise InvalidConnection(f"{where}: header {name!r} among 'headers' {why}")
    try:
        return header_values(given)
    except InvalidRequestValue as error:
        raise InvalidConnection(f"{where}: {error}") from None


def _google(extra: Mapping[str, Any], where: str, scopes: tuple[str, ...]) -> GoogleCredentials:
    key = json_object(extra.get("keyfile_dict"))
    if key is None or (key and not isinstance(key.get("type"), str)):
        # Without the value, which is a private key.
        raise InvalidConnection(
            f"{where}: 'keyfile_dict' is the JSON of a key or of an external account, with a 'type'"
        )
    key_path = text(extra.get("key_path"), "key_path", where)
    gcp_conn_id = text(extra.get("gcp_conn_id"), "gcp_conn_id", where)
    allowed = allowed_hosts(extra, where)
    try:
        key = with_checked_addresses(key, allowed)
    except ValueError as error:
        raise InvalidConnection(f"{where}: 'keyfile_dict': {error}") from error
    sources = {"keyfile_dict": key, "key_path": key_path, "gcp_conn_id": gcp_conn_id}
    given = [name for name, value in sources.items() if value]
    if len(given) > 1:
        raise InvalidConnection(f"{where}: {' and '.join(given)} both bring credentials; leave one out")
    return GoogleCredentials(
        key=json.dumps(key, sort_keys=True) if key else None,
        key_path=key_path or None,
        impersonation_chain=words(extra.get("impersonation_chain"), "impersonation_chain", where),
        scopes=_scopes(extra.get("scope"), "scope", where) or scopes or (CLOUD_PLATFORM,),
        quota_project=text(extra.get("quota_project"), "quota_project", where) or None,
        gcp_conn_id=gcp_conn_id or None,
        allowed_hosts=allowed,
    )


_ADDRESSES = ("token_url", "service_account_impersonation_url", "token_info_url")


def with_checked_addresses(key: dict[str, Any], allowed: tuple[str, ...]) -> dict[str, Any]:
    """
    Return Google's credentials, with the addresses of an external account checked and normalised.

    google-auth sends these addresses what it finds on the machine: a file, or a metadata server's answer. With an
    address of their own, those who may edit connections could read a worker's files.

    :param allowed: hosts beside Google's.
    :raises ValueError: an address is of another host, or over plain http.
    """
    if key.get("type") != "external_account":
        return key
    addresses = {}
    for name in _ADDRESSES:
        if (url := key.get(name)) is None:
            continue
        try:
            addresses[name] = canonical_url(str(url))
        except ValueError as error:
            raise ValueError(f"{name!r} {error}") from error
        to = origin_of(addresses[name])
        if not is_listed(to.host, (*GOOGLE_HOSTS, *allowed)):
            raise ValueError(
                f"{name!r} leads to {to.host}, which would get what the credential_source holds; add it to the "
                "connection's extra 'allowed_hosts' if it may have that"
            )
        if to.scheme != "https" and not is_loopback(to.host):
            raise ValueError(f"{name!r} leads to {to.host} over plain http; use https")
    return {**key, **addresses}


def _client_credentials(fields: ConnectionFields, where: str) -> ClientCredentials:
    extra = fields.extra
    given, key = _either(extra, "oauth2_url", where)
    url = _needed(given, "oauth2_url (or token_url)", "oauth2", where)
    token_url = checked_url(url, f"{where}: {key!r}")
    server = origin_of(token_url)
    if server.scheme == "http" and not is_loopback(server.host):
        raise InvalidConnection(
            f"{where}: the client secret is not sent over plain http to {server.host}; give an https {key}"
        )
    client_auth, key = _either(extra, "oauth2_client_auth", where)
    if client_auth and client_auth not in _CLIENT_AUTH:
        raise InvalidConnection(f"{where}: {key!r} is {' or '.join(_CLIENT_AUTH)}, not {client_auth!r}")
    return ClientCredentials(
        token_url=f"{token_url}/" if url.endswith("/") else token_url,
        client_id=_needed(fields.login, "login (the client id)", "oauth2", where),
        client_secret=_needed(fields.password, "password (the client secret)", "oauth2", where),
        scope=" ".join(_scopes(extra.get("scope"), "scope", where)) or None,
        audience=text(extra.get("audience"), "audience", where) or None,
        client_auth=client_auth or _CLIENT_AUTH[0],
    )


def _either(extra: Mapping[str, Any], key: str, where: str) -> tuple[str, str]:
    """Return an extra, by its name or the standard's, and the name under which it was found."""
    given, standard = text(extra.get(key), key, where), STANDARD_NAMES[key]
    return (given, key) if given else (text(extra.get(standard), standard, where), standard)


def _scopes(value: Any, key: str, where: str) -> tuple[str, ...]:
    """Read scopes with commas (as Airflow's Google connection has them) or spaces (RFC 6749) between."""
    return tuple(scope for part in words(value, key, where) for scope in part.split())


def _needed(value: str | None, what: str, scheme: str, where: str) -> str:
    if not value or not value.strip():
        raise InvalidConnection(f"{where}: auth {scheme!r} needs {what}, which is empty")
    return value
