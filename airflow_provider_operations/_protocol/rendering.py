"""
A ``google.rpc.Status`` as text for people: what the server said, whole and readable.

Detail types: ``google/rpc/error_details.proto`` (https://google.aip.dev/193). A detail that doesn't look as
its type promises is shown as the JSON that came; none is dropped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_operations.operation import detail_fields, detail_type

if TYPE_CHECKING:
    from airflow_provider_operations.operation import Status

__all__ = [
    "CONTROL",
    "MAX_TEXT_CHARS",
    "clip",
    "clip_json",
    "each_text",
    "each_value",
    "finite",
    "finite_number",
    "one_line",
    "printable",
    "render_status",
    "whole_fields",
]

MAX_TEXT_CHARS = 16_000
"""Longest text put into an exception or a log line; the attributes keep the whole."""

CONTROL = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Between the brackets of a regular expression: what steers a terminal or hides in which order text is to be read."""

_CONTROL = re.compile(rf"(?![\n\t])[{CONTROL}]")

_Lines = Iterator[str]


def printable(text: str) -> str:
    """Neutralise control characters (terminal escapes, forged lines, bidi overrides); newline and tab stay."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 1000) -> str:
    """Make one line of what others wrote: neutralised, and cut before anything is searched in it; idempotent."""
    head = text[: 4 * limit]
    line = printable(" ".join(head.split()))
    if head == text and len(line) <= limit:
        return line
    kept = limit - 50
    return f"{line[:kept]} … ({len(text) - kept} more characters)"


def clip(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Cut a text that is longer than ``limit`` characters and say how much is missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit} more characters)"


def clip_json(text: str, limit: int) -> str:
    """Cut a text, and say so, whose JSON would have more than ``limit`` characters; at least 50."""
    if len(text) <= limit and len(json.dumps(text)) <= limit:
        return text
    kept = limit - 50
    head = text[:kept]
    while (size := len(json.dumps(head))) > kept:
        head = head[: len(head) * kept // size]
    return f"{head} … ({len(text) - len(head)} more characters)"


def render_status(status: Status, limit: int = MAX_TEXT_CHARS) -> str:
    """
    Render code, message and every detail, one detail after the other, DebugInfo last.

    :return: lines such as ``RESOURCE_EXHAUSTED (8): quota used up`` and, indented, ``QuotaFailure: ...``;
        control characters neutralised, at most about ``limit`` characters.
    """
    lines = [f"{status.code_name}: {status.message or '(no message)'}"]
    chars = 0
    for number, detail in enumerate(_debug_info_last(status.details)):
        if chars > limit:  # the rest would be cut
            lines.append(f"… ({len(status.details) - number} more details)")
            break
        rendered = _render_detail(detail)
        lines.extend(rendered)
        chars += sum(map(len, rendered)) + len(rendered)
    if status.other:
        lines.append(f"also sent: {_json(status.other)}")
    first, *rest = (line.replace("\n", "\n    ") for line in lines)
    return clip(printable("\n  ".join([first, *rest])), limit)


def _debug_info_last(details: list[Any]) -> Iterator[Any]:
    for last in (False, True):
        yield from (detail for detail in details if (detail_type(detail) == "google.rpc.DebugInfo") is last)


def _render_detail(detail: object) -> list[str]:
    full_name = detail_type(detail) or ""
    package, _, name = full_name.rpartition(".")
    render = _RENDERERS.get(name) if package == "google.rpc" else None
    fields = whole_fields(detail)
    if render is not None and fields is not None:
        try:
            return list(render(_Fields(fields)))
        except _Unexpected:
            pass
    if full_name:
        return [f"{full_name}: {_json(fields or detail)}"]
    return [_json(detail)]


def each_value(
    change: Callable[[Any], Any], value: Any, change_key: Callable[[str], str] | None = None
) -> Any:
    """Return JSON with every value in it changed that isn't made of others, and the objects' keys."""
    if isinstance(value, dict):
        return {
            change_key(key) if change_key else key: each_value(change, item, change_key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [each_value(change, item, change_key) for item in value]
    return change(value)


def each_text(change: Callable[[str], Any], value: Any) -> Any:
    """Return JSON with every text in it changed, the objects' keys too."""
    return each_value(lambda leaf: change(leaf) if isinstance(leaf, str) else leaf, value, change)


def finite(value: Any) -> Any:
    """
    Return JSON with NaN and the infinities as text: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.

    Some servers send them as numbers. Strict JSON has no such numbers: PostgreSQL and browsers refuse them. proto3
    spells them as this text.
    """
    return each_value(finite_number, value)


def finite_number(value: Any) -> Any:
    """Do as ``finite`` with a value that isn't made of others."""
    return json.dumps(value) if isinstance(value, float) and not math.isfinite(value) else value


def whole_fields(detail: object) -> dict[str, Any] | None:
    """Return the fields of a detail; ``None`` where they aren't all that it holds (bytes, keys beside)."""
    if isinstance(detail, dict) and "@type" not in detail:
        whole = detail.keys() <= {"typeUrl", "value"} and isinstance(detail.get("value", {}), dict)
        return detail_fields(detail) if whole else None
    return detail_fields(detail)


class _Unexpected(Exception):
    """A detail isn't shaped as its type promises."""


class _Fields:
    """The fields of one detail: each is taken once with the type it must have; the rest is shown as JSON."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise _Unexpected
        self._fields: dict[str, Any] = dict(fields)

    def text(self, key: str) -> str:
        value = self._fields.pop(key, None)
        if not isinstance(value, str | None):
            raise _Unexpected
        return value or ""

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._fields.pop(key, None) or {}
        if not isinstance(value, dict):
            raise _Unexpected
        return value

    def items(self, key: str) -> list[_Fields]:
        return [_Fields(item) for item in self.list(key)]

    def list(self, key: str) -> list[Any]:
        value = self._fields.pop(key, None) or []
        if not isinstance(value, list):
            raise _Unexpected
        return value

    def rest(self) -> str:
        """Return `` (more: {...})`` with what no renderer asked for, or nothing."""
        fields, self._fields = self._fields, {}
        return f" (more: {_json(fields)})" if fields else ""


def _error_info(fields: _Fields) -> _Lines:
    reason, domain, metadata = fields.text("reason"), fields.text("domain"), fields.mapping("metadata")
    yield f"ErrorInfo: {reason}" + (f" ({domain})" if domain else "") + fields.rest()
    for key, value in metadata.items():
        yield f"  {key}: {value if isinstance(value, str) else _json(value)}"


def _bad_request(fields: _Fields) -> _Lines:
    violations = fields.items("fieldViolations")
    yield "BadRequest:" + fields.rest()
    for violation in violations:
        field, description, reason = (violation.text(key) for key in ("field", "description", "reason"))
        localized = violation.mapping("localizedMessage").get("message")
        text = "; ".join(str(part) for part in (description, localized) if part)
        yield f"  {field}: {text}" + (f" [{reason}]" if reason else "") + violation.rest()


def _violations(title: str, *subject_keys: str) -> Callable[[_Fields], _Lines]:
    def render(fields: _Fields) -> _Lines:
        violations = fields.items("violations")
        yield f"{title}:" + fields.rest()
        for violation in violations:
            subject = " ".join(filter(None, (violation.text(key) for key in subject_keys)))
            yield f"  {subject}: {violation.text('description')}" + violation.rest()

    return render


def _resource_info(fields: _Fields) -> _Lines:
    kind, name, owner, description = (
        fields.text(key) for key in ("resourceType", "resourceName", "owner", "description")
    )
    yield (
        f"ResourceInfo: {kind} {name}".rstrip()
        + (f", owner {owner}" if owner else "")
        + (f": {description}" if description else "")
        + fields.rest()
    )


def _help(fields: _Fields) -> _Lines:
    links = fields.items("links")
    yield "Help:" + fields.rest()
    for link in links:
        description, url = link.text("description"), link.text("url")
        yield f"  {description}: {url}" + link.rest()


def _localized_message(fields: _Fields) -> _Lines:
    locale, message = fields.text("locale"), fields.text("message")
    yield f"LocalizedMessage ({locale}): {message}" + fields.rest()


def _request_info(fields: _Fields) -> _Lines:
    request_id, data = fields.text("requestId"), fields.text("servingData")
    yield f"RequestInfo: {request_id}" + (f", serving data {data}" if data else "") + fields.rest()


def _retry_info(fields: _Fields) -> _Lines:
    yield f"RetryInfo: try again after {fields.text('retryDelay') or 'an unknown time'}" + fields.rest()


def _debug_info(fields: _Fields) -> _Lines:
    detail, stack = fields.text("detail"), fields.list("stackEntries")
    yield f"DebugInfo: {detail}" + fields.rest()
    for entry in stack:
        yield f"  {entry if isinstance(entry, str) else _json(entry)}"


_RENDERERS: dict[str, Callable[[_Fields], _Lines]] = {
    "ErrorInfo": _error_info,
    "BadRequest": _bad_request,
    "QuotaFailure": _violations("QuotaFailure", "subject"),
    "PreconditionFailure": _violations("PreconditionFailure", "type", "subject"),
    "ResourceInfo": _resource_info,
    "Help": _help,
    "LocalizedMessage": _localized_message,
    "RequestInfo": _request_info,
    "RetryInfo": _retry_info,
    "DebugInfo": _debug_info,
}


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
"""Made once: ``json.dumps`` would make one for every value."""


def _json(value: object) -> str:
    return _ENCODER.encode(value)
