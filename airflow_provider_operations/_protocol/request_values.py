"""
What a DAG author may put into a request, and what is sent for it.

JSON has fewer types than Python. What has one obvious spelling in proto3's JSON
(https://protobuf.dev/programming-guides/json/) is converted: a moment, a duration, a lazy sequence. What has none, or
several, is refused, with its place and what to write instead: before anything is sent, and before a start is noted.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

from airflow_provider_operations._json.abridging import MAX_NESTING
from airflow_provider_operations._protocol.headers import is_token

__all__ = ["InvalidRequestValue", "body_value", "header_values", "json_value", "query_values", "refuse_early"]


class InvalidRequestValue(ValueError):
    """A value in a request that can't be sent as it is; the text says where it is and what to write instead."""


def json_value(value: Any, place: str) -> Any:
    """
    Return a value as JSON: dicts, lists, texts, finite numbers, booleans and ``None``.

    A sequence, read by a lazy one's own loop, becomes a list, an aware datetime RFC 3339 in UTC
    (``2026-11-28T12:00:00Z``), a timedelta a text such as ``3.5s``.

    :param place: how an error names the value, e.g. ``json``; what is inside is ``json['steps'][0]``.
    :raises InvalidRequestValue: something in it has no such form.
    """
    return _json_value(value, place, MAX_NESTING)


def body_value(value: Any, place: str) -> Any:
    """
    Return a request's body as JSON; ``json_value`` has the rules.

    :raises InvalidRequestValue: also if it is text that holds JSON.
    """
    if isinstance(value, str) and _looks_like_an_object(value):
        raise InvalidRequestValue(
            f"{place} is text that holds JSON, and would be sent as one text: give the object, e.g. json.loads(value); "
            "templates may be in its texts. One template for all of it takes render_template_as_native_obj=True"
        )
    return json_value(value, place)


def _looks_like_an_object(text: str) -> bool:
    """Tell whether a text is JSON, or what a template makes of an object: Python's spelling of it."""
    if text == "None":
        return True
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    for read in (json.loads, ast.literal_eval):
        try:
            read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return True
    return False


def refuse_early(value: Any, place: str, read: Callable[[Any, str], Any]) -> None:
    """
    Read an argument that is text when the DAG is parsed; what a template may yet make another value is left.

    NaN and the infinities are looked for in objects, too: Airflow itself fails a task for them before it begins.

    :raises InvalidRequestValue: it is no text that ``read`` takes, or has a number in it that JSON doesn't have.
    """
    if isinstance(value, str) and not any(mark in value for mark in ("{{", "{%")):
        read(value, place)
    elif isinstance(value, float):
        json_value(value, place)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list | float):
                refuse_early(item, f"{place}[{key!r}]", json_value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list | float):
                refuse_early(item, f"{place}[{index}]", json_value)


def query_values(query: Any, place: str = "query") -> dict[str, str | list[str]]:
    """
    Return query parameters as texts, lists of texts for repeated ones; what is ``None`` is left out.

    Booleans are spelled as in JSON, moments and durations as in ``json_value``.

    :raises InvalidRequestValue: it is no mapping, or has a value in it that isn't a scalar or a list of scalars.
    """
    if query is None:
        return {}
    if not isinstance(query, Mapping):
        raise _refused(place, query, "give names and values, as in {'pageSize': 10}")
    texts: dict[str, str | list[str]] = {}
    for key, value in query.items():
        here = f"{place}[{_checked_key(key, place)!r}]"
        if _is_sequence(value):
            listed = [_parameter(item, f"{here}[{index}]") for index, item in enumerate(value)]
            texts[key] = [text for text in listed if text is not None]
        elif (text := _parameter(value, here)) is not None:
            texts[key] = text
    return texts


def header_values(headers: Any, place: str = "headers") -> dict[str, str]:
    """
    Return headers as texts; numbers and booleans are spelled as in JSON.

    :raises InvalidRequestValue: it is no mapping, or has a name or a value in it that HTTP can't carry; the text has the
        name, never the value.

    Source: RFC 9110, 5.1 and 5.5
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise _refused(place, headers, "give names and values, as in {'X-Api-Key': 'a-key'}")
    texts: dict[str, str] = {}
    for name, value in headers.items():
        if not is_token(name):
            raise InvalidRequestValue(
                f"{place} has the name {name!r}: a header's name is letters, digits and hyphens"
            )
        here = f"{place}[{name!r}]"
        if value is None or isinstance(value, Mapping) or _is_sequence(value):
            raise _refused(
                here, value, "a header's value is one line of text; leave it out, or write it as text"
            )
        text = _text(_scalar(value, here)).strip()
        if _NOT_IN_HEADERS.search(text):
            raise InvalidRequestValue(
                f"{here} has a line break or a control character in it, which no header can have"
            )
        texts[name] = text
    return texts


_NOT_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def _json_value(value: Any, place: str, levels: int) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return _scalar(value, place)
    if levels == 0:
        raise InvalidRequestValue(
            f"{place[:200]}…: objects and lists are nested deeper than {MAX_NESTING} levels"
        )
    if isinstance(value, Mapping):
        return {
            _checked_key(key, place): _json_value(item, f"{place}[{key!r}]", levels - 1)
            for key, item in value.items()
        }
    if _is_sequence(value):
        return [_json_value(item, f"{place}[{index}]", levels - 1) for index, item in enumerate(value)]
    return _scalar(value, place)


def _parameter(value: Any, place: str) -> str | None:
    if isinstance(value, Mapping):
        raise _refused(place, value, "services take a field of it as a parameter of its own: 'filter.name'")
    if _is_sequence(value):
        raise _refused(place, value, "a repeated parameter is one list of texts or numbers")
    value = _scalar(value, place)
    if value is None:
        return None
    text = _text(value)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidRequestValue(
            f"{place} has half a character in it (a lone surrogate), which no URL can hold"
        )
    return text


def _text(value: str | float) -> str:
    """Return a scalar as JSON spells it, a text without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(value: Any, place: str) -> Any:
    """Return a value that isn't made of others, as JSON."""
    if isinstance(value, Enum) and isinstance(value, str | int):
        return value.value
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequestValue(
                f"{place} is {value}, which JSON has no number for; leave it out, or give None"
            )
        return value
    if isinstance(value, datetime):
        return _moment(value, place)
    if isinstance(value, timedelta):
        return _duration(value)
    for kind, instead in _INSTEAD.items():
        if isinstance(value, kind):
            raise _refused(place, value, instead)
    raise _refused(place, value, "give texts, numbers, booleans, None, or lists and dicts of them")


_INSTEAD: dict[Any, str] = {
    date: "services want a text or {'year', 'month', 'day'}; give value.isoformat(), or what the service documents",
    time: "give value.isoformat(), or what the service documents",
    Decimal: "a number would lose digits; give str(value), or float(value) if that is exact enough",
    bytes | bytearray | memoryview: "give base64.b64encode(value).decode(), or value.decode() if it is text",
    set | frozenset: "it has no order; give sorted(value)",
    Enum: "give its value",
}


def _moment(value: datetime, place: str) -> str:
    if value.utcoffset() is None:
        raise _refused(
            place, value, "it has no time zone; give it one, as in value.replace(tzinfo=timezone.utc)"
        )
    try:
        moment = value.astimezone(timezone.utc)
    except OverflowError as error:
        raise _refused(place, value, "it is outside of the years 1 to 9999") from error
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _duration(value: timedelta) -> str:
    # Not by ``//``: pendulum's, of which Airflow's contexts are full, divide by pendulum's only.
    microseconds = timedelta.__floordiv__(value, timedelta(microseconds=1))
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    text = f"{seconds}.{fraction:06d}".rstrip("0").rstrip(".")
    return f"{'-' if microseconds < 0 else ''}{text}s"


def _checked_key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise InvalidRequestValue(
            f"{place} has the key {key!r}, which is {type(key).__name__}: names are text; give {str(key)!r}"
        )
    return key


def _is_sequence(value: Any) -> bool:
    """Tell whether a value becomes a list; what Airflow reads lazily is such a sequence too."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _refused(place: str, value: Any, instead: str) -> InvalidRequestValue:
    # Without the value, which may be a secret.
    return InvalidRequestValue(f"{place} is {type(value).__name__}, which can't be sent as it is: {instead}")
