r"""
URLs that every parser reads alike.

One parser takes ``https://127.0.0.1\.example.com`` for a host below ``example.com``, another for 127.0.0.1 and a
path. So a URL is matched against what is allowed and written anew from its parts, before credentials may follow it.

Pure. Sources: RFC 3986; https://url.spec.whatwg.org for what others make of a URL.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

__all__ = [
    "Origin",
    "bracketed",
    "canonical_host",
    "canonical_url",
    "has_dot_segment",
    "host_pattern",
    "is_listed",
    "is_loopback",
    "origin_of",
]

_UNFIT = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\?#\ud800-\udfff]|\s")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]+)(?::(?P<port>[0-9]{1,5}))?")
_HOST = re.compile(r"(?=.{1,254}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where a request goes (RFC 6454)."""

    scheme: str
    host: str
    """In lower case, an IPv6 address without brackets."""
    port: int

    @classmethod
    def of(cls, scheme: str, host: str, port: int | None) -> Origin:
        """Return the origin, with the scheme's port where none is said."""
        return cls(scheme, host.lower(), port or _PORTS.get(scheme, 0))


def canonical_url(url: str) -> str:
    """
    Return an http(s) URL, written anew from its checked parts, without a trailing slash.

    :raises ValueError: anything but scheme, host, port and a path that stays where it is; the text goes on after a
        name of the URL.
    """
    scheme, separator, rest = url.rstrip("/").partition("://")
    scheme = scheme.lower()
    if scheme not in _PORTS or not separator or not rest:
        raise ValueError(f"must be http:// or https:// and a host, not {_shown(url)!r}")
    authority, slash, path = rest.partition("/")
    if _UNFIT.search(url) or (slash and not _is_path(path)):
        raise ValueError(f"must be scheme, host, port and at most a path, not {_shown(url)!r}")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError(
            f"is not a URL: {_shown(url if '@' in url else authority)!r} is no host with or without a port"
        )
    host, port = canonical_host(parts["host"]), parts["port"]
    if port is None:
        return f"{scheme}://{host}{slash}{_canonical_path(path)}"
    if not 0 < int(port) < 65_536:
        raise ValueError(f"is not a URL: the port {port} is not between 1 and 65535")
    return f"{scheme}://{host}:{int(port)}{slash}{_canonical_path(path)}"


def _shown(url: str) -> str:
    """Return what an error may show of a URL: no query and no user, which may be secret."""
    before, at, host = url.rpartition("@")
    scheme, separator, _ = before.partition("://")
    shown, *more = re.split(
        "[?#]", f"{scheme if separator else ''}{separator}…@{host}" if at else url, maxsplit=1
    )
    return shown[:200] + ("?…" if more else "")


def canonical_host(host: str) -> str:
    """
    Return a host's name in lower case, an internationalised one as punycode; an IPv6 address as in RFC 5952.

    :raises ValueError: it is none; the text goes on after a name of the URL.
    """
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError as error:
            raise ValueError(f"is not a URL: {error}") from error
        if address.scope_id:
            raise ValueError(f"is not a URL: {host[:200]!r} has a zone in it")
        return f"[{address}]"
    name = host.lower()
    if not name.isascii():
        import idna  # both HTTP clients bring it, and use it if we don't

        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"is not a URL: {host[:200]!r} is no host's name: {error}") from error
    if not _HOST.fullmatch(name):
        raise ValueError(
            f"is not a URL: {host[:200]!r} is no host's name, which has letters, digits, dots, hyphens and "
            "underscores"
        )
    return name


def bracketed(host: str) -> str:
    """Return a host as a URL has it: an IPv6 address in brackets, which Airflow strips when it reads a URI."""
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return f"[{host}]"


def _is_path(path: str) -> bool:
    """Tell whether a path, decoded, has whole segments that stay where they are."""
    if any(not escape[1] for escape in _ESCAPE.finditer(path)) or "" in path.split("/"):
        return False
    decoded = unquote(path)
    return not has_dot_segment(decoded) and not re.search(r"[\x00-\x1f\x7f]", decoded)


def _canonical_path(path: str) -> str:
    """Decode what needs no encoding and encode what does, so that no client has anything left to do."""

    def fewest(escape: re.Match[str]) -> str:
        char = chr(int(escape[1], 16))
        return char if char in _UNRESERVED else escape[0].upper()

    return quote(_ESCAPE.sub(fewest, path), safe="/%:@!$&'()*+,;=~-._")


def has_dot_segment(path: str) -> bool:
    """Tell whether a path climbs: ``..`` or ``.`` as a segment, also with parameters (``..;a``), as some servers take it."""
    return any(segment.partition(";")[0] in {".", ".."} for segment in re.split(r"[/\\]", path))


def origin_of(url: str) -> Origin:
    """Return the origin of a canonical URL."""
    parts = urlsplit(url)
    return Origin.of(parts.scheme, parts.hostname or "", parts.port)


def is_loopback(host: str | None) -> bool:
    """Tell whether what is sent to a host stays on this machine."""
    if host in {None, "localhost"}:
        return host == "localhost"
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def host_pattern(pattern: str) -> str:
    """Return a host or ``*.host`` as hosts are compared with it; what is none stays as it is and fits none."""
    star, name = ("*.", pattern[2:]) if pattern.startswith("*.") else ("", pattern)
    bare_ipv6 = name.count(":") > 1 and not name.startswith("[")
    try:
        return star + canonical_host(f"[{name}]" if bare_ipv6 else name).strip("[]")
    except ValueError:
        return pattern


def is_listed(host: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a host is one of the exact names, or below a ``*.name``."""
    return any(
        host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in patterns
    )
