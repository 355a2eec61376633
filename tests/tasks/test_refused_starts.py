"""Starts that a service refuses: skipped, repeated later, or failed, by the code that it names."""

from __future__ import annotations

import json
import traceback
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._tasks import base
from airflow_provider_operations.exceptions import OperationsCallError, OperationTimeout
from airflow_provider_operations.operation import Code
from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.tasks import StateStore, TaskInstance, context_of, refused_earlier

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.tasks import Driver, Verdict

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["synchronous", "deferrable"])


def body(status: str, http_status: int, reason: str = "") -> str:
    """Return an error as a service of Google's writes it."""
    error: dict[str, Any] = {"code": http_status, "status": status, "message": "as you were told"}
    if reason:
        error["details"] = [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "d.example"}
        ]
    return json.dumps({"error": error})


def refuse(emulator: Emulator, status: str, http_status: int, *, reason: str = "", times: int = 1) -> None:
    emulator.script_fault(
        kind="start",
        status=http_status,
        body=body(status, http_status, reason),
        headers={"Content-Type": "application/json"},
        times=times,
    )


def run(driver: Driver, *, deferrable: bool, **arguments: Any) -> Verdict:
    script = {"operation": {"duration": 5, "response": {"a": 1}}}
    return driver.run(
        lambda: RunOperationOperator(
            task_id="run",
            path="projects/p/things:run",
            deferrable=deferrable,
            **{"json": script, "timeout": 1000, **arguments},
        )
    )


def _task(**arguments: Any) -> RunOperationOperator:
    script = {"operation": {"duration": 5, "response": {"a": 1}}}
    return RunOperationOperator(**{"task_id": "run", "path": "things:run", "json": script, **arguments})


def starts(emulator: Emulator) -> list[dict[str, Any]]:
    return [entry for entry in emulator.journal() if entry["kind"] == "start"]


@WAYS
def test_what_exists_already(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """ALREADY_EXISTS skips the task only where that was asked for."""
    refuse(emulator, "ALREADY_EXISTS", 409, times=2)
    verdict = run(driver, deferrable=deferrable, if_exists="skip")
    assert verdict.state == "skipped"
    assert "ALREADY_EXISTS" in str(verdict.error)
    assert "as you were told" in str(verdict.error)

    assert isinstance(run(driver, deferrable=deferrable).error, OperationsCallError)
    assert len(starts(emulator)) == 2


@pytest.mark.parametrize(
    ("status", "code"), [(409, "ABORTED"), (412, "FAILED_PRECONDITION")], ids=["another runs", "not empty"]
)
def test_the_code_counts_and_not_the_http_status(
    emulator: Emulator, driver: Driver, status: int, code: str
) -> None:
    """HTTP 409 stands for ABORTED, too: another operation is running, which says nothing of the resource."""
    refuse(emulator, code, status)
    assert isinstance(run(driver, deferrable=False, if_exists="skip").error, OperationsCallError)


def test_a_page_is_no_refusal(emulator: Emulator, driver: Driver) -> None:
    """What a proxy answers skips nothing."""
    emulator.script_fault(kind="start", status=409, body="<html>conflict</html>", times=1)
    assert isinstance(run(driver, deferrable=False, if_exists="skip").error, OperationsCallError)


@pytest.mark.parametrize(
    ("http_status", "error"),
    [
        (404, {"code": 404, "message": "not defined by this API"}),
        (404, {"error": {"code": "ResourceNotFound", "message": "no such page"}}),
        (404, {"error": {"status": "FAILED_PRECONDITION", "message": "not empty"}}),
        (409, {"code": 409, "message": "conflict"}),
        (409, {"error": {"code": 1234, "message": "a code of its own"}}),
        (409, {"error": {"code": 409, "message": "exists", "errors": [{"reason": "alreadyExists"}]}}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_an_http_status_in_json_is_no_code(
    emulator: Emulator, driver: Driver, http_status: int, error: dict[str, Any]
) -> None:
    """Gateways answer in JSON, too, and repeat in it nothing but the HTTP status."""
    headers = {"Content-Type": "application/json"}
    emulator.script_fault(kind="start", status=http_status, body=json.dumps(error), headers=headers, times=1)
    refusals = {"if_exists": "skip", "if_missing": "skip", "start_retry_on": ["ABORTED", "NOT_FOUND"]}
    verdict = driver.run(lambda: _task(method="DELETE", json=None, deferrable=False, **refusals))
    assert isinstance(verdict.error, OperationsCallError)
    assert len(starts(emulator)) == 1


@pytest.mark.parametrize(
    "error", [{"code": 5, "message": "gone"}, {"error": {"status": "NOT_FOUND"}}], ids=["gRPC's", "bare"]
)
def test_a_code_by_number_or_name(emulator: Emulator, driver: Driver, error: dict[str, Any]) -> None:
    """Both are the service's own word, with or without a message."""
    headers = {"Content-Type": "application/json"}
    emulator.script_fault(kind="start", status=404, body=json.dumps(error), headers=headers, times=1)
    verdict = driver.run(lambda: _task(method="DELETE", json=None, if_missing="skip", deferrable=False))
    assert verdict.state == "skipped"


def test_a_repeated_start_that_finds_its_own(emulator: Emulator, driver: Driver) -> None:
    """After an answer that is lost, ALREADY_EXISTS may be about what the first start has begun."""
    emulator.script_fault(kind="start", drop=True, effect=True, times=1)
    refuse(emulator, "ALREADY_EXISTS", 409)
    verdict = run(driver, deferrable=False, if_exists="skip", request_id_field="requestId")
    assert isinstance(verdict.error, OperationsCallError)


@pytest.mark.parametrize("durable", [True, False])
def test_a_retry_that_finds_what_the_try_before_has_begun(
    emulator: Emulator, driver: Driver, *, durable: bool
) -> None:
    """The same over tries, without a request id; a clear says that somebody has looked."""
    emulator.script_fault(kind="start", drop=True, effect=True, times=1)
    make = partial(
        _task, deferrable=False, if_exists="skip", start_retry_on="ABORTED", retries=3, durable=durable
    )
    store = StateStore()
    assert driver.run(make, store=store).state == "failed"
    refuse(emulator, "ABORTED", 409)
    refuse(emulator, "ALREADY_EXISTS", 409, times=3)
    for try_number in (2, 3):
        verdict = driver.run(make, store=store, try_number=try_number)
        assert isinstance(verdict.error, OperationsCallError)
    assert driver.run(make, store=store, try_number=4, max_tries=6).state == "skipped"


def test_what_a_failed_operation_has_left(emulator: Emulator, driver: Driver) -> None:
    """A retry isn't skipped by what the try before has made: its failure would pass for nothing to do."""
    script = {"operation": {"duration": 5, "error": {"code": 13, "message": "half made"}}}
    make = partial(_task, json=script, deferrable=False, if_exists="skip", retries=3)
    store = StateStore()
    assert driver.run(make, store=store).state == "failed"
    refuse(emulator, "ALREADY_EXISTS", 409)
    assert driver.run(make, store=store, try_number=2).state == "failed"


@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "handed on"])
@pytest.mark.parametrize("forgotten", [False, True], ids=["known", "forgotten"])
def test_a_clear_after_a_success(emulator: Emulator, driver: Driver, *, waits: bool, forgotten: bool) -> None:
    """What it finds is what it has made before, and that is as it should be."""
    make = partial(_task, deferrable=False, if_exists="skip", retries=3, wait_for_completion=waits)
    store = StateStore()
    assert driver.run(make, store=store).state == "success"
    driver.moved.sleep(60)
    if forgotten:
        missing = {"Content-Type": "application/json"}
        for kind in ("get", "cancel"):
            emulator.script_fault(
                kind=kind, status=404, body=body("NOT_FOUND", 404), headers=missing, times=9
            )
    refuse(emulator, "ALREADY_EXISTS", 409)
    assert driver.run(make, store=store, try_number=2, max_tries=4).state == "skipped"


def test_a_clear_that_ends_what_runs(emulator: Emulator, driver: Driver) -> None:
    """What it finds is perhaps half made, by the operation that it has just cancelled."""
    script = {"operation": {"duration": 5000}}
    make = partial(
        _task, json=script, deferrable=False, if_exists="skip", retries=3, wait_for_completion=False
    )
    store = StateStore()
    assert driver.run(make, store=store).state == "success"
    refuse(emulator, "ALREADY_EXISTS", 409, times=2)
    assert driver.run(make, store=store, try_number=2, max_tries=4).state == "failed"
    assert [entry for entry in emulator.journal() if entry["kind"] == "cancel"]
    assert driver.run(make, store=store, try_number=3, max_tries=5).state == "skipped"


@pytest.mark.parametrize(
    ("http_status", "headers"), [(429, {}), (503, {"Retry-After": "1"})], ids=["quota", "not now"]
)
def test_a_start_that_was_put_off_before(
    emulator: Emulator, driver: Driver, http_status: int, headers: dict[str, str]
) -> None:
    """Such an answer says that nothing was begun, so what exists is not this task's, with a request id or without."""
    emulator.script_fault(kind="start", status=http_status, headers=headers, times=1)
    refuse(emulator, "ALREADY_EXISTS", 409)
    store = StateStore()
    make = partial(_task, deferrable=False, if_exists="skip", request_id_field="requestId")
    assert driver.run(make, store=store).state == "skipped"
    assert store["airflow_provider_operations"]["state"] == "rejected"
    assert len(starts(emulator)) == 2


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_what_is_missing(emulator: Emulator, driver: Driver, method: str) -> None:
    """NOT_FOUND skips a task that deletes, and no other."""
    refuse(emulator, "NOT_FOUND", 404)
    verdict = driver.run(
        lambda: RunOperationOperator(
            task_id="run", path="projects/p/things/x", method=method, if_missing="skip", timeout=100
        )
    )
    assert verdict.state == ("skipped" if method == "DELETE" else "failed")


@WAYS
@pytest.mark.parametrize(
    ("retry_on", "status", "http_status", "reason"),
    [
        ("ABORTED", "ABORTED", 409, ""),
        ([Code.FAILED_PRECONDITION], "FAILED_PRECONDITION", 400, ""),
        (("RESOURCE_NOT_READY",), "FAILED_PRECONDITION", 400, "RESOURCE_NOT_READY"),
        ("IAM_PERMISSION_DENIED", "PERMISSION_DENIED", 403, "IAM_PERMISSION_DENIED"),
        ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", 429, ""),
    ],
    ids=["code", "of several codes", "reason", "a reason much like a code", "quota"],
)
def test_a_start_that_is_refused_for_now(
    emulator: Emulator,
    driver: Driver,
    retry_on: Any,
    status: str,
    http_status: int,
    reason: str,
    *,
    deferrable: bool,
) -> None:
    """It is started again until it is taken: each time with another request id, and in the triggerer's time."""
    refuse(emulator, status, http_status, reason=reason, times=3)
    began_s = driver.moved.now
    verdict = run(
        driver, deferrable=deferrable, start_retry_on=retry_on, request_id_field="requestId", poke_interval=20
    )
    assert (verdict.state, verdict.value) == ("success", {"a": 1})
    assert verdict.deferrals == (4 if deferrable else 0)
    assert len(starts(emulator)) == 4
    assert len({entry["query"]["requestId"] for entry in starts(emulator)}) == 4
    assert driver.moved.now - began_s >= 15


@WAYS
def test_the_time_to_start_is_up(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """After ``start_timeout`` the refusal is the task's failure."""
    refuse(emulator, "ABORTED", 409, times=1000)
    began_s = driver.moved.now
    verdict = run(driver, deferrable=deferrable, start_retry_on="ABORTED", start_timeout=60)
    assert isinstance(verdict.error, OperationsCallError)
    assert "ABORTED" in str(verdict.error)
    assert 40 <= driver.moved.now - began_s <= 61


@WAYS
def test_the_deadline_counts_from_the_first_start(
    emulator: Emulator, driver: Driver, *, deferrable: bool
) -> None:
    """``timeout`` isn't begun anew by a start that was refused."""
    refuse(emulator, "ABORTED", 409, times=4)
    began_s = driver.moved.now
    endless = {"operation": {"duration": 5000}}
    verdict = run(driver, deferrable=deferrable, json=endless, start_retry_on="ABORTED", timeout=100)
    assert "was not over" in str(verdict.error)
    assert 99 <= driver.moved.now - began_s <= 130


def test_a_worker_that_comes_late(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that waits for its next start, and then for a worker until its time is up, starts nothing more."""
    refuse(emulator, "ABORTED", 409)
    run_trigger = driver.trigger

    def late(trigger: Any) -> Any:
        event = run_trigger(trigger)
        driver.moved.sleep(200)
        return event

    monkeypatch.setattr(driver, "trigger", late)
    verdict = driver.run(partial(_task, deferrable=True, start_retry_on="ABORTED", timeout=100))
    assert isinstance(verdict.error, OperationTimeout)
    assert "(not started)" in str(verdict.error)
    assert len(starts(emulator)) == 1


def test_arguments_of_the_trigger_that_are_lost(emulator: Emulator, driver: Driver) -> None:
    """``dag.test`` resumes a task without them; the record knows when the first start was sent."""
    refuse(emulator, "ABORTED", 409, times=30)

    class Loses(RunOperationOperator):
        def execute_start(self, context: Any, event: Any = None, first_start_epoch_s: float = 0.0) -> Any:
            return super().execute_start(context, event)

    began_s = driver.moved.now
    verdict = driver.run(
        lambda: Loses(
            task_id="run", path="things:run", deferrable=True, start_retry_on="ABORTED", start_timeout=60
        )
    )
    assert isinstance(verdict.error, OperationsCallError)
    assert 40 <= driver.moved.now - began_s <= 61


def test_cleared_while_it_resumes_to_start(emulator: Emulator, driver: Driver) -> None:
    """A clear is a new intent, whose time begins anew."""
    refuse(emulator, "ABORTED", 409)
    store, now_s = StateStore(), driver.moved.now
    store["airflow_provider_operations"] = {**refused_earlier(), "started_epoch_s": now_s - 500}
    task = _task(deferrable=False, start_retry_on="ABORTED", timeout=100)
    context = context_of(TaskInstance("run", try_number=2, max_tries=5), store)
    arguments = {"event": True, "first_start_epoch_s": now_s - 500}
    assert task.resume_execution("execute_start", arguments, context) == {"a": 1}
    assert store["airflow_provider_operations"]["started_epoch_s"] >= now_s


def test_the_deadline_after_a_resume_without_an_event(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait that goes on then ends when it would have ended, although its operation was started late."""
    refuse(emulator, "ABORTED", 409, times=10)
    run_trigger = driver.trigger
    resumed: list[Any] = []

    def without_event(trigger: Any) -> Any:
        if resumed or not isinstance(trigger, OperationTrigger):
            return run_trigger(trigger)
        resumed.append(trigger)
        return None

    monkeypatch.setattr(driver, "trigger", without_event)
    began_s = driver.moved.now
    script = {"operation": {"duration": 5000}}
    verdict = driver.run(partial(_task, json=script, deferrable=True, start_retry_on="ABORTED", timeout=200))
    assert isinstance(verdict.error, OperationTimeout)
    assert len(resumed) == 1
    assert 199 <= driver.moved.now - began_s <= 230


def test_execution_timeout_that_spans_stays(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Airflow 2.11 what the refused starts have taken of it is taken once, and not twice."""
    monkeypatch.setattr(base, "EXECUTION_TIMEOUT_SPANS_STAYS", True)
    began_s = driver.moved.now
    monkeypatch.setattr(base, "spent_of_execution_timeout_s", lambda _: driver.moved.now - began_s)
    refuse(emulator, "ABORTED", 409, times=17)
    store = StateStore()
    limit = timedelta(seconds=1000)
    make = partial(_task, deferrable=True, start_retry_on="ABORTED", execution_timeout=limit)
    assert driver.run(make, store=store).state == "success"
    record = store["airflow_provider_operations"]
    assert record["answered_epoch_s"] - began_s > 250
    assert record["deadline_epoch_s"] == pytest.approx(began_s + 1000 - base.RESUME_S, abs=5)


@WAYS
def test_the_record_between_two_starts(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """Nothing runs then, and the record says so; it keeps when the intent began."""
    refuse(emulator, "ABORTED", 409, times=2)
    store, states = StateStore(), []

    class Looks(RunOperationOperator):
        def _wait_to_start_again(self, *args: Any, **kwargs: Any) -> None:
            states.append(store["airflow_provider_operations"]["state"])
            super()._wait_to_start_again(*args, **kwargs)

    began_s = driver.moved.now
    driver.run(
        lambda: Looks(
            task_id="run",
            path="things:run",
            json={"operation": {"duration": 5}},
            deferrable=deferrable,
            start_retry_on="ABORTED",
        ),
        store=store,
    )
    record = store["airflow_provider_operations"]
    assert states == ["rejected", "rejected"]
    assert record["state"] == "delivered"
    assert record["started_epoch_s"] == pytest.approx(began_s, abs=1)
    assert record["answered_epoch_s"] >= began_s + 9.9


def test_execution_timeout_while_it_is_unknown_whether_it_runs(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The try may be retried, as only the next one finds by its request id what the first start has begun."""
    emulator.script_fault(kind="start", drop=True, effect=True, times=1)
    refuse(emulator, "ABORTED", 409)
    store, real = StateStore(), clock.sleep

    def interrupted(seconds: float) -> None:
        if seconds >= 10:
            raise AirflowTaskTimeout("Timeout")
        real(seconds)

    arguments: dict[str, Any] = {
        "deferrable": False,
        "start_retry_on": "ABORTED",
        "request_id_field": "requestId",
        "execution_timeout": timedelta(seconds=500),
    }
    make = partial(_task, **arguments)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "sleep", interrupted)
        verdict = driver.run(make, store=store)
    assert isinstance(verdict.error, OperationTimeout)
    assert not isinstance(verdict.error, AirflowFailException)
    assert "may have been carried out before" in str(verdict.error)
    assert driver.run(make, store=store, try_number=2).state == "success"
    assert len({entry["query"]["requestId"] for entry in starts(emulator)}) == 1


def test_a_long_refusal(emulator: Emulator, driver: Driver) -> None:
    """What Airflow logs of the failure is cut, its chain of exceptions included."""
    refusal = {"error": {"status": "ABORTED", "message": "x" * 1_000_000}}
    headers = {"Content-Type": "application/json"}
    emulator.script_fault(kind="start", status=409, body=json.dumps(refusal), headers=headers, times=1)
    verdict = run(driver, deferrable=False, start_retry_on="ABORTED", start_timeout=5)
    assert verdict.error is not None
    assert len("".join(traceback.format_exception(verdict.error))) < 30_000


class _WorkerLostError(BaseException):
    """The worker is gone: no code of the task runs any more."""


def test_a_worker_lost_after_many_refusals(emulator: Emulator, driver: Driver) -> None:
    """The service knows a request id since it was sent, and not since the first start, which had another."""
    refuse(emulator, "ABORTED", 409, times=25)
    store = StateStore()

    class Lost(RunOperationOperator):
        def _see_what_the_api_has(self, *_: Any) -> None:  # the service has begun it, and nothing is noted
            raise _WorkerLostError

    arguments: dict[str, Any] = {
        "task_id": "run",
        "path": "things:run",
        "json": {"operation": {"duration": 5}},
        "start_retry_on": "ABORTED",
        "request_id_field": "requestId",
        "request_id_ttl": 300,
        "start_timeout": 20_000,
        "deferrable": False,
    }
    with pytest.raises(_WorkerLostError):
        driver.run(lambda: Lost(**arguments), store=store)
    lost = starts(emulator)[-1]["query"]["requestId"]
    assert driver.moved.now - store["airflow_provider_operations"]["started_epoch_s"] > 310
    driver.moved.sleep(200)
    verdict = driver.run(lambda: RunOperationOperator(**arguments), store=store, try_number=2)
    assert verdict.state == "success"
    assert starts(emulator)[-1]["query"]["requestId"] == lost


def test_killed_between_two_starts(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is told to end while it waits starts nothing more."""
    refuse(emulator, "ABORTED", 409, times=5)
    task = RunOperationOperator(task_id="run", path="things:run", deferrable=False, start_retry_on="ABORTED")

    def killed(_: float) -> None:
        task.on_kill()

    monkeypatch.setattr(clock, "sleep", killed)
    verdict = driver.run(lambda: task)
    assert verdict.state == "failed"
    assert len(starts(emulator)) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"if_exists": "waits"}, "'if_exists' is 'fail', 'skip' or 'wait', not 'waits'"),
        ({"if_missing": None}, "'if_missing' is 'fail' or 'skip', not None"),
        ({"start_retry_on": "aborted please"}, "not 'aborted please'"),
        ({"start_retry_on": ["ABORTD"]}, "is 'ABORTED' meant?"),
        ({"start_retry_on": [None]}, "not None"),
        ({"start_retry_on": None}, "not None"),
        ({"start_retry_on": 1.5}, "not 1.5"),
        ({"start_retry_on": b"ABORTED"}, "not b'ABORTED'"),
        ({"start_retry_on": ["ALREADY_EXIST"]}, "is 'ALREADY_EXISTS' meant?"),
        ({"start_retry_on": 1234}, "not 1234"),
        ({"start_retry_on": ["OK"]}, "not 0"),
        ({"if_exists": ["skip"]}, "'if_exists' is 'fail', 'skip' or 'wait'"),
        ({"start_timeout": -1}, "start_timeout"),
    ],
    ids=repr,
)
def test_bad_arguments(arguments: dict[str, Any], text: str) -> None:
    """They are refused when the DAG is parsed."""
    with pytest.raises(ValueError, match=text.replace("?", r"\?")):
        RunOperationOperator(task_id="run", path="things:run", **arguments)
