"""Odd answers to polls, and a process that stands still: the same in every way to wait, at a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.exceptions import (
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationsError,
)
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer
from tests.support.tasks import Driver, Verdict
from tests.versions import AIRFLOW

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

SENSORS: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable sensor": {"deferrable": True},
}
OPERATORS: dict[str, dict[str, Any]] = {
    "operator": {"deferrable": False},
    "deferrable operator": {"deferrable": True},
}
TASKS = [*SENSORS, *OPERATORS]
WAYS = [*TASKS, "hook", "async hook"]

TOLERANCE_S = 120.0

LATER = 18
"""After so many polls the wait is older than a minute, and far out of the grace after a start."""

PAGE = "<html>be right back</html>"
QUOTA = {"code": 403, "message": "slow down", "errors": [{"reason": "rateLimitExceeded"}]}

ODD: dict[str, dict[str, Any]] = {
    "HTML": {"status": 200, "body": PAGE},
    "cut-off JSON": {"status": 200, "body": '{"name": "operations/x", "metadata": {"percent'},
    "empty": {"status": 200, "body": ""},
    "no operation": {"status": 200, "body": {"id": "x"}},
    "302": {"status": 302, "headers": {"location": "/login"}},
    "400": {"status": 400},
    "401": {"status": 401},
    "403": {"status": 403},
    "501": {"status": 501},
    "HTML 403": {"status": 403, "body": PAGE},
    "HTML 404": {"status": 404, "body": PAGE},
    "quota as 403": {"status": 403, "body": {"error": QUOTA}},
}


def wait(way: str, driver: Driver, *, poke_interval: float = 20, **script: Any) -> Verdict:
    """Start an operation and wait for it in one of the ways."""
    arguments: dict[str, Any] = {
        "poke_interval": poke_interval,
        "outage_tolerance": TOLERANCE_S,
        "timeout": 2000,
    }
    if way in OPERATORS:
        return driver.run(
            lambda: RunOperationOperator(
                task_id="t", path="things:run", json={"operation": script}, **OPERATORS[way], **arguments
            )
        )
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": script}).name
        if way in SENSORS:
            return driver.run(
                lambda: OperationSensor(task_id="t", operation_name=name, **SENSORS[way], **arguments)
            )
        try:
            if way == "hook":
                operation = hook.wait_until_done(name, **arguments)
            else:
                operation = asyncio.run(_wait_until_done(name, arguments))
        except OperationsError as error:
            return Verdict("failed", error=error)
        return Verdict("success", operation.response)


async def _wait_until_done(name: str, arguments: dict[str, Any]) -> Any:
    async with OperationsAsyncHook() as hook:
        return await hook.wait_until_done(name, **arguments)


def kinds(emulator: Emulator) -> list[str]:
    return [entry["kind"] for entry in emulator.journal() if entry["kind"] != "get"]


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("way", WAYS)
def test_one_odd_answer_changes_nothing(emulator: Emulator, driver: Driver, way: str, case: str) -> None:
    """One odd answer in the middle of a running operation changes nothing."""
    emulator.script_fault(kind="get", after=LATER, times=1, **ODD[case])

    verdict = wait(way, driver, duration=600, response={"answer": 42})

    assert (verdict.state, verdict.value) == ("success", {"answer": 42})
    assert kinds(emulator) == ["start"]
    assert emulator.faults()[0]["fired"] == 1


@pytest.mark.parametrize("case", ["HTML", "403", "HTML 404"])
@pytest.mark.parametrize("way", WAYS)
def test_at_the_first_poll(emulator: Emulator, driver: Driver, way: str, case: str) -> None:
    """One odd answer to the very first poll changes nothing either."""
    emulator.script_fault(kind="get", times=1, **ODD[case])

    verdict = wait(way, driver, duration=200, response={"answer": 42})

    assert (verdict.state, verdict.value) == ("success", {"answer": 42})
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("case", ["HTML", "401", "403", "quota as 403"])
@pytest.mark.parametrize("way", WAYS)
def test_odd_answers_are_an_outage(
    emulator: Emulator, driver: Driver, moved: MovedClock, way: str, case: str
) -> None:
    """Odd answers are borne for the outage's tolerance; then the error is one to be retried."""
    began = moved.now
    emulator.script_fault(kind="get", after=3, **ODD[case])

    verdict = wait(way, driver, duration=5000)

    assert type(verdict.error) is OperationsCallError
    assert verdict.error.http_status == ODD[case]["status"]
    assert TOLERANCE_S <= moved.now - began <= TOLERANCE_S + 90
    # Without a record, a retry starts an operation of its own.
    assert ("cancel" in kinds(emulator)) is (way in OPERATORS and AIRFLOW < (3, 3))


@pytest.mark.parametrize("case", ["403", "HTML"])
@pytest.mark.parametrize("way", TASKS)
def test_what_is_refused_from_the_first_poll_is_final_after_a_minute(
    emulator: Emulator,
    driver: Driver,
    moved: MovedClock,
    logged: pytest.LogCaptureFixture,
    way: str,
    case: str,
) -> None:
    """What is refused from the first poll on is told at once, and is final after a minute."""
    began = moved.now
    said_after: list[float] = []
    said = {"403": "HTTP 403: PERMISSION_DENIED (7): Scripted by", "HTML": f"the body began: {PAGE}"}[case]
    moved.on_sleep = lambda: said_after.append(moved.now - began) if said in logged.text else None
    emulator.script_fault(kind="get", **ODD[case])

    verdict = wait(way, driver, duration=5000)

    assert type(verdict.error) is OperationsCallErrorFinal
    assert verdict.error.http_status == ODD[case]["status"]
    assert 60 <= moved.now - began <= 100
    assert said_after[0] <= 2
    assert "bearing it for up to 60 s" in logged.text
    assert verdict.reschedules == 0
    assert kinds(emulator) == ["start", "cancel"] if way in OPERATORS else ["start"]


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("way", WAYS)
def test_a_denied_operation_is_gone_at_once(
    emulator: Emulator, driver: Driver, way: str, status: int
) -> None:
    """An operation that its service doesn't know any more is gone, at the first word of it."""
    emulator.script_fault(kind="get", after=LATER, status=status)

    verdict = wait(way, driver, duration=5000)

    assert isinstance(verdict.error, OperationsCallErrorFinal if way in TASKS else OperationsCallError)
    assert verdict.error.http_status == status
    if way not in OPERATORS:  # which look at what they cancel
        assert emulator.faults()[0]["fired"] == 1


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_but_pages(
    emulator: Emulator, driver: Driver, moved: MovedClock, way: str, after: int
) -> None:
    """Where the 404 is a page without a Status, the operation is gone when there was one half a minute later."""
    began = moved.now
    emulator.script_fault(kind="get", after=after, **ODD["HTML 404"])

    verdict = wait(way, driver, duration=5000)

    assert isinstance(verdict.error, OperationsCallErrorFinal if way in TASKS else OperationsCallError)
    assert verdict.error.http_status == 404
    assert 30 <= moved.now - began <= (60 if after == 0 else TOLERANCE_S - 1)


@pytest.mark.parametrize("way", WAYS)
def test_numbers_that_json_has_not(emulator: Emulator, driver: Driver, way: str) -> None:
    """NaN and infinities in an operation are read; what goes to XCom is text, the same in every way."""
    numbers = '{"loss": NaN, "bounds": [Infinity, -Infinity]}'
    running = f'{{"name": "operations/x", "metadata": {numbers}}}'
    over = f'{{"name": "operations/x", "done": true, "metadata": {numbers}, "response": {numbers}}}'
    emulator.script_fault(kind="start", times=1, status=200, body=running)
    emulator.script_fault(kind="get", times=3, status=200, body=running)
    emulator.script_fault(kind="get", status=200, body=over)

    verdict = wait(way, driver)

    stored = {"loss": "NaN", "bounds": ["Infinity", "-Infinity"]}
    assert verdict.state == "success"
    if way in TASKS:
        assert verdict.value == stored
        assert verdict.xcoms["operation"]["metadata"] == stored
    else:
        assert str(verdict.value) == "{'loss': nan, 'bounds': [inf, -inf]}"


@pytest.mark.parametrize("case", ["HTML", "403"])
@pytest.mark.parametrize("deferrable", [True, False])
def test_the_end_of_a_cancelled_operation(
    emulator: Emulator, driver: Driver, case: str, *, deferrable: bool
) -> None:
    """``CancelOperationOperator`` waits for the end as the others do."""
    with OperationsHook() as hook:
        name = hook.start_operation(
            "things:run", json={"operation": {"duration": 500, "cancelDelay": 50}}
        ).name
    emulator.script_fault(kind="get", after=2, times=1, **ODD[case])
    verdict = driver.run(
        lambda: CancelOperationOperator(task_id="cancel", operation_name=name, deferrable=deferrable)
    )
    assert verdict.value == {"name": name, "ended": "cancelled"}


@pytest.mark.parametrize("case", ["HTML", "403"])
@pytest.mark.parametrize("way", ["deferrable sensor", "deferrable operator"])
def test_what_was_too_large_for_the_event(emulator: Emulator, driver: Driver, way: str, case: str) -> None:
    """The worker that asks again for a large response bears an odd answer, too."""
    trigger = driver.trigger

    def ending(deferred: Any) -> Any:
        event = trigger(deferred)
        emulator.script_fault(kind="get", times=1, **ODD[case])
        return event

    driver.trigger = ending  # type: ignore[method-assign]  # what happens between triggerer and worker
    verdict = wait(way, driver, duration=20, response={"large": "x" * 300_000})
    assert verdict.state == "success"
    assert len(verdict.value["large"]) == 300_000


@pytest.mark.parametrize("status", [401, 403, 200])
@pytest.mark.parametrize("way", OPERATORS)
def test_starts_stay_strict(emulator: Emulator, driver: Driver, way: str, status: int) -> None:
    """An odd answer to a start is an error at once, as it can't be repeated."""
    emulator.script_fault(kind="start", status=status, body=PAGE)
    verdict = wait(way, driver, duration=50)
    assert type(verdict.error) is OperationsCallErrorFinal
    assert kinds(emulator) == ["start"]


# --- a process that stands still ------------------------------------------------------------------------------


class StandsStill:
    """
    A server that answers 503 from 20 s to 45 s, and a process that stands still while it asks, from 40 s to 100 s.

    Moving the process's clock by a minute before a request's answer arrives is what a freeze looks like to it.
    """

    def __init__(self, moved: MovedClock, *, over_at_s: float, freeze_at_s: float = 38.0) -> None:
        self.moved = moved
        self.began = moved.now
        self.over_at_s = over_at_s
        self.freeze_at_s: float | None = freeze_at_s
        self.asked_s: list[float] = []
        self.server = RawServer(self.answer)

    def answer(self, connection: socket.socket) -> None:
        at_s = self.moved.now - self.began
        if not self.server.seen[-1].line.startswith("GET"):
            connection.sendall(answer(200, b'{"name": "operations/x"}'))
            return
        self.asked_s.append(at_s)
        if self.freeze_at_s is not None and at_s >= self.freeze_at_s:
            self.freeze_at_s = None
            self.moved.now = self.began + 100
        if 20 <= at_s < 45:
            connection.sendall(answer(503, b""))
        else:
            done = json.dumps({"name": "operations/x", "done": at_s >= self.over_at_s, "response": {"a": 1}})
            connection.sendall(answer(200, done.encode()))


@pytest.fixture
def stands_still(moved: MovedClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandsStill]:
    """A server behind the default connection."""
    case = StandsStill(moved, over_at_s=150)
    with case.server:
        set_connection(monkeypatch, case.server.url)
        yield case


@pytest.mark.parametrize("way", WAYS)
def test_an_outage_counts_only_time_in_which_somebody_asked(
    stands_still: StandsStill, driver: Driver, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """An outage counts only time in which somebody asked: the old answer doesn't end a wait that goes well by now."""
    monkeypatch.setattr("tests.tasks.test_odd_answers.TOLERANCE_S", 60.0)

    verdict = wait(way, driver, poke_interval=5)

    assert (verdict.state, verdict.value) == ("success", {"a": 1})
    asked_s = stands_still.asked_s
    frozen = next(at_s for at_s in asked_s if at_s >= 38)
    assert 38 <= frozen <= 45
    assert 100 <= asked_s[asked_s.index(frozen) + 1] <= 105.1


@pytest.mark.parametrize("way", TASKS)
def test_a_stale_answer_at_the_deadline(
    stands_still: StandsStill, driver: Driver, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """An operation that ended in time isn't timed out because the process stood still over its deadline."""
    stands_still.over_at_s = 80
    arguments: dict[str, Any] = {"poke_interval": 5, "outage_tolerance": 600, "timeout": 90}
    if way in OPERATORS:
        verdict = driver.run(
            lambda: RunOperationOperator(task_id="t", path="things:run", **OPERATORS[way], **arguments)
        )
    else:
        verdict = driver.run(
            lambda: OperationSensor(task_id="t", operation_name="operations/x", **SENSORS[way], **arguments)
        )
    assert (verdict.state, verdict.value) == ("success", {"a": 1})
