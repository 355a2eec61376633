from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._airflow.xcom import storable
from airflow_provider_operations._protocol.readers import read_json, read_operation
from airflow_provider_operations._protocol.request import Request, Service
from airflow_provider_operations._protocol.response import CallFailure, HttpResponse
from airflow_provider_operations.operation import Code, Operation, Status
from tests.support.json_values import JSON

NOW = datetime(2026, 11, 24, 8, 30, tzinfo=timezone.utc)
BASE = "https://api.example.com"
REQUEST = Request("GET", "/v1/operations/x?key=SECRET", read=read_operation)


def response_of(http_status: int, headers: dict[str, str], body: bytes) -> HttpResponse:
    return HttpResponse(REQUEST.method, REQUEST.url(BASE), http_status, headers, body)


def read(http_status: int, body: object = b"", **headers: str) -> Operation | CallFailure:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return REQUEST.read(response_of(http_status, spelled, sent), NOW)


def failure(http_status: int, body: object = b"", **headers: str) -> CallFailure:
    found = read(http_status, body, **headers)
    assert isinstance(found, CallFailure), found
    return found


BAD_REQUEST = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": []}


@pytest.mark.parametrize(
    ("http_status", "body", "status"),
    [
        pytest.param(
            404,
            {"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}},
            Status(Code.NOT_FOUND, "gone"),
            id="envelope",
        ),
        pytest.param(
            400,
            {
                "error": {
                    "code": 400,
                    "message": "m",
                    "status": "FAILED_PRECONDITION",
                    "details": [BAD_REQUEST],
                }
            },
            Status(Code.FAILED_PRECONDITION, "m", [BAD_REQUEST]),
            id="envelope-name-says-more-than-http",
        ),
        pytest.param(
            403,
            {"error": {"code": 403, "message": "m", "errors": [{"reason": "forbidden"}]}},
            Status(Code.PERMISSION_DENIED, "m", other={"errors": [{"reason": "forbidden"}]}),
            id="envelope-format-1",
        ),
        pytest.param(
            409,
            {"error": {"code": 409, "message": "m", "status": "NEW_NAME"}},
            Status(Code.ABORTED, "m", other={"status": "NEW_NAME"}),
            id="envelope-unknown-name-kept",
        ),
        pytest.param(500, {"error": {}}, Status(Code.INTERNAL), id="envelope-empty"),
        pytest.param(
            404,
            {"error": {"code": 404, "message": "m"}, "requestId": "r"},
            Status(Code.NOT_FOUND, "m", other={"requestId": "r"}),
            id="envelope-with-neighbours",
        ),
        pytest.param(
            409,
            {"code": 6, "message": "there"},
            Status(Code.ALREADY_EXISTS, "there"),
            id="bare-spanner-emulator",
        ),
        pytest.param(501, {"code": 12}, Status(Code.UNIMPLEMENTED), id="bare-without-message"),
        pytest.param(
            400,
            {"code": 3, "message": "m", "details": [BAD_REQUEST]},
            Status(Code.INVALID_ARGUMENT, "m", [BAD_REQUEST]),
            id="bare-with-details",
        ),
        pytest.param(
            400,
            {"code": 1001, "message": "m"},
            Status(Code.INVALID_ARGUMENT, "m", other={"codeAsSent": 1001}),
            id="bare-code-of-the-vendor-kept",
        ),
        pytest.param(500, {"message": "m"}, Status(Code.INTERNAL, "m"), id="message-alone"),
        pytest.param(500, {"code": 0, "message": "m"}, Status(Code.INTERNAL, "m"), id="code-0-is-an-error"),
        pytest.param(
            404, {"detail": "Not Found"}, Status(Code.NOT_FOUND, "Not Found"), id="FastAPI-cloudbox"
        ),
        pytest.param(
            422,
            {"detail": [{"loc": ["body"], "msg": "required"}]},
            Status(Code.UNKNOWN, "the request was refused", [{"loc": ["body"], "msg": "required"}]),
            id="FastAPI-validation",
        ),
        pytest.param(
            401,
            {"error": "invalid_token", "error_description": "expired"},
            Status(Code.UNAUTHENTICATED, "invalid_token: expired"),
            id="OAuth",
        ),
        pytest.param(
            401, {"error": "invalid_token"}, Status(Code.UNAUTHENTICATED, "invalid_token"), id="OAuth-short"
        ),
        pytest.param(
            404,
            {"status": 404, "error": "Not Found", "message": "no such bucket", "path": "/b"},
            Status(Code.NOT_FOUND, "Not Found: no such bucket", other={"status": 404, "path": "/b"}),
            id="error-and-message-Spring",
        ),
        pytest.param(
            400,
            {"statusCode": 400, "error": "Bad Request", "message": ["a is empty", "b too"]},
            Status(
                Code.INVALID_ARGUMENT,
                'Bad Request: ["a is empty", "b too"]',
                other={"statusCode": 400},
            ),
            id="error-and-messages-NestJS",
        ),
        pytest.param(
            404,
            {"error": "gone", "code": 5, "message": "gone", "details": [BAD_REQUEST]},
            Status(Code.NOT_FOUND, "gone", [BAD_REQUEST]),
            id="error-and-message-alike-gRPC-gateway-1",
        ),
        pytest.param(
            400,
            {"error": "", "error_description": {"a": 1}},
            Status(Code.INVALID_ARGUMENT, '{"a": 1}'),
            id="error-empty-description-object",
        ),
        pytest.param(
            403,
            {"type": "https://e/q", "title": "Forbidden", "detail": "no", "status": 403, "instance": "/i"},
            Status(
                Code.PERMISSION_DENIED,
                "Forbidden: no",
                other={"type": "https://e/q", "status": 403, "instance": "/i"},
            ),
            id="problem-json",
        ),
        pytest.param(
            429, {"title": "Slow"}, Status(Code.RESOURCE_EXHAUSTED, "Slow"), id="problem-title-alone"
        ),
    ],
)
def test_every_shape_of_error_body_is_read(http_status: int, body: object, status: Status) -> None:
    """The Status is found in every shape of error body known, and what stands beside it is kept."""
    found = failure(http_status, body)
    assert (found.status, found.excerpt) == (status, "")
    assert (found.method, found.url, found.http_status, found.problem) == (
        "GET",
        "https://api.example.com/v1/operations/x",
        http_status,
        f"HTTP {http_status}",
    )


@pytest.mark.parametrize(
    ("http_status", "body", "excerpt"),
    [
        pytest.param(500, b"", "", id="functions-emulator-empty"),
        pytest.param(404, b"Not Found\n", "Not Found", id="datastore-emulator-text"),
        pytest.param(502, b"<html>\x1b[31m\r\nbad</html>", "<html>\\x1b[31m\nbad</html>", id="html"),
        pytest.param(500, b'{"error": {"code": 5', '{"error": {"code": 5', id="truncated"),
        pytest.param(500, b"[1]", "[1]", id="list"),
        pytest.param(500, b'"text"', '"text"', id="json-text"),
        pytest.param(500, b"null", "null", id="null"),
        pytest.param(500, b'{"a": 1}', '{"a": 1}', id="foreign-object"),
        pytest.param(500, b'{"error": null}', '{"error": null}', id="error-null"),
        pytest.param(500, b'{"error": 5}', '{"error": 5}', id="error-number"),
        pytest.param(500, b"\xff\xfe\xfa", "\ufffd\ufffd\ufffd", id="bytes"),
        pytest.param(500, "<p>no</p>".encode("utf-16"), "<p>no</p>", id="utf-16"),
        pytest.param(500, b"x" * 501, "x" * 500 + " …", id="long"),
        pytest.param(500, b"x" * 500, "x" * 500, id="just-not-long"),
    ],
)
def test_error_bodies_that_say_nothing(http_status: int, body: bytes, excerpt: str) -> None:
    """A body without a Status leaves the code of the HTTP status and its first characters."""
    found = failure(http_status, body)
    code = Code.UNAVAILABLE if http_status == 502 else Code.NOT_FOUND if http_status == 404 else Code.INTERNAL
    assert (found.status, found.excerpt) == (Status(code), excerpt)


@pytest.mark.parametrize(
    ("http_status", "code", "transient"),
    [
        (301, Code.UNKNOWN, False),
        (307, Code.UNKNOWN, False),
        (400, Code.INVALID_ARGUMENT, False),
        (401, Code.UNAUTHENTICATED, False),
        (403, Code.PERMISSION_DENIED, False),
        (404, Code.NOT_FOUND, False),
        (405, Code.UNKNOWN, False),
        (408, Code.DEADLINE_EXCEEDED, True),
        (409, Code.ABORTED, False),
        (412, Code.FAILED_PRECONDITION, False),
        (416, Code.OUT_OF_RANGE, False),
        (422, Code.UNKNOWN, False),
        (429, Code.RESOURCE_EXHAUSTED, True),
        (499, Code.CANCELLED, False),
        (500, Code.INTERNAL, True),
        (501, Code.UNIMPLEMENTED, False),
        (502, Code.UNAVAILABLE, True),
        (503, Code.UNAVAILABLE, True),
        (504, Code.DEADLINE_EXCEEDED, True),
        (507, Code.INTERNAL, True),
        (599, Code.INTERNAL, True),
    ],
)
def test_each_http_status_stands_for_a_code(http_status: int, code: Code, transient: bool) -> None:
    """Each HTTP status stands for a code (google/rpc/code.proto), and only some may pass."""
    found = failure(http_status)
    assert (found.status.code, found.transient) == (code, transient)
    assert isinstance(found.status.code, Code)


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        pytest.param("7", 7, id="seconds"),
        pytest.param("0", 0, id="zero"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param(" 7 ", 7, id="padded"),
        pytest.param("Tue, 24 Nov 2026 08:32:00 GMT", 120, id="date"),
        pytest.param("Tue, 24 Nov 2026 08:32:00 -0000", 120, id="date-without-zone"),
        pytest.param("Tue, 24 Nov 2026 10:32:00 +0200", 120, id="date-of-another-zone"),
        pytest.param("Tue, 24 Nov 2026 08:29:00 GMT", 0, id="date-past"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("-5", None, id="negative"),
        pytest.param("", None, id="empty"),
        pytest.param("1e9", None, id="exponent"),
        pytest.param("\u0667", None, id="other-digits"),
        pytest.param("9999999999", None, id="too-many-digits"),
        pytest.param("Tue, 99 Nov 2026 08:32:00 GMT", None, id="no-such-date"),
        pytest.param("inf", None, id="infinite"),
    ],
)
def test_retry_after_comes_as_seconds_or_date(sent: str, seconds: float | None) -> None:
    """Retry-After comes as seconds or date; a past date is zero, garbage is no hint."""
    found = failure(503, **{"Retry-After": sent})
    assert found.retry_after == (None if seconds is None else timedelta(seconds=seconds))


def test_the_longer_hint_wins() -> None:
    """Where Retry-After and RetryInfo differ, the longer one holds."""
    retry_info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s"}
    body = {"error": {"code": 429, "message": "m", "details": [retry_info]}}
    assert failure(429, body, retry_after="5").retry_after == timedelta(seconds=9)
    assert failure(429, body, retry_after="15").retry_after == timedelta(seconds=15)
    assert failure(429, body).retry_after == timedelta(seconds=9)


@pytest.mark.parametrize(
    ("http_status", "headers", "safe"),
    [
        (429, {}, True),
        (503, {}, False),
        (503, {"retry-after": "0"}, True),
        (503, {"retry-after": "soon"}, False),
        (500, {"retry-after": "1"}, False),
        (502, {"retry-after": "1"}, False),
        (504, {}, False),
        (408, {"retry-after": "1"}, False),
        (404, {}, False),
    ],
)
def test_only_429_and_503_promise_no_effect(http_status: int, headers: dict[str, str], safe: bool) -> None:
    """Only 429 and 503 with Retry-After promise that a start had no effect."""
    assert failure(http_status, **headers).safe_to_resend is safe


@pytest.mark.parametrize("sent", [True, False])
def test_without_an_answer_only_what_was_not_sent_is_safe(sent: bool) -> None:
    """Without an answer it may pass; sending again is safe only if nothing was sent."""
    found = CallFailure.no_answer(REQUEST, BASE, "refused", sent=sent)
    assert found == CallFailure(
        "GET",
        "https://api.example.com/v1/operations/x",
        None,
        Status(Code.UNAVAILABLE, "refused"),
        "refused",
        sent=sent,
        transient=True,
    )
    assert found.safe_to_resend is not sent


def test_no_answer_that_will_not_pass() -> None:
    """A request that can't be made at all doesn't pass by waiting."""
    found = CallFailure.no_answer(REQUEST, BASE, "no CA bundle", sent=False, transient=False)
    assert (found.transient, found.status.code) == (False, Code.FAILED_PRECONDITION)


def test_headers_that_explain_a_refusal_are_kept() -> None:
    """The headers that explain a refusal are kept, in lower case; others aren't."""
    found = failure(
        401, **{"WWW-Authenticate": "Bearer realm=x", "Retry-After": "5", "Set-Cookie": "s", "Location": "/l"}
    )
    assert found.headers == {"www-authenticate": "Bearer realm=x", "retry-after": "5", "location": "/l"}


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example/x", "https://other.example/x"),
        ("https://other.example/x?key=SECRET", "https://other.example/x"),
        ("https://other.example/x#SECRET", "https://other.example/x"),
        ("/a\x1b[31m", "/a\\x1b[31m"),
        (None, "nowhere"),
    ],
)
def test_a_redirect_is_a_failure_that_says_where_to(location: str | None, shown: str) -> None:
    """A redirect is a failure that says where to; without the query, which may repeat our key."""
    found = failure(301, **({} if location is None else {"location": location}))
    assert found.problem == f"HTTP 301, a redirect to {shown}, which is not followed"
    assert not found.transient


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"<html>", "the answer (text/html) is not JSON: Expecting value", id="html"),
        pytest.param(
            b'{"name": "x", "do', "the answer (text/html) is not JSON: Unterminated string", id="truncated"
        ),
        pytest.param(b"[" * 100_000, "the answer (text/html) is not JSON: nested too deeply", id="deep"),
        pytest.param(b"\xff", "the answer (text/html) is not JSON: ", id="bytes"),
        pytest.param(
            b'{"a": 1' + b"0" * 5000 + b"}", "the answer (text/html) is not JSON: ", id="huge-number"
        ),
        pytest.param(b"[]", "the answer is no operation: an operation is a JSON object", id="list"),
        pytest.param(b"", "the answer is no operation: an operation has 'name' or 'done'", id="empty"),
        pytest.param(
            b'{"name": 5}', "the answer is no operation: an operation's 'name' is text", id="name-number"
        ),
    ],
)
def test_unreadable_answers(body: bytes, problem: str) -> None:
    """A 200 that is no operation is a failure, with the body's first characters."""
    found = failure(200, body, content_type="text/html")
    assert found.problem.startswith(problem)
    assert found.status == Status(Code.UNKNOWN, found.problem)
    assert not found.transient
    assert not found.safe_to_resend
    assert found.excerpt.startswith(body[:100].decode(errors="replace"))


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e999", "Infinity"),
        ("-1e999", "-Infinity"),
    ],
)
def test_numbers_that_json_has_not(number: str, stored: str) -> None:
    """NaN and infinities, which Python's and Go's servers send in metrics, are read, and stored as text."""
    body = '{"name": "x", "done": true, "metadata": {"loss": %s}, "error": {"code": %s, "details": [[%s]]}}'
    found = read(200, (body % (number, number, number)).encode())
    assert isinstance(found, Operation)
    assert storable(found.to_json()) == {
        "name": "x",
        "done": True,
        "metadata": {"loss": stored},
        "error": {"code": 2, "message": "", "details": [[stored]], "codeAsSent": stored},
    }


def test_an_error_with_numbers_that_json_has_not() -> None:
    """An error body is read as an answer is."""
    found = failure(500, b'{"code": NaN, "message": "m"}')
    assert (found.status.code, found.status.message, found.excerpt) == (Code.INTERNAL, "m", "")


def legacy(reason: object, status: str = "PERMISSION_DENIED") -> dict[str, Any]:
    """An error in Google's error format 1."""
    errors = [{"domain": "usageLimits", "reason": reason, "message": "m"}]
    return {"error": {"code": 403, "message": "m", "status": status, "errors": errors}}


def with_reason(reason: str, code: int = 403) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    return {"error": {"code": code, "message": "m", "status": "PERMISSION_DENIED", "details": [info]}}


@pytest.mark.parametrize(
    ("http_status", "body", "quota"),
    [
        pytest.param(403, legacy("rateLimitExceeded"), True, id="rateLimitExceeded"),
        pytest.param(403, legacy("userRateLimitExceeded"), True, id="userRateLimitExceeded"),
        pytest.param(403, legacy("quotaExceeded"), True, id="quotaExceeded"),
        pytest.param(403, {"error": {"errors": [{"reason": "quotaExceeded"}]}}, True, id="no-code"),
        pytest.param(403, with_reason("RATE_LIMIT_EXCEEDED"), True, id="ErrorInfo"),
        pytest.param(
            403,
            {"code": 7, "message": "m", "details": with_reason("RATE_LIMIT_EXCEEDED")["error"]["details"]},
            True,
            id="bare",
        ),
        pytest.param(403, legacy("forbidden"), False, id="forbidden"),
        pytest.param(403, legacy(["rateLimitExceeded"]), False, id="reason-list"),
        pytest.param(403, {"error": {"code": 403, "errors": "rateLimitExceeded"}}, False, id="errors-text"),
        pytest.param(403, with_reason("SERVICE_DISABLED"), False, id="other-reason"),
        pytest.param(400, legacy("rateLimitExceeded"), False, id="400"),
    ],
)
def test_a_quota_as_403(http_status: int, body: dict[str, Any], quota: bool) -> None:
    """A quota is a quota, whether it comes as 429 or as older Google APIs say it; it had no effect, and passes."""
    found = failure(http_status, body)
    assert (found.status.code == Code.RESOURCE_EXHAUSTED) is quota
    assert (found.transient, found.asks_for_less, found.safe_to_resend) == (quota, quota, quota)
    assert found.had_no_effect


def test_a_quota_keeps_what_the_server_said() -> None:
    """The reason and the status as they came stay readable."""
    body = legacy("rateLimitExceeded")
    assert failure(403, body).status == Status(
        Code.RESOURCE_EXHAUSTED,
        "m",
        other={"status": "PERMISSION_DENIED", "errors": body["error"]["errors"]},
    )


@pytest.mark.parametrize(
    ("http_status", "asks"), [(401, True), (429, True), (403, False), (503, False), (404, False)]
)
def test_who_asks_for_less(http_status: int, asks: bool) -> None:
    """Nobody let in (401) slows a connection down as too many requests (429) do."""
    assert failure(http_status).asks_for_less is asks


@pytest.mark.parametrize(
    ("http_status", "body", "says"),
    [
        pytest.param(
            404, {"error": {"code": 404, "message": "m", "status": "NOT_FOUND"}}, True, id="envelope"
        ),
        pytest.param(410, {"error": {"code": 410, "message": "m"}}, True, id="410"),
        pytest.param(404, {"code": 5, "message": "m", "details": []}, True, id="gRPC-gateway"),
        pytest.param(404, {"status": "NOT_FOUND", "message": "m"}, True, id="name-alone"),
        pytest.param(404, b"<html>404 page not found</html>", False, id="HTML"),
        pytest.param(404, b"default backend - 404", False, id="ingress-nginx"),
        pytest.param(404, b"", False, id="Envoy"),
        pytest.param(404, {"message": "no Route matched with those values"}, False, id="Kong"),
        pytest.param(404, {"detail": "Not Found"}, False, id="no-code"),
        pytest.param(404, {"status": 404, "error": "Not Found", "path": "/x"}, False, id="Spring"),
        pytest.param(404, {"code": 5}, False, id="nothing-said"),
        pytest.param(403, {"error": {"code": 403, "message": "m"}}, False, id="403"),
    ],
)
def test_who_says_that_it_is_missing(http_status: int, body: object, says: bool) -> None:
    """A service names a code when it doesn't know the operation; the 404 pages of proxies and gateways don't."""
    assert failure(http_status, body).says_missing is says


def test_content_type_does_not_matter() -> None:
    """JSON sent as text/plain is read all the same; a BOM and UTF-16 too."""
    text = '{"name": "operations/ü"}'
    for body in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16")):
        assert read(200, body, content_type="text/plain") == Operation("operations/ü")


def test_empty_answers_of_cancel_and_delete() -> None:
    """An empty body, or white space, of a success is {}."""
    for body in (b"", b" \r\n"):
        assert read_json(response_of(204, {}, body), NOW) == {}


@pytest.mark.parametrize("opening", [b'{"a":', b"[", b'{"progress":', b'[{"progress":'])
@pytest.mark.parametrize("depth", [90, 250, 400, 480, 700, 900, 950, 960, 970, 980, 990])
def test_what_nests_too_deeply_is_not_read(opening: bytes, depth: int) -> None:
    """What is read as an answer can be judged, stored and written again; what nests too deeply isn't read."""
    closing = bytes(reversed(opening.translate(bytes.maketrans(b"{[", b"}]"), b'":adeprogs')))
    body = b'{"name": "x", "metadata": ' + opening * depth + b"1" + closing * depth + b"}"
    found = read(200, body)
    if isinstance(found, CallFailure):
        assert found.problem == "the answer (no content type) is not JSON: nested too deeply"
        assert depth > 90
        return
    assert found.progress.message is None
    assert storable(found.to_json()) == found.to_json()
    assert Operation.from_json(json.loads(json.dumps(found.to_json()))) == found


HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "LOCATION", "www-authenticate", "content-type", "X-Other"]),
    st.text() | st.sampled_from(["5", "Tue, 24 Nov 2026 08:32:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359"]),
)


@given(
    st.integers(100, 999),
    HEADERS,
    st.binary() | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_any_answer_is_read_or_a_failure(http_status: int, headers: dict[str, str], body: bytes) -> None:
    """Any status, headers and bytes are an operation or a failure with a code; never an exception."""
    answer = response_of(http_status, headers, body)
    found = read_operation(answer, NOW)
    if isinstance(found, Operation):
        assert 200 <= http_status < 300
    else:
        assert found.http_status == http_status
        assert found.status.code != Code.OK
        assert "SECRET" not in str(found)
        assert found.retry_after is None or found.retry_after >= timedelta()
    if isinstance(read_json(answer, NOW), CallFailure):
        assert isinstance(found, CallFailure)


FUNCTIONS_ERROR = {
    "done": True,
    "metadata": {"typeUrl": "types.googleapis.com/m.M", "value": {"target": "projects/demo", "type": 1}},
    "name": "operations/e9275152",
    "error": {
        "message": "Unsupported archive url: http://127.0.0.1/x.zip",
        "name": "InternalError",
        "details": [
            {
                "typeUrl": "types.googleapis.com/google.rpc.DebugInfo",
                "value": {"stackEntries": ["InternalError: x"], "detail": "Unsupported"},
            }
        ],
        "code": 13,
    },
}


def test_cloud_functions_emulator() -> None:
    """A failed operation as Google's Cloud Functions emulator really sends it."""
    found = read(200, FUNCTIONS_ERROR)
    assert isinstance(found, Operation)
    error: Any = found.error
    assert (found.name, found.done, error.code) == ("operations/e9275152", True, Code.INTERNAL)
    assert error.other == {"name": "InternalError"}


def test_datastore_emulator() -> None:
    """A done operation without a name as Google's Datastore emulator really sends it."""
    body = {
        "metadata": {"common": {"state": "SUCCESSFUL"}},
        "done": True,
        "response": {"outputUrl": "/srv/exp"},
    }
    found = read(200, body)
    assert isinstance(found, Operation)
    assert (found.name, found.done, found.response) == ("", True, {"outputUrl": "/srv/exp"})


def test_service_of_the_base_url_alone() -> None:
    """Everything but the base URL has a default."""
    assert Service(BASE) == Service(BASE, "v1", ":cancel", "POST", None)
