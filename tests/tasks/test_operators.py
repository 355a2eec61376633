"""Operators through ``execute`` and ``resume_execution``, deferred and holding the worker."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow.providers.common.compat.sdk import task as task_decorator

from airflow_provider_operations._protocol import clock, outcome
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._tasks.base import BACKSTOP_S
from airflow_provider_operations._tasks.cancel import cancel
from airflow_provider_operations.exceptions import (
    OperationCancelled,
    OperationCancelledFinal,
    OperationEventError,
    OperationFailed,
    OperationFailedFinal,
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationsError,
    OperationTimeout,
)
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operation import Code, Operation, Status
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.connections import set_connection
from tests.support.tasks import Driver, TaskInstance, Verdict
from tests.versions import AIRFLOW, TRIGGER_TIMEOUT, allow_execute_in_this_thread

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

WAYS = pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "in the worker"])


def run(driver: Driver, *, deferrable: bool, script: dict[str, Any], **arguments: Any) -> Verdict:
    return driver.run(
        lambda: RunOperationOperator(
            task_id="run",
            path="projects/p/things:run",
            json={"operation": script},
            deferrable=deferrable,
            **{"timeout": 1000, "outage_tolerance": 120, "poke_interval": 20, **arguments},
        )
    )


def kinds(emulator: Emulator) -> list[str]:
    return [entry["kind"] for entry in emulator.journal() if entry["kind"] != "get"]


def context(task: Any) -> Any:
    return {"ti": TaskInstance(task.task_id)}


@WAYS
def test_the_response_is_the_return_value(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """The response is the return value; the XComs are the name and the resource without the response."""
    verdict = run(driver, deferrable=deferrable, script={"duration": 30, "response": {"__id__": 7, "a": [1]}})

    assert (verdict.state, verdict.value) == ("success", {"\\__id__": 7, "a": [1]})
    assert verdict.deferrals == int(deferrable)
    operation = verdict.xcoms["operation"]
    assert operation["name"] == verdict.xcoms["operation_name"]
    assert operation["done"] is True
    assert "response" not in operation
    assert kinds(emulator) == ["start"]


@WAYS
@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, Code.RESOURCE_EXHAUSTED, OperationFailed),
        ({"code": 503}, Code.UNAVAILABLE, OperationFailed),
        ({"error_code": "NOT_FOUND"}, Code.NOT_FOUND, OperationFailedFinal),
    ],
    ids=repr,
)
def test_codes_in_other_words(
    emulator: Emulator, driver: Driver, error: dict[str, Any], code: Code, kind: type, *, deferrable: bool
) -> None:
    """An error that says its code by name or HTTP status is retried, or not, as one that says it by number."""
    verdict = run(driver, deferrable=deferrable, script={"duration": 30, "raw": {"error": error}})

    assert type(verdict.error) is kind
    assert isinstance(verdict.error, OperationFailed)
    assert verdict.error.code is code


@WAYS
def test_what_is_done_at_once_is_not_polled(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """An operation that the start answers as done is neither polled nor deferred for."""
    verdict = run(driver, deferrable=deferrable, script={"duration": 0, "response": {"a": 1}})

    assert (verdict.value, verdict.deferrals) == ({"a": 1}, 0)
    assert len(emulator.journal()) == 1


@WAYS
def test_without_a_response_none_is_returned(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """A done operation with neither response nor error succeeded, with None."""
    verdict = run(driver, deferrable=deferrable, script={"duration": 5, "result": "none"})

    assert (verdict.state, verdict.value) == ("success", None)


@WAYS
@pytest.mark.parametrize("code", list(Code)[1:], ids=lambda code: code.name)
def test_which_errors_are_final(emulator: Emulator, driver: Driver, code: Code, *, deferrable: bool) -> None:
    """Errors that may pass leave the retry to Airflow; after the others a retry would not help."""
    verdict = run(
        driver, deferrable=deferrable, script={"duration": 5, "error": {"code": code, "message": "m"}}
    )

    worth = {"UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}
    assert isinstance(verdict.error, AirflowFailException) == (code.name not in worth)
    assert isinstance(verdict.error, OperationFailed)
    assert isinstance(verdict.error, OperationCancelled) == (code is Code.CANCELLED)
    assert verdict.error.code is code
    assert verdict.xcoms["operation"]["error"]["code"] == code


@pytest.mark.parametrize(
    "retry_on", [["FAILED_PRECONDITION"], "FAILED_PRECONDITION", 9, Code.FAILED_PRECONDITION], ids=repr
)
def test_retry_on_says_otherwise(emulator: Emulator, driver: Driver, retry_on: Any) -> None:
    """``retry_on`` replaces the codes that may be retried; codes, or a single one, by enum, number or name."""
    error = {"code": 9, "message": "m"}
    kept = run(driver, deferrable=False, script={"duration": 1, "error": error}, retry_on=retry_on)
    lost = run(driver, deferrable=False, script={"duration": 1, "error": {"code": 14}}, retry_on=[9])

    assert type(kept.error) is OperationFailed
    assert type(lost.error) is OperationFailedFinal
    with pytest.raises(ValueError, match="not 'NO_SUCH_CODE'"):
        run(driver, deferrable=False, script={}, retry_on=["NO_SUCH_CODE"])


def test_a_retry_policy_is_asked(emulator: Emulator, driver: Driver) -> None:
    """With a retry policy nothing is final: Airflow asks it only about errors that aren't."""
    from airflow.providers.common.compat.sdk import ExceptionRetryPolicy

    policy = ExceptionRetryPolicy(rules=[])
    failed = run(driver, deferrable=True, script={"duration": 1, "error": {"code": 9}}, retry_policy=policy)
    refused = run(driver, deferrable=True, script={"duration": "long"}, retry_policy=policy)

    assert type(failed.error) is OperationFailed
    assert type(refused.error) is OperationsCallError


@WAYS
def test_a_timeout_cancels_the_operation(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """When the time is up the operation is cancelled, and the error says what became of it."""
    verdict = run(driver, deferrable=deferrable, script={"duration": 5000}, timeout=60)

    assert type(verdict.error) is OperationTimeout
    assert str(verdict.error).endswith("it has been cancelled"), str(verdict.error)
    assert kinds(emulator) == ["start", "cancel"]


@WAYS
def test_execution_timeout_counts(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """
    The shorter of ``timeout`` and ``execution_timeout`` ends the wait, deferred too.

    Before Airflow 3 a deferred one ends a fifth earlier, as Airflow would fail the task before it is resumed.
    """
    from datetime import timedelta

    verdict = run(
        driver, deferrable=deferrable, script={"duration": 5000}, execution_timeout=timedelta(seconds=50)
    )

    assert type(verdict.error) is OperationTimeout
    ends_s = 40 if deferrable and AIRFLOW < (3, 0) else 50
    assert ends_s <= verdict.error.waited.total_seconds() < ends_s + 10
    assert kinds(emulator) == ["start", "cancel"]


def test_cancel_on_timeout_off_leaves_it_running(emulator: Emulator, driver: Driver) -> None:
    """``cancel_on_timeout=False`` leaves the operation running and says so."""
    verdict = run(driver, deferrable=True, script={"duration": 5000}, timeout=60, cancel_on_timeout=False)

    assert str(verdict.error).endswith("it goes on running")
    assert kinds(emulator) == ["start"]


def test_a_refused_cancel_is_part_of_the_timeouts_text(emulator: Emulator, driver: Driver) -> None:
    """A refused cancel is part of the time-out's text, not an error of its own."""
    script = {"duration": 5000, "onCancel": "unimplemented"}
    verdict = run(driver, deferrable=True, script=script, timeout=60)

    assert type(verdict.error) is OperationTimeout
    assert "it may still run: the cancel call failed: HTTP 501, UNIMPLEMENTED (12)" in str(verdict.error)


@pytest.mark.parametrize(
    ("gone", "end"),
    [
        (["cancel"], (False, "it may still run: the cancel call failed: HTTP 404, NOT_FOUND (5)")),
        (["cancel", "get"], (True, "the server doesn't know it")),
    ],
    ids=["no-such-call", "no-such-operation"],
)
def test_a_404_to_cancel(
    emulator: Emulator, moved: MovedClock, gone: list[str], end: tuple[bool, str]
) -> None:
    """Some services have no cancel, and answer as if there were no operation: what get says of it counts."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        for kind in gone:
            emulator.script_fault(kind=kind, status=404)

        assert cancel(hook, name, 10, 10)[:2] == end


@pytest.mark.parametrize(("age_s", "sent"), [(3, 4), (40, 1)], ids=["young", "old"])
def test_a_server_that_does_not_know_it_yet(
    emulator: Emulator, moved: MovedClock, age_s: float, sent: int
) -> None:
    """Soon after its start a 404 doesn't leave an operation running: the cancel is repeated until it is known."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        for kind in ("cancel", "get"):
            emulator.script_fault(kind=kind, status=404, times=3)

        assert cancel(hook, name, 60, 60, moved.now - age_s).over
    assert kinds(emulator).count("cancel") == sent


@pytest.mark.parametrize(("age_s", "sent"), [(3, 2), (40, 1)], ids=["young", "old"])
def test_a_server_that_knows_it_just_after_the_cancel(
    emulator: Emulator, moved: MovedClock, age_s: float, sent: int
) -> None:
    """A young operation that a poll finds, after the cancel met a 404, is cancelled: the 404 came too early."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        emulator.script_fault(kind="cancel", status=404, times=1)

        assert cancel(hook, name, 60, 60, moved.now - age_s).over == (sent == 2)
    assert kinds(emulator).count("cancel") == sent


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404])
def test_a_page_for_an_answer_to_cancel(emulator: Emulator, moved: MovedClock, status: int) -> None:
    """What a proxy answers to a cancel call doesn't leave the operation running: the call is repeated for a while."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        emulator.script_fault(kind="cancel", status=status, body="<html>log in</html>", times=3)

        assert cancel(hook, name, 60, 15).over
    assert kinds(emulator).count("cancel") == 4


@pytest.mark.parametrize("status", [400, 409])
def test_a_cancel_that_is_refused_for_now(emulator: Emulator, moved: MovedClock, status: int) -> None:
    """A refusal that may have to do with what the operation does at the moment isn't the last word while it runs."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        emulator.script_fault(kind="cancel", status=status, times=4)

        assert cancel(hook, name, 60, 15).over
        assert kinds(emulator).count("cancel") == 5

        other = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        emulator.script_fault(kind="cancel", status=status)
        end = cancel(hook, other, 60, 15)
        assert (end.over, end.refused) == (False, True)
        assert moved.now - 1_800_000_000 < 120


@pytest.mark.parametrize("status", [404, 409])
def test_a_poll_that_fails_between_two_cancels(emulator: Emulator, moved: MovedClock, status: int) -> None:
    """It says nothing of the operation, so it doesn't end the attempts to cancel."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        emulator.script_fault(kind="cancel", status=status, times=2)
        emulator.script_fault(kind="get", status=503, times=2)

        assert cancel(hook, name, 60, 15, moved.now - 3).over
    assert kinds(emulator).count("cancel") == 3


def test_an_unanswered_cancel_after_a_refused_one(emulator: Emulator, moved: MovedClock) -> None:
    """It is repeated as the first one would be."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 5000}}).name
        emulator.script_fault(kind="cancel", status=409, times=1)
        emulator.script_fault(kind="cancel", status=503, times=2)

        assert cancel(hook, name, 60, 15).over
    assert kinds(emulator).count("cancel") == 4


@pytest.mark.parametrize("kind", [Kind.DONE, Kind.TIMED_OUT])
def test_resumed_with_the_event_alone(
    emulator: Emulator,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
) -> None:
    """``dag.test`` and ``airflow tasks test`` resume a task with the event and nothing else."""
    # Airflow's own loggers don't propagate to where pytest listens.
    monkeypatch.setattr(RunOperationOperator, "log", logging.getLogger("operator"), raising=False)
    caplog.set_level(logging.INFO, "operator")
    with OperationsHook() as hook:
        duration = 0 if kind is Kind.DONE else 5000
        script = {"duration": duration, "response": {"a": 1}, "metadata": {"createTime": None}}
        name = hook.start_operation("things:run", json={"operation": script}).name
    event = Outcome(kind, name, None, waited_s=5.0).to_event()  # DONE without an operation: it was too large
    task = RunOperationOperator(task_id="run", path="things:run", durable=False)
    context: Any = {"ti": TaskInstance("run", try_number=1, max_tries=0)}

    if kind is Kind.DONE:
        assert task.execute_complete(context, event) == {"a": 1}
        assert "succeeded after 0:00:05" in caplog.text
    else:
        with pytest.raises(OperationTimeout, match="was not over after 0:00:05"):
            task.execute_complete(context, event)
        assert kinds(emulator) == ["start", "cancel"]


@pytest.mark.parametrize("ends", ["response", "error"])
def test_an_operation_that_has_ended_when_it_is_to_be_cancelled(emulator: Emulator, ends: str) -> None:
    """
    Its trigger's last polls were in vain, and said that its time is up: the look before the cancel brings its end.

    What is over isn't thrown away, and isn't started once more by a retry.
    """
    end = {"response": {"a": 1}} if ends == "response" else {"error": {"code": 3, "message": "no such table"}}
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 0, **end}}).name
    away = CallFailure("GET", "http://x", 503, Status(Code.UNAVAILABLE), "HTTP 503", transient=True)
    late = Outcome(Kind.TIMED_OUT, name, Operation(name), failure=away, waited_s=5.0).to_event()
    task = RunOperationOperator(task_id="run", path="things:run", durable=False)
    where: Any = {"ti": TaskInstance("run", try_number=1, max_tries=3)}
    if ends == "response":
        assert task.execute_complete(where, late) == {"a": 1}
    else:
        with pytest.raises(OperationFailedFinal, match="no such table"):
            task.execute_complete(where, late)
    assert kinds(emulator) == ["start"]
    assert where["ti"].xcoms["operation"]["done"] is True


def test_a_time_out_stays_one_if_its_last_poll_was_answered(emulator: Emulator) -> None:
    """What ends between that and the cancel is told; an ``execution_timeout`` may be about one from before a clear."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"operation": {"duration": 0}}).name
    late = Outcome(Kind.TIMED_OUT, name, Operation(name), waited_s=5.0).to_event()
    task = RunOperationOperator(task_id="run", path="things:run", durable=False)
    with pytest.raises(OperationTimeout, match="it has succeeded since"):
        task.execute_complete(context(task), late)
    assert kinds(emulator) == ["start"]


def test_airflows_own_time_out(
    emulator: Emulator, driver: Driver, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ``AirflowTaskTimeout`` raised anywhere in the worker becomes the same error, operation cancelled."""

    def alarm() -> None:
        moved.on_sleep = None
        raise AirflowTaskTimeout

    moved.on_sleep = alarm
    verdict = run(driver, deferrable=False, script={"duration": 5000})

    assert type(verdict.error) is OperationTimeout
    assert kinds(emulator) == ["start", "cancel"]


def test_airflows_timeout_ends_as_the_deadline(emulator: Emulator, driver: Driver, moved: MovedClock) -> None:
    """Airflow's own trigger timeout, behind the deadline, ends as the deadline would have: cancelled, told."""
    task = RunOperationOperator(
        task_id="run", path="things:run", json={"operation": {"duration": 5000}}, deferrable=True, timeout=60
    )
    where = context(task)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(where)
    assert deferred.value.timeout is not None
    assert deferred.value.timeout.total_seconds() == pytest.approx(60 + BACKSTOP_S)

    with pytest.raises(OperationTimeout, match="it has been cancelled"):
        task.resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, where)
    assert kinds(emulator) == ["start", "cancel"]


def test_a_long_outage_fails_the_task_and_may_be_retried(emulator: Emulator, driver: Driver) -> None:
    """An outage longer than is borne fails the task in a way that Airflow may retry."""
    emulator.script_fault(kind="get", status=503)
    verdict = run(driver, deferrable=True, script={"duration": 5000})

    assert type(verdict.error) is OperationsCallError
    assert (verdict.error.http_status, verdict.error.code) == (503, Code.UNAVAILABLE)


def test_a_404_right_after_the_start_is_tolerated(emulator: Emulator, driver: Driver) -> None:
    """A 404 right after the start is a server that doesn't know its own operation yet."""
    emulator.script_fault(kind="get", status=404, times=3)
    verdict = run(driver, deferrable=True, script={"duration": 30, "response": {"a": 1}})

    assert verdict.value == {"a": 1}


def test_too_large_for_an_event(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large response doesn't travel through Airflow's database: the worker asks for it again."""
    monkeypatch.setattr(outcome, "MAX_EVENT_CHARS", 2000)
    big = {"text": "x" * 5000}
    verdict = run(driver, deferrable=True, script={"duration": 5, "response": big})
    assert verdict.value == big


@pytest.mark.parametrize("event", [{}, {"version": 2, "outcome": "{}"}, {"version": 1, "outcome": "{}"}])
def test_events_are_foreign(emulator: Emulator, event: Any) -> None:
    """An event that can't be read fails the task: it says nothing about the operation."""
    task = RunOperationOperator(task_id="run", path="things:run")
    with pytest.raises(OperationEventError, match="operations/x: the trigger's event can't be read"):
        task.execute_complete(context(task), event, "operations/x", 0.0)


@pytest.mark.parametrize("done", [True, False], ids=["done", "running"])
@pytest.mark.parametrize("sensor", [True, False], ids=["sensor", "operator"])
def test_resumed_without_an_event(emulator: Emulator, sensor: bool, done: bool) -> None:
    """
    A task that its DAG file has lacked for a moment goes on waiting, with its own deadline.

    Airflow sets it to ``removed``, which ends its trigger, and later resumes it as it was.
    """
    with OperationsHook() as hook:
        operation = {"duration": 0 if done else 5000, "response": {"n": 1}}
        name = hook.start_operation("things:run", json={"operation": operation}).name
    task: Any
    if sensor:
        task = OperationSensor(task_id="wait", operation_name=name, deferrable=True, timeout=600)
    else:
        task = RunOperationOperator(task_id="run", path="things:run", deferrable=True, timeout=600)
    began_s = clock.now() - 100
    try:
        assert task.execute_complete(context(task), None, name, began_s) == {"n": 1}
    except TaskDeferred as deferred:
        assert not done
        kwargs = deferred.trigger.serialize()[1]
        assert (kwargs["operation_name"], kwargs["deadline_epoch_s"]) == (name, began_s + 600)
    else:
        assert done
    assert kinds(emulator).count("start") == 1


def test_without_waiting_the_name_is_returned_at_once(emulator: Emulator, driver: Driver) -> None:
    """``wait_for_completion=False`` returns the name at once."""
    verdict = run(driver, deferrable=True, script={"duration": 50}, wait_for_completion=False)

    assert verdict.value == verdict.xcoms["operation_name"]
    assert (verdict.deferrals, kinds(emulator)) == (0, ["start"])


# --- the start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "starts"),
    [
        pytest.param({"drop": True, "effect": True}, 1, id="answer lost"),
        pytest.param({"status": 500}, 1, id="500"),
        pytest.param({"status": 503}, 1, id="503"),
        pytest.param({"status": 503, "headers": {"Retry-After": "0"}}, 2, id="503 with Retry-After"),
        pytest.param({"status": 429}, 2, id="429"),
    ],
)
def test_no_second_start(emulator: Emulator, driver: Driver, fault: dict[str, Any], starts: int) -> None:
    """A start is sent again only where the first certainly had no effect."""
    emulator.script_fault(kind="start", times=1, **fault)
    verdict = run(driver, deferrable=False, script={"duration": 1})

    assert kinds(emulator) == ["start"] * starts
    assert verdict.state == ("success" if starts == 2 else "failed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"headers": "X-A: b"}, "headers is str, which can't be sent as it is: give names and values"),
        ({"query": "a=b"}, "query is str, which can't be sent as it is: give names and values"),
        ({"json": '{"a": 1}'}, "json is text that holds JSON, and would be sent as one text"),
        ({"json": {"a": [float("nan")]}}, "json['a'][0] is"),
        ({"method": "FETCH"}, "the start's method is one of DELETE, GET, PATCH, POST, PUT, not 'FETCH'"),
        ({"method": None}, "the start's method is one of DELETE, GET, PATCH, POST, PUT, not 'None'"),
    ],
    ids=repr,
)
def test_found_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    """What can't be right, whatever templates bring, is named when the DAG is parsed."""
    with pytest.raises(ValueError, match=re.escape(said)):
        RunOperationOperator(task_id="run", path="things:run", **arguments)


@pytest.mark.parametrize("argument", ["json", "query", "headers"])
def test_templates_may_bring_it(argument: str) -> None:
    """Text with a template in it may become an object, as with ``render_template_as_native_obj``."""
    given = '{"a": "{{ ds }}"}'
    arguments: dict[str, Any] = {argument: given}
    made: Any = RunOperationOperator(task_id="run", path="things:run", **arguments)
    assert getattr(made, argument) == given


def test_text_that_a_template_brought(emulator: Emulator, driver: Driver) -> None:
    """A template that rendered to JSON text is refused before anything is sent."""
    task = RunOperationOperator(task_id="run", path="things:run", json="{{ '{}' }}")

    def make() -> Any:
        task.json = '{"operation": {}}'
        return task

    assert "json is text that holds JSON" in str(driver.run(make).error)
    assert emulator.journal() == []


RESOURCE = {"name": "projects/p/operations/x", "state": "CREATING"}


@pytest.mark.parametrize(
    "arguments",
    [{"deferrable": True}, {"deferrable": False}, {"wait_for_completion": False, "deferrable": False}],
    ids=repr,
)
def test_a_resource_instead_of_an_operation(
    emulator: Emulator, driver: Driver, logged: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    """What doesn't look like an operation is named at the start's answer, before anything waits for its end."""
    emulator.script_fault(kind="start", status=200, body=RESOURCE)
    emulator.script_fault(kind="get", status=200, body={**RESOURCE, "done": True})  # of which nothing is said
    verdict = run(driver, script={}, **arguments)
    assert verdict.state == "success", repr(verdict.error)

    text = "this looks like a resource rather than an operation, as it has state and no metadata"
    assert len([line for line in logged.messages if text in line]) == 1


def test_a_start_that_cannot_be_sent_says_so_every_minute(
    emulator: Emulator,
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    logged: pytest.LogCaptureFixture,
) -> None:
    """A start that can't be sent says so at once, and then every minute, until it gives up or gets through."""
    with socket.socket() as taken:  # bound and not listened at: nobody can connect
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        set_connection(monkeypatch, url)
        monkeypatch.setattr("random.uniform", lambda _low, high: high)
        verdict = run(driver, deferrable=False, script={}, outage_tolerance=600)

    lines = [line for line in logged.messages if line.startswith(f"POST {url}/v1/projects/p/things:run: ")]
    assert type(verdict.error) is OperationsCallError
    assert len(lines) == 10
    assert lines[0].endswith("; trying again in 1.0 s, and for up to 600 s")
    assert lines[1].endswith("; 61 s and 7 attempts so far; trying again in 30.0 s, and for up to 539 s")


LATE_START = {"status": 429, "headers": {"Retry-After": "52"}, "body": {}, "times": 1}
"""A start that gets through 52 s after the first attempt."""


@WAYS
@pytest.mark.parametrize("own", [True, False], ids=["times of its own", "none"])
def test_times_count_from_its_start(
    emulator: Emulator,
    driver: Driver,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    logged: pytest.LogCaptureFixture,
    *,
    own: bool,
    deferrable: bool,
) -> None:
    """Neither a start that had to wait nor a worker that comes late to resume the task is the operation's time."""
    emulator.script_fault(kind="start", **LATE_START)
    resumed = RunOperationOperator.execute_complete

    def late(*args: Any, **kwargs: Any) -> Any:
        moved.now += 77
        return resumed(*args, **kwargs)

    monkeypatch.setattr(RunOperationOperator, "execute_complete", late)
    metadata: dict[str, Any] = {} if own else {"createTime": None, "endTime": None}
    script = {"duration": 50, "metadata": metadata, "steps": [{"at": 2, "metadata": {"progressPercent": 10}}]}
    assert run(driver, deferrable=deferrable, script=script).state == "success"

    (progress,) = [line for line in logged.messages if "10 %" in line]
    (succeeded,) = [line for line in logged.messages if "succeeded after" in line]
    assert re.search(r": 10 %, run \(0:00:0[2-4] elapsed\)$", progress), progress
    elapsed = succeeded.rpartition("after ")[2]
    assert elapsed == "0:00:50" if own else "0:00:50" <= elapsed < "0:01:01"


def test_grace_after_a_late_start(emulator: Emulator, driver: Driver) -> None:
    """A 404 right after the start's answer is a server that doesn't know its operation yet, however long that took."""
    emulator.script_fault(kind="start", **LATE_START)
    emulator.script_fault(kind="get", status=404, times=3)

    assert run(driver, deferrable=True, script={"duration": 30, "response": {"a": 1}}).value == {"a": 1}


@pytest.mark.parametrize("place", ["query", "body", "header"])
def test_a_lost_start_is_resent_with_its_request_id(emulator: Emulator, driver: Driver, place: str) -> None:
    """With a request id a start whose answer was lost is sent again, and the server knows it."""
    emulator.script_fault(kind="start", times=1, dropAfterEffect=True)
    verdict = run(
        driver,
        deferrable=False,
        script={"duration": 1},
        request_id_field="Idempotency-Key" if place == "header" else "requestId",
        request_id_in=place,
        headers={"idempotency-key": "an old one"} if place == "header" else None,
    )

    first, second = (entry for entry in emulator.journal() if entry["kind"] == "start")
    where, name = ("headers", "idempotency-key") if place == "header" else (place, "requestId")
    sent = [(entry[where] or {})[name] for entry in (first, second)]
    assert verdict.state == "success"
    assert second["deduplicated"] is True
    assert sent[0] == sent[1]
    assert uuid.UUID(sent[0]).version == 4
    assert len(emulator.operations()) == 1


@pytest.mark.parametrize(
    ("place", "name", "says"),
    [
        ("cookie", "requestId", "'request_id_in' is 'query', 'body' or 'header', not 'cookie'"),
        ("header", "Idempotency Key", "has the name 'Idempotency Key'"),
    ],
)
def test_where_no_request_id_goes(place: str, name: str, says: str) -> None:
    """A place that there isn't, and a name that no header has, are told when the DAG is parsed."""
    with pytest.raises(ValueError, match=says):
        RunOperationOperator(task_id="run", path="x", request_id_field=name, request_id_in=place)


@pytest.mark.parametrize(
    "path", ["", "None", "../v2/things", "https://elsewhere/things", "things?x=1", "a\nb", " things"]
)
def test_paths_are_checked(emulator: Emulator, driver: Driver, path: str) -> None:
    """A start path that would leave the prefix is refused before anything is sent."""
    verdict = driver.run(lambda: RunOperationOperator(task_id="run", path=path))

    assert type(verdict.error).__name__ == "InvalidName"
    assert emulator.journal() == []


def test_the_query_is_sent_whole(emulator: Emulator, driver: Driver) -> None:
    """Airflow's params neither join the query nor take from it one that is equal to theirs."""
    with DAG("d", params={"dryRun": "true", "env": "prod"}):
        task = RunOperationOperator(
            task_id="run",
            path="things:run",
            query={"dryRun": "true", "x": "1"},
            json={"operation": {"duration": 0}},
        )
    driver.run(lambda: task)

    assert emulator.journal()[0]["query"] == {"dryRun": "true", "x": "1"}
    assert dict(task.params) == {"dryRun": "true", "env": "prod"}


def test_params_are_airflows(emulator: Emulator, driver: Driver) -> None:
    """``params`` is what it is in every task: the DAG's and the task's own, for templates."""
    with DAG("d", params={"project": "p", "size": 1}):
        task = RunOperationOperator(
            task_id="run",
            path="projects/{{ params.project }}/things:run",
            query={"size": "{{ params.size }}"},
            json={"operation": {"duration": 0}},
            params={"size": 2},
        )
    task.render_template_fields({"params": dict(task.params)})
    driver.run(lambda: task)

    start = emulator.journal()[0]
    assert (start["path"], start["query"]) == ("/v1/projects/p/things:run", {"size": "2"})


def test_a_query_of_another_task() -> None:
    """The query may be, or hold, what another task returns."""
    with DAG("d"):

        @task_decorator
        def make() -> Any:
            return {"x": "1"}

        made: Any = make()
        whole = RunOperationOperator(task_id="whole", path="things:run", query=made)
        part = RunOperationOperator(task_id="part", path="things:run", query={"x": made["x"]})

    assert (whole.upstream_task_ids, part.upstream_task_ids) == ({"make"}, {"make"})


# --- kills ---------------------------------------------------------------------------------------------------------


def killed_while(emulator: Emulator, task: Any, when: Any) -> BaseException:
    """Execute a task and call its ``on_kill`` from another place once ``when`` says so."""
    errors: list[BaseException] = []

    def work() -> None:
        allow_execute_in_this_thread()
        try:
            task.execute(context(task))
        except BaseException as error:  # noqa: BLE001  it is looked at below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 20
    while not when():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    task.on_kill()
    thread.join(20)
    return errors[0]


def test_killed_while_waiting(real_emulator: Emulator) -> None:
    """A killed worker cancels once; that the operation is then CANCELLED is no final error."""
    task = RunOperationOperator(
        task_id="run", path="things:run", json={"operation": {"duration": 60, "cancelDelay": 1}}
    )

    error = killed_while(real_emulator, task, lambda: len(real_emulator.journal()) >= 2)

    assert type(error) is OperationCancelled
    assert kinds(real_emulator) == ["start", "cancel"]


def test_killed_while_starting(real_emulator: Emulator) -> None:
    """A kill before the start is answered waits for the answer and cancels what it names."""
    real_emulator.script_fault(kind="start", delay=1.5)
    task = RunOperationOperator(
        task_id="run", path="things:run", json={"operation": {"duration": 60, "cancelDelay": 0}}
    )

    killed_while(real_emulator, task, lambda: kinds(real_emulator) == ["start"])

    assert kinds(real_emulator) == ["start", "cancel"]


def test_killed_before_starting(emulator: Emulator) -> None:
    """A task that is killed before its start is sent sends none."""
    task = RunOperationOperator(task_id="run", path="things:run", json={"operation": {"duration": 60}})
    task.on_kill()
    with pytest.raises(OperationsError, match="killed before the operation was started"):
        task.execute(context(task))
    assert emulator.journal() == []


def test_left_alone_when_killed(real_emulator: Emulator) -> None:
    """``cancel_on_kill=False`` leaves the operation alone."""
    task = RunOperationOperator(
        task_id="run",
        path="things:run",
        json={"operation": {"duration": 2}},
        cancel_on_kill=False,
        poke_interval=1,
    )
    with pytest.raises(IndexError):  # it ended well: no error was caught
        killed_while(real_emulator, task, lambda: len(real_emulator.journal()) >= 2)
    assert kinds(real_emulator) == ["start"]


# --- cancelling ------------------------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    ("script", "ended"),
    [
        pytest.param({"duration": 500}, "cancelled", id="cancelled"),
        pytest.param({"duration": 0}, "succeeded", id="over already"),
        pytest.param({"duration": 30, "onCancel": "ignore"}, "succeeded", id="cancel ignored"),
        pytest.param(
            {"duration": 30, "onCancel": "ignore", "error": {"code": 13}},
            "failed with INTERNAL (13)",
            id="failed before",
        ),
    ],
)
def test_cancel_says_how_it_ended(
    emulator: Emulator, driver: Driver, script: dict[str, Any], ended: str, *, deferrable: bool
) -> None:
    """However the operation ends, the task succeeds and says how."""
    name = run(driver, deferrable=False, script=script, wait_for_completion=False).value
    verdict = driver.run(
        lambda: CancelOperationOperator(task_id="cancel", operation_name=name, deferrable=deferrable)
    )
    assert verdict.value == {"name": name, "ended": ended}
    assert verdict.xcoms["operation"]["done"] is True


def test_a_server_that_cannot_cancel_fails_the_task(emulator: Emulator, driver: Driver) -> None:
    """A server that can't cancel fails the task at once, in its own words."""
    script = {"duration": 500, "onCancel": "unimplemented"}
    name = run(driver, deferrable=False, script=script, wait_for_completion=False).value
    verdict = driver.run(lambda: CancelOperationOperator(task_id="cancel", operation_name=name))

    assert type(verdict.error) is OperationsCallErrorFinal
    assert verdict.error.code is Code.UNIMPLEMENTED


def test_nothing_left_to_cancel(emulator: Emulator, driver: Driver) -> None:
    """A server that refuses to cancel what is over already: the operation is over, and that is no error."""
    name = run(driver, deferrable=False, script={"duration": 0}, wait_for_completion=False).value
    emulator.script_fault(kind="cancel", status=400)
    verdict = driver.run(lambda: CancelOperationOperator(task_id="cancel", operation_name=name))

    assert verdict.value == {"name": name, "ended": "succeeded"}


def test_a_cancel_by_others_is_final(emulator: Emulator, driver: Driver, moved: MovedClock) -> None:
    """An operation that somebody else cancels ends the task for good."""

    def cancel() -> None:
        moved.on_sleep = None
        name = emulator.operations()[0]["name"]
        from airflow_provider_operations.hooks import OperationsHook

        with OperationsHook() as hook:
            hook.cancel_operation(name)

    moved.on_sleep = cancel
    verdict = run(driver, deferrable=False, script={"duration": 500})
    assert type(verdict.error) is OperationCancelledFinal


# --- the trigger -------------------------------------------------------------------------------------------------------


ARGUMENTS: dict[str, Any] = {
    "operations_conn_id": "other",
    "base_url": "https://example.com",
    "path_prefix": "v2",
    "cancel_suffix": "/cancel",
    "cancel_method": "GET",
    "error_format": 2,
    "wait_timeout_in": "body",
    "scopes": "https://www.googleapis.com/auth/drive",
    "poke_interval": 7.0,
    "started_epoch_s": 1.5,
    "deadline_epoch_s": 2.5,
    "outage_tolerance_s": 3.0,
    "cancel_on_kill": True,
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_trigger_arguments_survive(argument: str) -> None:
    """Every argument that differs from its default is stored, and only those."""
    trigger = OperationTrigger("operations/x", **{argument: ARGUMENTS[argument]})
    path, stored = trigger.serialize()

    assert path == "airflow_provider_operations.triggers.OperationTrigger"
    assert stored == {"operation_name": "operations/x", argument: ARGUMENTS[argument]}
    assert OperationTrigger(**stored).serialize() == (path, stored)


def test_trigger_past_its_deadline(emulator: Emulator, driver: Driver, moved: MovedClock) -> None:
    """A trigger that starts after its deadline still looks once: finished counts, running has timed out."""
    running = run(driver, deferrable=False, script={"duration": 500}, wait_for_completion=False).value
    over = run(driver, deferrable=False, script={"duration": 0}, wait_for_completion=False).value
    late = moved.now - 100

    ends = [
        driver.trigger(OperationTrigger(name, deadline_epoch_s=late))["outcome"] for name in (running, over)
    ]

    assert '"kind": "timed_out"' in ends[0]
    assert '"kind": "done"' in ends[1]


@pytest.mark.parametrize(
    "broken",
    ["deleted", '{"conn_type": "operations", "host": "ftp://example.com"}'],
    ids=["deleted", "mistyped"],
)
def test_connection_lost_while_deferred(
    emulator: Emulator, driver: Driver, moved: MovedClock, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A worker has used the connection, so somebody is changing it: an outage, and the task goes on when it's back."""
    with OperationsHook() as hook:
        name = hook.start_operation("things:run", json={"duration": 300, "response": {"a": 1}}).name
    key = "AIRFLOW_CONN_OPERATIONS_DEFAULT"
    good = os.environ[key]
    if broken == "deleted":
        monkeypatch.delenv(key)
    else:
        monkeypatch.setenv(key, broken)
    began = moved.now

    def back() -> None:
        if moved.now > began + 400:
            os.environ[key] = good

    moved.on_sleep = back
    event = driver.trigger(OperationTrigger(name))

    assert json.loads(event["outcome"])["kind"] == "done"


def test_connection_never_back(driver: Driver, moved: MovedClock) -> None:
    """What Airflow would lose of an exception reaches the task: the trigger yields it, after the time for an outage."""
    began = moved.now
    event = driver.trigger(OperationTrigger("operations/x", operations_conn_id="no_such_connection"))
    task = RunOperationOperator(task_id="run", path="things:run")
    with pytest.raises(OperationsCallError, match="no_such_connection") as raised:
        task.execute_complete(context(task), event, "operations/x", 0.0)
    assert type(raised.value) is OperationsCallError
    assert moved.now - began == pytest.approx(600, abs=40)


def test_a_connection_that_is_not_there_fails_at_once(driver: Driver) -> None:
    """A task whose connection isn't there fails at once, in its worker."""
    verdict = driver.run(
        lambda: RunOperationOperator(
            task_id="run", path="things:run", operations_conn_id="no_such_connection", deferrable=True
        )
    )
    assert "no_such_connection" in str(verdict.error)
    assert verdict.deferrals == 0


def deferred_long_ago(moved: MovedClock) -> tuple[RunOperationOperator, Any]:
    """Return a task whose trigger has been dead since it deferred, with its context; its operation is over by now."""
    task = RunOperationOperator(
        task_id="run",
        path="things:run",
        json={"operation": {"duration": 30, "response": {"a": 1}}},
        deferrable=True,
        timeout=60,
    )
    where = context(task)
    with pytest.raises(TaskDeferred):
        task.execute(where)
    moved.sleep(300)
    return task, where


def test_backstop_finds_it_over(emulator: Emulator, moved: MovedClock) -> None:
    """Where the trigger was dead and the operation has succeeded meanwhile, its response counts."""
    task, where = deferred_long_ago(moved)
    assert task.resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, where) == {"a": 1}
    assert kinds(emulator) == ["start"]


def test_backstop_finds_none(emulator: Emulator, moved: MovedClock) -> None:
    """Where the service has forgotten the operation meanwhile, that is the error, as it is to a trigger that lives."""
    task, where = deferred_long_ago(moved)
    emulator.script_fault(kind="get", status=404)
    with pytest.raises(OperationsCallErrorFinal, match="404"):
        task.resume_execution("__fail__", {"error": TRIGGER_TIMEOUT}, where)


def test_settling_fits_into_the_time_left(emulator: Emulator, driver: Driver, moved: MovedClock) -> None:
    """
    A resumed stay has ``execution_timeout`` for itself: what is done with an operation whose time is up fits into it.

    Else Airflow's time-out would come in between, cancel once more and leave the task with an error that says nothing.
    """
    began = moved.now
    verdict = driver.run(
        lambda: RunOperationOperator(
            task_id="run",
            path="things:run",
            json={"operation": {"duration": 3600, "cancelDelay": 60}},
            deferrable=True,
            execution_timeout=timedelta(seconds=8),
        )
    )
    assert type(verdict.error) is OperationTimeout
    assert "asked to cancel, it is not over yet" in str(verdict.error)
    assert kinds(emulator) == ["start", "cancel"]
    assert moved.now - began < 8 + 4


@pytest.mark.parametrize("kind", ["operator", "sensor"])
def test_timed_out_while_resuming(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A time-out of Airflow's in a resumed stay is the task's time-out: the error says what, and one cancel is sent."""
    task: Any = RunOperationOperator(
        task_id="run", path="things:run", json={"operation": {"duration": 300}}, deferrable=True
    )
    if kind == "sensor":
        with OperationsHook() as hook:
            name = hook.start_operation("things:run", json={"operation": {"duration": 300}}).name
        task = OperationSensor(task_id="run", operation_name=name, deferrable=True, cancel_on_timeout=True)
    where = context(task)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(where)

    def too_late(*_: Any, **__: Any) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(type(task), "execute_complete", too_late)
    with pytest.raises(OperationTimeout, match="it has been cancelled"):
        task.resume_execution("execute_complete", {**(deferred.value.kwargs or {}), "event": {}}, where)
    assert kinds(emulator) == ["start", "cancel"]


def test_told_to_end_before_deferring(emulator: Emulator) -> None:
    """A worker that has cancelled on SIGTERM refuses, until Airflow has stored the trigger, to defer."""
    task = RunOperationOperator(
        task_id="run", path="things:run", json={"operation": {"duration": 300}}, deferrable=True
    )
    where = context(task)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(where)
    task.on_kill()

    with pytest.raises(OperationsError, match="as its worker was told to end") as error:
        deferred.value.trigger.serialize()
    assert not isinstance(error.value, AirflowFailException)
    assert kinds(emulator) == ["start", "cancel"]
