from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._protocol.readers import read_started
from airflow_provider_operations._protocol.request import InvalidName, Request, Service
from airflow_provider_operations._protocol.response import HttpResponse

SERVICE = Service("https://api.example.com")


@pytest.mark.parametrize(
    ("request_", "method", "target"),
    [
        pytest.param(SERVICE.get_operation("operations/x"), "GET", "/v1/operations/x", id="get"),
        pytest.param(
            SERVICE.cancel_operation("operations/x"), "POST", "/v1/operations/x:cancel", id="cancel"
        ),
        pytest.param(SERVICE.delete_operation("operations/x"), "DELETE", "/v1/operations/x", id="delete"),
        pytest.param(
            Service("u", cancel_suffix="/cancel").cancel_operation("operations/x"),
            "POST",
            "/v1/operations/x/cancel",
            id="cancel-as-storage-spells-it",
        ),
        pytest.param(
            Service("u", cancel_method="GET").cancel_operation("operations/x"),
            "GET",
            "/v1/operations/x:cancel",
            id="cancel-as-datalabeling-spells-it",
        ),
        pytest.param(
            Service("u", path_prefix="drive/v3").get_operation("operations/x"),
            "GET",
            "/drive/v3/operations/x",
            id="long-prefix",
        ),
        pytest.param(
            Service("u", path_prefix="").get_operation("operations/x"), "GET", "/operations/x", id="no-prefix"
        ),
        pytest.param(
            Service("u", error_format=2).get_operation("operations/x"),
            "GET",
            "/v1/operations/x?%24.xgafv=2",
            id="error-format-2",
        ),
        pytest.param(
            Service("u", error_format=1).cancel_operation("operations/x"),
            "POST",
            "/v1/operations/x:cancel?%24.xgafv=1",
            id="error-format-1",
        ),
        pytest.param(
            SERVICE.list_operations("projects/p", "done=false", 5, "t=1&"),
            "GET",
            "/v1/projects/p/operations?filter=done%3Dfalse&pageSize=5&pageToken=t%3D1%26",
            id="list",
        ),
        pytest.param(
            SERVICE.list_operations("projects/p", None, None, None),
            "GET",
            "/v1/projects/p/operations",
            id="list-plain",
        ),
        pytest.param(
            SERVICE.list_operations("", "", 0, None),
            "GET",
            "/v1/operations?filter=&pageSize=0",
            id="list-all",
        ),
        pytest.param(
            Service("u", error_format=2).list_operations("p", None, 1, None),
            "GET",
            "/v1/p/operations?pageSize=1&%24.xgafv=2",
            id="list-error-format",
        ),
    ],
)
def test_methods_are_spelled_as_google_does(request_: Request[Any], method: str, target: str) -> None:
    """The standard methods are spelled as Google's API documents spell them; they carry no body."""
    assert (request_.method, request_.target, request_.body, request_.headers) == (method, target, None, {})
    assert request_.idempotent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (30, "30s"),
        (2.5, "2.5s"),
        (0, "0s"),
        (604_800, "604800s"),
        (1_234_567, "1234567s"),
        (1_000_000.25, "1000000.25s"),
        (0.000001, "0.000001s"),
    ],
)
def test_a_wait_sends_its_timeout_as_a_proto3_duration(seconds: float, text: str) -> None:
    """The timeout goes as a proto3 duration, never with an exponent; our own is 15 s longer."""
    request = SERVICE.wait_operation("operations/x", timedelta(seconds=seconds))
    assert (request.method, request.target) == ("POST", f"/v1/operations/x:wait?timeout={text}")
    assert request.timeout_s == seconds + 15


@pytest.mark.parametrize(
    ("prefix", "path", "target"),
    [
        pytest.param("v1", "projects/p/builds", "/v1/projects/p/builds", id="below-the-prefix"),
        pytest.param(
            "v1", "/v2/projects/p/builds", "/v2/projects/p/builds", id="leading-slash-below-the-base"
        ),
        pytest.param("v1", "v1/projects/p/builds", "/v1/projects/p/builds", id="prefix-not-twice"),
        pytest.param("v1", "/v1/projects/p/builds", "/v1/projects/p/builds", id="slash-and-prefix"),
        pytest.param("v1/admin", "v1/admin/x:run", "/v1/admin/x:run", id="long-prefix-not-twice"),
        pytest.param("v1", "v1beta1/x", "/v1/v1beta1/x", id="another-version-is-no-prefix"),
        pytest.param("v1", "v1", "/v1/v1", id="the-prefix-alone-is-a-name"),
        pytest.param("", "projects/p:run", "/projects/p:run", id="no-prefix"),
    ],
)
def test_a_start_path_is_below_the_prefix(prefix: str, path: str, target: str) -> None:
    """A start path is below the prefix, unless it brings the prefix along or begins at the root."""
    assert Service("u", path_prefix=prefix).start_operation(path).target == target


def test_names_with_the_prefix() -> None:
    """A name that brings the prefix along, as people copy it from a URL, is not prefixed twice, by any method."""
    requests = [
        SERVICE.get_operation("v1/operations/x"),
        SERVICE.cancel_operation("v1/operations/x"),
        SERVICE.delete_operation("v1/operations/x"),
        SERVICE.wait_operation("v1/operations/x", timedelta(seconds=1)),
        SERVICE.list_operations("v1/projects/p", None, None, None),
    ]
    assert [request.target for request in requests] == [
        "/v1/operations/x",
        "/v1/operations/x:cancel",
        "/v1/operations/x",
        "/v1/operations/x:wait?timeout=1s",
        "/v1/projects/p/operations",
    ]


def test_a_start_carries_what_it_is_told() -> None:
    """A start carries what it is told, and isn't idempotent unless told so."""
    request = SERVICE.start_operation("x:run", method="patch", body=[1], query={"a": 1}, headers={"X-A": "b"})
    assert request == Request(
        "PATCH", "/v1/x:run?a=1", [1], {"X-A": "b"}, idempotent=False, read=read_started
    )
    assert SERVICE.start_operation("x:run", idempotent=True).idempotent


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ({}, ""),
        ({"a": True, "b": False}, "?a=true&b=false"),
        ({"a": [1, "x", None]}, "?a=1&a=x"),
        ({"a": (True,)}, "?a=true"),
        ({"a": None}, ""),
        ({"a b": "c&d=e"}, "?a+b=c%26d%3De"),
        ({"a": "ü"}, "?a=%C3%BC"),
        ({"a": 1.5}, "?a=1.5"),
        ({"a": ""}, "?a="),
    ],
    ids=repr,
)
def test_lists_are_repeated_query_parameters(query: dict[str, Any], sent: str) -> None:
    """Lists are repeated parameters, booleans are spelled as JSON does, None is left out."""
    assert SERVICE.start_operation("x", query=query).target == f"/v1/x{sent}"


def test_error_format_joins_the_given_query() -> None:
    """Asking for an error format leaves the caller's parameters alone."""
    request = Service("u", error_format=2).start_operation("x", query={"key": "k"})
    assert request.target == "/v1/x?key=k&%24.xgafv=2"


def test_urls_for_messages_have_no_query() -> None:
    """The URL that ends up in messages has no query, which may hold a key."""
    request = SERVICE.start_operation("x:run", query={"key": "SECRET"})
    assert request.url("https://api.example.com") == "https://api.example.com/v1/x:run"


BAD_NAMES = [
    pytest.param("", "is '': a template found nothing", id="empty"),
    pytest.param(None, "is None: a template found nothing", id="None"),
    pytest.param(1.5, "is float 1.5; it must be text such as ", id="number"),
    pytest.param(True, "is bool True; it must be text such as ", id="boolean"),
    pytest.param(["operations/x"], "is list ['operations/x']; it must be text such as ", id="list"),
    pytest.param("None", "a template found nothing", id="text-None"),
    pytest.param(" operations/x", "begins or ends with white space", id="space-before"),
    pytest.param("operations/x\n", "begins or ends with white space", id="newline-after"),
    pytest.param("\u00a0", "begins or ends with white space", id="white-space-only"),
    pytest.param("https://evil.example/x", "is a URL or an absolute path", id="absolute-URL"),
    pytest.param("operations/http://x", "is a URL or an absolute path", id="URL-inside"),
    pytest.param("..", "has a '.' or '..' segment", id="dot-dot"),
    pytest.param("operations/../x", "has a '.' or '..' segment", id="climbs"),
    pytest.param("operations/x/..", "has a '.' or '..' segment", id="climbs-at-the-end"),
    pytest.param("./x", "has a '.' or '..' segment", id="dot"),
    pytest.param("operations/a?b", "has '?' in it", id="query"),
    pytest.param("operations/a#b", "has '#' in it", id="fragment"),
    pytest.param("operations\\a", "has '\\\\' in it", id="backslash"),
    pytest.param("a\r\nHost: evil", "has '\\r' in it", id="CRLF"),
    pytest.param("a\x00b", "has '\\x00' in it", id="NUL"),
    pytest.param("a\x7fb", "has '\\x7f' in it", id="DEL"),
    pytest.param("a\x85b", "has '\\x85' in it", id="C1"),
    pytest.param("a\u2028b", "has '\\u2028' in it", id="line-separator"),
    pytest.param("a\ud800b", "has '\\ud800' in it", id="lone-surrogate"),
]


@pytest.mark.parametrize(("name", "text"), BAD_NAMES)
def test_names_that_would_leave_the_prefix_are_refused(name: Any, text: str) -> None:
    """What would leave the prefix or smuggle something in is refused before any request, by every method."""
    builders = (
        SERVICE.get_operation,
        SERVICE.cancel_operation,
        SERVICE.delete_operation,
        SERVICE.start_operation,
        lambda name: SERVICE.wait_operation(name, timedelta(1)),
        lambda name: SERVICE.list_operations(name or "None", None, None, None),
    )
    for build in builders:
        with pytest.raises(InvalidName) as refused:
            build(name)
        if build is not builders[-1] or name:
            assert text in str(refused.value)


@pytest.mark.parametrize("path", ["//evil.example/x", "/", "/..", "/https://evil.example/", "/ x"])
def test_a_leading_slash_leads_to_no_other_host(path: str) -> None:
    """A leading slash doesn't open a way to another host or out of the base URL."""
    with pytest.raises(InvalidName):
        SERVICE.start_operation(path)


@pytest.mark.parametrize("name", ["/operations/x", "//operations/x"])
def test_leading_slashes(name: str) -> None:
    """An operation's name has no leading slash."""
    with pytest.raises(InvalidName, match="is a URL or an absolute path"):
        SERVICE.get_operation(name)


def test_refusals_are_bounded() -> None:
    """A name of a megabyte doesn't become a message of a megabyte."""
    with pytest.raises(InvalidName) as refused:
        SERVICE.get_operation("a" * 1_000_000 + "?")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("operations/a/b", "operations/a/b"),
        ("operations/a+b==", "operations/a+b=="),
        ("operations/a//b", "operations/a//b"),
        ("operations/a@b", "operations/a@b"),
        ("operations/a:b", "operations/a:b"),
        ("operations/a%252Fb", "operations/a%25252Fb"),
        ("operations/%2e%2e/x", "operations/%252e%252e/x"),
        ("operations/a b", "operations/a%20b"),
        ("operations/größe", "operations/gr%C3%B6%C3%9Fe"),
        ("operations/😀", "operations/%F0%9F%98%80"),
        ("operations/...", "operations/..."),
        ("operations/a~b-c_d.e!$&'()*,;", "operations/a~b-c_d.e!$&'()*,;"),
        ('operations/a"<>[]^`{|}', "operations/a%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
    ],
)
def test_names_survive(name: str, path: str) -> None:
    """A name with characters that mean something in URLs stays one path, which decodes to the name."""
    assert SERVICE.get_operation(name).target == f"/v1/{path}"
    assert unquote(path) == name


@pytest.mark.parametrize("slash", ["%2F", "%2f"])
def test_an_encoded_slash_stays_one(slash: str) -> None:
    """Where a name has another's in it as one segment, it is asked for as the service has spelled it."""
    name = f"policies/example.com{slash}projects{slash}p/denypolicies/d/operations/ü"
    path = f"/v1/policies/example.com{slash}projects{slash}p/denypolicies/d/operations/%C3%BC"
    hour = timedelta(hours=1)
    for request, target in (
        (SERVICE.get_operation(name), path),
        (SERVICE.cancel_operation(name), f"{path}:cancel"),
        (SERVICE.delete_operation(name), path),
        (SERVICE.wait_operation(name, hour), f"{path}:wait?timeout=3600s"),
        (SERVICE.list_operations(name, None, None, None), f"{path}/operations"),
        (SERVICE.start_operation(name), path),
    ):
        assert request.target == target


@pytest.mark.parametrize("name", ["a%2F..%2Fb", "a/..%2Fb", "a%2f.", "%2F..", "a%2F..;x/b", "a%2F../b"])
def test_no_encoded_slash_leads_out(name: str) -> None:
    """A server that decodes a slash finds no segment that climbs."""
    with pytest.raises(InvalidName, match=r"'\.' or '\.\.' segment"):
        SERVICE.get_operation(f"operations/{name}")


@given(st.text())
def test_any_name_is_refused_or_stays_below_the_prefix(name: str) -> None:
    """Any text is refused, or is a path below the prefix that decodes to it."""
    try:
        target = SERVICE.get_operation(name).target
    except InvalidName:
        return
    assert target.isascii()
    assert target.isprintable()
    assert not set(target) & set(" ?#\\")
    assert unquote(target.removeprefix("/v1/")) == re.sub("%2F", "/", name, flags=re.IGNORECASE)


def test_headers_in_any_case() -> None:
    """A header is found whatever the case of its name, on either side."""
    answer = HttpResponse("GET", "https://h/v1/x", 200, {"Content-TYPE": "a"}, b"")
    assert (answer.header("content-type"), answer.header("Content-Type"), answer.header("x")) == (
        "a",
        "a",
        None,
    )
