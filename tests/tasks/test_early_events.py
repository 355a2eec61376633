"""An event that resumes a worker isn't sent before the scheduler has had time to note the first worker's end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.triggers import OperationTrigger
from airflow_provider_operations.triggers.operation import RESUMES_AFTER_S

if TYPE_CHECKING:
    from airflow.triggers.base import TriggerEvent

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


def start(lasts_s: float, **script: Any) -> str:
    with OperationsHook() as hook:
        return hook.start_operation("things:run", json={"operation": {"duration": lasts_s, **script}}).name


def event_of(operation_name: str, *, in_triggerer: bool = True, **arguments: Any) -> TriggerEvent:
    async def run() -> TriggerEvent:
        trigger = OperationTrigger(operation_name, **arguments)
        if in_triggerer:
            trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="t", run_id="run", map_index=-1)  # type: ignore[assignment]
        (event,) = [event async for event in trigger.run()]
        return event

    return asyncio.run(run())


@pytest.mark.parametrize("lasts_s", [0, 3], ids=["over already", "3 s"])
def test_an_early_event_is_held_back(emulator: Emulator, moved: MovedClock, lasts_s: float) -> None:
    """Airflow would fail the task that it resumes, as it takes its first worker's end for another's."""
    name, began = start(lasts_s), moved.now
    event = event_of(name)
    assert moved.now - began == pytest.approx(RESUMES_AFTER_S)
    assert Outcome.from_event(event.payload).kind is Kind.DONE


def test_so_is_one_of_a_failure(emulator: Emulator, moved: MovedClock) -> None:
    """Whatever comes to a worker resumes it."""
    name, began = start(1, error={"code": 9}), moved.now
    event_of(name)
    assert moved.now - began == pytest.approx(RESUMES_AFTER_S)


def test_a_time_out_is_not(emulator: Emulator, moved: MovedClock) -> None:
    """A kill meanwhile would find that the time is up, and believe that a worker has dealt with the operation."""
    began = moved.now
    event = event_of(start(900), deadline_epoch_s=moved.now + 2)
    assert Outcome.from_event(event.payload).kind is Kind.TIMED_OUT
    assert moved.now - began < RESUMES_AFTER_S


def test_half_of_the_time_is_left_to_the_worker(emulator: Emulator, moved: MovedClock) -> None:
    """Airflow 2.11 fails a task that resumes too late."""
    name, began = start(0), moved.now
    event_of(name, deadline_epoch_s=moved.now + 6)
    assert 2 < moved.now - began < 4


def test_a_later_one_is_not(emulator: Emulator, moved: MovedClock) -> None:
    """Of an operation that lasts longer, nothing is held back."""
    name, began = start(60), moved.now
    event_of(name)
    late_s = moved.now - began - 60
    assert moved.sleeps[-1] == 0
    assert 0 <= late_s < 15


def test_without_a_scheduler_nothing_is_held_back(emulator: Emulator, moved: MovedClock) -> None:
    """``dag.test`` runs triggers in its own process, and has nothing to wait for."""
    name, began = start(0), moved.now
    event_of(name, in_triggerer=False)
    assert moved.now - began < 1


def test_a_clock_that_is_set_back(
    emulator: Emulator, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the clock is set back meanwhile, an event isn't held back any longer."""
    name = start(0)

    def back() -> None:
        moved.on_sleep = None
        moved.now -= 3600

    moved.on_sleep = back
    event_of(name)
    assert max(moved.sleeps) <= RESUMES_AFTER_S


def test_a_poll_in_vain_after_the_deadline_is_repeated(emulator: Emulator, moved: MovedClock) -> None:
    """A triggerer that was down begins after the deadline: a success in time counts, though one answer is lost."""
    name = start(0)
    emulator.script_fault(kind="get", status=503, times=1)
    event = event_of(name, started_epoch_s=moved.now - 700, deadline_epoch_s=moved.now - 100)
    assert Outcome.from_event(event.payload).kind is Kind.DONE
