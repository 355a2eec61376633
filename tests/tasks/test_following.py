"""Starts that are refused as another's operation creates the same: that one is waited for, and never cancelled."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred
from airflow.providers.common.compat.sdk import task as task_decorator

from airflow_provider_operations._airflow.compat import TaskDeferralError
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._tasks import following
from airflow_provider_operations.exceptions import (
    OperationFailed,
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationTimeout,
)
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks.worker import WorkerClient
from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.tasks import StateStore, TaskInstance, context_of

from .test_refused_starts import WAYS, body, refuse, starts

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from airflow_provider_operations.operation import Operation
    from tests.support.tasks import Driver

RECORD = "airflow_provider_operations"
RESOURCE = "projects/p/things/x"
INSTANCE = "projects/p/locations/l/instances/nfs"
CREATE = {
    "api_method": "file.projects.locations.instances.create",
    "parameters": {"parent": "projects/p/locations/l", "instanceId": "nfs"},
}

VALIDATED = "projects/p/locations/l/backups/b"
VALIDATES = {
    "api_method": "alloydb:v1.projects.locations.backups.create",
    "parameters": {"parent": "projects/p/locations/l", "backupId": "b", "validateOnly": True},
}


def foreign(emulator: Emulator, duration: float = 50, *, target: str = RESOURCE, **script: Any) -> str:
    """Let somebody else create something; return the operation's name."""
    metadata = {"target": target, **script.pop("metadata", {})}
    of = {"duration": duration, "metadata": metadata, **script}
    if "error" not in of:
        of.setdefault("response", {"by": "another"})
    started = OperationsHook("operations_default").start_operation(
        target.rpartition("/")[0], json={"operation": of}
    )
    emulator.clear_journal()
    return started.name


def exists(emulator: Emulator, times: int = 1) -> None:
    refuse(emulator, "ALREADY_EXISTS", 409, times=times)


def task(kind: Any = RunOperationOperator, **arguments: Any) -> RunOperationOperator:
    own = {"operation": {"duration": 5, "response": {"by": "us"}}}
    made: RunOperationOperator = kind(
        **{
            "task_id": "run",
            "path": "projects/p/things",
            "resource_name": RESOURCE,
            "json": own,
            "deferrable": False,
            "if_exists": "wait",
            "timeout": 1000,
            "retries": 3,
            **arguments,
        }
    )
    return made


def cancels(emulator: Emulator) -> list[dict[str, Any]]:
    return emulator.journal("cancel")


@WAYS
def test_it_is_waited_for(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """Its response is the task's, its name the XCom, and the record says that it's another's."""
    name = foreign(emulator)
    exists(emulator)
    store = StateStore()
    verdict = driver.run(partial(task, deferrable=deferrable), store=store)
    assert (verdict.state, verdict.value) == ("success", {"by": "another"})
    assert verdict.xcoms["operation_name"] == name
    assert verdict.deferrals == deferrable
    assert len(starts(emulator)) == 1
    assert {key: store[RECORD][key] for key in ("name", "foreign", "state")} == {
        "name": name,
        "foreign": True,
        "state": "delivered",
    }


def test_by_the_method(emulator: Emulator, driver: Driver) -> None:
    """Of a method of Google's, its parameters say what it creates, and the table where that is listed."""
    foreign(emulator, target=INSTANCE)
    exists(emulator)
    verdict = driver.run(partial(task, path=None, resource_name=None, json={"tier": "X"}, **CREATE))
    assert (verdict.state, verdict.value) == ("success", {"by": "another"})
    (listed,) = emulator.journal("list")
    assert listed["path"] == "/v1/projects/p/locations/l/operations"


@pytest.mark.parametrize("given", [True, False], ids=["argument", "returned"])
def test_by_the_function(emulator: Emulator, driver: Driver, *, given: bool) -> None:
    """The function of ``@task.operation`` may name it, as it knows what it asks for."""

    def make() -> Any:
        argument: dict[str, Any] = {"resource_name": RESOURCE} if given else {}
        with DAG("d", schedule=None) as dag:

            @task_decorator.operation(if_exists="wait", deferrable=False, **argument)
            def run() -> Any:
                return {"path": "projects/p/things", **({} if given else {"resource_name": RESOURCE})}

            run()
        return dag.get_task("run")

    foreign(emulator)
    exists(emulator)
    assert driver.run(make).value == {"by": "another"}


def test_what_a_function_leaves_out(emulator: Emulator, driver: Driver) -> None:
    """Without a name nothing is started, as nothing could be found."""

    def make() -> Any:
        with DAG("d", schedule=None) as dag:

            @task_decorator.operation(if_exists="wait", deferrable=False)
            def run() -> Any:
                return "projects/p/things", {}

            run()
        return dag.get_task("run")

    store = StateStore()
    assert "give 'resource_name'" in str(driver.run(make, store=store).error)
    assert not emulator.journal()
    assert not store


CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "none": ([], "of 0 operations that run under projects/p none has projects/p/things/x as its target"),
    "another's target": (
        [{"target": "projects/p/things/xy"}],
        "of 1 operations that run under projects/p none",
    ),
    "one that is over": ([{"duration": 0}], "of 0 operations that run"),
    "two": ([{}, {}], "2 operations run under projects/p that have projects/p/things/x as their target"),
    "one that deletes": ([{"metadata": {"verb": "delete"}}], "says that it does 'delete'"),
    "a method that deletes": (
        [{"metadata": {"verb": None, "method": "a.v1.Service.DeleteThing"}}],
        "says that it does 'DeleteThing'",
    ),
    "one that creates something in it": (
        [{"metadata": {"verb": None, "method": "a.v1.Service.CreateBackup"}}],
        "says that it does 'CreateBackup'",
    ),
    "one whose type begins alike": (
        [{"metadata": {"verb": None, "type": "CREATED_BY_A_SCHEDULE"}}],
        "says that it does 'CREATED_BY_A_SCHEDULE'",
    ),
    "one that doesn't say what it does": ([{"metadata": {"verb": None}}], "doesn't say what it does"),
}


@pytest.mark.parametrize(("others", "why"), CASES.values(), ids=CASES)
def test_nothing_is_followed(
    emulator: Emulator, driver: Driver, others: list[dict[str, Any]], why: str
) -> None:
    """Only the one that creates the very resource is: that something exists is no success, and the error says why."""
    for other in others:
        foreign(emulator, **other)
    driver.moved.sleep(1)
    exists(emulator)
    store = StateStore()
    verdict = driver.run(task, store=store)
    assert isinstance(verdict.error, OperationsCallErrorFinal)
    assert "HTTP 409, and nothing is waited for: " in str(verdict.error)
    assert why in str(verdict.error)
    assert "ALREADY_EXISTS (6): as you were told" in str(verdict.error)
    assert store[RECORD]["state"] == "rejected"
    assert not store[RECORD]["foreign"]
    assert not emulator.journal("get")


@pytest.mark.parametrize(
    "metadata",
    [
        {"verb": "Create"},
        {"verb": None, "method": "a.v1.Service.CreateThing"},
        {"operationType": "CREATE_THING"},
        {"operationType": "CREATE-THINGS"},
    ],
    ids=lambda said: str(list(said)),
)
def test_ways_to_say_what_it_does(emulator: Emulator, driver: Driver, metadata: dict[str, Any]) -> None:
    """Google's services have a verb, and a few a method's name or a type instead."""
    foreign(emulator, metadata=metadata)
    exists(emulator)
    assert driver.run(task).value == {"by": "another"}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"status": 404, "body": body("NOT_FOUND", 404)}, "can't be listed: HTTP 404, NOT_FOUND (5)"),
        (
            {"status": 501, "body": body("UNIMPLEMENTED", 501)},
            "can't be listed: HTTP 501, UNIMPLEMENTED (12)",
        ),
        ({"status": 403, "body": body("PERMISSION_DENIED", 403)}, "HTTP 403, PERMISSION_DENIED (7)"),
    ],
    ids=["no list", "not implemented", "not allowed"],
)
def test_a_service_that_lists_nothing(
    emulator: Emulator, driver: Driver, fault: dict[str, Any], why: str
) -> None:
    """There the refusal stands."""
    foreign(emulator)
    exists(emulator)
    emulator.script_fault(kind="list", headers={"Content-Type": "application/json"}, **fault)
    verdict = driver.run(task)
    assert isinstance(verdict.error, OperationsCallErrorFinal)
    assert why in str(verdict.error)


def test_a_filter_that_is_not_understood(emulator: Emulator, driver: Driver) -> None:
    """Then all are listed, and those that are over are left out here."""
    foreign(emulator, 0)
    foreign(emulator)
    driver.moved.sleep(1)
    exists(emulator)
    refused = body("INVALID_ARGUMENT", 400)
    headers = {"Content-Type": "application/json"}
    emulator.script_fault(kind="list", status=400, body=refused, headers=headers, times=1)
    assert driver.run(task).value == {"by": "another"}
    assert [entry["query"].get("filter") for entry in emulator.journal("list")] == ["done=false", None]


def test_a_list_of_many_pages(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read to its end; of one without an end isn't known whether there is exactly one."""
    monkeypatch.setattr(following, "PAGE_SIZE", 2)
    foreign(emulator)
    for number in range(6):
        foreign(emulator, 500, target=f"projects/p/things/{number}")
    exists(emulator, times=2)
    assert driver.run(task).value == {"by": "another"}
    assert len(emulator.journal("list")) == 4
    monkeypatch.setattr(following, "MAX_PAGES", 2)
    assert "more than 2 pages" in str(driver.run(task).error)


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 200, "body": "<html>"}, {"drop": True}], ids=["503", "page", "lost"]
)
def test_a_list_in_an_outage(emulator: Emulator, driver: Driver, fault: dict[str, Any]) -> None:
    """It is asked for again; what stays away may be there for the next try."""
    foreign(emulator, 100)
    exists(emulator, times=2)
    emulator.script_fault(kind="list", times=4, **fault)
    assert driver.run(task).value == {"by": "another"}
    emulator.script_fault(kind="list", status=503)
    error = driver.run(partial(task, outage_tolerance=20)).error
    assert isinstance(error, OperationsCallError)
    assert not isinstance(error, AirflowFailException)


def test_a_list_whose_last_page_leads_to_itself(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that was read before is the end of a list, as for the hooks; what it has is there once."""
    foreign(emulator)
    exists(emulator)
    real: Any = WorkerClient.list_page

    def list_page(*arguments: Any) -> Any:
        operations, _ = real(*arguments[:4], None, arguments[5])
        return operations, "again"

    monkeypatch.setattr(WorkerClient, "list_page", list_page)
    assert driver.run(task).value == {"by": "another"}
    assert len(emulator.journal("list")) == 2


def test_what_a_list_holds_beside(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of large operations aren't kept while the next ones are read."""
    monkeypatch.setattr(following, "PAGE_SIZE", 1)
    for number in range(5):
        foreign(emulator, 5000, target=f"projects/p/things/{number}")
    foreign(emulator)
    exists(emulator)
    real: Any = WorkerClient.list_page
    kept: list[weakref.ref[Operation]] = []
    most: list[int] = []

    def list_page(*arguments: Any) -> Any:
        most.append(sum(one() is not None for one in kept))
        operations, token = real(*arguments)
        kept.extend(map(weakref.ref, operations))
        return operations, token

    monkeypatch.setattr(WorkerClient, "list_page", list_page)
    assert driver.run(task).value == {"by": "another"}
    assert len(most) == 6
    assert max(most) <= 1


def test_a_list_that_takes_longer_than_the_task_may(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next pages aren't asked for; another try may find the operation."""
    monkeypatch.setattr(following, "PAGE_SIZE", 1)
    for number in range(6):
        foreign(emulator, 5000, target=f"projects/p/things/{number}")
    exists(emulator)
    real: Any = WorkerClient.list_page

    def list_page(*arguments: Any) -> Any:
        driver.moved.sleep(25)
        return real(*arguments)

    monkeypatch.setattr(WorkerClient, "list_page", list_page)
    error = driver.run(partial(task, timeout=60)).error
    assert "the task's time was up before all operations were listed under projects/p" in str(error)
    assert not isinstance(error, AirflowFailException)
    assert len(emulator.journal("list")) == 3


def test_an_outage_at_each_page(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together have the time that one outage may take, and no more than the task has left."""
    monkeypatch.setattr(following, "PAGE_SIZE", 1)
    for number in range(4):
        foreign(emulator, 5000, target=f"projects/p/things/{number}")
    exists(emulator)
    real: Any = WorkerClient.list_page

    def list_page(*arguments: Any) -> Any:  # each is there when its time is almost up
        driver.moved.sleep(max(arguments[-1].for_s - 1, 0))
        return real(*arguments)

    monkeypatch.setattr(WorkerClient, "list_page", list_page)
    began_s = clock.now()
    assert driver.run(partial(task, outage_tolerance=100)).state == "failed"
    assert len(emulator.journal("list")) == 4
    assert clock.now() - began_s <= 100


def test_the_code_counts(emulator: Emulator, driver: Driver) -> None:
    """HTTP 409 stands for ABORTED, too, and a proxy's page is nothing."""
    foreign(emulator)
    refuse(emulator, "ABORTED", 409)
    emulator.script_fault(kind="start", status=409, body="<html>conflict</html>", times=1)
    for _ in range(2):
        assert isinstance(driver.run(task).error, OperationsCallError)
    assert not emulator.journal("list")


def test_a_start_whose_answer_was_lost(emulator: Emulator, driver: Driver) -> None:
    """What then exists may be the task's own: it is found, and still not cancelled, as nobody knows."""
    own = {"operation": {"duration": 50, "metadata": {"target": RESOURCE}, "response": {}}}
    emulator.script_fault(kind="start", drop=True, effect=True, times=1)
    exists(emulator)
    store = StateStore()
    assert driver.run(partial(task, json=own), store=store).state == "failed"
    assert driver.run(partial(task, json=own), store=store, try_number=2).state == "success"
    assert store[RECORD]["foreign"]
    assert len(emulator.operations()) == 1


@pytest.mark.parametrize("cleared", [True, False])
@pytest.mark.parametrize("ends", ["kill", "success"])
def test_an_operation_of_its_own_that_outlives_its_cancel(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch, *, cleared: bool, ends: str
) -> None:
    """That it is the task's own is known then, so it is waited for as such: a kill and a sweep cancel it."""
    of = {"duration": 1000, "onCancel": "ignore", "metadata": {"target": RESOURCE}, "response": {"by": "us"}}
    own = {"json": {"operation": of}, "timeout": 5000}
    store, ti = StateStore(), TaskInstance("run")
    with pytest.raises(TaskDeferred):
        task(deferrable=True, **own).execute(context_of(ti, store))
    if not cleared:
        store[RECORD]["state"] = "failed"  # as a time-out leaves it
    emulator.clear_journal()
    exists(emulator)
    again, last_try = task(**own), 5 if cleared else 4
    real = clock.sleep

    def sleep(seconds: float) -> None:
        taken = store[RECORD]["try_number"] == last_try and store[RECORD]["state"] == "started"
        if ends == "kill" and taken and len(cancels(emulator)) == 1:
            again.on_kill()
        real(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    verdict = driver.run(lambda: again, store=store, try_number=last_try, max_tries=last_try - 1)
    assert len(emulator.operations()) == 1
    record = {key: store[RECORD][key] for key in ("foreign", "reattached", "cancel_if_orphaned")}
    assert record == {"foreign": False, "reattached": True, "cancel_if_orphaned": True}
    assert len(cancels(emulator)) == (2 if ends == "kill" else 1)
    if ends == "success":
        assert verdict.value == {"by": "us"}


def test_what_is_only_to_be_validated(emulator: Emulator, driver: Driver) -> None:
    """That another's operation creates it doesn't make it valid: the refusal is the answer."""
    foreign(emulator, target=VALIDATED)
    exists(emulator)
    verdict = driver.run(partial(task, path=None, resource_name=None, json={}, **VALIDATES))
    assert isinstance(verdict.error, OperationsCallErrorFinal)
    assert not emulator.journal("list")


def test_with_start_retry_on(emulator: Emulator, driver: Driver) -> None:
    """Where nothing is found the start may be repeated, and each refusal looks again."""
    exists(emulator, times=3)
    verdict = driver.run(partial(task, start_retry_on="ALREADY_EXISTS"))
    assert verdict.value == {"by": "us"}
    assert (len(starts(emulator)), len(emulator.journal("list"))) == (4, 3)


# --- what ends a task leaves it running -------------------------------------------------------------------------


def test_a_worker_that_is_killed(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the operation running, in each of its phases."""
    name = foreign(emulator, 500)
    exists(emulator)
    killed = task()
    real = clock.sleep
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        if not pauses:
            killed.on_kill()
        pauses.append(seconds)
        real(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    driver.run(lambda: killed)
    assert pauses
    assert not cancels(emulator)
    assert emulator.operation(name)["response"] == {"by": "another"}


def test_a_worker_that_is_killed_while_it_looks(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds then is another's already."""
    foreign(emulator, 500)
    exists(emulator)
    killed, real = task(), following.find

    def find(*arguments: Any) -> Any:
        killed.on_kill()
        return real(*arguments)

    monkeypatch.setattr("airflow_provider_operations._tasks.starting.find", find)
    driver.run(lambda: killed)
    assert not cancels(emulator)


@pytest.mark.parametrize("durable", [True, False], ids=["record", "no record"])
def test_a_trigger_that_is_killed(emulator: Emulator, driver: Driver, *, durable: bool) -> None:
    """Its arguments tell it not to cancel, also an older one, and in another triggerer."""
    foreign(emulator, 500)
    exists(emulator)
    with pytest.raises(TaskDeferred) as deferred:
        task(deferrable=True, durable=durable).execute(context_of(TaskInstance("run")))
    _, arguments = deferred.value.trigger.serialize()
    assert "cancel_on_kill" not in arguments
    assert "owner" not in arguments
    asyncio.run(OperationTrigger(**arguments).on_kill())
    assert not cancels(emulator)


@WAYS
@pytest.mark.parametrize("durable", [True, False], ids=["record", "no record"])
def test_its_time_is_up(emulator: Emulator, driver: Driver, *, deferrable: bool, durable: bool) -> None:
    """The task fails, and leaves it running."""
    foreign(emulator, 500)
    exists(emulator)
    verdict = driver.run(partial(task, deferrable=deferrable, durable=durable, timeout=60))
    assert isinstance(verdict.error, OperationTimeout)
    assert "it goes on running" in str(verdict.error)
    assert not cancels(emulator)


@pytest.mark.parametrize("last_try", [True, False])
def test_a_try_that_gives_up(emulator: Emulator, driver: Driver, *, last_try: bool) -> None:
    """The service is away for too long."""
    foreign(emulator, 500)
    exists(emulator)
    emulator.script_fault(kind="get", status=503, after=2)
    verdict = driver.run(partial(task, outage_tolerance=20), try_number=4 if last_try else 1)
    assert isinstance(verdict.error, OperationsCallError)
    assert not cancels(emulator)


@pytest.mark.parametrize("durable", [True, False], ids=["record", "no record"])
def test_a_trigger_that_crashes(emulator: Emulator, driver: Driver, *, durable: bool) -> None:
    """The last try gives up on it then, which for an operation of its own means to cancel it."""
    foreign(emulator, 500)
    exists(emulator)
    store, ti = StateStore(), TaskInstance("run", 4, 3)
    with pytest.raises(TaskDeferred):
        task(deferrable=True, durable=durable).execute(context_of(ti, store))
    with pytest.raises(TaskDeferralError):
        task(deferrable=True, durable=durable).resume_execution(
            "__fail__", {"error": "Trigger failure"}, context_of(ti, store)
        )
    assert not cancels(emulator)


def test_the_store_is_away_when_it_resumes(emulator: Emulator, driver: Driver) -> None:
    """What the worker before has passed on says whose it is."""
    foreign(emulator, 500)
    exists(emulator)
    store, ti = StateStore(), TaskInstance("run", 4, 3)
    with pytest.raises(TaskDeferred) as deferred:
        task(deferrable=True).execute(context_of(ti, store))

    class Away(StateStore):
        def get(self, *_: Any) -> Any:
            raise ConnectionError("away")

    arguments = {**(deferred.value.kwargs or {}), "event": {"version": 1, "outcome": "{}"}}
    with pytest.raises(ConnectionError):
        task(deferrable=True, outage_tolerance=10).resume_execution(
            "execute_complete", arguments, context_of(ti, Away())
        )
    assert not cancels(emulator)


@pytest.mark.parametrize("timeout", [60, 1000], ids=["time-out", "failure"])
def test_the_store_takes_no_note_of_it(emulator: Emulator, driver: Driver, timeout: float) -> None:
    """The record says then that the start was refused; whose the operation is, the task passes on itself."""
    foreign(emulator, 100, error={"code": 3, "message": "no"})
    exists(emulator)

    class Full(StateStore):
        def set(self, key: str, value: Any, **arguments: Any) -> None:
            if value["foreign"]:
                raise ConnectionError("away")
            super().set(key, value, **arguments)

    store = Full()
    verdict = driver.run(partial(task, deferrable=True, timeout=timeout), store=store)
    assert isinstance(verdict.error, OperationTimeout if timeout == 60 else OperationFailed)
    assert not isinstance(verdict.error, AirflowFailException)
    assert store[RECORD]["state"] == "rejected"
    assert not cancels(emulator)
    driver.moved.sleep(100)
    assert driver.run(partial(task, timeout=timeout), store=store, try_number=2).value == {"by": "us"}


# --- the next try -----------------------------------------------------------------------------------------------


def lost(emulator: Emulator, driver: Driver, store: StateStore, duration: float, **script: Any) -> str:
    """Lose a worker that follows another's operation."""
    name = foreign(emulator, duration, **script)
    exists(emulator)
    with pytest.raises(TaskDeferred):
        task(deferrable=True).execute(context_of(TaskInstance("run"), store))
    assert store[RECORD]["state"] == "started"
    emulator.clear_journal()
    return name


def test_the_next_try_while_it_runs(emulator: Emulator, driver: Driver) -> None:
    """It waits on, and sends no start."""
    store = StateStore()
    lost(emulator, driver, store, 100)
    verdict = driver.run(task, store=store, try_number=2)
    assert verdict.value == {"by": "another"}
    assert not starts(emulator)
    assert store[RECORD]["foreign"]


@pytest.mark.parametrize("code", [3, 14], ids=["for good", "for now"])
def test_the_next_try_after_it_has_failed(emulator: Emulator, driver: Driver, code: int) -> None:
    """What another's request has failed with says nothing about ours: it is started."""
    store = StateStore()
    lost(emulator, driver, store, 10, error={"code": code, "message": "no"})
    driver.moved.sleep(20)
    verdict = driver.run(task, store=store, try_number=2)
    assert verdict.value == {"by": "us"}
    assert not store[RECORD]["foreign"]
    assert not cancels(emulator)


def test_the_next_try_after_it_has_succeeded(emulator: Emulator, driver: Driver) -> None:
    """Its success is the task's, as if no worker had been lost."""
    store = StateStore()
    lost(emulator, driver, store, 10)
    driver.moved.sleep(20)
    assert driver.run(task, store=store, try_number=2).value == {"by": "another"}
    assert not starts(emulator)


def test_the_next_try_after_it_was_forgotten(emulator: Emulator, driver: Driver) -> None:
    """It doesn't run any more, and a start of ours none has begun."""
    store = StateStore()
    name = lost(emulator, driver, store, 10)
    driver.moved.sleep(100)
    OperationsHook("operations_default").delete_operation(name)
    assert driver.run(task, store=store, try_number=2).value == {"by": "us"}


def test_its_failure_is_retried(emulator: Emulator, driver: Driver) -> None:
    """Also one for which a start of our own would fail for good."""
    foreign(emulator, 10, error={"code": 3, "message": "a bad request of another's"})
    exists(emulator)
    store = StateStore()
    verdict = driver.run(task, store=store)
    assert isinstance(verdict.error, OperationFailed)
    assert not isinstance(verdict.error, AirflowFailException)
    assert driver.run(task, store=store, try_number=2).value == {"by": "us"}


@pytest.mark.parametrize("ends", [False, True], ids=["runs", "has ended"])
def test_the_next_try_after_a_time_out(emulator: Emulator, driver: Driver, *, ends: bool) -> None:
    """It has its time anew: to wait on, or for a start of its own."""
    foreign(emulator, 100)
    exists(emulator)
    store = StateStore()
    assert driver.run(partial(task, timeout=60), store=store).state == "failed"
    assert store[RECORD]["foreign"]
    if ends:
        driver.moved.sleep(100)
    emulator.clear_journal()
    verdict = driver.run(partial(task, timeout=60), store=store, try_number=2)
    assert verdict.value == {"by": "us" if ends else "another"}
    assert len(starts(emulator)) == ends
    assert not cancels(emulator)


def test_a_clear(emulator: Emulator, driver: Driver) -> None:
    """It leaves it running, and is a new intent: it has its time anew, and nothing is started meanwhile."""
    store = StateStore()
    name = lost(emulator, driver, store, 500)
    driver.moved.sleep(400)
    verdict = driver.run(partial(task, timeout=300), store=store, try_number=2, max_tries=4)
    assert verdict.value == {"by": "another"}
    assert not starts(emulator)
    assert not cancels(emulator)
    assert (store[RECORD]["name"], store[RECORD]["max_tries"]) == (name, 4)


@pytest.mark.parametrize("phase", ["retry", "time-out", "clear"])
@pytest.mark.parametrize("edited", ["query", "resource_name"])
def test_a_task_that_asks_for_something_else(
    emulator: Emulator, driver: Driver, edited: str, phase: str
) -> None:
    """An intent of its own isn't met by an operation that creates what the task asked for before."""
    store = StateStore()
    name = lost(emulator, driver, store, 500)
    if phase == "time-out":
        store[RECORD]["state"] = "failed"
    other = {"query": {"size": "2"}} if edited == "query" else {"resource_name": "projects/p/things/y"}
    make = partial(task, **other)
    verdict = driver.run(make, store=store, try_number=2, max_tries=4 if phase == "clear" else 3)
    assert verdict.value == {"by": "another" if phase == "retry" else "us"}
    assert (store[RECORD]["name"] == name) == (phase == "retry")
    assert not cancels(emulator)


@pytest.mark.parametrize("max_tries", [3, 4], ids=["retry", "clear"])
def test_a_sweep_that_knows_nothing_of_others(emulator: Emulator, driver: Driver, max_tries: int) -> None:
    """One of an older version reads only that the operation isn't to be cancelled, whoever has followed it."""
    store = StateStore()
    lost(emulator, driver, store, 500)
    seen: list[bool] = [store[RECORD]["cancel_if_orphaned"]]
    with pytest.raises(TaskDeferred):
        task(deferrable=True).execute(context_of(TaskInstance("run", 2, max_tries), store))
    seen.append(store[RECORD]["cancel_if_orphaned"])
    assert seen == [False, False]


@pytest.mark.parametrize("edited", [False, True])
def test_a_clear_after_its_end(emulator: Emulator, driver: Driver, *, edited: bool) -> None:
    """Or of a task that asks for something else now: there is a start of its own."""
    store = StateStore()
    lost(emulator, driver, store, 500 if edited else 10)
    driver.moved.sleep(20)
    other = {"query": {"size": "2"}} if edited else {}
    verdict = driver.run(partial(task, **other), store=store, try_number=2, max_tries=4)
    assert verdict.value == {"by": "us"}
    assert not store[RECORD]["foreign"]
    assert not cancels(emulator)


def test_what_is_started_then_is_our_own(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is cancelled by a kill."""
    store = StateStore()
    lost(emulator, driver, store, 10, error={"code": 14, "message": "no"})
    driver.moved.sleep(20)
    killed = task(json={"operation": {"duration": 500}})
    real = clock.sleep

    def sleep(seconds: float) -> None:
        if not cancels(emulator):
            killed.on_kill()
        real(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    driver.run(lambda: killed, store=store, try_number=4)
    (cancelled,) = cancels(emulator)
    assert cancelled["operation"] == emulator.operations()[-1]["name"]


@pytest.mark.parametrize("again", [False, True], ids=["first", "sent again"])
def test_a_kill_while_a_start_is_unanswered(emulator: Emulator, driver: Driver, *, again: bool) -> None:
    """What it begins is the task's own, also where no record names it yet."""
    store = StateStore()
    arguments = {"request_id_field": "requestId", "json": {"operation": {"duration": 500}}}
    if again:
        emulator.script_fault(kind="start", status=503, effect=True, times=1)
        failing = partial(task, outage_tolerance=0, **arguments)
        assert driver.run(failing, store=store).state == "failed"
        assert store[RECORD]["state"] == "starting"

    class Killed(RunOperationOperator):
        def _see_what_the_api_has(self, *_: Any) -> None:
            self.on_kill()

    make = partial(task, Killed, **arguments)
    driver.run(make, store=store, try_number=4)
    assert len(cancels(emulator)) == 1
    assert len(emulator.operations()) == 1


def test_handed_on(emulator: Emulator, driver: Driver) -> None:
    """Its name goes to a sensor; a clear leaves it running."""
    name = foreign(emulator, 100)
    exists(emulator, times=2)
    store = StateStore()
    make = partial(task, wait_for_completion=False)
    assert driver.run(make, store=store).value == name
    assert driver.run(make, store=store, try_number=2, max_tries=4).value == name
    assert not cancels(emulator)


# --- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"path": "things"}, "a path doesn't say it: give 'resource_name'"),
        (
            {"path": "things", "if_exists": "skip", "resource_name": "things/x"},
            "without that it has no effect",
        ),
        (
            {**CREATE, "parameters": {"parent": "projects/p/locations/l"}},
            r"without parameters\['instanceId'\]",
        ),
        (
            {"api_method": "spanner.projects.instances.create", "parameters": {"parent": "projects/p"}},
            "it isn't known of spanner:v1.projects.instances.create",
        ),
        (
            {
                "api_method": "artifactregistry.projects.locations.repositories.create",
                "parameters": {"parent": "projects/p/locations/l", "repositoryId": "r"},
            },
            "artifactregistry:v1 lists none",
        ),
    ],
    ids=["path", "not asked for", "no id", "method without an id", "no list"],
)
def test_bad_arguments(arguments: dict[str, Any], text: str) -> None:
    """They are refused when the DAG is parsed."""
    with pytest.raises(ValueError, match=text):
        RunOperationOperator(**{"task_id": "run", "if_exists": "wait", **arguments})


@pytest.mark.parametrize("name", ["", None, 7, "/projects/p", "a/../b"], ids=repr)
def test_a_template_that_finds_no_name(emulator: Emulator, driver: Driver, name: Any) -> None:
    """Nothing is started then, and no start is noted."""
    store = StateStore()

    def make() -> RunOperationOperator:
        made = task()
        made.resource_name = name
        return made

    assert isinstance(driver.run(make, store=store).error, ValueError)
    assert not store
    assert not emulator.journal()
