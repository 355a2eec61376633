"""What starts an operation once for each intent, over tries, lost workers and clears."""

from __future__ import annotations

import math
import uuid
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import tenacity
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_operations._lifecycle.plan import Facts, Plan, Step, after_look, plan
from airflow_provider_operations._lifecycle.record import Record, State
from airflow_provider_operations._lifecycle.start_call import StartCall
from airflow_provider_operations._lifecycle.task_state import Records
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.names import location_in
from airflow_provider_operations._protocol.outcome import ending, in_grace
from airflow_provider_operations._protocol.polling import Schedule, as_seconds
from airflow_provider_operations._protocol.request import name_text, start_method
from airflow_provider_operations._protocol.request_values import (
    body_value,
    header_values,
    query_values,
    refuse_early,
)
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations._tasks.api import check_request, method_of
from airflow_provider_operations._tasks.base import as_flag
from airflow_provider_operations._tasks.cancel import CANCEL_OUTAGE_S, cancel
from airflow_provider_operations._tasks.end_from_trigger import EndsFromTrigger
from airflow_provider_operations._tasks.following import (
    NotFound,
    check_following,
    created_resource,
    find,
    sought,
)
from airflow_provider_operations._tasks.refusals import Refusals
from airflow_provider_operations.exceptions import (
    WORTH_A_RETRY,
    OperationsCallError,
    OperationsError,
    OperationTimeout,
)
from airflow_provider_operations.operation import Code, Operation, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_operations._google_apis.table import Method

__all__ = ["Begun", "StartsOperation"]

_WEEK_S = 7 * 24 * 3600.0

NOTE_LIMIT_S = 40.0
"""How long storing a started operation is tried again, where no later try would find it otherwise."""

NEXT_TRY_S = 600.0
"""How long it may take after ``retry_delay`` until the next try sends its start."""

ABSENT_AGAIN, ABSENT_PAUSE_S = 3, 5.0
"""So often, and after such a pause in seconds, a retry that finds no record asks again before it believes that."""

PREDECESSOR_LIMIT_S = 300.0
"""How long a cleared task waits for the end of the operation before; then it starts all the same, with a warning."""


LIST_DOUBT_S = 20.0
"""How long a list is asked for again whose answer may not be the service's own, but a proxy's page."""

MIN_START_PAUSE_S = 10.0
"""Between two starts of which the service has refused the first; Airflow may fail a task that resumes sooner (#72716)."""


class _KilledBeforeStartError(OperationsError):
    """The task was killed before its start call was sent."""


class _RefusedForNow(Exception):
    """
    The service has refused a start in a way that the task's author wants to be repeated.

    :param uncertain: it was sent before, and that may have had an effect: only the same start may be sent again.
    """

    def __init__(self, failure: CallFailure, *, uncertain: bool) -> None:
        self.failure = failure
        self.uncertain = uncertain


class Begun(NamedTuple):
    """
    The operation that a try goes on with.

    :param seen: what the server said of it last; ``None``: an earlier try has handed its result to Airflow.
    """

    record: Record
    seen: Operation | CallFailure | None


class StartsOperation(EndsFromTrigger):
    """A task that starts an operation; ``RunOperationOperator`` documents the arguments."""

    _records: Records | None = None
    _found_by_request_id: bool = False
    """Whether the next try finds what the start call begins, although nothing but the intent is noted."""
    _function_returns_it: bool = False
    """Whether a function returns the request, so that it isn't known when the DAG is parsed."""
    _starts_again: bool = False
    """Whether this stay goes on with starting, after a start that was refused for the time being."""
    _first_start_epoch_s: float = 0.0
    """When the first of these starts was sent, as far as the trigger's arguments say it."""
    _outlived: str = ""
    """The operation of an earlier intent of this task that runs on, although it was to be cancelled."""
    _settled: bool = False
    """Whether an error needs no further cancelling: the operation is done, or has been dealt with."""

    def __init__(
        self,
        *,
        path: str | None = None,
        method: str = "POST",
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        api_method: str | Method | None = None,
        parameters: Mapping[str, Any] | None = None,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float = _WEEK_S,
        wait_for_completion: bool = True,
        request_id_field: str | None = None,
        request_id_in: str | None = None,
        durable: bool = True,
        request_id_ttl: timedelta | float = 3600.0,
        on_uncertain_start: str = "start",
        retry_on: Collection[Code | int | str] | Code | int | str | None = None,
        if_exists: str = "fail",
        resource_name: str | None = None,
        if_missing: str = "fail",
        start_retry_on: Collection[Code | int | str] | Code | int | str = (),
        start_timeout: timedelta | float = 3600.0,
        end_from_trigger: bool = False,
        defer_after: timedelta | float = 0.0,
        **kwargs: Any,
    ) -> None:
        known = None if api_method is None else method_of(api_method)
        said = {
            "path": path,
            "method": None if method == "POST" else method,
            "query": query,
            "request_id_field": request_id_field,
            "request_id_in": request_id_in,
            "api": kwargs.get("api"),
        }
        if known is not None:
            kwargs["api"] = known.document.as_argument
        waits = as_flag("wait_for_completion", wait_for_completion)
        ends = as_flag("end_from_trigger", end_from_trigger)
        # Without waiting, a worker ends the task in any case.
        super().__init__(end_from_trigger=waits and ends, **kwargs)
        if known is not None:
            given_params = kwargs.get("params") is not None
            check_request(
                known, parameters, json, said, comes=self._function_returns_it, given_params=given_params
            )
        elif parameters is not None or (path is None and not self._function_returns_it):
            raise ValueError("a task needs either 'path', or 'api_method' with 'parameters'")
        if request_id_in is not None and request_id_field is None:
            raise ValueError(
                "'request_id_in' needs 'request_id_field' beside it: no request id is sent without"
            )
        request_id_in = request_id_in or "query"
        if request_id_in not in {"query", "body", "header"}:
            raise ValueError(f"'request_id_in' is 'query', 'body' or 'header', not {request_id_in!r}")
        if request_id_in == "header" and request_id_field is not None:
            header_values({request_id_field: ""}, "request_id_field")
        if on_uncertain_start not in {"start", "fail"}:
            raise ValueError(f"'on_uncertain_start' is 'start' or 'fail', not {on_uncertain_start!r}")
        for argument, value, read in (
            ("json", json, body_value),
            ("query", query, query_values),
            ("headers", headers, header_values),
        ):
            refuse_early(value, argument, read)
        start_method(method)
        check_following(if_exists, resource_name, known, parameters, comes=self._function_returns_it)
        self.if_exists = if_exists
        self.resource_name = resource_name
        self.if_missing = if_missing
        self.start_retry_on = start_retry_on
        self.start_timeout = start_timeout
        self._refusals = Refusals.of(if_exists, if_missing, start_retry_on, start_timeout)
        self.durable = as_flag("durable", durable)
        self.request_id_ttl = as_seconds("request_id_ttl", request_id_ttl)
        self.on_uncertain_start = on_uncertain_start
        self.path = path
        self.method = method
        self.api_method = api_method
        self.parameters = parameters
        self.json = json
        self.query = query
        self.headers = headers
        self.poke_interval = as_seconds("poke_interval", poke_interval)
        self.timeout = as_seconds("timeout", timeout)
        self.defer_after = as_seconds("defer_after", defer_after)
        if math.isinf(self.defer_after):
            raise ValueError(
                "'defer_after' ends; a task that waits in its worker to the end has 'deferrable=False'"
            )
        self.wait_for_completion = waits
        self.request_id_field = request_id_field
        self.request_id_in = request_id_in
        self.retry_on = WORTH_A_RETRY if retry_on is None else Code.set_of("retry_on", retry_on)

    # --- earlier tries ---------------------------------------------------------------------------------------

    def _records_of(self, context: Context) -> Records:
        if self._records is None:
            self._records = Records(context if self.durable else {"ti": context["ti"]}, self.log)
        return self._records

    def _begin(self, records: Records) -> Begun:
        """Start the operation, or take over what an earlier try has started, as ``plan`` says."""
        if not self.durable:
            return self._start(records)
        record = self._read_patiently(records)
        if record is not None and record.name:
            self._follows_foreign = record.foreign
        facts = Facts(
            records.max_tries,
            clock.now(),
            self.request_id_ttl,
            waits=self.wait_for_completion,
            fails_if_uncertain=self.on_uncertain_start == "fail",
        )
        todo = plan(record, facts, self._call_to_service)
        if todo.step is Step.RESEND and record is not None:
            self._log_plan(todo)
            was_killed = self._killed
            record, _ = self._send_until_taken(self._call_to_service(), record, records, again=True)
            if was_killed:  # nothing was held then; to hold it now cancels it
                self._held = None
            todo = plan(record, facts, self._call_to_service)
        if todo.step is Step.REFUSE:
            call = self._call()
            status = Status(Code.UNKNOWN, todo.reason)
            failure = CallFailure(call.method, call.path, None, status, todo.reason)
            raise self._error_of_call(failure, final=self._is_final(failure))
        if todo.step is Step.REPLACE and record is not None:
            if self._end_predecessor(record.name, record.runs_since_epoch_s, cleared=todo.cleared):
                # A record stays ``started`` where a trigger has ended the task, or the operation was handed on.
                records.current = replace(record, state=State.FAILED)
            return self._start(records)
        self._log_plan(todo)
        if record is None or todo.step is Step.START:
            return self._start(records)
        if todo.step is Step.REDELIVER:
            return Begun(self._handed_on(record, records), None)
        anew = record.foreign and (record.state is State.FAILED or record.max_tries != records.max_tries)
        todo, seen = self._look(record, anew=anew)
        if todo.step is Step.START:
            self._held = None
            return self._start(records)
        if anew:
            record = self._followed_anew(record, records)
        # A sweep that doesn't know what ``foreign`` is cancels nothing either.
        for_a_sweep = self._for_a_sweep(foreign=record.foreign)
        taken_over = replace(record, reattached=True, handed_on=False, **for_a_sweep)
        return Begun(self._note_followed(records, taken_over), seen)

    def _look(self, record: Record, *, anew: bool = False) -> tuple[Plan, Operation | CallFailure]:
        """Poll the operation of an earlier try, and decide what to do about it."""
        self._hold(record.name)
        seen = self.hook.poll(record.name)
        final = isinstance(seen, Operation) and self._is_final(seen)
        todo = after_look(record, seen, clock.now(), final=final, anew=anew)
        if todo.step is Step.FORGOTTEN and isinstance(seen, CallFailure):
            return todo, replace(seen, problem=todo.reason)
        self._log_plan(todo)
        return todo, seen

    def _log_plan(self, todo: Plan) -> None:
        if todo.reason:
            (self.log.warning if todo.warns else self.log.info)("%s", todo.reason)

    def _note_followed(self, records: Records, record: Record) -> Record:
        """Store that this try waits for an operation that it hasn't started; if that fails, it is logged."""
        try:
            records.write(record)
        except Exception as error:  # whatever the store raises
            self.log.warning("that this try waits for %s could not be noted (%r)", record.name, error)
        return record

    def _handed_on(self, record: Record, records: Records) -> Record:
        """
        Return the record of an operation that isn't waited for; store that, if the try that has started it waited.

        A DAG may have changed meanwhile. This is no note that the task can do without: a sweep would cancel the operation.
        """
        if self.wait_for_completion or record.handed_on or record.state is not State.STARTED:
            return record
        record = replace(record, handed_on=True)
        _retrying(NOTE_LIMIT_S)(records.write, record)
        return record

    def _read_patiently(self, records: Records) -> Record | None:
        """
        Return the record; while Airflow doesn't answer, ask again for as long as an outage of the service may last.

        A kill doesn't end that: what the record names may have to be cancelled. A retry that finds none asks again, as a
        gateway before Airflow's API may answer 404 for a while, too.

        :raises ValueError: there is one that can't be read.
        """

        def log(attempt: tenacity.RetryCallState) -> None:
            if attempt.attempt_number == 1:
                self.log.warning(
                    "Airflow's task state store doesn't say whether an earlier try has started an operation (%r); "
                    "asking on for up to %g s",
                    attempt.outcome.exception() if attempt.outcome else None,
                    self.outage_tolerance,
                )

        asking = _retrying(self.outage_tolerance)
        asking.retry = tenacity.retry_if_exception(
            lambda error: isinstance(error, Exception) and not isinstance(error, ValueError)
        )
        asking.before_sleep = log
        record = asking(records.read)
        for _ in range(ABSENT_AGAIN if records.kept and records.try_number > 1 else 0):
            if record is not None:
                break
            clock.sleep(ABSENT_PAUSE_S)
            record = asking(records.read)
        return record

    def _end_predecessor(self, name: str, started_epoch_s: float, *, cleared: bool) -> bool:
        """
        Cancel the operation from before a clear or a failure, and wait for its end, at most ``PREDECESSOR_LIMIT_S``.

        :return: whether it was over already.
        :raises OperationsCallError: the server can't be reached to cancel it; the next try tries again.
        """
        self._hold(name)
        why = "cleared" if cleared else "failed before"
        seen = self.hook.poll(name)
        forgotten = isinstance(seen, CallFailure) and seen.says_missing
        over = over_now = forgotten and not in_grace(started_epoch_s, clock.now())
        if isinstance(seen, Operation) and seen.done:
            over = over_now = True
            self.log.info("%s: %s is over (%s); starting afresh", why, name, ending(seen))
        elif not (self._kill_cancels if cleared else self._timeout_cancels):
            asked = "as something else has started it" if self._is_foreign else "as was asked"
            self.log.warning("%s: %s is left alone, %s; starting afresh", why, name, asked)
        else:
            self.log.info("%s: cancelling %s before starting afresh", why, name)
            end = cancel(self.hook, name, CANCEL_OUTAGE_S, PREDECESSOR_LIMIT_S, started_epoch_s)
            if end.failure is not None and not end.refused:
                raise self._error_of_call(end.failure, name, final=False)
            (self.log.info if end.over else self.log.warning)("%s: %s; starting afresh", name, end.note)
            over_now = end.over
        if not (over_now or self._is_foreign):
            self._outlived = name
        self._held = None
        return over

    # --- the start -------------------------------------------------------------------------------------------

    def _call(self) -> StartCall:
        """
        Return the start call.

        :raises InvalidRequestValue: something in it can't be sent; then nothing was sent, and no start is stored.
        """
        if self.api_method is not None:
            return self._call_of_method(method_of(self.api_method))
        path = self.path = name_text(self.path, "start path")
        return StartCall(
            path,
            self.method,
            body_value(self.json, "json"),
            query_values(self.query),
            header_values(self.headers),
            self.request_id_field,
            self.request_id_in,
        )

    def _call_to_service(self) -> StartCall:
        """Return the start call with the place that the connection leads to, without which it isn't the same call."""
        call, service = self._call(), self.hook.settings.service
        below = service.base_url if call.encoded else f"{service.base_url}/{service.path_prefix}"
        if not self._refusals.follows_existing:
            return replace(call, service=below)
        method = None if self.api_method is None else method_of(self.api_method)
        resource = created_resource(self.resource_name, method, self.parameters)
        return replace(call, service=below, resource=resource)

    def _call_of_method(self, method: Method) -> StartCall:
        """Return the start call of a method of Google's, for the service that the connection leads to."""
        from airflow_provider_operations.hooks._google_api import start_call_of

        base_url = self.hook.settings.service.base_url
        call = start_call_of(method, self.parameters, self.json, self.headers, base_url, self.endpoint)
        url = method.document.endpoint("locational", location_in(call.path) or "")
        if self._function_returns_it and url is not None and url != base_url == method.document.root_url:
            raise ValueError(
                f"{method.document.name} has an address for each location, which is chosen before the function is called "
                f"that returns 'parameters': give base_url={url!r}, or 'parameters' to the task"
            )
        return call

    def _api_arguments(self) -> dict[str, Any]:
        given = super()._api_arguments()
        if self.api_method is not None and not self.scopes:
            given["scopes"] = method_of(self.api_method).scope
        return given

    def _location(self) -> str | None:
        if self.api_method is None or self.parameters is None:
            return None
        from airflow_provider_operations._google_apis.call import call_of

        try:
            return location_in(call_of(method_of(self.api_method), self.parameters).path)
        except ValueError:  # the start will say what is wrong with them
            return None

    def _start(self, records: Records) -> Begun:
        """
        Start afresh: store the intent, send, store the name.

        :raises AirflowSkipException: it is refused, and ``if_exists`` or ``if_missing`` says so.
        :raises OperationTimeout: it was refused before, and meanwhile its time is up.
        """
        self._check_end_from_trigger()
        call = self._call_to_service()  # a bad connection fails here, before a start is stored
        began_s, now = self._intent_began_epoch_s(records), clock.now()
        if self._starts_again and self._deadline_epoch_s(began_s) <= now:
            raise OperationTimeout("(not started)", timedelta(seconds=now - began_s))
        record = self._intent(call, began_s, records, doubtful=self._may_have_begun(records))
        return self._send_until_taken(call, record, records)

    def _intent_began_epoch_s(self, records: Records) -> float:
        """Return when the first start of the intent was sent; now, if there was none."""
        if not self._starts_again:
            return clock.now()
        record = records.current
        if record is None:
            return self._first_start_epoch_s or clock.now()
        # The trigger's arguments may be from before a clear, and "dag.test" drops them.
        goes_on = record.max_tries == records.max_tries and record.state in {State.STARTING, State.REJECTED}
        return record.started_epoch_s if goes_on else clock.now()

    def _may_have_begun(self, records: Records) -> bool:
        """Tell whether what exists may be what an earlier start of this task has begun."""
        if records.current is not None:
            return records.current.may_have_begun(records.max_tries)
        # Without a record nothing is known of earlier tries; a clear allows as many tries as there were at first.
        return not records.kept and records.try_number > records.max_tries - (self.retries or 0) + 1

    def _intent(self, call: StartCall, began_epoch_s: float, records: Records, *, doubtful: bool) -> Record:
        """Store that a start is about to be sent."""
        record = Record(
            State.STARTING,
            records.max_tries,
            records.try_number,
            str(uuid.uuid4()),
            call.digest,
            began_epoch_s,
            self._deadline_epoch_s(began_epoch_s),
            sent_epoch_s=clock.now(),
            doubtful=doubtful,
            **self._for_a_sweep(),
        )
        records.write(record)
        return record

    def _send_until_taken(
        self, call: StartCall, record: Record, records: Records, *, again: bool = False
    ) -> Begun:
        """Send the start; where it is refused as ``start_retry_on`` says, wait and send another, or the same again."""
        while True:
            try:
                return self._send(call, record, records, again=again)
            except _RefusedForNow as refusal:
                again = refusal.uncertain
                self._wait_to_start_again(refusal, record)
            if not again:
                record = self._intent(call, record.started_epoch_s, records, doubtful=record.doubtful)

    def _wait_to_start_again(self, refusal: _RefusedForNow, record: Record) -> None:
        """
        Wait until the next start: here, or in a trigger of Airflow's own; then this doesn't return.

        :raises OperationsCallError: there is no time left for another one; to be retried.
        """
        failure, now, began_s = refusal.failure, clock.now(), record.started_epoch_s
        end_s = min(began_s + self._refusals.retry_for_s, record.deadline_epoch_s)
        if refusal.uncertain:  # later, the service would take it for another start
            end_s = min(end_s, record.request_id_since_epoch_s + self.request_id_ttl)
        left_s = end_s - now
        schedule = Schedule(maximum_s=max(self.poke_interval, MIN_START_PAUSE_S))
        pause_s = max(schedule.next_delay(now - began_s, failure.retry_after), MIN_START_PAUSE_S)
        if self._killed or pause_s > left_s:
            raise self._error_of_call(
                failure, final=False
            ) from None  # the refusal as it is may be of any length
        self.log.info(
            "not started (%s, %s); starting again in %.0f s, and for up to %.0f s",
            failure.problem, failure.status.code_name, pause_s, left_s,
        )  # fmt: skip
        # Rendered anew after a deferral, the request may be another one, and the same must be sent.
        if self.deferrable and not refusal.uncertain:
            from airflow.providers.common.compat.standard.triggers import TimeDeltaTrigger

            self.defer(
                trigger=TimeDeltaTrigger(timedelta(seconds=pause_s)),
                method_name="execute_start",
                kwargs={"first_start_epoch_s": began_s},
            )
        clock.sleep(pause_s)

    def execute_start(self, context: Context, event: Any = None, first_start_epoch_s: float = 0.0) -> Any:  # noqa: ARG002  Airflow's signature
        """Resume a task whose start was refused for the time being: start again."""
        self._starts_again, self._first_start_epoch_s = True, first_start_epoch_s
        return self.execute(context)

    def _send(self, call: StartCall, record: Record, records: Records, *, again: bool = False) -> Begun:
        """
        Send the start call from a thread of its own, and store what came of it.

        A signal may interrupt the main thread anywhere; the answer is kept all the same, and ``on_kill`` waits for it.

        :param again: it was sent before; a refusal then says nothing about the first time.
        """
        hook = self.hook
        answer: Future[Operation] = Future()
        retried = OperationsError("told to end")
        doubt = again  # whether an attempt before the last may have had an effect
        self._found_by_request_id = self._next_try_finds_it(call, record, records, retried)
        self._follows_foreign = False

        def left(failure: CallFailure) -> bool:
            """Tell whether a failure isn't repeated by the hook, which asks this last; note what it repeats."""
            nonlocal doubt
            if self._refusals.repeats(failure):
                return True
            doubt = doubt or not failure.had_no_effect
            return False

        def send() -> Operation:
            if self._killed and not again:  # what is sent again may be running, and is to be found
                raise _KilledBeforeStartError("the task was killed before the operation was started")
            for_s = self.outage_tolerance
            if call.recognised:  # later, the service would take a repetition for another start
                for_s = min(
                    for_s, max(record.request_id_since_epoch_s + self.request_id_ttl - clock.now(), 0.0)
                )
            retries = Retries(None, for_s=for_s, abandoned=lambda: self._killed, left=left)
            return hook.start_operation(call.path, **call.arguments(record.request_id), retries=retries)

        def start() -> None:
            try:
                answer.set_result(send())
            except BaseException as error:  # handed to the thread that waits
                answer.set_exception(error)

        self._held = answer
        Thread(target=start, name="start", daemon=True).start()
        try:
            operation = answer.result()
        except OperationsCallError as error:
            failure = error.failure
            if failure.had_no_effect and not doubt:
                self._held = None
                records.write(replace(record, state=State.REJECTED))
                if self._refusals.skips(failure, doubtful=record.doubtful):
                    refused = self._error_of_call(failure, final=True)
                    raise AirflowSkipException(f"nothing was started: {refused}") from None
            may_look_again = False
            if self._refusals.follows(failure) and not call.starts_nothing:
                found = self._find_foreign(call, record)
                if isinstance(found, Operation):
                    record = replace(record, doubtful=record.doubtful or doubt)
                    follow = self._resume_own if found.name == self._outlived else self._follow
                    return follow(found, call, record, records)
                failure = replace(
                    failure, problem=f"{failure.problem}, and nothing is waited for: {found.why}"
                )
                may_look_again = found.transient
            if self._refusals.repeats(failure):
                raise _RefusedForNow(failure, uncertain=doubt) from None
            # It was carried out, but which operation it began could not be read: the same id brings that answer again.
            lost = call.recognised and failure.http_status in range(200, 300)
            final = not (lost or may_look_again) and self._is_final(failure)
            raise self._error_of_call(failure, final=final) from None
        except (ValueError, _KilledBeforeStartError):  # nothing was sent
            if not again:
                records.write(replace(record, state=State.REJECTED))
            raise
        if call.starts_nothing:
            self.log.info("the service would start it; asked to validate only, it has started nothing")
            self._held = None
            validated = replace(record, state=State.REJECTED)
            records.write(validated)
            return Begun(validated, operation)
        self.log.info("%s: started", operation.name or "an operation without a name")
        self._see_what_the_api_has(operation, record, records)
        started = replace(
            record,
            state=State.STARTED,
            name=operation.name,
            handed_on=not self.wait_for_completion,
            answered_epoch_s=clock.now(),
        )
        try:
            records.write(started)
        except Exception as error:  # whatever the store raises
            self._started_but_not_noted(call, started, records, operation, error)
        return Begun(started, operation)

    def _find_foreign(self, call: StartCall, record: Record) -> Operation | NotFound:
        """Look for the operation that creates what a start was to create; while the service is away, ask again."""
        method = None if self.api_method is None else method_of(self.api_method)
        for_s = min(self.outage_tolerance, max(record.deadline_epoch_s - clock.now(), 0.0))
        retries = Retries(None, for_s=for_s, doubt_s=LIST_DOUBT_S, abandoned=lambda: self._killed)
        return find(self.hook, sought(call.resource, method, call.path), retries, record.deadline_epoch_s)

    def _follow(self, found: Operation, call: StartCall, record: Record, records: Records) -> Begun:
        """Go on with an operation that something else has started; that it isn't ours is known before anything is done."""
        self._follows_foreign = True
        self.log.info(
            "%s exists, and %s is creating it, which something else has started: waiting for that; this task won't "
            "cancel it",
            call.resource, found.name,
        )  # fmt: skip
        followed = replace(
            record,
            state=State.STARTED,
            name=found.name,
            digest=call.digest_of_sought,
            answered_epoch_s=clock.now(),
            handed_on=not self.wait_for_completion,
            cancel_if_orphaned=False,
            foreign=True,
        )
        followed = self._note_followed(records, followed)
        self._hold(found.name)
        return Begun(followed, found)

    def _resume_own(self, found: Operation, call: StartCall, record: Record, records: Records) -> Begun:
        """Go on with an operation of this task that has outlived its cancel; it stays the task's own."""
        self.log.warning(
            "%s exists, and %s, which this task has started and couldn't cancel, is creating it still: waiting for that",
            call.resource, found.name,
        )  # fmt: skip
        self._hold(found.name)
        resumed = replace(
            record,
            state=State.STARTED,
            name=found.name,
            answered_epoch_s=clock.now(),
            handed_on=not self.wait_for_completion,
            reattached=True,
        )
        return Begun(self._note_followed(records, resumed), found)

    def _followed_anew(self, record: Record, records: Records) -> Record:
        """Return the record of an intent of its own: after a time-out, another failure that was delivered, or a clear."""
        now_s = clock.now()
        return replace(
            record,
            state=State.STARTED,
            max_tries=records.max_tries,
            try_number=records.try_number,
            started_epoch_s=now_s,
            deadline_epoch_s=self._deadline_epoch_s(now_s),
            answered_epoch_s=now_s,
            final=False,
        )

    @property
    def _is_foreign(self) -> bool:
        if self._follows_foreign is not None:  # the store may not have taken the note of it
            return self._follows_foreign
        record = self._records.current if self._records is not None else None
        if record is not None and record.name:
            return record.foreign
        return self.if_exists == "wait"  # where it isn't known, nothing is cancelled

    @property
    def _may_be_foreign(self) -> bool:
        return self.if_exists == "wait" or self._is_foreign

    def _see_what_the_api_has(self, operation: Operation, record: Record, records: Records) -> None:
        """
        Say what can't be done to the operation, as its API has no method for it, and that its start is deprecated.

        :raises OperationsCallError: it runs, and can't be asked for.
        """
        if self.api_method is None:
            return
        method = method_of(self.api_method)
        api, name = method.document, operation.name
        if method.deprecated:
            self.log.warning("%s is deprecated: see %s", method.id, api.documentation)
        if operation.done:
            return
        if not api.has_get:
            why = f"{name} was started and runs, but {api.name} has no method to ask for it, so its end can't be waited for"
            records.current = replace(record, state=State.STARTED, name=name)
            records.close(State.FAILED, final=True)
            self._settled, self._held = True, None
            failure = CallFailure("GET", name, None, Status(Code.UNIMPLEMENTED, why), why)
            raise self._error_of_call(failure, name, final=True)
        verbs = api.verbs_of(name)
        if verbs and "cancel" not in verbs and (self.cancel_on_kill or self.cancel_on_timeout):
            self.log.info(
                "%s: %s has no cancel for it: a kill or a time-out leaves it running", name, api.name
            )

    def _started_but_not_noted(
        self, call: StartCall, started: Record, records: Records, operation: Operation, error: Exception
    ) -> None:
        """
        Leave a started operation to the next try, which finds it by its request id; or store it later, or cancel it.

        Time is short: Airflow ends a worker 28 s or more after the first heartbeat that failed.

        :raises OperationsError: it could not be stored; to be retried.
        """
        name = operation.name
        shown, why = name or "(without a name)", f"{type(error).__name__}: {error}"
        unnoted = OperationsError(
            f"operation {shown} was started, and Airflow's task state store doesn't take that ({why})"
        )
        self._settled = True
        if not name or operation.done:
            raise unnoted from error
        if self._next_try_finds_it(call, started, records, unnoted):
            self._left_to_later = name
            raise OperationsError(f"{unnoted}; the next try finds it by its request id") from error
        self.log.warning("%s; trying on for %g s", unnoted, NOTE_LIMIT_S)
        try:
            _retrying(NOTE_LIMIT_S)(records.write, started)
        except Exception as again:  # whatever the store raises
            note = self._cancel_late(name)
            with suppress(Exception):  # so that the next try starts another
                _retrying(NOTE_LIMIT_S / 4)(records.write, replace(started, state=State.FAILED))
            raise OperationsError(f"{unnoted}; {note}") from again
        self._settled = False

    def _next_try_finds_it(
        self, call: StartCall, record: Record, records: Records, error: OperationsError
    ) -> bool:
        """Tell whether there will be a next try while the service still knows the request id."""
        policy = getattr(self, "retry_policy", None)
        foreign_policy = policy is not None and not hasattr(policy, "fails")
        if not call.recognised or records.last_try or foreign_policy or self._will_fail(error):
            return False
        age_s = clock.now() - record.request_id_since_epoch_s
        return age_s + self._longest_retry_delay_s(records.try_number) + NEXT_TRY_S < self.request_id_ttl

    def _longest_retry_delay_s(self, try_number: int) -> float:
        """Return how long Airflow may wait before the next try; a backoff draws up to twice the computed delay."""
        delay_s = self.retry_delay.total_seconds()
        factor = 2.0 if self.retry_exponential_backoff is True else float(self.retry_exponential_backoff or 1)
        if factor == 1:
            return delay_s
        longest_s = as_seconds("max_retry_delay", self.max_retry_delay or timedelta(days=1))
        return min(2 * max(delay_s, 1.0) * factor ** min(try_number, 100), longest_s)


def _retrying(for_s: float) -> tenacity.Retrying:
    """Repeat a call to Airflow while it fails, at most for so long; then raise its last error."""
    end = clock.now() + for_s
    return tenacity.Retrying(
        stop=lambda _: clock.now() >= end, wait=tenacity.wait_fixed(2), sleep=clock.sleep, reraise=True
    )
