"""
Filters of ListOperations: the part of the filter language that services offer for operations.

``done``, ``NOT done``, ``-done``, ``done=false``, ``name=...``, ``metadata.key=value``, joined by ``AND``.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .errors import ApiError, Violation

_TERM = re.compile(
    r"""\s*(?P<no>NOT\s+|-)?(?P<field>[\w.@]+)(?:\s*[=:]\s*(?P<value>"[^"]*"|'[^']*'|[^\s"']+))?\s*"""
)
_AND = re.compile(r"AND\s+")

Predicate = Callable[[dict[str, Any]], bool]


def parse_filter(text: str) -> Predicate:
    """
    Return the predicate over operation resources that ``text`` describes.

    :raises ApiError: 400 with a violation of the field ``filter``.
    """
    terms: list[Predicate] = []
    position = 0
    while text.strip():
        match = _TERM.match(text, position)
        if match is None:
            raise _refused(text, text[position:])
        terms.append(_term(text, match))
        position = match.end()
        if position == len(text):
            break
        joint = _AND.match(text, position)
        if joint is None:
            raise _refused(text, text[position:])
        position = joint.end()
    return lambda operation: all(term(operation) for term in terms)


def _term(text: str, match: re.Match[str]) -> Predicate:
    path = match["field"].split(".")
    value = match["value"]
    known = path in (["done"], ["name"]) or (path[0] == "metadata" and len(path) > 1)
    if not known or (value is None and path != ["done"]):
        raise _refused(text, match[0].strip())
    wanted = "true" if value is None else value.strip("\"'")
    if path == ["done"] and wanted not in ("true", "false"):
        raise _refused(text, match[0].strip())
    negated = match["no"] is not None
    return lambda operation: (_text_at(operation, path) == wanted) is not negated


def _text_at(operation: dict[str, Any], path: list[str]) -> str | None:
    value: Any = operation
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _refused(text: str, part: str) -> ApiError:
    supported = "done, NOT done, done=false, name=..., metadata.key=value, joined by AND"
    return ApiError.invalid(Violation("filter", f"cannot read {part!r} in {text!r}; supported: {supported}"))
