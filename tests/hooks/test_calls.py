"""What the hooks ask and how they read the answers, against the emulator."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httplib2
import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from airflow_provider_operations._protocol.request import InvalidName
from airflow_provider_operations.exceptions import (
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationTimeout,
)
from airflow_provider_operations.operation import Code
from tests.support.raw_requests import start

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock
    from tests.support.hooks import Calls


def asked(emulator: Emulator, *keys: str) -> list[tuple[Any, ...]]:
    """Some fields of each request that came."""
    return [tuple(entry[key] for key in keys) for entry in emulator.journal()]


def test_an_operation_is_read_running_and_done(emulator: Emulator, moved: MovedClock, hook: Calls) -> None:
    """The operation is read as it is: running, then done with its response."""
    name = start(emulator.url, duration=10, metadata={"progressPercent": 40}, response={"a": 1})
    running = hook("get_operation", name)
    assert (running.name, running.done, running.progress.percent) == (name, False, 40.0)
    moved.now += 10
    done = hook("get_operation", name)
    assert (done.done, done.response, done.error) == (True, {"a": 1}, None)


def test_get_of_a_failed_operation(emulator: Emulator, moved: MovedClock, hook: Calls) -> None:
    """An operation's error arrives whole, and is no error of the call."""
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R", "domain": "d"}
    name = start(emulator.url, error={"code": 8, "message": "m", "details": [detail]})
    moved.now += 1
    error = hook("get_operation", name).error
    assert (error.code, error.message, error.details) == (Code.RESOURCE_EXHAUSTED, "m", [detail])


def test_a_cancelled_operation_ends_with_code_1(emulator: Emulator, moved: MovedClock, hook: Calls) -> None:
    """A cancelled operation ends with code 1; the request has no body."""
    name = start(emulator.url, duration=60)
    emulator.clear_journal()
    assert hook("cancel_operation", name) is None
    moved.now += 3
    assert hook("get_operation", name).error.code == Code.CANCELLED
    assert asked(emulator, "method", "path", "body") == [
        ("POST", f"/v1/{name}:cancel", None),
        ("GET", f"/v1/{name}", None),
    ]


def test_cancel_unimplemented(emulator: Emulator, hook: Calls) -> None:
    """A server that can't cancel says so by code 12: final, and sent once."""
    name = start(emulator.url, duration=60, onCancel="unimplemented")
    emulator.clear_journal()
    with pytest.raises(OperationsCallErrorFinal) as refused:
        hook("cancel_operation", name)
    assert (refused.value.code, refused.value.http_status) == (Code.UNIMPLEMENTED, 501)
    assert asked(emulator, "kind") == [("cancel",)]


def test_a_deleted_operation_is_unknown(emulator: Emulator, hook: Calls) -> None:
    """After deletion the operation is unknown: 404, final, named in the error."""
    name = start(emulator.url)
    assert hook("delete_operation", name) is None
    with pytest.raises(OperationsCallErrorFinal) as refused:
        hook("get_operation", name)
    error = refused.value
    assert (error.http_status, error.code, error.name, error.method, error.attempts) == (
        404,
        Code.NOT_FOUND,
        name,
        "GET",
        1,
    )
    assert error.url == f"{emulator.url}/v1/{name}"


def test_list_over_pages(emulator: Emulator, hook: Calls) -> None:
    """All pages are read, each request with filter and size; the token is that of the page before."""
    for number in range(5):
        start(emulator.url, name=f"projects/p/operations/{number}")
    emulator.clear_journal()
    found = hook.list("projects/p", "done=false", 2)
    assert [operation.name[-1] for operation in found] == ["0", "1", "2", "3", "4"]
    queries = [entry["query"] for entry in emulator.journal("list")]
    assert [(query["filter"], query["pageSize"], "pageToken" in query) for query in queries] == [
        ("done=false", "2", False),
        ("done=false", "2", True),
        ("done=false", "2", True),
    ]
    assert {entry["path"] for entry in emulator.journal()} == {"/v1/projects/p/operations"}


def test_list_of_nothing(emulator: Emulator, hook: Calls) -> None:
    """An empty list is one request and no operation."""
    assert hook.list("") == []
    assert asked(emulator, "path", "query") == [("/v1/operations", {})]


@pytest.mark.parametrize("tokens", ["t", "tu"], ids=["same", "in-a-circle"])
def test_a_repeated_page_token_ends_the_list(emulator: Emulator, hook: Calls, tokens: str) -> None:
    """A server that answers with a token that was turned to before doesn't hold us for ever."""
    for token in tokens * 2:
        body = {"operations": [{"name": "operations/x"}], "nextPageToken": token}
        emulator.script_fault(kind="list", body=body, times=1)
    assert len(hook.list("")) == len(tokens) + 1
    assert asked(emulator, "query") == [({},), *(({"pageToken": token},) for token in tokens)]


@pytest.mark.parametrize(
    "body",
    [[1], {"operations": 5}, {"operations": [5]}, {"operations": {"a": 1}}, {"nextPageToken": 5}],
    ids=repr,
)
def test_lists_that_are_none(emulator: Emulator, hook: Calls, body: Any) -> None:
    """An answer that is no list of operations is an error of the call, not an empty list."""
    emulator.script_fault(kind="list", body=body)
    with pytest.raises(OperationsCallErrorFinal, match="the answer is no list of operations"):
        hook.list("")


def test_a_wait_returns_the_latest_state(emulator: Emulator, hook: Calls) -> None:
    """Wait is a POST with the timeout in the query; the latest state comes back, running or not."""
    name = start(emulator.url, duration=60)
    emulator.clear_journal()
    assert hook("wait_operation", name, timedelta(seconds=0.01)).done is False
    assert hook("wait_operation", name, 0).done is False
    assert asked(emulator, "method", "path", "query") == [
        ("POST", f"/v1/{name}:wait", {"timeout": "0.01s"}),
        ("POST", f"/v1/{name}:wait", {"timeout": "0s"}),
    ]


def test_a_start_sends_what_it_is_told(emulator: Emulator, hook: Calls) -> None:
    """A start sends method, path, query, body and headers as told, and returns the operation."""
    started = hook(
        "start_operation",
        "projects/p/things:run",
        json={"operation": {"name": "operations/mine", "duration": 60}},
        query={"requestId": "4e3f1f5c-6d43-4e0b-9a33-6a3f6d9d2f11", "flag": True},
        headers={"X-Mine": "yes"},
    )
    assert (started.name, started.done) == ("operations/mine", False)
    (entry,) = emulator.journal()
    assert (entry["method"], entry["path"]) == ("POST", "/v1/projects/p/things:run")
    assert entry["query"] == {"requestId": "4e3f1f5c-6d43-4e0b-9a33-6a3f6d9d2f11", "flag": "true"}
    assert entry["body"] == {"operation": {"name": "operations/mine", "duration": 60}}
    assert (entry["headers"]["x-mine"], entry["headers"]["content-type"]) == ("yes", "application/json")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_start_by_other_methods(emulator: Emulator, hook: Calls, method: str) -> None:
    """A start may be any method; without a body it says no content type."""
    assert hook("start_operation", "/v1/projects/p/things/t", method=method).name
    (entry,) = emulator.journal()
    assert (entry["method"], entry["path"], entry["body"]) == (method, "/v1/projects/p/things/t", None)
    assert "content-type" not in entry["headers"]


def test_start_done_without_name(emulator: Emulator, moved: MovedClock, hook: Calls) -> None:
    """A done operation without a name is one (Datastore emulator); a running one couldn't be asked for."""
    done = hook("start_operation", "projects/p:export", json={"operation": {"duration": 0, "omitName": True}})
    assert (done.name, done.done) == ("", True)
    with pytest.raises(OperationsCallErrorFinal, match="an operation without a name that isn't done"):
        hook("start_operation", "projects/p:export", json={"operation": {"duration": 60, "omitName": True}})


def test_a_finished_operation_is_returned_at_once(emulator: Emulator, moved: MovedClock, hook: Calls) -> None:
    """A finished operation is returned however it ended, after one request."""
    name = start(emulator.url, error={"code": 3, "message": "m"})
    emulator.clear_journal()
    moved.now += 1
    assert hook("wait_until_done", name).error.code == Code.INVALID_ARGUMENT
    assert asked(emulator, "kind") == [("get",)]


def test_wait_until_done_polls(emulator: Emulator, hook: Calls) -> None:
    """A running operation is asked for again until it is done."""
    name = start(emulator.url, duration=10)
    assert hook("wait_until_done", name, poke_interval=2).done
    assert len(emulator.journal("get")) >= 2


def test_wait_until_done_in_time(emulator: Emulator, hook: Calls) -> None:
    """A timeout ends the wait with what was seen last."""
    name = start(emulator.url, duration=60, metadata={"progressPercent": 40})
    with pytest.raises(OperationTimeout) as late:
        hook("wait_until_done", name, timeout=timedelta(0))
    last_seen = late.value.last_seen
    assert last_seen is not None
    assert (late.value.name, last_seen.progress.percent) == (name, 40.0)


def test_wait_until_done_through_faults(emulator: Emulator, moved: MovedClock, hook: Calls) -> None:
    """Failures that may pass are borne; without tolerance the first one is the end."""
    name = start(emulator.url)
    moved.now += 1
    emulator.script_fault(kind="get", status=503, times=2)
    assert hook("wait_until_done", name, poke_interval=0.001).done
    emulator.script_fault(kind="get", status=503, times=1)
    with pytest.raises(OperationsCallError) as gone:
        hook("wait_until_done", name, outage_tolerance=0)
    assert gone.value.http_status == 503


def test_wait_until_done_of_nothing(emulator: Emulator, hook: Calls) -> None:
    """An unknown operation ends the wait at once."""
    with pytest.raises(OperationsCallError) as gone:
        hook("wait_until_done", "operations/none")
    assert (gone.value.http_status, gone.value.code) == (404, Code.NOT_FOUND)
    assert len(emulator.journal()) == 1


def test_the_test_of_a_connection_lists_one_operation(emulator: Emulator, hook: Calls) -> None:
    """The test of a connection lists one operation, once."""
    assert hook("test_connection") == (True, f"{emulator.url} lists operations")
    assert asked(emulator, "method", "path", "query") == [("GET", "/v1/operations", {"pageSize": "1"})]


@pytest.mark.parametrize(
    ("http_status", "works"),
    [
        (400, True),
        (404, True),
        (405, True),
        (501, True),
        (401, False),
        (403, False),
        (500, False),
        (503, False),
    ],
)
def test_connection_test_of_others(emulator: Emulator, hook: Calls, http_status: int, works: bool) -> None:
    """A server without a list works all the same; one that refuses or fails doesn't, and says why."""
    emulator.script_fault(status=http_status)
    verdict, text = hook("test_connection")
    assert verdict is works
    assert f"HTTP {http_status}" in text
    assert len(emulator.journal()) == 1


def test_connection_test_without_a_server(hook_of: Callable[..., Calls], free_url: str) -> None:
    """Nobody there is a verdict with a text, not an exception."""
    verdict, text = hook_of(free_url)("test_connection")
    assert not verdict
    assert text.startswith(f"GET {free_url}/v1/operations failed: ")


def test_connection_test_of_a_bad_connection(hook_of: Callable[..., Calls]) -> None:
    """A connection that can't be used is a verdict with the reason."""
    verdict, text = hook_of("ftp://h")("test_connection")
    assert (verdict, text) == (
        False,
        "connection 'ops': its host must be http:// or https:// and a host, not 'ftp://h'",
    )


@pytest.mark.parametrize(
    ("error_format", "query", "other"),
    [(1, {"$.xgafv": "1"}, True), (2, {"$.xgafv": "2"}, False), (None, {}, False)],
)
def test_error_formats(
    emulator: Emulator, hook_of: Callable[..., Calls], error_format: int | None, query: object, other: bool
) -> None:
    """Both of Google's error formats are asked for, and read to the same code and message."""
    with pytest.raises(OperationsCallErrorFinal) as refused:
        hook_of(emulator.url, error_format=error_format)("get_operation", "operations/none")
    assert (refused.value.code, refused.value.status.message) == (
        Code.NOT_FOUND,
        "Operation not found: operations/none",
    )
    assert ("errors" in refused.value.status.other) is other
    assert asked(emulator, "query") == [(query,)]


@pytest.mark.parametrize(
    "name", ["", "None", "../x", "https://evil.example/x", "/x", "a?b", "a\nb"], ids=repr
)
def test_bad_names_are_refused_before_any_request(emulator: Emulator, hook: Calls, name: str) -> None:
    """What must not be put into a URL is refused without a request."""
    calls = ["get_operation", "cancel_operation", "delete_operation", "wait_until_done"]
    for method in calls:
        with pytest.raises(InvalidName):
            hook(method, name)
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("extra", "kwargs", "path"),
    [
        ({"path_prefix": "v1/admin"}, {}, "POST /v1/admin/operations/x:cancel"),
        ({"cancel_suffix": "/cancel"}, {}, "POST /v1/operations/x/cancel"),
        ({"cancel_method": "GET"}, {"cancel_suffix": "/cancel"}, "GET /v1/operations/x/cancel"),
        ({"path_prefix": "v9"}, {"path_prefix": "v2"}, "POST /v2/operations/x:cancel"),
    ],
)
def test_a_tasks_spellings_win_over_the_connections(
    emulator: Emulator, hook_of: Callable[..., Calls], extra: Any, kwargs: dict[str, Any], path: str
) -> None:
    """Prefix, suffix and method are as the connection says, or as the task says instead."""
    emulator.script_fault(body={})
    hook_of(emulator.url, connection={"extra": extra}, **kwargs)("cancel_operation", "operations/x")
    (entry,) = emulator.journal()
    assert f"{entry['method']} {entry['path']}" == path


NAMES = [
    "operations/x",
    "operations/build/my-project/MDg5MmE0",
    "operations/projects/p/locations/europe-west1/operations/1",
    "operations/YQ+b/c==",
    "operations/a~b_c.d-e",
    "operations/a:b@c",
    "operations/a,b;c!d*e'(f)$&",
    "operations/größe",
    "operations/a b",
]


@pytest.mark.parametrize("name", NAMES)
def test_urls_are_those_of_googles_client(emulator: Emulator, hook: Calls, name: str) -> None:
    """For the same name Google's own client and ours send the same method and path."""
    emulator.script_fault(body={"name": name})
    hook("get_operation", name)
    hook("cancel_operation", name)
    ours = asked(emulator, "method", "path", "body")
    emulator.clear_journal()
    http = httplib2.Http()
    options = {"api_endpoint": emulator.url}
    with build("cloudbuild", "v1", http=http, client_options=options, static_discovery=True) as service:
        operations = service.operations()
        operations.get(name=name).execute()
        operations.cancel(name=name).execute()
    http.close()
    assert ours == asked(emulator, "method", "path", "body")


def test_errors_are_those_of_googles_client(emulator: Emulator, hook: Calls) -> None:
    """Google's own client and ours read the same error: status and details."""
    http = httplib2.Http()
    options = {"api_endpoint": emulator.url}
    with (
        build("cloudbuild", "v1", http=http, client_options=options, static_discovery=True) as service,
        pytest.raises(HttpError) as theirs,
    ):
        service.operations().get(name="operations/none").execute()
    http.close()
    with pytest.raises(OperationsCallErrorFinal) as ours:
        hook("get_operation", "operations/none")
    assert (ours.value.http_status, ours.value.status.details) == (
        theirs.value.status_code,
        theirs.value.error_details,
    )
