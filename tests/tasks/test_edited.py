"""Whoever may edit XComs of a task, but neither DAGs nor connections, makes no worker cancel what isn't the task's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_operations._airflow.compat import TaskDeferralError
from airflow_provider_operations._lifecycle.record import RECORD_KEY
from airflow_provider_operations._protocol.request import InvalidName
from airflow_provider_operations.exceptions import OperationEventError, OperationTimeout
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.tasks import StateStore, TaskInstance, context_of
from tests.versions import AIRFLOW, TRIGGER_TIMEOUT

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator

ENDS = {"time-out": TRIGGER_TIMEOUT, "crash": "Trigger failure"}
"""How a trigger ends without an event."""

keeps_records = pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 or later: tasks have a state store")


def start(duration: int = 5000) -> str:
    with OperationsHook() as hook:
        return hook.start_operation("things:run", json={"operation": {"duration": duration}}).name


def cancelled(emulator: Emulator) -> list[str]:
    return [
        entry["path"].removeprefix("/v1/").removesuffix(":cancel") for entry in emulator.journal("cancel")
    ]


def operator(**arguments: Any) -> RunOperationOperator:
    return RunOperationOperator(
        task_id="t",
        path="things:run",
        json={"operation": {"duration": 5000}},
        deferrable=True,
        timeout=60,
        **arguments,
    )


def sensor(name: Any) -> OperationSensor:
    return OperationSensor(
        task_id="t", operation_name=name, deferrable=True, timeout=60, cancel_on_timeout=True
    )


def defer(task: Any, context: Any) -> None:
    with pytest.raises(TaskDeferred):
        task.execute(context)


@keeps_records
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("edited", ["edited", "gone", "not text"])
def test_the_record_says_which(emulator: Emulator, end: str, edited: str) -> None:
    """When the trigger is lost in the last try, the operation that is cancelled is the record's."""
    ti, store = TaskInstance("t", try_number=4), StateStore()
    context = context_of(ti, store)
    defer(operator(), context)
    foreign = start()
    ti.xcoms["operation_name"] = {"edited": foreign, "gone": None, "not text": {"a": [foreign]}}[edited]

    with pytest.raises((OperationTimeout, TaskDeferralError)):
        operator().resume_execution("__fail__", {"error": ENDS[end]}, context)

    assert cancelled(emulator) == [store[RECORD_KEY]["name"]]


@keeps_records
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("spoiled", [5, {"version": 1}, {"version": 1, "name": 5}], ids=["5", "empty", "odd"])
def test_no_xcom_in_place_of_a_spoiled_record(emulator: Emulator, end: str, spoiled: Any) -> None:
    """A record that can't be read isn't none: nothing is cancelled, neither by it nor by the XCom."""
    ti, store = TaskInstance("t", try_number=4), StateStore()
    context = context_of(ti, store)
    defer(operator(), context)
    ti.xcoms["operation_name"] = start()
    store[RECORD_KEY] = spoiled

    with pytest.raises((ValueError, TaskDeferralError)) as failed:
        operator().resume_execution("__fail__", {"error": ENDS[end]}, context)

    assert end == "crash" or "can't be read" in str(failed.value)
    assert cancelled(emulator) == []


@pytest.mark.parametrize("end", ENDS)
def test_without_records_the_xcom_says_which(emulator: Emulator, end: str) -> None:
    """Where nothing else is kept, what the task has pushed is all that there is."""
    ti = TaskInstance("t")
    context = context_of(ti, StateStore())
    defer(operator(durable=False), context)
    own = ti.xcoms["operation_name"]

    with pytest.raises((OperationTimeout, TaskDeferralError)):
        operator(durable=False).resume_execution("__fail__", {"error": ENDS[end]}, context)

    assert cancelled(emulator) == [own]


def test_the_argument_says_which(emulator: Emulator) -> None:
    """A sensor cancels the operation of its argument, and where an XCom names another, none."""
    own, foreign = start(), start()
    ti = TaskInstance("t")
    context = context_of(ti)
    defer(sensor(own), context)
    ti.xcoms["operation_name"] = foreign
    with pytest.raises(OperationEventError, match="which operation it waited for is lost"):
        sensor(own).resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)
    assert cancelled(emulator) == []

    del ti.xcoms["operation_name"]
    with pytest.raises(OperationTimeout):
        sensor(own).resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)
    assert cancelled(emulator) == [own]


def test_an_argument_that_is_another_now(emulator: Emulator) -> None:
    """Upstream has started another one meanwhile: that one's time isn't up, and it goes on."""
    old, new = start(), start()
    ti = TaskInstance("t")
    context = context_of(ti)
    defer(sensor(old), context)

    with pytest.raises(OperationEventError):
        sensor(new).resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)
    with pytest.raises(InvalidName):
        sensor(None).resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)

    assert cancelled(emulator) == []


def test_the_cancel_operator_asks_about_its_argument(emulator: Emulator) -> None:
    """It asks about the operation of its argument."""
    emulator.script_fault(kind="cancel", status=200, body={})
    own, foreign = start(), start()
    ti = TaskInstance("t")
    context = context_of(ti)

    def task() -> CancelOperationOperator:
        return CancelOperationOperator(task_id="t", operation_name=own, deferrable=True)

    defer(task(), context)
    asked = len(emulator.journal("get"))
    ti.xcoms["operation_name"] = foreign
    with pytest.raises(OperationEventError):
        task().resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)
    ti.xcoms["operation_name"] = own
    with pytest.raises(OperationTimeout):
        task().resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)
    assert [entry["path"] for entry in emulator.journal("get")[asked:]] == [f"/v1/{own}"]


@keeps_records
@pytest.mark.parametrize(
    "since",
    ["yesterday", True, [], {}, float("nan"), float("inf"), 10**400, -1],
    ids=["text", "true", "list", "object", "NaN", "infinite", "huge", "before"],
)
def test_an_outage_that_somebody_wrote(emulator: Emulator, driver: Any, since: Any) -> None:
    """Since when a server is away is kept for a rescheduled sensor; what can't be that is nothing."""
    store = StateStore({"airflow_provider_operations_outage": since})
    name = start(duration=30)
    verdict = driver.run(
        lambda: OperationSensor(task_id="t", operation_name=name, mode="reschedule", poke_interval=20),
        store=store,
    )
    assert (verdict.state, verdict.reschedules > 0) == ("success", True), verdict.error
