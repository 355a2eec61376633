"""
What the browser gets to show: an operation, its error and where it comes from, as plain JSON.

Pure. All text is neutralised here as in logs, and stays text in the browser. The response isn't shown, as it is
the task's return value.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_operations.operation import Code, Operation, Status, detail_fields, detail_type
from airflow_provider_operations.rendering import clip, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["shown_operation", "shown_status", "web_link"]

MAX_TREE_CHARS = 200_000
"""Longest JSON shown as a tree; what is longer would only hold up the browser."""


def shown_operation(operation: Operation) -> dict[str, Any]:
    """
    Return what the tab shows of an operation.

    :return: ``{"name": str, "state": str, "percent": float | None, "message": str | None, "started": str | None,
        "ended": str | None, "metadata": Any, "error": {...} | None}``; state is running, succeeded, failed or
        cancelled.
    """
    percent, message = operation.progress
    fields = detail_fields(operation.metadata)
    return {
        "name": printable(operation.name),
        "state": _state(operation),
        "percent": percent,
        "message": None if message is None else clip(printable(message), 2000),
        "started": _time(fields, "startTime", "createTime"),
        "ended": _time(fields, "endTime") if operation.done else None,
        "metadata": _tree(operation.metadata),
        "error": None if operation.error is None else shown_status(operation.error),
    }


def _state(operation: Operation) -> str:
    if not operation.done:
        return "running"
    if operation.error is None:
        return "succeeded"
    return "cancelled" if operation.error.code is Code.CANCELLED else "failed"


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _time(fields: Mapping[str, Any], *keys: str) -> str | None:
    times = (fields.get(key) for key in keys)
    return next((time for time in times if isinstance(time, str) and _TIME.fullmatch(time)), None)


def _tree(value: Any) -> Any:
    size = len(json.dumps(value))
    return _clean(value) if size <= MAX_TREE_CHARS else f"left out: {size} characters"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


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


def shown_status(status: Status) -> dict[str, Any]:
    """
    Return an error with its details by type, DebugInfo last; none is dropped.

    :return: ``{"code": str, "message": str, "sections": [{"title": str, ...}]}``. A section has ``facts`` (pairs
        of name and value), a ``table`` (``{"columns": [str], "rows": [[value]]}``), or ``json``. A value is text,
        or ``{"url": str, "text": str}``.
    """
    details = sorted(status.details, key=lambda detail: detail_type(detail) == "google.rpc.DebugInfo")
    sections = [_section(detail) for detail in details]
    if status.other:
        sections.append({"title": "Also sent", "json": _tree(status.other)})
    return {
        "code": status.code_name,
        "message": clip(printable(status.message or "(no message)")),
        "sections": sections,
    }


def _section(detail: Any) -> dict[str, Any]:
    full_name = detail_type(detail) or ""
    package, _, name = full_name.rpartition(".")
    fields = detail_fields(detail)
    if package == "google.rpc" and len(json.dumps(detail)) <= MAX_TREE_CHARS:
        section = (
            _table(name, fields) if name in _TABLES else _facts(name, fields) if name in _FACTS else None
        )
        if section is not None:
            return {"title": name, **section}
    return {"title": printable(full_name) or "Detail", "json": _tree(fields or detail)}


def _table(name: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    key, known = _TABLES[name]
    rows = fields.get(key) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    present = dict.fromkeys(column for row in rows for column in row)
    columns = [column for column in known if column in present]
    columns += [column for column in present if column not in known]
    rest = {other: value for other, value in fields.items() if other != key}
    return {
        "table": {
            "columns": [printable(column) for column in columns],
            "rows": [[_value(row.get(column, ""), column) for column in columns] for row in rows],
        },
        "facts": [[printable(other), _value(value)] for other, value in rest.items()],
    }


def _facts(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    facts = {key: fields[key] for key in _FACTS[name] if key in fields}
    rest = {key: value for key, value in fields.items() if key not in facts}
    if name == "ErrorInfo" and isinstance(rest.get("metadata"), dict):
        facts |= {key: value for key, value in rest.pop("metadata").items() if key not in facts}
    return {"facts": [[printable(key), _value(value)] for key, value in (facts | rest).items()]}


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
