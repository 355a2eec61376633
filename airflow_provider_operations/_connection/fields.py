"""
The fields of an Airflow connection, and how single values among them are read.

Pure: what the fields mean is decided in ``credentials`` and ``settings``, the hooks look the connection up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._connection.google_provider import (
    GOOGLE_CONN_TYPE,
    extra_of_google_provider,
)
from airflow_provider_operations._protocol.urls import canonical_url, host_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ConnectionFields",
    "InvalidConnection",
    "allowed_hosts",
    "checked_url",
    "json_object",
    "text",
    "words",
]


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
    is_for_google: bool = False
    """Whether it is of the Google provider's type, so that without a host it is for Google's hosts alone."""

    @classmethod
    def of(cls, connection: Any, extra: Mapping[str, Any], conn_type: str = "operations") -> ConnectionFields:
        """
        Read an Airflow connection; ``extra`` is given apart, as asynchronous code reads it in another way.

        One of the Google provider's type is read as one of ours with the same credentials.

        :raises InvalidConnection: it is of another type, whose extras mean something else.
        """
        if connection.conn_type == GOOGLE_CONN_TYPE:
            google = extra_of_google_provider(connection.conn_id, extra)
            return cls(
                connection.conn_id,
                connection.host,
                connection.port,
                connection.schema,
                extra=google,
                is_for_google=True,
            )
        if connection.conn_type and connection.conn_type != conn_type:
            raise InvalidConnection(
                f"connection {connection.conn_id!r} is of type {connection.conn_type!r}, and not {conn_type!r}; make "
                "one of type Long-Running Operations"
            )
        return cls(
            connection.conn_id,
            connection.host,
            connection.port,
            connection.schema,
            connection.login,
            connection.password,
            extra,
        )


def text(value: Any, key: str, where: str) -> str:
    """Read text; none is the empty text."""
    if not isinstance(value, str | None):
        raise InvalidConnection(f"{where}: {key!r} is text, not {type(value).__name__}")
    return (value or "").strip()


def words(value: Any, key: str, where: str) -> tuple[str, ...]:
    """Read a list of texts, or one text with commas between them, as a form delivers it."""
    listed = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(listed, list | tuple) or not all(isinstance(part, str) for part in listed):
        raise InvalidConnection(f"{where}: {key!r} is a list of texts, or text with commas between")
    return tuple(part.strip() for part in listed if part.strip())


def json_object(value: Any) -> dict[str, Any] | None:
    """Read a JSON object, or text that holds one, as the connection form delivers it."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def allowed_hosts(extra: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Read the hosts beside its own to which a connection's credentials may go, as ``is_listed`` takes them."""
    return tuple(map(host_pattern, words(extra.get("allowed_hosts"), "allowed_hosts", where)))


def checked_url(url: str, what: str) -> str:
    """
    Return an http(s) URL as every client reads it, without a trailing slash.

    :param what: names the URL in an error.
    :raises InvalidConnection: anything but scheme, host, port and a path.
    """
    if not isinstance(url, str):
        raise InvalidConnection(f"{what} is text, not {type(url).__name__}")
    if "@" in url:
        raise InvalidConnection(f"{what} must not have credentials in it; use login and password")
    try:
        return canonical_url(url)
    except ValueError as error:
        raise InvalidConnection(f"{what} {error}") from error
