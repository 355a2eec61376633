"""Which names may be put into a URL: of operations, of what they are listed under, of what starts them."""

from __future__ import annotations

import re
from urllib.parse import quote

from airflow_provider_operations._protocol.rendering import CONTROL
from airflow_provider_operations._protocol.urls import has_dot_segment
from airflow_provider_operations.operation import MAX_NAME_BYTES

__all__ = ["InvalidName", "checked_name", "location_in", "name_text"]


class InvalidName(ValueError):
    """An operation name, list parent or start path that must not be put into a URL."""


_LOCATION = re.compile(r"(?:^|/)locations/([a-z][a-z0-9-]*)(?:[/:]|$)")


def location_in(name: str) -> str | None:
    """Return the location in a name or a path: what follows ``locations/``."""
    found = _LOCATION.search(name)
    return found[1] if found else None


_REFUSED = re.compile(rf"[{CONTROL}\\?#]")
_ENCODED_SLASH = re.compile("(%2F)", re.IGNORECASE)


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


def checked_name(name: object, what: str) -> str:
    """
    Return the name percent-encoded, slashes as they are, so that it stays one path below the prefix.

    An encoded slash stays one: a name may hold another as one segment, as those of IAM's deny policies do, and servers
    decode everything else.

    :raises InvalidName: it is empty, absolute, climbs, or brings a query or control characters.

    Source: ``google/api/http.proto``, on variables of several segments.
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
    if has_dot_segment(name) or has_dot_segment(_ENCODED_SLASH.sub("/", name)):
        raise InvalidName(f"the {what} {shown} has a '.' or '..' segment, which would leave the prefix")
    return "".join(
        part if _ENCODED_SLASH.fullmatch(part) else quote(part, safe="/:@!$&'()*+,;=~-._")
        for part in _ENCODED_SLASH.split(name)
    )
