"""An answer that nobody asked for becomes nobody's answer."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations.hooks import OperationsAsyncHook
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.kept_alive import KeptAlive, operation, said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.hooks import Calls

    from .conftest import Told

FOREIGN = operation("operations/foreign", "FOREIGN")


def own(path: str) -> bytes:
    """The right answer."""
    name = path.removeprefix("/v1/").partition(":")[0]
    return operation(name, f"of {name}")


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """What a server needs to speak TLS, and the bundle by which it is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, str(tmp_path / "ca.pem")


EXTRA = {
    "answer": FOREIGN,
    "nameless": said(b'{"done": true, "response": {"result": "FOREIGN"}}'),
    "half": FOREIGN[:60],
    "line-break": b"\r\n",
    "no-http": b"x",
    "empty": said(b"{}"),
    "several": FOREIGN * 3,
}


@pytest.mark.parametrize("extra", EXTRA)
def test_an_extra_answer_between_requests(hook_of: Callable[..., Calls], extra: str) -> None:
    """A connection on which anything came while nobody had asked isn't used again."""

    def answer(path: str, connection: int, index: int) -> bytes | list[tuple[float, bytes]]:
        return [(0, own(path)), (0.05, EXTRA[extra])] if (connection, index) == (0, 0) else own(path)

    with KeptAlive(answer) as server:
        calls = hook_of(server.url)
        for name in ("operations/a", "operations/b", "operations/c"):
            found = calls("get_operation", name)
            assert (found.name, found.response) == (name, {"result": f"of {name}"})
            _let_pass(calls, 0.2)
        assert server.seen == [(0, "/v1/operations/a"), (1, "/v1/operations/b"), (1, "/v1/operations/c")]


def test_bytes_that_the_loop_has_not_read(hook_of: Callable[..., Calls]) -> None:
    """So if they have come, but neither loop nor hook has looked yet."""

    def answer(path: str, connection: int, index: int) -> bytes | list[tuple[float, bytes]]:
        return [(0, own(path)), (0.05, FOREIGN)] if (connection, index) == (0, 0) else own(path)

    with KeptAlive(answer) as server:
        calls = hook_of(server.url)
        for name in ("operations/a", "operations/b"):
            assert calls("get_operation", name).name == name
            time.sleep(0.2)  # the event loop stands still
        assert server.seen == [(0, "/v1/operations/a"), (1, "/v1/operations/b")]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_one_connection_where_nothing_is_wrong(
    hook_of: Callable[..., Calls], tls_files: tuple[ssl.SSLContext, str], tls: bool
) -> None:
    """A hundred polls of a server that answers what it's asked take one connection; tickets of TLS are no answers."""
    context, bundle = tls_files
    with KeptAlive(lambda path, _connection, _index: own(path), context if tls else None) as server:
        calls = hook_of(server.url, connection={"extra": {"verify": bundle}})
        for _ in range(100):
            assert calls("get_operation", "operations/a").name == "operations/a"
        assert (server.connections, len(server.seen)) == (1, 100)


@pytest.mark.parametrize("pause_s", [0.0, 0.05], ids=["at-once", "later"])
@pytest.mark.parametrize("size", [0, 5_000, 9_000, 20_000])
def test_an_extra_answer_over_tls_is_seen(
    hook_of: Callable[..., Calls], tls_files: tuple[ssl.SSLContext, str], size: int, pause_s: float
) -> None:
    """What TLS has unpacked together with the answer is not in the kernel any more, and is seen all the same."""
    context, bundle = tls_files

    def answer(path: str, connection: int, index: int) -> bytes | list[tuple[float, bytes]]:
        name = path.removeprefix("/v1/")
        first = said(json.dumps({"name": name, "metadata": "x" * size}).encode())
        if (connection, index) != (0, 0):
            return own(path)
        return [(0, first), (pause_s, FOREIGN * 50)] if pause_s else first + FOREIGN * 50

    with KeptAlive(answer, context) as server:
        calls = hook_of(server.url, connection={"extra": {"verify": bundle}})
        for name in ("operations/a", "operations/b", "operations/c"):
            assert calls("get_operation", name).name == name
            _let_pass(calls, 0.15)
        if pause_s:
            assert [connection for connection, _ in server.seen] == [0, 1, 1]


# --- the answer of another -----------------------------------------------------------------------------------


def misled(path: str, connection: int, index: int) -> bytes:
    """The first connection's answers are always of another."""
    return FOREIGN if connection == 0 else own(path)


def test_an_answer_of_another_operation_is_asked_for_again(ask: Callable[..., Told]) -> None:
    """An answer of another operation is asked for again, over a connection of its own."""
    with KeptAlive(misled) as server:
        told = ask("operations/a", host=server.url)
        asked = [seen for seen in server.seen if seen[1] == "/v1/operations/a"]
    assert told.operation is not None, told.problem
    assert told.operation.response == {"result": "of operations/a"}
    assert len(asked) == len({connection for connection, _ in asked})


@pytest.mark.parametrize("call", ["get_operation", "poll", "wait_operation"])
def test_get_and_wait(hook_of: Callable[..., Calls], call: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each way to ask for one operation does so, and says in the log that the server has lied."""
    with KeptAlive(misled) as server, caplog.at_level(logging.WARNING):
        arguments = (5,) if call == "wait_operation" else ()
        found = hook_of(server.url)(call, "operations/a", *arguments)
        assert server.connections == 2
    assert found.response == {"result": "of operations/a"}
    assert "the server answered with operations/foreign, which was not asked for" in caplog.text


@pytest.mark.parametrize("poll_with", ["get", "list", "wait"])
def test_each_of_eight_triggers_gets_its_own(monkeypatch: pytest.MonkeyPatch, poll_with: str) -> None:
    """Eight triggers of one connection, and a server that says one answer more each time: each gets its own."""

    def answer(path: str, connection: int, index: int) -> bytes | list[tuple[float, bytes]]:
        if "?" in path and ":wait" not in path:
            return said(b'{"operations": []}')
        done = (
            own(path) if index or connection > 3 else operation(path.removeprefix("/v1/").partition(":")[0])
        )
        return [(0, done), (0.01, FOREIGN)]

    async def outcomes() -> list[Outcome]:
        async def run(name: str) -> Outcome:
            trigger = OperationTrigger(
                name,
                operations_conn_id="ops",
                poll_with=poll_with,
                poke_interval=1,
                deadline_epoch_s=clock.now() + 30,
            )
            (event,) = [event async for event in trigger.run()]
            return Outcome.from_event(event.payload)

        return await asyncio.gather(*(run(f"projects/p/operations/{number}") for number in range(8)))

    with KeptAlive(answer) as server:
        set_connection(monkeypatch, server.url, "ops")
        for number, outcome in enumerate(asyncio.run(outcomes())):
            name = f"projects/p/operations/{number}"
            assert outcome.kind is Kind.DONE
            assert outcome.operation is not None
            assert (outcome.operation.name, outcome.operation.response) == (name, {"result": f"of {name}"})


def test_a_start_goes_alone(hook_of: Callable[..., Calls]) -> None:
    """Which operation a start has begun nobody can check: no answer of others comes on its connection."""
    with KeptAlive(lambda path, _connection, _index: own(path)) as server:
        calls = hook_of(server.url)
        calls("get_operation", "operations/a")
        calls("start_operation", "x:run")
        calls("get_operation", "operations/a")
        assert [connection for connection, _ in server.seen] == [0, 1, 0]


# --- other names for the same --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("operations/a%2Fb", "operations/a/b"),
        ("operations/a/b", "operations/a%2Fb"),
        ("operations/YQ==", "operations/YQ"),
        ("operations/YQ", "operations/YQ=="),
        ("operations/YQ%3D%3D", "operations/YQ"),
        ("operations/\u00fc", "operations/%C3%BC"),
    ],
)
def test_the_same_name_in_another_spelling(hook_of: Callable[..., Calls], asked: str, answered: str) -> None:
    """A name is the same encoded or not, with or without padding: one request."""
    with KeptAlive(lambda _path, _connection, _index: operation(answered)) as server:
        assert hook_of(server.url)("get_operation", asked).name == answered
        assert len(server.seen) == 1


@pytest.mark.parametrize("answered", ["projects/123/operations/a", "a", "operations/a/b", "A"])
def test_another_name_counts_when_it_comes_alone(
    hook_of: Callable[..., Calls], answered: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Services answer with project numbers for ids, shorter and longer: asked twice at first, once from then on."""
    with KeptAlive(lambda _path, _connection, _index: operation(answered)) as server:
        calls = hook_of(server.url)
        with caplog.at_level(logging.WARNING):
            assert [calls("poll", "projects/p/operations/a").name for _ in range(4)] == [answered] * 4
        assert [connection for connection, _ in server.seen] == [0, 1, 0, 0, 0]
    assert caplog.text == ""


def test_a_known_name_lets_no_other_pass(hook_of: Callable[..., Calls]) -> None:
    """... but one of a third operation is asked for again, still."""

    def answer(_path: str, connection: int, index: int) -> bytes:
        return FOREIGN if (connection, index) == (0, 1) else operation("projects/123/operations/a")

    with KeptAlive(answer) as server:
        calls = hook_of(server.url)
        names = [calls("poll", "projects/p/operations/a").name for _ in range(3)]
        assert names == ["projects/123/operations/a"] * 3
        assert [connection for connection, _ in server.seen] == [0, 1, 0, 2, 0]


def test_no_name_is_no_other_name(hook_of: Callable[..., Calls]) -> None:
    """An answer without a name could be anybody's: it counts when it comes alone, each time."""
    with KeptAlive(lambda _path, _connection, _index: said(b'{"done": true}')) as server:
        calls = hook_of(server.url)
        assert [calls("poll", "operations/a").done for _ in range(2)] == [True, True]
        assert [connection for connection, _ in server.seen] == [0, 1, 0, 2]


def test_a_failure_that_comes_alone_counts(hook_of: Callable[..., Calls]) -> None:
    """What the connection of its own brings is the answer, whatever it is."""

    def answer(_path: str, connection: int, _index: int) -> bytes:
        return FOREIGN if connection == 0 else b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

    with KeptAlive(answer) as server:
        failure = hook_of(server.url)("poll", "operations/a")
    assert (failure.http_status, failure.transient) == (503, True)


def _let_pass(calls: Calls, seconds: float) -> None:
    """Let time pass, in which an event loop runs."""
    if isinstance(calls.hook, OperationsAsyncHook):
        loop: Any = calls._loop
        loop.run_until_complete(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)
