"""
JSON of a server, and the little that is kept of it where it is too large for an event loop.

One call decodes JSON and holds the interpreter's lock all the while, in a thread too: for 8 MiB up to several seconds.
So this file is a program as well, which a triggerer runs as a process of its own: it reads a body from its standard
input and writes what is worth knowing of it, as lines of JSON that are quickly read. It needs the standard library only.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ABRIDGED", "MAX_OPERATIONS", "Abridged", "abridgement", "parse", "read_abridgement"]

MAX_NESTING = 200
"""Deeper JSON isn't read, as whoever walks it later would fail; protobuf's own parsers stop at 100."""

MAX_OPERATIONS = 5000
"""So many operations are read of one page; who asks for pages asks for fewer."""

ABRIDGED = "@abridged"
"""Key in an operation of an abridgement that isn't all that the server sent."""

MAX_TEXT_CHARS = 8 * 1024
"""A longer text is left out whole: half a secret would be recognised by nobody."""

MAX_NAME_CHARS = 32 * 1024
"""Names and page tokens are never left out; one so long is refused by who reads it."""

VALUE_CHARS = 64 * 1024
"""Room for a value."""

OPERATION_CHARS = 32 * 1024
"""Room for each operation of a page."""

_LEAST_CHARS = 8
"""What the shortest value takes, for the memory that it takes once it is read."""

_NAMES = ("name", "nextPageToken")
_FIRST = (*_NAMES, "done", "@type", "error", "code", "status", "message", "operations")
"""What finds room before anything else."""

_MAX_MEMORY_BYTES = 2 * 2**30

_JSON = json.JSONDecoder()
"""Made once: ``json.loads`` would make one for every body."""


class Abridged(NamedTuple):
    """What is known of a large body: a JSON value, or why there is none."""

    value: Any = None
    problem: str | None = None


def parse(body: bytes) -> Any:
    """
    Read JSON, and NaN and infinities too: servers in Python and Go send them in metrics.

    :raises ValueError: it is none, or is nested deeper than ``MAX_NESTING``.
    """
    try:
        value = _JSON.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if body.count(b"[") + body.count(b"{") > MAX_NESTING and _deeper_than(MAX_NESTING, value):
        raise ValueError("nested too deeply")
    return value


def _deeper_than(limit: int, value: Any) -> bool:
    """Tell, without recursion, whether objects and lists are nested deeper than ``limit``."""
    level = [value]
    for _ in range(limit + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return False
        level = [
            inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return True


# --- the process of its own ------------------------------------------------------------------------------------


def abridgement(body: bytes) -> Iterator[str]:
    """Yield lines: a value or a problem, then its ``operations``, one to a line."""
    try:
        value = parse(body)
    except (ValueError, MemoryError) as error:
        yield json.dumps({"problem": str(error)[:MAX_TEXT_CHARS] or type(error).__name__})
        return
    operations = value.get("operations") if isinstance(value, dict) else None
    if not isinstance(operations, list):
        yield json.dumps({"value": _marked(value, VALUE_CHARS)})
        return
    yield json.dumps({"value": _Room(VALUE_CHARS).kept({**value, "operations": []})})
    for operation in operations[: MAX_OPERATIONS + 1]:  # one too many, so that who reads it sees that
        yield json.dumps(_marked(operation, OPERATION_CHARS))


def _marked(value: Any, chars: int) -> Any:
    """Return a value as far as there is room; an object that isn't whole is marked."""
    room = _Room(chars)
    kept = room.kept(value, share=3)  # error, metadata and response
    return {**kept, ABRIDGED: True} if not room.holds_all and isinstance(kept, dict) else kept


class _Room:
    """
    Room for a value.

    :param left: in characters of JSON, about.
    """

    def __init__(self, left: int) -> None:
        self.left = left
        self.holds_all = True

    def kept(self, value: Any, share: int = 1) -> Any:
        """
        Return as much of a value as there is room for.

        :param share: how many fields of it find room at least.
        """
        if isinstance(value, dict):
            return self._kept_fields(value, self.left // share)
        if isinstance(value, list):
            return [self.kept(item) for item in value if self._has_room_for_more()]
        if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
            self.holds_all = False
            self.left -= _LEAST_CHARS
            return f"(a text of {len(value)} characters)"
        self.left -= max(len(json.dumps(value)), _LEAST_CHARS)
        return value

    def _kept_fields(self, fields: dict[str, Any], most: int) -> dict[str, Any]:
        kept = {}
        # What is short tells more than the lists beside it.
        for key in sorted(fields, key=lambda key: (key not in _FIRST, isinstance(fields[key], dict | list))):
            value = fields[key]
            if key in _NAMES and isinstance(value, str):
                kept[key] = value[:MAX_NAME_CHARS]
                self.left -= len(kept[key])
            elif self._has_room_for_more(len(key)):
                self.left -= len(key)
                before = min(self.left, most)
                room = _Room(before)
                kept[key] = room.kept(value)
                self.left -= before - room.left
                self.holds_all = self.holds_all and room.holds_all
        return kept

    def _has_room_for_more(self, key_chars: int = 0) -> bool:
        if self.left > 0 and key_chars <= MAX_TEXT_CHARS:
            self.left -= _LEAST_CHARS
            return True
        self.holds_all = False
        return False


def main() -> None:
    """Abridge the standard input."""
    try:
        import resource
    except ImportError:  # not on Windows, where Airflow doesn't run either
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
    sys.stdout.writelines(f"{line}\n" for line in abridgement(sys.stdin.buffer.read()))


# --- who reads what it wrote -----------------------------------------------------------------------------------


def read_abridgement(lines: Iterable[bytes]) -> Abridged:
    """
    Return what an abridgement says; each line is decoded by itself, so that none takes long.

    :raises ValueError: it has ended in the middle.
    """
    first, *operations = lines
    told = _JSON.decode(first.decode())
    value = told.get("value")
    if operations:
        value["operations"] = [_JSON.decode(line.decode()) for line in operations]
    return Abridged(value, told.get("problem"))


if __name__ == "__main__":
    main()
