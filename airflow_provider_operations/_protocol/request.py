"""
What is asked: ``google.longrunning.Operations`` over HTTP, as values that any HTTP client can send.

Sources: https://google.aip.dev/151, ``google/longrunning/operations.proto`` (HTTP rules).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlencode

from airflow_provider_operations._protocol.headers import unfit_in_tasks
from airflow_provider_operations._protocol.names import InvalidName, checked_name, name_text
from airflow_provider_operations._protocol.readers import (
    read_cancelled,
    read_json,
    read_operation,
    read_page,
    read_started,
    read_validated,
)
from airflow_provider_operations._protocol.request_values import body_value, header_values, query_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from airflow_provider_operations._protocol.response import CallFailure, HttpResponse
    from airflow_provider_operations.operation import Operation

__all__ = ["InvalidName", "InvalidRequest", "Request", "Service", "name_text", "start_method"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class InvalidRequest(ValueError):
    """A method or a header of a start call that must not be sent."""


@dataclass(frozen=True)
class Request(Generic[T_co]):
    """
    One HTTP request, not yet sent, and how its answer is read.

    :param target: path and query, percent-encoded, relative to the service's base URL; starts with ``/``.
    :param body: JSON value to send; ``None`` sends no body.
    :param idempotent: whether sending it twice has the same effect as sending it once.
    """

    method: str
    target: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = True
    timeout_s: float | None = None
    """Allowed for the whole exchange; ``None``: as the connection says."""
    operation: str | None = field(default=None, compare=False)
    """Name of the operation that is polled, if one is."""
    alone: bool = field(default=False, compare=False)
    """Whether it needs a connection on which nothing else is sent."""
    read: Callable[[HttpResponse, datetime], T_co | CallFailure] = field(compare=False, kw_only=True)
    """Reads an answer that came at a time; a function of a module, so that a request can be pickled."""

    def url(self, base_url: str) -> str:
        """Return the URL without its query, which may hold a key: for messages, not for sending."""
        return base_url + self.target.partition("?")[0]


@dataclass(frozen=True)
class Service:
    """
    How one service spells the standard methods.

    A name, parent or path that brings the prefix along (``v1/projects/p/builds``) is not prefixed twice.

    :param base_url: scheme, host, port and, rarely, a path; no trailing slash.
    :param path_prefix: between base URL and name: ``v1``, ``v1/admin``, or empty.
    :param cancel_suffix: ``:cancel``; a few services say ``/cancel``.
    :param cancel_method: ``POST``; one service says GET.
    :param error_format: 1 or 2 to ask for that format of error bodies (``$.xgafv``); ``None`` to leave it.
    :param wait_timeout_in: ``query``; a few services read the timeout of a wait from the ``body``.
    """

    base_url: str
    path_prefix: str = "v1"
    cancel_suffix: str = ":cancel"
    cancel_method: str = "POST"
    error_format: int | None = None
    wait_timeout_in: str = "query"

    def get_operation(self, name: str) -> Request[Operation]:
        """``GET {prefix}/{name}``."""
        path = checked_name(name, "operation name")
        return replace(self._request("GET", path, read=read_operation), operation=name)

    def cancel_operation(self, name: str) -> Request[None]:
        """``POST {prefix}/{name}:cancel``, without a body as Google's own clients send it."""
        path = checked_name(name, "operation name") + self.cancel_suffix
        return self._request(self.cancel_method, path, read=read_cancelled)

    def delete_operation(self, name: str) -> Request[Any]:
        """``DELETE {prefix}/{name}``."""
        return self._request("DELETE", checked_name(name, "operation name"), read=read_json)

    def wait_operation(self, name: str, timeout: timedelta) -> Request[Operation]:
        """``POST {prefix}/{name}:wait?timeout=30s``: answers when the operation is done, or at the timeout."""
        seconds = timeout.total_seconds()
        path = checked_name(name, "operation name") + ":wait"
        duration = f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
        in_body = self.wait_timeout_in == "body"
        request = self._request("POST", path, {} if in_body else {"timeout": duration}, read=read_operation)
        body = {"timeout": duration} if in_body else None
        return replace(request, body=body, timeout_s=seconds + 15, operation=name)

    def list_operations(
        self, parent: str, filter_: str | None, page_size: int | None, page_token: str | None
    ) -> Request[tuple[list[Operation], str]]:
        """``GET {prefix}/{parent}/operations?filter=&pageSize=&pageToken=``; an empty parent lists all."""
        path = f"{checked_name(parent, 'list parent')}/operations" if parent else "operations"
        query = {"filter": filter_, "pageSize": page_size, "pageToken": page_token}
        given = {key: value for key, value in query.items() if value is not None}
        return self._request("GET", path, given, read=read_page)

    def start_operation(
        self,
        path: str,
        *,
        method: str = "POST",
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = False,
        encoded: bool = False,
        validates: bool = False,
    ) -> Request[Operation]:
        """
        Any call that answers with an operation.

        :param path: below the prefix; with a leading ``/`` below the base URL instead.
        :param encoded: the path is checked and percent-encoded already, and begins with ``/``.
        :param validates: it asks only whether it would start an operation.
        :param idempotent: only true when it carries a request id by which the server recognises it.
        :raises InvalidName: the path is none.
        :raises InvalidRequest: method or headers would change more than this request.
        :raises InvalidRequestValue: body, query or headers have something in them that can't be sent.
        """
        method = start_method(method)
        for name in headers or {}:
            if why := unfit_in_tasks(name):
                raise InvalidRequest(f"header {str(name)[:100]!r} of the start {why}")
        path = name_text(path, "start path")
        rooted = path.startswith("/")
        below = path[1:] if rooted else path
        checked = below if encoded else checked_name(below, "start path")
        read = read_validated if validates else read_started
        request = self._request(method, checked, query, rooted=rooted, read=read)
        # Alone, as the answer says which operation it is, and nothing else can tell that it's ours.
        return replace(
            request,
            body=body_value(body, "json"),
            headers=header_values(headers),
            idempotent=idempotent,
            alone=True,
        )

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        rooted: bool = False,
        read: Callable[[HttpResponse, datetime], T | CallFailure],
    ) -> Request[T]:
        sent = dict(query or {})
        if self.error_format is not None:
            sent["$.xgafv"] = self.error_format
        # People copy names from URLs, with the prefix in front.
        rooted = rooted or not self.path_prefix or path.startswith(f"{self.path_prefix}/")
        target = f"/{path}" if rooted else f"/{self.path_prefix}/{path}"
        encoded = urlencode(query_values(sent), doseq=True)
        return Request(method, f"{target}?{encoded}" if encoded else target, read=read)


_START_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


def start_method(method: object) -> str:
    """
    Return the HTTP method of a start in capitals.

    :raises InvalidRequest: it is none by which anything is started.
    """
    if not isinstance(method, str) or method.upper() not in _START_METHODS:
        raise InvalidRequest(
            f"the start's method is one of {', '.join(_START_METHODS)}, not {str(method)[:50]!r}"
        )
    return method.upper()
