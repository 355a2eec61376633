"""Whole schedules: the model and the package's real code together."""

from __future__ import annotations

import itertools
from dataclasses import replace
from unittest.mock import patch

import pytest

from airflow_provider_operations.triggers import OperationTrigger

from .forms import FAILS, FORMS, OUTLASTS, UNAVAILABLE
from .moments import plan_at
from .schedule import Played, play
from .search import mixed, shrunk, singles
from .world import Plan


def _starts(seen: Played) -> int:
    return len(seen.world.server.operations)


@pytest.mark.parametrize("name", FORMS)
def test_without_faults(name: str) -> None:
    """The task ends as its operation does; only one that failed, or whose time was up, is followed by another."""
    form, seen = FORMS[name], play(Plan(name, 7))
    assert not seen.violations, seen
    assert not seen.exceptions
    outlasts = OUTLASTS in form.ends
    fails = (FAILS in form.ends and not form.foreign) or (outlasts and form.waits_only)
    assert seen.world.airflow.state == ("failed" if fails else "success")
    assert _starts(seen) == (1 if fails or not form.ends else 2)
    assert bool(seen.world.server.operations[0].cancels) == outlasts


def test_a_plan_is_a_trace() -> None:
    """The same plan brings the same trace, whatever was played before; another seed another one."""
    plan = Plan("deferred", 3, ((30, "freeze triggerer"), (40, "server refuses for 20 s")))
    first = play(plan)
    other = play(Plan("synchronous", 4, ((20, "evict worker"),)))
    assert play(plan).trace == first.trace != other.trace


def test_a_clear_while_the_service_does_not_know_its_operation_yet() -> None:
    """Within half a minute of a start its 404 is no end: the next try waits until it can cancel."""
    faults = ((20, "server knows operations after 3 s"), (164, "clear"))
    assert not (seen := play(Plan("deferred, execution_timeout", 1, faults))).violations, seen


def test_a_retry_that_has_found_its_operation_bears_odd_answers() -> None:
    """Its look was a poll: what the service answers from then on is no mistake of ours, so the time-out is one."""
    moments = (
        ("worker 1 GET get leaves", "kill worker", 8),
        ("worker 2 GET get", "server forbids for 60 s", 2),
    )
    seen = play(plan_at("synchronous, times out once", 1, *moments))
    assert not seen.violations, seen
    assert (_starts(seen), seen.world.airflow.state) == (2, "success")


def test_a_lost_poll_between_two_cancels() -> None:
    """It doesn't end the attempts to cancel what the service won't cancel for now."""
    moments = (
        ("worker 2 POST cancel leaves", "server cancels nothing yet for 8 s"),
        ("worker 2 GET get leaves", "answer lost"),
    )
    seen = play(plan_at("deferred sensor, times out", 1, *moments))
    assert not seen.violations, seen
    assert seen.world.server.operations[0].cancels


def test_a_clear_while_a_task_resumes_from_its_triggers_timeout() -> None:
    """What the trigger has missed is old then, as an event is: the task starts afresh."""
    moments = (
        ("triggerer . GET get leaves", "no triggerer lives for 180 s"),
        ("worker 2 GetTaskStateStore is answered", "clear at a heartbeat"),
    )
    seen = play(plan_at("deferred, times out once", 1, *moments))
    assert not seen.violations, seen
    assert (_starts(seen), seen.world.airflow.state) == (2, "success")


def test_a_task_that_its_file_has_again_waits_on() -> None:
    """Airflow resumes it without an event; its operation is neither cancelled nor followed by another."""
    seen = play(plan_at("deferred", 1, (r"triggerer \d GET", "task vanishes for 20 s")))
    assert not seen.violations, seen
    assert [what for _, actor, what in seen.trace if actor == "log" and "without an event" in what]
    assert (_starts(seen), seen.world.airflow.state) == (1, "success")
    assert not seen.world.server.operations[0].cancels


def test_a_killed_task_is_cancelled() -> None:
    """A mark while the task is deferred: the trigger's ``on_kill`` cancels, within seconds."""
    seen = play(plan_at("deferred", 1, (r"triggerer \d GET", "mark failed")))
    assert not seen.violations, seen
    assert not seen.exceptions
    assert len(seen.world.server.operations[0].cancels) == 1


def test_a_cleared_task_starts_afresh() -> None:
    """A clear while the task is deferred: the old operation is cancelled, and another one begins."""
    seen = play(plan_at("deferred", 1, (r"triggerer \d GET", "clear")))
    assert not seen.violations, seen
    assert _starts(seen) == 2
    assert seen.world.server.operations[0].cancels


def test_a_run_is_deleted() -> None:
    """Airflow knows of no such task any more: that is an end, too."""
    for form, moment in (("deferred", r"triggerer \d GET"), ("synchronous", "worker 1 GET")):
        seen = play(plan_at(form, 1, (moment, "delete run")))
        assert not seen.violations, seen
        assert not seen.exceptions
        assert seen.world.airflow.is_gone
        assert seen.world.server.operations[0].cancels


def test_an_upstream_task_fails() -> None:
    """The scheduler ends a task that would be scheduled anew: the old trigger cancels, as after a mark."""
    cleared = plan_at("deferred", 1, (r"triggerer \d GET", "clear"))
    seen = play(replace(cleared, faults=((3, "upstream fails"), *cleared.faults)))
    assert not seen.violations, seen
    assert seen.world.airflow.state == "upstream_failed"
    assert seen.world.server.operations[0].cancels


def test_a_live_triggerer_is_taken_for_dead() -> None:
    """Its heartbeat is late: another one takes its trigger, and it learns that when it looks again."""
    seen = play(plan_at("deferred", 1, (r"triggerer \d GET", "triggerer is taken for dead")))
    assert not seen.violations, seen
    assert not seen.exceptions
    assert str(seen).count("takes trigger 1") == 2
    assert (_starts(seen), seen.world.server.operations[0].cancels) == (1, [])


def test_a_worker_does_not_begin() -> None:
    """The executor says so, and the task is retried."""
    seen = play(plan_at("deferred", 1, ("None -> scheduled", "next worker doesn't begin")))
    assert not seen.violations, seen
    assert "queued -> up_for_retry" in str(seen)
    assert (seen.world.airflow.try_number, _starts(seen)) == (2, 1)


def test_a_lost_worker_is_replaced() -> None:
    """The next try takes the operation over."""
    seen = play(plan_at("synchronous", 5, ("GET", "lose node")))
    assert not seen.violations, seen
    assert seen.world.airflow.try_number == 2
    assert _starts(seen) == 1


def test_a_named_exception_is_counted() -> None:
    """A start whose answer is lost with its worker, without a request id."""
    seen = play(plan_at("synchronous, no request id", 5, ("POST run is carried out", "kill worker")))
    assert not seen.violations, seen
    assert _starts(seen) == 2
    assert seen.exceptions == {"a start's answer is lost, and there is no request id"}


def test_a_sensor_that_is_marked_cancels() -> None:
    """What it waits for, as it was asked to; cleared, it waits on."""
    seen = play(plan_at("poking sensor", 3, ("worker 1 GET", "mark failed")))
    assert not seen.violations, seen
    assert seen.world.server.operations[0].cancels
    seen = play(plan_at("deferred sensor", 3, ("takes trigger", "clear")))
    assert not seen.violations, seen
    assert not seen.world.server.operations[0].cancels


def test_a_sensor_gives_up_on_its_service() -> None:
    """What it waits for isn't its own to end then; it is, as soon as somebody has marked it."""
    seen = play(plan_at("deferred sensor, times out", 3, ("None -> scheduled", "server forbids for 60 s")))
    assert not seen.violations, seen
    assert seen.world.airflow.state == "failed"
    assert seen.exceptions >= {"a sensor gives up on a service that was away for too long"}
    assert not seen.world.server.operations[0].cancels


def test_the_last_try_gives_up() -> None:
    """A service that forbids polls for long makes the task fail for good: it cancels before, and that is named."""
    seen = play(plan_at("synchronous", 6, ("worker 1 GET", "server forbids polls for 60 s")))
    assert not seen.violations, seen
    assert seen.world.airflow.state == "failed"
    assert "the last try gives up on a service that was away for too long" in seen.exceptions
    assert (_starts(seen), len(seen.world.server.operations[0].cancels)) == (1, 1)


def test_an_evicted_worker_gives_up() -> None:
    """It has half a minute, in which a service that forbids everything outlasts what is tolerated."""
    faults = ((28, "evict worker"), (32, "server forbids for 60 s"))
    seen = play(Plan("synchronous, its starts are refused", 151373579, faults))
    assert not seen.violations, seen


def test_a_sensor_is_rescheduled() -> None:
    """Each poll has a worker of its own, and the time counts from the first one on."""
    seen = play(Plan("rescheduled sensor", 3))
    assert len(seen.world.airflow.workers) > 1
    assert seen.world.airflow.try_number == 1


def test_a_trigger_ends_its_task() -> None:
    """No second worker is needed, and the result is there all the same."""
    seen = play(Plan("sensor that ends in its trigger", 3))
    assert len(seen.world.airflow.workers) == 1
    assert "return_value" in seen.world.airflow.xcoms


def test_an_execution_timeout_interrupts_a_worker() -> None:
    """What waits in it gets Airflow's ``AirflowTaskTimeout``, and the operation is cancelled."""
    seen = play(Plan("synchronous, execution_timeout", 3))
    assert "Process timed out" in str(seen)
    assert seen.world.server.operations[0].cancels


def test_a_dead_trigger_is_timed_out() -> None:
    """Without triggerers a task resumes when the time of its trigger is up."""
    dead = "running -> deferred", "no triggerer lives for 180 s"
    seen = play(plan_at("deferred, times out once", 3, dead))
    assert "the time of its trigger is up" in str(seen)
    assert seen.world.server.operations[0].cancels


def test_an_older_airflow_keeps_no_record() -> None:
    """A killed trigger learns it by ``CancelledError``, and a lost worker's operation isn't taken over."""
    seen = play(plan_at("deferred on 3.2", 1, (r"triggerer \d GET", "mark failed")))
    assert not seen.violations, seen
    assert seen.world.server.operations[0].cancels
    seen = play(plan_at("synchronous on 3.2", 5, ("GET", "lose node")))
    assert not seen.violations, seen
    assert _starts(seen) == 2
    assert seen.exceptions == {"no record, and its worker was lost"}


def test_a_signal_comes_between_two_lines() -> None:
    """A worker is evicted at a line of the package; the next try takes the operation over."""
    lines = play(Plan("synchronous", 5, line=("", ""))).lines
    assert len(lines) == len(set(lines)) > 300
    where = next(one for one in lines if one.startswith("_protocol/outcome.py"))
    seen = play(Plan("synchronous", 5, line=(where, "evict worker")))
    assert not seen.violations, seen
    assert f"comes to {where}" in str(seen)
    assert seen.world.airflow.try_number == 2


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.foreign])
@pytest.mark.parametrize("fault", ["mark failed", "mark success", "clear", "lose node", "kill triggerer"])
def test_anothers_operation_is_left_running(name: str, fault: str) -> None:
    """Whatever ends the task, or the process that waits."""
    for moment in ("GET get is carried out", "running -> (deferred|success)"):
        seen = play(plan_at(name, 4, (moment, fault)))
        assert not seen.violations, seen
        assert not seen.exceptions, seen
        assert not seen.world.server.operations[0].cancels


def test_what_is_handed_on_again_is_cancelled() -> None:
    """A try that repeats a lost try's success, and is refused as somebody has ended the task meanwhile."""
    lost = "worker 1 SetXCom leaves", "kill worker"
    seen = play(plan_at("hands its operation on", 5, lost, ("worker 2 SucceedTask leaves", "mark failed")))
    assert not seen.violations, seen
    assert seen.world.server.operations[0].cancels


def test_a_lost_start_is_found_by_a_worker_that_is_killed() -> None:
    """A retry is killed before its code runs: it sends the start of the try before again, and cancels what it finds."""
    unnoted = "worker 1 POST run leaves", "API away for 20 s"
    seen = play(plan_at("deferred", 5, unnoted, ("worker 2 DeleteXCom leaves", "mark failed at a heartbeat")))
    assert not seen.violations, seen
    assert (_starts(seen), len(seen.world.server.operations[0].cancels)) == (1, 1)


def test_a_failure_for_good_stays_one_when_its_worker_is_evicted() -> None:
    """A try delivers the failure of the one before again, and is told to end: there is nothing to cancel."""
    lost = "worker 1 TaskState leaves", "lose node"
    seen = play(plan_at("synchronous, fails", 1, lost, ("worker 2 GET get is answered", "evict worker")))
    assert not seen.violations, seen
    assert (_starts(seen), seen.world.airflow.state) == (1, "failed")


def test_a_kill_just_after_the_start() -> None:
    """The service doesn't know its operation for 3 s: the cancel is repeated for all of the worker's last 4 s."""
    new = "-> scheduled", "server knows operations after 3 s"
    seen = play(plan_at("synchronous on 3.2", 3, new, ("POST run is answered", "mark failed at a heartbeat")))
    assert not seen.violations, seen
    assert seen.world.server.operations[0].cancels


def test_a_clock_is_set_while_a_worker_is_told_to_end() -> None:
    """Its few seconds aren't measured by that clock: it waits for the note of what it has just started."""
    evicted = "POST run leaves", "evict worker"
    ahead = "POST run is carried out", "workers' clocks are set 10 s ahead"
    seen = play(plan_at("synchronous, no request id", 3, evicted, ahead))
    assert not seen.violations, seen
    assert (_starts(seen), seen.world.server.operations[0].cancels) == (1, [])


def test_a_clear_that_drops_what_a_retry_has_not_read() -> None:
    """Nobody knows the operation of a lost worker then; a worker that has read the record cancels it."""
    form, lost = "synchronous, clears drop task state", ("worker 1 GET", "kill worker")
    unread = play(plan_at(form, 5, lost, ("worker 2 GetTaskStateStore leaves", "clear at a heartbeat")))
    assert not unread.violations, unread
    assert "no record, and cleared: ended while its worker hasn't read the record yet" in unread.exceptions
    read = play(plan_at(form, 5, lost, ("worker 2 GetTaskStateStore is answered", "clear at a heartbeat")))
    assert not read.violations, read
    assert not read.exceptions
    assert read.world.server.operations[0].cancels


def test_a_start_that_is_sent_again_may_have_failed() -> None:
    """An operation that has failed before the try looks at it is the earlier try's: this one starts another."""
    lost = "-> scheduled", "server swallows for 20 s"
    slow = "up_for_retry -> scheduled", "API is slow for 20 s"
    seen = play(plan_at("synchronous, fails once", 2, lost, slow))
    assert not seen.violations, seen
    assert [one.begun_by for one in seen.world.server.operations] == ["worker 2", "worker 2"]
    assert [one.code for one in seen.world.server.operations] == [UNAVAILABLE, 0]


def test_a_clear_while_a_task_resumes_from_a_dead_trigger() -> None:
    """Without a record the try that follows fails by the time-out from before the clear."""
    dead = "takes trigger", "no triggerer lives for 180 s"
    seen = play(plan_at("no record, times out once, mapped", 1, dead, ("running .*worker 2", "clear")))
    assert not seen.violations, seen
    assert seen.exceptions == {"no record, and cleared while it resumes"}
    assert seen.world.airflow.state == "failed"


def test_a_run_is_deleted_while_a_task_resumes_from_a_dead_trigger() -> None:
    """Which operation it waited for is deleted with the run."""
    form, dead = "deferred, another's operation outlasts a try", "no triggerer lives for 180 s"
    again = r"running -> deferred \(try 2", dead
    seen = play(plan_at(form, 1, again, ("running .*worker 4", "delete run")))
    assert not seen.violations, seen
    assert seen.world.airflow.is_gone
    assert "Task failed with exception" in str(seen)


def test_a_plan_shrinks() -> None:
    """Faults that have nothing to do with a violation are left out."""
    moment = plan_at("deferred", 1, (r"triggerer \d GET", "mark failed"))
    other = (3, "answer lost")
    with patch.object(OperationTrigger, "on_kill", _nothing):
        assert shrunk(replace(moment, faults=(other, *moment.faults))) == moment


async def _nothing(_: object) -> None: ...


@pytest.mark.parametrize(
    "plan", [*itertools.islice(singles(6, every=400), 0, None, 11), *itertools.islice(mixed(6), 20)], ids=str
)
def test_some_of_the_search(plan: Plan) -> None:
    """What ``make sim`` plays in thousands."""
    seen = play(plan)
    assert not seen.violations, seen


ORPHANS = {
    "lost, no retries are left": ("synchronous, no retries, swept", [("GET get leaves", "kill worker")]),
    "marked while it waits for its retry": (
        "synchronous, swept",
        [("GET get leaves", "kill worker"), ("-> up_for_retry", "mark failed")],
    ),
    "marked while its retry is scheduled": (
        "deferred, swept",
        [("worker 1 SetXCom is answered", "kill worker"), ("scheduled -> queued", "mark failed")],
    ),
    "a sensor's, between two polls": (
        "rescheduled sensor, swept",
        [("up_for_reschedule -> scheduled", "mark failed")],
    ),
}
"""What no task cancels: a form, and the moments of a plan."""

STEPS_OF_A_SWEEP = (
    "due is carried out",
    "write leaves",
    "write is carried out",
    "GET get is answered",
    "confirm leaves",
    "confirm is carried out",
    "POST cancel is carried out",
)


def _cancelled_by_sweeps(seen: Played) -> list[str]:
    return [
        what
        for _, actor, what in seen.trace
        if actor == "server" and "is to be cancelled, says sweep" in what
    ]


@pytest.mark.parametrize("kind", ORPHANS)
def test_a_sweep_ends_what_no_task_can(kind: str) -> None:
    """And nothing else does."""
    form, moments = ORPHANS[kind]
    seen = play(plan_at(form, 5, *moments))
    assert not seen.violations, seen
    assert _cancelled_by_sweeps(seen)
    assert all(
        one.cancelled_by <= {f"sweep {number}" for number in range(99)}
        for one in seen.world.server.operations
    )


@pytest.mark.parametrize("step", STEPS_OF_A_SWEEP)
def test_a_sweep_is_killed(step: str) -> None:
    """The next one does what is left, once the claim is over."""
    form, moments = ORPHANS["lost, no retries are left"]
    seen = play(plan_at(form, 1, *moments, (f"sweep . {step}", "kill sweep")))
    assert not seen.violations, seen
    assert _cancelled_by_sweeps(seen)


def test_two_sweeps_at_once() -> None:
    """One of them cancels."""
    form, moments = ORPHANS["lost, no retries are left"]
    seen = play(plan_at(form, 31, *moments))
    claims = [(at_s, actor) for at_s, actor, what in seen.trace if what.startswith("write leaves")]
    assert {actor for at_s, actor in claims if at_s < claims[0][0] + 0.1} == {"sweep 1", "sweep 2"}
    assert not seen.violations, seen
    assert len(_cancelled_by_sweeps(seen)) == 1


@pytest.mark.parametrize("step", [*STEPS_OF_A_SWEEP, "GET get leaves", "POST cancel leaves"])
def test_a_task_is_cleared_while_a_sweep_looks(step: str) -> None:
    """Its sensor waits on; only between the last reading and the cancel's arrival is its operation cancelled."""
    plan = plan_at(
        "poking sensor, no retries, swept",
        5,
        ("worker . GET get leaves", "kill worker", 2),
        (f"sweep . {step}", "clear"),
    )
    seen = play(plan)
    assert not seen.violations, seen
    too_late = step in {"confirm is carried out", "POST cancel leaves", "POST cancel is carried out"}
    assert bool(_cancelled_by_sweeps(seen)) == too_late
