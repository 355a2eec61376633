"""
The simulated Airflow: the state of one task, the scheduler, and the supervisors of its workers.

Each rule is one of Airflow 3.3.2; the comments name its module.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.models.trigger import TRIGGER_FAIL_REPR
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms
from airflow.triggers.base import BaseTaskEndEvent

from airflow_provider_operations._airflow.xcom import OPERATION_NAME_KEY

from .forms import NEIGHBOUR
from .kernel import Process, Waiter
from .worker import run_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World

__all__ = ["OVER", "SCHEDULER_ROUND_S", "Airflow", "Worker"]

OVER = frozenset({"failed", "success", "skipped", "upstream_failed"})
SCHEDULABLE = frozenset({None, "up_for_retry", "up_for_reschedule"})
RETRY_DELAY_S = 20.0
HEARTBEAT_S = 5.0
TASK_LOST_S = 300.0
TRIGGER_TIMEOUT_S = 15.0
"""So often the scheduler looks for deferrals whose time is up."""
SIGKILL_AFTER_S = 5.0
EVICTED_AFTER_S = 30.0
NOT_FIRST_IN_BATCH = 0.1
"""So often a scheduler has, in one round, read the end of another task's worker before that of this one's."""
SCHEDULER_ROUND_S = 1.0
"""So long a scheduler's rounds take, on a machine that isn't busy."""
_UNANSWERED = (comms.MaskSecret, comms.SetRenderedFields)
NEIGHBOURS_XCOMS = {OPERATION_NAME_KEY: "operations/neighbour"}
"""Those of a mapped task's other instance."""
API_RETRIES_S = (1.0, 1.5, 3.0, 5.0)
"""Pauses between a supervisor's attempts to reach the API server."""


def _state_key(map_index: int) -> str:
    """Return under which name the API server tells a task instance's state."""
    return "task" if map_index < 0 else f"task_{map_index}"


class Refused(Exception):
    """The API server's answer to what it doesn't take."""


class Unavailable(Exception):
    """The API server's answer to what may be asked again: a 503."""


class Worker:
    """A process that runs the task, and its supervisor."""

    def __init__(self, airflow: Airflow, number: int, ti: SimpleNamespace) -> None:
        self.process = Process(f"worker {number}")
        self.supervisor = Process(f"supervisor {number}")
        self.ti = ti
        self.on_term: Callable[[], None] | None = None
        """What the task's process does on SIGTERM."""
        self.on_alarm: Callable[[], None] | None = None
        """And on SIGALRM, by which ``execution_timeout`` ends it."""
        self.alarm: object = None
        """Which timer is set."""
        self.refused = False
        """Whether Airflow has refused what it has reported."""
        self.exit_code: int | None = None
        self.terminal: str | None = None
        """The final state, as the supervisor knows it."""
        self.pending: Any = None
        """A state that the API server hasn't taken yet."""
        self.terminating = self.deaf = False
        """Whether it is told to end; and whether its supervisor, which ends it, doesn't answer it meanwhile."""
        self.killed_by_supervisor = False
        """Whether it is its supervisor that ends it, which kills it soon."""
        self.server_terminated = False
        """Whether a heartbeat's answer has ended it."""
        self.began_s = airflow.world.kernel.now
        self._airflow = airflow
        self._kernel = airflow.world.kernel

    def begin(self) -> None:
        """Start the process."""
        self.process.on_death.append(lambda: self._exited(-9))
        self._kernel.spawn(self.process, self._main)

    def _main(self) -> None:
        self._kernel.sleep(self._kernel.random.uniform(0.1, 0.6))
        code = run_task(self._airflow.world, self)
        self.process.on_death.clear()
        self._kernel.at(0, lambda: self._exited(code))
        self._kernel.kill(self.process)

    def terminate(self, why: str, *, kill_after_s: float = SIGKILL_AFTER_S) -> None:
        """
        End the process as ``supervisor.kill`` does: SIGTERM, and SIGKILL later.

        What the supervisor itself is told (``_forward_signal``) it hands on each time.
        """
        by_supervisor = kill_after_s == SIGKILL_AFTER_S
        if self.exit_code is not None or (by_supervisor and self.killed_by_supervisor):
            return
        self.terminating = True
        if by_supervisor:
            self.killed_by_supervisor = True
            self.deaf = not self._airflow.version.keeps_task_state
        self._airflow.world.judge.told_to_end(self)
        self._kernel.note(self.supervisor.name, f"sends SIGTERM: {why}")
        if self.on_term is None:
            self._kernel.kill(self.process)
            return
        self._kernel.signal(self.process, self.on_term)
        self._kernel.at(kill_after_s, lambda: self._kernel.kill(self.process), self.supervisor)

    def set_alarm(self, in_s: float) -> None:
        """Set the timer of the process, or stop it."""
        self.alarm = timer = object()

        def rings() -> None:
            if self.alarm is timer and self.on_alarm is not None:
                self._airflow.world.judge.time_is_up()
                self._kernel.signal(self.process, self.on_alarm)

        if in_s:
            self._kernel.at(in_s, rings, self.process)

    def lose_node(self) -> None:
        """End process and supervisor at once."""
        self._kernel.kill(self.process)
        self._kernel.kill(self.supervisor)

    def _exited(self, code: int) -> None:
        if self.exit_code is None:
            self.exit_code = code
            self._kernel.note(self.process.name, f"ends with {code}")
            self._kernel.at(0.1, self._report, self.supervisor)

    def _report(self) -> None:
        """Do what ``update_task_state_if_needed`` does, then what the scheduler does about the executor's event."""
        message = self.pending
        retried = self.ti.should_retry
        if retried and self.exit_code == -9 and not self._airflow.version.retries_killed:
            retried = False
            self._airflow.world.judge.not_retried()
        ends_failed = self.terminal == "failed" if self.exit_code == 0 else not retried
        if message is None and ends_failed and not self.server_terminated:
            message = SimpleNamespace(state="failed")
            if self.exit_code != 0:
                self._airflow.world.judge.fails_unheard()

        def reported(result: Any = None) -> None:
            # The executor hears of an exception alone: of ``finish``, which isn't taken.
            failed = isinstance(result, Refused) and message is not self.pending
            delay_s = self._kernel.random.uniform(0.3, 3 * self._airflow.round_s)
            self._kernel.at(delay_s, lambda: self._airflow.executor_says(self, failed=failed))

        if message is None:
            reported()
        else:
            self._airflow.reach_api(self.supervisor, lambda: self._airflow.update(self, message), reported)

    def beat(self) -> None:
        """Send a heartbeat; Airflow's answer may be that the task isn't this one's any more."""
        if self.exit_code is not None or self.terminal is not None:
            return
        if self._airflow.api_away:
            self._kernel.at(HEARTBEAT_S, self.beat, self.supervisor)
        elif not self._airflow.is_running(self):
            self.terminate(f"the task is {self._airflow.state}")
            self.server_terminated = True


class Airflow:
    """The database's view of one task, and whoever acts on it."""

    def __init__(self, world: World, retries: int) -> None:
        self.world = world
        self.retries = self.max_tries = retries
        self.version = world.form.airflow
        self.place = world.form.place
        self.id = self._new_id()
        self.state: str | None = None
        self.try_number = 0
        self.next_method: str | None = None
        self.next_kwargs: dict[str, Any] | None = None
        self.trigger: SimpleNamespace | None = None
        """What the task waits for, if it is deferred."""
        self.triggers: list[SimpleNamespace] = []
        """The table ``trigger``; ``is_referred``: by the task, whatever its state."""
        self.reschedules: list[float] = []
        """When the stays of a task began that was rescheduled, since its id last changed."""
        self.xcoms: dict[str, Any] = {}
        self.store: dict[str, Any] = {}
        self.stored_s: dict[str, float] = {}
        """When each value was stored."""
        self.changed_s = 0.0
        """When the task's state changed last."""
        self.workers: list[Worker] = []
        self.api_away = False
        self.store_away = False
        """Whether the API server answers 503 to all that is about the task's state store."""
        self.hides_store = False
        """Whether a gateway before the API answers 404 to whoever reads the task's state store."""
        self.triggers_are_unanswered = False
        self.round_s = SCHEDULER_ROUND_S
        """So long the scheduler may take to see what is new in the database."""
        self.slow_s = 0.0
        """So much longer an answer may take."""
        self.loses_next_worker = False
        """Whether the next worker ends before it has said that the task runs."""
        self.upstream_has_failed = False
        """Whether what the task depends on was cleared as well, and has failed since."""
        self.is_gone = False
        """Whether the task's run was deleted."""
        self._kernel = world.kernel
        self._triggers = 0

    def _new_id(self) -> uuid.UUID:
        return uuid.UUID(int=self.world.kernel.random.getrandbits(128))

    def _next_try(self) -> None:
        """Do what ``prepare_db_for_next_try`` does."""
        self.id = self._new_id()
        self.reschedules.clear()

    # --- states ----------------------------------------------------------------------------------------------

    def set_state(self, state: str | None, why: str) -> None:
        """Change the task's state; whoever looks at the database from time to time sees it later."""
        self.world.event(
            "airflow", f"{self.state} -> {state} (try {self.try_number} of {self.max_tries + 1}; {why})"
        )
        self.state, self.changed_s = state, self._kernel.now
        if state != "deferred":
            self.trigger = None
        self.world.judge.task_is(state)
        self.world.wake_triggerers()
        for worker in self.workers:
            if worker.exit_code is None:
                delay_s = self._kernel.random.uniform(0.1, HEARTBEAT_S)
                self._kernel.at(delay_s, worker.beat, worker.supervisor)

    def schedule(self, delay_s: float = 0.0) -> None:
        """Let the scheduler see to a task that is to run, if it still is by then."""
        ti_id, state = self.id, self.state

        def due() -> None:
            if (self.id, self.state) != (ti_id, state):
                return
            if self.upstream_has_failed and state in SCHEDULABLE:  # ``TriggerRuleDep``
                self.upstream_has_failed = False
                self.mark("upstream_failed", "the scheduler, as an upstream task has failed")
                return
            if state != "scheduled":
                if state in {None, "up_for_retry"}:
                    self.try_number += 1
                self.set_state("scheduled", "scheduler")  # ``DagRun.schedule_tis``
                self.schedule()
                return
            self.set_state("queued", "scheduler")
            self._kernel.at(self._kernel.random.uniform(0.2, 2 * self.round_s), start)

        def start() -> None:
            if (self.id, self.state) != (ti_id, "queued"):
                return
            if not self.loses_next_worker:
                self._start_worker()
                return
            self.loses_next_worker = False
            if self.next_method:
                self.world.judge.failed_by_airflow()
            self._fail("the executor says that its worker hasn't begun")

        self._kernel.at(delay_s + self._kernel.random.uniform(0.1, self.round_s), due)

    def _start_worker(self) -> None:
        ti = SimpleNamespace(
            id=self.id,
            try_number=self.try_number,
            max_tries=self.max_tries,
            next_method=self.next_method,
            next_kwargs=self.next_kwargs,
            xcom_keys=[] if self.next_method else sorted(self.xcoms),
            reschedules=len(self.reschedules),
            should_retry=self.try_number <= self.max_tries,
        )
        worker = Worker(self, len(self.workers) + 1, ti)
        self.set_state("running", worker.process.name)
        self.workers.append(worker)
        worker.supervisor.on_death.append(
            lambda: self._kernel.at(TASK_LOST_S, lambda: self._task_lost(worker))
        )
        worker.begin()

    @property
    def worker(self) -> Worker | None:
        """The worker that runs now."""
        return next((one for one in reversed(self.workers) if one.exit_code is None), None)

    def is_running(self, worker: Worker) -> bool:
        """Tell whether the task is this worker's, as far as Airflow is concerned."""
        return self.state == "running" and worker.ti.id == self.id and worker is self.workers[-1]

    def _fail(self, why: str) -> None:
        """Do what ``TaskInstance.handle_failure`` does."""
        self.next_method = self.next_kwargs = None
        if self.state == "restarting" or (self.retries and self.try_number <= self.max_tries):
            if self.state == "running":
                self._next_try()
            self.set_state("up_for_retry", why)
            self.schedule(RETRY_DELAY_S)
        else:
            self.world.judge.fails_unheard()
            self.set_state("failed", why)

    def _task_lost(self, worker: Worker) -> None:
        if worker.ti.id == self.id and self.state == "running":
            self._fail("no heartbeats")
        elif self.state == "restarting":
            self.world.judge.excuse("clear counted as a retry", "starts", "orphan", "cancel")
            self._fail("no heartbeats")

    def executor_says(self, worker: Worker, *, failed: bool) -> None:
        """Hear of the end of a worker, as ``process_executor_events`` does."""
        if self.is_running(worker):
            self.world.judge.failed_by_airflow()
            self._fail("the executor says that its worker has ended")
        elif (
            worker.ti.id == self.id and worker is not self.workers[-1] and self.state in {"queued", "running"}
        ):
            # The task has resumed, and its executor takes this for the end of that stay (#72716).
            self.world.judge.failed_by_airflow()
            self._fail("the executor says that its worker of before has ended")
        elif self.state == "restarting" and worker is self.workers[-1]:
            if not failed:
                # In a batch of events, ``ti.set_state`` ends the session for those that come after it, which then are
                # read anew: what was written to ``max_tries`` just before is lost.
                if self._kernel.random.random() < NOT_FIRST_IN_BATCH:
                    self.world.judge.excuse("clear counted as a retry", "starts", "orphan", "cancel")
                else:
                    self.max_tries = self.try_number + self.retries
                self.set_state(None, "cleared")
                self.schedule()
            else:
                self.world.judge.excuse("clear counted as a retry", "starts", "orphan", "cancel")
                self._fail("cleared, and counted as a failure")

    def reset_orphan(self) -> None:
        """
        Do what ``adopt_or_reset_orphaned_tasks`` does about a task whose scheduler was silent for too long.

        Not while a worker lives: two of them at once would share what Airflow keeps for one process.
        """
        if self.state not in {"queued", "restarting"} or self.worker is not None:
            return
        if self.state == "restarting":
            self.world.judge.excuse("clear counted as a retry", "starts", "orphan", "cancel")
        self.world.judge.failed_by_airflow()
        self._next_try()
        self.next_method = self.next_kwargs = None
        self.set_state(None, "reset by a scheduler")
        self.schedule()

    # --- what users do ---------------------------------------------------------------------------------------

    def mark(self, state: str, by: str = "a user") -> None:
        """Mark the task as failed or successful."""
        if self.state in {*OVER, "restarting"}:
            return
        self.world.judge.marked(state)
        self.next_method = self.next_kwargs = None
        self.set_state(state, f"marked by {by}")

    def clear(self) -> None:
        """Clear the task, as ``clear_task_instances`` does."""
        if self.state in {None, "restarting"} or self.is_gone:
            return
        self.world.judge.cleared()
        self._next_try()
        if self.version.clears_drop_task_state:
            self.store.clear()
        if self.state == "running":
            self.set_state("restarting", "cleared by a user")
            return
        self.max_tries = self.try_number + self.retries
        self.next_method = self.next_kwargs = None
        self.set_state(None, "cleared by a user")
        self.schedule()

    def vanish(self, for_s: float | None = None) -> None:
        """Let the task be missing from its DAG file (``DagRun._check_for_removed_or_restored_tasks``); or for a while."""
        if self.state in {*OVER, "removed", "restarting"}:
            return
        self.world.judge.vanished(for_good=for_s is None)
        self.set_state("removed", "its DAG file doesn't have it")
        ti_id = self.id

        def restored() -> None:
            if (self.id, self.state) == (ti_id, "removed"):
                self.set_state(None, "its DAG file has it again")
                self.schedule()

        if for_s is not None:
            self._kernel.at(for_s, restored)

    def delete_run(self) -> None:
        """End the task's run, as Airflow wants it, and delete it with all that there is of the task."""
        if self.state in {*OVER, "removed", "restarting"}:
            return
        # ``set_dag_run_state_to_failed``
        self.mark("failed" if self.state in {"running", "deferred", "up_for_reschedule"} else "skipped")
        self._kernel.at(self._kernel.random.uniform(0.1, 0.5), self._run_is_deleted)

    def _run_is_deleted(self) -> None:
        if self.state not in OVER:
            return  # somebody has cleared it
        self.world.judge.run_is_deleted()
        self.id, self.is_gone = self._new_id(), True
        self.store.clear()
        for key in [*self.xcoms]:
            self._read(comms.DeleteXCom(key=key, **self.place))
        for trigger in self.triggers:
            trigger.is_referred = False
        self.world.event("airflow", "the run is deleted")

    def clean_triggers(self) -> bool:
        """
        Do what ``Trigger.clean_unused`` does; tell whether there was something to do.

        It looks for tasks whose state isn't ``deferred``, which in SQL doesn't find those that have none.
        """
        used = [
            one for one in self.triggers if one is self.trigger or (one.is_referred and self.state is None)
        ]
        cleaned, self.triggers = len(self.triggers) > len(used), used
        return cleaned

    # --- the API ---------------------------------------------------------------------------------------------

    def reach_api(
        self, supervisor: Process, act: Callable[[], Any], done: Callable[[Any], None], tried: int = 0
    ) -> None:
        """Do something by the API server, which a supervisor asks a few times; ``done`` gets what came of it."""
        try:
            result = Unavailable() if self.api_away else act()
        except (Refused, Unavailable) as error:
            result = error
        if not isinstance(result, Unavailable):
            done(result)
        elif tried < len(API_RETRIES_S):
            pause_s = API_RETRIES_S[tried] * self._kernel.random.uniform(0.8, 1.2)
            self._kernel.at(pause_s, lambda: self.reach_api(supervisor, act, done, tried + 1), supervisor)
        else:
            done(Refused("the API server is away"))

    def send(self, msg: Any) -> Any:
        """Take a message of the process that is running, as its supervisor does; blocks."""
        process = self._kernel.current
        assert process is not None
        worker = next((one for one in self.workers if one.process is process), None)
        name = type(msg).__name__
        if isinstance(msg, _UNANSWERED):
            return None
        waiter = Waiter(self._kernel)
        answers: list[Any] = []

        def arrive() -> None:
            if worker is not None and worker.deaf:
                reports = isinstance(msg, comms.DeferTask | comms.RescheduleTask | comms.SucceedTask)
                if reports or worker.refused:  # then it asks what became of the task
                    self.world.judge.report_unheard()
                return
            if worker is not None:
                self.reach_api(supervisor, lambda: self._take(worker, msg), answered)
            elif late_s := self.world.stalled_s(process):
                self._kernel.at(late_s, arrive, supervisor)
            elif self.triggers_are_unanswered:
                answered(Refused("the database is away"))
            else:
                answered(self._answer_to_trigger(msg))

        def answered(result: Any) -> None:
            self.world.hand_over(process, name, "is carried out")
            self._kernel.at(self._latency(), lambda: arrived(result), process)

        def arrived(result: Any) -> None:
            self.world.hand_over(process, name, "is answered")
            if isinstance(msg, comms.GetTaskStateStore):
                self.world.judge.record_is_read(process, failed=isinstance(result, Refused))
            if worker is None and isinstance(result, comms.TaskStatesResult):
                states = result.task_states.get("run", {})
                self.world.judge.told(process, states.get(_state_key(self.place["map_index"])))
            answers.append(result)
            waiter.fire()

        supervisor = process if worker is None else worker.supervisor
        if isinstance(msg, comms.GetTaskStateStore):
            self.world.judge.asks_for_record(process)
        self.world.hand_over(process, name, "leaves")
        self._kernel.check_alive(process)
        self._kernel.at(self._latency(), arrive, supervisor)
        self._kernel.wait(waiter)
        if isinstance(answers[0], Refused):
            error = comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"why": str(answers[0])})
            raise AirflowRuntimeError(error)
        return answers[0]

    def _latency(self) -> float:
        slow_s = self._kernel.random.uniform(0, self.slow_s) if self.slow_s else 0.0
        return self.world.latency() + slow_s

    def _answer_to_trigger(self, msg: Any) -> Any:
        try:
            return self._read(msg)
        except Refused as error:
            return error

    def _take(self, worker: Worker, msg: Any) -> Any:
        """Carry out what a worker's process asks for."""
        match msg:
            case comms.TaskState():
                worker.terminal = msg.state
                return None
            case comms.DeferTask() | comms.RetryTask() | comms.SucceedTask() | comms.RescheduleTask():
                worker.pending = msg
                return self.update(worker, msg)
            case comms.GetTaskStateStore() | comms.SetTaskStateStore() | comms.DeleteTaskStateStore() if (
                self.store_away
            ):
                raise Unavailable
            case comms.SetXCom() | comms.SetTaskStateStore() if self.is_gone:
                self.world.judge.stores_too_late()
                raise Refused("no such task instance")
            case comms.SetTaskStateStore() | comms.DeleteTaskStateStore() if msg.ti_id != self.id:
                raise Refused("no such task instance")
            case comms.GetTaskStateStore():
                if self.hides_store or msg.ti_id != self.id or msg.key not in self.store:
                    return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
                return comms.TaskStateStoreResult(value=self.store[msg.key])
            case comms.SetTaskStateStore():
                self.store[msg.key], self.stored_s[msg.key] = msg.value, self._kernel.now
                self.world.judge.noted(msg.value)
                return comms.OKResponse(ok=True)
            case comms.DeleteTaskStateStore():
                self.store.pop(msg.key, None)
                return comms.OKResponse(ok=True)
            case comms.GetTaskRescheduleStartDate():
                since = (
                    datetime.fromtimestamp(self.reschedules[0], timezone.utc) if self.reschedules else None
                )
                return comms.TaskRescheduleStartDate(start_date=since)
        return self._read(msg)

    def _read(self, msg: Any) -> Any:
        """Answer what triggers may ask, too."""
        match msg:
            case comms.GetXComSequenceSlice():
                xcoms = [*([NEIGHBOURS_XCOMS] if self.world.form.mapped else []), self.xcoms]
                return comms.XComSequenceSliceResult(root=[one[msg.key] for one in xcoms if msg.key in one])
            case comms.GetXCom() | comms.SetXCom() | comms.DeleteXCom() if not self._is_own(msg):
                return self._of_another(msg)
            case comms.GetXCom():
                return comms.XComResult(key=msg.key, value=self.xcoms.get(msg.key))
            case comms.SetXCom() if self.is_gone:
                raise Refused("no such task instance")
            case comms.SetXCom():
                self.xcoms[msg.key] = msg.value
            case comms.DeleteXCom():
                self.xcoms.pop(msg.key, None)
            case comms.GetTaskStates():
                states = {} if self.is_gone else {self.place["map_index"]: self.state}
                if self.world.form.mapped and not self.is_gone:
                    states[NEIGHBOUR] = "failed"
                asked = states if msg.map_index is None else states.keys() & {msg.map_index}
                found = {_state_key(one): states[one] for one in sorted(asked)}
                return comms.TaskStatesResult(task_states={"run": found} if found else {})
            case _:
                raise NotImplementedError(type(msg).__name__)
        return comms.OKResponse(ok=True)

    def _is_own(self, msg: Any) -> bool:
        """Tell whether a message about an XCom is about one of the task's; without a map index none is a mapped one's."""
        named = msg.dag_id, msg.task_id, msg.run_id, -1 if msg.map_index is None else msg.map_index
        return named == tuple(self.place[name] for name in ("dag_id", "task_id", "run_id", "map_index"))

    def _of_another(self, msg: Any) -> Any:
        if isinstance(msg, comms.GetXCom):
            xcoms = NEIGHBOURS_XCOMS if self.world.form.mapped and msg.map_index == NEIGHBOUR else {}
            return comms.XComResult(key=msg.key, value=xcoms.get(msg.key))
        self.world.judge.broken(f"{type(msg).__name__} of another task instance: {msg.key}")
        return comms.OKResponse(ok=True)

    def update(self, worker: Worker, msg: Any) -> None:
        """Change the state as a worker reports it (``ti_update_state``)."""
        state = str(getattr(msg.state, "value", msg.state))
        if worker.ti.id != self.id or self.state != "running":
            if worker.ti.id == self.id and self.state == state:
                worker.pending, worker.terminal = None, state
                return
            worker.refused = True
            self.world.judge.refused()
            raise Refused(f"the task is {self.state}")
        worker.pending, worker.terminal = None, state
        if isinstance(msg, comms.DeferTask):
            if worker.terminating:
                self.world.judge.deferred_though_told_to_end()
            self._triggers += 1
            self.next_method, self.next_kwargs = msg.next_method, dict(msg.next_kwargs or {})
            ti = SimpleNamespace(id=self.id, try_number=self.try_number, context_carrier=None, **self.place)
            until = (
                None
                if msg.trigger_timeout is None
                else self._kernel.now + msg.trigger_timeout.total_seconds()
            )
            kwargs = msg.trigger_kwargs
            trigger = SimpleNamespace(
                id=self._triggers,
                path=msg.classpath,
                kwargs=kwargs,
                holder=None,
                ti=ti,
                until_s=until,
                is_referred=True,
            )
            for earlier in self.triggers:
                earlier.is_referred = False
            self.triggers.append(trigger)
            self.set_state("deferred", worker.process.name)
            self.trigger = trigger
            if until is not None:
                late_s = self._kernel.random.uniform(0, TRIGGER_TIMEOUT_S)
                self._kernel.at(until - self._kernel.now + late_s, lambda: self._trigger_timed_out(trigger))
            return
        self.next_method = self.next_kwargs = None
        if state == "up_for_retry":
            self._next_try()
        self.set_state(state, worker.process.name)
        if isinstance(msg, comms.RescheduleTask):
            self.reschedules.append(self._kernel.now)
            self.schedule(msg.reschedule_date.timestamp() - self._kernel.now)
        elif state == "up_for_retry":
            self.schedule(RETRY_DELAY_S)

    def trigger_fired(self, trigger_id: int, event: Any) -> None:
        """Resume the task with a trigger's event (``Trigger.submit_event``), or end it."""
        if self.trigger is None or self.trigger.id != trigger_id or self.state != "deferred":
            self.world.judge.event_was_late()
            return
        self.trigger.is_referred = False
        if isinstance(event, BaseTaskEndEvent):
            self.set_state(str(event.task_instance_state.value), "its trigger has ended it")
            return
        self.next_kwargs = {**(self.next_kwargs or {}), "event": event.payload}
        self.set_state("scheduled", "its trigger has fired")
        self.schedule()

    def _trigger_timed_out(self, trigger: SimpleNamespace) -> None:
        """Do what ``check_trigger_timeouts`` does."""
        if self.trigger is trigger:
            trigger.is_referred = False
            self.next_method, self.next_kwargs = TRIGGER_FAIL_REPR, {"error": "Trigger timeout"}
            self.set_state("scheduled", "the time of its trigger is up")
            self.schedule()
