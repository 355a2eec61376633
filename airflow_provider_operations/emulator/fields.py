"""Checks of JSON objects that people write by hand: every mistake is named with what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ApiError, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Field(NamedTuple):
    """What one key may hold."""

    allowed: str
    accepts: Callable[[Any], bool]


def check(value: Mapping[str, Any], fields: Mapping[str, Field], path: str = "") -> dict[str, Any]:
    """
    Return ``value`` without its nulls, which mean "not given".

    :param path: put before each key in the error, as in ``operation.duration``.
    :raises ApiError: 400, a violation for each unknown key and each bad value.
    """
    given = {key: item for key, item in value.items() if item is not None}
    violations = []
    for key, item in given.items():
        where = f"{path}.{key}" if path else key
        if key not in fields:
            violations.append(Violation(where, f"unknown key; allowed: {', '.join(fields)}"))
        elif not fields[key].accepts(item):
            violations.append(Violation(where, f"must be {fields[key].allowed}"))
    if violations:
        raise ApiError.invalid(*violations)
    return given


def is_object(value: object) -> bool:
    """Tell whether this is a JSON object."""
    return isinstance(value, dict)


def is_text(value: object) -> bool:
    """Tell whether this is a string with something in it."""
    return isinstance(value, str) and bool(value)


def is_bool(value: object) -> bool:
    """Tell whether this is ``true`` or ``false``."""
    return isinstance(value, bool)


def is_count(value: object) -> bool:
    """Tell whether this is a whole number >= 0; ``true`` is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_seconds(value: object) -> bool:
    """Tell whether this is a finite number >= 0; ``true`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def one_of(*choices: str) -> Field:
    """Return a field that holds one of these words."""
    return Field(" or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices)


OBJECT = Field("an object", is_object)
TEXT = Field("a string that is not empty", is_text)
BOOL = Field("true or false", is_bool)
COUNT = Field("a whole number >= 0", is_count)
SECONDS = Field("seconds, a number >= 0", is_seconds)
