"""Nobody moves a request, or makes two of one, by the headers beside its credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._protocol.request import InvalidRequest
from airflow_provider_operations.operators import RunOperationOperator
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.hooks import Calls

OF_THE_CLIENT = {
    "Transfer-Encoding": "chunked",
    "content-length": "0",
    "CONNECTION": "close",
    "Upgrade": "h2c",
    "te": "trailers",
    "Trailer": "X",
    "Expect": "100-continue",
    "Proxy-Authorization": "Basic x",
    "proxy-connection": "keep-alive",
    "Keep-Alive": "timeout=5",
    "Transfer-Encoding ": "chunked",
    " Host": "x",
    "Host:": "x",
    "X\r\nHost": "x",
    "": "x",
    "\u00fc": "x",
}


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A server that answers everything with an operation."""
    with RawServer(sends(answer())) as running:
        yield running


@pytest.mark.parametrize("name", [*OF_THE_CLIENT, "Host", "hOST"], ids=ascii)
def test_headers_of_a_start(server: RawServer, hook_of: Callable[..., Calls], name: str) -> None:
    """A task's header that says where or how the request goes is refused by name, before a connection is made."""
    calls = hook_of(server.url, connection={"password": "TOKEN"})
    with pytest.raises(InvalidRequest) as refused:
        calls("start_operation", "x:run", headers={name: OF_THE_CLIENT.get(name, "other.example")})
    assert repr(name) in str(refused.value)
    assert server.seen == []


@pytest.mark.parametrize("name", OF_THE_CLIENT, ids=ascii)
def test_headers_of_a_connection(server: RawServer, hook_of: Callable[..., Calls], name: str) -> None:
    """So is a connection's."""
    calls = hook_of(server.url, connection={"extra": {"headers": {name: OF_THE_CLIENT[name]}}})
    with pytest.raises(InvalidConnection) as refused:
        calls("get_operation", "operations/x")
    assert repr(name) in str(refused.value)
    assert server.seen == []


def test_who_edits_the_connection_chooses_the_host(server: RawServer, hook_of: Callable[..., Calls]) -> None:
    """``Host`` among the connection's headers is sent, once: it says what its field ``host`` could say as well."""
    calls = hook_of(server.url, connection={"extra": {"headers": {"Host": "virtual.example"}}})
    calls("get_operation", "operations/x")
    assert server.seen[0].all("host") == ["virtual.example"]


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        pytest.param({"password": "TOKEN"}, "authorization", id="bearer"),
        pytest.param({"login": "u", "password": "p"}, "AUTHORIZATION", id="basic"),
        pytest.param({"extra": {"headers": {"authorization": "Own x"}}}, "Authorization", id="own"),
        pytest.param({"extra": {"headers": {"X-Api-Key": "k"}}}, "x-api-key", id="key"),
        pytest.param(
            {"extra": {"auth": "google", "key_path": "/none", "allowed_hosts": "127.0.0.1"}},
            "Authorization",
            id="google",
        ),
        pytest.param(
            {"login": "u", "password": "p", "extra": {"token_url": "https://t.example/token"}},
            "Authorization",
            id="oauth2",
        ),
    ],
)
def test_a_task_replaces_no_credentials(
    server: RawServer, hook_of: Callable[..., Calls], connection: dict[str, Any], name: str
) -> None:
    """What a task starts is polled and cancelled as whom the connection says, so it's started so, too."""
    calls = hook_of(server.url, connection=connection)
    with pytest.raises(InvalidRequest, match="would replace the connection's credentials"):
        calls("start_operation", "x:run", headers={name: "Bearer other"})
    assert server.seen == []


@pytest.mark.parametrize("connection", [{}, {"extra": {"headers": {"X-Project": "p"}}}], ids=str)
def test_a_task_may_bring_credentials(
    server: RawServer, hook_of: Callable[..., Calls], connection: dict[str, Any]
) -> None:
    """Where the connection brings none a task's are sent, with the start alone."""
    calls = hook_of(server.url, connection=connection)
    calls("start_operation", "x:run", headers={"Authorization": "Bearer own"})
    calls("get_operation", "operations/x")
    assert [seen.all("authorization") for seen in server.seen] == [["Bearer own"], []]


@pytest.mark.parametrize(
    "method", ["GET /x HTTP/1.1\r\nX:", "GET /admin", "CONNECT", "connect", "FETCH", "", "P\u00d6ST"]
)
def test_methods_of_a_start(server: RawServer, hook_of: Callable[..., Calls], method: str) -> None:
    """Nor does a method: it is one word."""
    with pytest.raises(InvalidRequest, match="the start's method is one of"):
        hook_of(server.url)("start_operation", "x:run", method=method)
    assert server.seen == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_starts_nothing(server: RawServer, monkeypatch: pytest.MonkeyPatch, deferrable: bool) -> None:
    """A task with such a header fails with its name, and has started nothing."""
    set_connection(monkeypatch, server.url, "ops")
    task = RunOperationOperator(
        task_id="t",
        path="x:run",
        headers={"hOsT": "other.example"},
        operations_conn_id="ops",
        deferrable=deferrable,
        durable=False,
    )
    context: Any = {"ti": object()}
    with pytest.raises(InvalidRequest, match="header 'hOsT' of the start says which host is meant"):
        task.execute(context)
    assert server.seen == []
