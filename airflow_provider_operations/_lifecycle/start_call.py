"""The start call as a value: where its request id goes, and when it is the same call as another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
import hashlib
import json

__all__ = ["StartCall"]


@dataclass(frozen=True)
class StartCall:
    """
    A rendered start call without its request id.

    :param body: JSON, as ``json_value`` returns it.
    :param query: as ``query_values`` returns it.
    :param request_id_field: where the service takes one; dotted in a body; ``None`` where it takes none.
    :param request_id_in: ``query``, ``body`` or ``header``.
    :param service: the URL that the path is below; to elsewhere, it is another call.
    :param encoded: whether the path is percent-encoded already, as it is made of a method's parameters.
    :param starts_nothing: the service is only to say whether it would start an operation.
    :param resource: the name of what it creates, where that has to be known.
    """

    path: str
    method: str
    body: Any
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    request_id_field: str | None
    request_id_in: str
    service: str = ""
    encoded: bool = False
    starts_nothing: bool = False
    resource: str = ""

    @property
    def recognised(self) -> bool:
        """Whether the service recognises a repetition by its request id."""
        return self.request_id_field is not None

    @property
    def digest(self) -> str:
        """Equal for equal calls."""
        parts = [
            self.method,
            self.path,
            self.body,
            dict(self.query),
            self.request_id_field,
            self.request_id_in,
            self.service,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def digest_of_sought(self) -> str:
        """Equal for equal calls that create the same: what that is may be said beside the call."""
        return hashlib.sha256(f"{self.digest} {self.resource}".encode()).hexdigest()

    def arguments(self, request_id: str) -> dict[str, Any]:
        """
        Return the arguments of ``start_operation``, the request id in its place.

        :raises ValueError: the dotted path leads through something that isn't an object.
        """
        body, query, headers = self.body, dict(self.query), dict(self.headers)
        if self.request_id_field and self.request_id_in == "query":
            query[self.request_id_field] = request_id
        elif self.request_id_field and self.request_id_in == "header":
            of_that_name = {name for name in headers if name.lower() == self.request_id_field.lower()}
            headers = {name: value for name, value in headers.items() if name not in of_that_name}
            headers[self.request_id_field] = request_id
        elif self.request_id_field:
            body = _inserted(body, self.request_id_field.split("."), request_id)
        return {
            "method": self.method,
            "json": body,
            "query": query,
            "headers": headers,
            "idempotent": self.recognised,
            "encoded": self.encoded,
            "validates": self.starts_nothing,
        }


def _inserted(body: Any, path: list[str], value: str) -> dict[str, Any]:
    if not isinstance(body, dict | None):
        raise ValueError(  # noqa: TRY004  the value of an argument is wrong, not its type
            f"'request_id_field' leads through {type(body).__name__} at {path[0]!r}; the start call's body must "
            "have objects there"
        )
    first, *rest = path
    result = dict(body or {})
    result[first] = _inserted(result.get(first), rest, value) if rest else value
    return result
