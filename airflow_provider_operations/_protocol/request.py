"""
What is asked: ``google.longrunning.Operations`` over HTTP, as values that any HTTP client can send.

Sources: https://google.aip.dev/151, ``google/longrunning/operations.proto`` (HTTP rules).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow_provider_operations._protocol.headers import unfit_in_tasks
from airflow_provider_operations._protocol.rendering import CONTROL
from airflow_provider_operations._protocol.request_values import body_value, header_values, query_values
from airflow_provider_operations._protocol.urls import has_dot_segment
from airflow_provider_operations.operation import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

__all__ = ["InvalidName", "InvalidRequest", "Request", "Service", "name_text", "start_method"]


class InvalidName(ValueError):
    """An operation name, list parent or start path that must not be put into a URL."""


class InvalidRequest(ValueError):
    """A method or a header of a start call that must not be sent."""


@dataclass(frozen=True)
class Request:
    """
    One HTTP request, not yet sent.

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
    """Whose state is asked for."""
    alone: bool = field(default=False, compare=False)
    """Over a connection on which nothing else is asked."""

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

    def get_operation(self, name: str) -> Request:
        """``GET {prefix}/{name}``."""
        return replace(self._request("GET", _checked(name, "operation name")), operation=name)

    def cancel_operation(self, name: str) -> Request:
        """``POST {prefix}/{name}:cancel``, without a body as Google's own clients send it."""
        return self._request(self.cancel_method, _checked(name, "operation name") + self.cancel_suffix)

    def delete_operation(self, name: str) -> Request:
        """``DELETE {prefix}/{name}``."""
        return self._request("DELETE", _checked(name, "operation name"))

    def wait_operation(self, name: str, timeout: timedelta) -> Request:
        """``POST {prefix}/{name}:wait?timeout=30s``: answers when the operation is over, or at the timeout."""
        seconds = timeout.total_seconds()
        path = _checked(name, "operation name") + ":wait"
        duration = f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
        if self.wait_timeout_in == "body":
            request = replace(self._request("POST", path), body={"timeout": duration})
        else:
            request = self._request("POST", path, {"timeout": duration})
        return replace(request, timeout_s=seconds + 15, operation=name)

    def list_operations(
        self, parent: str, filter_: str | None, page_size: int | None, page_token: str | None
    ) -> Request:
        """``GET {prefix}/{parent}/operations?filter=&pageSize=&pageToken=``; an empty parent lists all."""
        path = f"{_checked(parent, 'list parent')}/operations" if parent else "operations"
        query = {"filter": filter_, "pageSize": page_size, "pageToken": page_token}
        return self._request("GET", path, {key: value for key, value in query.items() if value is not None})

    def start_operation(
        self,
        path: str,
        *,
        method: str = "POST",
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = False,
    ) -> Request:
        """
        Any call that answers with an operation.

        :param path: below the prefix; with a leading ``/`` below the base URL instead.
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
        checked = _checked(path[1:] if rooted else path, "start path")
        request = self._request(method, checked, query, rooted=rooted)
        # Alone, as the answer says which operation it is, and nothing else can tell that it's ours.
        return replace(
            request,
            body=body_value(body, "json"),
            headers=header_values(headers),
            idempotent=idempotent,
            alone=True,
        )

    def _request(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, *, rooted: bool = False
    ) -> Request:
        sent = dict(query or {})
        if self.error_format is not None:
            sent["$.xgafv"] = self.error_format
        # People copy names from URLs, with the prefix in front.
        rooted = rooted or not self.path_prefix or path.startswith(f"{self.path_prefix}/")
        target = f"/{path}" if rooted else f"/{self.path_prefix}/{path}"
        encoded = urlencode(query_values(sent), doseq=True)
        return Request(method, f"{target}?{encoded}" if encoded else target)


_REFUSED = re.compile(rf"[{CONTROL}\\?#]")


def name_text(name: object, what: str) -> str:
    """
    Return what a template made of a name as text: Airflow's native rendering turns ``7`` into a number.

    :param what: ``operation name``, ``list parent`` or ``start path``.
    :raises InvalidName: there is nothing, or something that isn't a name.
    """
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if name is None or (isinstance(name, str) and name in {"", "None"}):
        raise InvalidName(
            f"the {what} is {name!r}: a template found nothing; does the upstream task push it?"
        )
    if not isinstance(name, str):
        raise InvalidName(f"the {what} is {type(name).__name__} {repr(name)[:200]}; it must be text such as "
                          f"{_EXAMPLES[what]!r}")  # fmt: skip
    return name


_EXAMPLES = {
    "operation name": "projects/my-project/operations/abc",
    "list parent": "projects/my-project",
    "start path": "projects/my-project/things",
}


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


def _checked(name: object, what: str) -> str:
    """
    Return the name percent-encoded, slashes as they are, so that it stays one path below the prefix.

    :raises InvalidName: it is empty, absolute, climbs, or brings a query or control characters.
    """
    name = name_text(name, what)
    shown = repr(name if len(name) <= 200 else name[:200] + "…")
    if name != name.strip():
        raise InvalidName(f"the {what} {shown} begins or ends with white space")
    if bad := _REFUSED.search(name):
        raise InvalidName(f"the {what} {shown} has {bad[0]!r} in it; queries go into 'query', and control "
                          "characters and backslashes are in no resource name")  # fmt: skip
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidName(f"the {what} {shown} is longer than {MAX_NAME_BYTES} bytes")
    if "://" in name or name.startswith("/"):
        raise InvalidName(f"the {what} {shown} is a URL or an absolute path; give the resource name alone, "
                          "the connection has host and prefix")  # fmt: skip
    if has_dot_segment(name):
        raise InvalidName(f"the {what} {shown} has a '.' or '..' segment, which would leave the prefix")
    return quote(name, safe="/:@!$&'()*+,;=~-._")
