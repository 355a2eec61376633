"""What the hooks of one connection share on an event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.hooks import OperationsAsyncHook
from airflow_provider_operations.hooks import _client as transport
from airflow_provider_operations.hooks import _list_cache as listing
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.raw_requests import start
from tests.support.raw_server import RawServer, answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

NAMES = [f"projects/p/operations/{number}" for number in range(40)]


@pytest.fixture
def running(real_emulator: Emulator) -> Emulator:
    """An emulator on the real clock, with 40 operations that run for an hour."""
    for name in NAMES:
        start(real_emulator.url, name=name, duration=3600, cancelDelay=0)
    real_emulator.clear_journal()
    return real_emulator


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the connection ``ops``."""

    def connect(url: str, **extra: Any) -> None:
        set_connection(monkeypatch, url, "ops", extra=extra)

    return connect


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every look-up of a connection by an async hook."""
    seen: list[str] = []
    module: Any = transport
    real = module.get_async_connection

    async def counted(conn_id: str, hook: Any) -> Any:
        seen.append(conn_id)
        return await real(conn_id, hook=hook)

    monkeypatch.setattr(transport, "get_async_connection", counted)
    return seen


def hooks(count: int, **kwargs: Any) -> list[OperationsAsyncHook]:
    return [OperationsAsyncHook("ops", **kwargs) for _ in range(count)]


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that this package has logged."""
    package = "airflow_provider_operations.hooks"
    return [record.getMessage() for record in caplog.records if record.name.startswith(package)]


def rate(hook: OperationsAsyncHook) -> float | None:
    assert hook._client is not None
    return hook._client.rate_limiter.rate_per_s


async def close(many: list[OperationsAsyncHook]) -> None:
    for hook in many:
        await hook.close()


@pytest.mark.parametrize(("extra", "most"), [({}, 16), ({"max_connections": 3}, 3)], ids=["default", "set"])
async def test_connections_are_bounded(
    connect: Callable[..., None], extra: dict[str, Any], most: int
) -> None:
    """A hundred hooks with two ways of spelling the service share one session and a few connections."""
    now: list[int] = [0, 0]

    def slow(connection: socket.socket) -> None:
        now[0] += 1
        now[1] = max(now)
        time.sleep(0.02)  # long enough for others to come meanwhile
        now[0] -= 1
        connection.sendall(answer())

    with RawServer(slow) as server:
        connect(server.url, **extra)
        many = [*hooks(50), *hooks(50, path_prefix="v2")]
        seen = await asyncio.gather(*(hook.poll("operations/x") for hook in many))
        assert all(isinstance(each, Operation) for each in seen)
        assert len({id(hook._client) for hook in many}) == 1
        await close(many)
    assert 1 < now[1] <= most


async def test_the_last_hook_closes_the_session(connect: Callable[..., None], running: Emulator) -> None:
    """The session is closed when the last hook leaves, and opened again by the next."""
    connect(running.url)
    first, second = hooks(2)
    await first.poll(NAMES[0])
    await second.poll(NAMES[0])
    assert first._client is second._client
    session = first._client.session  # type: ignore[union-attr]  # it has polled
    await first.close()
    await first.close()
    assert not session.closed
    await second.close()
    assert session.closed
    await first.poll(NAMES[0])
    await first.close()


async def test_looked_up_once_in_a_while(
    connect: Callable[..., None],
    running: Emulator,
    lookups: list[str],
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    The connection is looked up once for all, and again after 5 minutes.

    What it says then counts; where it can't be looked up, what it said before does, and it is tried again.
    """
    connect(running.url)
    many = hooks(20)
    await asyncio.gather(*(hook.poll(NAMES[0]) for hook in many))
    assert lookups == ["ops"]
    moved.now += 299
    await many[0].poll(NAMES[0])
    assert lookups == ["ops"]
    moved.now += 2
    connect(running.url, path_prefix="v9")
    await many[0].poll(NAMES[0])
    assert len(lookups) == 2
    assert running.journal()[-1]["path"] == f"/v9/{NAMES[0]}"
    moved.now += 301
    monkeypatch.delenv("AIRFLOW_CONN_OPS")
    with caplog.at_level(logging.WARNING):
        await many[0].poll(NAMES[0])
        await many[1].poll(NAMES[0])
    assert len(lookups) == 3
    assert "going on with what it said before" in caplog.text
    assert running.journal()[-1]["path"] == f"/v9/{NAMES[0]}"
    moved.now += 31
    await many[0].poll(NAMES[0])
    assert len(lookups) == 4
    await close(many)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 429}, id="429"),
        pytest.param({"status": 401}, id="401"),
        pytest.param(
            {
                "status": 403,
                "body": {"error": {"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]}},
            },
            id="quota-as-403",
        ),
    ],
)
async def test_refused_as_too_many(
    connect: Callable[..., None], running: Emulator, fault: dict[str, Any]
) -> None:
    """A 429 slows down all polls of the connection, and so does what is to be paced as one."""
    connect(running.url)
    one, other = hooks(2)
    await one.poll(NAMES[0])
    assert rate(one) is None
    running.script_fault(kind="get", times=1, **fault)
    assert isinstance(await one.poll(NAMES[0]), CallFailure)
    assert rate(one) is None  # too few to slow anything down
    await asyncio.gather(*(one.poll(name) for name in NAMES))
    running.script_fault(kind="get", times=1, **fault)
    assert isinstance(await one.poll(NAMES[0]), CallFailure)
    await other.poll(NAMES[1])
    assert other._client is one._client
    assert rate(one) is not None
    await close([one, other])


async def test_the_users_limit(connect: Callable[..., None], running: Emulator) -> None:
    """``max_requests_per_second`` is the pace from the first request on."""
    connect(running.url, max_requests_per_second=50)
    (hook,) = hooks(1)
    await hook.poll(NAMES[0])
    assert hook._client is not None
    assert (hook._client.rate_limiter.most_per_s, hook._client.rate_limiter.rate_per_s) == (50, 50)
    await hook.close()


# --- lists -----------------------------------------------------------------------------------------------------


async def look(many: list[OperationsAsyncHook], names: list[str], max_age_s: float = 60.0) -> list[Any]:
    looks = (hook.look(name, max_age_s) for hook, name in zip(many, names, strict=True))
    return [seen for seen, _ in await asyncio.gather(*looks)]


def kinds(emulator: Emulator) -> list[str]:
    found = [entry["kind"] for entry in emulator.journal()]
    emulator.clear_journal()
    return found


async def test_one_list_for_all(connect: Callable[..., None], running: Emulator) -> None:
    """Forty operations are looked at by one request; those that left the list are asked for alone."""
    connect(running.url, poll_with="list")
    many = hooks(40)
    seen = await look(many, NAMES)
    assert [each.name for each in seen] == NAMES
    assert not any(each.done for each in seen)
    [entry] = running.journal()
    assert (entry["kind"], entry["path"]) == ("list", "/v1/projects/p/operations")
    assert entry["query"] == {"filter": "done=false", "pageSize": "500"}
    running.clear_journal()
    await look(many, NAMES)
    assert kinds(running) == []  # the list is young enough
    await many[0].cancel_operation(NAMES[7])
    running.clear_journal()
    seen = await look(many, NAMES, max_age_s=0.0)
    assert [each.name for each in seen if each.done] == [NAMES[7]]
    assert sorted(kinds(running)) == ["get", "list"]
    await close(many)


async def test_a_long_list(
    connect: Callable[..., None], running: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many operations those are kept that somebody waits for; one that comes later asks alone, once."""
    monkeypatch.setattr(listing, "MAX_KEPT", 10)
    connect(running.url, poll_with="list")
    many = hooks(2)
    await look(many[:1], NAMES[30:31])
    assert kinds(running) == ["list"]
    await look(many[1:], NAMES[35:36])
    assert kinds(running) == ["get"]
    running.clear_journal()
    await look(many, [NAMES[30], NAMES[35]], max_age_s=0.0)
    assert kinds(running) == ["list"]
    await close(many)


async def test_filter_of_the_connection(connect: Callable[..., None], running: Emulator) -> None:
    """The filter is the connection's; with none,  what is over may be listed too."""
    connect(running.url, poll_with="list", list_filter="none")
    many = hooks(2)
    await many[0].cancel_operation(NAMES[0])
    running.clear_journal()
    first, second = await look(many, NAMES[:2])
    assert (first.done, second.done) == (True, False)
    assert [(entry["kind"], entry["query"]) for entry in running.journal()] == [("list", {"pageSize": "500"})]
    await close(many)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param({"status": 501}, "HTTP 501, UNIMPLEMENTED", id="no-list"),
        pytest.param({"status": 400}, "HTTP 400, INVALID_ARGUMENT", id="filter-refused"),
        pytest.param(
            {"body": {"operations": [], "nextPageToken": "more"}}, "more than 10 pages", id="too-many"
        ),
        pytest.param({"body": {}}, "doesn't hold operations that are running", id="lists-nothing"),
    ],
)
async def test_where_the_list_is_of_no_use_each_is_asked_for_alone(
    connect: Callable[..., None],
    running: Emulator,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
    said: str,
) -> None:
    """Where the list is of no use each operation is asked for alone, which is said once."""
    connect(running.url, poll_with="list")
    running.script_fault(kind="list", **fault)
    many = hooks(5)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            seen = await look(many, NAMES[:5], max_age_s=0.0)
            assert [each.name for each in seen] == NAMES[:5]
    assert [said in text for text in ours(caplog)] == [True]
    asked = kinds(running)
    assert asked.count("get") == 15
    assert asked.count("list") <= 10
    await close(many)


async def test_what_was_odd_once_is_tried_again_later(
    connect: Callable[..., None],
    running: Emulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was odd once may have been a proxy's: list and wait are tried again later, and that isn't said again."""
    for module in (listing, transport):
        monkeypatch.setattr(module, "GIVEN_UP_S", 0.0)
    for poll_with in ("list", "wait"):
        connect(running.url, poll_with=poll_with)
        running.clear_journal()
        running.script_fault(kind=poll_with, status=404, body="<h1>Not Found</h1>", times=2)
        if poll_with == "wait":
            start(running.url, name=NAMES[0] + "-short", duration=0.1)
        name = NAMES[0] + ("-short" if poll_with == "wait" else "")
        (hook,) = hooks(1)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                seen, _ = await hook.look(name, 0.0)
                assert isinstance(seen, Operation)
        assert [entry["kind"] for entry in running.journal() if entry["kind"] != "start"] == [
            poll_with, "get", poll_with, "get", poll_with,
        ]  # fmt: skip
        await close([hook])
    assert len(ours(caplog)) == 2


async def test_a_list_that_fails(connect: Callable[..., None], running: Emulator) -> None:
    """A failure that may pass is everybody's, as it would be of a get; the next look lists again."""
    connect(running.url, poll_with="list")
    running.script_fault(kind="list", status=503, times=1)
    many = hooks(3)
    seen = await look(many, NAMES[:3], max_age_s=0.0)
    assert [(each.http_status, each.transient) for each in seen] == [(503, True)] * 3
    seen = await look(many, NAMES[:3], max_age_s=0.0)
    assert [each.name for each in seen] == NAMES[:3]
    assert kinds(running) == ["list", "list"]
    await close(many)


async def test_cancelled_while_listing(connect: Callable[..., None], running: Emulator) -> None:
    """Whoever began the list may leave; the others get it all the same."""
    connect(running.url, poll_with="list")
    running.script_fault(kind="list", delay=0.2)
    many = hooks(3)
    looks = [asyncio.create_task(hook.look(name, 60.0)) for hook, name in zip(many, NAMES, strict=False)]
    await asyncio.sleep(0.1)
    looks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await looks[0]
    await many[0].close()
    seen: list[Any] = [(await each)[0] for each in looks[1:]]
    assert [each.name for each in seen] == NAMES[1:3]
    await close(many)


# --- waiting ---------------------------------------------------------------------------------------------------


async def test_a_server_with_wait_is_asked_once(connect: Callable[..., None], running: Emulator) -> None:
    """The server answers when the operation is over, and is asked once."""
    start(running.url, name="projects/p/operations/short", duration=0.5)
    running.clear_journal()
    connect(running.url)
    trigger = OperationTrigger(
        "projects/p/operations/short", operations_conn_id="ops", poll_with="wait", poke_interval=3600
    )
    (event,) = [event async for event in trigger.run()]
    assert json.loads(event.payload["outcome"])["kind"] == "done"
    assert kinds(running) == ["wait"]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_wait_is_polled(
    connect: Callable[..., None], running: Emulator, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A server that has no wait is polled, which is said once."""
    connect(running.url, poll_with="wait")
    running.script_fault(kind="wait", status=status)
    many = hooks(2)
    with caplog.at_level(logging.WARNING):
        for hook in many:
            seen, held_s = await hook.look(NAMES[0], 1.0)
            assert isinstance(seen, Operation)
            assert held_s == 0.0 or hook is many[0]
    assert ["has no wait" in text for text in ours(caplog)] == [True]
    assert kinds(running) == ["wait", "get", "get"]
    await close(many)


async def test_wait_for_what_is_unknown(connect: Callable[..., None], running: Emulator) -> None:
    """An operation that the server doesn't know doesn't make it a server without wait."""
    connect(running.url, poll_with="wait")
    (hook,) = hooks(1)
    seen, _ = await hook.look("projects/p/operations/unknown", 1.0)
    assert isinstance(seen, CallFailure)
    assert seen.http_status == 404
    assert hook._client is not None
    assert hook._client.may_wait((await hook.settings()).service)
    await hook.close()


# --- triggers --------------------------------------------------------------------------------------------------


async def test_a_turn_that_comes_too_late(
    connect: Callable[..., None], running: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger whose turn would come long after its deadline ends at its deadline all the same."""
    monkeypatch.setattr("airflow_provider_operations.triggers.operation.LAST_LOOK_S", 0.1)
    connect(running.url, max_requests_per_second=0.01)
    (hook,) = hooks(1)
    await hook.poll(NAMES[0])  # takes the turn
    trigger = OperationTrigger(NAMES[1], operations_conn_id="ops", deadline_epoch_s=time.time() + 0.1)
    (event,) = [event async for event in trigger.run()]
    assert json.loads(event.payload["outcome"])["kind"] == "timed_out"
    await hook.close()


def test_transports_are_per_loop(connect: Callable[..., None], running: Emulator) -> None:
    """Two event loops, one after the other, don't share a session; nothing is left of either."""
    connect(running.url)

    async def once() -> None:
        async with OperationsAsyncHook("ops") as hook:
            await hook.poll(NAMES[0])

    for _ in range(2):
        asyncio.run(once())
        assert all(not transports for transports in transport._clients.values())
