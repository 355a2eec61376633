"""What a request can carry: conversion of the few types with one spelling, a refusal with its place for the rest."""

from __future__ import annotations

import json
from collections import OrderedDict, UserList
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any

import pendulum
import pytest
from hypothesis import given

from airflow_provider_operations._protocol.request_values import (
    InvalidRequestValue,
    body_value,
    header_values,
    json_value,
    query_values,
    refuse_early,
)
from tests.support.json_values import JSON

EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize("value", ['{"a": 1}', ' [{"a": 1}]\n', "{}", "{'a': None}", "[1, (2,)]", "None"])
def test_text_that_holds_json(value: str) -> None:
    """A body that is a JSON text would be sent as one text, which no service wants."""
    with pytest.raises(
        InvalidRequestValue, match=r"^json is text that holds JSON, and would be sent as one text"
    ):
        body_value(value, "json")


@pytest.mark.parametrize("value", ["a", "1", "{a}", "[1", "", {"a": "[1]"}, ["{}"], None], ids=repr)
def test_text_and_json_text_inside_a_body_stay_as_they_are(value: Any) -> None:
    """Other texts, and JSON text inside of a body, are sent as they are."""
    assert body_value(value, "json") == value


NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (NAN, "json"),
        ({"a": [1, {"b": -float("inf")}]}, r"json\['a'\]\[1\]\['b'\]"),
        ([[NAN]], r"json\[0\]\[0\]"),
    ],
    ids=repr,
)
def test_numbers_that_json_lacks(value: Any, place: str) -> None:
    """They are named when the DAG is parsed: Airflow fails such a task before it begins, and doesn't say where they are."""
    with pytest.raises(InvalidRequestValue, match=rf"^{place} is "):
        refuse_early(value, "json", body_value)


@pytest.mark.parametrize("value", [{"a": ["{{ x }}", 1.5, None]}, "{{ x }}", [b"x"], {"a": {1, 2}}], ids=repr)
def test_left_to_the_task(value: Any) -> None:
    """What a template may make of it isn't known when the DAG is parsed."""
    refuse_early(value, "json", body_value)


class Lazy(Sequence[Any]):
    """What Airflow gives a task for the values of a mapped one; like it, not indexed but iterated."""

    def __iter__(self) -> Any:
        return iter([1, {"a": (2,)}])

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("each index is a request to Airflow")


class Text(str, Enum):
    """An enumeration of texts."""

    A = "a"


class Number(IntEnum):
    """An enumeration of numbers."""

    ONE = 1


class Plain(Enum):
    """An enumeration of neither."""

    A = "a"


CONVERTED = [
    (Lazy(), [1, {"a": [2]}]),
    ((1, (2,)), [1, [2]]),
    (UserList([1]), [1]),
    (range(2), [0, 1]),
    (OrderedDict(a=1), {"a": 1}),
    (MappingProxyType({"a": Lazy()}), {"a": [1, {"a": [2]}]}),
    (datetime(2026, 11, 28, 12, tzinfo=timezone.utc), "2026-11-28T12:00:00Z"),
    (datetime(2026, 11, 28, 12, 0, 0, 250000, EAST), "2026-11-28T06:30:00.250000Z"),
    (datetime(1850, 1, 1, tzinfo=timezone(timedelta(seconds=3208))), "1849-12-31T23:06:32Z"),
    (timedelta(seconds=3.5), "3.5s"),
    (pendulum.duration(seconds=3.5), "3.5s"),
    (pendulum.datetime(2026, 1, 2) - pendulum.datetime(2026, 1, 1, 23), "3600s"),
    (timedelta(days=99_999, microseconds=1), "8639913600.000001s"),
    (timedelta(hours=1), "3600s"),
    (timedelta(microseconds=-1_500_001), "-1.500001s"),
    (timedelta(), "0s"),
    (timedelta(days=365 * 300, microseconds=1), "9460800000.000001s"),
    (Text.A, "a"),
    (Number.ONE, 1),
]


@pytest.mark.parametrize(
    ("value", "sent"), CONVERTED, ids=[type(value).__name__ + f" {sent}" for value, sent in CONVERTED]
)
def test_what_is_converted(value: Any, sent: Any) -> None:
    """Lazy sequences become lists, moments RFC 3339 in UTC, durations text with an ``s``, wherever they stand."""
    converted = json_value({"x": [value]}, "json")

    assert converted == {"x": [sent]}
    assert json.loads(json.dumps(converted, allow_nan=False)) == converted


REFUSED = [
    (datetime(2026, 11, 28, 12), "is datetime, which can't be sent as it is: it has no time zone"),  # noqa: DTZ001  that is the point
    (datetime(1, 1, 1, tzinfo=EAST), "it is outside of the years 1 to 9999"),
    (date(2026, 11, 28), "is date, which can't be sent as it is: services want a text or"),
    (time(12), "is time, which can't be sent as it is: give value.isoformat()"),
    (Decimal("1.5"), "is Decimal, which can't be sent as it is: a number would lose digits; give str(value)"),
    (b"x", "is bytes, which can't be sent as it is: give base64.b64encode(value).decode()"),
    (bytearray(b"x"), "is bytearray, which can't be sent as it is: give base64"),
    ({1}, "is set, which can't be sent as it is: it has no order; give sorted(value)"),
    (frozenset({1}), "is frozenset, which can't be sent as it is"),
    (float("nan"), "is nan, which JSON has no number for"),
    (float("-inf"), "is -inf, which JSON has no number for"),
    (Plain.A, "is Plain, which can't be sent as it is: give its value"),
    (iter([1]), "is list_iterator, which can't be sent as it is: give texts, numbers"),
    (object(), "is object, which can't be sent as it is: give texts, numbers"),
]


@pytest.mark.parametrize(("value", "text"), REFUSED, ids=[f"{type(value).__name__}" for value, _ in REFUSED])
def test_what_is_refused(value: Any, text: str) -> None:
    """What has no one spelling is refused with its place and what to write instead, never sent as something."""
    with pytest.raises(InvalidRequestValue) as refused:
        json_value({"steps": [{"a b": value}]}, "json")
    assert str(refused.value).startswith("json['steps'][0]['a b'] ")
    assert text in str(refused.value)

    with pytest.raises(InvalidRequestValue) as refused:
        query_values({"x": [1, value]})
    assert str(refused.value).startswith("query['x'][1] ")
    assert text in str(refused.value)


@pytest.mark.parametrize(("key", "shown"), [(1, "1"), (True, "True"), (None, "None")], ids=repr)
def test_keys_are_text(key: Any, shown: str) -> None:
    """1 and True are one key to Python and would be "1" and "true" in JSON: keys that aren't text are refused."""
    text = f"has the key {shown}, which is {type(key).__name__}: names are text; give '{shown}'"
    with pytest.raises(InvalidRequestValue) as refused:
        json_value({"a": {key: 1}}, "json")
    assert str(refused.value) == f"json['a'] {text}"
    with pytest.raises(InvalidRequestValue) as refused:
        query_values({key: 1})
    assert str(refused.value) == f"query {text}"


def test_a_list_that_holds_itself_is_refused() -> None:
    """A list that holds itself is refused; it doesn't end the process."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRequestValue, match="nested deeper than 200 levels"):
        json_value(endless, "json")


@given(JSON.filter(lambda value: "Infinity" not in json.dumps(value)))
def test_json_stays(value: Any) -> None:
    """JSON is sent as it is."""
    assert json_value(value, "json") == value


QUERIES = [
    ({"a": True, "b": False}, {"a": "true", "b": "false"}),
    ({"a": [1, "x", None]}, {"a": ["1", "x"]}),
    ({"a": range(2)}, {"a": ["0", "1"]}),
    ({"a": None}, {}),
    ({"a": 1.5, "b": ""}, {"a": "1.5", "b": ""}),
    ({"at": datetime(2026, 11, 28, 12, tzinfo=timezone.utc)}, {"at": "2026-11-28T12:00:00Z"}),
    ({"for": timedelta(seconds=90)}, {"for": "90s"}),
    ({"e": Text.A, "n": Number.ONE}, {"e": "a", "n": "1"}),
    (None, {}),
]


@pytest.mark.parametrize(("query", "texts"), QUERIES, ids=repr)
def test_query_parameters_are_spelled_as_in_json(query: Any, texts: Any) -> None:
    """Query parameters are texts, spelled as in JSON; lists are repeated, ``None`` is left out."""
    assert query_values(query) == texts


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("a=1", "query is str, which can't be sent as it is: give names and values"),
        ({"a": {"b": 1}}, "query['a'] is dict, which can't be sent as it is: services take a field of it as"),
        (
            {"a": [[1]]},
            "query['a'][0] is list, which can't be sent as it is: a repeated parameter is one list",
        ),
        ({"a": "\ud800"}, "query['a'] has half a character in it (a lone surrogate), which no URL can hold"),
    ],
    ids=repr,
)
def test_a_dict_in_a_query_is_refused(query: Any, text: str) -> None:
    """A dict isn't sent as Python's repr of it."""
    with pytest.raises(InvalidRequestValue) as refused:
        query_values(query)
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize(
    ("headers", "texts"),
    [
        (None, {}),
        ({"X-A": " b "}, {"X-A": "b"}),
        ({"X-N": 5, "X-F": 1.5, "X-T": True}, {"X-N": "5", "X-F": "1.5", "X-T": "true"}),
        ({"X-At": datetime(2026, 11, 28, 12, tzinfo=timezone.utc)}, {"X-At": "2026-11-28T12:00:00Z"}),
        ({"X-City": "Zürich", "x_y": "a\tb"}, {"X-City": "Zürich", "x_y": "a\tb"}),
    ],
    ids=repr,
)
def test_headers_are_spelled_as_texts(headers: Any, texts: Any) -> None:
    """Headers are texts, numbers and booleans spelled as in JSON."""
    assert header_values(headers) == texts


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ("X-A: b", "headers is str, which can't be sent as it is: give names and values"),
        ({"X A": "SECRET"}, "headers has the name 'X A': a header's name is letters, digits and hyphens"),
        ({"": "SECRET"}, "headers has the name ''"),
        ({1: "SECRET"}, "headers has the name 1"),
        (
            {"X-A": None},
            "headers['X-A'] is NoneType, which can't be sent as it is: a header's value is one line",
        ),
        ({"X-A": ["SECRET"]}, "headers['X-A'] is list, which can't be sent as it is"),
        ({"X-A": b"SECRET"}, "headers['X-A'] is bytes, which can't be sent as it is"),
        ({"X-A": "SECRET\r\nHost: x"}, "headers['X-A'] has a line break or a control character in it"),
        ({"X-A": "SECRET\ud800"}, "headers['X-A'] has a line break or a control character in it"),
    ],
    ids=repr,
)
def test_headers_that_http_cannot_carry_are_refused_by_name(headers: Any, text: str) -> None:
    """A header that HTTP can't carry is refused by its name; its value isn't repeated."""
    with pytest.raises(InvalidRequestValue) as refused:
        header_values(headers)
    assert str(refused.value).startswith(text)
    assert "SECRET" not in str(refused.value)


def test_values_stay_secret() -> None:
    """A refusal doesn't repeat the value, which may be a secret."""
    with pytest.raises(InvalidRequestValue) as refused:
        json_value({"token": b"SECRET"}, "json")
    assert "SECRET" not in str(refused.value)
