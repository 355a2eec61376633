"""
JSON of a server, and the little that is kept of it where it is too large for an event loop.

One call decodes JSON and holds the interpreter's lock all the while, in a thread too: for 8 MiB up to several seconds.
So this file is a program as well, which a triggerer runs as a process of its own: it reads a body from its standard
input and writes an abridgement of it, as lines of JSON that are quickly read. It needs the standard library only.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ABRIDGED",
    "MAX_OPERATIONS",
    "Abridged",
    "abridgement",
    "is_too_deep",
    "parse",
    "read_abridgement",
]

MAX_NESTING = 200
"""
Deeper JSON is neither read, as whoever walks it later would fail, nor sent, as an object that holds itself would never
end; protobuf's own parsers stop at 100.
"""

MAX_OPERATIONS = 5000
"""So many operations are read of one page; our requests ask for fewer."""

ABRIDGED = "@abridged"
"""Key that marks an operation of which something was left out."""

MAX_TEXT_CHARS = 8 * 1024
"""A longer text is left out whole: redaction wouldn't recognise half a secret."""

MAX_NAME_CHARS = 32 * 1024
"""Names and page tokens are never left out; a longer one is cut, and its reader refuses it."""

VALUE_CHARS = 64 * 1024
"""Room for a value, in characters of JSON."""

PAGE_CHARS = 2 * 1024 * 1024
"""Room for all operations of a page, shared out evenly; each gets at least and at most the following."""

MIN_OPERATION_CHARS = 1024
MAX_OPERATION_CHARS = 32 * 1024

_LEAST_CHARS = 8
"""What even the shortest value is counted as, since it takes memory once it is read."""

_NAMES = ("name", "nextPageToken")

_FIRST = (*_NAMES, "done", "operations", "error")
"""Fields that decide what an operation or a page is; each is kept, at least as an empty one, and has room of its own."""

_FIRST_OF_AN_ERROR = ("code", "status", "error_code", "errorCode", "message")

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
    if body.count(b"[") + body.count(b"{") > MAX_NESTING and is_too_deep(value):
        raise ValueError("nested too deeply")
    return value


def is_too_deep(value: Any) -> bool:
    """Tell, without recursion, whether objects and lists are nested deeper than ``MAX_NESTING``."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
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
        yield json.dumps({"value": _abridged(value, VALUE_CHARS)})
        return
    # One too many, so that who reads it sees that. Should it be an operation with such a field, it isn't whole.
    operations = operations[: MAX_OPERATIONS + 1]
    yield json.dumps({"value": {**_abridged({**value, "operations": []}, VALUE_CHARS), ABRIDGED: True}})
    room = min(max(PAGE_CHARS // max(len(operations), 1), MIN_OPERATION_CHARS), MAX_OPERATION_CHARS)
    for operation in operations:
        yield json.dumps(_abridged(operation, room))


def _abridged(value: Any, chars: int) -> Any:
    """Return as much of an operation, or of another value, as there is room for; an object that was cut is marked."""
    if len(json.dumps(value)) <= chars:
        return value
    room = _Room(chars)
    if not isinstance(value, dict):
        return room.kept(value)
    kept = {}
    for key in _FIRST:
        if key in value:
            kept[key] = _decisive(key, value[key], room)
    rest = [key for key in value if key not in _FIRST]
    # Metadata and response share what is left.
    for key in sorted(rest, key=lambda key: isinstance(value[key], dict | list)):
        room.keep(kept, key, value[key], share=2)
    return kept if room.holds_all else {**kept, ABRIDGED: True}


def _decisive(key: str, value: Any, room: _Room) -> Any:
    """Cut one of the ``_FIRST`` fields to its own room; it keeps its type."""
    if key in _NAMES and isinstance(value, str):
        room.holds_all = room.holds_all and len(value) <= MAX_NAME_CHARS
        return value[:MAX_NAME_CHARS]
    own = _Room(VALUE_CHARS // 4)
    if key == "error" and isinstance(value, dict):
        first = {name: value[name] for name in _FIRST_OF_AN_ERROR if name in value}
        value = {**first, **value}
    kept = own.kept(value)
    room.holds_all = room.holds_all and own.holds_all
    return kept


class _Room:
    """
    Room for a value.

    :param left: in characters of JSON, about.
    """

    def __init__(self, left: int) -> None:
        self.left = left
        self.holds_all = True

    def kept(self, value: Any) -> Any:
        """Return as much of a value as there is room for."""
        if isinstance(value, dict):
            kept: dict[str, Any] = {}
            # Numbers and words first: they say more than the lists beside them.
            for key in sorted(value, key=lambda key: isinstance(value[key], dict | list)):
                self.keep(kept, key, value[key])
            return kept
        if isinstance(value, list):
            return [self.kept(item) for item in value if self._has_room_for_more()]
        if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
            self.holds_all = False
            self.left -= _LEAST_CHARS
            return f"(a text of {len(value)} characters)"
        self.left -= max(len(json.dumps(value)), _LEAST_CHARS)
        return value

    def keep(self, kept: dict[str, Any], key: str, value: Any, *, share: int = 1) -> None:
        """
        Keep a field, as far as there is room.

        :param share: it gets at most this part of the room that is left, if it is a list or an object.
        """
        if not self._has_room_for_more(len(key)):
            return
        self.left -= len(key)
        most = self.left // share
        own = _Room(most)
        kept[key] = own.kept(value)
        self.left -= most - own.left
        self.holds_all = self.holds_all and own.holds_all

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
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        ours = _MAX_MEMORY_BYTES if most == resource.RLIM_INFINITY else min(_MAX_MEMORY_BYTES, most)
        resource.setrlimit(resource.RLIMIT_AS, (ours, most))
    sys.stdout.writelines(f"{line}\n" for line in abridgement(sys.stdin.buffer.read()))


# --- the reader of what it wrote -------------------------------------------------------------------------------


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
