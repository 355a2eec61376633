"""
Every method of the table: our request against the one that Google's own client makes of the same parameters.

The client builds itself from its own documents, and values are made up from those as well: the table is only asked for
the request.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from googleapiclient.discovery import fix_method_name, key2param

from airflow_provider_operations._google_apis.call import call_of
from airflow_provider_operations._google_apis.lookup import find_method
from airflow_provider_operations._google_apis.table import document as in_table
from airflow_provider_operations._protocol.request import Service
from tests.hooks.google_documents import (
    FLAT_SEGMENTS,
    OPERATION_FIELDS,
    SEGMENTS,
    TAILS,
    GoogleClient,
    Sent,
    documents,
)
from tests.hooks.test_google_documents import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hooks.google_documents import Document

TURNS = 3
TEXTS = ("plain", "a/b c+d&e=f?g#h%i", "ü€😀")
BODY = {"displayName": "ü/😀", "nested": {"list": [1, 2.5, None, True]}}


class Start(NamedTuple):
    """A method of a document that answers with the standard operation."""

    document: str
    resources: tuple[str, ...]
    verb: str
    raw: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.document}.{self.raw['id'].partition('.')[2]}"


@dataclass
class Compared:
    """What came of a pass over the documents."""

    equal: set[str] = field(default_factory=set)
    different: list[tuple[str, Sent, Sent]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    requests: int = 0


def starts(document: Document) -> Iterator[Start]:
    """Yield all methods that answer with exactly the standard operation."""
    yield from _starts(document, document.raw, ())


def _starts(document: Document, raw: dict[str, Any], here: tuple[str, ...]) -> Iterator[Start]:
    schemas = document.raw.get("schemas", {})
    for verb, method in raw.get("methods", {}).items():
        answer = schemas.get(method.get("response", {}).get("$ref"), {})
        if answer.get("properties", {}).keys() == OPERATION_FIELDS:
            yield Start(document.name, here, verb, method)
    for name, resource in raw.get("resources", {}).items():
        yield from _starts(document, resource, (*here, name))


def made_up(raw: dict[str, Any], turn: int) -> dict[str, Any]:
    """Return parameters for a method: all of the path, and but for the first turn all of the query."""
    values: dict[str, Any] = {}
    reserved = "{+" in raw["path"]
    for number, (name, described) in enumerate(sorted(raw.get("parameters", {}).items())):
        at = turn + number
        if described["location"] == "path":
            values[name] = _path_value(described.get("pattern"), at, flat=not reserved)
        elif turn and name != "requestId":
            values[name] = _query_value(described, at)
    return values


def _path_value(pattern: str | None, turn: int, *, flat: bool) -> str:
    if pattern is None:
        # Where there is no pattern, a slash is encoded in {x}, and not in {+x}.
        return (*FLAT_SEGMENTS, "a/b:c")[turn % 4] if flat else TAILS[turn % len(TAILS)]
    turns = iter(range(turn, turn + 100))

    def value(placeholder: re.Match[str]) -> str:
        chosen = TAILS if placeholder[0] == ".*" else FLAT_SEGMENTS if flat else SEGMENTS
        return chosen[next(turns) % len(chosen)]

    return re.sub(r"\[\^/\]\+|\.\*", value, pattern[1:-1])


def _query_value(described: dict[str, Any], turn: int) -> Any:
    if described.get("enum"):
        value: Any = described["enum"][turn % len(described["enum"])]
    elif described["type"] == "boolean":
        value = turn % 2 == 0
    elif described["type"] == "integer":
        value = turn
    elif described.get("format") == "google-fieldmask":
        value = "labels,config.size"
    else:
        value = TEXTS[turn % len(TEXTS)]
    return [value, value] if described.get("repeated") else value


def compare(document: Document, found: Compared) -> None:
    """Make each request of a document twice."""
    table = in_table(document.name)
    mine: list[Start] = []
    for start in starts(document):
        short_id = start.raw["id"].partition(".")[2]
        if table is not None and short_id in table.method_ids:
            mine.append(start)
        else:
            why = table.left_out.get(short_id, "asks for an operation") if table else "asks for an operation"
            found.left_out[start.id] = why
    if not mine:
        return
    service = Service(document.root_url)
    # Before the client is built, which adds parameters of its own to the document.
    values_of = {start.id: [made_up(start.raw, turn) for turn in range(TURNS)] for start in mine}
    methods: Any = mine  # what the client needs of a method is the same
    with GoogleClient(document, methods) as client:
        for start in mine:
            ask = getattr(client.resource(start.resources), fix_method_name(start.verb))
            method = find_method(start.id)
            equal = True
            for turn, values in enumerate(values_of[start.id]):
                body = BODY if "request" in start.raw and turn else None
                call = call_of(method, values, body)
                request = service.start_operation(
                    call.path, method=call.verb, body=call.body, query=call.query, encoded=True
                )
                ours = Sent.by_us(document.root_url, request)
                given = {key2param(name): value for name, value in values.items()}
                theirs = Sent.by_google(ask(**given, **({"body": body} if body else {})))
                found.requests += 1
                if ours != theirs:
                    equal = False
                    found.different.append((start.id, ours, theirs))
            if equal:
                found.equal.add(start.id)


@pytest.fixture(scope="module")
def compared() -> Compared:
    """Go through the documents once."""
    found = Compared()
    for document in documents():
        compare(document, found)
    return found


@pytest.mark.slow
def test_requests_are_those_of_googles_client(compared: Compared) -> None:
    """Verb, path, query and body of every method are the same, whatever the parameters; there is no exception."""
    assert compared.different[:3] == []
    table = {
        f"{name}.{short_id}"
        for name in {start.partition(".")[0] for start in compared.equal}
        if (document := in_table(name))
        for short_id in document.method_ids
    }
    assert compared.equal == table


@pytest.mark.slow
@counted
def test_what_is_left_out(compared: Compared) -> None:
    """So many methods are gone through; what answers with the standard operation and isn't in the table has a reason."""
    assert len(compared.equal) == 3798
    assert Counter(compared.left_out.values()) == {
        "asks for an operation": 696,
        "is about an operation that was started before": 280,
        "uploads media, which isn't a call with JSON": 2,
    }
    asked = {start for start, why in compared.left_out.items() if why == "asks for an operation"}
    assert {start.rpartition(".")[2] for start in asked} == {"get"}
