"""
What the browser gets to show: an operation, its error and where it comes from, as plain JSON.

Pure. All text is neutralised here as in logs, and stays text in the browser; NaN and infinities, which its JSON
doesn't have, become text. The response isn't shown, as it is the task's return value. However many megabytes a
service answers, what is made of them is bounded.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_operations._protocol.outcome import ended_as
from airflow_provider_operations._protocol.rendering import (
    MAX_TEXT_CHARS,
    clip,
    each_text,
    finite,
    printable,
    whole_fields,
)
from airflow_provider_operations.operation import Operation, Status, detail_fields, detail_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Hide = Callable[[Any], Any]

__all__ = ["shown_operation", "shown_status", "shown_text", "web_link"]


def _as_is(value: Any) -> Any:
    return value


MAX_TREE_CHARS = 200_000
"""Longest JSON shown as a tree; what is longer would only hold up the browser."""

MAX_DETAILS = 100
"""So many details of an error are shown; the others are counted."""

MAX_DETAILS_CHARS = 1_000_000
"""Longest JSON of all details together that is shown."""

MAX_CELLS = 10_000
"""Largest table; a row for each of as many columns would make a hundred megabytes of a service's kilobytes."""


def shown_operation(operation: Operation, hide: Hide = _as_is) -> dict[str, Any]:
    """
    Return what the tab shows of an operation.

    :param hide: takes the secrets out of text or JSON: a service may repeat what it was sent.
    :return: ``{"name": str, "state": str, "percent": float | None, "message": str | None, "started": str | None,
        "ended": str | None, "metadata": Any, "error": {...} | None}``; state is running, succeeded, failed or
        cancelled.
    """
    progress = operation.progress
    fields = detail_fields(operation.metadata)
    return {
        "name": shown_text(operation.name, 2000, hide),
        "state": ended_as(operation) if operation.done else "running",
        "percent": progress.percent,
        "message": None if progress.said is None else shown_text(progress.said, 2000, hide),
        "started": _time(fields, "startTime", "createTime"),
        "ended": _time(fields, "endTime") if operation.done else None,
        "metadata": _tree(_metadata(operation), hide),
        "error": None if operation.error is None else shown_status(operation.error, hide),
    }


def _metadata(operation: Operation) -> Any:
    """Return the metadata; if it may be incomplete, with a remark."""
    if operation.abridged and isinstance(operation.metadata, dict):
        return {**operation.metadata, "…": "more may be left out, as the service's answer is large"}
    return operation.metadata


def shown_text(text: str, limit: int = MAX_TEXT_CHARS, hide: Hide = _as_is) -> str:
    """Return text without secrets and control characters, cut where it is too long."""
    return printable(clip(hide(text), limit))  # hidden first: half a secret isn't recognised


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _time(fields: Mapping[str, Any], *keys: str) -> str | None:
    times = (fields.get(key) for key in keys)
    return next((time for time in times if isinstance(time, str) and _TIME.fullmatch(time)), None)


def _tree(value: Any, hide: Hide) -> Any:
    size = len(json.dumps(value))
    return (
        each_text(printable, hide(finite(value)))
        if size <= MAX_TREE_CHARS
        else f"left out: {size} characters"
    )


# --- errors ----------------------------------------------------------------------------------------------------

_TABLES = {
    "BadRequest": ("fieldViolations", ("field", "description", "reason")),
    "QuotaFailure": ("violations", ("subject", "description")),
    "PreconditionFailure": ("violations", ("type", "subject", "description")),
    "Help": ("links", ("description", "url")),
}
_FACTS = {
    "ErrorInfo": ("reason", "domain"),
    "ResourceInfo": ("resourceType", "resourceName", "owner", "description"),
    "LocalizedMessage": ("locale", "message"),
    "RequestInfo": ("requestId", "servingData"),
    "RetryInfo": ("retryDelay",),
    "DebugInfo": ("detail", "stackEntries"),
}


def shown_status(status: Status, hide: Hide = _as_is) -> dict[str, Any]:
    """
    Return an error with its details by type, DebugInfo last; what is left out is mentioned.

    :return: ``{"code": str, "message": str, "sections": [{"title": str, ...}]}``. A section has ``facts`` (pairs
        of name and value), a ``table`` (``{"columns": [str], "rows": [[value]]}``), or ``json``. A value is text,
        or ``{"url": str, "text": str}``.
    """
    details = sorted(status.details, key=lambda detail: detail_type(detail) == "google.rpc.DebugInfo")
    sections: list[dict[str, Any]] = []
    chars = 0
    for detail in details[:MAX_DETAILS]:
        size = len(json.dumps(detail))
        chars += size
        sections.append(_section(detail, size, hide, whole=chars <= MAX_DETAILS_CHARS))
    if len(details) > MAX_DETAILS:
        sections.append({"title": "More", "json": f"left out: {len(details) - MAX_DETAILS} details"})
    if status.other:
        sections.append({"title": "Also sent", "json": _tree(status.other, hide)})
    return {
        "code": status.code_name,
        "message": shown_text(status.message or "(no message)", hide=hide),
        "sections": sections,
    }


def _section(detail: Any, size: int, hide: Hide, *, whole: bool) -> dict[str, Any]:
    full_name = detail_type(detail) or ""
    title = shown_text(full_name, 500, hide) or "Detail"
    if size > MAX_TREE_CHARS or not whole:
        return {"title": title, "json": f"left out: {size} characters"}
    detail = hide(finite(detail))
    fields = whole_fields(detail)
    package, _, name = full_name.rpartition(".")
    if package == "google.rpc" and fields:
        section = (
            _table(name, fields) if name in _TABLES else _facts(name, fields) if name in _FACTS else None
        )
        if section is not None:
            return {"title": name, **section}
    return {"title": title, "json": each_text(printable, fields or detail)}


def _table(name: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    key, known = _TABLES[name]
    rows = fields.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    present = dict.fromkeys(column for row in rows for column in row)
    columns = [column for column in known if column in present]
    columns += [column for column in present if column not in known]
    if len(rows) * len(columns) > MAX_CELLS:
        return None
    rest = {other: value for other, value in fields.items() if other != key}
    return {
        "table": {
            "columns": [printable(column) for column in columns],
            "rows": [[_value(row.get(column, ""), column) for column in columns] for row in rows],
        },
        "facts": [[printable(other), _value(value)] for other, value in rest.items()],
    }


def _facts(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    facts = [(key, fields[key]) for key in _FACTS[name] if key in fields]
    rest = {key: value for key, value in fields.items() if key not in _FACTS[name]}
    if name == "ErrorInfo" and isinstance(rest.get("metadata"), dict):
        facts += rest.pop("metadata").items()
    return {"facts": [[printable(key), _value(value)] for key, value in (*facts, *rest.items())]}


def _value(value: Any, key: str = "") -> Any:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    text = clip(printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    url = web_link(value) if key == "url" else None
    return {"url": url, "text": text} if url else text


# --- links -----------------------------------------------------------------------------------------------------


def web_link(url: object) -> str | None:
    """Return a URL that may be followed by a click: http(s), a host, and nothing that hides where it leads."""
    if not isinstance(url, str) or len(url) > 2000 or not url.isprintable() or printable(url) != url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    return url if usable and "\\" not in url and " " not in url else None
