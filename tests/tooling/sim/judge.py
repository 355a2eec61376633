"""
What is promised, checked while a schedule runs and at its end.

An exception that docs/guarantees.md names is noted when its cause happens; what it excuses is counted by its name.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from airflow.models.trigger import TRIGGER_FAIL_REPR
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_provider_operations.exceptions import OperationEventError, OperationsCallError, OperationsError

from .airflow import OVER
from .forms import FAILS, OUTAGE_TOLERANCE_S, OUTLASTS, UNAVAILABLE
from .kernel import BEGIN_S, Process
from .server import STRANGER
from .triggerer import ROUND_S

if TYPE_CHECKING:
    from .airflow import Worker
    from .forms import Form
    from .server import Operation
    from .triggerer import Triggerer
    from .world import World

__all__ = ["Judge"]

BOUND_S = 400.0
"""So long after its task's end an operation may still run: that is the limit of what waits for a cancel to work."""

SWEPT_S = 1000.0
"""And so long, if sweeps see to it, of which each may be ended with the operation claimed."""

START_S = 20.0
"""An intent begins, and its time with it, at most so long before its operation."""

LOOK_S = 3.0
"""Between a look at an operation and its cancel there is no more time than that, if nothing is in the way."""

NOTICED_S = 5.0
"""In that time a triggerer sees that a trigger is gone, and asks Airflow what became of its task."""

ASKED = 2
"""So many questions it has about a task: for its state, and for its XCom."""

UNSEEN_GAP_S = 40.0
"""A poll comes every 30 s at the latest: two outages that are nearer to each other may look like one."""

FEW_RETRIES = 2
"""With fewer, a try that Airflow's outage has ended may have been the last."""

HEARD_S = 200.0
"""So long after an outage a worker may hear of it, from a trigger that has borne it no more."""

REPLACED_S = 120.0
"""So long after the task has begun another operation, one from before a clear may still run."""

LATE_S, LATE_POLLS = 15.0, 4
"""An operation whose time is up for so long is polled at most so often by a process that doesn't cancel it."""

NO_CODE_RUNS = frozenset({None, "queued", "scheduled", "up_for_reschedule", "up_for_retry"})


class Judge:
    """One schedule's."""

    def __init__(self, world: World, form: Form) -> None:
        self._world = world
        self._form = form
        self._violations: list[str] = []
        self._excused: dict[str, set[str]] = {}
        """By kind of violation, the names of the exceptions."""
        self._intents = 1
        self._cleared_s: float | None = None
        self._own_before_clear: list[Operation] = []
        """What was begun last before the last clear."""
        self._cleared_ids: set[str] = set()
        """Request ids from before a clear; such a start may be sent again, to find what is to be cancelled."""
        self._marked = False
        """Whether a mark is the last thing that a user did."""
        self._has_marked = self._vanished_unseen = False
        self._over_s: float | None = None
        self._noted: set[str] = set()
        self._first_noted_s: dict[str, float] = {}
        """By request id."""
        self._out_of_time: set[str] = set()
        self._deadlines: dict[str, float] = {}
        """By name or request id of an operation."""
        self._overlaps: list[str] = []
        self._followed: list[tuple[Operation, float]] = []
        """Operations from before a clear that ran when the next one began, and when that was."""
        self._outages: list[tuple[float, float]] = []
        """When the service or the way to it was out of order, from and until."""
        self._is_refused = False
        """Whether the service has answered what isn't asked again for long."""
        self._answered_s: list[float] = []
        """When whoever waits for the operation was told how it stands."""
        self._cancelling: set[str] = set()
        """The processes that have sent a cancel."""
        self._late_polls: Counter[tuple[str, str]] = Counter()
        """After the time was up: by operation and process."""
        self._unanswered_by_airflow: set[str] = set()
        """The workers that have failed as Airflow didn't answer."""
        self._asked_s: dict[str, float] = {}
        """By worker: when it asked for the record first."""
        self._has_read: set[str] = set()
        """The workers that were told it."""
        self._unread_s: dict[str, float] = {}
        """By worker that wasn't told it: when it heard so last."""
        self._giving_up: dict[str, str] = {}
        """What a worker has cancelled in an outage: by worker, what that breaks, unless it gives up for good."""
        self._given_up: set[str] = set()
        """The operations that were cancelled so; whoever doesn't hear that the try has failed for good starts another."""
        self._bore_no_more: str | None = None
        """The worker that has given up on the service last."""
        self._told: set[str] = set()
        """The triggerers that have learnt from Airflow that somebody has ended the task."""
        self._knowing: set[str] = set()
        """Those of them that have begun to act on it."""
        self.stopped = False
        """Whether a triggerer has stood still or was ended, so that it acts late on what it has seen."""
        self._failed_while_deferred = False
        """Whether the last mark was ``failed``, of a task that was deferred."""
        self._confirmed_s: float | None = None
        """When a sweep saw last, just before a cancel, that the task is over."""
        self.exceptions: set[str] = set()
        """Those that had an effect."""

    def _now(self) -> float:
        return self._world.kernel.now - BEGIN_S

    def is_foreign(self, operation: Operation) -> bool:
        """Tell whether an operation isn't the task's to end, whatever anybody does to the task."""
        return self._form.foreign and operation.begun_by == STRANGER

    @property
    def _own(self) -> list[Operation]:
        """The operations that are the task's."""
        return [one for one in self._world.server.operations if not self.is_foreign(one)]

    # --- what happens ----------------------------------------------------------------------------------------

    def excuse(self, name: str, *kinds: str) -> None:
        """Note a named exception."""
        self._world.kernel.note("judge", f"excuses {', '.join(kinds)}: {name}")
        for kind in kinds:
            self._excused.setdefault(kind, set()).add(name)

    def broken(self, what: str, kind: str = "") -> None:
        """Note what broke a promise, if nothing excuses it."""
        names = self._excused.get(kind, set())
        self.exceptions |= names
        if not names:
            self._world.kernel.note("judge", what)
            self._violations.append(what)

    def triggerer_ends(self, triggerer: Triggerer) -> None:
        """Hear that a triggerer is told to end: it tries each cancel that it knows to be due once more."""
        self.stopped = True
        world = self._world
        unreached = world.server.trouble is not None or world.connection_is_gone
        just_over = self._is_just_over()
        asked_later = world.airflow.state in {*NO_CODE_RUNS, "removed"}
        # Where a clear drops the task's state, it has to see that the task has another operation first.
        cleared = self._form.airflow.clears_drop_task_state and self._cleared_s is not None
        just_cleared = self._is_ownerless and self._is_unnoticed(self._cleared_s)
        unasked = world.airflow.triggers_are_unanswered or just_over or asked_later or cleared or just_cleared
        if unreached or (unasked and triggerer.process.name not in self._knowing):
            self.process_was_lost()

    @property
    def _notices_s(self) -> float:
        """In that time a triggerer knows what has become of a task: later, if it or the API is slow or stands still."""
        world = self._world
        late_s = world.last_holder.late_s if world.last_holder is not None else 0.0
        return NOTICED_S + late_s + world.round_s - ROUND_S + 2 * ASKED * world.airflow.slow_s

    def _is_just_over(self) -> bool:
        """Tell whether the task is over, and no triggerer may know it yet."""
        return self._is_unnoticed(self._over_s)

    def _is_unnoticed(self, at_s: float | None) -> bool:
        return at_s is not None and self._now() - at_s < self._notices_s

    def told(self, process: Process, state: str | None) -> None:
        """Hear that a triggerer learns of the task's state, for which it asks when a trigger is to end."""
        gone = self._world.airflow.is_gone
        if state in OVER or gone or (self._is_ownerless and state != "deferred"):
            self._told.add(process.name)

    def acts(self, process: Process, verb: str) -> None:
        """Hear that a process calls the service."""
        if process.name in self._told:
            self._knowing.add(process.name)
        if verb == "cancel":
            self._cancelling.add(process.name)

    @property
    def _is_ownerless(self) -> bool:
        """Whether no later try knows the operation, so that it ends with the stay in which the task waits for it."""
        return not (self._form.keeps_record or self._form.waits_only)

    @property
    def user_acted(self) -> bool:
        """Whether somebody has marked or cleared the task."""
        return self._marked or self._cleared_s is not None

    def task_is(self, state: str | None) -> None:
        """Hear of the task's new state."""
        over = state in OVER or (state == "removed" and self._marked)
        self._over_s = self._now() if over else None
        if over and (self._form.swept or (state == "failed" and not self._form.waits_only)):
            self._world.server.make_endless()

    def marked(self, state: str) -> None:
        """Hear of a mark, just before it is made."""
        self._marked = self._has_marked = True
        airflow, server = self._world.airflow, self._world.server
        server.make_endless()
        if (why := self._nobody_sees_it()) is not None:
            self.excuse(why, "orphan")
        if airflow.state == "running" and self._unanswered:
            self.excuse("ended in a worker while service or Airflow don't answer", "orphan")
        self._failed_while_deferred = state == "failed" and airflow.state == "deferred"
        self._notice_soon_late()
        if state == "success" and not self._form.waits:
            self.excuse("marked successful, and it hands its operation on", "orphan")

    @property
    def _unanswered(self) -> bool:
        """Whether a worker that is told to end now may get no answer in its few seconds."""
        airflow = self._world.airflow
        server = self._world.server
        lost = any(one.answer_lost and not one.answered for one in server.operations)
        slow = server.slow_s > LOOK_S or airflow.slow_s > 0
        return bool(server.trouble) or slow or lost or airflow.api_away or airflow.store_away

    def _nobody_sees_it(self) -> str | None:
        """Say why no code of the task hears of what a user does now."""
        airflow = self._world.airflow
        worker, trigger = airflow.worker, airflow.trigger
        if airflow.state in NO_CODE_RUNS:
            return "ended while no code of the task runs"
        if airflow.state == "removed" and self._vanished_unseen:
            return "vanished while no triggerer has its trigger"
        if airflow.state == "running":
            if worker is None or worker.on_term is None or worker.process.dead:
                return "ended while its worker starts or is lost"
            if worker.terminating:
                return "ended while its worker is told to end already"
            if worker.process.name in self._unanswered_by_airflow:
                return "ended when its worker has failed, as Airflow didn't answer"
        if airflow.state == "deferred" and (
            trigger is None or trigger.holder is None or not trigger.holder.sees_kills
        ):
            return "ended while no triggerer has its trigger"
        return None

    def _not_read_yet(self) -> str | None:
        """Say so if a worker runs that doesn't know yet what an earlier one has left in a record."""
        airflow = self._world.airflow
        if airflow.worker is None or airflow.next_method or not self._form.keeps_record:
            return None
        has_read = airflow.worker.process.name in self._has_read
        return None if has_read else "ended while its worker hasn't read the record yet"

    def vanished(self, *, for_good: bool) -> None:
        """Hear that the task isn't in its DAG file any more, just before Airflow notes it."""
        airflow = self._world.airflow
        if airflow.state == "running":
            self.worker_was_lost(told=True)
        if self._is_ownerless:
            name = "no record, and its DAG file didn't have it for a while"
            self.excuse(name, "cancel", "starts", "verdict")
        self._vanished_unseen = airflow.state != "deferred" or self._nobody_sees_it() is not None
        if for_good:
            self._marked = True
            self._world.server.make_endless()
            if self._vanished_unseen:
                self.excuse("vanished while no triggerer has its trigger", "orphan")

    def cleared(self) -> None:
        """Hear of a clear, just before it is made."""
        self._marked, self._cleared_s = False, self._now()
        if self._form.waits_only:
            if not self._form.keeps_record and self._world.airflow.state == "running":
                self._gives_up("no record, and its worker was told to end")
            return
        has_begun = bool(
            self._own[-1:] != self._own_before_clear
            or self._world.airflow.worker is not None
            or set(self._deadlines) - self._cleared_ids  # a start that was noted may have begun one
        )
        self._intents += has_begun
        self._own_before_clear = self._own[-1:]
        self._cleared_ids |= set(self._deadlines)
        airflow, server = self._world.airflow, self._world.server
        server.make_endless()
        if (
            airflow.state == "running"
            and self._unanswered
            and (self._form.loses_starts or not self._clear_is_remembered)
        ):
            self.excuse("ended in a worker while service or Airflow don't answer", "orphan")
        if self._clear_is_remembered:
            return
        if not self._form.keeps_record and airflow.state == "running" and airflow.next_method:
            self.excuse("no record, and cleared while it resumes", "starts", "verdict")
        if airflow.state in OVER and (airflow.worker is not None or self._is_just_over()):
            self.excuse("no record, and cleared just after it was marked", "orphan")
        if airflow.state in OVER and not self._form.waits:
            self.excuse("cleared after it has handed its operation on, and there is no record", "orphan")
        elif (why := self._nobody_sees_it() or self._not_read_yet()) is not None:
            self.excuse(f"no record, and cleared: {why}", "orphan")

    @property
    def _clear_is_remembered(self) -> bool:
        """Whether the next try knows what was started before a clear."""
        return self._form.keeps_record and not self._form.airflow.clears_drop_task_state

    def api_was_away(self) -> None:
        """Hear of an outage of Airflow's API."""
        self._airflow_was_away()
        if self.user_acted:
            self.excuse("Airflow doesn't answer a worker that is told to end", "orphan")
        if not self._form.keeps_record:
            self._gives_up("no record, and Airflow was away")
        elif not self._form.request_ids:
            self.excuse(
                "the note of a start isn't taken, and there is no request id", "cancel", "starts", "orphan"
            )

    def _airflow_was_away(self) -> None:
        if self._form.retries < FEW_RETRIES:
            self.excuse("no retry is left when Airflow is away", "verdict", "cancel", "starts")

    def api_is_slow(self) -> None:
        """Hear that an answer of Airflow's API takes some seconds now."""
        self.triggerers_are_late()
        airflow = self._world.airflow
        if (worker := airflow.worker) is None:
            return
        if worker.terminating:
            self.told_to_end(worker)
        if self.user_acted and not airflow.is_running(worker):
            self.excuse("Airflow doesn't answer a worker that is told to end", "orphan")

    def triggerers_are_late(self) -> None:
        """Hear that triggerers learn late what has become of a task, also what has been done to it just now."""
        if self._is_just_over():
            self._notice_soon_late()

    def told_to_end(self, worker: Worker) -> None:
        """Hear that a worker is told to end: what it has just started it cancels, if it can't be noted in 3 s."""
        name = worker.process.name
        noted = any(one.begun_by == name and one.name in self._noted for one in self._own)
        starts = not (worker.ti.next_method or noted)
        if not worker.ti.should_retry:
            self.excuse("no retries are left", "verdict", "cancel", "starts")
        if starts and self._world.airflow.slow_s and self._form.keeps_record and self._form.loses_starts:
            self.excuse("the note of a start isn't taken, and there is no request id", "cancel", "starts")

    def server_was_away(self, for_s: float = 0.0, *, looks_final: bool = False) -> None:
        """Hear of an outage of the service, and whether its answers look as if they were to stay so."""
        self._is_refused |= looks_final
        self._outages.append((self._now(), self._now() + for_s))
        if self.user_acted and self._world.airflow.worker is not None:
            self.excuse("a worker that is told to end isn't answered", "orphan")
        self.answer_was_lost()

    def answer_was_lost(self) -> None:
        """Hear that the service doesn't answer: with an outage that goes before, a try may give up."""
        if self._is_ownerless:
            self._gives_up("no record, and the service didn't answer")

    def process_was_lost(self) -> None:
        """Hear of the end of a process without a word."""
        if self.user_acted and any(not one.cancels for one in self._world.server.running()):
            self.excuse("the process that was to cancel is lost", "orphan")

    def worker_was_lost(self, *, told: bool) -> None:
        """Hear of the end of a worker; ``told``: it is evicted."""
        self.process_was_lost()
        if self._form.keeps_record:
            return
        if told:
            self._gives_up("no record, and its worker was told to end")
        else:
            self.excuse("no record, and its worker was lost", "starts", "orphan")

    def not_retried(self) -> None:
        """Hear that Airflow fails a task for good as its process had to be killed."""
        self.excuse("Airflow 3.0 fails a task whose process was killed", "verdict", "orphan")

    def fails_unheard(self) -> None:
        """Hear that Airflow fails a task as no retries are left, and that its code has no last word."""
        self.excuse("no retries are left", "verdict", "orphan", "starts")

    def failed_by_airflow(self) -> None:
        """Hear that Airflow fails the task for a reason of its own."""
        if not self._form.keeps_record:
            self.excuse("no record, and Airflow has failed the task", "starts", "orphan", "cancel")

    def _gives_up(self, name: str) -> None:
        self.excuse(name, "cancel", "starts")
        if self._form.waits_only:
            self.excuse("a sensor's operation was cancelled, as its worker was told to end", "verdict")
        if self._world.airflow.state == "deferred":
            self.deferred_though_told_to_end()

    def deferred_though_told_to_end(self) -> None:
        """Hear of a task that is deferred, and whose worker is told to end: it cancels, if it can't look afterwards."""
        if not self._form.airflow.reports_refusals:
            self.excuse("before Airflow 3.2.2: deferred, and its worker was told to end", "verdict")

    def report_unheard(self) -> None:
        """Hear that a worker reports what it leaves to a later stay, after it was told to end, and isn't answered."""
        self.excuse("before Airflow 3.3: told to end in the moment of its report", "orphan")

    def stores_too_late(self) -> None:
        """Hear that a worker stores something, and its run is deleted already."""
        if self._form.waits_only:
            self.excuse("its run is deleted while a sensor's worker stores something", "orphan")

    def run_is_deleted(self) -> None:
        """Hear that all that was noted is deleted, also what a try after a clear hasn't read yet."""
        if any(self._is_of_before_the_clear(one) for one in self._world.server.running()):
            self.excuse("its run is deleted before its old operation is cancelled", "orphan")

    def refused(self) -> None:
        """Hear that Airflow has refused what a worker has reported."""
        if not self._form.airflow.reports_refusals:
            self.excuse("Airflow 3.0 ends a worker whose report it refuses", "orphan")

    def forgotten(self) -> None:
        """Hear that the service knows of none of its operations any more."""
        self.excuse("the service has forgotten the operation", "verdict", "gave up")

    def nothing_to_follow(self) -> None:
        """Hear that another's operation, for which a start was refused, is over before it is looked for."""
        self.excuse("what another was creating is over when it is looked for", "verdict", "gave up")

    def cancel_refused(self, process: Process, *, for_now: bool = False) -> None:
        """Hear that the service has refused to cancel; what is refused for a moment is repeated, if there is time."""
        for worker in self._world.airflow.workers:
            if worker.process is process and (self._hurries(worker) or not for_now):
                self.excuse("the service refuses a worker's cancel", "orphan", "starts")

    def _hurries(self, worker: Worker) -> bool:
        """Tell whether a worker has only a moment to cancel."""
        return worker.terminating or self._form.execution_timeout_s is not None

    def cancel_unanswered(self, process: Process) -> None:
        """Hear that the service doesn't answer a cancel; unless that looks final it is borne, if there is time for it."""
        for worker in self._world.airflow.workers:
            if worker.process is process and (
                self._hurries(worker) or self._world.server.trouble == "forbidden"
            ):
                self.excuse("a worker's cancel isn't answered by the service", "orphan")

    def clock_is_set(self) -> None:
        """Hear that a clock is set ahead: an outage looks longer by that."""
        if self._unread_s or any(until_s > self._now() - UNSEEN_GAP_S for _, until_s in self._outages):
            kinds = ("verdict", "gave up", "cancel", "orphan")
            self.excuse("a clock is set ahead in an outage, which is too long then", *kinds)

    def begun(self, operation: Operation) -> None:
        """Hear that an operation has begun."""
        server = self._world.server
        others = [one for one in server.operations if one is not operation]
        now = self._world.kernel.now
        same = [one for one in others if one.begun_by == operation.begun_by and not self._had_failed(one)]
        if any(self._is_of_before_the_clear(one) == self._is_of_before_the_clear(operation) for one in same):
            self.broken(f"{operation.begun_by} has begun two operations", "twice")
        running = [one for one in others if not (one.forgotten or one.resource(now)["done"])]
        self._overlaps += [f"{operation.name} begins while {one.name} runs" for one in running]
        self._followed += [(one, now) for one in running if self._is_of_before_the_clear(one)]

    def _had_failed(self, operation: Operation) -> bool:
        """Tell whether an earlier try had sent its start, and it was over when this one learnt of it, with an error."""
        began_s = next(
            one.began_s for one in self._world.airflow.workers if one.process.name == operation.begun_by
        )
        earlier = self._first_noted_s.get(operation.request_id, began_s) < began_s
        return earlier and operation.code > 0 and bool(operation.resource(self._world.kernel.now)["done"])

    def cancel_sent(self, operation: Operation, who: str) -> None:
        """Hear of a cancel: what is over isn't to be cancelled, so there is a look before; and another's never is."""
        if self.is_foreign(operation):
            self.broken(f"{who} cancels {operation.name}, which is another's")
        now = self._now()
        recent = any(until > now - UNSEEN_GAP_S for _, until in self._outages)
        # A kill may interrupt the cancel of a time-out, and be done when that goes on.
        own = who in operation.cancelled_by
        if recent or own or self.stopped or not operation.resource(self._world.kernel.now)["done"]:
            return
        seen_s = operation.seen_s.get(who)
        ended_s = operation.ended_s
        if seen_s is not None and seen_s >= ended_s:
            self.broken(f"{who} cancels {operation.name}, which it knows to be over", "in vain")
        elif self._world.kernel.now - ended_s > LOOK_S:
            self.broken(f"{who} cancels {operation.name}, which is over for long", "in vain")

    def polled(self, operation: Operation, who: str) -> None:
        """Hear that a process is told how an operation stands; whoever waits cancels one whose time is up."""
        airflow, now = self._world.airflow, self._world.kernel.now
        waiters = [airflow.worker, airflow.trigger and airflow.trigger.holder]
        if who not in [one.process.name for one in waiters if one is not None]:
            return
        self._answered_s.append(self._now())
        late = now > self._ends_s(operation) + LATE_S
        if not late or operation.resource(now)["done"] or who in self._cancelling:
            return
        self._late_polls[operation.name, who] += 1
        if self._late_polls[operation.name, who] == LATE_POLLS:
            self.broken(f"{who} waits for {operation.name} beyond its deadline", "late")

    def _ends_s(self, operation: Operation) -> float:
        """Return when whoever waits for an operation now has waited for long enough."""
        limit_s = self._form.limit_s
        if limit_s is None:
            return math.inf
        airflow = self._world.airflow
        if self._form.waits_only:
            began_s = [one.began_s for one in airflow.workers if one.ti.try_number == airflow.try_number]
            return min(began_s, default=math.inf) + limit_s
        if operation.name in self._deadlines:
            return self._deadlines[operation.name] or math.inf
        return math.inf if self._form.keeps_record else operation.started_s + limit_s

    def store_was_away(self) -> None:
        """Hear that Airflow's task state store doesn't answer."""
        self._airflow_was_away()
        if self.user_acted:
            self.excuse("Airflow doesn't answer a worker that is told to end", "orphan")
        if self._form.keeps_record and self._form.loses_starts:
            self.excuse("the note of a start isn't taken, and there is no request id", "cancel", "starts")

    def asks_for_record(self, process: Process) -> None:
        """Hear that a worker asks for the record."""
        self._asked_s.setdefault(process.name, self._now())

    def record_is_read(self, process: Process, *, failed: bool) -> None:
        """Hear of the answer; without one it asks on for as long as it would bear an outage of the service."""
        if failed:
            self._unread_s[process.name] = self._now()
        else:
            self._has_read.add(process.name)
            self._unread_s.pop(process.name, None)

    def noted(self, record: Any) -> None:
        """Hear of a record that Airflow has stored."""
        name = record.get("name", "")
        self._noted.add(name)
        if self._form.waits_only:  # each try waits for the same operation, with a time of its own
            return
        self._first_noted_s.setdefault(record.get("request_id", ""), self._world.kernel.now)
        deadline_s = record.get("deadline_epoch_s") or 0.0
        for key in (name, record.get("request_id", "")):
            self._deadlines[key] = deadline_s
        limit_s, since_s = self._form.limit_s, self._first_noted_s[record.get("request_id", "")]
        if limit_s is not None and not self._form.foreign and abs(deadline_s - limit_s - since_s) > START_S:
            self.broken(
                f"the deadline of {name or 'a start'} is {deadline_s - since_s:.0f} s after its beginning",
                "late",
            )

    def cancelled(self, operation: Operation, by: str) -> None:
        """Hear of the cancel of an operation that ran."""
        if by.startswith("sweep"):
            self._swept(operation)
            return
        airflow = self._world.airflow
        if self._is_ownerless and by.startswith("triggerer") and airflow.state != "deferred":
            self.excuse(
                "no record, and a triggerer comes back when the task isn't deferred", "cancel", "starts"
            )
        if self.is_to_end(operation):
            return
        what = f"{operation.name} is cancelled by {by}, and nobody has ended its task"
        if by.startswith("worker") and self._outage_is_intolerable():
            self._giving_up[by] = what
            self._given_up.add(operation.name)
        else:
            self.broken(what, "cancel")

    def _gives_up_for_good(self, worker: str) -> None:
        self.excuse("the last try gives up on a service that was away for too long", "cancel")
        self.broken(self._giving_up.pop(worker), "cancel")

    def sweep_confirms(self) -> None:
        """Hear that a sweep has seen that the task is over, and is about to cancel."""
        self._confirmed_s = self._now()

    def _swept(self, operation: Operation) -> None:
        """Hear of a sweep's cancel: the task has failed, whoever has ended it, or was marked successful."""
        confirmed_s, self._confirmed_s = self._confirmed_s, None
        if confirmed_s is not None and self._cleared_s is not None and confirmed_s <= self._cleared_s:
            self.excuse("cleared in the moment in which a sweep cancels", "swept", "verdict")
        state = self._world.airflow.state
        has_failed = state in {*OVER, "removed"} - {"success"}
        if self._gave_up() or not (has_failed or (self._marked and state == "success")):
            self.broken(f"a sweep cancels {operation.name}, and its task is {state}", "swept")

    def _gave_up(self) -> bool:
        """Tell whether a sensor has failed because the service was away, which leaves the operation alone."""
        last = [one.process.name for one in self._world.airflow.workers[-1:]]
        return self._form.waits_only and not self._marked and last == [self._bore_no_more]

    def _is_for_sweeps(self, operation: Operation) -> bool:
        """Tell whether the task's record lets a sweep end an operation."""
        records = self._world.airflow.store.values() if self._form.swept else ()
        return any(
            record.get("name") == operation.name and record["cancel_if_orphaned"] and not record["handed_on"]
            for record in records
            if isinstance(record, dict)
        )

    def is_to_end(self, operation: Operation) -> bool:
        """Tell whether somebody has ended the task that an operation belongs to, or its time is up."""
        failed = self._world.airflow.state == "failed" and not self._form.waits_only
        was_marked = self._form.waits_only and self._has_marked  # of several tries, which wait for the same
        return (
            self._marked
            or failed
            or was_marked
            or self._is_of_before_the_clear(operation)
            or self._is_late(operation)
        )

    def time_is_up(self) -> None:
        """Hear that an ``execution_timeout`` ends a worker: it counts from the beginning of the stay."""
        self._out_of_time |= {one.name for one in self._world.server.operations}

    def trigger_had_ended(self) -> None:
        """Hear that a triggerer comes to cancel a trigger which has fired: what that said reaches no worker."""
        self.excuse("ended when its trigger had, and before that was noted", "orphan")

    def event_was_late(self) -> None:
        """Hear that a trigger's event finds a task that isn't deferred any more."""
        if self._is_just_over():
            self.trigger_had_ended()
        cleared = self._cleared_s is not None and self.stopped
        if self._is_ownerless and (cleared or self._is_unnoticed(self._cleared_s)):
            self.excuse("no record, and cleared when its trigger had given up", "orphan")

    def _is_late(self, operation: Operation, at_s: float | None = None) -> bool:
        """Tell whether the time is up of the intent that an operation belongs to."""
        if self._form.limit_s is None or operation.name in self._out_of_time:
            return self._form.limit_s is not None
        by_record_s = self._deadlines.get(operation.request_id) or self._deadlines.get(operation.name)
        ends_s = by_record_s or operation.started_s + self._form.limit_s
        return (self._world.kernel.now if at_s is None else at_s) >= ends_s - START_S

    def _notice_soon_late(self) -> None:
        """See whether the time will be up when a triggerer learns that a deferred task was marked failed."""
        last = self._world.server.operations[-1:]
        ends_s = [
            self._deadlines.get(one.name) or one.started_s + (self._form.limit_s or BEGIN_S) for one in last
        ]
        soon = any(0 <= at_s - self._world.kernel.now < self._notices_s for at_s in ends_s)
        if self._failed_while_deferred and soon:
            self.excuse("marked failed in the seconds before its time is up", "orphan")

    def _is_of_before_the_clear(self, operation: Operation) -> bool:
        """Tell whether a worker has started it that began before the task was cleared."""
        if operation.request_id and operation.request_id in self._cleared_ids:
            return True
        begun_by = [one for one in self._world.airflow.workers if one.process.name == operation.begun_by]
        if self._cleared_s is None or not begun_by:
            return False
        return begun_by[0].began_s - BEGIN_S <= self._cleared_s

    def ended(self, worker: Worker, error: BaseException | None) -> None:
        """Hear how a worker's code has ended."""
        if error is not None and not isinstance(error, OperationsError | AirflowRuntimeError):
            self.broken(f"{worker.process.name} fails with {error!r}")
        if isinstance(error, OperationEventError) and not self._world.airflow.is_gone:
            self.broken(f"{worker.process.name} can't go on: {error}")
        name = worker.process.name
        is_final = isinstance(error, AirflowFailException) and isinstance(error, OperationsCallError)
        if is_final and worker.ti.should_retry and not self._is_refused:
            self.broken(f"{name} fails for good, by what may pass: {error}", "gave up")
        if name in self._giving_up:
            is_last = isinstance(error, AirflowFailException) or not worker.ti.should_retry
            if isinstance(error, OperationsCallError) and is_last:
                self._gives_up_for_good(name)
            else:
                self.broken(self._giving_up.pop(name), "cancel")
        if isinstance(error, AirflowRuntimeError):
            self._unanswered_by_airflow.add(name)
        if worker.terminating:
            # One that is evicted goes on for a while, and may give up meanwhile like any other.
            if isinstance(error, OperationsCallError) and self._outage_is_intolerable():
                self.excuse("the service was away for longer than is tolerated", "verdict")
            return
        fails_anyway = worker.ti.next_method == TRIGGER_FAIL_REPR  # then a record is only looked for
        if isinstance(error, AirflowRuntimeError) and name in self._unread_s and not fails_anyway:
            asked_for_s = self._unread_s[name] - self._asked_s[name]
            if not (worker.ti.should_retry or worker.ti.next_method):
                self.excuse("the last try can't read what an earlier one has noted", "orphan")
            if asked_for_s < OUTAGE_TOLERANCE_S:
                self.broken(f"{name} asks for its record for {asked_for_s:.0f} s only", "gave up")
        self._leaves_none_behind(name)
        if not isinstance(error, OperationsCallError):
            return
        if self._outage_is_intolerable():
            self.excuse("the service was away for longer than is tolerated", "verdict")
            self._bore_no_more = name
        else:
            begins = error.method == "POST" and error.name is None
            cancels = (
                error.method == "POST" and error.name is not None
            )  # of an earlier try's; the next tries again
            if not cancels and not (begins and self._form.loses_starts):  # such a start isn't sent again
                self.broken(f"{worker.process.name} gives up on a short outage: {error}", "gave up")

    def _leaves_none_behind(self, worker: str) -> None:
        """See that a worker which ends by itself has cancelled what it has started, and no later try finds."""
        if not (self._form.keeps_record and self._form.loses_starts) or self._outages:
            return
        for one in self._world.server.running():
            if one.begun_by == worker and one.answered and one.name not in self._noted and not one.cancels:
                self.broken(f"{worker} leaves {one.name} behind, and no later try knows of it", "left")

    def _outage_is_intolerable(self) -> bool:
        """Tell whether the service was away, as far as polls show it, for longer than is tolerated."""
        since_s = until_s = -UNSEEN_GAP_S
        for begins_s, ends_s in sorted(self._outages):
            seen_between = any(until_s < at_s < begins_s for at_s in self._answered_s)
            if seen_between or begins_s > until_s + UNSEEN_GAP_S:
                since_s = begins_s
            until_s = max(until_s, ends_s)
            long = min(until_s, self._now()) - since_s >= OUTAGE_TOLERANCE_S - 1
            if long and until_s > self._now() - HEARD_S:
                return True
        return False

    # --- the end ---------------------------------------------------------------------------------------------

    def verdict(self) -> list[str]:
        """Return what broke a promise, once everything has had its time."""
        world = self._world
        operations, state = self._own, world.airflow.state
        self._excuse_lost_starts()
        for worker in list(self._giving_up):  # it was lost meanwhile
            self._gives_up_for_good(worker)
        if self._gave_up():
            self.excuse("a sensor gives up on a service that was away for too long", "orphan")
        finds_earlier_ones = self._form.keeps_record and not self._form.airflow.clears_drop_task_state
        for overlap in self._overlaps if finds_earlier_ones else ():
            self.broken(overlap, "starts")
        again = sum(
            one.code == UNAVAILABLE
            or one.name in self._given_up
            or self._is_late(one, min(one.ended_s, later.started_s))
            for one, later in pairwise(operations)
        )
        if len(operations) > self._intents + again:
            self.broken(f"{len(operations)} starts for {self._intents + again} intents", "starts")
        if self._outages and self._cleared_s is not None and self._form.retries < FEW_RETRIES:
            self.excuse("no retry is left when the old operation can't be cancelled", "starts", "verdict")
        if not self._marked and operations and self._is_of_before_the_clear(operations[-1]):
            self.broken("nothing was started after the task was cleared", "starts")
        if self._over_s is None:
            self.broken(f"the task is {state} still", "stuck")
        handed_on = not self._form.waits and not self._marked
        for one in operations[:-1] if handed_on else operations:
            if one.forgotten:
                continue
            ends_s = one.ended_s - BEGIN_S
            is_swept = self._is_for_sweeps(one)
            bound_s = SWEPT_S if is_swept else BOUND_S
            if self._over_s is not None and ends_s > self._over_s + bound_s:
                kind = "" if is_swept else "orphan"
                self.broken(f"{one.name} runs on until {ends_s:.0f} s; its task is over", kind)
        for one, at_s in self._followed:
            if not one.forgotten and one.ended_s > at_s + REPLACED_S:
                self.broken(f"{one.name} runs on, and its task has another operation for long", "orphan")
        if not self._marked and self._over_s is not None and state != self._expected():
            self.broken(f"the task has {state}, and its operation says {self._expected()}", "verdict")
        for triggerer in world.triggerers:
            for error in triggerer.loop.errors:
                self.broken(f"{triggerer.process.name}: {error}")
        return self._violations

    def _excuse_lost_starts(self) -> None:
        if self._form.loses_starts and any(not self._is_known(one) for one in self._own):
            self.excuse("a start's answer is lost, and there is no request id", "starts", "orphan")

    def _is_known(self, operation: Operation) -> bool:
        """Tell whether a later try knows of an operation, or without a record: whether its own did."""
        return operation.name in self._noted if self._form.keeps_record else operation.answered

    def _expected(self) -> str:
        """Return the state in which a task ends that nobody has marked."""
        last = self._own[-1:]
        failed = [one for one in last if one.code == FAILS and one.cancelled_s is None]
        over_s = BEGIN_S + (self._over_s or 0.0)
        late = [one for one in last if self._is_late(one, min(one.ended_s, over_s))]
        outlived = self._form.waits_only and (OUTLASTS in self._form.ends or any(one.cancels for one in last))
        return "failed" if (failed and self._form.waits) or late or outlived else "success"
