"""One start per intent: what a try does with the operation of an earlier one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._lifecycle.record import RECORD_KEY, State
from airflow_provider_operations._lifecycle.task_state import Records
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.request_values import InvalidRequestValue
from airflow_provider_operations.exceptions import (
    OperationCancelled,
    OperationFailed,
    OperationFailedFinal,
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationsError,
    OperationTimeout,
)
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks.worker import WorkerClient
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.operators import RunOperationOperator
from tests.support.tasks import Driver, StateStore, TaskInstance, Verdict, refused_earlier

from .test_operators import WAYS, kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


class DiedError(BaseException):
    """The worker was killed here."""


class Task:
    """One task over several tries, with one state store."""

    def __init__(self, driver: Driver, **arguments: Any) -> None:
        self.driver = driver
        self.store = StateStore()
        self.arguments: dict[str, Any] = {
            "path": "projects/p/things:run",
            "json": {"operation": {"duration": 300, "response": {"a": 1}}},
            "timeout": 1000,
            "outage_tolerance": 60,
            "poke_interval": 20,
            **arguments,
        }

    def operator(self) -> RunOperationOperator:
        return RunOperationOperator(task_id="run", **self.arguments)

    def attempt(self, try_number: int = 1, max_tries: int = 3) -> Verdict:
        return self.driver.run(self.operator, store=self.store, try_number=try_number, max_tries=max_tries)

    def retry(self) -> Verdict:
        return self.attempt(try_number=2)

    def cleared(self) -> Verdict:
        """Airflow raises max_tries with every clear."""
        return self.attempt(try_number=2, max_tries=4)

    @property
    def record(self) -> Any:
        return self.store[RECORD_KEY]


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a context in which the worker dies at a phase."""

    def at(phase: str) -> Any:
        patch = pytest.MonkeyPatch.context()
        inner = patch.__enter__()
        write, start = Records.write, WorkerClient.start_operation

        def dying_write(self: Records, record: Any) -> None:
            if phase == "answered, not stored" and record.state is State.STARTED:
                raise DiedError
            write(self, record)
            if (phase, record.state) in {
                ("noted, not sent", State.STARTING),
                ("stored, not waiting", State.STARTED),
                ("delivered, not reported", State.DELIVERED),
            }:
                raise DiedError

        def dying_start(self: WorkerClient, *arguments: Any, **more: Any) -> Any:
            result = start(self, *arguments, **more)
            if phase == "sent, not answered":
                raise DiedError
            return result

        inner.setattr(Records, "write", dying_write)
        inner.setattr(WorkerClient, "start_operation", dying_start)
        return patch

    return at


def die(task: Task, at: Any) -> None:
    try:
        with pytest.raises(DiedError):
            task.attempt()
    finally:
        at.__exit__(None, None, None)


def operations(emulator: Emulator) -> list[dict[str, Any]]:
    return [emulator.operation(op["name"]) for op in emulator.operations()]


KNOWN = {"request_id_field": "requestId"}


@WAYS
@pytest.mark.parametrize(
    ("phase", "arguments", "first_survives"),
    [
        ("noted, not sent", {}, False),
        ("noted, not sent", KNOWN, False),
        ("sent, not answered", KNOWN, True),
        ("answered, not stored", KNOWN, True),
        ("stored, not waiting", {}, True),
        ("stored, not waiting", KNOWN, True),
        ("delivered, not reported", {}, True),
    ],
)
def test_died_and_tried_again(
    emulator: Emulator,
    driver: Driver,
    dies: Any,
    phase: str,
    arguments: dict[str, Any],
    *,
    first_survives: bool,
    deferrable: bool,
) -> None:
    """Wherever a worker dies, the next try ends with one operation started in all, and its result."""
    task = Task(driver, deferrable=deferrable, **arguments)
    die(task, dies(phase))
    begun = len(operations(emulator))

    verdict = task.retry()

    assert (verdict.state, verdict.value) == ("success", {"a": 1})
    assert len(operations(emulator)) == 1
    assert begun == int(first_survives)
    assert "cancel" not in kinds(emulator)
    assert task.record["state"] == "delivered"


@pytest.mark.parametrize("body", ["<html>", '{"name": "operations/', '{"name": 5}', "[]"])
def test_an_answer_that_nobody_can_read(emulator: Emulator, driver: Driver, body: str) -> None:
    """A start with a request id whose answer can't be read is asked again by the next try, and nothing starts twice."""
    task = Task(driver, **KNOWN)
    emulator.script_fault(kind="start", status=200, body=body, effect=True, times=1)

    first = task.attempt()
    verdict = task.retry()

    assert type(first.error) is OperationsCallError  # to be retried
    assert (verdict.state, verdict.value) == ("success", {"a": 1})
    assert len(operations(emulator)) == 1
    assert "cancel" not in kinds(emulator)


@pytest.mark.parametrize("phase", ["sent, not answered", "answered, not stored"])
def test_without_request_ids_a_lost_answer_is_lost(
    emulator: Emulator, driver: Driver, dies: Any, phase: str, logged: pytest.LogCaptureFixture
) -> None:
    """The one window that can't be closed: the next try warns and starts another, or fails if told to."""
    task = Task(driver)
    die(task, dies(phase))
    strict = Task(driver, on_uncertain_start="fail")
    strict.store.update(task.store)

    refused = strict.retry()
    verdict = task.retry()

    assert type(refused.error) is OperationsCallErrorFinal
    assert "sent a start whose answer is lost, and it can't be repeated: it carries no request id" in str(
        refused.error
    )
    assert verdict.state == "success"
    assert "an operation of it may be running; starting afresh" in logged.text
    assert len(operations(emulator)) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"json": {"operation": {"duration": 1}}}, "another one now", id="another request"),
        pytest.param({"request_id_ttl": 0}, "older than 0 s", id="too old"),
    ],
)
def test_not_the_same_start(
    emulator: Emulator, driver: Driver, dies: Any, change: dict[str, Any], why: str
) -> None:
    """A request id is sent again only with the request that it was made for, and while the server knows it."""
    task = Task(driver, **KNOWN, on_uncertain_start="fail")
    die(task, dies("sent, not answered"))
    task.arguments.update(change)

    assert why in str(task.retry().error)
    assert kinds(emulator) == ["start"]


@WAYS
def test_a_retry_reattaches_and_gets_no_more_time(
    emulator: Emulator,
    driver: Driver,
    moved: MovedClock,
    dies: Any,
    logged: pytest.LogCaptureFixture,
    *,
    deferrable: bool,
) -> None:
    """A retry finds the running operation, says so in a line, and doesn't get more time."""
    task = Task(driver, deferrable=deferrable, timeout=200)
    die(task, dies("stored, not waiting"))
    began = moved.now
    moved.sleep(150)

    verdict = task.retry()

    assert type(verdict.error) is OperationTimeout
    assert f"reattached to {task.record['name']}, started by try 1, still running" in logged.text
    assert moved.now - began == pytest.approx(200, abs=5)
    assert kinds(emulator) == ["start", "cancel"]
    assert task.record["state"] == "failed"


@pytest.mark.parametrize("end", ["success", "failure", "cancelled"])
def test_what_ended_meanwhile_is_delivered_or_started_anew(
    emulator: Emulator, driver: Driver, moved: MovedClock, dies: Any, end: str
) -> None:
    """An operation that has ended meanwhile is delivered if it succeeded; else the retry is a new intent."""
    script: dict[str, Any] = {"duration": 20, "response": {"a": 1}}
    if end == "failure":
        script = {"duration": 20, "error": {"code": 14}}
    task = Task(driver, json={"operation": script}, **KNOWN)
    die(task, dies("stored, not waiting"))
    if end == "cancelled":
        with OperationsHook() as hook:
            hook.cancel_operation(task.record["name"])
    moved.sleep(30)

    verdict = task.retry()

    assert len(operations(emulator)) == (1 if end == "success" else 2)
    assert verdict.state == ("failed" if end == "failure" else "success")
    ids = {entry["query"]["requestId"] for entry in emulator.journal() if entry["kind"] == "start"}
    assert len(ids) == len(operations(emulator))


@WAYS
def test_failed_for_good_meanwhile(
    emulator: Emulator, driver: Driver, moved: MovedClock, dies: Any, *, deferrable: bool
) -> None:
    """
    A failure that no retry helps, and that no try has delivered yet, is delivered; nothing is started for it.

    Nor if a try has noted that it handed the failure over, and was lost before Airflow heard of it.
    """
    script = {"duration": 20, "error": {"code": 9, "message": "the disk is full"}}
    task = Task(driver, deferrable=deferrable, json={"operation": script})
    die(task, dies("stored, not waiting"))
    moved.sleep(30)

    for _ in range(2):
        verdict = task.retry()
        emulator.script_fault(kind="get", status=503, times=1)

        assert type(verdict.error) is OperationFailedFinal
        assert "the disk is full" in str(verdict.error)
        assert kinds(emulator) == ["start"]
        assert task.record["state"] == "failed"


def test_a_forgotten_one_is_final(emulator: Emulator, driver: Driver, moved: MovedClock, dies: Any) -> None:
    """An operation that the server has forgotten is a final error, never a silent second start."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    with OperationsHook() as hook:
        hook.delete_operation(task.record["name"])
    moved.sleep(60)

    verdict = task.retry()

    assert type(verdict.error) is OperationsCallErrorFinal
    assert "the server has forgotten the operation, started by try 1" in str(verdict.error)
    assert kinds(emulator).count("start") == 1


def test_a_failure_is_a_new_intent(emulator: Emulator, driver: Driver) -> None:
    """After a failure the retry carries a new request id: with the old one a server replays the failure."""
    task = Task(driver, json={"operation": {"duration": 5, "error": {"code": 14}}}, **KNOWN)
    first, second = task.attempt(), task.retry()

    assert type(first.error) is type(second.error) is OperationFailed
    ids = [entry["query"]["requestId"] for entry in emulator.journal() if entry["kind"] == "start"]
    assert len(set(ids)) == 2


def test_a_refused_start_leaves_nothing(emulator: Emulator, driver: Driver) -> None:
    """After a refusal there is nothing to look for: the retry starts without a warning."""
    emulator.script_fault(kind="start", status=403, times=1)
    task = Task(driver)
    first = task.attempt()

    assert type(first.error) is OperationsCallErrorFinal
    assert task.record["state"] == "rejected"
    assert task.retry().state == "success"


@WAYS
def test_outage_then_retry(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """An outage that fails a try leaves the operation alone; the retry reattaches. The last try cancels."""
    fault = emulator.script_fault(kind="get", status=503)
    task = Task(driver, deferrable=deferrable, json={"operation": {"duration": 3000, "response": {"a": 1}}})
    first = task.attempt()
    assert type(first.error) is OperationsCallError
    assert kinds(emulator) == ["start"]

    second = task.attempt(try_number=2)
    assert kinds(emulator) == ["start"]
    last = task.attempt(try_number=4)

    assert type(second.error) is type(last.error) is OperationsCallError
    assert kinds(emulator) == ["start", "cancel"]
    assert fault


@WAYS
@pytest.mark.parametrize(
    ("phase", "arguments"),
    [("stored, not waiting", {}), ("sent, not answered", KNOWN), ("answered, not stored", KNOWN)],
)
def test_a_cleared_task_ends_its_predecessor_first(
    emulator: Emulator,
    driver: Driver,
    dies: Any,
    phase: str,
    arguments: dict[str, Any],
    *,
    deferrable: bool,
) -> None:
    """A cleared task first makes sure that its predecessor is over, then starts afresh."""
    task = Task(driver, deferrable=deferrable, **arguments)
    die(task, dies(phase))

    verdict = task.cleared()

    old, new = sorted(operations(emulator), key=lambda op: str(op["metadata"]["createTime"]))
    assert old["error"]["code"] == 1
    assert "error" not in new
    assert old["metadata"]["endTime"] <= new["metadata"]["createTime"]
    assert verdict.state == "success"
    assert kinds(emulator).count("cancel") == 1


def test_cleared_after_its_end(emulator: Emulator, driver: Driver) -> None:
    """Clearing a task that has succeeded cancels nothing and runs it again."""
    task = Task(driver)
    task.attempt()
    verdict = task.cleared()

    assert verdict.state == "success"
    assert kinds(emulator) == ["start", "start"]


def test_cleared_and_not_cancellable(
    emulator: Emulator, driver: Driver, moved: MovedClock, dies: Any, logged: pytest.LogCaptureFixture
) -> None:
    """A predecessor that ignores its cancel is waited for five minutes; then there is a warning."""
    task = Task(driver, json={"operation": {"duration": 3000, "onCancel": "ignore"}}, timeout=10)
    die(task, dies("stored, not waiting"))
    began = moved.now
    task.cleared()

    new = max(op["metadata"]["createTime"] for op in operations(emulator))
    old = min(op["metadata"]["createTime"] for op in operations(emulator))
    assert new > old
    assert "asked to cancel, it is not over yet; starting afresh" in logged.text
    assert 290 <= moved.now - began < 360


def test_cleared_while_resuming(emulator: Emulator, driver: Driver) -> None:
    """Airflow resumes a task that was cleared while it resumed with the old event: that starts afresh."""
    task = Task(driver, json={"operation": {"duration": 30, "response": {"a": 1}}})
    task.attempt()
    old = {"version": 1, "outcome": "not even looked at"}
    ti = TaskInstance("run", try_number=1, max_tries=4)
    context: Any = {"ti": ti, "task_state_store": task.store}

    assert task.operator().execute_complete(context, old, "operations/x", 0.0) == {"a": 1}
    assert kinds(emulator) == ["start", "start"]


@pytest.mark.parametrize(("try_number", "starts"), [(1, 1), (2, 2)])
def test_no_record_where_clears_drop_it(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch, try_number: int, starts: int
) -> None:
    """A resumed task that finds no record was cleared; but not at its first try, whose result is delivered."""
    monkeypatch.setattr("airflow_provider_operations.operators.run.clears_drop_task_state", lambda: True)
    task = Task(driver)
    task.attempt()
    (done,) = (Operation.from_json(one) for one in operations(emulator))
    event = Outcome(Kind.DONE, done.name, done).to_event()
    context: Any = {"ti": TaskInstance("run", try_number), "task_state_store": StateStore()}

    task.operator().execute_complete(context, event, done.name, 0.0)
    assert kinds(emulator) == ["start"] * starts


def test_a_result_is_delivered_again_whenever(emulator: Emulator, driver: Driver, moved: MovedClock) -> None:
    """A worker is lost once it has delivered, and the next try comes after the deadline, to a service that is away."""
    task = Task(driver, timeout=3600)
    task.attempt()
    moved.sleep(4000)
    emulator.script_fault(kind="get", status=503, times=1)

    assert task.retry().state == "success"
    assert kinds(emulator) == ["start"]


def test_a_time_out_is_retried_however_the_operation_ended(
    emulator: Emulator, driver: Driver, moved: MovedClock
) -> None:
    """Some services end a cancelled operation with another code: that is no failure for which no retry helps."""
    script = {"duration": 70, "error": {"code": 9, "message": "ended"}, "onCancel": "ignore"}
    task = Task(driver, timeout=60, json={"operation": script})
    for _ in range(2):
        assert type(task.retry().error) is OperationTimeout
    assert kinds(emulator) == ["start", "cancel"] * 2


def test_no_start_is_repeated_once_its_id_may_be_forgotten(
    emulator: Emulator, driver: Driver, moved: MovedClock
) -> None:
    """Later, the service would take the repetition for another start."""
    emulator.script_fault(kind="start", status=503)
    task = Task(driver, request_id_field="requestId", request_id_ttl=10, outage_tolerance=60)
    began = moved.now
    verdict = task.attempt()
    assert isinstance(verdict.error, OperationsCallError)
    assert moved.now - began < 11


def test_another_service_gets_no_repeated_start(
    emulator: Emulator, driver: Driver, dies: Any, moved: MovedClock
) -> None:
    """It can't recognise the request id, so what came of the first start is unknown."""
    task = Task(driver, request_id_field="requestId", on_uncertain_start="fail")
    die(task, dies("sent, not answered"))
    task.arguments["path_prefix"] = "v2"
    verdict = task.retry()
    assert "it can't be repeated: the request is another one now" in str(verdict.error)
    assert kinds(emulator) == ["start"]


@WAYS
def test_cancelled_by_a_worker_given_up(
    emulator: Emulator, driver: Driver, moved: MovedClock, dies: Any, *, deferrable: bool
) -> None:
    """A cancel after the takeover may be an earlier worker's, come too late: it is no final error."""
    task = Task(driver, deferrable=deferrable)
    die(task, dies("stored, not waiting"))

    def old_worker() -> None:
        moved.on_sleep = None
        with OperationsHook() as hook:
            hook.cancel_operation(task.record["name"])

    moved.on_sleep = old_worker
    second = task.retry()
    third = task.attempt(try_number=3)

    assert type(second.error) is OperationCancelled
    assert third.state == "success"
    assert len(operations(emulator)) == 2


def test_killed_while_looking(
    emulator: Emulator, driver: Driver, dies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill that comes before a retry has looked at its operation cancels it all the same, once."""
    monkeypatch.setattr("airflow_provider_operations._tasks.base.task_state", lambda _: "failed")
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    operator = task.operator()
    operator.on_kill()
    context: Any = {"ti": TaskInstance("run", 2), "task_state_store": task.store}

    with pytest.raises(OperationsError, match="the task was killed; it has been cancelled"):
        operator.execute(context)
    assert kinds(emulator) == ["start", "cancel"]


def test_a_repetition_refused_proves_nothing(
    emulator: Emulator, driver: Driver, dies: Any, moved: MovedClock
) -> None:
    """That a repeated start is refused doesn't mean that the first was: the next try asks again."""
    task = Task(driver, **KNOWN)
    die(task, dies("sent, not answered"))
    emulator.script_fault(kind="start", status=403, times=1)

    assert task.retry().state == "failed"
    assert task.record["state"] == "starting"
    assert task.attempt(try_number=3).state == "success"
    assert len(operations(emulator)) == 1


def test_an_attempt_refused_proves_nothing_of_the_one_before(emulator: Emulator, driver: Driver) -> None:
    """Accepted and unanswered, then refused, within one try: the next try still asks with the same id."""
    emulator.script_fault(kind="start", dropAfterEffect=True, times=1)
    emulator.script_fault(kind="start", status=403, times=1)
    task = Task(driver, **KNOWN)

    assert type(task.attempt().error) is OperationsCallErrorFinal
    assert task.record["state"] == "starting"
    assert task.retry().state == "success"
    assert len(operations(emulator)) == 1


def test_cleared_in_an_outage(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """A predecessor that can't be cancelled just now isn't given up: the try fails, the next sees to it."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    fault = emulator.script_fault(kind="cancel", status=503)

    first = task.cleared()
    assert type(first.error) is OperationsCallError
    assert kinds(emulator).count("start") == 1
    assert fault
    emulator.clear_faults()
    second = task.attempt(try_number=3, max_tries=4)

    assert second.state == "success"
    old, _ = sorted(operations(emulator), key=lambda op: str(op["metadata"]["createTime"]))
    assert old["error"]["code"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cancel", "status": 200, "body": "<html>who are you?</html>"},
        {"kind": "cancel", "status": 401},
        {"kind": "cancel", "status": 403},
        {"status": 404, "body": "<html>default backend</html>"},
    ],
    ids=["a login page", "401", "403", "an ingress without its service"],
)
def test_cleared_and_oddly_answered(
    emulator: Emulator, driver: Driver, dies: Any, fault: dict[str, Any]
) -> None:
    """Nothing is started beside a predecessor because a proxy has answered its cancel: the next try sees to it."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    emulator.script_fault(**fault)

    first = task.cleared()
    emulator.clear_faults()
    second = task.attempt(try_number=3, max_tries=4)

    assert type(first.error) is OperationsCallError
    assert second.state == "success"
    old, new = sorted(operations(emulator), key=lambda op: str(op["metadata"]["createTime"]))
    assert old["error"]["code"] == 1
    assert old["metadata"]["endTime"] <= new["metadata"]["createTime"]


def test_timed_out_in_an_outage(emulator: Emulator, driver: Driver) -> None:
    """An operation that outlived its time-out's cancel is ended by the retry before it starts another."""
    emulator.script_fault(kind="cancel", status=503)
    task = Task(driver, timeout=30)
    first = task.attempt()
    assert "it may still run" in str(first.error)
    emulator.clear_faults()
    task.arguments["timeout"] = 1000

    assert task.retry().state == "success"
    old, _ = sorted(operations(emulator), key=lambda op: str(op["metadata"]["createTime"]))
    assert old["error"]["code"] == 1


def test_without_a_record_every_try_is_the_last(emulator: Emulator, driver: Driver) -> None:
    """Where no retry can take an operation over, a try that gives up cancels it."""
    emulator.script_fault(kind="get", status=503)
    task = Task(driver, durable=False)

    assert type(task.attempt().error) is OperationsCallError
    assert kinds(emulator) == ["start", "cancel"]


@pytest.mark.parametrize(("try_number", "cancelled"), [(1, False), (4, True)], ids=["retried", "last try"])
def test_an_error_of_airflows(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch, try_number: int, *, cancelled: bool
) -> None:
    """Whatever fails the last try, the operation doesn't go on without its task."""

    def broken(self: TaskInstance, key: str, value: Any) -> None:
        raise ConnectionError("the API server is away")

    monkeypatch.setattr(TaskInstance, "xcom_push", broken)
    task = Task(driver)

    assert "the API server is away" in str(task.attempt(try_number=try_number).error)
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])


@pytest.mark.parametrize("how", ["event", "crash"])
def test_the_store_fails_on_the_last_try(
    emulator: Emulator, driver: Driver, dies: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A record that can't be read when a task resumes for the last time leaves no operation behind."""
    task = Task(driver, deferrable=True, **KNOWN)
    die(task, dies("stored, not waiting"))
    name = task.record["name"]

    def broken(self: StateStore, key: str) -> Any:
        raise ConnectionError("no database")

    monkeypatch.setattr(StateStore, "get", broken)
    ti = TaskInstance("run", 4)
    ti.xcom_push("operation_name", name)
    context: Any = {"ti": ti, "task_state_store": task.store}
    event = Outcome(Kind.TIMED_OUT, name).to_event()
    given = {"event": event, "operation_name": name, "started_epoch_s": 0.0}
    method, kwargs = (
        ("execute_complete", given) if how == "event" else ("__fail__", {"error": "Trigger failure"})
    )

    with pytest.raises(Exception, match=r"no database|Trigger failure"):
        task.operator().resume_execution(method, kwargs, context)

    assert kinds(emulator) == ["start", "cancel"]


def test_killed_after_it_failed(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A kill of a process whose try has failed, to be retried, leaves the operation to the next try.

    A heartbeat that comes after Airflow has taken the failure is told to end the process.
    """

    def broken(self: TaskInstance, key: str, value: Any) -> None:
        raise ConnectionError("the API server is away")

    monkeypatch.setattr(TaskInstance, "xcom_push", broken)
    task = Task(driver)
    operator = task.operator()
    context: Any = {"ti": TaskInstance("run"), "task_state_store": task.store}
    with pytest.raises(ConnectionError):
        operator.execute(context)

    operator.on_kill()

    assert kinds(emulator) == ["start"]


def test_a_clear_settles_an_uncertain_start(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """``on_uncertain_start="fail"`` says how to go on, and a clear does."""
    task = Task(driver, on_uncertain_start="fail")
    die(task, dies("sent, not answered"))

    assert "then clear the task to start another" in str(task.retry().error)
    assert task.cleared().state == "success"


def test_a_name_that_is_none(emulator: Emulator, driver: Driver) -> None:
    """A start that names its operation by a URL can't be waited for, and says so."""
    script = {"duration": 5}
    emulator.script_fault(
        kind="start", status=200, body={"name": "https://example.com/operations/1"}, times=1
    )
    error = Task(driver, json={"operation": script}).attempt().error

    assert type(error) is OperationsCallErrorFinal
    assert "the answer's operation can't be asked for" in str(error)


def test_cleared_and_left_alone(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """With ``cancel_on_kill=False`` a clear leaves the old operation running too."""
    task = Task(driver, cancel_on_kill=False)
    die(task, dies("stored, not waiting"))

    assert task.cleared().state == "success"
    assert kinds(emulator) == ["start", "start"]


def test_without_a_name(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """An operation that was over at once and has no name can't be looked for: the retry starts afresh."""
    script = {"duration": 0, "omitName": True, "response": {"a": 1}}
    task = Task(driver, json={"operation": script})
    die(task, dies("stored, not waiting"))

    assert task.retry().value == {"a": 1}
    assert kinds(emulator) == ["start", "start"]


def test_a_result_airflow_missed_is_delivered_again(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """A result that was handed over without Airflow's taking note is handed over again, XComs included."""
    task = Task(driver)
    die(task, dies("delivered, not reported"))
    asked = len(emulator.journal())

    verdict = task.retry()

    assert verdict.value == {"a": 1}
    assert verdict.xcoms["operation"]["done"] is True
    assert len(emulator.journal()) == asked + 1


def test_handed_on_once(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """``wait_for_completion=False``: a retry hands on the same name."""
    task = Task(driver, wait_for_completion=False)
    die(task, dies("stored, not waiting"))

    assert task.retry().value == operations(emulator)[0]["name"]
    assert kinds(emulator) == ["start"]


def test_handed_on_by_a_retry_of_a_changed_dag(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """A DAG that doesn't wait any more says so in the record: else a sweep would take its operation for an orphan."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    task.arguments["wait_for_completion"] = False

    assert task.retry().value == operations(emulator)[0]["name"]
    assert (task.record["state"], task.record["handed_on"]) == ("started", True)
    assert kinds(emulator) == ["start"]


def test_waited_for_by_a_retry_of_a_changed_dag(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """A DAG that waits now says so, too: if it is lost as well, its operation is an orphan."""
    task = Task(driver, wait_for_completion=False)
    die(task, dies("stored, not waiting"))
    task.arguments["wait_for_completion"] = True

    task.retry()
    assert task.record["handed_on"] is False


def test_store_out_of_reach(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its record nothing is started."""
    task = Task(driver)
    monkeypatch.setattr(StateStore, "set", _unreachable)
    assert "no database" in str(task.attempt().error)
    assert kinds(emulator) == []


class Flaky:
    """
    A state store that doesn't take what it is given.

    :param refuses: how many writes, from the one that says ``started`` on.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, moved: MovedClock, refuses: int) -> None:
        self.refused = 0
        self._refuses = refuses
        self._moved = moved
        self._set = StateStore.set
        flaky = self

        def set_(store: StateStore, key: str, value: Any, **more: Any) -> None:
            flaky.set(store, key, value, **more)

        monkeypatch.setattr(StateStore, "set", set_)

    def set(self, store: StateStore, key: str, value: Any, **more: Any) -> None:
        if self.refused or value["state"] == "started":
            self.refused += 1
            if self.refused <= self._refuses:
                self._moved.sleep(9)  # Airflow repeats its own calls for so long
                raise ConnectionError("no database")
        self._set(store, key, value, **more)


@WAYS
def test_started_not_noted_but_found_again(
    emulator: Emulator,
    driver: Driver,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    deferrable: bool,
) -> None:
    """A started operation that can't be noted is left to the next try, which finds it by its request id."""
    flaky = Flaky(monkeypatch, moved, refuses=1)
    task = Task(driver, deferrable=deferrable, **KNOWN)
    first = task.attempt()

    assert flaky.refused == 1
    assert type(first.error) is OperationsError
    assert "doesn't take that (ConnectionError: no database); the next try finds it by its request id" in str(
        first.error
    )
    assert kinds(emulator) == ["start"]
    assert task.record["state"] == "starting"
    assert task.retry().state == "success"
    assert len(operations(emulator)) == 1
    assert "cancel" not in kinds(emulator)


class Away:
    """
    A state store that isn't there.

    :param method: of the store's, ``get`` or ``set``.
    :param seconds: for so long.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, moved: MovedClock, method: str, seconds: float
    ) -> None:
        end = moved.now + seconds
        asked = getattr(StateStore, method)

        def away(store: StateStore, *arguments: Any, **more: Any) -> Any:
            if moved.now < end:
                moved.sleep(9)  # Airflow repeats its own calls for so long
                raise ConnectionError("no database")
            return asked(store, *arguments, **more)

        monkeypatch.setattr(StateStore, method, away, raising=False)


@pytest.mark.parametrize("method", ["get", "set"])
def test_a_store_that_is_away_when_a_retry_begins(
    emulator: Emulator,
    driver: Driver,
    dies: Any,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    logged: pytest.LogCaptureFixture,
    method: str,
) -> None:
    """The last try asks for the record for as long as an outage may last, and needs not note that it goes on."""
    task = Task(driver, outage_tolerance=300)
    die(task, dies("stored, not waiting"))
    Away(monkeypatch, moved, method, 240)
    last = task.attempt(try_number=4)
    assert last.state == "success"
    assert kinds(emulator) == ["start"]
    told = {"get": "doesn't say whether an earlier try", "set": "could not be noted"}[method]
    assert logged.text.count(told) == 1


def test_a_request_id_that_grows_too_old_while_the_store_is_away(
    emulator: Emulator, driver: Driver, dies: Any, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How old the start is counts when the record is there, not when the try began to ask for it."""
    task = Task(driver, outage_tolerance=600, request_id_ttl=300, **KNOWN)
    die(task, dies("sent, not answered"))
    Away(monkeypatch, moved, "get", 400)
    assert task.retry().state == "success"
    ids = [entry["query"]["requestId"] for entry in emulator.journal() if entry["kind"] == "start"]
    assert len(set(ids)) == 2


def test_a_record_that_a_gateway_says_is_not_there(
    emulator: Emulator, driver: Driver, dies: Any, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 404 of a gateway before Airflow's API reads as no record: a retry doesn't start another on one such answer."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    end, get = moved.now + 12, StateStore.get

    def no_route(store: StateStore, key: str) -> Any:
        return None if moved.now < end else get(store, key)

    monkeypatch.setattr(StateStore, "get", no_route, raising=False)
    assert task.retry().state == "success"
    assert kinds(emulator) == ["start"]


def test_a_store_that_stays_away(
    emulator: Emulator, driver: Driver, dies: Any, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try gives up after the outage tolerance with the store's own error, and starts nothing."""
    task = Task(driver, outage_tolerance=120)
    die(task, dies("stored, not waiting"))
    Away(monkeypatch, moved, "get", 1e6)
    began = moved.now
    assert "no database" in str(task.retry().error)
    assert 120 <= moved.now - began < 150
    assert kinds(emulator) == ["start"]


def test_killed_after_it_could_not_be_noted(
    emulator: Emulator, driver: Driver, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow ends a worker whose heartbeats fail; that kill isn't a user's, and the next try finds the operation."""
    Flaky(monkeypatch, moved, refuses=1)
    task = Task(driver, **KNOWN)
    operator = task.operator()
    context: Any = {"ti": TaskInstance("run"), "task_state_store": task.store}
    with pytest.raises(OperationsError):
        operator.execute(context)

    operator.on_kill()

    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize(
    ("arguments", "try_number"),
    [
        pytest.param({}, 1, id="no request id"),
        pytest.param(KNOWN, 4, id="the last try"),
        pytest.param({**KNOWN, "request_id_ttl": 600}, 1, id="the server forgets the id too soon"),
        pytest.param({**KNOWN, "retry_delay": timedelta(hours=2)}, 1, id="the next try comes too late"),
        pytest.param(
            {**KNOWN, "retry_delay": timedelta(minutes=10), "retry_exponential_backoff": True},
            3,
            id="backoff",
        ),
    ],
)
def test_started_and_never_noted(
    emulator: Emulator,
    driver: Driver,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    logged: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    try_number: int,
) -> None:
    """
    What no later try would find is noted for up to 40 s, as Airflow then ends the worker, and cancelled after that.

    The next try knows that it was, and warns of nothing.
    """
    flaky = Flaky(monkeypatch, moved, refuses=5)
    task = Task(driver, **arguments)
    task.store[RECORD_KEY] = refused_earlier()
    began = moved.now
    verdict = task.attempt(try_number=try_number)

    assert "doesn't take that (ConnectionError: no database); it has been cancelled" in str(verdict.error)
    assert 40 <= moved.now - began - 9 <= 60
    assert flaky.refused == 6
    assert kinds(emulator) == ["start", "cancel"]
    logged.clear()
    assert task.attempt(try_number=try_number + 1).state == "success"
    assert "may be running" not in logged.text


def test_started_and_noted_late(
    emulator: Emulator, driver: Driver, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is back within 40 s is no harm."""
    Flaky(monkeypatch, moved, refuses=3)
    task = Task(driver)
    assert task.attempt().state == "success"
    assert kinds(emulator) == ["start"]
    assert task.record["state"] == "delivered"


def test_record_of_a_later_version(emulator: Emulator, driver: Driver, dies: Any) -> None:
    """A record may grow: fields that this version doesn't know are no reason to fail."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    task.store[RECORD_KEY] = {**task.record, "of_later": {"a": [1]}}

    assert task.retry().state == "success"
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize(
    "edited",
    [{"name": 5}, {"deadline_epoch_s": None}, {"max_tries": "3"}, {"reattached": 1}, {"state": "unheard of"}],
    ids=str,
)
def test_edited_records_are_refused(
    emulator: Emulator, driver: Driver, dies: Any, edited: dict[str, Any]
) -> None:
    """A record whose fields aren't what they must be is refused, with the field, before anything is done."""
    task = Task(driver)
    die(task, dies("stored, not waiting"))
    task.store[RECORD_KEY] = {**task.record, **edited}
    before = kinds(emulator)

    assert "it is unknown whether an operation is running" in str(task.retry().error)
    assert kinds(emulator) == before


def test_handed_on_is_noted(emulator: Emulator, driver: Driver) -> None:
    """An operation that nobody waits for is known as such: its task has succeeded, and it is no orphan."""
    task = Task(driver, wait_for_completion=False)
    task.attempt()
    assert (task.record["state"], task.record["handed_on"]) == ("started", True)
    waiting = Task(driver)
    waiting.attempt()
    assert waiting.record["handed_on"] is False


def _unreachable(self: StateStore, key: str, value: Any, *, retention: Any = None) -> None:
    raise ConnectionError("no database")


def test_record_of_another_version(emulator: Emulator, driver: Driver) -> None:
    """A record that can't be read stops the task before anything is started, and says what to do."""
    task = Task(driver)
    task.store[RECORD_KEY] = {"version": 99}

    assert "it is unknown whether an operation is running" in str(task.attempt().error)
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"json": {"at": datetime(2026, 11, 28)}}, "json['at'] is datetime, which can't be sent as it is"),  # noqa: DTZ001  that is the point
        ({"json": {"share": {float("nan")}}}, "json['share'] is set"),
        ({"json": {1: "a", "1": "b"}}, "json has the key 1, which is int"),
        ({"query": {"filter": {"a": 1}}}, "query['filter'] is dict, which can't be sent as it is"),
    ],
    ids=["a naive datetime", "a set", "a key", "a dict in the query"],
)
def test_what_cannot_be_sent(
    emulator: Emulator,
    driver: Driver,
    logged: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    text: str,
) -> None:
    """A request that can't be made is found before a start is noted: no later try takes it for one that was sent."""
    task = Task(driver, on_uncertain_start="fail", **arguments)
    for number in (1, 2):
        verdict = task.attempt(number)
        assert type(verdict.error) is InvalidRequestValue
        assert str(verdict.error).startswith(text)
    assert (emulator.journal(), dict(task.store)) == ([], {})

    mended = Task(driver, on_uncertain_start="fail")
    mended.store = task.store
    assert mended.attempt(3).value == {"a": 1}
    assert "lost" not in logged.text


def test_what_is_converted(emulator: Emulator, driver: Driver) -> None:
    """A moment, a duration and a tuple are sent as JSON has them, in body and query."""
    moment = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
    body = {"at": moment, "keep": timedelta(seconds=3.5), "zones": ("a", "b")}
    task = Task(driver, json=body, query={"at": moment}, wait_for_completion=False)

    assert task.attempt().state == "success"
    (start,) = emulator.journal()
    assert start["body"] == {"at": "2026-11-28T12:00:00Z", "keep": "3.5s", "zones": ["a", "b"]}
    assert start["query"] == {"at": "2026-11-28T12:00:00Z"}


def test_without_a_store(emulator: Emulator, logged: pytest.LogCaptureFixture) -> None:
    """Airflow before 3.3 keeps no task state: the task runs, and says once what is not covered."""
    task = RunOperationOperator(
        task_id="run", path="things:run", json={"operation": {"duration": 1, "response": {"a": 1}}}
    )
    context: Any = {"ti": TaskInstance("run")}

    assert task.execute(context) == {"a": 1}
    assert logged.text.count("this Airflow keeps no task state") == 1
