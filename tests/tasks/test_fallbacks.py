"""What the provider does where Airflow lacks something; each test runs on the versions that lack it."""

from __future__ import annotations

import asyncio
import warnings
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_operations._airflow import compat as version_compat
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._tasks import base as waiting
from airflow_provider_operations.exceptions import OperationTimeout
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.provider_info import get_provider_info
from airflow_provider_operations.retry_policies import OperationRetryPolicy
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationsEventTrigger
from airflow_provider_operations.triggers import _kill as trigger_kill
from airflow_provider_operations.triggers import event as watchers
from airflow_provider_operations.triggers import operation as triggers
from airflow_provider_operations.triggers._ownership import Fate
from tests.support.raw_requests import start as raw_start
from tests.support.tasks import Driver, TaskInstance
from tests.versions import TRIGGER_TIMEOUT

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


def start(**script: Any) -> str:
    with OperationsHook() as hook:
        return hook.start_operation("things:run", json={"operation": script}).name


def kinds(emulator: Emulator) -> list[str]:
    return [entry["kind"] for entry in emulator.journal() if entry["kind"] != "get"]


@pytest.mark.parametrize(
    ("version", "read"),
    [("2.11.0", (2, 11)), ("3.0.6", (3, 0)), ("3.3.2rc1", (3, 3)), ("4.0.0.dev0", (4, 0))],
)
def test_versions_are_read(version: str, read: tuple[int, int]) -> None:
    """Only major and minor count; a release candidate of 3.3 is a 3.3."""
    assert version_compat.minor_version(version) == read


def test_a_retry_policy_is_ignored_with_one_warning() -> None:
    """One warning, no unknown argument."""
    waiting._warn_of_policy.cache_clear()
    policy = OperationRetryPolicy()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        RunOperationOperator(task_id="run", path="p", retry_policy=policy)
        OperationSensor(task_id="sensor", operation_name="operations/o", retry_policy=policy)
        CancelOperationOperator(task_id="cancel", operation_name="operations/o", retry_policy=policy)

    assert [str(warning.message) for warning in warned if warning.category is UserWarning] == [
        "'retry_policy' needs Airflow 3.3 or later and has no effect: tasks are retried as without it"
    ]
    waiting._warn_of_policy.cache_clear()


def test_end_from_trigger_has_no_effect(emulator: Emulator, moved: MovedClock, driver: Driver) -> None:
    """It is ignored with a warning, and a worker delivers."""
    name = start(duration=10, response={"answer": 42})

    def make() -> OperationSensor:
        with pytest.warns(UserWarning, match="'end_from_trigger' needs Airflow 3.3 or later"):
            return OperationSensor(task_id="t", operation_name=name, deferrable=True, end_from_trigger=True)

    assert make().end_from_trigger is False
    verdict = driver.run(make)
    assert (verdict.state, verdict.value, verdict.deferrals) == ("success", {"answer": 42}, 1)


def test_without_a_state_store_each_try_starts_its_own(emulator: Emulator, driver: Driver) -> None:
    """Without a state store a try starts an operation of its own, and cancels it when it gives up."""

    def make() -> RunOperationOperator:
        return RunOperationOperator(
            task_id="t", path="things:run", json={"operation": {"duration": 3600}}, timeout=30
        )

    verdicts = [driver.run(make, try_number=number) for number in (1, 2)]

    assert [type(verdict.error) for verdict in verdicts] == [OperationTimeout, OperationTimeout]
    assert kinds(emulator) == ["start", "cancel", "start", "cancel"]


@pytest.mark.parametrize("deferrable_of", ["operator", "sensor"])
def test_a_trigger_timeout_cancels(emulator: Emulator, driver: Driver, deferrable_of: str) -> None:
    """Where Airflow says that the trigger's time was up, as it does when no triggerer runs, nothing is left running."""
    body = {"operation": {"duration": 3600}}
    name = start(duration=3600) if deferrable_of == "sensor" else ""
    make: dict[str, Any] = {
        "operator": lambda: RunOperationOperator(
            task_id="t", path="things:run", json=body, timeout=30, deferrable=True
        ),
        "sensor": lambda: OperationSensor(
            task_id="t", operation_name=name, timeout=30, deferrable=True, cancel_on_timeout=True
        ),
    }
    context: Any = {"ti": TaskInstance("t")}
    with pytest.raises(TaskDeferred):
        make[deferrable_of]().execute(context)

    with pytest.raises(Exception, match=r"not over|cancel") as failed:
        make[deferrable_of]().resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, context)

    assert isinstance(failed.value, OperationTimeout), repr(failed.value)
    assert kinds(emulator) == ["start", "cancel"]


@pytest.mark.parametrize(
    ("execution_timeout_s", "deadline_s"), [(20, 16), (100, 80), (300, 240), (3600, 3540)]
)
@pytest.mark.parametrize("kind", ["operator", "sensor"])
def test_a_worker_is_there_in_time(
    emulator: Emulator, moved: MovedClock, kind: str, execution_timeout_s: float, deadline_s: float
) -> None:
    """
    Before 3.0 ``execution_timeout`` counts from the first start, and fails a task before our code is resumed.

    So the trigger's deadline is earlier, and a worker cancels in time.
    """
    limits: dict[str, Any] = {"deferrable": True, "execution_timeout": timedelta(seconds=execution_timeout_s)}
    task: Any = (
        RunOperationOperator(task_id="t", path="things:run", json={"operation": {"duration": 3600}}, **limits)
        if kind == "operator"
        else OperationSensor(task_id="t", operation_name=start(duration=3600), **limits)
    )
    began = moved.now
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({"ti": TaskInstance("t")})
    assert deferred.value.trigger.deadline_epoch_s == pytest.approx(began + deadline_s, abs=2)


def test_a_worker_is_late(emulator: Emulator) -> None:
    """Before 3.0 a task that resumes too late fails before our code: it holds its operation before, for ``on_kill``."""
    task = RunOperationOperator(
        task_id="t", path="things:run", json={"operation": {"duration": 3600}}, deferrable=True
    )
    ti: Any = TaskInstance("t")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({"ti": ti})
    resumed = RunOperationOperator(
        task_id="t", path="things:run", json={"operation": {"duration": 3600}}, deferrable=True
    )
    ti.next_method, ti.next_kwargs = "execute_complete", deferred.value.kwargs

    resumed.pre_execute({"ti": ti})
    resumed.on_kill()

    assert kinds(emulator) == ["start", "cancel"]


@pytest.mark.parametrize(("acted", "cancels"), [(True, 1), (False, 0)])
async def test_a_kill_comes_as_a_cancellation(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, *, acted: bool, cancels: int
) -> None:
    """A trigger that is cancelled asks what became of its task, and cancels only if somebody acted upon it."""

    async def read_fate(task_instance: Any, name: str, owner: str, *, timed_out: bool) -> Fate:
        return Fate.OVER if acted else Fate.UNTOUCHED

    monkeypatch.setattr(trigger_kill, "read_fate", read_fate)
    monkeypatch.setattr(clock, "asleep", asyncio.sleep)
    name = await asyncio.to_thread(start, duration=3600, cancelDelay=0)
    trigger = triggers.OperationTrigger(name, cancel_on_kill=True)
    trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="t", run_id="run", map_index=-1)  # type: ignore[assignment]

    async def wait() -> None:
        async for _ in trigger.run():
            pass

    waiting_task = asyncio.create_task(wait())
    await asyncio.sleep(0.2)
    waiting_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting_task

    assert kinds(emulator).count("cancel") == cancels


def test_before_3_0_a_watcher_says_why_it_cannot_be_made() -> None:
    """Before 3.0 the trigger says why it can't be made."""
    with pytest.raises(RuntimeError, match=r"needs Airflow 3\.0 or later"):
        OperationsEventTrigger("p")


async def test_a_watcher_forgets(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.3 a watcher looks alone and keeps nothing: what ended before it was started is never told."""
    monkeypatch.setattr(watchers, "HELD_S", 0.0)
    monkeypatch.setattr(clock, "asleep", lambda _seconds: asyncio.sleep(0.05))
    parent = "projects/p/operations"

    async def first_told() -> str:
        async for event in OperationsEventTrigger("projects/p").run():
            return str(event.payload["name"])
        raise AssertionError("no event")

    told = []
    for number in (1, 2):
        await asyncio.to_thread(raw_start, emulator.url, name=f"{parent}/before-{number}", duration=0)
        looks = len(emulator.journal("list"))
        watching = asyncio.create_task(first_told())
        while len(emulator.journal("list")) < looks + 2:  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.05)
        await asyncio.to_thread(raw_start, emulator.url, name=f"{parent}/after-{number}", duration=0)
        told.append(await asyncio.wait_for(watching, 30))

    assert told == [f"{parent}/after-1", f"{parent}/after-2"]


def test_the_hook_tells_the_form_that_the_metadata_has() -> None:
    """Before 3.2 Airflow asks the hook for the form, and gets what the metadata has."""
    pytest.importorskip(
        "flask_appbuilder", reason="Airflow 3.0 and 3.1 need not have it, and show no fields then"
    )
    connection_type = get_provider_info()["connection-types"][0]

    widgets = OperationsHook.get_connection_form_widgets()
    behaviour = OperationsHook.get_ui_field_behaviour()

    assert list(widgets) == list(connection_type["conn-fields"])
    assert behaviour["relabeling"] == connection_type["ui-field-behaviour"]["relabeling"]
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
