"""
Which headers connections and tasks may set.

What says where a message ends, how long a connection lives or which host is meant is the HTTP client's alone: set by
others beside credentials, it moves the request to another virtual host, or makes two requests of one.

Pure. Sources: RFC 9110 (sections 5.1, 7.2, 7.6), RFC 9112 (sections 6, 11.2).
"""

from __future__ import annotations

import re

__all__ = ["is_token", "unfit", "unfit_in_tasks"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_THE_CLIENT = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OF_PROXIES = frozenset(
    {
        "x-forwarded-host",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    }
)
"""By which some proxies and frameworks take a request for another one."""


def is_token(text: object) -> bool:
    """Tell whether a text can be a header's name or a method."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def unfit(name: object) -> str | None:
    """Say why a header can't be set, whoever asks for it; ``None``: it can."""
    if not isinstance(name, str) or not is_token(name):
        return "is no header's name"
    lower = name.lower().replace("_", "-")  # as many servers read it
    if lower in _OF_THE_CLIENT or lower.startswith("proxy-"):
        return "is set by the HTTP client alone, as it says how the request itself is sent"
    return None


def unfit_in_tasks(name: object) -> str | None:
    """Say why a task can't set a header, which who edits the connection may; ``None``: it can."""
    lower = str(name).lower().replace("_", "-")
    if lower == "host":
        return "says which host is meant: give a base_url"
    if lower in _OF_PROXIES:
        return "can make another request of this one; only the connection may have it"
    if lower == "accept-encoding":
        return "is set by the hook, as it says in which form an answer can be read"
    return unfit(name)
