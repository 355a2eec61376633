"""A trigger's ``on_kill``: Airflow calls it for killed tasks, and for healthy ones too."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations import task_state
from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.triggers import OperationTrigger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator on the real clock, behind the default connection."""
    with Emulator() as emulator:
        url = f'{{"conn_type": "operations", "host": "{emulator.url}"}}'
        monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", url)
        yield emulator


class Airflow:
    """What Airflow's supervisor answers, one question after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow.providers.common.compat.sdk import XCom
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        self.state: str | None = "failed"
        self.own: str | None = None
        self.slow_s = 0.0
        self.errors = 0
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", self.states)
        monkeypatch.setattr(XCom, "get_one", self.xcom)

    def states(self, *, dag_id: str, map_index: int, task_ids: list[str], run_ids: list[str]) -> Any:
        assert (dag_id, map_index, task_ids, run_ids) == ("dag", -1, ["task"], ["run"])
        time.sleep(self.slow_s)
        if self.errors:
            self.errors -= 1
            raise ConnectionError("the API server is away")
        return {"run": {"task": self.state}} if self.state else {}

    def xcom(self, *, key: str, dag_id: str, map_index: int, task_id: str, run_id: str) -> str | None:
        assert (key, dag_id, map_index, task_id, run_id) == ("operation_name", "dag", -1, "task", "run")
        return self.own


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    """An Airflow in which the task was marked failed."""
    return Airflow(monkeypatch)


def trigger_for(**script: Any) -> OperationTrigger:
    with OperationsHook() as hook:
        body = {"operation": {"duration": 60, "cancelDelay": 0, **script}}
        operation = hook.start_operation("things:run", json=body)
    trigger = OperationTrigger(operation.name, cancel_on_kill=True)
    trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=-1)  # type: ignore[assignment]
    return trigger


def cancels(emulator: Emulator) -> int:
    return sum(entry["kind"] == "cancel" for entry in emulator.journal())


@pytest.mark.parametrize(
    ("state", "own", "expected"),
    [
        pytest.param("failed", "this", 1, id="marked failed"),
        pytest.param("success", "this", 1, id="marked success"),
        pytest.param("skipped", "this", 1, id="run timed out"),
        pytest.param(None, "this", 1, id="run deleted"),
        pytest.param("scheduled", None, 1, id="cleared"),
        pytest.param("deferred", "operations/another", 1, id="cleared and deferred again"),
        pytest.param("deferred", None, 1, id="cleared, XCom gone"),
        pytest.param("deferred", "this", 0, id="failover: nobody touched it"),
    ],
)
async def test_who_acted(
    emulator: Emulator, airflow: Airflow, state: str | None, own: str | None, expected: int
) -> None:
    """Only a task that is deferred for this very operation was touched by nobody."""
    trigger = trigger_for()
    airflow.state = state
    airflow.own = trigger.operation_name if own == "this" else own

    await trigger.on_kill()

    assert cancels(emulator) == expected


async def test_only_if_asked(emulator: Emulator, airflow: Airflow) -> None:
    """Without ``cancel_on_kill`` nothing is asked and nothing cancelled."""
    trigger = trigger_for()
    trigger.cancel_on_kill = False
    await trigger.on_kill()
    assert cancels(emulator) == 0


async def test_cancelled_again_and_again(emulator: Emulator, airflow: Airflow) -> None:
    """Airflow repeats the cancellation of ``on_kill``; the cancel is sent all the same, once."""
    airflow.slow_s = 1.0
    trigger = trigger_for()
    kill = asyncio.create_task(trigger.on_kill())
    for _ in range(6):
        await asyncio.sleep(0.2)
        kill.cancel()
    await kill
    assert cancels(emulator) == 1


async def test_slow_airflow(emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work goes on when ``on_kill`` has to end: many triggers may ask at once."""
    monkeypatch.setattr("airflow_provider_operations.triggers.KILL_LIMIT_S", 0.1)
    airflow.slow_s = 1.0
    await trigger_for().on_kill()
    assert cancels(emulator) == 0

    for _ in range(200):
        if cancels(emulator):
            break
        await asyncio.sleep(0.1)
    assert cancels(emulator) == 1


async def test_asked_again(emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of Airflow's is no answer: it is asked again."""
    monkeypatch.setattr(task_state, "PAUSE_AFTER_ERROR_S", 0.05)
    airflow.errors = 2
    await trigger_for().on_kill()
    assert cancels(emulator) == 1


async def test_never_an_answer(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an answer nothing is cancelled, and the log says loudly what may still run."""
    monkeypatch.setattr(task_state, "PAUSE_AFTER_ERROR_S", 0.001)
    airflow.errors = 1000
    trigger = trigger_for()
    # Airflow's own loggers don't propagate to where pytest listens.
    monkeypatch.setattr(OperationTrigger, "log", logging.getLogger("trigger"), raising=False)
    await trigger.on_kill()
    assert cancels(emulator) == 0
    assert f"{trigger.operation_name}: NOT cancelled, and it may still run" in caplog.text


@pytest.mark.parametrize("status", [400, 404, 409, 500, 501])
async def test_a_refused_cancel_harms_nobody(emulator: Emulator, airflow: Airflow, status: int) -> None:
    """``on_kill`` never raises, whatever the server answers."""
    trigger = trigger_for()
    emulator.script_fault(kind="cancel", status=status, body="<html>no</html>")
    await trigger.on_kill()
    assert cancels(emulator) >= 1


async def test_the_loop_goes_on(emulator: Emulator, airflow: Airflow) -> None:
    """While Airflow takes its time to answer, the event loop serves others."""
    airflow.slow_s = 1.0
    trigger = trigger_for()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await trigger.on_kill()
    ticking.cancel()
    assert ticks > 20
