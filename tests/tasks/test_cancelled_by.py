"""A task whose operation somebody has cancelled says by whom, or where that is written."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_operations.exceptions import OperationCancelled, OperationCancelledFinal
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock
    from tests.support.tasks import Driver

NAME = "operations/o"
WORD = {"name": NAME, "by": "ann", "at": "2026-11-29T12:00:00Z"}
KEY = "operation_cancelled_by"
TOLD = "cancelled through the tab by ann at 2026-11-29T12:00:00Z; Airflow's audit log has it (event cancel_operation)"
NOT_KNOWN = (
    "by whom isn't known here: Airflow's audit log has who cancelled through a tab (event cancel_operation), "
    "the service's own may have who did elsewhere"
)


@pytest.fixture
def cancelled(emulator: Emulator) -> Emulator:
    """An emulator with an operation that somebody has cancelled."""
    script = {"operation": {"name": NAME, "duration": 60, "cancelDelay": 0}}
    httpx.post(f"{emulator.url}/v1/things:run", json=script, trust_env=False)
    with OperationsHook() as hook:
        hook.cancel_operation(NAME)
    return emulator


@pytest.mark.parametrize("arguments", [{}, {"deferrable": True}, {"mode": "reschedule"}])
@pytest.mark.parametrize(
    ("pushed", "said"),
    [
        pytest.param(WORD, TOLD, id="through the tab"),
        pytest.param([{**WORD, "name": "operations/other"}, WORD], TOLD, id="mapped"),
        pytest.param({**WORD, "name": "operations/other"}, NOT_KNOWN, id="another operation"),
        pytest.param("nonsense", NOT_KNOWN, id="somebody's own XCom"),
        pytest.param(None, NOT_KNOWN, id="elsewhere"),
    ],
)
def test_a_sensors_error_says_who_cancelled(
    cancelled: Emulator, driver: Driver, arguments: dict[str, Any], pushed: Any, said: str
) -> None:
    """In every mode, below the operation's name and above what the service said."""
    verdict = driver.run(
        lambda: OperationSensor(task_id="t", operation_name=NAME, **arguments),
        pushed={} if pushed is None else {KEY: pushed},
    )
    assert isinstance(verdict.error, OperationCancelledFinal)
    assert str(verdict.error).splitlines()[1:3] == [f"  operation: {NAME}", f"  {said}"]
    assert verdict.error.note == said
    assert str(pickle.loads(pickle.dumps(verdict.error))) == str(verdict.error)


@pytest.mark.parametrize("arguments", [{}, {"deferrable": True}, {"retry_on": ["CANCELLED"]}])
def test_an_operators_error_says_who_cancelled(
    emulator: Emulator, driver: Driver, moved: MovedClock, arguments: dict[str, Any]
) -> None:
    """Final or not, in a worker or deferred."""

    def cancel() -> None:
        moved.on_sleep = None
        with OperationsHook() as hook:
            hook.cancel_operation(NAME)

    moved.on_sleep = cancel
    script = {"operation": {"name": NAME, "duration": 60, "cancelDelay": 0}}
    verdict = driver.run(
        lambda: RunOperationOperator(task_id="t", path="things:run", json=script, **arguments),
        pushed={KEY: WORD},
    )
    assert isinstance(verdict.error, OperationCancelled)
    assert verdict.error.final is ("retry_on" not in arguments)
    assert verdict.error.note == TOLD


def test_airflow_that_does_not_say(cancelled: Emulator, driver: Driver) -> None:
    """An XCom that can't be pulled changes no verdict."""
    verdict = driver.run(lambda: OperationSensor(task_id="t", operation_name=NAME), refused=[KEY])
    assert isinstance(verdict.error, OperationCancelledFinal)
    assert verdict.error.note == NOT_KNOWN


def test_what_somebody_wrote_makes_no_lines(cancelled: Emulator, driver: Driver) -> None:
    """Whoever may edit XComs can't forge lines of a log, nor make them endless."""
    word = {**WORD, "by": "ann\nERROR \x1b[31m" + "x" * 10_000}
    verdict = driver.run(lambda: OperationSensor(task_id="t", operation_name=NAME), pushed={KEY: word})
    assert isinstance(verdict.error, OperationCancelledFinal)
    assert verdict.error.note is not None
    assert verdict.error.note.startswith("cancelled through the tab by ann ERROR \\x1b[31mxxx")
    assert len(verdict.error.note) < 500


def test_a_task_that_cancels_by_itself(cancelled: Emulator, driver: Driver) -> None:
    """It was asked to, so it says nothing of others."""
    verdict = driver.run(lambda: CancelOperationOperator(task_id="t", operation_name=NAME))
    assert verdict.value == {"name": NAME, "ended": "cancelled"}
