"""
What a request asks for, read from its method and path.

Services put operations under prefixes of their own (``v1``, ``v1/admin``, ``drive/v3``), and names
contain slashes. So a path has several readings; the operation that exists decides between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

KINDS = ("get", "cancel", "list", "delete", "wait", "start", "other")

Known = Callable[[Sequence[str]], "str | None"]
"""Return the first of these names that an operation has or had."""

_VERSION = re.compile(r"v\d+\w*")
_ROOTS = ("projects", "folders", "organizations", "billingAccounts", "operations")
_SCOPES = (*_ROOTS, "locations", "regions", "zones")
_OPERATION = re.compile(r"(?:^|/)operations/.")


@dataclass(frozen=True)
class Call:
    """
    One request, understood.

    :param kind: one of :data:`KINDS`.
    :param name: the operation asked about; for a name nobody has, the likeliest reading.
    :param parents: the readings of a list's parent.
    :param target: the resource that a start is about.
    :param verb: what a start does: its custom verb, or create, update, delete.
    """

    kind: str
    name: str | None = None
    parents: tuple[str, ...] = ()
    target: str = ""
    verb: str = ""


def readings(path: str) -> list[str]:
    """
    Return each way to cut a prefix off a path, the likeliest first.

    With a version in the path the prefix ends there or one segment later; without one it has
    at most three segments. The empty remainder is no reading.
    """
    segments = path.removeprefix("/").split("/")
    version = next((at for at, segment in enumerate(segments[:3]) if _VERSION.fullmatch(segment)), None)
    cuts = (1, 0, 2, 3) if version is None else (version + 1, version + 2)
    inside = [cut for cut in cuts if cut < len(segments) and segments[cut]]
    inside.sort(key=lambda cut: segments[cut] not in _ROOTS)
    return ["/".join(segments[cut:]) for cut in inside]


def classify(method: str, path: str, known: Known) -> Call:
    """Return what is asked for; ``path`` is decoded."""
    if method in ("GET", "POST"):
        cancel = _suffixed(path, "/cancel", known)
        if cancel is not None:
            return Call("cancel", cancel)
    if method == "GET":
        return _read(path, known)
    if method == "POST":
        for kind in ("cancel", "wait"):
            bare = path.removesuffix(f":{kind}")
            names = readings(bare)
            if bare != path and names:
                return Call(kind, _longest(names, known) or names[0])
    if method == "DELETE":
        name = _operation(path, known)
        if name is not None:
            return Call("delete", name)
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        return _start(method, path)
    return Call("other")


def parent_of(target: str) -> str:
    """
    Return the parent for the operations about a resource; the empty string for none.

    ``projects/p/things`` and ``projects/p/things/t`` both give ``projects/p``; ``projects/p`` itself too.
    """
    segments = target.split("/")
    if len(segments) % 2:
        segments = segments[:-1]
    elif len(segments) >= 2 and segments[-2] not in _SCOPES:
        segments = segments[:-2]
    return "/".join(segments)


def _read(path: str, known: Known) -> Call:
    name = _longest(readings(path), known)
    if name is not None:
        return Call("get", name)
    if path.endswith("/operations"):
        parents = [reading.removesuffix("operations").rstrip("/") for reading in readings(path)]
        return Call("list", parents=tuple(parents))
    name = _operation(path, known)
    return Call("other") if name is None else Call("get", name)


def _start(method: str, path: str) -> Call:
    targets = readings(path)
    if not targets:
        return Call("other")
    target = targets[0]
    head, colon, verb = target.rpartition(":")
    if colon and head and "/" not in verb:
        return Call("start", target=head, verb=verb)
    return Call("start", target=target, verb={"POST": "create", "DELETE": "delete"}.get(method, "update"))


def _longest(names: list[str], known: Known) -> str | None:
    return known(sorted(names, key=len, reverse=True))


def _operation(path: str, known: Known) -> str | None:
    names = readings(path)
    return _longest(names, known) or next((name for name in names if _OPERATION.search(name)), None)


def _suffixed(path: str, suffix: str, known: Known) -> str | None:
    bare = path.removesuffix(suffix)
    if bare == path or _longest(readings(path), known) is not None:
        return None
    return _operation(bare, known)
