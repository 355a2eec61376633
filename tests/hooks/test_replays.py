"""
What servers really answer, replayed byte for byte, and what each answer must be taken for.

``transcripts/<server>/<number>-<what>.request.http`` and ``.response.http`` were recorded from cloudbox and from
Google's emulators of Datastore, Cloud Functions and Spanner; ``QUIRKS`` were written by hand. The modules beside them
say what each must be taken for.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import pytest

from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.readers import is_named
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks._body import MAX_BODY_BYTES
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.raw_server import Seen, answer

from .transcripts.cloudbox import CLOUDBOX
from .transcripts.datastore_emulator import DATASTORE
from .transcripts.functions_emulator import FUNCTIONS
from .transcripts.quirks import QUIRKS, Quirk, sent
from .transcripts.spanner_emulator import SPANNER
from .transcripts.verdicts import Failed, Polled, Verdict, no_operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.clocks import MovedClock
    from tests.support.hooks import Calls

RECORDED = Path(__file__).parent / "transcripts"

TRANSCRIPTS: dict[str, Verdict] = {
    f"{server}/{number}": verdict
    for server, verdicts in {
        "cloudbox": CLOUDBOX,
        "datastore-emulator": DATASTORE,
        "functions-emulator": FUNCTIONS,
        "spanner-emulator": SPANNER,
    }.items()
    for number, verdict in verdicts.items()
}


# --- calls and cases -----------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of a hook."""

    kind: str
    hook_method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    line: str
    """What it sends, without the version."""


def call_of(request: bytes) -> Call:
    """Tell from a recorded request which call makes it."""
    head, _, payload = request.partition(b"\r\n\r\n")
    method, target, *_ = head.decode().split("\r\n")[0].split(" ")
    path, _, query = target.partition("?")
    name, params = unquote(path.removeprefix("/v1/")), dict(parse_qsl(query))
    line = f"{method} {target}"
    try:
        body = json.loads(payload)
    except ValueError:  # none, or one that was recorded for not being JSON
        body = None
    of_operation = re.search("(^|/)operations/", name) is not None and not params
    if method == "POST" and name.endswith(":cancel"):
        return Call("cancel", "cancel_operation", (name.removesuffix(":cancel"),), {}, line)
    if method == "POST" and name.endswith(":wait"):
        timeout = float(body["timeout"].removesuffix("s"))
        return Call("wait", "wait_operation", (name.removesuffix(":wait"), timeout), {}, line)
    if method == "GET" and of_operation:
        return Call("get", "get_operation", (name,), {}, line)
    if method == "DELETE" and of_operation:
        return Call("delete", "delete_operation", (name,), {}, line)
    if method == "GET" and re.search("(^|/)operations$", name):
        parent = name.removesuffix("operations").removesuffix("/")
        return Call("list", "list_operations", (parent, None, params.get("pageSize")), {}, line)
    kind = "other" if method == "GET" else "start"
    if path == "/":  # no call asks for this
        name, line = "health", "GET /v1/health"
    return Call(kind, "start_operation", (name,), {"method": method, "query": params, "json": body}, line)


class Case(NamedTuple):
    call: Call
    response: bytes
    called: Verdict
    polled: Polled


def case_of(name: str, verdict: Verdict) -> Case:
    """Read a transcript."""
    call = call_of((RECORDED / f"{name}.request.http").read_bytes())
    response = (RECORDED / f"{name}.response.http").read_bytes()
    if isinstance(verdict, list):
        return Case(call, response, verdict, no_operation("operations", excerpt_of(response)))
    assert verdict is not None
    return Case(call, response, verdict, verdict)


def case_of_quirk(quirk: Quirk) -> Case:
    polled = quirk.polled or quirk.called
    assert isinstance(polled, Operation | Failed)
    return Case(call_of(f"{quirk.line} HTTP/1.1\r\n\r\n".encode()), quirk.response, quirk.called, polled)


def excerpt_of(response: bytes) -> str:
    body = response.partition(b"\r\n\r\n")[2].decode()
    return body[:500] + (" …" if len(body) > 500 else "")


CASES = [
    *(pytest.param(case_of(name, verdict), id=name) for name, verdict in TRANSCRIPTS.items()),
    *(pytest.param(case_of_quirk(quirk), id=name) for name, quirk in QUIRKS.items()),
]


# --- the server ----------------------------------------------------------------------------------------------


class Replayer:
    """A loopback server that answers everything with the bytes that the test has set."""

    def __init__(self) -> None:
        self.response = b""
        self.seen: list[Seen] = []
        replayer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline()
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                headers = [(name.lower(), value) for name, value in self.headers.items()]
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                replayer.seen.append(Seen(self.requestline, headers, body))
                self.wfile.write(replayer.response)
                # Kept open as the recorded servers did, unless that would leave the client waiting.
                head = replayer.response.partition(b"\r\n\r\n")[0].lower()
                ends = b"content-length" in head or b"chunked" in head or head.startswith(b"http/1.1 204")
                if b"connection: close" in head or not ends:
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Replayer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def lines(self) -> list[str]:
        """First lines of the requests, without the version."""
        return [seen.line.removesuffix(" HTTP/1.1") for seen in self.seen]


@pytest.fixture(scope="module")
def running() -> Iterator[Replayer]:
    """One server for all, as starting one takes longer than a test."""
    with Replayer() as replayer:
        yield replayer


@pytest.fixture
def replayer(running: Replayer) -> Replayer:
    """The server, which has seen nothing yet."""
    running.seen = []
    return running


@pytest.fixture(autouse=True)
def _no_ca_bundle(moved: MovedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """No certificates of this machine's: hundreds of hooks would read them, and nothing here speaks TLS."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


# --- tests ---------------------------------------------------------------------------------------------------


def test_every_transcript_has_a_verdict() -> None:
    """The table has exactly the recorded exchanges, each of a request and a response."""
    files = {str(path.relative_to(RECORDED)) for path in RECORDED.rglob("*.http")}
    assert files == {f"{name}.{half}.http" for name in TRANSCRIPTS for half in ("request", "response")}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcripts_are_as_recorded(name: str) -> None:
    """No line end was changed on the way here, and no body is longer or shorter than announced."""
    for half in ("request", "response"):
        head, _, body = (RECORDED / f"{name}.{half}.http").read_bytes().partition(b"\r\n\r\n")
        length = re.search(rb"^content-length: (\d+)\r?$", head, re.IGNORECASE | re.MULTILINE)
        assert b"\n" not in head.replace(b"\r\n", b"")
        assert len(body) == (int(length[1]) if length else 0)


@pytest.mark.parametrize("case", CASES)
def test_both_hooks_take_an_answer_for_what_it_is(
    case: Case, replayer: Replayer, hook_of: Callable[..., Calls], moved: MovedClock
) -> None:
    """
    Both hooks send the recorded request and take the answer for what it is, to the last field.

    Only what may pass is asked for again, and once what has no name; no start ever is, and no redirect is followed.
    """
    replayer.response = case.response
    call = case.call
    calls = hook_of(replayer.url, connection={"extra": {"wait_timeout_in": "body"}})

    def make() -> Any:
        return (
            calls.list(*call.args)
            if call.kind == "list"
            else calls(call.hook_method, *call.args, **call.kwargs)
        )

    if isinstance(case.called, Failed):
        attempts = 3 if case.called.transient and call.kind not in {"start", "other"} else 1
        with pytest.raises(OperationsCallError) as failed:
            make()
        assert failed.value.failure == case.called.of(call.line + " _", replayer.url, attempts)
        assert isinstance(failed.value, OperationsCallErrorFinal) is not case.called.transient
        assert failed.value.name == (None if call.kind in {"list", "start", "other"} else call.args[0])
        assert case.called.retry_after is None or min(moved.sleeps) >= case.called.retry_after.total_seconds()
    else:
        attempts = requests_for(case.called, call.args[0]) if call.kind == "get" else 1
        assert make() == case.called
    assert replayer.lines == [call.line] * attempts
    if call.kind == "start" and call.kwargs["json"] is not None:
        assert json.loads(replayer.seen[0].body) == call.kwargs["json"]


def test_redirects_are_not_read_without_end(replayer: Replayer, hook_of: Callable[..., Calls]) -> None:
    """The body of a redirect is read within the same limit as any other."""
    replayer.response = answer(301, b" " * (MAX_BODY_BYTES + 1), {"Location": "/v1/operations/y"})
    with pytest.raises(OperationsCallErrorFinal, match="the answer is longer than 8388608 bytes") as failed:
        hook_of(replayer.url)("get_operation", "operations/x")
    assert (failed.value.http_status, failed.value.failure.sent) == (None, True)
    assert replayer.lines == ["GET /v1/operations/x"]


@pytest.mark.parametrize("case", CASES)
def test_a_trigger_makes_one_event_of_an_answer(
    case: Case, replayer: Replayer, monkeypatch: pytest.MonkeyPatch, moved: MovedClock
) -> None:
    """
    A trigger that gets the answer to its polls gives one event: the operation once it is done, or the failure.

    While the operation runs it goes on until the deadline. A failure is borne for a minute: one that may pass is an
    outage, and of another it isn't known yet whether it stays so. Only a 404 that names a code ends the wait at
    once, and any other 404 once there has been a second one half a minute later.
    """
    replayer.response = case.response
    set_connection(monkeypatch, replayer.url, "ops")
    monkeypatch.setattr("random.random", lambda: 0.0)  # the first look is at once
    began, polled = moved.now, case.polled
    name = case.call.args[0] if case.call.kind == "get" else "operations/x"
    line = case.call.line if case.call.kind == "get" else "GET /v1/operations/x"
    (payload,) = events_of(
        OperationTrigger(name, operations_conn_id="ops", deadline_epoch_s=began + 300, outage_tolerance_s=60)
    )
    outcome = Outcome.from_event(json.loads(json.dumps(payload)))
    passed = moved.now - began
    assert outcome.waited_s == pytest.approx(passed)
    assert set(replayer.lines) == {line}
    if isinstance(polled, Operation):
        kind = Kind.DONE if polled.done else Kind.TIMED_OUT
        assert (outcome.kind, outcome.name, outcome.operation, outcome.failure) == (kind, name, polled, None)
        assert passed == pytest.approx(0 if polled.done else 300)
    else:
        failure = polled.of(line + " _", replayer.url, 1)
        assert (outcome.kind, outcome.name, outcome.operation, outcome.failure) == (
            Kind.CALL_FAILED,
            name,
            None,
            failure,
        )
        if polled.http_status not in {404, 410}:
            assert 60 <= passed <= 90
        elif b'"code"' in case.response:
            assert passed == 0
        else:
            assert 30 <= passed <= 60
        assert polled.retry_after is None or min(moved.sleeps[1:]) >= polled.retry_after.total_seconds()
    asked_at_once = requests_for(polled, name)
    assert (len(replayer.seen) == asked_at_once) is (passed == 0)


def requests_for(result: Any, name: str) -> int:
    """Return how many requests one answer takes: one about another operation, or none, is asked for again."""
    return 2 if isinstance(result, Operation) and not is_named(result, name) else 1


def events_of(trigger: OperationTrigger) -> list[Any]:
    async def collect() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def values_of(value: Any) -> Iterator[Any]:
    """Yield what is written in a JSON value, keys left out."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from values_of(inner)
    elif value is not None:
        yield value


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_verdicts_keep_everything(name: str) -> None:
    """A verdict of the table holds all that the server wrote: no field of an operation, no word of an error less."""
    body = (RECORDED / f"{name}.response.http").read_bytes().partition(b"\r\n\r\n")[2]
    verdict = TRANSCRIPTS[name]
    if isinstance(verdict, Failed) and verdict.excerpt:
        assert verdict.excerpt == body.decode().strip()
    elif isinstance(verdict, Failed):
        status = verdict.status
        kept = json.dumps([status.to_json(), status.code_name, verdict.http_status])
        assert [
            value
            for value in values_of(json.loads(body or b"null"))
            if json.dumps(value).strip('"') not in kept
        ] == []
    else:
        read = verdict if isinstance(verdict, list) else [verdict]
        written = json.loads(body)["operations"] if isinstance(verdict, list) else [json.loads(body)]
        assert [operation and operation.to_json() for operation in read] == [
            {"name": "", "done": False, **operation} for operation in written
        ]


@pytest.mark.parametrize("name", ["operations/YWJj/+8==", "operations/YWJj//8=", "operations/a_b-c/d+e=f"])
def test_names_come_back_as_they_were_given(
    name: str, replayer: Replayer, hook_of: Callable[..., Calls]
) -> None:
    """Whatever base64 a server made a name of, it is asked for, cancelled, deleted and polled by that name."""
    replayer.response = sent({"name": name, "done": True})
    calls = hook_of(replayer.url)
    started = calls("start_operation", "projects/p/things:run").name
    for method in ("get_operation", "cancel_operation", "delete_operation"):
        calls(method, started)
    (payload,) = events_of(OperationTrigger(started, operations_conn_id="ops"))
    assert Outcome.from_event(payload).operation == Operation(name, done=True)
    assert replayer.lines == [
        "POST /v1/projects/p/things:run",
        f"GET /v1/{name}",
        f"POST /v1/{name}:cancel",
        f"DELETE /v1/{name}",
        f"GET /v1/{name}",
    ]
