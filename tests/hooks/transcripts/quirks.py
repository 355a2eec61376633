"""Answers that other servers were seen to give, written by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import NamedTuple

from airflow_provider_operations.operation import Code, Operation, Status
from tests.support.raw_server import answer

from .verdicts import Failed, Polled, T, Verdict, no_operation, refused, unreadable


class Quirk(NamedTuple):
    """A request's first line, the answer to it, and what that is taken for."""

    line: str
    response: bytes
    called: Verdict
    polled: Polled | None = None
    """As the answer to a GET of an operation, where that differs."""


GET = "GET /v1/operations/x"
CANCEL = "POST /v1/operations/x:cancel"
DELETE = "DELETE /v1/operations/x"
LIST = "GET /v1/operations"
START = "POST /v1/projects/p/things:run"

JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
HTML = {"Content-Type": "text/html"}

LOGIN = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>\n<form></form></body></html>"
BUSY = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body></body>\r\n</html>\r\n"
MOVED = '<a href="/v1/operations/y">Moved Permanently</a>.'
RETRY_5S = {"@type": T + "rpc.RetryInfo", "retryDelay": "5s"}
RETRY_7S = {"typeUrl": "types.googleapis.com/google.rpc.RetryInfo", "value": {"retryDelay": "7s"}}
QUOTA = {
    "typeUrl": "types.googleapis.com/google.rpc.QuotaFailure",
    "value": {"violations": [{"subject": "s"}]},
}
HALFWAY = {"typeUrl": "types.googleapis.com/p.Metadata", "value": {"progressPercent": 50}}
NOTHING = no_operation("nothing", "")
NOTHING_204 = no_operation("nothing", "", 204)


def sent(value: object, http_status: int = 200, headers: dict[str, str] = JSON) -> bytes:
    """An answer in JSON."""
    return answer(http_status, json.dumps(value).encode(), headers)


def moved_to_y(http_status: int) -> Failed:
    """A redirect within the server."""
    return refused(
        http_status,
        Code.UNKNOWN,
        problem=f"HTTP {http_status}, a redirect to /v1/operations/y, which is not followed",
        excerpt=MOVED,
        headers={"location": "/v1/operations/y"},
    )


def redirect(http_status: int) -> bytes:
    """A redirect as Go's router answers to a path that it would spell otherwise."""
    return answer(http_status, MOVED.encode() + b"\n\n", {**HTML, "Location": "/v1/operations/y"})


QUIRKS: dict[str, Quirk] = {
    # Errors.
    "gateway-error-with-RetryInfo": Quirk(
        GET,
        sent({"code": 8, "message": "quota", "details": [RETRY_5S]}, 429),
        refused(
            429,
            Code.RESOURCE_EXHAUSTED,
            "quota",
            [RETRY_5S],
            transient=True,
            retry_after=timedelta(seconds=5),
        ),
    ),
    "gateway-error-with-typeUrl": Quirk(
        GET,
        sent({"code": 14, "message": "drained", "details": [RETRY_7S]}, 503),
        refused(
            503, Code.UNAVAILABLE, "drained", [RETRY_7S], transient=True, retry_after=timedelta(seconds=7)
        ),
    ),
    "gateway-1-error-twice": Quirk(
        GET,
        sent({"error": "not here", "code": 5, "message": "not here", "details": []}, 404),
        refused(404, Code.NOT_FOUND, "not here"),
    ),
    "gateway-error-as-text": Quirk(
        CANCEL,
        sent({"code": 9, "message": "too late"}, 400, PLAIN),
        refused(400, Code.FAILED_PRECONDITION, "too late"),
    ),
    "error-in-words-beside-a-message": Quirk(
        START,
        sent({"status": 400, "error": "Bad Request", "message": "no such region", "path": "/v1/x"}, 400),
        refused(
            400,
            Code.INVALID_ARGUMENT,
            "Bad Request: no such region",
            other={"status": 400, "path": "/v1/x"},
        ),
    ),
    "envelope-with-details-text": Quirk(
        GET,
        sent({"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED", "details": "role"}}, 403),
        refused(403, Code.PERMISSION_DENIED, "m", ["role"]),
    ),
    "envelope-with-a-neighbour": Quirk(
        GET,
        sent({"error": {"code": 404, "message": "m", "status": "NOT_FOUND"}, "requestId": "r-1"}, 404),
        refused(404, Code.NOT_FOUND, "m", other={"requestId": "r-1"}),
    ),
    "envelope-with-200": Quirk(
        GET,
        sent({"error": {"code": 404, "message": "m"}}),
        no_operation("error", '{"error": {"code": 404, "message": "m"}}'),
    ),
    # Operations.
    "operation-as-text": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "response": {"a": 1}}, 200, PLAIN),
        Operation("operations/x", done=True, response={"a": 1}),
    ),
    "metadata-with-typeUrl": Quirk(
        GET, sent({"name": "operations/x", "metadata": HALFWAY}), Operation("operations/x", metadata=HALFWAY)
    ),
    "error-with-typeUrl": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 8, "details": [QUOTA]}}),
        Operation("operations/x", done=True, error=Status(Code.RESOURCE_EXHAUSTED, "", [QUOTA])),
    ),
    "no-name-while-running": Quirk(
        GET, sent({"done": False, "metadata": {"a": 1}}), Operation("", metadata={"a": 1})
    ),
    "no-name-of-a-running-start": Quirk(
        START,
        sent({"done": False}),
        unreadable(
            "the answer is an operation without a name that isn't done; it can't be asked for",
            '{"done": false}',
        ),
        Operation(""),
    ),
    "neither-name-nor-done": Quirk(
        GET, sent({"metadata": {"a": 1}}), no_operation("metadata", '{"metadata": {"a": 1}}')
    ),
    "nulls-while-running": Quirk(
        GET,
        sent({"name": "operations/x", "done": None, "metadata": None, "error": None, "response": None}),
        Operation("operations/x"),
    ),
    "nulls-when-done": Quirk(
        GET,
        sent({"name": None, "done": True, "metadata": None, "error": None, "response": {"a": None}}),
        Operation("", done=True, response={"a": None}),
    ),
    "error-with-details-text": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 3, "message": "m", "details": "why"}}),
        Operation("operations/x", done=True, error=Status(Code.INVALID_ARGUMENT, "m", ["why"])),
    ),
    # An error that names no cause is an error; nobody sends one with a success but by mistake, and then the
    # mistake is to be looked at.
    "error-empty": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {}}),
        Operation("operations/x", done=True, error=Status(Code.UNKNOWN)),
    ),
    "error-0": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 0, "message": "", "details": []}}),
        Operation("operations/x", done=True, error=Status(Code.UNKNOWN)),
    ),
    "error-0-beside-a-response": Quirk(
        GET,
        sent({"name": "operations/x", "done": True, "error": {"code": 0}, "response": {"a": 1}}),
        Operation("operations/x", done=True, error=Status(Code.UNKNOWN), response={"a": 1}),
    ),
    "error-while-running": Quirk(
        GET,
        sent({"name": "operations/x", "done": False, "error": {"code": 14, "message": "retrying"}}),
        Operation("operations/x", error=Status(Code.UNAVAILABLE, "retrying")),
    ),
    "base64-name": Quirk(
        "GET /v1/operations/YWJj/+8==",
        sent({"name": "operations/YWJj/+8==", "done": True}),
        Operation("operations/YWJj/+8==", done=True),
    ),
    "base64-name-of-a-start": Quirk(
        START, sent({"name": "operations/YWJj//8="}), Operation("operations/YWJj//8=")
    ),
    # Bodies.
    "login-page": Quirk(
        GET,
        answer(200, LOGIN.encode(), HTML),
        unreadable("the answer (text/html) is not JSON: Expecting value: line 1 column 1 (char 0)", LOGIN),
    ),
    # A page of somebody in between must not pass for the server's consent.
    "login-page-for-a-cancel": Quirk(
        CANCEL,
        answer(200, LOGIN.encode(), HTML),
        unreadable("the answer (text/html) is not JSON: Expecting value: line 1 column 1 (char 0)", LOGIN),
    ),
    "maintenance-page": Quirk(
        GET,
        answer(503, BUSY.encode(), {**HTML, "Retry-After": "20"}),
        refused(
            503,
            Code.UNAVAILABLE,
            transient=True,
            excerpt=BUSY.replace("\r\n", "\n").strip(),
            retry_after=timedelta(seconds=20),
            headers={"retry-after": "20"},
        ),
    ),
    "empty-200": Quirk(GET, answer(200, b""), NOTHING),
    "empty-204": Quirk(GET, b"HTTP/1.1 204 No Content\r\n\r\n", NOTHING_204),
    "empty-404": Quirk(GET, answer(404, b""), refused(404, Code.NOT_FOUND)),
    "empty-200-for-a-cancel": Quirk(CANCEL, answer(200, b""), None, NOTHING),
    "empty-204-for-a-cancel": Quirk(CANCEL, b"HTTP/1.1 204 No Content\r\n\r\n", None, NOTHING_204),
    "empty-204-for-a-delete": Quirk(DELETE, b"HTTP/1.1 204 No Content\r\n\r\n", None, NOTHING_204),
    "empty-200-for-a-list": Quirk(LIST, answer(200, b""), [], NOTHING),
    "empty-object-for-a-cancel": Quirk(CANCEL, sent({}), None, no_operation("nothing", "{}")),
    "until-the-connection-ends": Quirk(
        GET, b'HTTP/1.0 200 OK\r\n\r\n{"name": "operations/x"}', Operation("operations/x")
    ),
    "in-chunks": Quirk(
        GET,
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{"done": tr\r\n3\r\nue}\r\n0\r\n\r\n',
        Operation("", done=True),
    ),
    # Redirects: to where they point, nobody has said that the operation is.
    "301-for-a-get": Quirk("GET /v1/operations//x", redirect(301), moved_to_y(301)),
    "301-for-a-cancel": Quirk("POST /v1/operations//x:cancel", redirect(301), moved_to_y(301)),
    "301-for-a-delete": Quirk(DELETE, redirect(301), moved_to_y(301)),
    "302-for-a-list": Quirk(LIST, redirect(302), moved_to_y(302)),
    "303-for-a-start": Quirk(START, redirect(303), moved_to_y(303)),
    "307-for-a-cancel": Quirk(CANCEL, redirect(307), moved_to_y(307)),
    "308-for-a-start": Quirk(START, redirect(308), moved_to_y(308)),
    "307-to-no-url": Quirk(
        START,
        answer(307, b"moved", {"Location": "http://[/"}),
        refused(
            307,
            Code.UNKNOWN,
            problem="HTTP 307, a redirect to http://[/, which is not followed",
            excerpt="moved",
            headers={"location": "http://[/"},
        ),
    ),
}
