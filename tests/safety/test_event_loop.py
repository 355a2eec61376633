"""No answer holds up a triggerer: what is large is read by a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._json import abridging
from airflow_provider_operations._json.abridging import MAX_OPERATIONS
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.hooks._apart import QUICKLY_READ_BYTES
from airflow_provider_operations.operation import Code, Operation
from airflow_provider_operations.triggers import OperationTrigger
from airflow_provider_operations.triggers._list_stream import ListStream
from airflow_provider_operations.triggers._watermark import MAX_EVENT_CHARS as MAX_ASSET_EVENT_CHARS
from tests.hooks.raw import RawServer, answer, sends
from tests.tasks.conftest import moved

from .costs import MOST_LOOP_S

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tests.tasks.conftest import MovedClock

    from .costs import Meter

__all__ = ["moved"]

NAME = "operations/x"
MIB = 2**20
RUNNING = b'{"name":"operations/x","metadata":'
DETAIL = b'{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"R","metadata":{"k":"v"}},'


def filled(before: bytes, unit: bytes, after: bytes, size: int) -> bytes:
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


SHAPES: dict[str, tuple[int, bytes, bytes, bytes]] = {
    "running": (200, RUNNING + b"[", b'{"a":[]},', b"0]}"),
    "running: objects": (200, RUNNING + b"[", b"{},", b"0]}"),
    "running: one text": (200, RUNNING + b'"', b"x", b'"}'),
    "running: escapes": (200, RUNNING + b'"', rb"\u0000", b'"}'),
    "running: blanks": (200, RUNNING + b"1", b" ", b"}"),
    "running: a message": (200, RUNNING + b'{"statusMessage":"', b"a ", b'"}}'),
    "done: a response": (200, b'{"name":"operations/x","done":true,"response":[', b'{"a":[]},', b"0]}"),
    "done: details": (200, b'{"name":"operations/x","done":true,"error":{"code":8,"details":[', DETAIL, b"0]}}"),
    "done: a message": (200, b'{"name":"operations/x","done":true,"error":{"code":8,"message":"', b"a ", b'"}}'),
    "no operation": (200, b"[", b'{"a":[]},', b"0]"),
    "no JSON": (200, b"", b'{"a":[]},', b""),
    "nested": (200, b"", b"[", b""),
    "a page": (200, b'{"operations":[', b'{"name":"operations/x"},', b'{"name":"operations/y"}]}'),
    "refused: details": (429, b'{"error":{"code":429,"details":[', DETAIL, b"0]}}"),
    "refused: a message": (404, b'{"error":{"code":404,"message":"', b"a ", b'"}}'),
    "refused: HTML": (503, b"<p>", b"<b> ", b""),
}  # fmt: skip


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RawServer]]:
    """Serve one answer, or what a function does with the connection, behind the connection ``ops``."""
    servers = []

    def serve(act: bytes | Callable[[socket.socket], object]) -> RawServer:
        server = RawServer(sends(act) if isinstance(act, bytes) else act)
        servers.append(server)
        server.__enter__()
        fields = {"conn_type": "operations", "host": server.url, "password": "S3CR3T-TOKEN-0123"}
        monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(fields))
        return server

    yield serve
    for server in servers:
        server.__exit__()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all texts that were decoded in this process."""
    lengths: list[int] = []

    class Noting:
        decoder = json.JSONDecoder()

        def decode(self, text: str) -> Any:
            lengths.append(len(text))
            return self.decoder.decode(text)

    monkeypatch.setattr(abridging, "_JSON", Noting())
    return lengths


async def looks_of_a_trigger(hook: OperationsAsyncHook) -> Any:
    return await hook.poll(NAME)


async def looks_of_a_kill(hook: OperationsAsyncHook) -> Any:
    return await hook.try_cancel(NAME, Retries(1))


async def looks_of_a_list(hook: OperationsAsyncHook) -> Any:
    return await hook.list_page("projects/p", None, 500, None)


@pytest.mark.parametrize("look", [looks_of_a_trigger, looks_of_a_kill, looks_of_a_list])
@pytest.mark.parametrize("size", [QUICKLY_READ_BYTES, 7 * MIB], ids=["quick", "large"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loop_goes_on(
    serving: Callable[..., RawServer],
    meter: Meter,
    decoded: list[int],
    shape: str,
    size: int,
    look: Callable[[OperationsAsyncHook], Any],
) -> None:
    """Nothing that comes takes much of the loop's thread, nor of the interpreter's lock in another one."""
    http_status, before, unit, after = SHAPES[shape]
    serving(answer(http_status, filled(before, unit, after, size)))

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook:
            await hook.settings()
            return await look(hook)

    assert meter.loop_s(lambda: asyncio.run(ask())) < MOST_LOOP_S
    assert max(decoded, default=0) <= QUICKLY_READ_BYTES


def test_it_runs_on(serving: Callable[..., RawServer], moved: MovedClock, decoded: list[int]) -> None:
    """An operation with a MiB of metadata is polled on, a hundred times, until it is done; a worker reads its result."""
    polls = 0
    large = ["x" * 100] * 10_000

    def act(connection: socket.socket) -> None:
        nonlocal polls
        polls += 1
        operation: dict[str, Any] = {"name": NAME, "metadata": {"progressPercent": polls % 90, "all": large}}
        if polls > 100:
            operation |= {"done": True, "response": {"all": large}}
        connection.sendall(answer(body=json.dumps(operation).encode()))

    serving(act)

    async def wait() -> Any:
        (event,) = [event async for event in OperationTrigger(NAME, operations_conn_id="ops").run()]
        return event.payload

    payload = asyncio.run(wait())
    assert polls == 101
    outcome = Outcome.from_event(payload)
    assert (outcome.kind, outcome.operation) == (Kind.DONE, None)
    assert max(decoded) <= QUICKLY_READ_BYTES
    with OperationsHook("ops") as hook:
        assert hook.get_operation(NAME).response == {"all": large}


@pytest.mark.parametrize("call", ["get_operation", "wait_until_done"])
def test_who_asks_for_it_gets_it_whole(serving: Callable[..., RawServer], call: str) -> None:
    """The hook's own calls return all that was sent."""
    operation = {"name": NAME, "done": True, "metadata": {"a": "x" * MIB}, "response": {"b": ["y"] * 100_000}}
    serving(answer(body=json.dumps(operation).encode()))

    async def ask() -> Operation:
        async with OperationsAsyncHook("ops") as hook:
            got: Operation = await getattr(hook, call)(NAME)
            return got

    got = asyncio.run(ask())
    assert got.to_json() == operation
    assert not got.abridged


def test_what_is_kept_tells_how_it_stands(serving: Callable[..., RawServer]) -> None:
    """Name, end, code, progress and times are read of an operation that is too large; what is left out is marked."""
    failed = {"code": 8, "message": "quota", "details": [{"reason": "r" * 100}] * 20_000}
    metadata = {
        "stages": [{"a": list(range(20))}] * 20_000,
        "progressPercent": 42,
        "createTime": "2026-11-28T12:00:00Z",
        "statusMessage": "S3CR3T-TOKEN-0123",
    }
    operation = {"metadata": metadata, "other": "x" * MIB, "error": failed, "done": True, "name": NAME}
    serving(answer(body=json.dumps(operation).encode()))

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook:
            return await hook.poll(NAME)

    seen = asyncio.run(ask())
    assert (seen.name, seen.done, seen.abridged) == (NAME, True, True)
    assert (seen.error.code, seen.error.message) == (Code.RESOURCE_EXHAUSTED, "quota")
    assert (seen.progress.percent, seen.progress.message) == (42, "***")
    assert seen.times.created_s is not None
    assert len(json.dumps(seen.to_json())) < 2 * abridging.VALUE_CHARS


def test_an_honest_page(serving: Callable[..., RawServer], decoded: list[int]) -> None:
    """Five hundred operations with metadata are read whole, though their page is large; so are those that failed."""
    operations = [
        {
            "name": f"operations/{number}",
            "done": number % 2 == 0,
            "metadata": {"@type": "x/y.Metadata", "a": "x" * 3000},
            **({"error": {"code": 5, "message": "gone"}} if number % 4 == 0 else {}),
        }
        for number in range(500)
    ]
    serving(answer(body=json.dumps({"operations": operations, "nextPageToken": "t"}).encode()))

    async def look() -> Any:
        looks = ListStream("", None, 60, {"operations_conn_id": "ops"})
        async with OperationsAsyncHook("ops") as hook:
            page = await hook.list_page("", None, 500, None)
            assert not isinstance(page, CallFailure)
            listed, token = page
            looks._hook = hook
            return listed, token, await looks._read(hook, None)

    listed, token, read = asyncio.run(look())
    assert [operation.to_json() for operation in listed] == [
        {**operation, **({"error": operation["error"]} if "error" in operation else {})}
        for operation in operations
    ]
    assert not any(operation.abridged for operation in listed)
    assert token == "t"
    assert [seen.outcome for seen in read.seen.values()][:4] == ["failed", None, "succeeded", None]
    assert all(len(seen.event) <= MAX_ASSET_EVENT_CHARS for seen in read.seen.values())
    assert max(decoded) <= QUICKLY_READ_BYTES


def test_a_page_without_end(serving: Callable[..., RawServer]) -> None:
    """A server that ignores how many were asked for is refused, in words that say so, by both hooks."""
    page = {"operations": [{"name": f"operations/{number}"} for number in range(190_000)]}
    serving(answer(body=json.dumps(page).encode()))

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook:
            return await hook.list_page("", None, 500, None)

    failure = asyncio.run(ask())
    assert isinstance(failure, CallFailure)
    assert f"has more than {MAX_OPERATIONS} operations on one page" in failure.problem
    with (
        OperationsHook("ops") as hook,
        pytest.raises(Exception, match=f"more than {MAX_OPERATIONS} operations on one page"),
    ):
        list(hook.list_operations(""))


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python", ""])
def test_a_process_that_fails(
    serving: Callable[..., RawServer], moved: MovedClock, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Where it can't be run, the answer is odd: asked for again, and in the end a retry's business; nothing is cancelled."""
    server = serving(answer(body=json.dumps({"name": NAME, "metadata": "x" * MIB}).encode()))
    monkeypatch.setattr(sys, "executable", program)

    async def wait() -> Any:
        trigger = OperationTrigger(NAME, operations_conn_id="ops", outage_tolerance_s=600)
        trigger.started_epoch_s = clock.now() - 3600
        (event,) = [event async for event in trigger.run()]
        return event.payload

    outcome = Outcome.from_event(asyncio.run(wait()))
    assert outcome.kind is Kind.CALL_FAILED
    assert outcome.failure is not None
    assert "reading it apart failed" in outcome.failure.problem
    assert len(server.seen) > 5
    assert not any("cancel" in seen.line for seen in server.seen)


def test_it_needs_the_standard_library_only() -> None:
    """The process starts in milliseconds, as it loads nothing of ours and nothing of Airflow."""
    import subprocess

    code = f"import runpy, sys; runpy.run_path({abridging.__file__!r}); print(sorted(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "airflow" not in ended.stdout
    assert "'asyncio" not in ended.stdout
