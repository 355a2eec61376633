"""No answer holds up a triggerer: what is large is read by a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_operations._json import abridging
from airflow_provider_operations._json.abridging import MAX_OPERATIONS
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome, Watch
from airflow_provider_operations._protocol.readers import operation_of, page_of
from airflow_provider_operations._protocol.response import CallFailure, HttpResponse
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.hooks._apart import AT_ONCE, QUICKLY_READ_BYTES
from airflow_provider_operations.operation import Code, Operation
from airflow_provider_operations.triggers import OperationTrigger
from airflow_provider_operations.triggers._list_stream import ListStream
from airflow_provider_operations.triggers._watermark import MAX_EVENT_CHARS as MAX_ASSET_EVENT_CHARS
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends

from .attacks import FUZZ
from .costs import MOST_LOOP_S

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clocks import MovedClock

    from .costs import Meter

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
    "refused: numbers": (403, b'{"error":{"code":403,"details":[', b"0,", b"0]}}"),
    "refused: objects": (403, b'{"error":{"code":403,"details":[', b"{},", b"0]}}"),
    "refused: errors": (403, b'{"error":{"code":403,"errors":[', b"{},", b"0]}}"),
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
        set_connection(monkeypatch, server.url, "ops", password="S3CR3T-TOKEN-0123")
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
    seen = await hook.poll(NAME)
    watch = Watch.from_now(NAME, 30, None, 600)
    watch.judge(seen, clock.now())
    news = watch.take_news()
    await asyncio.sleep(0)
    verdict = Watch.from_now(NAME, 30, None, 0).judge(seen, clock.now())
    return news, isinstance(verdict, Outcome) and verdict.to_event()


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


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/bin/cat"])
def test_a_process_that_fails(
    serving: Callable[..., RawServer], moved: MovedClock, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Where it fails, the answer is odd: asked for again, and in the end a retry's business; nothing is cancelled."""
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


@pytest.mark.parametrize("program", ["/nowhere/python", "", None])
def test_where_no_process_starts(
    serving: Callable[..., RawServer],
    monkeypatch: pytest.MonkeyPatch,
    program: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A large answer is read all the same, here; the log says what that costs."""
    serving(answer(body=json.dumps({"name": NAME, "done": True, "response": ["x" * MIB]}).encode()))
    monkeypatch.setattr(sys, "executable", program)

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook:
            return await hook.poll(NAME)

    seen = asyncio.run(ask())
    assert seen.response == ["x" * MIB]
    assert "a large answer is read here, which holds up other triggers: no process starts" in caplog.text


def test_it_needs_the_standard_library_only() -> None:
    """The process starts in milliseconds, as it loads nothing of ours and nothing of Airflow."""
    code = f"import runpy, sys; runpy.run_path({abridging.__file__!r}); print(sorted(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "airflow" not in ended.stdout
    assert "'asyncio" not in ended.stdout


EARLY = b"HTTP/1.1 102 Processing\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a>\r\n" * 100 + b"\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(EARLY * 200_000, id="102"),
        pytest.param(HINTS * 3000, id="103"),
        pytest.param(HEAD + b"1\r\n \r\n" * 700_000, id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 700_000, id="headers"),
    ],
)
def test_bytes_in_small_pieces(serving: Callable[..., RawServer], meter: Meter, raw: bytes) -> None:
    """Heads before the head, and chunks of a byte each, are parsed a little at a time."""
    serving(raw)

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook:
            await hook.settings()
            return await hook.poll(NAME)

    assert meter.loop_s(lambda: asyncio.run(ask())) < MOST_LOOP_S


def test_an_endless_answer_ends(serving: Callable[..., RawServer]) -> None:
    """What isn't the body is counted, too."""

    def act(connection: socket.socket) -> None:
        while True:
            connection.sendall(EARLY * 10_000)

    serving(act)

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook:
            return await hook.poll(NAME)

    failure = asyncio.run(ask())
    assert isinstance(failure, CallFailure)
    assert "Disconnected" in failure.problem


def test_one_service_takes_no_turn_from_others(
    serving: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many large answers one connection gets, and however slowly they are read, another's are read at once."""
    large = filled(RUNNING + b"[", b"1,", b"0]}", 2 * QUICKLY_READ_BYTES)
    serving(answer(body=large))
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_OPS"])

    async def ask() -> Any:
        async with OperationsAsyncHook("ops") as hook, OperationsAsyncHook("other") as other:
            await asyncio.gather(hook.poll(NAME), other.poll(NAME))
            assert hook._client is not None
            turns = hook._client.reading_apart
            for _ in range(AT_ONCE):
                await turns.acquire()  # as by answers that take long
            waiting = asyncio.create_task(hook.poll(NAME))
            assert isinstance(await other.poll(NAME), Operation)
            assert not waiting.done()
            for _ in range(AT_ONCE):
                turns.release()
            assert isinstance(await waiting, Operation)

    asyncio.run(ask())


def test_a_trigger_that_ends_leaves_no_process(
    serving: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that is cancelled while a large answer is read ends its process, and gives its turn back only then."""
    pid = tmp_path / "pid"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 100\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    serving(answer(body=filled(RUNNING + b"[", b"1,", b"0]}", 2 * QUICKLY_READ_BYTES)))

    async def ask() -> None:
        async with OperationsAsyncHook("ops") as hook:
            polling = asyncio.create_task(hook.poll(NAME))
            while not (pid.exists() and pid.read_text().strip()):  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.02)
            polling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await polling
            assert not psutil.pid_exists(int(pid.read_text()))

    asyncio.run(ask())


def test_a_limit_on_memory_that_is_there_already(tmp_path: Path) -> None:
    """A triggerer that may not take all memory has processes that may not either, and read all the same."""
    code = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); "
        f"runpy.run_path({abridging.__file__!r}, run_name='__main__')"
    )
    body = json.dumps({"name": NAME, "done": True}).encode()
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], input=body, stdout=subprocess.PIPE, check=True
    )
    assert json.loads(ended.stdout)["value"] == {"name": NAME, "done": True}


KEYS = (
    "name",
    "nextPageToken",
    "done",
    "error",
    "code",
    "message",
    "operations",
    "@abridged",
    "status",
    "@type",
    "a",
)


def made_up(random_: random.Random, depth: int = 0) -> Any:
    kind = random_.randrange(12) if depth < 4 else random_.randrange(6)
    match kind:
        case 0 | 1 | 2:
            return random_.choice(
                ["", "x" * random_.randrange(30), "y" * random_.choice([8192, 8193, 50_000]), "\ud800"]
            )
        case 3 | 4 | 5:
            return random_.choice([0, -1, 8, 2**64, 10**300, 1.5, True, False, None])
        case 6 | 7 | 8:
            return [
                made_up(random_, depth + 1) for _ in range(random_.choice([0, 1, 40 if depth < 2 else 2]))
            ]
    return {random_.choice(KEYS): made_up(random_, depth + 1) for _ in range(random_.randrange(6))}


def operation_made_up(random_: random.Random) -> dict[str, Any]:
    usual = {"name": NAME, "done": random_.random() < 0.7, "metadata": made_up(random_)}
    ends = random_.choice(
        [{"response": made_up(random_)}, {"error": {"code": 5, "message": made_up(random_)}}, {}]
    )
    odd = {key: made_up(random_, 1) for key in random_.sample([*KEYS, "metadata", "response"], 2)}
    fields = list({**usual, **ends, **(odd if random_.random() < 0.5 else {})}.items())
    random_.shuffle(fields)
    return dict(fields)


def read(body: bytes, *, page: bool, apart: bool) -> Any:
    """Return what is read of an answer, whole or abridged; of what can't be read, that it can't."""
    known = (
        abridging.read_abridgement([line.encode() for line in abridging.abridgement(body)]) if apart else None
    )
    response = HttpResponse("GET", "https://h/v1/x", 200, {}, body, abridged=known)
    try:
        return page_of(response.json(), response) if page else operation_of(response.json(), response)
    except ValueError as error:
        return type(error)


def assert_same(whole: Any, abridged: Any) -> None:
    if not isinstance(whole, Operation) or not isinstance(abridged, Operation):
        assert whole == abridged
        return
    assert (abridged.name, abridged.done) == (whole.name, whole.done)
    assert (abridged.error and abridged.error.code) == (whole.error and whole.error.code)
    if not abridged.abridged:
        assert abridged.to_json() == whole.to_json()


@pytest.mark.parametrize("seed", range(FUZZ or 60))
def test_both_readings_agree(seed: int) -> None:
    """Whatever an operation is made of: its abridgement has its name, end and code, and is marked where it isn't whole."""
    random_ = random.Random(seed)
    body = json.dumps(operation_made_up(random_)).encode()
    assert_same(read(body, page=False, apart=False), read(body, page=False, apart=True))
    token = random_.choice(["", "t", "t" * 9000, "t" * 40_000, 5])
    listed = [operation_made_up(random_) for _ in range(random_.randrange(4))]
    body = json.dumps({"operations": listed, "nextPageToken": token, "a": made_up(random_)}).encode()
    whole, abridged = (read(body, page=True, apart=apart) for apart in (False, True))
    if not isinstance(whole, tuple) or not isinstance(abridged, tuple):
        assert whole == abridged
        return
    assert (abridged[1], len(abridged[0])) == (whole[1], len(whole[0]))
    for one, other in zip(whole[0], abridged[0], strict=True):
        assert_same(one, other)
