from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.raw_requests import call, exchange, start

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

RUN = "/v1/projects/p/things:run"


def get_bytes(emulator: Emulator, path: str) -> bytes:
    """Ask on a connection that the client would keep open."""
    return exchange(emulator.url, f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")


def post_bytes(emulator: Emulator, path: str) -> bytes:
    return exchange(emulator.url, f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")


def statuses(emulator: Emulator) -> list[tuple[int | None, str | None]]:
    return [(entry["status"], entry["fault"]) for entry in emulator.journal()]


def test_status_headers_and_envelope(emulator: Emulator) -> None:
    """A scripted status comes in Google's envelope, with the headers asked for."""
    emulator.script_fault(kind="get", status=429, headers={"Retry-After": "7"})
    reply = call(emulator.url, "GET", "/v1/operations/x")
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")
    assert reply.body["error"] == {
        "code": 429,
        "message": "Scripted by fault-1",
        "status": "RESOURCE_EXHAUSTED",
    }


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<html>bad gateway</html>", "text/plain; charset=utf-8"),
        ({"code": 5}, "application/json; charset=utf-8"),
    ],
)
def test_body_is_sent_as_scripted(emulator: Emulator, body: object, content_type: str) -> None:
    """A scripted body, text or JSON, is the whole answer."""
    emulator.script_fault(status=502, body=body)
    reply = call(emulator.url, "GET", "/v1/operations/x")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (502, body, content_type)


def test_headers_alone_go_with_the_true_answer(emulator: Emulator) -> None:
    """A fault of headers only leaves the answer itself alone."""
    name = start(emulator.url)
    emulator.script_fault(kind="get", headers={"retry-after": "9", "Content-Type": "text/html"})
    reply = call(emulator.url, "GET", f"/v1/{name}")
    assert (reply.status, reply.headers["retry-after"], reply.headers["content-type"]) == (
        200,
        "9",
        "text/html",
    )
    assert name in reply.body


def test_faulted_requests_have_no_effect(emulator: Emulator) -> None:
    """A refused start starts nothing, a refused cancel cancels nothing."""
    emulator.script_fault(kind="start", status=503, times=1)
    assert call(emulator.url, "POST", RUN).status == 503
    assert emulator.operations() == []
    name = start(emulator.url)
    emulator.script_fault(kind="cancel", drop=True)
    assert post_bytes(emulator, f"/v1/{name}:cancel") == b""
    assert emulator.operation(name)["metadata"]["requestedCancellation"] is False


@pytest.mark.parametrize("fault", [{"dropAfterEffect": True}, {"effect": True}, {"drop_after_effect": True}])
def test_lost_answers_of_requests_that_took_effect(emulator: Emulator, fault: dict[str, Any]) -> None:
    """The client sees a closed connection, and the operation was started all the same."""
    emulator.script_fault(kind="start", **fault)
    assert post_bytes(emulator, RUN) == b""
    (operation,) = emulator.operations()
    (entry,) = emulator.journal()
    assert (entry["operation"], entry["status"], entry["fault"]) == (operation["name"], None, "fault-1")


def test_error_after_effect(emulator: Emulator) -> None:
    """A server may fail after it did what was asked: the status is an error, the operation runs."""
    emulator.script_fault(kind="start", status=500, effect=True)
    assert call(emulator.url, "POST", RUN).status == 500
    assert len(emulator.operations()) == 1


@pytest.mark.parametrize("size", [0, 1, 20])
def test_truncated_answers(emulator: Emulator, size: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The headers promise the whole body, then the connection closes after so many bytes; nobody grumbles."""
    name = start(emulator.url)
    whole = get_bytes_closing(emulator, f"/v1/{name}").partition(b"\r\n\r\n")[2]
    emulator.script_fault(kind="get", truncate=size)
    head, _, body = get_bytes(emulator, f"/v1/{name}").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"content-length: %d" % len(whole) in head
    assert body == whole[:size]
    assert capfd.readouterr().err == ""


def get_bytes_closing(emulator: Emulator, path: str) -> bytes:
    return exchange(emulator.url, f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")


def test_dropped_connections(emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    """A drop closes the connection without a byte and without noise; the next request is served."""
    name = start(emulator.url)
    emulator.script_fault(kind="get", drop=True, times=1)
    assert get_bytes(emulator, f"/v1/{name}") == b""
    assert call(emulator.url, "GET", f"/v1/{name}").status == 200
    assert capfd.readouterr().err == ""


def test_delay_only_delays(emulator: Emulator) -> None:
    """A delayed request is answered normally, later; others are not held up."""
    name = start(emulator.url)
    emulator.script_fault(kind="get", operation=name, delay=0.3)
    began = time.monotonic()
    assert call(emulator.url, "GET", "/v1/operations/other").status == 404
    reply = call(emulator.url, "GET", f"/v1/{name}")
    assert (reply.status, reply.body["name"]) == (200, name)
    assert time.monotonic() - began >= 0.3
    assert statuses(emulator)[1:] == [(404, None), (200, "fault-1")]


def test_after_and_times_count_matching_requests(emulator: Emulator) -> None:
    """``after`` lets the first matching requests through, ``times`` ends the fault."""
    emulator.script_fault(kind="get", operation="operations/x", after=1, times=2, status=503)
    codes = [call(emulator.url, "GET", f"/v1/operations/{name}").status for name in "xyxxx"]
    assert codes == [404, 404, 503, 503, 404]
    assert emulator.faults() == [
        {
            "id": "fault-1",
            "fault": {"kind": "get", "operation": "operations/x", "after": 1, "times": 2, "status": 503},
            "seen": 3,
            "fired": 2,
            "spent": True,
        }
    ]


def test_outages_end_by_the_clock(emulator: Emulator, moved: MovedClock) -> None:
    """A fault ``for`` so many seconds hits every kind of request until then, and none later."""
    emulator.script_fault(for_=10, status=503)
    assert [call(emulator.url, "GET", path).status for path in ("/", "/v1/operations")] == [503, 503]
    moved.now += 10
    assert call(emulator.url, "GET", "/").status == 200


def test_faults_apply_in_order_of_adding_until_cleared(emulator: Emulator) -> None:
    """The oldest fault that matches wins; without ``times`` it stays until cleared."""
    emulator.script_fault(kind="other", status=500, times=1)
    emulator.script_fault(kind="any", status=503)
    assert [call(emulator.url, "GET", "/").status for _ in range(3)] == [500, 503, 503]
    emulator.clear_faults()
    assert call(emulator.url, "GET", "/").status == 200


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"state": 503}, "state: unknown key; allowed: kind, operation"),
        ({"status": 42}, "status: must be an HTTP status"),
        ({"kind": "poll"}, "kind: must be"),
        ({"times": -1}, "times: must be a whole number"),
        ({"headers": {"a": 1}}, "headers: must be an object of strings"),
    ],
)
def test_bad_faults_are_refused(emulator: Emulator, fault: dict[str, Any], text: str) -> None:
    """A mistyped fault is an error in the test that scripts it, and no fault is added."""
    with pytest.raises(ValueError, match=text):
        emulator.script_fault(**fault)
    assert emulator.faults() == []
