"""What Airflow's serializer, its channels or its database can't take changes no task's verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.exceptions import OperationFailedFinal
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.tasks import taken_by_airflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.tasks import Driver

NAME = "operations/x"

AWKWARD: dict[str, tuple[Any, Any]] = {
    "more than 64 bits": (2**64, str(2**64)),
    "less than 64 bits": (-(2**63) - 1, str(-(2**63) - 1)),
    "NUL": ("a\0b", "a\\x00b"),
    "half a character": ("a\ud800b", "a\\ud800b"),
    "keys": ({"\0": 1, "\udfff": 2}, {"\\x00": 1, "\\udfff": 2}),
}
"""What a server sends, and what is stored."""

TASKS: dict[str, Callable[[], Any]] = {
    "operator": lambda: RunOperationOperator(task_id="t", path="things:run", deferrable=False),
    "operator, deferrable": lambda: RunOperationOperator(task_id="t", path="things:run", deferrable=True),
    "sensor": lambda: OperationSensor(task_id="t", operation_name=NAME),
    "sensor, reschedule": lambda: OperationSensor(task_id="t", operation_name=NAME, mode="reschedule"),
    "sensor, deferrable": lambda: OperationSensor(task_id="t", operation_name=NAME, deferrable=True),
    "cancel": lambda: CancelOperationOperator(task_id="t", operation_name=NAME, deferrable=False),
    "cancel, deferrable": lambda: CancelOperationOperator(task_id="t", operation_name=NAME, deferrable=True),
}


def ends(emulator: Emulator, **end: Any) -> None:
    """Let the server answer that the operation runs, and from the second look on how it ended."""
    for kind, after, body in (
        ("start", 0, {"name": NAME}),
        ("cancel", 0, {}),
        ("get", 2, {"name": NAME, "done": True, **end}),
        ("get", 0, {"name": NAME}),
    ):
        emulator.script_fault(kind=kind, status=200, body=json.dumps(body), after=after)


@pytest.mark.parametrize("value", AWKWARD)
@pytest.mark.parametrize("task", TASKS)
def test_a_success_shows_what_was_changed(emulator: Emulator, driver: Driver, task: str, value: str) -> None:
    """A success stays one, and what had to be changed shows it."""
    sent, stored = AWKWARD[value]
    ends(emulator, metadata={"a": [sent]}, response={"a": [sent]})
    verdict = driver.run(TASKS[task])
    assert (verdict.state, verdict.error) == ("success", None)
    assert taken_by_airflow(verdict.value) == verdict.value
    assert verdict.xcoms["operation"]["metadata"] == {"a": [stored]}
    if not task.startswith("cancel"):
        assert verdict.value == {"a": [stored]}


@pytest.mark.parametrize("value", AWKWARD)
@pytest.mark.parametrize("task", [task for task in TASKS if not task.startswith("cancel")])
def test_a_failure_keeps_its_error_whole(emulator: Emulator, driver: Driver, task: str, value: str) -> None:
    """A failure keeps its error, whole in the exception."""
    sent, stored = AWKWARD[value]
    ends(emulator, error={"code": 9, "message": "the disk is full", "details": [{"a": sent}], "b": sent})
    verdict = driver.run(TASKS[task])
    assert isinstance(verdict.error, OperationFailedFinal)
    assert verdict.error.status.details == [{"a": sent}]
    assert verdict.xcoms["operation"]["error"]["details"] == [{"a": stored}]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("end", ["success", "failure"])
def test_what_cannot_be_pushed(emulator: Emulator, driver: Driver, task: str, end: str) -> None:
    """An XCom that can't be pushed turns no success and hides no error."""
    failure = {"error": {"code": 9, "message": "the disk is full"}}
    ends(emulator, **(failure if end == "failure" else {"response": {"a": 1}}))
    verdict = driver.run(TASKS[task], refused=["operation", "_link_OperationLink"])
    if task.startswith("cancel"):
        ended = "failed with FAILED_PRECONDITION (9)" if end == "failure" else "succeeded"
        assert verdict.value == {"name": NAME, "ended": ended}
    elif end == "success":
        assert (verdict.state, verdict.value) == ("success", {"a": 1})
    else:
        assert isinstance(verdict.error, OperationFailedFinal)
        assert verdict.error.status.message == "the disk is full"
