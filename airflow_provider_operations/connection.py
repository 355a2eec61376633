"""
The connection type ``operations``: what an Airflow connection says about a service, checked once.

Pure: it reads the fields, the hooks look the connection up.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_operations.wire import Service

__all__ = ["ConnectionFields", "InvalidConnection", "Settings", "read_settings"]

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 30.0
_CANCEL_METHODS = {"POST", "GET", "DELETE", "PUT", "PATCH"}
_KNOWN_EXTRAS = frozenset(
    {
        "path_prefix",
        "cancel_suffix",
        "cancel_method",
        "error_format",
        "headers",
        "timeout",
        "verify",
        "proxies",
        "console_url",
        "allowed_hosts",
    }
)


_PREFIX = re.compile(r"(?:[\w.~:@!$&'()*+,;=-]+(?:/[\w.~:@!$&'()*+,;=-]+)*)?", re.ASCII)


class InvalidConnection(ValueError):
    """A connection that no request can be made with; the text says which field and what to do."""


@dataclass(frozen=True)
class ConnectionFields:
    """The fields of an Airflow connection, as looked up."""

    conn_id: str
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, connection: Any, extra: Mapping[str, Any]) -> ConnectionFields:
        """Take them from an Airflow connection; ``extra`` apart, as it is looked up another way when async."""
        return cls(
            connection.conn_id,
            connection.host,
            connection.port,
            connection.schema,
            connection.login,
            connection.password,
            extra,
        )


@dataclass(frozen=True)
class Settings:
    """
    Everything needed to send requests to one service.

    :param headers: sent with every request, credentials included.
    :param timeout_s: for one whole exchange.
    :param verify: check the server's certificate; or the path of a CA bundle.
    :param proxies: proxy URL by scheme (``{"https": "http://proxy:3128"}``).
    :param console_url: template of a page about one operation, for people.
    """

    service: Service
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = DEFAULT_TIMEOUT_S
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    console_url: str | None = None


def read_settings(fields: ConnectionFields, overrides: Mapping[str, Any]) -> Settings:
    """
    Check a connection's fields and what the task says otherwise.

    :param overrides: ``base_url``, ``path_prefix``, ``cancel_suffix``, ``cancel_method``, ``error_format``;
        ``None``: as the connection says.
    :raises InvalidConnection: nothing to send to, or something that must not be sent there.
    """
    extra = fields.extra
    where = f"connection {fields.conn_id!r}"
    if not isinstance(extra, Mapping):
        raise InvalidConnection(f"{where}: its extra is a JSON object, not {type(extra).__name__}")
    unknown = sorted(set(extra) - _KNOWN_EXTRAS)
    if unknown:
        log.warning("%s: unknown extras are ignored and not sent: %s", where, ", ".join(unknown))
    headers = _headers(fields, where)
    base_url = _base_url(fields, overrides.get("base_url"), where, has_credentials=bool(headers))
    spelled = {
        key: overrides[key] if overrides.get(key) is not None else extra.get(key)
        for key in ("path_prefix", "cancel_suffix", "cancel_method", "error_format")
    }
    return Settings(
        service=Service(base_url, **_service_fields(spelled, where)),
        headers=headers,
        timeout_s=_timeout(extra.get("timeout"), where),
        verify=_verify(extra.get("verify"), where),
        proxies=_proxies(extra.get("proxies"), where),
        console_url=_text(extra.get("console_url"), "console_url", where) or None,
    )


def _service_fields(spelled: Mapping[str, Any], where: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if spelled["path_prefix"] is not None:
        prefix = _text(spelled["path_prefix"], "path_prefix", where).strip("/")
        if not _PREFIX.fullmatch(prefix) or any(part in {".", ".."} for part in prefix.split("/")):
            raise InvalidConnection(f"{where}: 'path_prefix' is path segments such as 'v1', not {prefix!r}")
        fields["path_prefix"] = prefix
    if spelled["cancel_suffix"]:
        suffix = _text(spelled["cancel_suffix"], "cancel_suffix", where)
        if suffix[0] not in ":/" or not suffix[1:].replace("_", "").replace("-", "").isalnum():
            raise InvalidConnection(f"{where}: 'cancel_suffix' is ':cancel' or '/cancel', not {suffix!r}")
        fields["cancel_suffix"] = suffix
    if spelled["cancel_method"]:
        method = _text(spelled["cancel_method"], "cancel_method", where).upper()
        if method not in _CANCEL_METHODS:
            raise InvalidConnection(
                f"{where}: 'cancel_method' is an HTTP method such as POST, not {method!r}"
            )
        fields["cancel_method"] = method
    error_format = spelled["error_format"]
    if error_format is not None and error_format != "":
        if str(error_format) not in {"1", "2"}:
            raise InvalidConnection(f"{where}: 'error_format' is 1 or 2, not {error_format!r}")
        fields["error_format"] = int(error_format)
    return fields


# --- where to send -------------------------------------------------------------------------------------------


def _base_url(fields: ConnectionFields, override: str | None, where: str, *, has_credentials: bool) -> str:
    own = _connection_url(fields, where) if fields.host else None
    if override is None:
        if own is None:
            raise InvalidConnection(f"{where} has no host, and no base_url is given: nothing to send to")
        base_url = own
    else:
        base_url = _checked_url(override, "base_url")
        if _origin(base_url) != (_origin(own) if own else None) and (own or has_credentials):
            _check_allowed(base_url, fields.extra.get("allowed_hosts"), where)
    parts = urlsplit(base_url)
    if parts.scheme == "http" and has_credentials and not _is_loopback(parts.hostname):
        raise InvalidConnection(
            f"{where}: credentials are not sent over plain http to {parts.hostname}; use https, or a "
            "connection without login, password and headers"
        )
    return base_url


def _connection_url(fields: ConnectionFields, where: str) -> str:
    what = f"{where}: its host"
    host = (fields.host or "").strip()
    if "://" not in host:
        bare = urlsplit(_checked_url(f"https://{host}", what)).hostname
        schema = fields.schema or ("http" if _is_loopback(bare) else "https")
        host = f"{schema}://{host}"
    url = _checked_url(host, what)
    parts = urlsplit(url)
    if fields.port and parts.port is None:
        url = parts._replace(netloc=f"{parts.netloc}:{fields.port}").geturl()
    return url


def _checked_url(url: str, what: str) -> str:
    if "@" in url:
        raise InvalidConnection(f"{what} must not have credentials in it; use login and password")
    try:
        parts = urlsplit(url.rstrip("/"))
        parts.port  # noqa: B018  the property itself checks
    except ValueError as error:
        raise InvalidConnection(f"{what} is not a URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidConnection(f"{what} must be http:// or https:// and a host, not {url[:200]!r}")
    if parts.query or parts.fragment or any(char.isspace() for char in url) or ".." in parts.path:
        raise InvalidConnection(f"{what} must be scheme, host, port and at most a path, not {url[:200]!r}")
    return url.rstrip("/")


def _origin(url: str | None) -> tuple[str, str | None, int] | None:
    if url is None:
        return None
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _is_loopback(host: str | None) -> bool:
    if host in {None, "localhost"}:
        return host == "localhost"
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _check_allowed(base_url: str, allowed: Any, where: str) -> None:
    """Refuse an origin that the connection doesn't name; its credentials would go there."""
    listed = allowed.split(",") if isinstance(allowed, str) else allowed or []
    if not isinstance(listed, list | tuple) or not all(isinstance(part, str) for part in listed):
        raise InvalidConnection(
            f"{where}: 'allowed_hosts' is a list of host names, or text with commas between"
        )
    patterns = [part.strip().lower() for part in listed]
    host = (urlsplit(base_url).hostname or "").lower()
    for pattern in patterns:
        if host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])):
            return
    raise InvalidConnection(
        f"base_url points to {host}, which is not the host of {where}; add it to the connection's extra "
        f"'allowed_hosts' if its credentials may go there"
    )


# --- what to send --------------------------------------------------------------------------------------------


def _headers(fields: ConnectionFields, where: str) -> dict[str, str]:
    given = _object(fields.extra.get("headers"))
    if given is None:
        raise InvalidConnection(f"{where}: 'headers' is a JSON object of header names and values")
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(value, str | int) or any(char in f"{name}{value}" for char in "\r\n\0"):
            raise InvalidConnection(f"{where}: the value of header {name!r} is not one line of text")
        headers[name] = str(value).strip()
    if any(name.lower() == "authorization" for name in headers):
        return headers
    if fields.login:
        pair = f"{fields.login}:{fields.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
    elif fields.password:
        token = fields.password.strip()  # one read from a file ends with a line break
        if any(char in token for char in "\r\n\0"):
            raise InvalidConnection(f"{where}: the password, sent as a bearer token, is not one line of text")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _timeout(value: Any, where: str) -> float:
    if value is None or value == "":
        return DEFAULT_TIMEOUT_S
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise InvalidConnection(f"{where}: 'timeout' is seconds above 0, not {value!r}")
    return seconds


def _verify(value: Any, where: str) -> bool | str:
    if value is None or value == "" or isinstance(value, bool):
        return value is not False
    if not isinstance(value, str):
        raise InvalidConnection(f"{where}: 'verify' is true, false or the path of a CA bundle, not {value!r}")
    return {"true": True, "false": False}.get(value.lower(), value)


def _proxies(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, str) and "://" in value and not value.lstrip().startswith("{"):
        value = {"http": value.strip(), "https": value.strip()}
    proxies = _object(value)
    if proxies is None or not all(isinstance(item, str) and _is_url(item) for item in proxies.values()):
        # Without the value, which may hold a password.
        raise InvalidConnection(
            f"{where}: 'proxies' is a proxy URL, or a JSON object of scheme and proxy URL; a password in it is "
            "percent-encoded"
        )
    return proxies


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:
        return False


def _object(value: Any) -> dict[str, Any] | None:
    """Read a JSON object, or text that holds one, as the connection form delivers it."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str | None):
        raise InvalidConnection(f"{where}: {key!r} is text, not {type(value).__name__}")
    return (value or "").strip()
