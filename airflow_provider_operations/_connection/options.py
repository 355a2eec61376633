"""Which service is meant and how it spells its calls: what hooks, triggers and tasks take as arguments."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENDPOINTS", "SERVICE_FIELDS", "ServiceOptions", "checked_endpoint"]

ENDPOINTS = ("regional",)
"""Addresses of Google's APIs that are used only where they are asked for."""


def checked_endpoint(endpoint: str | None) -> str | None:
    """
    Return the endpoint.

    :raises ValueError: it is none.
    """
    if endpoint not in {None, *ENDPOINTS}:
        raise ValueError(f"'endpoint' is {' or '.join(ENDPOINTS)}, not {endpoint!r}")
    return endpoint


@dataclass(frozen=True)
class ServiceOptions:
    """
    A connection, and what a task or a hook says instead of it.

    :param operations_conn_id: connection of type ``operations``.
    :param base_url: this and the next five: instead of what the connection says.
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none.
    """

    operations_conn_id: str = "operations_default"
    base_url: str | None = None
    path_prefix: str | None = None
    cancel_suffix: str | None = None
    cancel_method: str | None = None
    error_format: int | None = None
    wait_timeout_in: str | None = None
    scopes: str | None = None

    @classmethod
    def of(cls, holder: Any) -> ServiceOptions:
        """Read a task's or a trigger's attributes of these names; a task's are templates until they are rendered."""
        return cls(**{field: getattr(holder, field) for field in SERVICE_FIELDS})

    @classmethod
    def stored(cls, rendered: Mapping[str, Any]) -> ServiceOptions:
        """
        Read a task's rendered fields, in which a template leaves text; what isn't of its type is left out.

        :param rendered: with an ``operations_conn_id``.
        """
        given: dict[str, Any] = {
            field: value
            for field in SERVICE_FIELDS
            if isinstance(value := rendered.get(field), str)  # an empty prefix is one, too
        }
        error_format = str(rendered.get("error_format"))
        given["error_format"] = int(error_format) if error_format in {"1", "2"} else None
        return cls(**given)

    def arguments(self) -> dict[str, Any]:
        """Return them as keyword arguments."""
        return {**vars(self)}


SERVICE_FIELDS = tuple(field.name for field in fields(ServiceOptions))
"""Their names."""
