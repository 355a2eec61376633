"""However large a field is that a server sends, what leaves for Airflow's database holds its limit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._airflow import xcom as xcoms
from airflow_provider_operations._protocol.outcome import MAX_EVENT_CHARS, Kind, Outcome
from airflow_provider_operations._protocol.rendering import clip_json
from airflow_provider_operations._protocol.request import InvalidName, Service
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.exceptions import OperationsCallErrorFinal, error_of_call
from airflow_provider_operations.operation import (
    MAX_NAME_BYTES,
    Code,
    MalformedOperation,
    Operation,
    Status,
)
from airflow_provider_operations.triggers import _watermark as finished
from airflow_provider_operations.triggers._watermark import Checkpoint, ListSnapshot, Seen
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hooks import Calls

    from .conftest import Told

MEGABYTES = 7_000_000
LONG = "operations/" + "x" * MEGABYTES
TEXTS = {"ascii": "x", "controls": "\x00", "surrogates": "\ud800", "emoji": "\U0001f600", "quotes": '"'}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"name": LONG, "done": True}, id="name"),
        pytest.param({"x" * MEGABYTES: 1}, id="key"),
        pytest.param({"name": ["x" * MEGABYTES]}, id="name-is-a-list"),
        pytest.param({"done": "x" * MEGABYTES, "name": "operations/x"}, id="done-is-a-text"),
        pytest.param({"error": {"code": 404, "message": "x" * MEGABYTES}}, id="neither"),
    ],
)
def test_unreadable_answers(ask: Callable[..., Told], body: dict[str, Any]) -> None:
    """A name of megabytes isn't read, and what is unreadable is told in a few lines."""
    with RawServer(sends(answer(body=json.dumps(body).encode()))) as server:
        told = ask(host=server.url)
    assert told.operation is None
    assert 0 < len(told.problem) < 5000


def test_headers_of_a_failure(hook_of: Callable[..., Calls]) -> None:
    """Nor do the headers that are kept make a failure long."""
    headers = dict.fromkeys(("WWW-Authenticate", "Location"), "x" * 6000)
    with RawServer(sends(answer(401, b"", headers))) as server:
        failure = hook_of(server.url)("poll", "operations/x")
    assert all(len(value) <= 1000 for value in failure.headers.values())
    assert len(str(error_of_call(failure))) < 2000


def test_a_start_with_such_a_name_is_an_error(hook_of: Callable[..., Calls]) -> None:
    """A start whose answer has such a name is an error that says how long it is, and no XCom of megabytes."""
    body = json.dumps({"name": LONG}).encode()
    with RawServer(sends(answer(body=body))) as server, pytest.raises(OperationsCallErrorFinal) as refused:
        hook_of(server.url)("start_operation", "x:run")
    assert f"'name' is at most {MAX_NAME_BYTES} bytes long; this one has {len(LONG)} characters" in str(
        refused.value
    )


def test_a_listed_name_of_megabytes_is_not_read(hook_of: Callable[..., Calls]) -> None:
    """Neither does a list."""
    body = json.dumps({"operations": [{"name": LONG}]}).encode()
    with RawServer(sends(answer(body=body))) as server, pytest.raises(OperationsCallErrorFinal) as refused:
        hook_of(server.url).list("projects/p")
    assert "the answer is no list of operations: an operation's 'name' is at most" in str(refused.value)


@pytest.mark.parametrize("char", ["x", "\u00fc", "\u20ac", "\U0001f600"])
def test_two_kib_of_name_are_read_and_no_more(char: str) -> None:
    """Two KiB of UTF-8 are read and asked for, one byte more is not."""
    longest = char * (MAX_NAME_BYTES // len(char.encode()))
    longest += "x" * (MAX_NAME_BYTES - len(longest.encode()))
    service = Service("https://h.example")
    assert Operation.from_json({"name": longest}).name == longest
    assert service.get_operation(longest)
    for make in (service.get_operation, service.start_operation):
        with pytest.raises(InvalidName, match=f"is longer than {MAX_NAME_BYTES} bytes"):
            make(longest + "x")
    with pytest.raises(MalformedOperation):
        Operation.from_json({"name": longest + "x"})


def large_operations(char: str, size: int) -> dict[str, Operation]:
    """Operations of which one field is large."""
    text = char * size
    name = "operations/x"
    failed = Status(Code.INTERNAL, "no")
    return {
        "name": Operation(("\U0001f600" * MAX_NAME_BYTES)[: MAX_NAME_BYTES // 4], True, error=failed),
        "metadata": Operation(name, True, metadata={"a": text}),
        "metadata-key": Operation(name, True, metadata={text: 1}),
        "response": Operation(name, True, response={"a": text}),
        "message": Operation(name, True, error=Status(Code.INTERNAL, text)),
        "name-and-message": Operation("\u20ac" * (MAX_NAME_BYTES // 3), True, error=Status(Code.OK, text)),
        "details": Operation(name, True, error=Status(Code.INTERNAL, "no", [{"@type": "x/y.Z", "a": text}])),
        "error-key": Operation(name, True, error=Status(Code.INTERNAL, "no", other={text: 1})),
        "code": Operation.from_json(
            {"name": name, "done": True, "error": {"code": int("9" * 4000), "message": "no"}}
        ),
        "key": Operation(name, True, other={text: 1}),
        "numbers": Operation(name, True, metadata={"a": [2**63] * (size // 20)}),
        "reserved-keys": Operation(name, True, metadata={"a": [{"__id__": 1}] * (size // 14)}),
    }


FIELDS = tuple(large_operations("x", 1))


@pytest.mark.parametrize("size", [6_000, 40_000, 300_000])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("field", FIELDS)
def test_large_operations_stay_within_every_limit(field: str, text: str, size: int) -> None:
    """Whatever field of an operation is large: XCom, asset event and trigger event hold their limits."""
    operation = large_operations(TEXTS[text], size)[field]
    xcom = xcoms.operation_xcom(operation)
    assert len(json.dumps(xcom)) <= xcoms.MAX_OPERATION_CHARS
    assert xcom["name"] == operation.name
    assert ("error" in xcom) == (operation.error is not None)
    event = Seen.of(operation).event
    assert len(event) <= finished.MAX_EVENT_CHARS
    assert json.loads(event)["outcome"] == ("failed" if operation.error else "succeeded")
    for kind in Kind:
        outcome = Outcome(kind, operation.name, operation, waited_s=1.5).to_event()["outcome"]
        assert len(outcome) <= MAX_EVENT_CHARS


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("field", ["problem", "url", "header", "message", "details", "key"])
def test_large_failures_stay_within_the_events_limit(field: str, text: str) -> None:
    """Whatever of a failure is large: the event holds its limit, and the worker can read it."""
    large = TEXTS[text] * 400_000
    status = Status(
        Code.INTERNAL,
        large if field == "message" else "no",
        [large] if field == "details" else [],
        {large: 1} if field == "key" else {},
    )
    failure = CallFailure(
        "GET",
        large if field == "url" else "http://h/v1/x",
        500,
        status,
        large if field == "problem" else "HTTP 500",
        headers={"location": large} if field == "header" else {},
    )
    event = Outcome(Kind.CALL_FAILED, "operations/x", Operation("operations/x"), failure).to_event()
    assert len(event["outcome"]) <= MAX_EVENT_CHARS
    read = Outcome.from_event(event).failure
    assert read is not None
    assert (read.http_status, read.status.code) == (500, Code.INTERNAL)


def test_a_watchers_note() -> None:
    """A thousand running operations with the longest names make a note of some 100 kB, those that tell first."""
    names = [f"{index:04}/" + "x" * (MAX_NAME_BYTES - 5) for index in range(3000)]
    memory = Checkpoint()
    memory.news_of(ListSnapshot({name: Seen(name) for name in names}, tuple(names)))
    ends = {f"operations/{index}": Seen(f"operations/{index}", "failed") for index in range(4000)}
    memory.news_of(ListSnapshot(ends, tuple(names)))
    memory.told(list(ends))
    note = memory.to_json()
    assert len(json.dumps(note)) < 110_000
    assert len(note["running"]) == finished.MAX_RUNNING_CHARS // MAX_NAME_BYTES
    assert Checkpoint.from_json(note).running == tuple(reversed(names))[: len(note["running"])]


@pytest.mark.parametrize("count", [1, 1000])
def test_a_note_of_ordinary_names(count: int) -> None:
    """Names as services have them are all noted."""
    names = [f"projects/p/locations/l/operations/{index:036}" for index in range(count)]
    memory = Checkpoint()
    memory.news_of(ListSnapshot({name: Seen(name) for name in names}, tuple(names)))
    assert len(memory.to_json()["running"]) == count


@pytest.mark.parametrize("limit", [100, 1000])
@pytest.mark.parametrize("text", TEXTS)
def test_clipped_json_fits_and_says_what_is_missing(text: str, limit: int) -> None:
    """What is cut fits, and says how much is missing."""
    long = TEXTS[text] * 5000
    cut = clip_json(long, limit)
    assert len(json.dumps(cut)) <= limit
    head, _, rest = cut.partition(" … (")
    assert len(head) + int(rest.removesuffix(" more characters)")) == 5000
    assert clip_json("short", limit) == "short"
