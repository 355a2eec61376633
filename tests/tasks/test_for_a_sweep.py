"""What tasks leave to a sweep in their state: the service, and whether nobody's operation may be cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY, State
from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.raw_requests import start
from tests.support.tasks import Driver, StateStore

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator

NAME = "operations/o"
SERVICE = {
    "operations_conn_id": "operations_default",
    "base_url": None,
    "path_prefix": "v1",
    "cancel_suffix": None,
    "cancel_method": None,
    "error_format": None,
    "wait_timeout_in": None,
    "scopes": None,
}
FLAGS = [(True, True, True), (True, False, False), (False, True, False), (False, False, False)]


def operator(**arguments: Any) -> RunOperationOperator:
    body = {"operation": {"duration": 30}}
    return RunOperationOperator(task_id="run", path="things:run", json=body, path_prefix="v1", **arguments)


@pytest.mark.parametrize(("on_kill", "on_timeout", "may"), FLAGS)
@pytest.mark.parametrize("deferrable", [True, False])
def test_operator(
    emulator: Emulator, driver: Driver, on_kill: bool, on_timeout: bool, may: bool, deferrable: bool
) -> None:
    """A sweep can't tell a mark from giving up, so the task has to cancel on both."""
    store = StateStore()
    verdict = driver.run(
        lambda: operator(cancel_on_kill=on_kill, cancel_on_timeout=on_timeout, deferrable=deferrable),
        store=store,
    )
    assert verdict.state == "success"
    record = store[RECORD_KEY]
    assert (record["cancel_if_orphaned"], record["service"]) == (may, SERVICE)
    assert SENSOR_RECORD_KEY not in store


def test_who_takes_over_says_it_anew(emulator: Emulator, driver: Driver) -> None:
    """A record of an older version, or of another version of the DAG, says what the task that goes on with it says."""
    store = StateStore()
    driver.run(operator, store=store)
    old = store[RECORD_KEY] | {"state": State.STARTED.value}
    del old["cancel_if_orphaned"], old["service"]
    store[RECORD_KEY] = old
    driver.run(operator, store=store, try_number=2)
    assert (store[RECORD_KEY]["cancel_if_orphaned"], store[RECORD_KEY]["service"]) == (True, SERVICE)
    assert len(emulator.journal("start")) == 1


@pytest.mark.parametrize(("on_kill", "on_timeout", "may"), FLAGS)
@pytest.mark.parametrize(
    "how",
    [{"deferrable": True}, {"mode": "poke"}, {"mode": "reschedule"}],
    ids=["deferrable", "poke", "reschedule"],
)
def test_sensor(
    emulator: Emulator, driver: Driver, on_kill: bool, on_timeout: bool, may: bool, how: dict[str, Any]
) -> None:
    """A sensor that cancels on both leaves a record of what it waits for, under a key that no operator reads."""
    start(emulator.url, name=NAME, duration=300)
    store = StateStore()
    verdict = driver.run(
        lambda: OperationSensor(
            task_id="wait",
            operation_name=NAME,
            path_prefix="v1",
            cancel_on_kill=on_kill,
            cancel_on_timeout=on_timeout,
            **how,
        ),
        store=store,
    )
    assert verdict.state == "success"
    assert RECORD_KEY not in store
    assert (SENSOR_RECORD_KEY in store) is may
    if may:
        record = store[SENSOR_RECORD_KEY]
        assert (record["name"], record["state"], record["service"]) == (NAME, "started", SERVICE)
        assert record["cancel_if_orphaned"] is True


def test_a_sensor_whose_operation_is_done_leaves_nothing(emulator: Emulator, driver: Driver) -> None:
    """There is nothing to cancel."""
    start(emulator.url, name=NAME, duration=0)
    store = StateStore()
    driver.run(
        lambda: OperationSensor(
            task_id="wait", operation_name=NAME, cancel_on_kill=True, cancel_on_timeout=True
        ),
        store=store,
    )
    assert store == {}


def test_a_sensor_waits_without_the_store(emulator: Emulator, driver: Driver) -> None:
    """The record is worth no failure."""

    class Away(StateStore):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            raise ConnectionError("the API server is away")

    start(emulator.url, name=NAME, duration=30)
    verdict = driver.run(
        lambda: OperationSensor(
            task_id="wait", operation_name=NAME, cancel_on_kill=True, cancel_on_timeout=True
        ),
        store=Away(),
    )
    assert verdict.state == "success"


@pytest.mark.parametrize(
    ("try_number", "more", "may"),
    [(1, {}, True), (4, {}, False), (1, {"never_fail": True}, False)],
    ids=["a retry is left", "the last try", "never fails"],
)
@pytest.mark.parametrize(
    "how",
    [{"deferrable": True}, {"mode": "poke"}, {"mode": "reschedule"}],
    ids=["deferrable", "poke", "reschedule"],
)
def test_a_sensor_that_gives_up(
    emulator: Emulator, driver: Driver, try_number: int, more: dict[str, Any], may: bool, how: dict[str, Any]
) -> None:
    """What it leaves running on purpose, as the service doesn't answer, is no orphan; a retry waits on for it."""
    start(emulator.url, name=NAME, duration=30_000)
    emulator.script_fault(kind="get", status=503, after=3)
    store = StateStore()
    driver.run(
        lambda: OperationSensor(
            task_id="wait",
            operation_name=NAME,
            outage_tolerance=20,
            cancel_on_kill=True,
            cancel_on_timeout=True,
            **how,
            **more,
        ),
        store=store,
        try_number=try_number,
    )
    assert store[SENSOR_RECORD_KEY]["cancel_if_orphaned"] is may
    assert emulator.journal("cancel") == []
