"""
The changes of the package that the search has to find, each of which takes one means of its promises away.

Names say what is wrong then. ``hunting`` plays them, MUTANTS.md has what it found last.
"""

from __future__ import annotations

from .mutation import Mutant

__all__ = ["MUTANTS"]

_SHIELDED = """self._kill = self._killing(), time.monotonic() + KILL_LIMIT_S
        await self._wait_for_kill()"""
_UNSHIELDED = """ti, deadline = self.task_instance, self.deadline_epoch_s
        await Kill(self.operation_name, self.owner, ti, deadline, self._hook, self.log).run()"""

_PATIENT = """    record = asking(records.read)
    for _ in range("""
_IMPATIENT = """    try:
        record = records.read()
    except Exception:
        return None
    for _ in range("""

_STARTING = "_tasks.starting:StartsOperation"
_BASE = "_tasks.base:BaseOperationOperator"
_RUN = "operators.run:RunOperationOperator"
_KILL = "triggers._kill:Kill"
_TRIGGER = "triggers.operation:OperationTrigger"
_PLAN = "_lifecycle.plan"
_WATCH = "_protocol.outcome:Watch"
_OUTAGE = "_protocol.polling:Outage"

_STARTS = (
    Mutant(
        "each try starts", f"{_STARTING}._begin", "record = self._read_patiently(records)", "record = None"
    ),
    Mutant(
        "a start whose answer is lost isn't sent again",
        f"{_PLAN}:_after_a_lost_answer",
        "if not call.recognised:",
        "if True:",
    ),
    Mutant(
        "a clear is taken for a crash",
        f"{_PLAN}:plan",
        "cleared = record.max_tries != facts.max_tries",
        "cleared = False",
    ),
    Mutant(
        "a crash is taken for a clear",
        f"{_PLAN}:plan",
        "cleared = record.max_tries != facts.max_tries",
        "cleared = True",
    ),
    Mutant(
        "a clear while the task resumes isn't seen",
        f"{_RUN}.execute_complete",
        "if not dropped and (record is None or record.max_tries == records.max_tries):",
        "if True:",
    ),
    Mutant(
        "what was cleared runs on",
        f"{_STARTING}._begin",
        "self._end_predecessor(record.name, record.runs_since_epoch_s, cleared=todo.cleared)",
        "False",
    ),
    Mutant(
        "the end of what was cleared isn't waited for",
        f"{_STARTING}._end_predecessor",
        "CANCEL_OUTAGE_S, PREDECESSOR_LIMIT_S",
        "CANCEL_OUTAGE_S, 0.0",
    ),
    Mutant(
        "what was cleared and can't be cancelled is forgotten",
        f"{_STARTING}._end_predecessor",
        "if end.failure is not None and not end.refused:",
        "if False:",
    ),
    Mutant(
        "no start is noted before",
        f"{_STARTING}._intent",
        "records.write(record)",
        "records.current = record",
    ),
    Mutant(
        "no start is noted after", f"{_STARTING}._send", "records.write(started)", "records.current = started"
    ),
    Mutant(
        "request ids are new each time",
        "_lifecycle.start_call:StartCall.arguments",
        "query[self.request_id_field] = request_id",
        "query[self.request_id_field] = str(__import__('uuid').uuid4())",
    ),
    Mutant("the store's silence is no record", f"{_STARTING}._read_patiently", _PATIENT, _IMPATIENT),
    Mutant(
        "a retry believes at once that there is no record",
        f"{_STARTING}._read_patiently",
        "range(ABSENT_AGAIN if records.kept and records.try_number > 1 else 0)",
        "range(0)",
    ),
    Mutant(
        "the record is asked for once",
        f"{_STARTING}._read_patiently",
        "asking = _retrying(self.outage_tolerance)",
        "asking = _retrying(0.0)",
    ),
    Mutant(
        "what can't be noted is cancelled, though its request id finds it",
        f"{_STARTING}._started_but_not_noted",
        "if self._next_try_finds_it(call, started, records, unnoted):",
        "if False:",
    ),
    Mutant(
        "what can't be noted, and has no request id, runs on",
        f"{_STARTING}._started_but_not_noted",
        "note = self._cancel_late(name)",
        "note = ''",
    ),
    Mutant(
        "a start that may have had an effect counts as refused",
        f"{_STARTING}._send",
        "if failure.had_no_effect and not doubt:",
        "if True:",
    ),
    Mutant(
        "a start without a request id is sent again",
        "_protocol.retries:Retries.options",
        "and (request.idempotent or result.safe_to_resend)",
        "and True",
    ),
    Mutant(
        "what the service has forgotten is started again",
        f"{_PLAN}:after_look",
        "return Plan(Step.FORGOTTEN, problem)",
        "return Plan(Step.START, problem)",
    ),
    Mutant(
        "what can't be asked for is started again",
        f"{_PLAN}:after_look",
        'return Plan(Step.ADOPT, f"reattached to {name}, {origin}; no answer yet ({seen.problem})")',
        "return Plan(Step.START)",
    ),
    Mutant(
        "what is left to the next try is cancelled",
        f"{_RUN}._cancelled_if_abandoned",
        "if retried:",
        "if False:",
    ),
)

_WORKERS = (
    Mutant("workers don't cancel", f"{_BASE}.on_kill", "self._killed = True", "return"),
    Mutant("workers don't ask Airflow", f"{_BASE}._kill_ends", "if self._ends_in(state):", "if True:"),
    Mutant(
        "workers never take a task for over", f"{_BASE}._kill_ends", "if self._ends_in(state):", "if False:"
    ),
    Mutant(
        "workers take Airflow's silence for the end",
        f"{_BASE}._kill_ends",
        """told = f"Airflow doesn't say what became of the task ({error})\"""",
        "return True",
    ),
    Mutant(
        "workers ask Airflow in the signal handler",
        f"{_BASE}.on_kill",
        "self._killing.start()",
        "return self._cancel_killed(self._hook.detached(), self._held, decided)",
    ),
    Mutant(
        "workers cancel without a look",
        f"{_BASE}._cancel_killed",
        "if isinstance(seen, Operation) and seen.done:",
        "if False:",
    ),
    Mutant(
        "a kill doesn't wait for the start's answer",
        f"{_BASE}._cancel_killed",
        "if not wait([starting], KILL_BUDGET_S).done:",
        "if not starting.done():",
    ),
    Mutant(
        "a kill doesn't know that a request id finds the start",
        f"{_RUN}._retry_knows_it",
        "if self._found_by_request_id and records.stored is State.STARTING:",
        "if False:",
    ),
    Mutant(
        "a kill that comes before the operation is known has no effect",
        f"{_BASE}._hold",
        "if self._killed and not known and self._kill_cancels and self._kill_ends(name, 0.0):",
        "if False:",
    ),
    Mutant(
        "a killed worker doesn't send a lost start again",
        f"{_STARTING}._send",
        "if self._killed and not again:",
        "if self._killed:",
    ),
    Mutant(
        "a kill doesn't know that the next try delivers a failure",
        f"{_RUN}._retry_knows_it",
        "if records.stored is State.FAILED and records.current is not None and records.current.final:",
        "if False:",
    ),
    Mutant(
        "workers have no last moment",
        f"{_BASE}.see_after_its_end",
        "name = self._left_to_later",
        'name = ""',
    ),
    Mutant(
        "workers don't ask in their last moment",
        f"{_BASE}.see_after_its_end",
        "if self._ends_in(state) or (",
        "if True or (",
    ),
    Mutant("nothing is left to a try's last moment", f"{_BASE}._leave", "self._left_to_later = name", "pass"),
)

_TRIGGERS = (
    Mutant("triggers don't cancel", f"{_TRIGGER}.on_kill", "if self.cancel_on_kill:", "if False:"),
    Mutant(
        "triggers don't ask Airflow",
        "triggers._ownership:fate_of",
        'if state == "deferred" and own == name:',
        "if False:",
    ),
    Mutant(
        "triggers don't look at the owner", "triggers._ownership:fate_of", 'if owner == "task":', "if True:"
    ),
    Mutant(
        "the owner isn't handed to the trigger",
        f"{_BASE}._defer_for",
        'owner=self._owner if self._kill_cancels else "record"',
        'owner="task"',
    ),
    Mutant(
        "triggers never take a task for over",
        "triggers._ownership:fate_of",
        "if is_over(state):",
        "if False:",
    ),
    Mutant("triggers take Airflow's silence for the end", f"{_KILL}._ask", "return None", "return Fate.OVER"),
    Mutant(
        "triggers ask Airflow once",
        f"{_KILL}._run",
        "if fate in {Fate.UNTOUCHED, Fate.TIMED_OUT}:",
        "if fate in {Fate.UNTOUCHED, Fate.TIMED_OUT, None}:",
    ),
    Mutant(
        "triggers don't ask on while the task is between two stays",
        f"{_KILL}._run",
        "if fate in {Fate.UNTOUCHED, Fate.TIMED_OUT}:",
        "if fate in {Fate.UNTOUCHED, Fate.TIMED_OUT, Fate.UNDECIDED}:",
    ),
    Mutant(
        "triggers cancel once",
        f"{_KILL}._run",
        "failure = await self._cancel(hook)",
        "failure = await self._cancel(hook)\n            return",
    ),
    Mutant(
        "triggers cancel without a look", f"{_KILL}._cancel", "if await self._is_done(hook):", "if False:"
    ),
    Mutant("a refused cancel is refused for good", "triggers._kill:REFUSED_FOR_S", "30.0", "0.0"),
    Mutant("a kill's work ends with its coroutine", f"{_TRIGGER}.on_kill", _SHIELDED, _UNSHIELDED),
    Mutant(
        "a triggerer that ends cancels nothing more",
        f"{_KILL}._last_call",
        "if not self._doomed:",
        "if True:",
    ),
    Mutant(
        "a connection that is gone ends the wait",
        f"{_TRIGGER}._look",
        "return self._not_asked(error, transient=True), 0.0",
        "return self._not_asked(error, transient=False), 0.0",
    ),
)

_WAITS = (
    Mutant(
        "an operation must be known at once",
        f"{_WATCH}._in_grace",
        "return failure.missing and",
        "return False and",
    ),
    Mutant(
        "an odd answer ends the wait",
        f"{_WATCH}._ended_by",
        "if not failure.transient:",
        "if not failure.transient:\n        return failure",
    ),
    Mutant(
        "any 404 ends the wait",
        f"{_WATCH}._ended_by",
        "if failure.says_missing or missing_s >= MISSING_AGAIN_S:",
        "if failure.missing:",
    ),
    Mutant(
        "an outage counts while the process stands still",
        f"{_WATCH}._is_late",
        "late = late_s > STOOD_STILL_S",
        "late = False",
    ),
    Mutant(
        "the last try leaves what it can't note to the next one",
        f"{_STARTING}._next_try_finds_it",
        "if not call.recognised or records.last_try or foreign_policy or self._will_fail(error):",
        "if not call.recognised or foreign_policy or self._will_fail(error):",
    ),
    Mutant(
        "an operation is left to a retry, although the error allows none",
        f"{_RUN}._cancelled_if_abandoned",
        "retried = records.kept and not records.last_try and not self._will_fail(error)",
        "retried = records.kept and not records.last_try",
    ),
    Mutant(
        "a success that is seen after the deadline is a time-out",
        "_protocol.outcome:Watch._verdict",
        "if seen.done:",
        "if seen.done and not time_is_up:",
    ),
    Mutant(
        "of timeout and execution_timeout the longer one counts",
        f"{_BASE}._deadline_epoch_s",
        "return started_epoch_s + min(limits)",
        "return started_epoch_s + max(limits)",
    ),
    Mutant(
        "a cancel that a proxy's page answers isn't sent again",
        "_tasks.cancel:cancel",
        "Retries(None, delay_s=0.5, for_s=for_s, doubt_s=CANCEL_DOUBT_S)",
        "Retries(None, delay_s=0.5, for_s=for_s)",
    ),
    Mutant(
        "an event doesn't say that a failure may pass",
        "_protocol.outcome:_failure_to_json",
        '"may_pass": failure.transient',
        '"may_pass": False',
    ),
    Mutant(
        "a trigger's time begins anew in another triggerer",
        "triggers.operation:OperationTrigger.run",
        "deadline_epoch_s=self.deadline_epoch_s,",
        "deadline_epoch_s=now + (self.deadline_epoch_s - self.started_epoch_s),",
    ),
    Mutant("outages add up", f"{_WATCH}._note_answer", "self.outage.over()", "pass"),
    Mutant(
        "an outage is tolerated for 5 s",
        f"{_OUTAGE}.exceeded",
        "return now - self.since_epoch_s >= self.tolerance_s",
        "return now - self.since_epoch_s >= 5.0",
    ),
    Mutant(
        "the last minute of a request's repetitions is dropped",
        "_protocol.retries:Retries.options",
        "return clock.now() >= end",
        "return clock.now() + state.upcoming_sleep >= end",
    ),
)

_ENDS = (
    Mutant(
        "triggers don't look at the XCom",
        "triggers._ownership:fate_of",
        'if state == "deferred" and own == name:',
        'if state == "deferred":',
    ),
    Mutant(
        "triggers don't see that the task has another operation",
        "triggers._ownership:fate_of",
        "return Fate.UNDECIDED if own == name else Fate.OVER",
        "return Fate.UNDECIDED",
    ),
    Mutant(
        "triggers act for a task without a record as for one with",
        "triggers._ownership:fate_of",
        'if owner == "task":',
        "if False:",
    ),
    Mutant(
        "the deadline begins anew with each try",
        f"{_RUN}._watch_of",
        "since_s, since_s, deadline_epoch_s=record.deadline_epoch_s",
        "clock.now(), since_s",
    ),
    Mutant(
        "what isn't over in time runs on",
        f"{_BASE}._deliver",
        "note, over = self._end_late(outcome.name)",
        "pass",
    ),
    Mutant(
        "what is over when its time is up is thrown away",
        f"{_BASE}._deliver",
        "if outcome.failure is not None and over is not None and not cancelled(over):",
        "if False:",
    ),
    Mutant(
        "a lost poll ends the attempts to cancel",
        "_tasks.cancel:cancel",
        "failure.http_status in _NOT_NOW and not missing",
        "failure.http_status in _NOT_NOW and isinstance(seen, Operation)",
    ),
    Mutant(
        "a retry's look at its operation doesn't count as a poll",
        f"{_RUN}._watch_of",
        "watch.found = record.reattached and not record.foreign and isinstance(seen, Operation)",
        "watch.found = False",
    ),
    Mutant(
        "a clear isn't seen where Airflow's timeout has ended a trigger",
        f"{_RUN}._deliver_timeout_of_trigger",
        "if records.current is not None and records.current.max_tries != records.max_tries:",
        "if False:",
    ),
    Mutant(
        "what is forgotten when its trigger is lost is started again",
        f"{_BASE}._trigger_timed_out",
        "Kind.CALL_FAILED if seen.says_missing else Kind.TIMED_OUT",
        "Kind.TIMED_OUT",
    ),
    Mutant(
        "what is handed on counts as left behind",
        f"{_RUN}._ends_in",
        "return super()._ends_in(state) and not handed_on",
        "return super()._ends_in(state)",
    ),
    Mutant(
        "what has failed for good is started again",
        f"{_PLAN}:after_look",
        "if record.final or (final and not cancelled(seen)):",
        "if False:",
    ),
)

_FOREIGN = (
    Mutant(
        "another's operation is taken for the task's own",
        f"{_STARTING}._is_foreign",
        "return self._follows_foreign",
        "return False",
    ),
    Mutant(
        "a trigger doesn't know that an operation is another's",
        f"{_BASE}._defer_for",
        "cancel_on_kill=self._kill_cancels",
        "cancel_on_kill=self.cancel_on_kill",
    ),
    Mutant(
        "another's operation is passed on as the task's own",
        f"{_BASE}._defer_for",
        "_FOREIGN_ARGUMENT: self._is_foreign",
        "_FOREIGN_ARGUMENT: False",
    ),
    Mutant(
        "a failure of another's is delivered for good",
        f"{_RUN}._is_final",
        "if self._is_foreign and (isinstance(failed, Operation) or failed.missing):",
        "if False:",
    ),
)

_JUDGE = "_sweep.judgement:judge"
_SWEEP = "_sweep.sweep:Sweep"
_LEFT_ALONE = "if not record.cancel_if_orphaned or record.handed_on or record.foreign:"

_MAPPED = (
    Mutant(
        "a kill takes another mapped instance's state for its own",
        "_airflow.compat:task_state",
        """map_index=place["map_index"],
            task_ids""",
        """map_index=None,
            task_ids""",
    ),
    Mutant(
        "a kill reads no mapped instance's XCom",
        "triggers._ownership:_ask",
        "XCom.get_one(key=OPERATION_NAME_KEY, **place)",
        'XCom.get_one(key=OPERATION_NAME_KEY, **{**place, "map_index": -1})',
    ),
    Mutant(
        "a mapped task doesn't find what it waited for",
        f"{_BASE}._name_in_xcom",
        "map_indexes=ti.map_index)",
        "map_indexes=None)",
    ),
)

_SWEEPS = (
    Mutant(
        "a sweep doesn't wait until a task has been over for a while",
        _JUDGE,
        "if since is None or now_epoch_s - since < QUIET_S:",
        "if since is None:",
    ),
    Mutant(
        "a sweep cancels what was handed on",
        _JUDGE,
        _LEFT_ALONE,
        "if not record.cancel_if_orphaned or record.foreign:",
    ),
    Mutant(
        "a sweep cancels what isn't to be cancelled without a task",
        _JUDGE,
        _LEFT_ALONE,
        "if record.handed_on or record.foreign:",
    ),
    Mutant(
        "a sweep takes no answer for an end",
        f"{_SWEEP}._see_to",
        "self._hand_over(found, record, kept, text, Fate.NO_ANSWER, _problem(seen))",
        "self._settle(found, record, text, _problem(seen))",
    ),
    Mutant(
        "a sweep cancels what isn't confirmed",
        f"{_SWEEP}._cancel",
        "if confirmed is None:",
        "if False:",
    ),
    Mutant(
        "a sweep cancels nothing",
        f"{_SWEEP}._cancel",
        "failure = self._services.cancel(options, record.name)",
        "failure = None",
    ),
)

MUTANTS = (*_STARTS, *_WORKERS, *_TRIGGERS, *_WAITS, *_ENDS, *_FOREIGN, *_MAPPED, *_SWEEPS)
