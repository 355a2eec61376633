"""
The connection type ``operations``: what an Airflow connection says about a service, checked once.

Pure: it reads the fields, the hooks look the connection up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_operations._connection.console_url import checked_template
from airflow_provider_operations._connection.credentials import (
    GOOGLE_HOSTS,
    Auth,
    GoogleCredentials,
    read_auth,
)
from airflow_provider_operations._connection.extras import KNOWN_EXTRAS
from airflow_provider_operations._connection.fields import (
    ConnectionFields,
    InvalidConnection,
    allowed_hosts,
    checked_url,
    json_object,
    text,
    words,
)
from airflow_provider_operations._protocol.polling import POLL_WITH
from airflow_provider_operations._protocol.request import Service
from airflow_provider_operations._protocol.urls import (
    bracketed,
    has_dot_segment,
    is_listed,
    is_loopback,
    origin_of,
)

__all__ = ["ConnectionFields", "InvalidConnection", "Settings", "is_said", "read_settings"]

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 30.0
_CANCEL_METHODS = {"POST", "GET", "DELETE", "PUT", "PATCH"}
_PREFIX = re.compile(r"(?:[\w.~:@!$&'()*+,;=-]+(?:/[\w.~:@!$&'()*+,;=-]+)*)?", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """
    Everything needed to send requests to one service.

    :param auth: headers sent with every request, and where tokens come from.
    :param timeout_s: for one whole exchange.
    :param verify: check the server's certificate; or the path of a CA bundle.
    :param cert: files of the client's certificate and of its key, which may be the same.
    :param proxies: proxy URL by scheme (``{"https": "http://proxy:3128"}``).
    :param console_url: template of a page about one operation, for people.
    :param max_connections: how many requests a triggerer has under way at once.
    :param max_requests_per_second: of a triggerer; ``None``: as many as the server accepts.
    :param poll_with: ``get``, ``list`` or ``wait``.
    :param list_filter: for ``list``; what it lists must not be over yet.
    """

    service: Service
    auth: Auth = field(default_factory=Auth)
    timeout_s: float = DEFAULT_TIMEOUT_S
    verify: bool | str = True
    cert: tuple[str, str] | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    console_url: str | None = None
    max_connections: int = 16
    max_requests_per_second: float | None = None
    poll_with: str = "get"
    list_filter: str = "done=false"


def read_settings(fields: ConnectionFields, overrides: Mapping[str, Any]) -> Settings:
    """
    Check a connection's fields and what the task says otherwise.

    :param overrides: ``base_url``, ``path_prefix``, ``cancel_suffix``, ``cancel_method``, ``error_format``,
        ``wait_timeout_in``, ``scopes``; ``None`` means as the connection says. So does an empty text, but for
        ``path_prefix``, where it means none.
    :raises InvalidConnection: nothing to send to, or something that must not be sent there.
    """
    extra = fields.extra
    where = f"connection {fields.conn_id!r}"
    if not isinstance(extra, Mapping):
        raise InvalidConnection(f"{where}: its extra is a JSON object, not {type(extra).__name__}")
    unknown = sorted(set(extra) - KNOWN_EXTRAS)
    if unknown:
        log.warning("%s: unknown extras are ignored and not sent: %s", where, ", ".join(unknown))
    scopes = overrides.get("scopes")
    auth = read_auth(fields, where, scopes if is_said("scopes", scopes) else None)
    override = overrides.get("base_url")
    base_url = _base_url(fields, override if is_said("base_url", override) else None, where, auth)
    spelled = {
        key: overrides[key] if is_said(key, overrides.get(key)) else extra.get(key)
        for key in ("path_prefix", "cancel_suffix", "cancel_method", "error_format", "wait_timeout_in")
    }
    return Settings(
        service=_without_second_prefix(Service(base_url, **_service_fields(spelled, where))),
        auth=auth,
        timeout_s=_timeout(extra.get("timeout"), where),
        verify=_verify(extra.get("verify"), where),
        cert=_cert(extra.get("cert"), where),
        proxies=_proxies(extra.get("proxies"), where),
        console_url=_console_url(extra.get("console_url"), where),
        max_connections=int(_number(extra, "max_connections", 16, where, least=1)),
        max_requests_per_second=_number(extra, "max_requests_per_second", None, where),
        poll_with=_poll_with(overrides.get("poll_with") or extra.get("poll_with"), where),
        list_filter=_list_filter(extra.get("list_filter"), where),
    )


def is_said(key: str, override: Any) -> bool:
    """Tell whether a task overrides its connection; a value that a template left empty doesn't."""
    if override is None or override == "None":  # as templates spell it
        return False
    empty = isinstance(override, str) and not override.strip()
    return not empty or key == "path_prefix"


def _without_second_prefix(service: Service) -> Service:
    """Take the prefix off a base URL that ends with it (``https://example.com/v1``): it would be sent twice."""
    prefix = f"/{service.path_prefix}"
    if not service.path_prefix or not urlsplit(service.base_url).path.endswith(prefix):
        return service
    return replace(service, base_url=service.base_url.removesuffix(prefix))


def _service_fields(spelled: Mapping[str, Any], where: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if spelled["path_prefix"] is not None:
        prefix = text(spelled["path_prefix"], "path_prefix", where).strip("/")
        if not _PREFIX.fullmatch(prefix) or has_dot_segment(prefix):
            raise InvalidConnection(f"{where}: 'path_prefix' is path segments such as 'v1', not {prefix!r}")
        fields["path_prefix"] = prefix
    if spelled["cancel_suffix"]:
        suffix = text(spelled["cancel_suffix"], "cancel_suffix", where)
        if suffix[0] not in ":/" or not suffix[1:].replace("_", "").replace("-", "").isalnum():
            raise InvalidConnection(f"{where}: 'cancel_suffix' is ':cancel' or '/cancel', not {suffix!r}")
        fields["cancel_suffix"] = suffix
    if spelled["cancel_method"]:
        method = text(spelled["cancel_method"], "cancel_method", where).upper()
        if method not in _CANCEL_METHODS:
            raise InvalidConnection(
                f"{where}: 'cancel_method' is an HTTP method such as POST, not {method!r}"
            )
        fields["cancel_method"] = method
    if spelled["wait_timeout_in"]:
        place = text(spelled["wait_timeout_in"], "wait_timeout_in", where).lower()
        if place not in {"query", "body"}:
            raise InvalidConnection(f"{where}: 'wait_timeout_in' is query or body, not {place!r}")
        fields["wait_timeout_in"] = place
    error_format = spelled["error_format"]
    if error_format is not None and error_format != "":
        if str(error_format) not in {"1", "2"}:
            raise InvalidConnection(f"{where}: 'error_format' is 1 or 2, not {error_format!r}")
        fields["error_format"] = int(error_format)
    return fields


# --- where to send -------------------------------------------------------------------------------------------


def _base_url(fields: ConnectionFields, override: str | None, where: str, auth: Auth) -> str:
    own = _connection_url(fields, where) if fields.host else None
    allowed = allowed_hosts(fields.extra, where)
    if override is None:
        if own is None:
            raise InvalidConnection(f"{where} has no host, and no base_url is given: nothing to send to")
        base_url = own
    else:
        base_url = checked_url(override, "base_url")
    to = origin_of(base_url)
    host = to.host
    is_google = isinstance(auth.tokens, GoogleCredentials)
    google_hosts = (*GOOGLE_HOSTS, *allowed) if is_google or fields.is_for_google else allowed
    foreign = to != origin_of(own) if own else auth.given or fields.is_for_google
    if foreign and not is_listed(host, allowed if own else google_hosts):
        raise InvalidConnection(
            f"base_url points to {host}, which is not the host of {where}; add it to the connection's extra "
            f"'allowed_hosts' if its credentials may go there"
        )
    if is_google and not is_listed(host, google_hosts):
        raise InvalidConnection(
            f"{where}: Google tokens are sent to {GOOGLE_HOSTS[0]}, not to {host}; add it to the connection's "
            "extra 'allowed_hosts' if it may have them"
        )
    if to.scheme == "http" and auth.given and not is_loopback(host):
        raise InvalidConnection(
            f"{where}: credentials are not sent over plain http to {host}; use https, or a "
            "connection without login, password and headers"
        )
    return base_url


def _connection_url(fields: ConnectionFields, where: str) -> str:
    what = f"{where}: its host"
    host = bracketed((fields.host or "").strip())
    if "://" not in host:
        bare = origin_of(checked_url(f"https://{host}", what)).host
        schema = fields.schema or ("http" if is_loopback(bare) else "https")
        host = f"{schema}://{host}"
    url = checked_url(host, what)
    parts = urlsplit(url)
    if fields.port and parts.port is None:
        url = checked_url(parts._replace(netloc=f"{parts.netloc}:{fields.port}").geturl(), what)
    return url


# --- how to send --------------------------------------------------------------------------------------------


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


def _number(
    extra: Mapping[str, Any], key: str, default: float | None, where: str, least: float = 0.01
) -> Any:
    value = extra.get(key)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not least <= number < 1e6:
        raise InvalidConnection(f"{where}: {key!r} is a number from {least:g} on, not {value!r}")
    return number


def _console_url(value: Any, where: str) -> str | None:
    template = text(value, "console_url", where)
    return checked_template(template, where) if template else None


def _list_filter(value: Any, where: str) -> str:
    said = text(value, "list_filter", where)
    return "" if said.lower() == "none" else said or "done=false"


def _poll_with(value: Any, where: str) -> str:
    way = text(value, "poll_with", where) or POLL_WITH[0]
    if way not in POLL_WITH:
        raise InvalidConnection(f"{where}: 'poll_with' is one of {', '.join(POLL_WITH)}, not {way!r}")
    return way


def _verify(value: Any, where: str) -> bool | str:
    if value is None or value == "" or isinstance(value, bool):
        return value is not False
    _refuse_pem(value, "verify", where)
    if not isinstance(value, str):
        raise InvalidConnection(f"{where}: 'verify' is true, false or the path of a CA bundle, not {value!r}")
    return {"true": True, "false": False}.get(value.lower(), value)


def _cert(value: Any, where: str) -> tuple[str, str] | None:
    _refuse_pem(value, "cert", where)
    files = words(value, "cert", where)
    if len(files) > 2:
        raise InvalidConnection(
            f"{where}: 'cert' is the file of the client's certificate with its key, or both files, not {files!r}"
        )
    return (files[0], files[-1]) if files else None


def _refuse_pem(value: Any, key: str, where: str) -> None:
    if "-----BEGIN" in str(value):  # without the value, which may be a private key
        raise InvalidConnection(f"{where}: {key!r} is the path of a file, and not what is in it")


def _proxies(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, str) and "://" in value and not value.lstrip().startswith("{"):
        value = {"http": value.strip(), "https": value.strip()}
    proxies = json_object(value)
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
