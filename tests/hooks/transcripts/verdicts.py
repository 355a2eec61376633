"""What an answer is taken for."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.operation import Code, Operation, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

T = "type.googleapis.com/google."


class Failed(NamedTuple):
    """What a ``CallFailure`` must say, but for what was asked."""

    http_status: int
    status: Status
    problem: str
    transient: bool = False
    excerpt: str = ""
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def of(self, line: str, base_url: str, attempts: int) -> CallFailure:
        """Return the failure of a request that began with this line."""
        method, target, _ = line.split(" ")
        return CallFailure(
            method,
            base_url + target.partition("?")[0],
            self.http_status,
            self.status,
            self.problem,
            excerpt=self.excerpt,
            retry_after=self.retry_after,
            transient=self.transient,
            attempts=attempts,
            headers=dict(self.headers),
        )


Polled = Operation | Failed
"""What the answer to a GET of an operation is taken for."""

Verdict = Polled | list[Operation] | None
"""What an answer is taken for; ``None``: the server agreed to cancel or delete."""


def refused(
    http_status: int,
    code: Code,
    message: str = "",
    details: list[Any] | None = None,
    other: dict[str, Any] | None = None,
    *,
    problem: str | None = None,
    **facts: Any,
) -> Failed:
    """Describe an answer other than 2xx."""
    status = Status(code, message, details or [], other or {})
    return Failed(http_status, status, problem or f"HTTP {http_status}", **facts)


def unreadable(problem: str, excerpt: str, http_status: int = 200) -> Failed:
    """Describe a 2xx that says nothing one can go on with."""
    return Failed(http_status, Status(Code.UNKNOWN, problem), problem, excerpt=excerpt)


def no_operation(keys: str, excerpt: str, http_status: int = 200) -> Failed:
    """Describe a 2xx with a JSON object that is no operation."""
    problem = f"the answer is no operation: an operation has 'name' or 'done'; this object has {keys}"
    return unreadable(problem, excerpt, http_status)
