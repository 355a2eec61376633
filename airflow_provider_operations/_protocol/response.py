"""
What came back: an answer as it was sent, or a ``CallFailure``, which keeps every fact of one that can't be used.

Sources: https://google.aip.dev/151, https://google.aip.dev/193 (errors), RFC 9110 (Retry-After), RFC 9457 (problem
details).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._json.abridging import parse
from airflow_provider_operations._protocol.rendering import one_line, printable
from airflow_provider_operations._protocol.sent_secrets import SentSecrets
from airflow_provider_operations.operation import Code, Status, detail_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_operations._json.abridging import Abridged
    from airflow_provider_operations._protocol.request import Request

__all__ = [
    "CallFailure",
    "HttpResponse",
    "refused",
    "unreadable",
]

MAX_EXCERPT_CHARS = 500
"""How much of an unreadable body is kept."""

_SEARCHED_BYTES = 64 * 1024
"""So much of a body is searched for secrets to make an excerpt."""

_LONGEST_SECRET_CHARS = 8 * 1024


@dataclass(frozen=True)
class HttpResponse:
    """
    What came back: HTTP status, headers (names in any case) and the whole body.

    :param method: of the request that was answered.
    :param url: of that request, without its query.
    :param secrets: what was sent and may be repeated; hidden in all that a failure says, before it is cut.
    :param abridged: what is known of a body that is too large to be read here.
    """

    method: str
    url: str
    http_status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: SentSecrets = field(default_factory=SentSecrets, compare=False, repr=False)
    abridged: Abridged | None = None

    def json(self) -> Any:
        """
        Return the JSON of the body.

        :raises ValueError: it has none.
        """
        if self.abridged is None:
            return parse(self.body)
        if self.abridged.problem is not None:
            raise ValueError(self.abridged.problem)
        return self.abridged.value

    def header(self, name: str) -> str | None:
        """Return a header whatever the case of its name."""
        wanted = name.lower()
        found = next((value for key, value in self.headers.items() if key.lower() == wanted), None)
        return found and self.hide(found)

    def hide(self, value: Any) -> Any:
        """Return text or JSON of the answer without the secrets that were sent."""
        return self.secrets.hidden_in(value)

    @cached_property
    def may_repeat_secrets(self) -> bool:
        """Whether the body may hold a secret that was sent; an abridgement isn't searched for one first."""
        return self.abridged is not None or self.secrets.may_be_in(self.body)


@dataclass(frozen=True)
class CallFailure:
    """
    A call that brought no usable answer.

    :param http_status: ``None`` when no answer came (refused, timed out, cut off).
    :param status: what the server said, or the code that the HTTP status stands for.
    :param problem: one line: what went wrong.
    :param excerpt: first characters of a body that says nothing readable.
    :param retry_after: how long the server asks to wait (Retry-After or RetryInfo).
    :param transient: asking again later may help: no connection, time-out, 408, 429, 5xx but 501, 403 for a quota.
    :param sent: false when the request certainly never reached the server.
    :param attempts: how often it was sent before giving up.
    :param names_code: an error body names a code, as the protocol's do and the pages of gateways don't.
    :param code_is_named: the code of ``status`` is one that the body names, and not what its HTTP status stands for.
    """

    method: str
    url: str
    http_status: int | None
    status: Status
    problem: str
    excerpt: str = ""
    retry_after: timedelta | None = None
    transient: bool = False
    sent: bool = True
    attempts: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    """``www-authenticate``, ``location`` and ``retry-after``."""
    names_code: bool = field(default=True, compare=False)
    code_is_named: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Make one line of a server's text, neutralised and cut, for everybody who shows it."""
        problem = one_line(self.problem)
        if problem != self.problem:
            if self.status.message == self.problem:
                object.__setattr__(self, "status", replace(self.status, message=problem))
            object.__setattr__(self, "problem", problem)
        object.__setattr__(self, "url", one_line(self.url, 2000))
        object.__setattr__(self, "headers", {name: one_line(value) for name, value in self.headers.items()})

    @property
    def missing(self) -> bool:
        """Whether the answer is a 404 or 410, whoever gave it."""
        return self.http_status in {404, 410}

    @property
    def says_missing(self) -> bool:
        """Whether the service itself says that there is no such thing, and not a proxy before it."""
        return self.missing and self.names_code and bool(self.status.message or self.status.details)

    @property
    def asks_for_less(self) -> bool:
        """Whether requests should be sent more slowly: a quota is used up, or credentials are refused (401)."""
        return self.status.code == Code.RESOURCE_EXHAUSTED or self.http_status == 401

    @property
    def safe_to_resend(self) -> bool:
        """Whether the request had no effect for certain, so that even a start may be sent again."""
        return (
            not self.sent
            or self.http_status == 429
            or (self.http_status == 403 and self.transient)
            or (self.http_status == 503 and self.retry_after is not None)
        )

    @property
    def had_no_effect(self) -> bool:
        """Whether a start that failed so has certainly started nothing."""
        refused = self.http_status is not None and 400 <= self.http_status < 500 and self.http_status != 408
        return refused or self.safe_to_resend

    @classmethod
    def no_answer(
        cls, request: Request[Any], base_url: str, problem: str, *, sent: bool, transient: bool = True
    ) -> CallFailure:
        """Describe a request that brought no answer; ``problem`` says why."""
        status = Status(Code.UNAVAILABLE if transient else Code.FAILED_PRECONDITION, problem)
        return cls(
            request.method, request.url(base_url), None, status, problem, sent=sent, transient=transient
        )

    @classmethod
    def not_asked(cls, about: str, error: Exception, *, transient: bool = True) -> CallFailure:
        """Describe a request that could not even be made; ``about`` says which operation it was for."""
        problem = f"{type(error).__name__}: {error}"
        status = Status(Code.UNAVAILABLE if transient else Code.FAILED_PRECONDITION, problem)
        return cls("GET", about, None, status, problem, sent=False, transient=transient)

    @classmethod
    def no_end(cls, request: Request[Any], base_url: str, problem: str) -> CallFailure:
        """Describe a call whose answers go on without end, which isn't transient."""
        status = Status(Code.OUT_OF_RANGE, problem)
        return cls(request.method, request.url(base_url), 200, status, problem)


def unreadable(response: HttpResponse, problem: str) -> CallFailure:
    """Describe a successful answer that can't be used."""
    return CallFailure(
        response.method,
        response.url,
        response.http_status,
        Status(Code.UNKNOWN, problem),
        problem,
        excerpt=_excerpt(response),
        names_code=False,
    )


def refused(response: HttpResponse, now: datetime) -> CallFailure:
    """Describe an answer that isn't a success."""
    http_status = response.http_status
    try:
        fields = _status_fields(response.hide(response.json()))
    except ValueError:
        fields = None
    status = None if fields is None else _status_of(fields, http_status)
    kept = {name: value for name in _KEPT_HEADERS if (value := response.header(name))}
    if "location" in kept:  # without its query, which may repeat a key of ours
        kept["location"] = re.split("[?#]", kept["location"])[0]
    problem = f"HTTP {http_status}"
    if 300 <= http_status < 400:
        problem += f", a redirect to {one_line(kept.get('location', 'nowhere'), 300)}, which is not followed"
    delays = [_retry_after(kept.get("retry-after"), now), status.retry_delay if status else None]
    return CallFailure(
        response.method,
        response.url,
        http_status,
        status or Status(Code.of_http(http_status)),
        problem,
        excerpt="" if status else _excerpt(response),
        retry_after=max((delay for delay in delays if delay is not None), default=None),
        transient=http_status in {408, 429}
        or (http_status >= 500 and http_status != 501)
        or (http_status == 403 and status is not None and status.code == Code.RESOURCE_EXHAUSTED),
        headers=kept,
        names_code=fields is not None and _names_code(fields),
        code_is_named=fields is not None and _names_standard_code(fields),
    )


_KEPT_HEADERS = ("www-authenticate", "retry-after", "location")


def _status_of(fields: dict[str, Any], http_status: int) -> Status:
    status = Status.from_json(fields)
    # Older Google APIs say "forbidden" where newer ones say 429.
    quota = http_status == 403 and not _QUOTA_REASONS.isdisjoint(_reasons(status))
    sent_code = fields.get("code")
    if Code.standard(sent_code) and not quota:
        return status
    # The envelope's code is the HTTP status, and others leave it out: a name says more, if there is one.
    named = Code.RESOURCE_EXHAUSTED if quota else Code.named_in(fields)
    other = {key: value for key, value in status.other.items() if key != "codeAsSent"}
    if Code.standard(fields.get("status")) and not quota:
        del other["status"]
    if sent_code and str(sent_code) != str(http_status):
        other["codeAsSent"] = sent_code
    return replace(status, code=named or Code.of_http(http_status), other=other)


_QUOTA_REASONS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}
)
"""Reasons that make a 403 transient: in ``errors`` of Google's error format 1, or in an ErrorInfo."""


def _reasons(status: Status) -> Iterator[str]:
    errors = status.other.get("errors")
    for item in [*status.details, *(errors if isinstance(errors, list) else [])]:
        if isinstance(item, dict):
            fields = detail_fields(item) if "typeUrl" in item else item
            if isinstance(reason := fields.get("reason"), str):
                yield reason


def _names_code(fields: dict[str, Any]) -> bool:
    return fields.get("code") is not None or Code.named_in(fields) is not None


def _names_standard_code(fields: dict[str, Any]) -> bool:
    quota = not _QUOTA_REASONS.isdisjoint(_reasons(Status.from_json(fields)))
    return bool(Code.standard(fields.get("code")) or Code.named_in(fields) or quota)


def _status_fields(body: Any) -> dict[str, Any] | None:
    """Bring an error body of any known shape into that of a Status; ``None`` when it holds none."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, dict):  # Google's envelope, both formats
        return {**{key: value for key, value in body.items() if key != "error"}, **error}
    if isinstance(error, str):  # OAuth (RFC 6749); many others send a message beside it
        said = [error, *(_text(body.get(key)) for key in ("error_description", "message"))]
        rest = {key: value for key, value in body.items() if key not in {"error", "error_description"}}
        return {**rest, "message": ": ".join(dict.fromkeys(filter(None, said)))}
    if "message" in body or "code" in body:  # gRPC-gateway
        return body
    title, detail = body.get("title"), body.get("detail")
    rest = {key: value for key, value in body.items() if key not in {"title", "detail"}}
    if title is not None:  # problem+json (RFC 9457)
        return {**rest, "message": ": ".join(str(part) for part in (title, detail) if part)}
    if isinstance(detail, str):  # FastAPI
        return {**rest, "message": detail}
    if detail is not None:  # FastAPI's list of validation errors
        return {**rest, "message": "the request was refused", "details": detail}
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if value else ""


def _excerpt(response: HttpResponse) -> str:
    head = response.body[:_SEARCHED_BYTES]
    # Text in UTF-16 has zeros; read as UTF-8, a secret in it would not be recognised.
    encoding = json.detect_encoding(head) if b"\0" in head else "utf-8"
    text: str = response.hide(head.decode(encoding, "replace"))
    if len(response.body) > _SEARCHED_BYTES:  # the last secret may have been cut, and not be found
        text = text[:-_LONGEST_SECRET_CHARS]
    text = text.strip()
    return printable(text[:MAX_EXCERPT_CHARS]) + (" …" if len(response.body) > MAX_EXCERPT_CHARS else "")


def _retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read seconds or an HTTP date (RFC 9110, 10.2.3); a date in the past is zero."""
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        return timedelta(seconds=float(value))
    try:
        then = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    return max(then - now, timedelta())
