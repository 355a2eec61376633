"""What exactly goes over the wire, and where: seen by the server."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations import __version__
from airflow_provider_operations.exceptions import OperationsCallErrorFinal
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hooks import Calls

USER_AGENT = f"airflow-provider-operations/{__version__}"


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A server that answers everything with an operation, and tries to leave a cookie."""
    with RawServer(sends(answer(headers={"Set-Cookie": "session=TRACKED; Path=/"}))) as running:
        yield running


def test_a_poll_sends_nothing_but_this(server: RawServer, hook_of: Callable[..., Calls]) -> None:
    """One request line, our User-Agent, JSON wanted, no credentials, no content type, no body."""
    hook_of(server.url)("get_operation", "operations/x")
    (seen,) = server.seen
    assert (seen.line, seen.body) == ("GET /v1/operations/x HTTP/1.1", b"")
    headers = dict(seen.headers)
    assert (headers.pop("user-agent"), headers.pop("accept")) == (USER_AGENT, "application/json")
    assert headers.pop("host") == server.url.removeprefix("http://")
    assert headers.keys() <= {"accept-encoding", "connection"}


@pytest.mark.parametrize(
    ("connection", "headers"),
    [
        pytest.param({"login": "u", "password": "p"}, {"authorization": ["Basic dTpw"]}, id="basic"),
        pytest.param({"password": "tok"}, {"authorization": ["Bearer tok"]}, id="bearer"),
        pytest.param(
            {"extra": {"headers": {"X-Goog-User-Project": "p"}}},
            {"x-goog-user-project": ["p"]},
            id="extra-headers",
        ),
        pytest.param(
            {"extra": '{"headers": "{\\"X-A\\": \\"b\\"}"}'},
            {"x-a": ["b"]},
            id="headers-as-text-from-the-form",
        ),
        pytest.param(
            {"extra": {"headers": {"user-agent": "mine"}}}, {"user-agent": ["mine"]}, id="own-user-agent"
        ),
        pytest.param({"extra": {"headers": {"ACCEPT": "a/b"}}}, {"accept": ["a/b"]}, id="own-accept"),
        pytest.param(
            {"password": "tok", "extra": {"headers": {"authorization": "Own x"}}},
            {"authorization": ["Own x"]},
            id="own-authorization",
        ),
        pytest.param(
            {"extra": {"X-Unknown": "SECRET", "api_key": "SECRET", "trust_env": True}},
            {"x-unknown": [], "api_key": [], "trust_env": [], "authorization": []},
            id="unknown-extras-never",
        ),
    ],
)
def test_headers_of_the_connection(
    server: RawServer,
    hook_of: Callable[..., Calls],
    connection: dict[str, Any],
    headers: dict[str, list[str]],
) -> None:
    """Each header goes once, as the connection says; unknown extras are never sent."""
    hook_of(server.url, connection=connection)("get_operation", "operations/x")
    (seen,) = server.seen
    assert {name: seen.all(name) for name in headers} == headers
    assert "SECRET" not in str(seen)


@pytest.mark.parametrize("place", ["connection", "start"])
def test_values_of_headers(server: RawServer, hook_of: Callable[..., Calls], place: str) -> None:
    """Worker and triggerer send the same bytes, from connection and task: UTF-8, numbers and booleans as in JSON."""
    headers = {"X-City": "Zürich", "X-Count": 5, "X-Dry-Run": True, "X-Pad": " a\t"}
    if place == "connection":
        hook_of(server.url, connection={"extra": {"headers": headers}})("get_operation", "operations/x")
    else:
        hook_of(server.url)("start_operation", "x:run", headers=headers)
    (seen,) = server.seen
    sent = [seen.all(name.lower())[0].encode("latin-1") for name in headers]
    assert sent == ["Zürich".encode(), b"5", b"true", b"a"]


def test_headers_of_a_start_win(server: RawServer, hook_of: Callable[..., Calls]) -> None:
    """What a start says replaces the connection's header, in whatever case; nothing goes twice."""
    calls = hook_of(server.url, connection={"password": "tok", "extra": {"headers": {"X-Project": "a"}}})
    headers = {"x-project": "b", "content-type": "application/json; charset=utf-8"}
    calls("start_operation", "x:run", json={}, headers=headers)
    calls("get_operation", "operations/x")
    start, get = server.seen
    assert start.all("x-project") == ["b"]
    assert start.all("content-type") == ["application/json; charset=utf-8"]
    assert get.all("x-project") == ["a"]
    assert start.all("authorization") == get.all("authorization") == ["Bearer tok"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_no_body_no_content_type(server: RawServer, hook_of: Callable[..., Calls], method: str) -> None:
    """A request without a body claims no type for it: some servers refuse application/octet-stream."""
    calls = hook_of(server.url)
    calls("start_operation", "x:run", method=method)
    calls("cancel_operation", "operations/x")
    assert [(seen.all("content-type"), seen.body) for seen in server.seen] == [([], b""), ([], b"")]


@pytest.mark.parametrize(
    ("value", "body"),
    [({}, b"{}"), ([], b"[]"), (0, b"0"), ("ü", b'"\\u00fc"'), ({"a": None}, b'{"a": null}')],
    ids=repr,
)
def test_any_json_is_a_body(
    server: RawServer, hook_of: Callable[..., Calls], value: object, body: bytes
) -> None:
    """Any JSON value is a body, empty ones included."""
    hook_of(server.url)("start_operation", "x:run", json=value)
    assert (server.seen[0].body, server.seen[0].all("content-type")) == (body, ["application/json"])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("operations/a%2Fb", "/v1/operations/a%2Fb"),
        ("operations/a%252Fb", "/v1/operations/a%25252Fb"),
        ("operations/a//b", "/v1/operations/a//b"),
        ("operations/a+b==", "/v1/operations/a+b=="),
        ("operations/größe", "/v1/operations/gr%C3%B6%C3%9Fe"),
        ("operations/a b", "/v1/operations/a%20b"),
        ("operations/%2e%2e/x", "/v1/operations/%252e%252e/x"),
        ("operations/a'b(c)*", "/v1/operations/a'b(c)*"),
        ('operations/a"<>^`{|}', "/v1/operations/a%22%3C%3E%5E%60%7B%7C%7D"),
    ],
)
def test_paths_arrive_as_made(server: RawServer, hook_of: Callable[..., Calls], name: str, path: str) -> None:
    """No HTTP client on the way rewrites a path: it arrives as it was made."""
    hook_of(server.url)("get_operation", name)
    assert server.seen[0].line == f"GET {path} HTTP/1.1"


def test_a_query_arrives_as_it_was_made(server: RawServer, hook_of: Callable[..., Calls]) -> None:
    """The query arrives as it was made, reserved characters encoded."""
    hook_of(server.url)("start_operation", "x:run", query={"a": "b&c=d+e %", "l": [1, True]})
    assert server.seen[0].line == "POST /v1/x:run?a=b%26c%3Dd%2Be+%25&l=1&l=true HTTP/1.1"


def test_credentials_in_netrc_go_nowhere(
    server: RawServer, hook_of: Callable[..., Calls], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials in ~/.netrc are somebody's own; they go nowhere."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    hook_of(server.url)("get_operation", "operations/x")
    assert server.seen[0].all("authorization") == []


def test_a_cookie_is_not_sent_back(server: RawServer, hook_of: Callable[..., Calls]) -> None:
    """A cookie that a server sets isn't sent back."""
    calls = hook_of(server.url)
    for _ in range(3):
        calls("get_operation", "operations/x")
    assert [seen.all("cookie") for seen in server.seen] == [[], [], []]


def test_proxy_of_the_connection(hook_of: Callable[..., Calls], server: RawServer) -> None:
    """Requests go through the connection's proxy."""
    calls = hook_of("http://service.invalid", connection={"extra": {"proxies": {"http": server.url}}})
    assert calls("get_operation", "operations/x").name == "operations/x"
    assert server.seen[0].line == "GET http://service.invalid/v1/operations/x HTTP/1.1"


def test_proxy_of_the_connection_before_the_environment(
    hook_of: Callable[..., Calls], server: RawServer, free_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection's proxy wins over the environment's."""
    monkeypatch.setenv("http_proxy", free_url)
    calls = hook_of("http://service.invalid", connection={"extra": {"proxies": {"http": server.url}}})
    assert calls("get_operation", "operations/x").name == "operations/x"


def test_proxy_of_the_environment(
    hook_of: Callable[..., Calls], server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a proxy of its own a connection uses the environment's, in both hooks alike."""
    monkeypatch.setenv("http_proxy", server.url)
    assert hook_of("http://service.invalid")("get_operation", "operations/x").name == "operations/x"
    assert server.seen[0].line == "GET http://service.invalid/v1/operations/x HTTP/1.1"


def test_compressed_answers(hook_of: Callable[..., Calls]) -> None:
    """A compressed answer is read as any other."""
    body = gzip.compress(b'{"name": "operations/zipped"}')
    with RawServer(sends(answer(body=body, headers={"Content-Encoding": "gzip"}))) as server:
        assert hook_of(server.url)("get_operation", "operations/x").name == "operations/zipped"


def test_an_ipv6_address_leads_there(hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI with an IPv6 address leads there, though Airflow strips its brackets; ``allowed_hosts`` takes both forms."""
    with RawServer(sends(answer()), host="::1") as server:
        calls = hook_of("set below")
        monkeypatch.setenv("AIRFLOW_CONN_OPS", server.url.replace("http:", "operations:"))
        assert calls("get_operation", "operations/x").name == "operations/x"
        for allowed in ("::1", "[::1]"):
            connection = {"extra": {"allowed_hosts": allowed}}
            calls = hook_of("https://h.example", connection=connection, base_url=server.url)
            assert calls("get_operation", "operations/x").name == "operations/x"
    assert [dict(seen.headers)["host"] for seen in server.seen] == 3 * [server.url.removeprefix("http://")]


@pytest.mark.parametrize("http_status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(hook_of: Callable[..., Calls], http_status: int) -> None:
    """Credentials aren't carried to where a server points: one request, a final error that says where to."""
    with RawServer(sends(answer())) as elsewhere:
        location = f"{elsewhere.url}/v1/operations/x?key=SECRET"
        with RawServer(sends(answer(http_status, b"", {"Location": location}))) as server:
            calls = hook_of(server.url, connection={"password": "tok"})
            with pytest.raises(OperationsCallErrorFinal) as refused:
                calls("get_operation", "operations/x")
            assert len(server.seen) == 1
        assert elsewhere.seen == []
    assert refused.value.http_status == http_status
    assert f"a redirect to {elsewhere.url}/v1/operations/x, which is not followed" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_base_url_of_the_task(server: RawServer, hook_of: Callable[..., Calls]) -> None:
    """A task may send to another origin that the connection allows, credentials included."""
    connection = {"password": "tok", "extra": {"allowed_hosts": "127.0.0.1"}}
    hook_of("https://h.example", connection=connection, base_url=server.url)("get_operation", "operations/x")
    assert server.seen[0].all("authorization") == ["Bearer tok"]
