"""
The page about an operation in the service's own console: a URL made of the connection's template and a name.

Pure. What a server calls an operation is foreign text: it ends up in a path or a query, never in a host.
"""

from __future__ import annotations

import re
from itertools import pairwise
from urllib.parse import quote, urlsplit

from airflow_provider_operations._connection.fields import InvalidConnection

__all__ = ["checked_template", "page"]

PLACEHOLDERS = ("name", "project", "location", "operation_id")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UNFIT = re.compile(r"[\x00-\x20\x7f-\x9f\\\"<>^`|\ud800-\udfff]")


def checked_template(template: str, where: str) -> str:
    """
    Return the template if every page that is made of it is on one host.

    :param where: names the connection in an error.
    :raises InvalidConnection: another scheme than http(s), no host, a placeholder in it, or an unknown one.
    """
    problem = _problem(template)
    if problem:
        raise InvalidConnection(
            f"{where}: 'console_url' {problem}; it is like https://console.example.com/{{name}}, with "
            f"{', '.join(f'{{{name}}}' for name in PLACEHOLDERS)} in path, query or fragment"
        )
    return template


def _problem(template: str) -> str | None:
    try:
        parts = urlsplit(template)
        parts.port  # noqa: B018  the property itself checks
    except ValueError as error:
        return f"is not a URL ({error})"
    host = parts.netloc
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"is not http:// or https:// and a host: {template[:200]!r}"
    if "@" in host:
        return "has credentials in it"
    if "{" in host or "}" in host:
        return f"has a placeholder in its host, {host[:200]!r}"
    if bad := _UNFIT.search(template):
        return f"has {bad[0]!r} in it"
    unknown = [name for name in _PLACEHOLDER.findall(template) if name not in PLACEHOLDERS]
    if unknown:
        return f"has an unknown placeholder, {{{unknown[0][:50]}}}"
    if re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
        return "has a brace that belongs to no placeholder"
    return None


def page(template: str | None, name: str) -> str | None:
    """
    Return the URL of the page about an operation.

    :param template: as ``checked_template`` has let through.
    :param name: ``projects/p/locations/l/operations/o``; of ``{project}`` and ``{location}`` those after
        ``projects/`` and ``locations/``, of ``{operation_id}`` the last segment.
    :return: ``None`` without a template, or where the name lacks what the template asks for.
    """
    segments = name.split("/")
    if not template or any(segment in {"", ".", ".."} for segment in segments):
        return None
    values = {
        "name": name,
        "project": _after("projects", segments),
        "location": _after("locations", segments),
        "operation_id": segments[-1],
    }
    if any(not values[wanted] for wanted in _PLACEHOLDER.findall(template)):
        return None
    return _PLACEHOLDER.sub(lambda match: _encoded(values[match[1]]), template)


def _after(collection: str, segments: list[str]) -> str:
    for kind, value in pairwise(segments):
        if kind == collection:
            return value
    return ""


def _encoded(value: str) -> str:
    return quote(value, safe="/", errors="replace")
