"""A trigger's ``on_kill``: Airflow calls it for killed tasks, and for healthy ones too."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.operation import Code
from airflow_provider_operations.triggers import OperationTrigger
from airflow_provider_operations.triggers import _kill as trigger_kill
from airflow_provider_operations.triggers import operation as triggers
from airflow_provider_operations.triggers._ownership import OWNERS, Fate, fate_of
from tests.support.clocks import MovedClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_provider_operations.emulator import Emulator


@pytest.fixture
def emulator(real_emulator: Emulator) -> Emulator:
    """Most kills here work in real time."""
    return real_emulator


class Airflow:
    """What Airflow's supervisor answers, one question after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow.providers.common.compat.sdk import XCom
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        self.state: str | None = "failed"
        """The task's; ``None``: there is a row without a state; ``gone``: there is none."""
        self.own: str | None = None
        self.slow_s = 0.0
        self.errors = 0
        self.asked = 0
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", self.states)
        monkeypatch.setattr(XCom, "get_one", self.xcom)

    def states(self, *, dag_id: str, map_index: int, task_ids: list[str], run_ids: list[str]) -> Any:
        assert (dag_id, map_index, task_ids, run_ids) == ("dag", -1, ["task"], ["run"])
        time.sleep(self.slow_s)
        self.asked += 1
        if self.errors:
            self.errors -= 1
            raise ConnectionError("the API server is away")
        return {} if self.state == "gone" else {"run": {"task": self.state}}

    def xcom(self, *, key: str, dag_id: str, map_index: int, task_id: str, run_id: str) -> str | None:
        assert (key, dag_id, map_index, task_id, run_id) == ("operation_name", "dag", -1, "task", "run")
        return self.own


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    """An Airflow in which the task was marked failed."""
    return Airflow(monkeypatch)


class Pauses(MovedClock):
    """The pauses of a kill's work, which pass at once."""

    def __init__(self) -> None:
        super().__init__(now=time.time())
        self.at: dict[int, Callable[[], None]] = {}
        """What happens in the pause of this number."""
        self.after: dict[float, Callable[[], None]] = {}
        """What happens once so many seconds have passed."""
        self.stop_after = 100

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        if (happens := self.at.get(len(self.sleeps))) is not None:
            happens()
        for moment in [moment for moment in self.after if sum(self.sleeps) > moment]:
            self.after.pop(moment)()
        if len(self.sleeps) > self.stop_after:
            await asyncio.sleep(3600)
        await asyncio.sleep(0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Pauses that pass at once; ``on_kill`` waits for its work to the end, as a day of it takes real seconds."""
    pauses = Pauses()
    pauses.install(monkeypatch)
    monkeypatch.setattr("airflow_provider_operations.triggers.operation.KILL_LIMIT_S", 3600.0)
    return pauses


@pytest.fixture
async def kills() -> AsyncIterator[None]:
    """What still works in the background ends with the test."""
    yield
    for _, work in list(triggers._kills.values()):
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def trigger_for(owner: str = "record", deadline_in_s: float | None = None, **script: Any) -> OperationTrigger:
    with OperationsHook() as hook:
        body = {"operation": {"duration": 3600, "cancelDelay": 0, **script}}
        operation = hook.start_operation("things:run", json=body)
    deadline = None if deadline_in_s is None else time.time() + deadline_in_s
    trigger = OperationTrigger(operation.name, cancel_on_kill=True, owner=owner, deadline_epoch_s=deadline)
    trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=-1)  # type: ignore[assignment]
    return trigger


def cancels(emulator: Emulator) -> int:
    return sum(entry["kind"] == "cancel" for entry in emulator.journal())


ANOTHER = "operations/another"
BOTH = ("record", "sensor")


@pytest.mark.parametrize(
    ("owners", "state", "own", "expected"),
    [
        pytest.param(OWNERS, "failed", "this", Fate.OVER, id="marked failed"),
        pytest.param(OWNERS, "success", "this", Fate.OVER, id="marked success"),
        pytest.param(OWNERS, "skipped", "this", Fate.OVER, id="run timed out"),
        pytest.param(OWNERS, "upstream_failed", "this", Fate.OVER, id="marked upstream_failed"),
        pytest.param(OWNERS, None, "this", Fate.OVER, id="run deleted"),
        pytest.param(OWNERS, "deferred", "this", Fate.UNTOUCHED, id="failover: nobody touched it"),
        pytest.param(OWNERS, "deferred", ANOTHER, Fate.OVER, id="cleared and deferred again"),
        pytest.param(OWNERS, "deferred", None, Fate.UNDECIDED, id="deferred, its XCom is gone"),
        pytest.param(BOTH, "running", "this", Fate.UNDECIDED, id="a retry looks after it"),
        pytest.param(BOTH, "running", None, Fate.UNDECIDED, id="cleared, a worker begins"),
        pytest.param(BOTH, "running", ANOTHER, Fate.OVER, id="cleared, and started another"),
        *(
            pytest.param(BOTH, state, "this", Fate.UNDECIDED, id=state)
            for state in ("no_status", "up_for_retry", "scheduled", "queued", "restarting", "of Airflow 4")
        ),
        pytest.param(BOTH, "removed", "this", Fate.REMOVED, id="not in its DAG file"),
        *(
            pytest.param(("task",), state, "this", Fate.OVER, id=f"{state}, no record")
            for state in ("no_status", "up_for_retry", "scheduled", "queued", "running", "removed")
        ),
    ],
)
def test_what_became_of_the_task(
    owners: tuple[str, ...], state: str | None, own: str | None, expected: Fate
) -> None:
    """
    A task is over, or waits for this operation, or it can't be told yet.

    Whatever is between two stays may take the operation over, where a later try knows it.
    """
    name = "operations/this"
    for owner in owners:
        assert fate_of(state, name if own == "this" else own, name, owner, timed_out=False) is expected


def test_failed_past_the_deadline() -> None:
    """Past its deadline a task fails by itself, and its worker has dealt with the operation: that is no mark."""
    assert fate_of("failed", None, "operations/this", "record", timed_out=True) is Fate.TIMED_OUT
    assert fate_of("failed", None, "operations/this", "task", timed_out=True) is Fate.OVER
    assert fate_of("success", None, "operations/this", "record", timed_out=True) is Fate.OVER
    assert fate_of("running", ANOTHER, "operations/this", "record", timed_out=True) is Fate.TIMED_OUT


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "gone"])
@pytest.mark.parametrize("owner", OWNERS)
async def test_a_task_that_is_over_cancels(
    emulator: Emulator, airflow: Airflow, state: str, owner: str
) -> None:
    """The operation of a task that is over is cancelled, at once."""
    airflow.state = state
    await trigger_for(owner).on_kill()
    assert cancels(emulator) == 1


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize("state", [None, "up_for_retry", "scheduled", "queued", "running"])
@pytest.mark.parametrize("owner", BOTH)
@pytest.mark.parametrize("end", ["deferred", "failed"])
async def test_while_the_task_waits_for_its_retry_it_asks_on(
    emulator: Emulator, airflow: Airflow, pauses: Pauses, state: str | None, owner: str, end: str
) -> None:
    """
    A triggerer that comes back while the task waits for its retry leaves the operation alone, and asks on.

    Before, it cancelled a healthy operation, and the retry started a second one.
    """
    trigger = trigger_for(owner)
    airflow.state, airflow.own = state, trigger.operation_name
    pauses.at[50] = lambda: setattr(airflow, "state", end)

    await trigger.on_kill()

    assert len(pauses.sleeps) == 50
    assert cancels(emulator) == (end == "failed")
    assert pauses.sleeps[0] == pytest.approx(0.5, abs=0.2)
    assert pauses.sleeps[-1] == pytest.approx(57, abs=4)


async def test_finished_is_not_killed(
    emulator: Emulator, airflow: Airflow, logged: pytest.LogCaptureFixture
) -> None:
    """A task that has succeeded elsewhere: its operation is done, and neither cancelled nor called killed."""
    trigger = trigger_for(duration=0)
    airflow.state = "success"

    await trigger.on_kill()

    assert cancels(emulator) == 0
    assert f"{trigger.operation_name}: succeeded; nothing to cancel" in logged.text
    assert "killed" not in logged.text


async def test_the_log_stays_open(
    emulator: Emulator, airflow: Airflow, logged: pytest.LogCaptureFixture
) -> None:
    """
    What became of the operation is in the task's log, which Airflow closes when the trigger's task ends.

    Airflow repeats the cancellation until then, and on Python 3.11 the second one ends its waiting for ``on_kill``.
    """
    trigger = trigger_for()
    airflow.slow_s = 0.3

    async def run_trigger() -> None:
        try:
            async for _ in trigger.run():
                pass
        except asyncio.CancelledError:
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(trigger.on_kill(), timeout=30)
            raise
        finally:
            with suppress(Exception):
                await trigger.cleanup()

    task = asyncio.create_task(run_trigger())
    await asyncio.sleep(0)
    while not task.done():
        task.cancel("__airflow_user_action__")
        await asyncio.wait({task}, timeout=0.05)

    first, *_, last = [line for line in logged.messages if line.startswith(trigger.operation_name)]
    assert first.startswith(f"{trigger.operation_name}: the trigger was told to end; ")
    assert last == f"{trigger.operation_name}: cancelled"


@pytest.mark.usefixtures("kills")
async def test_the_log_is_left_to_a_triggerer_that_ends(emulator: Emulator, airflow: Airflow) -> None:
    """A triggerer that is stopped in the middle isn't kept waiting: its cancellation comes without a word."""
    trigger = trigger_for()
    airflow.slow_s = 0.3
    killing = asyncio.create_task(trigger.on_kill())
    await asyncio.sleep(0)
    cleaning = asyncio.create_task(trigger.cleanup())
    await asyncio.sleep(0)
    cleaning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cleaning
    assert not killing.done()
    await killing


@pytest.mark.parametrize(
    ("states", "own", "kept"),
    [
        (["failed"], "this", True),
        (["failed"], ANOTHER, False),
        (["gone"], "this", False),
        (["failed", "queued"], "this", False),
        (["failed", "deferred"], "this", False),
    ],
)
async def test_what_became_of_it_is_kept(
    emulator: Emulator,
    airflow: Airflow,
    monkeypatch: pytest.MonkeyPatch,
    states: list[str],
    own: str,
    kept: bool,
) -> None:
    """The XCom ``operation`` has the end of a killed task's operation, unless a later try could take it for its own."""
    pushed: dict[str, Any] = {}

    def push(*, key: str, value: Any, **place: Any) -> None:
        assert place == {"dag_id": "dag", "task_id": "task", "run_id": "run", "map_index": -1}
        pushed[key] = value

    monkeypatch.setattr("airflow.providers.common.compat.sdk.XCom.set", push)
    trigger = trigger_for()
    airflow.own = trigger.operation_name if own == "this" else own
    airflow.state, *later = states
    cancel = OperationsAsyncHook.try_cancel

    async def then(*arguments: Any, **more: Any) -> Any:
        result = await cancel(*arguments, **more)
        airflow.state = later[0] if later else airflow.state
        return result

    monkeypatch.setattr(OperationsAsyncHook, "try_cancel", then)
    await trigger.on_kill()

    assert cancels(emulator) == 1
    assert pushed.keys() == ({"operation"} if kept else set())
    if kept:
        operation = pushed["operation"]
        assert (operation["name"], operation["done"], operation["error"]["code"]) == (
            trigger.operation_name,
            True,
            Code.CANCELLED,
        )


@pytest.mark.usefixtures("kills")
async def test_done_while_asking_on(emulator: Emulator, airflow: Airflow, pauses: Pauses) -> None:
    """What is asked on about ends when the operation does."""
    trigger = trigger_for(duration=0)
    airflow.state = "up_for_retry"
    await trigger.on_kill()
    assert (airflow.asked, pauses.sleeps) == (1, [])


@pytest.mark.usefixtures("kills")
async def test_removed_for_a_minute_is_over(emulator: Emulator, airflow: Airflow, pauses: Pauses) -> None:
    """A task that isn't in its DAG file for a minute is over; one bad parse sets that and unsets it."""
    airflow.state = "removed"
    pauses.at[15] = lambda: setattr(airflow, "state", "scheduled")
    pauses.at[16] = lambda: setattr(airflow, "state", "removed")

    await trigger_for().on_kill()

    assert sum(pauses.sleeps[:16]) < 60 <= sum(pauses.sleeps[16:])
    assert cancels(emulator) == 1


async def test_failed_by_itself(
    emulator: Emulator, airflow: Airflow, logged: pytest.LogCaptureFixture
) -> None:
    """A task that failed as its time was up isn't one that somebody marked."""
    await trigger_for(deadline_in_s=-1).on_kill()
    assert cancels(emulator) == 0
    assert "the task's time was up, and its worker dealt with the operation; not cancelled" in logged.text


FAULTS = {
    "503": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "7"}},
    "dropped": {"drop": True},
    "a login page": {"status": 200, "body": "<html>who are you?</html>"},
    "403": {"status": 403},
    "401": {"status": 401},
}


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_killed_in_an_outage(
    emulator: Emulator,
    airflow: Airflow,
    pauses: Pauses,
    logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    """A server that is out of reach when a task is killed is asked to cancel until it answers; the log says so."""
    monkeypatch.setattr(trigger_kill, "LOOK_LIMIT_S", 0.1)  # a look takes its turn, on the real clock
    trigger = trigger_for()
    emulator.script_fault(**fault)
    pauses.after[1500] = emulator.clear_faults

    await trigger.on_kill()

    assert emulator.operation(trigger.operation_name)["error"]["code"] == 1
    assert logged.text.count(f"{trigger.operation_name}: NOT cancelled yet, and it may still run") == 1
    assert max(pauses.sleeps) <= 300


@pytest.mark.usefixtures("kills")
async def test_given_up_after_a_day(
    emulator: Emulator, airflow: Airflow, pauses: Pauses, logged: pytest.LogCaptureFixture
) -> None:
    """A service that isn't there for a day is gone; the name stands in the log."""
    trigger = trigger_for()
    emulator.script_fault(status=503)
    pauses.stop_after = 1000
    await trigger.on_kill()
    assert sum(pauses.sleeps) == pytest.approx(24 * 3600, abs=300)
    assert (
        f"{trigger.operation_name}: NOT cancelled, and it may still run: given up after a day" in logged.text
    )


@pytest.mark.usefixtures("kills")
async def test_a_clear_in_the_outage(emulator: Emulator, airflow: Airflow, pauses: Pauses) -> None:
    """A sensor that was marked and then cleared waits for the same operation again: it isn't cancelled any more."""
    trigger = trigger_for("sensor")
    airflow.own = trigger.operation_name
    emulator.script_fault(status=503)
    pauses.at[5] = lambda: setattr(airflow, "state", "scheduled")

    def deferred_again() -> None:
        emulator.clear_faults()
        airflow.state = "deferred"

    pauses.at[7] = deferred_again

    await trigger.on_kill()

    assert not emulator.operation(trigger.operation_name)["done"]


@pytest.mark.usefixtures("kills")
async def test_airflow_away_in_the_outage(emulator: Emulator, airflow: Airflow, pauses: Pauses) -> None:
    """What is known to be over is cancelled even if Airflow doesn't answer any more."""
    trigger = trigger_for()
    emulator.script_fault(status=503)

    def away() -> None:
        airflow.errors = 1000
        emulator.clear_faults()

    pauses.at[3] = away
    await trigger.on_kill()
    assert emulator.operation(trigger.operation_name)["error"]["code"] == 1


@pytest.mark.parametrize("doomed", [True, False])
async def test_the_triggerer_ends(
    emulator: Emulator,
    airflow: Airflow,
    monkeypatch: pytest.MonkeyPatch,
    logged: pytest.LogCaptureFixture,
    *,
    doomed: bool,
) -> None:
    """A triggerer that ends asks once more for a cancel that is due, for none that isn't, and isn't held up."""
    monkeypatch.setattr("airflow_provider_operations.triggers.operation.KILL_LIMIT_S", 0.5)
    trigger = trigger_for()
    airflow.state = "failed" if doomed else "up_for_retry"
    emulator.script_fault(status=503)
    await trigger.on_kill()
    ((_, work),) = triggers._kills.values()
    before = cancels(emulator)

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert cancels(emulator) - before == doomed
    assert ("NOT cancelled, and it may still run: the triggerer ends (HTTP 503)" in logged.text) is doomed
    assert triggers._kills == {}


@pytest.mark.parametrize("answered", ["poll", "try_cancel"])
async def test_the_triggerer_ends_just_as_an_answer_comes(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, answered: str
) -> None:
    """The end isn't missed, as ``asyncio.wait_for`` does before Python 3.12: the work would go on for a day."""
    answer = getattr(OperationsAsyncHook, answered)
    ends: list[bool] = []

    async def answers(hook: OperationsAsyncHook, *args: Any, **options: Any) -> Any:
        try:
            return await answer(hook, *args, **options)
        finally:
            if not ends:
                ends.append(True)
                asyncio.get_running_loop().call_soon(work.cancel)

    monkeypatch.setattr(OperationsAsyncHook, answered, answers)
    trigger = trigger_for()
    emulator.script_fault(status=503)
    killed = asyncio.create_task(trigger.on_kill())
    await asyncio.sleep(0)
    ((_, work),) = triggers._kills.values()

    await asyncio.wait({work}, timeout=30)
    assert ends
    assert work.cancelled()
    await killed


@pytest.mark.usefixtures("kills")
async def test_one_work_for_each_operation(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger that comes back and is killed again asks no second time beside the first."""
    monkeypatch.setattr("airflow_provider_operations.triggers.operation.KILL_LIMIT_S", 0.2)
    airflow.state = "up_for_retry"
    trigger = trigger_for()
    await trigger.on_kill()
    await trigger.on_kill()
    assert len(triggers._kills) == 1
    assert airflow.asked == 1


async def test_without_cancel_on_kill_nothing_is_asked(emulator: Emulator, airflow: Airflow) -> None:
    """Without ``cancel_on_kill`` nothing is asked and nothing cancelled."""
    trigger = trigger_for()
    trigger.cancel_on_kill = False
    await trigger.on_kill()
    assert cancels(emulator) == 0


async def test_cancelled_again_and_again(emulator: Emulator, airflow: Airflow) -> None:
    """Airflow repeats the cancellation of ``on_kill``; the cancel is sent all the same, once."""
    airflow.slow_s = 1.0
    trigger = trigger_for()
    kill = asyncio.create_task(trigger.on_kill())
    for _ in range(6):
        await asyncio.sleep(0.2)
        kill.cancel()
    await kill
    assert cancels(emulator) == 1


async def test_the_work_outlives_on_kill(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work goes on when ``on_kill`` has to end: many triggers may ask at once."""
    monkeypatch.setattr("airflow_provider_operations.triggers.operation.KILL_LIMIT_S", 0.1)
    airflow.slow_s = 1.0
    await trigger_for().on_kill()
    assert cancels(emulator) == 0

    for _ in range(200):
        if cancels(emulator):
            break
        await asyncio.sleep(0.1)
    assert cancels(emulator) == 1


async def test_airflows_error_is_no_answer(emulator: Emulator, airflow: Airflow, pauses: Pauses) -> None:
    """An error of Airflow's is no answer: it is asked again."""
    airflow.errors = 20
    await trigger_for().on_kill()
    assert cancels(emulator) == 1
    assert len(pauses.sleeps) == 20


async def test_without_an_answer_nothing_is_cancelled(
    emulator: Emulator, airflow: Airflow, pauses: Pauses, logged: pytest.LogCaptureFixture
) -> None:
    """Without an answer nothing is cancelled, and the log says loudly what may still run."""
    airflow.errors = 10_000
    pauses.stop_after = 10_000
    trigger = trigger_for(onCancel="ignore", duration=10**6)
    await trigger.on_kill()
    assert cancels(emulator) == 0
    assert (
        f"{trigger.operation_name}: NOT cancelled, and it may still run: Airflow didn't tell" in logged.text
    )
    assert (
        f"{trigger.operation_name}: NOT cancelled, and it may still run: given up after a day" in logged.text
    )


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize("status", [400, 404, 409, 500, 501])
async def test_a_refused_cancel_harms_nobody(
    emulator: Emulator, airflow: Airflow, pauses: Pauses, status: int
) -> None:
    """``on_kill`` never raises, whatever the server answers; a page may be a proxy's, so it is asked again."""
    trigger = trigger_for()
    emulator.script_fault(kind="cancel", status=status, body="<html>no</html>", times=4)
    await trigger.on_kill()
    assert cancels(emulator) == 5
    assert emulator.operation(trigger.operation_name)["error"]["code"] == 1


@pytest.mark.usefixtures("kills")
async def test_a_service_without_cancel(
    emulator: Emulator, airflow: Airflow, pauses: Pauses, logged: pytest.LogCaptureFixture
) -> None:
    """A service that knows the operation and has no cancel for half a minute has none."""
    trigger = trigger_for(onCancel="unimplemented")
    await trigger.on_kill()
    assert 30 <= sum(pauses.sleeps) < 60
    assert f"{trigger.operation_name}: it may still run, the cancel call failed: HTTP 501" in logged.text


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 404, "body": "<html>default backend</html>"}, id="everywhere"),
        pytest.param({"kind": "cancel", "status": 404, "body": "<html>default backend</html>"}, id="cancel"),
        pytest.param(
            {"kind": "cancel", "status": 200, "body": {"error": {"code": 503, "message": "no"}}}, id="200"
        ),
    ],
)
async def test_an_ingress_without_its_service(
    emulator: Emulator, airflow: Airflow, pauses: Pauses, fault: dict[str, Any]
) -> None:
    """A rollout's pages to cancel and get end nothing: it is cancelled when the service is back."""
    trigger = trigger_for()
    emulator.script_fault(**fault)
    pauses.after[600] = emulator.clear_faults
    await trigger.on_kill()
    assert emulator.operation(trigger.operation_name)["error"]["code"] == 1


@pytest.mark.usefixtures("kills")
async def test_the_deadline_passes_while_it_is_cancelled(
    emulator: Emulator, airflow: Airflow, pauses: Pauses
) -> None:
    """A task that was marked before its time was up stays so, however long the server can't be reached."""
    trigger = trigger_for(deadline_in_s=60)
    emulator.script_fault(status=503)
    pauses.after[300] = emulator.clear_faults
    await trigger.on_kill()
    assert emulator.operation(trigger.operation_name)["error"]["code"] == 1


@pytest.mark.usefixtures("kills")
async def test_killed_again_while_it_decides(
    emulator: Emulator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill that joins the work of an earlier one is seen to, even if that is about to leave the operation alone."""
    trigger = trigger_for()
    airflow.state, airflow.own, airflow.slow_s = "deferred", trigger.operation_name, 0.5
    first = asyncio.create_task(trigger.on_kill())
    await asyncio.sleep(0.3)  # asked, and not answered yet
    second = asyncio.create_task(trigger.on_kill())
    await asyncio.sleep(0.3)
    airflow.state = "failed"
    await asyncio.gather(first, second)
    assert cancels(emulator) == 1


async def test_the_loop_goes_on(emulator: Emulator, airflow: Airflow) -> None:
    """While Airflow takes its time to answer, the event loop serves others."""
    airflow.slow_s = 1.0
    trigger = trigger_for()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await trigger.on_kill()
    ticking.cancel()
    assert ticks > 20
