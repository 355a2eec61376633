"""``defer_after``: a short operation ends where it starts, and a long one is deferred all the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_operations.exceptions import OperationCancelled, OperationTimeout
from airflow_provider_operations.operators import RunOperationOperator
from tests.support.tasks import Driver, StateStore, TaskInstance, Verdict, context_of

from .test_operators import killed_while, kinds

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


def operator(lasts_s: float, **arguments: Any) -> RunOperationOperator:
    script = {"duration": lasts_s, "response": {"a": 1}}
    return RunOperationOperator(
        **{
            "task_id": "run",
            "path": "things:run",
            "json": {"operation": script},
            "deferrable": True,
            "defer_after": 5,
            **arguments,
        }
    )


def run(driver: Driver, lasts_s: float, **arguments: Any) -> Verdict:
    return driver.run(lambda: operator(lasts_s, **arguments))


def until_deferred(task: RunOperationOperator, **of_instance: Any) -> None:
    store = of_instance.pop("store", None)
    with pytest.raises(TaskDeferred):
        task.execute(context_of(TaskInstance("run", **of_instance), store))


def polls(emulator: Emulator) -> int:
    return len(emulator.journal("get"))


@pytest.mark.parametrize("lasts_s", [0, 0.4, 3, 4.9])
def test_a_short_one_is_not_deferred(emulator: Emulator, driver: Driver, lasts_s: float) -> None:
    """An operation that is over in time is delivered by the worker that has started it."""
    verdict = run(driver, lasts_s)
    assert (verdict.state, verdict.value, verdict.deferrals) == ("success", {"a": 1}, 0)
    assert set(verdict.xcoms) == {"operation_name", "operation"}


def test_a_long_one_is_deferred_in_time(emulator: Emulator, moved: MovedClock, driver: Driver) -> None:
    """A longer one is polled at the usual pace, once more when the time is up, and then deferred."""
    began = moved.now
    until_deferred(operator(60))
    assert moved.now - began == pytest.approx(5, abs=0.1)
    assert 4 <= polls(emulator) <= 8
    verdict = run(driver, 60)
    assert (verdict.value, verdict.deferrals) == ({"a": 1}, 1)


def test_what_the_worker_has_found_is_waited_for_through_odd_answers(
    emulator: Emulator, moved: MovedClock, driver: Driver
) -> None:
    """A proxy that answers 403 from the deferral on is borne as an outage, as in the worker."""
    emulator.script_fault(kind="get", status=403, after=4, times=20)
    began = moved.now
    verdict = run(driver, 300, poke_interval=10)
    assert (verdict.state, verdict.deferrals) == ("success", 1)
    assert kinds(emulator) == ["start"]
    assert len([one for one in emulator.journal("get") if one["status"] == 403]) == 20
    assert moved.now - began >= 300


def test_by_default_it_is_deferred_at_once(emulator: Emulator, moved: MovedClock) -> None:
    """Without the argument nothing waits in a worker."""
    began = moved.now
    until_deferred(operator(3, defer_after=0))
    assert moved.now == began
    assert polls(emulator) == 0


def test_what_runs_already_is_not_waited_for_anew(emulator: Emulator, moved: MovedClock) -> None:
    """The time counts from the start of the operation: a retry that takes over an old one defers at once."""
    store = StateStore()
    until_deferred(operator(600), store=store)
    moved.sleep(60)
    before = moved.now
    until_deferred(operator(600), store=store, try_number=2)
    assert moved.now == before
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("defer_after", [0, 5])
def test_clocks_that_differ(emulator: Emulator, moved: MovedClock, defer_after: float) -> None:
    """A start that another machine's clock puts into the future makes no worker wait for longer than asked."""
    store = StateStore()
    until_deferred(operator(600, defer_after=0), store=store)
    moved.now -= 300
    before = moved.now
    until_deferred(operator(600, defer_after=defer_after), store=store, try_number=2)
    assert moved.now - before == pytest.approx(defer_after, abs=0.1)


def test_a_service_that_asks_for_patience(emulator: Emulator, moved: MovedClock) -> None:
    """What a service asks for isn't cut short by the end of the time; the trigger waits instead."""
    emulator.script_fault(kind="get", status=503, headers={"Retry-After": "40"})
    until_deferred(operator(60))
    assert polls(emulator) == 1


def test_the_deadline_counts_in_the_worker(emulator: Emulator, driver: Driver) -> None:
    """A time-out that comes first ends the wait in the worker, and the operation is cancelled."""
    verdict = run(driver, 600, timeout=3)
    assert (type(verdict.error), verdict.deferrals) == (OperationTimeout, 0)
    assert kinds(emulator) == ["start", "cancel"]


def test_without_deferral_it_has_no_effect(emulator: Emulator, driver: Driver) -> None:
    """A task that isn't deferrable waits in its worker as ever."""
    verdict = run(driver, 60, deferrable=False)
    assert (verdict.value, verdict.deferrals) == ({"a": 1}, 0)


def test_a_time_that_is_none_is_refused() -> None:
    """It is checked when the DAG is parsed."""
    with pytest.raises(ValueError, match="'defer_after' is seconds"):
        operator(1, defer_after=-1)
    with pytest.raises(ValueError, match=r"'defer_after' ends; .* 'deferrable=False'"):
        operator(1, defer_after=math.inf)


def test_killed_while_it_waits_in_the_worker(real_emulator: Emulator) -> None:
    """A kill before the deferral is a worker's to see to: it cancels once."""
    task = operator(60, defer_after=60)
    error = killed_while(real_emulator, task, lambda: len(real_emulator.journal()) >= 2)
    assert type(error) is OperationCancelled
    assert kinds(real_emulator) == ["start", "cancel"]
