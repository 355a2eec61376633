from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

from airflow_provider_operations.emulator import Emulator
from tests.support.raw_requests import Reply, call, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.clocks import MovedClock

UUID = "8a6c1f0e-3b1d-4c53-9d0e-0123456789ab"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def violation(reply: Reply) -> dict[str, str]:
    assert reply.status == 400
    assert reply.body["error"]["status"] == "INVALID_ARGUMENT"
    (detail,) = [each for each in reply.body["error"]["details"] if each["@type"] == BAD_REQUEST]
    found: dict[str, str] = detail["fieldViolations"][0]
    return found


def listed(reply: Reply) -> list[str]:
    return [operation["name"].rpartition("/")[2] for operation in reply.body["operations"]]


def test_started_operation_runs_and_ends(emulator: Emulator, moved: MovedClock) -> None:
    """A start answers with the running operation; gets see it end by the clock."""
    name = start(emulator.url, duration=5, response={"answer": 42})
    assert name.startswith("projects/p/operations/")
    moved.now += 4.9
    assert call(emulator.url, "GET", f"/v1/{name}").body["done"] is False
    moved.now += 0.1
    ended = call(emulator.url, "GET", f"/v1/{name}?alt=json&$.xgafv=2")
    assert (ended.status, ended.body["done"], ended.body["response"]) == (200, True, {"answer": 42})
    assert emulator.operation(name) == ended.body


@pytest.mark.parametrize(
    ("method", "path", "target", "verb"),
    [
        ("POST", "/v1/things", "things", "create"),
        ("DELETE", "/v1/projects/p/things/t", "projects/p/things/t", "delete"),
        ("PATCH", "/v1/things/t:mend", "things/t", "mend"),
    ],
)
def test_any_other_write_starts_an_operation(
    emulator: Emulator, method: str, path: str, target: str, verb: str
) -> None:
    """Services start operations from every writing method; what it was about shows in the metadata."""
    metadata = call(emulator.url, method, path).body["metadata"]
    assert (metadata["target"], metadata["verb"]) == (target, verb)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"operation": {"name": "operations/x"}, "displayName": "d"}, "operations/x"),
        ({"name": "builds/x", "duration": 1}, "operations/"),
        ({"steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "."]}]}, "operations/"),
        ({"operation": {"name": "a//b+c=/d"}}, "a//b+c=/d"),
        ({"operation": {"parent": "projects/q"}}, "projects/q/operations/"),
    ],
)
def test_only_operation_is_a_script(emulator: Emulator, body: dict[str, Any], name: str) -> None:
    """A script is under ``operation``; a real request's like-named fields are its own, Cloud Build's steps for one."""
    found = call(emulator.url, "POST", "/v1/things", body).body["name"]
    assert found.startswith(name)
    assert call(emulator.url, "GET", f"/v1beta1/{found}").body["name"] == found


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"operation": {"speed": 1}}, "operation.speed"),
        ({"operation": 1}, "operation"),
    ],
)
def test_bad_scripts_are_refused_by_field(emulator: Emulator, body: dict[str, Any], field: str) -> None:
    """A mistyped script is a 400 that names the key, and starts nothing."""
    assert violation(call(emulator.url, "POST", "/v1/things", body))["field"] == field
    assert emulator.operations() == []


@pytest.mark.parametrize("body", ["no json", b"[1]", b"\xff"])
def test_bodies_that_are_no_object_are_refused(emulator: Emulator, body: str | bytes) -> None:
    """A body that is not a JSON object is a 400, and the journal keeps it readable."""
    reply = call(emulator.url, "POST", "/v1/things", body)
    assert (reply.status, reply.body["error"]["details"][0]["reason"]) == (400, "INVALID_BODY")
    assert len(emulator.journal("start")) == 1


def test_the_journal_shows_what_was_sent(emulator: Emulator) -> None:
    """Keys of the query that are repeated, headers in UTF-8, and half of a surrogate pair."""
    path = "/v1/things?a=1&a=2&b=3"
    request = Request(
        emulator.url + path,
        data=b'{"operation": {}, "x": "\\ud800"}',
        headers={"X-A": "Z\u00fcrich".encode().decode("latin-1")},
        method="POST",
    )
    with urlopen(request) as reply:
        assert reply.status == 200
    (entry,) = emulator.journal("start")
    assert entry["query"] == {"a": ["1", "2"], "b": "3"}
    assert entry["headers"]["x-a"] == "Z\u00fcrich"
    assert entry["body"]["x"] == "\ud800"


def test_taken_name_is_refused(emulator: Emulator) -> None:
    """An explicit name starts one operation only, also after that one was deleted."""
    start(emulator.url, name="operations/x")
    body = {"operation": {"name": "operations/x"}}
    assert call(emulator.url, "POST", "/v1/things", body).status == 409
    call(emulator.url, "DELETE", "/v1/operations/x")
    assert call(emulator.url, "POST", "/v1/things", body).body["error"]["status"] == "ALREADY_EXISTS"


@pytest.mark.parametrize("path", ["/v1/operations/x", "/v1/projects/p/operations/x"])
@pytest.mark.parametrize(
    ("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", ":cancel"), ("POST", ":wait")]
)
def test_unknown_operations_are_not_found(emulator: Emulator, path: str, method: str, suffix: str) -> None:
    """Every method about a name nobody has answers 404 in Google's envelope."""
    name = path.removeprefix("/v1/")
    assert call(emulator.url, method, path + suffix)[::2] == (
        404,
        {
            "error": {
                "code": 404,
                "message": f"Operation not found: {name}",
                "status": "NOT_FOUND",
                "details": [
                    {
                        "@type": ERROR_INFO,
                        "reason": "OPERATION_NOT_FOUND",
                        "domain": "operations.emulator",
                        "metadata": {"operation": name},
                    }
                ],
            }
        },
    )


def test_older_error_format_on_request(emulator: Emulator) -> None:
    """``$.xgafv=1`` asks for the error format that older Google clients read."""
    message = "Operation not found: operations/x"
    assert call(emulator.url, "GET", "/v1/operations/x?$.xgafv=1").body == {
        "error": {
            "code": 404,
            "message": message,
            "errors": [{"domain": "global", "reason": "notFound", "message": message}],
            "status": "NOT_FOUND",
        }
    }


@pytest.mark.parametrize("suffix", [":cancel", "/cancel"])
@pytest.mark.parametrize("body", [None, {}])
def test_cancel_ends_the_operation_later(
    emulator: Emulator, moved: MovedClock, suffix: str, body: dict[str, Any] | None
) -> None:
    """A cancel is answered at once and only asks: the operation ends with code 1 after a while."""
    name = start(emulator.url, duration=2)
    assert call(emulator.url, "POST", f"/v1/{name}{suffix}", body)[::2] == (200, {})
    moved.now += 2.9
    running = emulator.operation(name)
    assert (running["done"], running["metadata"]["requestedCancellation"]) == (False, True)
    assert call(emulator.url, "POST", f"/v1/{name}{suffix}", body).status == 200
    moved.now += 0.1
    assert emulator.operation(name)["error"] == {"code": 1, "message": "Operation was cancelled"}


def test_cancel_without_support(emulator: Emulator) -> None:
    """A service that offers no cancel says 501, and its operation goes on."""
    name = start(emulator.url, onCancel="unimplemented")
    reply = call(emulator.url, "POST", f"/v1/{name}:cancel")
    assert (reply.status, reply.body["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert emulator.operation(name)["metadata"]["requestedCancellation"] is False


@pytest.mark.parametrize(
    ("script", "after_s"), [({"onCancel": "ignore", "duration": 9}, 0), ({"duration": 1}, 1)]
)
def test_cancel_without_effect(
    emulator: Emulator, moved: MovedClock, script: dict[str, Any], after_s: float
) -> None:
    """A cancel that the server ignores, or of an operation that's over, answers 200 and changes nothing."""
    name = start(emulator.url, **script)
    moved.now += after_s
    before = emulator.operation(name)
    assert call(emulator.url, "POST", f"/v1/{name}:cancel")[::2] == (200, {})
    assert emulator.operation(name) == before


def test_deleted_operation_is_gone(emulator: Emulator) -> None:
    """After a delete the operation is found by no method."""
    name = start(emulator.url)
    assert call(emulator.url, "DELETE", f"/v1/{name}")[::2] == (200, {})
    assert call(emulator.url, "GET", f"/v1/{name}").status == 404
    assert call(emulator.url, "DELETE", f"/v1/{name}").status == 404
    assert listed(call(emulator.url, "GET", "/v1/operations")) == []
    with pytest.raises(LookupError, match="not found"):
        emulator.operation(name)


def test_lists_are_of_one_parent(emulator: Emulator) -> None:
    """A list holds its parent's operations; ``-`` stands for any id, no parent for all of them."""
    for name in (
        "operations/a",
        "projects/p/operations/b",
        "projects/q/operations/c",
        "projects/pp/operations/d",
    ):
        start(emulator.url, name=name)
    cases = {
        "/v1/projects/p/operations": ["b"],
        "/v1/operations?name=projects/p": ["b"],
        "/v1/projects/-/operations": ["b", "c", "d"],
        "/v1/operations": ["a", "b", "c", "d"],
        "/v1/operations?name=operations": ["a", "b", "c", "d"],
        "/v1/projects/none/operations": [],
    }
    assert {path: listed(call(emulator.url, "GET", path)) for path in cases} == cases


def test_pages_are_stable_while_operations_are_added(emulator: Emulator) -> None:
    """Page by page a client sees each operation once, in order, also those that start meanwhile."""
    for number in range(5):
        start(emulator.url, name=f"operations/{number}")
    seen, token, added = [], "", 5
    while True:
        page = call(
            emulator.url, "GET", f"/v1/operations?pageSize=2&pageToken={token}&returnPartialSuccess=true"
        )
        seen += listed(page)
        token = page.body.get("nextPageToken", "")
        if not token:
            break
        if added < 7:
            start(emulator.url, name=f"operations/{added}")
            added += 1
    assert seen == [str(number) for number in range(7)]


def test_page_sizes_are_bounded(emulator: Emulator) -> None:
    """A page has 100 operations by default and never more than 1000."""
    for _ in range(1001):
        emulator_start(emulator)
    sizes = {
        query: len(listed(call(emulator.url, "GET", f"/v1/operations{query}")))
        for query in ("", "?pageSize=0")
    }
    assert sizes == {"": 100, "?pageSize=0": 100}
    assert len(listed(call(emulator.url, "GET", "/v1/operations?pageSize=5000"))) == 1000


def emulator_start(emulator: Emulator) -> None:
    assert call(emulator.url, "POST", "/v1/things").status == 200


def test_list_filters(emulator: Emulator, moved: MovedClock) -> None:
    """A filter is applied to the operations as they are at this moment."""
    start(emulator.url, name="operations/short", duration=1)
    start(emulator.url, name="operations/long", duration=9)
    moved.now += 1
    assert listed(call(emulator.url, "GET", "/v1/operations?filter=done%3Dfalse")) == ["long"]
    assert listed(call(emulator.url, "GET", "/v1/operations?filter=done+AND+metadata.verb%3Drun")) == [
        "short"
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("filter=state%3DDONE", "filter"),
        ("pageSize=-1", "pageSize"),
        ("pageSize=many", "pageSize"),
        ("pageToken=nonsense", "pageToken"),
        ("pageToken=WzEsICJ4Il0=", "pageToken"),
    ],
)
def test_bad_list_arguments_are_refused(emulator: Emulator, query: str, field: str) -> None:
    """A list argument that cannot be honoured is a 400 that names it."""
    assert violation(call(emulator.url, "GET", f"/v1/operations?{query}"))["field"] == field


def test_page_token_belongs_to_its_filter(emulator: Emulator) -> None:
    """A page token of one list is refused by another (AIP-158)."""
    for _ in range(2):
        start(emulator.url)
    token = call(emulator.url, "GET", "/v1/operations?pageSize=1").body["nextPageToken"]
    reply = call(emulator.url, "GET", f"/v1/operations?pageSize=1&filter=done&pageToken={token}")
    assert violation(reply)["field"] == "pageToken"


@pytest.mark.parametrize("place", ["query", "body", "header"])
def test_same_request_id_starts_once(emulator: Emulator, place: str) -> None:
    """A repeated request gets the operation that its first sending started (AIP-155)."""
    path = f"/v1/projects/p/things:run?requestId={UUID}" if place == "query" else "/v1/projects/p/things:run"
    body: dict[str, Any] = {"operation": {"duration": 9}}
    if place == "body":
        body["requestId"] = UUID.upper()
    headers = {"Idempotency-Key": "any text"} if place == "header" else {}
    first, second = (call(emulator.url, "POST", path, body, headers) for _ in range(2))
    assert first.body == second.body
    assert len(emulator.operations()) == 1
    assert [entry["deduplicated"] for entry in emulator.journal("start")] == [False, True]
    assert {entry["operation"] for entry in emulator.journal()} == {first.body["name"]}


@pytest.mark.parametrize(
    ("request_id", "body", "text"),
    [
        ("not-a-uuid", {}, "must be a UUID"),
        ("00000000-0000-0000-0000-000000000000", {}, "must be a UUID"),
        (UUID, {"other": 1}, "was used for a different request"),
    ],
)
def test_bad_request_ids_are_refused(
    emulator: Emulator, request_id: str, body: dict[str, Any], text: str
) -> None:
    """An id that's no UUID, or another request's, is a 400 and starts nothing."""
    call(emulator.url, "POST", f"/v1/things:run?requestId={UUID}", {})
    reply = call(emulator.url, "POST", f"/v1/things:run?requestId={request_id}", body)
    assert text in violation(reply)["description"]
    assert len(emulator.operations()) == 1


def test_wait_returns_at_the_end(emulator: Emulator, moved: MovedClock) -> None:
    """``:wait`` answers when the operation is over, and other requests are served meanwhile."""
    name = start(emulator.url, duration=5)
    replies: list[Reply] = []
    waiting = threading.Thread(
        target=lambda: replies.append(call(emulator.url, "POST", f"/v1/{name}:wait", {"timeout": "15s"}))
    )
    waiting.start()
    while not emulator.journal("wait"):
        time.sleep(0.01)
    assert call(emulator.url, "GET", f"/v1/{name}").body["done"] is False
    assert emulator.journal("wait")[0]["status"] is None
    moved.now += 5
    waiting.join(10)
    assert [reply.body["done"] for reply in replies] == [True]


@pytest.mark.parametrize(("query", "body"), [("?timeout=0.2s", None), ("", {"timeout": "0.2s"})])
def test_wait_returns_at_its_timeout(emulator: Emulator, query: str, body: dict[str, Any] | None) -> None:
    """``:wait`` answers the unfinished operation at the timeout, from query or body."""
    name = start(emulator.url)
    began = time.monotonic()
    reply = call(emulator.url, "POST", f"/v1/{name}:wait{query}", body)
    assert (reply.status, reply.body["done"]) == (200, False)
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("timeout", ["5", "s", "-1s", "1.5.s"])
def test_bad_wait_timeouts_are_refused(emulator: Emulator, timeout: str) -> None:
    """A timeout that's no duration in protobuf's JSON spelling is a 400."""
    name = start(emulator.url)
    assert violation(call(emulator.url, "POST", f"/v1/{name}:wait?timeout={timeout}"))["field"] == "timeout"


def test_server_that_ends_answers_who_waits() -> None:
    """Stopping the emulator doesn't wait for a ``:wait`` and doesn't leave its client hanging."""
    replies: list[Reply] = []
    with Emulator() as emulator:
        name = start(emulator.url, duration=60)
        waiting = threading.Thread(
            target=lambda: replies.append(call(emulator.url, "POST", f"/v1/{name}:wait?timeout=3600s"))
        )
        waiting.start()
        while not emulator.journal("wait"):
            time.sleep(0.01)
    waiting.join()
    assert [reply.body["done"] for reply in replies] == [False]


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_probes_are_answered(emulator: Emulator, path: str) -> None:
    """A connection test finds something at the root."""
    assert call(emulator.url, "GET", path)[::2] == (200, {"status": "ok"})


@pytest.mark.parametrize("spelled", ["a%2Fb", "a%252Fb"])
def test_an_encoded_slash_is_part_of_a_name(emulator: Emulator, spelled: str) -> None:
    """As Google's HTTP rules have it, all of a name is decoded but its encoded slashes."""
    name = "policies/a%2Fb/denypolicies/ü/operations/o"
    call(emulator.url, "POST", "/v1/x:run", {"operation": {"name": name, "duration": 60}})
    path = f"/v1/policies/{spelled}/denypolicies/%C3%BC/operations/o"
    assert call(emulator.url, "GET", path).body["name"] == name
    assert emulator.journal("get")[0]["operation"] == name


def test_journal_keeps_requests_as_they_came(emulator: Emulator, moved: MovedClock) -> None:
    """The journal shows path and body as sent, the answered status, and never its own readers."""
    call(emulator.url, "POST", "/v1/a%20b:run?x=1&x=2&empty=", {"operation": {"name": "operations/x"}})
    call(emulator.url, "GET", "/v1/operations/unknown")
    emulator.operations()
    first, second = emulator.journal()
    assert first.pop("headers")["content-length"] == "39"
    assert first == {
        "seq": 1,
        "time": moved.now,
        "kind": "start",
        "method": "POST",
        "path": "/v1/a%20b:run",
        "query": {"x": ["1", "2"], "empty": ""},
        "body": {"operation": {"name": "operations/x"}},
        "operation": "operations/x",
        "status": 200,
        "fault": None,
        "deduplicated": False,
    }
    assert (second["kind"], second["operation"], second["status"], second["body"]) == (
        "get",
        "operations/unknown",
        404,
        None,
    )
    assert [entry["seq"] for entry in emulator.journal(operation="operations/unknown")] == [2]
    emulator.clear_journal()
    call(emulator.url, "GET", "/")
    assert [(entry["seq"], entry["kind"]) for entry in emulator.journal()] == [(3, "other")]


def test_reset_forgets_everything(emulator: Emulator) -> None:
    """After a reset there are no operations, request ids, faults or journal entries."""
    call(emulator.url, "POST", f"/v1/things?requestId={UUID}", {"operation": {"name": "operations/x"}})
    emulator.script_fault(kind="get", status=500)
    emulator.reset()
    assert (emulator.operations(), emulator.journal(), emulator.faults()) == ([], [], [])
    call(emulator.url, "POST", f"/v1/things?requestId={UUID}", {"operation": {"name": "operations/x"}})
    assert emulator.journal()[0]["deduplicated"] is False


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After the block its thread is gone, its port is free, and its state can be opened again."""
    state = tmp_path / "state.sqlite"
    with Emulator(state) as emulator:
        name = start(emulator.url)
        port = int(emulator.url.rpartition(":")[2])
    assert not [thread for thread in threading.enumerate() if thread.name == "operations-emulator"]
    with pytest.raises(ConnectionRefusedError):
        call(emulator.url, "GET", "/")
    with Emulator(state, port) as again:
        assert again.operation(name)["name"] == name


def test_taken_port_is_an_error(emulator: Emulator) -> None:
    """Two emulators can't share a port; the second says so instead of serving nobody."""
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), Emulator(port=port):
        pass
