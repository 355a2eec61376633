"""A worker's last moment: Airflow makes the extra links after it has taken, or refused, what the task reported."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_operations._lifecycle.record import RECORD_KEY
from airflow_provider_operations.exceptions import (
    OperationFailedFinal,
    OperationsCallError,
    OperationsError,
    OperationTimeout,
)
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.links import OperationLink
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator, run
from airflow_provider_operations.sensors import OperationSensor
from tests.support.tasks import StateStore, TaskInstance, context_of, refused_earlier
from tests.versions import AIRFLOW

from .test_operators import kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


class Airflow:
    """What Airflow answers of the task's state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow.providers.common.compat.sdk import XCom
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        self.answer: Any = {"run": {"task": "deferred"}}
        self.asked = 0
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", self.states)
        monkeypatch.setattr(XCom, "get_value", lambda **_: None)

    def states(self, **_: Any) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def say(self, state: str | None) -> None:
        self.answer = {"run": {"task": state}}


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    return Airflow(monkeypatch)


def run_operator(**arguments: Any) -> RunOperationOperator:
    body = {"operation": {"duration": 3600, "cancelDelay": 0}}
    return RunOperationOperator(task_id="run", path="things:run", json=body, deferrable=True, **arguments)


def sensor(**arguments: Any) -> OperationSensor:
    with OperationsHook() as hook:
        body = {"operation": {"duration": 3600, "cancelDelay": 0}}
        name = hook.start_operation("things:run", json=body).name
    return OperationSensor(task_id="run", operation_name=name, deferrable=True, **arguments)


def deferred(task: Any, ti: TaskInstance) -> Any:
    """Run a task up to its deferral, which Airflow stores or refuses; return the trigger."""
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context_of(ti, StateStore()))
    deferral.value.trigger.serialize()
    return deferral.value.trigger


def last_moment(task: Any, ti: TaskInstance) -> None:
    """Do what Airflow does at the end of a worker's process."""
    OperationLink().get_link(operator=task, ti_key=ti)


TASKS: dict[str, Callable[[], Any]] = {
    "record": run_operator,
    "no record": lambda: run_operator(durable=False),
    "sensor": lambda: sensor(cancel_on_kill=True),
}
OVER: dict[str, Any] = {
    **{state: {"run": {"task": state}} for state in ("failed", "success", "skipped", "upstream_failed")},
    "gone": {},
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("answer", OVER.values(), ids=OVER)
def test_a_refused_deferral_cancels(
    emulator: Emulator, airflow: Airflow, make: Callable[[], Any], answer: Any
) -> None:
    """
    A task that was marked between its start and its deferral: no trigger exists, and no ``on_kill`` runs.

    Airflow refuses the deferral, and its links are made all the same.
    """
    task, ti = make(), TaskInstance("task")
    deferred(task, ti)
    airflow.answer = answer
    last_moment(task, ti)
    assert kinds(emulator) == ["start", "cancel"]
    assert airflow.asked == 1


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize(
    "answer",
    [{"run": {"task": "deferred"}}, {"run": {"task": "running"}}, ConnectionError("no answer")],
    ids=["deferred", "not reported yet", "no answer"],
)
def test_a_taken_deferral_stays(
    emulator: Emulator, airflow: Airflow, make: Callable[[], Any], answer: Any
) -> None:
    """A deferral that Airflow has taken, or that its supervisor will report at the end, is left to the trigger."""
    task, ti = make(), TaskInstance("task")
    deferred(task, ti)
    airflow.answer = answer
    last_moment(task, ti)
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("owner", TASKS)
@pytest.mark.parametrize("state", [None, "scheduled", "queued", "restarting"])
def test_a_clear_cancels_nothing(emulator: Emulator, airflow: Airflow, owner: str, state: str | None) -> None:
    """A clear is seen to by the next try, where a record tells it of the operation; a sensor's waits for it again."""
    task, ti = TASKS[owner](), TaskInstance("task")
    deferred(task, ti)
    airflow.say(state)
    last_moment(task, ti)
    known = owner == "sensor" or (owner == "record" and AIRFLOW >= (3, 3))
    assert kinds(emulator) == (["start"] if known else ["start", "cancel"])


@pytest.mark.parametrize("owner", ["record", "sensor"])
def test_a_clear_that_drops_the_record(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    """The next try won't know of the operation, so a worker whose deferral was refused as it was cleared cancels it."""
    monkeypatch.setattr(run, "clears_drop_task_state", lambda: True)
    task, ti = TASKS[owner](), TaskInstance("task")
    deferred(task, ti)
    airflow.say("restarting")
    last_moment(task, ti)
    assert kinds(emulator) == (["start"] if owner == "sensor" else ["start", "cancel"])


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize(("state", "cancelled"), [("failed", True), ("deferred", False)])
def test_told_to_end_while_it_defers(
    emulator: Emulator, airflow: Airflow, make: Callable[[], Any], state: str, *, cancelled: bool
) -> None:
    """A SIGTERM in the moment of the deferral: evicted, the trigger goes on; killed by a user, it is cancelled."""
    task, ti = make(), TaskInstance("task")
    deferred(task, ti)
    task.on_kill()
    assert kinds(emulator) == ["start"]
    airflow.say(state)
    last_moment(task, ti)
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])


@pytest.mark.parametrize(
    "make", [lambda: run_operator(cancel_on_kill=False), sensor], ids=["operator", "sensor"]
)
def test_not_to_be_cancelled(emulator: Emulator, airflow: Airflow, make: Callable[[], Any]) -> None:
    """Without ``cancel_on_kill`` Airflow isn't even asked."""
    task, ti = make(), TaskInstance("task")
    deferred(task, ti)
    airflow.say("failed")
    last_moment(task, ti)
    assert airflow.asked == 0
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("fault", [None, {"kind": "get", "status": 503}], ids=["handed on", "gave up on it"])
def test_told_to_end_after_the_stay(
    emulator: Emulator, airflow: Airflow, fault: dict[str, Any] | None
) -> None:
    """
    A SIGTERM after a task has come to its end says nothing of the operation that goes on.

    Airflow ends a process whose callbacks take long, and evicts it at any moment.
    """
    if fault is None:
        body = {"operation": {"duration": 3600}}
        task: Any = RunOperationOperator(task_id="run", path="t:run", json=body, wait_for_completion=False)
        task.execute(context_of(TaskInstance("run"), StateStore()))
    else:
        task = sensor(cancel_on_kill=True, outage_tolerance=5)
        task.deferrable = False
        emulator.script_fault(**fault)
        with pytest.raises(OperationsCallError):
            task.execute(context_of(TaskInstance("run"), StateStore()))

    task.on_kill()

    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize(
    ("try_number", "cancelled"), [(1, True), (4, False)], ids=["marked", "gave up on it"]
)
def test_a_sensor_that_gave_up(
    emulator: Emulator, airflow: Airflow, try_number: int, *, cancelled: bool
) -> None:
    """
    A sensor whose last try gives up on a service that doesn't answer has failed by that, and cancels nothing.

    Failed with a retry left, it was marked.
    """
    task: Any = sensor(cancel_on_kill=True, outage_tolerance=5)
    task.deferrable = False
    emulator.script_fault(kind="get", status=503)
    ti = TaskInstance("run", try_number)
    with pytest.raises(OperationsCallError):
        task.execute(context_of(ti, StateStore()))
    airflow.say("failed")
    last_moment(task, ti)
    task.on_kill()
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])


def test_left_as_asked_when_the_time_was_up(emulator: Emulator, airflow: Airflow) -> None:
    """With ``cancel_on_timeout=False`` the operation goes on, whatever ends the process after that."""
    task = RunOperationOperator(
        task_id="run",
        path="t:run",
        json={"operation": {"duration": 3600}},
        timeout=30,
        cancel_on_timeout=False,
    )
    with pytest.raises(OperationTimeout, match="it goes on running"):
        task.execute(context_of(TaskInstance("run"), StateStore()))
    task.on_kill()
    assert kinds(emulator) == ["start"]


class Gone(BaseException):
    """The process is gone."""


def told_to_end(task: Any, ti: TaskInstance, moved: MovedClock, *, stands_still_s: float = 0.0) -> StateStore:
    """Run a task in a worker that is told to end while it waits, and killed a moment later; return its store."""

    def signals() -> None:
        moved.on_sleep = None
        moved.now += stands_still_s
        task.on_kill()
        raise Gone

    store = StateStore({RECORD_KEY: refused_earlier()} if ti.try_number > 1 else {})
    moved.on_sleep = signals
    with pytest.raises(Gone):
        task.execute(context_of(ti, store))
    return store


HELD: dict[str, Callable[[], Any]] = {
    "record": lambda: in_a_worker(run_operator()),
    "sensor": lambda: in_a_worker(sensor(cancel_on_kill=True)),
}


def in_a_worker(task: Any) -> Any:
    task.deferrable = False
    return task


@pytest.mark.skipif(
    AIRFLOW < (3, 3), reason="before 3.3 nothing tells why a worker is to end, and it cancels"
)
@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
@pytest.mark.parametrize(
    ("answer", "cancelled"),
    [
        *((answer, True) for answer in OVER.values()),
        *(
            ({"run": {"task": state}}, False)
            for state in ("running", "up_for_retry", "deferred", "queued", None)
        ),
        (ConnectionError("no answer"), False),
    ],
    ids=[*OVER, "evicted", "up_for_retry", "deferred", "queued", "no state", "no answer"],
)
def test_told_to_end_while_it_waits(
    emulator: Emulator,
    airflow: Airflow,
    moved: MovedClock,
    make: Callable[[], Any],
    answer: Any,
    *,
    cancelled: bool,
) -> None:
    """
    A worker that is told to end cancels if its task is over; else the next try goes on with the operation.

    Airflow ends a worker by the same signal when a user acts on its task, when it is evicted, when it can't reach
    Airflow, and when it stood still until a retry had its task.
    """
    task, ti = make(), TaskInstance("task")
    airflow.answer = answer
    store = told_to_end(task, ti, moved)
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])
    assert airflow.asked == 1
    if store and not cancelled:
        with pytest.raises(TaskDeferred):
            run_operator().execute(context_of(TaskInstance("task", 2), store))
        assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("try_number", [1, 4], ids=["retries left", "the last try"])
@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_told_to_end_when_the_operation_is_done(
    emulator: Emulator, airflow: Airflow, moved: MovedClock, make: Callable[[], Any], try_number: int
) -> None:
    """A worker that stood still may come back when the retry has delivered: there is nothing to cancel."""
    airflow.say("success")
    told_to_end(make(), TaskInstance("task", try_number), moved, stands_still_s=7200)
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_told_to_end_on_the_last_try(
    emulator: Emulator, airflow: Airflow, moved: MovedClock, make: Callable[[], Any]
) -> None:
    """No later try goes on with the operation, so it ends, and Airflow isn't asked."""
    told_to_end(make(), TaskInstance("task", 4), moved)
    assert kinds(emulator) == ["start", "cancel"]
    assert airflow.asked == 0


@pytest.mark.skipif(
    AIRFLOW < (3, 3), reason="before 3.3 nothing tells why a worker is to end, and it cancels"
)
@pytest.mark.parametrize("state", ["running", "failed"])
def test_told_to_end_before_it_looks(
    emulator: Emulator, airflow: Airflow, moved: MovedClock, state: str
) -> None:
    """A kill that comes before a retry has its operation in its hands: the same question decides."""
    airflow.say("running")
    store = told_to_end(in_a_worker(run_operator()), TaskInstance("task"), moved)
    task = run_operator()
    task.on_kill()
    airflow.say(state)
    with pytest.raises(OperationsError if state == "failed" else TaskDeferred):
        task.execute(context_of(TaskInstance("task", 2), store))
    assert kinds(emulator) == (["start", "cancel"] if state == "failed" else ["start"])


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 a worker that is told to end doesn't ask")
def test_told_to_end_in_a_call_of_airflow(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A signal that interrupts a call of Airflow's: the next one is answered only once that has gone on.

    The task is held up at its deferral until it is known what became of it.
    """
    task = run_operator()
    handled = threading.Event()
    states, set_ = airflow.states, StateStore.set

    def after_the_interrupted_call(**asked: Any) -> Any:
        assert handled.wait(10)
        return states(**asked)

    def interrupted(self: StateStore, key: str, value: Any, **more: Any) -> None:
        set_(self, key, value, **more)
        if value["state"] == "started":
            task.on_kill()
            handled.set()

    monkeypatch.setattr(
        "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states",
        after_the_interrupted_call,
    )
    monkeypatch.setattr(StateStore, "set", interrupted)
    airflow.say("failed")
    with pytest.raises(OperationsError, match="was cancelled, as its worker was told to end"):
        deferred(task, TaskInstance("task"))
    assert kinds(emulator) == ["start", "cancel"]


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 there is no record")
@pytest.mark.parametrize("state", ["running", "failed"])
def test_told_to_end_while_the_operation_is_noted(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A signal between the start's answer and its note: the note is waited for, so that the next try may go on."""
    task, ti = run_operator(), TaskInstance("task")
    set_ = StateStore.set

    def interrupted(self: StateStore, key: str, value: Any, **more: Any) -> None:
        if value["state"] == "started":
            task.on_kill()
        set_(self, key, value, **more)

    monkeypatch.setattr(StateStore, "set", interrupted)
    airflow.say(state)
    if state == "failed":
        with pytest.raises(OperationsError, match="was cancelled, as its worker was told to end"):
            deferred(task, ti)
    else:
        deferred(task, ti)
        last_moment(task, ti)
    assert kinds(emulator) == (["start", "cancel"] if state == "failed" else ["start"])


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 there is no record")
def test_told_to_end_and_the_note_fails(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no later try can know of ends with this process, whatever Airflow says."""
    task, ti = run_operator(), TaskInstance("task")
    set_ = StateStore.set

    def fails(self: StateStore, key: str, value: Any, **more: Any) -> None:
        if value["state"] == "started":
            task.on_kill()
            raise ConnectionError("no database")
        set_(self, key, value, **more)

    monkeypatch.setattr(StateStore, "set", fails)
    airflow.say("running")
    with pytest.raises(OperationsError):
        deferred(task, ti)
    assert "cancel" in kinds(emulator)


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 there is no record")
@pytest.mark.parametrize("takes_it", [True, False], ids=["noted", "not noted"])
def test_told_to_end_while_a_request_id_is_noted(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, *, takes_it: bool
) -> None:
    """What the next try finds by its request id is left to it, whether its name could be noted or not."""
    task, ti = run_operator(request_id_field="requestId"), TaskInstance("task")
    set_ = StateStore.set

    def interrupted(self: StateStore, key: str, value: Any, **more: Any) -> None:
        if value["state"] == "started":
            task.on_kill()
            if not takes_it:
                raise ConnectionError("410 Gone")
        set_(self, key, value, **more)

    monkeypatch.setattr(StateStore, "set", interrupted)
    airflow.say("running")
    with pytest.raises(TaskDeferred if takes_it else OperationsError):
        task.execute(context_of(ti, StateStore()))
    last_moment(task, ti)
    assert kinds(emulator) == ["start"]


HANDED_ON: dict[str, Any] = {
    "wait_for_completion": False,
    "path": "t:run",
    "json": {"operation": {"duration": 3600}},
}


@pytest.mark.parametrize(
    ("state", "cancelled"), [("success", False), ("running", False), ("failed", True), ("skipped", True)]
)
def test_handed_on_and_marked(emulator: Emulator, airflow: Airflow, state: str, *, cancelled: bool) -> None:
    """A task that hands its operation on and was marked during the start call: Airflow refuses its success."""
    task, ti = RunOperationOperator(task_id="run", **HANDED_ON), TaskInstance("run")
    task.execute(context_of(ti, StateStore()))
    airflow.say(state)
    last_moment(task, ti)
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 a worker that is told to end doesn't ask")
def test_handed_on_by_a_retry(emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that stood still in its start, and comes back when a retry has handed the operation on, leaves it."""
    task = RunOperationOperator(task_id="run", request_id_field="requestId", **HANDED_ON)
    set_ = StateStore.set

    def interrupted(self: StateStore, key: str, value: Any, **more: Any) -> None:
        if value["state"] == "started":
            task.on_kill()
            raise Gone
        set_(self, key, value, **more)

    monkeypatch.setattr(StateStore, "set", interrupted)
    airflow.say("success")
    with pytest.raises(Gone):
        task.execute(context_of(TaskInstance("run"), StateStore()))
    for thread in threading.enumerate():
        if thread.name == "cancel":
            thread.join(10)
    assert kinds(emulator) == ["start"]


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 a worker that is told to end cancels")
def test_told_to_end_and_goes_on(emulator: Emulator, airflow: Airflow, moved: MovedClock) -> None:
    """A worker that outlives its signal judges as ever: what no retry helps is final."""
    script = {"duration": 60, "error": {"code": 3, "message": "no such image"}}
    task = RunOperationOperator(task_id="run", path="t:run", json={"operation": script})

    def signal() -> None:
        moved.on_sleep = None
        task.on_kill()

    moved.on_sleep = signal
    airflow.say("running")
    with pytest.raises(OperationFailedFinal):
        task.execute(context_of(TaskInstance("run"), StateStore()))
    assert kinds(emulator) == ["start"]


def test_a_subclass_without_the_link(emulator: Emulator, airflow: Airflow) -> None:
    """Where Airflow won't ask the task once more, a kill while it defers asks, and cancels, at once."""
    airflow.say("failed")

    class Linkless(RunOperationOperator):
        operator_extra_links = ()  # type: ignore[assignment]  # Airflow takes any

    body = {"operation": {"duration": 3600, "cancelDelay": 0}}
    task = Linkless(task_id="run", path="things:run", json=body, deferrable=True)
    deferred(task, TaskInstance("run"))
    task.on_kill()
    assert kinds(emulator) == ["start", "cancel"]


def test_a_task_that_ended_here_has_nothing_to_see_to(emulator: Emulator, airflow: Airflow) -> None:
    """A task that has come to its end in this process has nothing left to see to."""
    task = CancelOperationOperator(task_id="cancel", operation_name=sensor().operation_name)
    task.execute(context_of(ti := TaskInstance("cancel")))
    last_moment(task, ti)
    assert airflow.asked == 0


@pytest.mark.parametrize(
    ("state", "cancelled"), [("failed", True), ("up_for_retry", False), ("running", False)]
)
def test_left_to_the_next_try(
    emulator: Emulator,
    airflow: Airflow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    state: str,
    *,
    cancelled: bool,
) -> None:
    """An operation that could not be noted is left to the next try; if somebody has marked the task there is none."""
    writes = iter([True, False])

    def once(self: StateStore, key: str, value: Any, *, retention: Any = None) -> None:
        if not next(writes):
            raise ConnectionError("no database")

    monkeypatch.setattr(StateStore, "set", once)
    monkeypatch.setattr(RunOperationOperator, "log", logging.getLogger("operator"), raising=False)
    task, ti = run_operator(request_id_field="requestId"), TaskInstance("task")
    with pytest.raises(Exception, match="the next try finds it"):
        task.execute(context_of(ti, StateStore()))
    airflow.say(state)
    last_moment(task, ti)
    assert kinds(emulator) == (["start", "cancel"] if cancelled else ["start"])
    assert ("the task is failed; it has been cancelled" in caplog.text) is cancelled


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before 3.3 there is no record")
def test_the_time_is_up_while_the_start_is_unanswered(
    real_emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a start answers after ``execution_timeout`` is noted with the failure: the next try waits for its end."""
    real_emulator.script_fault(kind="start", delay=3.5, times=1)
    task, store = run_operator(), StateStore()
    task.deferrable = False
    task.json = {"operation": {"duration": 3600, "cancelDelay": 2}}
    from airflow.sdk.execution_time.timeout import timeout

    with pytest.raises(OperationTimeout), timeout(1.5):
        task.execute(context_of(TaskInstance("run"), store))
    record = store[RECORD_KEY]
    (operation,) = real_emulator.operations()
    assert (record["state"], record["name"]) == ("failed", operation["name"])
