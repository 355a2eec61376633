"""Servers that refuse, stall, lie and die."""

from __future__ import annotations

import gzip
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._connection.settings import InvalidConnection
from airflow_provider_operations._protocol.request_values import InvalidRequestValue
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks._body import MAX_BODY_BYTES
from airflow_provider_operations.operation import Code
from tests.support.raw_requests import start
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.hooks import Calls


def failed(
    calls: Calls, name_of_call: str = "get_operation", *args: Any, **kwargs: Any
) -> OperationsCallError:
    """Return what a call fails with."""
    with pytest.raises(OperationsCallError) as error:
        calls(name_of_call, *(args or ("operations/x",)), **kwargs)
    return error.value


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 503}, id="503"),
        pytest.param({"status": 500}, id="500"),
        pytest.param({"status": 502, "body": "<html>"}, id="502-html"),
        pytest.param({"status": 408}, id="408"),
        pytest.param({"status": 429, "headers": {"Retry-After": "0"}}, id="429"),
        pytest.param({"drop": True}, id="dropped"),
        pytest.param({"truncate": 5}, id="truncated"),
    ],
)
def test_passing_faults_are_repeated(emulator: Emulator, hook: Calls, fault: dict[str, Any]) -> None:
    """A get is sent again after what may pass: three requests for two faults."""
    name = start(emulator.url)
    emulator.clear_journal()
    emulator.script_fault(kind="get", times=2, **fault)
    assert hook("get_operation", name).name == name
    assert len(emulator.journal("get")) == 3


@pytest.mark.parametrize(
    ("fault", "http_status", "code"),
    [
        pytest.param({"status": 503}, 503, Code.UNAVAILABLE, id="503"),
        pytest.param({"drop": True}, None, Code.UNAVAILABLE, id="dropped"),
        pytest.param({"truncate": 5}, None, Code.UNAVAILABLE, id="truncated"),
    ],
)
def test_faults_that_stay(
    emulator: Emulator, hook: Calls, fault: dict[str, Any], http_status: int | None, code: Code
) -> None:
    """After three requests it is an error that a retry of the task may cure, and it counts its attempts."""
    emulator.script_fault(kind="get", **fault)
    error = failed(hook)
    assert (type(error), error.http_status, error.code, error.attempts) == (
        OperationsCallError,
        http_status,
        code,
        3,
    )
    assert str(error).endswith("(attempt 3)")
    assert len(emulator.journal()) == 3


@pytest.mark.parametrize(
    ("fault", "http_status", "text"),
    [
        pytest.param({"status": 404}, 404, "Scripted by fault-1", id="404"),
        pytest.param({"status": 403}, 403, "PERMISSION_DENIED (7)", id="403"),
        pytest.param({"status": 200, "body": "<html>login"}, 200, "the body began: <html>login", id="html"),
        pytest.param({"status": 200, "body": ""}, 200, "an operation has 'name' or 'done'", id="empty"),
        pytest.param({"status": 200, "body": [1]}, 200, "an operation is a JSON object", id="list"),
    ],
)
def test_final_faults(
    emulator: Emulator, hook: Calls, fault: dict[str, Any], http_status: int, text: str
) -> None:
    """What won't pass is sent once, and is final."""
    emulator.script_fault(kind="get", **fault)
    error = failed(hook)
    assert (type(error), error.http_status, error.attempts) == (OperationsCallErrorFinal, http_status, 1)
    assert text in str(error)
    assert len(emulator.journal()) == 1


def test_attempts_count_whatever_ended_them(emulator: Emulator, hook: Calls) -> None:
    """A 404 after a 503 is an error of the second attempt."""
    emulator.script_fault(kind="get", status=503, times=1)
    error = failed(hook)
    assert (error.http_status, error.attempts) == (404, 2)
    assert len(emulator.journal()) == 2


def test_a_long_retry_after_is_not_waited_for(emulator: Emulator, hook: Calls) -> None:
    """A hint beyond the time allowed ends the call at once; the error carries it for Airflow's retry."""
    emulator.script_fault(kind="get", status=429, headers={"Retry-After": "3600"})
    error = failed(hook)
    delay = error.retry_delay
    assert delay is not None
    assert (error.http_status, error.attempts, delay.total_seconds()) == (429, 1, 3600.0)
    assert len(emulator.journal()) == 1


def test_polls_are_not_repeated(emulator: Emulator, hook: Calls) -> None:
    """A poll that fails is the next poll's matter: one request."""
    emulator.script_fault(kind="get", drop=True)
    failure = hook("poll", "operations/x")
    assert (failure.http_status, failure.transient, failure.sent, failure.attempts) == (None, True, True, 1)
    assert len(emulator.journal()) == 1


def test_connection_refused(hook_of: Callable[..., Calls], free_url: str) -> None:
    """Where nobody listens, nothing was sent, so even a start is tried again."""
    calls = hook_of(free_url)
    for error in (failed(calls), failed(calls, "start_operation", "x:run")):
        assert (type(error), error.http_status, error.attempts) == (OperationsCallError, None, 3)
        assert (error.failure.sent, error.failure.transient) == (False, True)
        assert "ConnectionRefusedError: [Errno 111] Connect" in str(error)


def test_unknown_host(hook_of: Callable[..., Calls]) -> None:
    """A host without an address may pass, and nothing was sent."""
    error = failed(hook_of("https://no-such-host.invalid"))
    assert (error.http_status, error.failure.sent, error.failure.transient) == (None, False, True)


def test_no_tls_there(emulator: Emulator, hook_of: Callable[..., Calls]) -> None:
    """A server that doesn't speak TLS got no request from us; requests can't tell that from a broken stream."""
    calls = hook_of(emulator.url.replace("http:", "https:"))
    error = failed(calls)
    assert (error.http_status, error.failure.sent) == (None, isinstance(calls.hook, OperationsHook))
    assert emulator.journal() == []


def test_a_missing_ca_bundle(hook_of: Callable[..., Calls]) -> None:
    """A CA bundle that isn't there is refused by name, before any request."""
    calls = hook_of("https://127.0.0.1:9", connection={"extra": {"verify": "/no/such/ca.pem"}})
    with pytest.raises(InvalidConnection, match=r"a CA bundle that can't be read, '/no/such/ca\.pem'"):
        calls("get_operation", "operations/x")


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", answer()[:-3]], ids=["mute", "head", "body"])
def test_stalled_servers(hook_of: Callable[..., Calls], before: bytes) -> None:
    """A server that falls silent before, in or after the head doesn't hold us longer than the timeout."""

    def stall(connection: socket.socket) -> None:
        connection.sendall(before)
        server.released.wait(60)

    with RawServer(stall) as server:
        calls = hook_of(server.url, retries=Retries(attempts=1), connection={"extra": {"timeout": 0.3}})
        error = failed(calls)
        assert not server.released.is_set()
    assert (error.http_status, error.code, error.failure.sent, error.failure.transient) == (
        None,
        Code.UNAVAILABLE,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b" ", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", id="header"),
        pytest.param(b"HTTP/1.1 200 ", b"K", id="status-line"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", id="headers"),
    ],
)
def test_dripping_servers(hook_of: Callable[..., Calls], begin: bytes, drop: bytes) -> None:
    """An answer that drips byte by byte ends at the timeout, although no single read takes that long."""
    drops = []

    def drip(connection: socket.socket) -> None:
        connection.sendall(begin)
        for _ in range(100):
            connection.sendall(drop)
            drops.append(1)
            time.sleep(0.05)  # what is tested: the server's slowness

    with RawServer(drip) as server:
        calls = hook_of(server.url, retries=Retries(attempts=1), connection={"extra": {"timeout": 0.5}})
        error = failed(calls)
        assert len(drops) < 60
    assert (error.http_status, error.failure.sent, error.failure.transient) == (None, True, True)


def too_large() -> list[Any]:
    size = MAX_BODY_BYTES + 1
    plain = answer(body=b" " * size)
    zipped = answer(body=gzip.compress(b" " * size), headers={"Content-Encoding": "gzip"})
    chunk = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * (size // 65536 + 1)
    return [
        pytest.param(plain, id="plain"),
        pytest.param(zipped, id="gzip-bomb"),
        pytest.param(endless, id="chunked"),
    ]


@pytest.mark.parametrize("data", too_large())
def test_too_large_answers(hook_of: Callable[..., Calls], data: bytes) -> None:
    """An answer larger than 8 MiB, unpacked, isn't read to its end; asking again wouldn't help."""
    with RawServer(sends(data)) as server:
        error = failed(hook_of(server.url))
        assert len(server.seen) == 1
    assert isinstance(error, OperationsCallErrorFinal)
    assert "the answer is longer than 8388608 bytes" in str(error)


def test_the_largest_answer(hook_of: Callable[..., Calls]) -> None:
    """An answer of exactly 8 MiB is read."""
    text = b'{"name": "operations/x"}'
    body = text + b" " * (MAX_BODY_BYTES - len(text))
    with RawServer(sends(answer(body=body))) as server:
        assert hook_of(server.url)("get_operation", "operations/x").name == "operations/x"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x1b[31mNOT HTTP\nforged line\r\n\r\n", id="no-http"),
        pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", id="no-status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", id="bad-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="bad-chunk"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", id="bad-gzip"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n{}", id="huge-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", id="many-headers"),
    ],
)
def test_no_proper_http(hook_of: Callable[..., Calls], data: bytes) -> None:
    """Bytes that aren't HTTP are an error of the call with one safe line, never another exception."""
    with RawServer(sends(data)) as server:
        error = failed(hook_of(server.url, retries=Retries(attempts=1)))
    problem = error.failure.problem
    assert "\x1b" not in problem
    assert "\n" not in problem
    assert len(problem) < 400
    assert not error.failure.safe_to_resend


# --- starts --------------------------------------------------------------------------------------------------

RUN = "projects/p/things:run"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("warm", [False, True], ids=["first-request", "kept-alive"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"dropAfterEffect": True}, id="dropped-after-effect"),
        pytest.param({"status": 500}, id="500"),
        pytest.param({"status": 503}, id="503"),
        pytest.param({"status": 502}, id="502"),
        pytest.param({"status": 408}, id="408"),
        pytest.param({"truncate": 5}, id="truncated"),
    ],
)
def test_starts_are_not_repeated(
    emulator: Emulator, hook: Calls, fault: dict[str, Any], warm: bool, method: str
) -> None:
    """Where a start may have had its effect it is sent once, whatever the method, on whatever connection."""
    if warm:
        hook("get_operation", start(emulator.url, "/v1/projects/p/others:run"))
    emulator.clear_journal()
    emulator.script_fault(kind="start", **fault)
    error = failed(hook, "start_operation", RUN, method=method)
    assert error.attempts == 1
    assert len(emulator.journal("start")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 429}, id="429"),
        pytest.param({"status": 503, "headers": {"Retry-After": "0"}}, id="503-with-Retry-After"),
    ],
)
def test_starts_that_had_no_effect_are_repeated(
    emulator: Emulator, hook: Calls, fault: dict[str, Any]
) -> None:
    """429, and 503 with Retry-After, promise that nothing was started: sent again, started once."""
    emulator.script_fault(kind="start", times=2, **fault)
    assert hook("start_operation", RUN).name
    assert len(emulator.journal("start")) == 3
    assert len(emulator.operations()) == 1


@pytest.mark.parametrize("fault", [{"dropAfterEffect": True}, {"status": 500, "effect": True}], ids=str)
def test_starts_with_request_ids_are_repeated(emulator: Emulator, hook: Calls, fault: dict[str, Any]) -> None:
    """With a request id a lost answer is asked for again: the same operation comes, started once."""
    emulator.script_fault(kind="start", times=1, **fault)
    query = {"requestId": "4e3f1f5c-6d43-4e0b-9a33-6a3f6d9d2f11"}
    started = hook("start_operation", RUN, query=query, idempotent=True)
    assert [operation["name"] for operation in emulator.operations()] == [started.name]
    assert [entry["deduplicated"] for entry in emulator.journal("start")] == [False, True]


def test_retries_of_one_start(emulator: Emulator, hook: Calls) -> None:
    """A start may come with retries of its own."""
    emulator.script_fault(kind="start", status=429)
    assert failed(hook, "start_operation", RUN, retries=Retries(attempts=2, delay_s=0)).attempts == 2
    assert len(emulator.journal("start")) == 2


# --- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(answer(403, b""), id="403"),
        pytest.param(answer(503, b"busy"), id="503"),
        pytest.param(answer(200, b"<html>"), id="html"),
        pytest.param(answer(301, b"", {"Location": "/elsewhere?key=QUERY-SECRET"}), id="redirect"),
        pytest.param(b"garbage\r\n\r\n", id="garbage"),
        pytest.param(b"", id="dropped"),
    ],
)
def test_no_secrets_in_errors(
    hook_of: Callable[..., Calls], data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the key in a query nor a credential gets into an exception's text or a log line."""
    with RawServer(sends(data)) as server, caplog.at_level(logging.INFO):
        calls = hook_of(server.url, connection={"login": "u", "password": "PASS-SECRET"})
        error = failed(
            calls, "start_operation", RUN, query={"key": "QUERY-SECRET"}, headers={"X-Key": "HEADER-SECRET"}
        )
        assert "key=QUERY-SECRET" in server.seen[0].line
    for text in (str(error), repr(error.failure.problem), error.url, caplog.text):
        assert "SECRET" not in text
        assert "UEFTUy1TRUNSRVQ" not in text


def test_no_secrets_where_nobody_listens(hook_of: Callable[..., Calls], free_url: str) -> None:
    """A refused connection's text comes without the query."""
    error = failed(hook_of(free_url), "start_operation", RUN, query={"key": "QUERY-SECRET"})
    assert "SECRET" not in str(error)


@pytest.mark.parametrize("value", ["SECRET\r\nX-Forged: 1", "SECRET\nx", "a\rSECRET", "SECRET\0"], ids=repr)
def test_headers_that_cannot_be_sent(hook_of: Callable[..., Calls], emulator: Emulator, value: str) -> None:
    """A start's header with a line break is refused by name, without repeating it; nothing is sent."""
    with pytest.raises(InvalidRequestValue) as refused:
        hook_of(emulator.url)("start_operation", RUN, headers={"X-Key": value})
    assert str(refused.value).startswith("headers['X-Key'] has a line break")
    assert "SECRET" not in str(refused.value)
    assert emulator.journal() == []


def test_sessions_are_closed(hook_of: Callable[..., Calls], emulator: Emulator) -> None:
    """A closed hook opens a new session when it is used again, and closing twice is no error."""
    calls = hook_of(emulator.url)
    name = start(emulator.url)
    for _ in range(2):
        assert calls("get_operation", name).name == name
        calls("close")
        calls("close")
