"""The operator that starts an operation and owns it to its end."""

from __future__ import annotations

import math
import uuid
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

import tenacity
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator

from airflow_provider_operations._airflow.compat import TaskDeferralError, clears_drop_task_state
from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY, operation_xcom
from airflow_provider_operations._lifecycle.record import Record, State
from airflow_provider_operations._lifecycle.start_call import StartCall
from airflow_provider_operations._lifecycle.task_state import Records
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome, cancelled, ending
from airflow_provider_operations._protocol.polling import as_seconds
from airflow_provider_operations._protocol.request import name_text, start_method
from airflow_provider_operations._protocol.request_values import (
    body_value,
    header_values,
    query_values,
    refuse_early,
)
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations._tasks.base import (
    CANCEL_OUTAGE_S,
    SERVICE_FIELDS,
    SETTLE_LIMIT_S,
    WaitsForOperation,
    as_deferrable,
    cancel,
    policy_argument,
)
from airflow_provider_operations.exceptions import (
    WORTH_A_RETRY,
    OperationsCallError,
    OperationsError,
    OperationTimeout,
    error_of_call,
)
from airflow_provider_operations.links import OperationLink
from airflow_provider_operations.operation import Code, Operation, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

__all__ = ["RunOperationOperator"]

_WEEK_S = 7 * 24 * 3600.0

NOTE_LIMIT_S = 40.0
"""How long Airflow may fail to note a started operation that no later try would find."""

NEXT_TRY_S = 600.0
"""How long it may take after ``retry_delay`` until the next try asks."""

PREDECESSOR_LIMIT_S = 300.0
"""How long a cleared task waits for its predecessor to be over; then it starts all the same, with a warning."""


class _KilledBeforeStartError(OperationsError):
    """The task was killed before its start call was sent."""


class RunOperationOperator(WaitsForOperation, BaseOperator):
    """
    Start an operation, wait until it is over, return its response.

    XCom: ``operation_name``, pushed before it waits; ``operation``, the final resource without the response, on
    success and failure. The return value is the response (the name, with ``wait_for_completion=False``).

    :param path: what to call, below the path prefix (``projects/p/builds``); with a leading ``/`` below the base
        URL. (templated)
    :param method: HTTP method of the start call.
    :param json: JSON body of the start call; lazy sequences are sent as lists, an aware datetime as RFC 3339, a
        timedelta as ``3.5s``. (templated)
    :param query: query parameters of the start call; a list is sent as a repeated parameter. (templated)
    :param headers: headers of the start call, beside the connection's; not such as ``Host`` that say how the request
        is sent, nor one that would replace the connection's credentials. (templated)
    :param operations_conn_id: connection of type ``operations``. (templated)
    :param base_url: this and the next four: instead of what the connection says. (all five
        templated)
    :param deferrable: wait in the triggerer; without, the worker is held. ``None``: as ``[operators] default_deferrable``.
    :param poke_interval: longest pause between polls; they begin at half a second. At least 1 s.
    :param timeout: from the start of the operation, over all restarts; default 7 days. ``execution_timeout``
        counts too, whichever is shorter.
    :param outage_tolerance: how long the server may not answer; default 10 min.
    :param cancel_on_kill: cancel the operation when the task is marked, cleared or terminated.
    :param cancel_on_timeout: cancel it when the time is up.
    :param poll_with: how the triggerer asks, instead of what the connection says: ``get``; ``list``, by one
        request for all under the same parent; ``wait``, which the server answers when it is over. A worker
        always uses ``get``.
    :param wait_for_completion: ``False`` hands the name on to a sensor.
    :param request_id_field: where the service takes a request id (``requestId``; dotted in a body), by which it
        recognises a repeated start.
    :param request_id_in: ``query`` or ``body``.
    :param durable: keep a record of the operation in Airflow's task state store (3.3 or later), so that a lost
        worker, a retry or a clear neither starts a second operation nor forgets the first.
    :param request_id_ttl: how long the service recognises a request id, in seconds; default 1 h.
    :param on_uncertain_start: when an earlier try's start was never answered and can't be repeated: ``start``
        afresh with a warning, or ``fail``.
    :param retry_on: codes of operation errors, or a single one, that Airflow may retry, instead of ``WORTH_A_RETRY``.
    :param retry_policy: decides about every error instead, e.g. ``OperationRetryPolicy`` (Airflow 3.3 or later;
        before, a warning says that it has no effect).

    :raises OperationFailed: the operation failed; its Final twin where a retry would not help.
    :raises OperationTimeout: it was not over in time.
    :raises OperationsCallError: the server refused, or didn't answer for too long.
    """

    template_fields: Sequence[str] = (
        "path",
        "json",
        "query",
        "headers",
        *SERVICE_FIELDS,
    )
    template_fields_renderers = {"json": "json", "query": "json", "headers": "json"}  # noqa: RUF012  as Airflow's
    operator_extra_links = (OperationLink(),)
    ui_color = "#dbeafe"

    _records: Records | None = None
    _settled: bool = False
    """Whether the operation is over, or was dealt with when its time was up."""

    def __init__(
        self,
        *,
        path: str,
        method: str = "POST",
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        operations_conn_id: str = "operations_default",
        base_url: str | None = None,
        path_prefix: str | None = None,
        cancel_suffix: str | None = None,
        cancel_method: str | None = None,
        error_format: int | None = None,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 30.0,
        timeout: timedelta | float = _WEEK_S,
        outage_tolerance: timedelta | float = 600.0,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        wait_for_completion: bool = True,
        request_id_field: str | None = None,
        request_id_in: str = "query",
        durable: bool = True,
        request_id_ttl: timedelta | float = 3600.0,
        on_uncertain_start: str = "start",
        retry_on: Collection[Code | int | str] | Code | int | str | None = None,
        poll_with: str | None = None,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**policy_argument(retry_policy), **kwargs)
        if request_id_in not in {"query", "body"}:
            raise ValueError(f"'request_id_in' is 'query' or 'body', not {request_id_in!r}")
        if on_uncertain_start not in {"start", "fail"}:
            raise ValueError(f"'on_uncertain_start' is 'start' or 'fail', not {on_uncertain_start!r}")
        for argument, value, read in (
            ("json", json, body_value),
            ("query", query, query_values),
            ("headers", headers, header_values),
        ):
            refuse_early(value, argument, read)
        start_method(method)
        self.durable = durable
        self.request_id_ttl = as_seconds("request_id_ttl", request_id_ttl)
        self.on_uncertain_start = on_uncertain_start
        self.path = path
        self.method = method
        self.json = json
        self.query = query
        self.headers = headers
        self.deferrable = as_deferrable(deferrable)
        self.poke_interval = as_seconds("poke_interval", poke_interval)
        self.timeout = as_seconds("timeout", timeout)
        self.wait_for_completion = wait_for_completion
        self.request_id_field = request_id_field
        self.request_id_in = request_id_in
        self.retry_on = WORTH_A_RETRY if retry_on is None else Code.set_of("retry_on", retry_on)
        self._keep_waiting_arguments(
            outage_tolerance=outage_tolerance,
            cancel_on_kill=cancel_on_kill,
            cancel_on_timeout=cancel_on_timeout,
            poll_with=poll_with,
            service={
                "operations_conn_id": operations_conn_id,
                "base_url": base_url,
                "path_prefix": path_prefix,
                "cancel_suffix": cancel_suffix,
                "cancel_method": cancel_method,
                "error_format": error_format,
            },
        )

    def execute(self, context: Context) -> Any:
        """Start the operation, or take over the one that an earlier try has started; then wait for it."""
        self.link_to_console = ""  # Airflow has deleted what an earlier try or stay has pushed
        self._begin_stay(context)
        records = self._records_of(context)
        if not records.kept and self.durable:
            self.log.warning(
                "this Airflow keeps no task state: if the worker is lost while the operation starts or is waited "
                "for without a trigger, the next try starts another"
            )
        with self._policy_is_asked(), self._looked_after(records):
            try:
                return self._run(context, records)
            except AirflowTaskTimeout:
                self._stay_ends_s = math.inf
                outcome = self._execution_timed_out(records)
            return self._deliver(context, outcome)

    def _run(self, context: Context, records: Records) -> Any:
        earlier = self._earlier(records) if self.durable else None
        if earlier is not None and (earlier.state is State.DELIVERED or not self.wait_for_completion):
            return self._deliver_again(context, earlier)
        seen = self._start(records) if earlier is None else self._look_again(earlier)
        if seen is None:  # it failed: a retry is a new intent
            seen = self._start(records)
        elif earlier is not None:
            self._note_reattached(records, earlier)
        record = records.current
        assert record is not None  # noqa: S101  written by the start, or read
        name = record.name
        if name:
            self._push(context, OPERATION_NAME_KEY, name)
            self._push_link(context, name)
        since_s = record.runs_since_epoch_s
        watch = self._watch_for(name, since_s, created_epoch_s=since_s)
        watch.deadline_epoch_s = record.deadline_epoch_s
        outcome = watch.judge(seen, clock.now())
        watch.found = False  # by a start's answer it isn't: who may start may not be allowed to look
        self._log_news(watch)
        if not self.wait_for_completion:
            assert isinstance(seen, Operation)  # noqa: S101  the start's answer
            self._push_aside(context, OPERATION_KEY, operation_xcom(seen))
            self._operation = None  # handed on: from now on a kill of this process is none of it
            return name
        if not isinstance(outcome, Outcome):
            if self.deferrable:
                self._defer_for(watch)
            outcome = self.hook.watch(watch)
        return self._deliver(context, outcome)

    def execute_complete(
        self, context: Context, event: Any = None, operation_name: str = "", started_epoch_s: float = 0.0
    ) -> Any:
        """
        Resume with the trigger's event.

        Airflow resumes a task that was cleared while it resumed with the event of before; then it starts afresh.
        """
        records = self._records_of(context)
        with self._looked_after(records, operation_name):
            record = records.read()
            dropped = record is None and records.kept and clears_drop_task_state()
            if not dropped and (record is None or record.max_tries == records.max_tries):
                return self._deliver(context, self._outcome_of(event, operation_name, started_epoch_s))
        self.log.info("cleared while it was resumed; the trigger's event is of before")
        if dropped and operation_name:
            self._end_predecessor(operation_name, cleared=True)
        return self.execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where the trigger has crashed and no retry will look after the operation, cancel it."""
        try:
            with self._policy_is_asked():
                return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError:
            name = ""
            try:
                name = self._own_name(context)
            except Exception as error:  # noqa: BLE001  what is to be told is that the trigger has crashed
                self.log.warning("which operation the trigger waited for is unknown: %s", error)
            with self._looked_after(self._records_of(context), name):
                raise

    def _own_name(self, context: Context) -> str:
        """
        Return the operation that this task deferred for; empty where that is lost.

        The record says which. An XCom, which others may edit, counts only where there is none, or the store is away.

        :raises ValueError: there is a record that can't be read.
        """
        try:
            record = self._records_of(context).read()
        except ValueError:
            raise
        except Exception:  # noqa: BLE001  whatever the store raises
            record = None
            self.log.warning(
                "Airflow's task state store is away: which operation is this task's, an XCom says"
            )
        return self._said_name(context) if record is None else record.name

    @property
    def _owner(self) -> str:
        """A record survives clears and retries, which so know the operation."""
        return "record" if self._records is not None and self._records.kept else "task"

    def _retry_knows_it(self) -> bool:
        records = self._records
        if records is None or not records.noted or records.last_try or records.current is None:
            return False
        return records.current.state is State.STARTED

    # --- earlier tries ---------------------------------------------------------------------------------------

    def _records_of(self, context: Context) -> Records:
        if self._records is None:
            self._records = Records(context if self.durable else {"ti": context["ti"]}, self.log)
        return self._records

    def _earlier(self, records: Records) -> Record | None:
        """
        Return the record of an operation to take over, or None to start afresh.

        An operation of before a clear is ended first.
        """
        record = self._read_patiently(records)
        if record is None or record.state is State.REJECTED:
            return None
        cleared = record.max_tries != records.max_tries
        if record.state is State.STARTING:
            asked = self._ask_for_the_answer(record, records, cleared=cleared)
            if asked is None:
                return None
            record = asked
        if cleared or record.state is State.FAILED:
            if record.state is not State.DELIVERED and record.name:
                # After a failure too: an operation whose time was up may have outlived its cancel.
                self._end_predecessor(record.name, cleared=cleared)
            return None
        if not record.name:
            self.log.warning(
                "try %d started an operation without a name, which was over at once, and its result is lost; "
                "starting afresh",
                record.try_number,
            )
            return None
        return record

    def _note_reattached(self, records: Records, record: Record) -> None:
        """Note that this try has taken the operation over; it goes on with it, whether Airflow takes that or not."""
        try:
            records.write(replace(record, reattached=True))
        except Exception as error:  # noqa: BLE001  whatever the store raises
            records.noted = True  # what it has says the same but for this
            self.log.warning("that this try waits for %s could not be noted (%r)", record.name, error)

    def _read_patiently(self, records: Records) -> Record | None:
        """
        Return the record, and ask as long for it as an outage of the service may last: an operation may depend on it.

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
            lambda error: isinstance(error, Exception) and not (isinstance(error, ValueError) or self._killed)
        )
        asking.before_sleep = log
        return asking(records.read)

    def _ask_for_the_answer(self, record: Record, records: Records, *, cleared: bool) -> Record | None:
        """Repeat a start whose answer an earlier try has lost, where the service recognises it."""
        call = self._call()
        age_s = clock.now() - record.started_epoch_s
        if call.recognised and call.digest == record.digest and age_s < self.request_id_ttl:
            self.log.info("try %d lost the answer to its start: sending it again", record.try_number)
            self._send(call, record, records, again=True)
            return records.current
        why = (
            "it carries no request id"
            if not call.recognised
            else "the request is another one now"
            if call.digest != record.digest
            else f"it is older than {self.request_id_ttl:g} s"
        )
        problem = (
            f"try {record.try_number} sent a start whose answer is lost, and it can't be repeated: {why}"
        )
        if self.on_uncertain_start == "fail" and not cleared:
            problem += "; see whether an operation of it is running, then clear the task to start another"
            status = Status(Code.UNKNOWN, problem)
            failure = CallFailure(call.method, call.path, None, status, problem)
            raise error_of_call(failure, final=self._is_final(failure))
        self.log.warning("%s; an operation of it may be running; starting afresh", problem)
        return None

    def _look_again(self, record: Record) -> Operation | CallFailure | None:
        """
        Look at the operation of an earlier try; None when it failed so that a retry may help: this one is a new intent.

        A failure that no retry helps is delivered: Airflow may have failed the earlier try before it came to that.
        """
        name = record.name
        self._hold(name)
        seen = self.hook.poll(name)
        origin = f"started by try {record.try_number}"
        if isinstance(seen, CallFailure):
            if seen.says_missing:
                problem = f"HTTP {seen.http_status}, the server has forgotten the operation, {origin}"
                return replace(seen, problem=problem)
            self.log.info("reattached to %s, %s; no answer yet (%s)", name, origin, seen.problem)
        elif not seen.done:
            progress = str(seen.progress)
            self.log.info(
                "reattached to %s, %s, still running%s", name, origin, f", {progress}" if progress else ""
            )
        elif seen.error is None:
            self.log.info("%s, %s, has succeeded meanwhile", name, origin)
        elif self._is_final(seen) and not cancelled(seen):
            self.log.info("%s, %s, is over (%s), and was not delivered yet", name, origin, ending(seen))
        else:
            self.log.info("%s, %s, is over (%s); starting afresh", name, origin, ending(seen))
            return None
        return seen

    def _deliver_again(self, context: Context, record: Record) -> Any:
        """Hand over once more what an earlier try has handed over without Airflow's taking note."""
        self._push(context, OPERATION_NAME_KEY, record.name)
        self._push_link(context, record.name)
        self.log.info("%s, started by try %d, was delivered already", record.name, record.try_number)
        if not self.wait_for_completion:
            return record.name
        seen = self._look_again(record)
        assert seen is not None  # noqa: S101  it was a success
        watch = self._watch_for(record.name, record.runs_since_epoch_s, None)
        outcome = watch.judge(seen, clock.now())
        return self._deliver(context, outcome if isinstance(outcome, Outcome) else self.hook.watch(watch))

    def _end_predecessor(self, name: str, *, cleared: bool) -> None:
        """
        Cancel the operation of before a clear or a failure and wait, bounded, until it is over.

        :raises OperationsCallError: the server can't be reached to cancel it; the next try sees to it.
        """
        self._hold(name)
        why = "cleared" if cleared else "failed before"
        seen = self.hook.poll(name)
        if isinstance(seen, Operation) and seen.done:
            self.log.info("%s: %s is over (%s); starting afresh", why, name, ending(seen))
        elif not (self.cancel_on_kill if cleared else self.cancel_on_timeout):
            self.log.warning("%s: %s is left alone, as was asked; starting afresh", why, name)
        else:
            self.log.info("%s: cancelling %s before starting afresh", why, name)
            end = cancel(self.hook, name, CANCEL_OUTAGE_S, PREDECESSOR_LIMIT_S)
            if end.failure is not None and not end.refused:
                raise error_of_call(end.failure, name, final=False)
            (self.log.info if end.over else self.log.warning)("%s: %s; starting afresh", name, end.note)
        self._operation = None

    # --- the start -------------------------------------------------------------------------------------------

    def _call(self) -> StartCall:
        """
        Return the start call.

        :raises InvalidRequestValue: something in it can't be sent; nothing was sent then, and no start is noted.
        """
        self.path = name_text(self.path, "start path")
        return StartCall(
            self.path,
            self.method,
            body_value(self.json, "json"),
            query_values(self.query),
            header_values(self.headers),
            self.request_id_field,
            self.request_id_in,
        )

    def _start(self, records: Records) -> Operation:
        """Start afresh: note the intent, send, note the name."""
        call = self._call()
        now = clock.now()
        record = Record(
            State.STARTING,
            records.max_tries,
            records.try_number,
            str(uuid.uuid4()),
            call.digest,
            now,
            self._deadline_s(now),
        )
        self.hook  # noqa: B018  a bad connection is no reason to note a start
        records.write(record)
        return self._send(call, record, records)

    def _send(self, call: StartCall, record: Record, records: Records, *, again: bool = False) -> Operation:
        """
        Send the start call from a thread of its own, and note what came of it.

        A refusal of a start that is sent ``again`` says nothing of the first.

        A signal interrupts the main thread anywhere; here the answer is kept, and ``on_kill`` waits for it.
        """
        hook = self.hook
        answer: Future[Operation] = Future()

        def start() -> None:
            try:
                if self._killed:
                    raise _KilledBeforeStartError("the task was killed before the operation was started")  # noqa: TRY301
                retries = Retries(None, for_s=self.outage_tolerance, abandoned=lambda: self._killed)
                operation = hook.start_operation(
                    call.path, **call.arguments(record.request_id), retries=retries
                )
            except BaseException as error:  # noqa: BLE001  handed to the thread that waits
                answer.set_exception(error)
            else:
                answer.set_result(operation)

        self._operation = answer
        Thread(target=start, name="start", daemon=True).start()
        try:
            operation = answer.result()
        except OperationsCallError as error:
            # Of several attempts, only the last is known.
            known = not again and (error.failure.attempts == 1 or not call.recognised)
            if error.failure.had_no_effect and known:
                records.write(replace(record, state=State.REJECTED))
            # It has been carried out, and nobody could read which operation it began: the same id tells that again.
            lost = call.recognised and error.failure.http_status in range(200, 300)
            final = not lost and self._is_final(error.failure)
            raise error_of_call(error.failure, final=final) from None
        except (ValueError, _KilledBeforeStartError):  # nothing was sent
            if not again:
                records.write(replace(record, state=State.REJECTED))
            raise
        self.log.info("%s: started", operation.name or "an operation without a name")
        started = replace(
            record,
            state=State.STARTED,
            name=operation.name,
            handed_on=not self.wait_for_completion,
            answered_epoch_s=clock.now(),
        )
        try:
            records.write(started)
        except Exception as error:  # noqa: BLE001  whatever the store raises
            self._started_but_not_noted(call, started, records, operation, error)
        return operation

    def _started_but_not_noted(
        self, call: StartCall, started: Record, records: Records, operation: Operation, error: Exception
    ) -> None:
        """
        Leave the operation to the next try, which finds it by its request id, or note it after all, or end it.

        Airflow ends a worker that can't reach it by its heartbeats, 28 s or more after the first that failed.

        :raises OperationsError: where it could not be noted; to be retried.
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
            self._looked_after_later = name
            raise OperationsError(f"{unnoted}; the next try finds it by its request id") from error
        self.log.warning("%s; trying on for %g s", unnoted, NOTE_LIMIT_S)
        try:
            _retrying(NOTE_LIMIT_S)(records.write, started)
        except Exception as again:
            note = self._cancel_late(name)
            with suppress(Exception):  # so that the next try knows it
                _retrying(NOTE_LIMIT_S / 4)(records.write, replace(started, state=State.FAILED))
            raise OperationsError(f"{unnoted}; {note}") from again
        self._settled = False

    def _next_try_finds_it(
        self, call: StartCall, record: Record, records: Records, error: OperationsError
    ) -> bool:
        """Tell whether there will be a next try while the service still knows the request id."""
        foreign_policy = self.retry_policy is not None and not hasattr(self.retry_policy, "fails")
        if not call.recognised or records.last_try or foreign_policy or self._will_fail(error):
            return False
        age_s = clock.now() - record.started_epoch_s
        return age_s + self._longest_retry_delay_s(records.try_number) + NEXT_TRY_S < self.request_id_ttl

    def _longest_retry_delay_s(self, try_number: int) -> float:
        """Return what Airflow may wait before the next try; with a backoff it draws up to twice the power."""
        delay_s = self.retry_delay.total_seconds()
        factor = 2.0 if self.retry_exponential_backoff is True else float(self.retry_exponential_backoff or 1)
        if factor == 1:
            return delay_s
        longest_s = as_seconds("max_retry_delay", self.max_retry_delay or timedelta(days=1))
        return min(2 * max(delay_s, 1.0) * factor ** min(try_number, 100), longest_s)

    # --- the end ---------------------------------------------------------------------------------------------

    def _deliver(self, context: Context, outcome: Outcome) -> Any:
        records = self._records_of(context)
        self._settled = outcome.kind is not Kind.CALL_FAILED
        try:
            result = super()._deliver(context, outcome)
        except OperationsError:
            if self._settled:
                records.close(State.FAILED)
                self._operation = None  # dealt with as was asked: a kill from now on is none of it
            raise
        records.close(State.DELIVERED)
        self._operation = None
        return result

    @contextmanager
    def _looked_after(self, records: Records, name: str = "") -> Iterator[None]:
        """Cancel the operation where an error leaves it running and no later try will look after it."""
        try:
            yield
        except Exception as error:
            record = records.current
            if record is not None and record.state is State.STARTED:
                name = record.name
            retried = records.kept and not records.last_try and not self._will_fail(error)
            if name and not (self._settled or self._cancelled):
                if retried:
                    # Airflow may still end this process, e.g. as a heartbeat came after it took the failure.
                    self._leave(name)
                else:
                    if self.cancel_on_timeout:
                        self.log.warning("%s: giving up on it; %s", name, self._cancel_late(name))
                    self._operation = None
            raise

    def _is_final(self, failed: Operation | CallFailure) -> bool:
        if isinstance(failed, Operation) and failed.error:
            if failed.error.code in self.retry_on:
                return False
            record = self._records.current if self._records else None
            if cancelled(failed) and record is not None and record.reattached:
                return False  # by an earlier try's worker, perhaps
        return super()._is_final(failed)

    def _execution_timed_out(self, records: Records) -> Outcome:
        """Make the outcome of an ``execution_timeout``; an answer to the start is still waited for."""
        waited_s = clock.now() - records.current.started_epoch_s if records.current else 0.0
        if self._operation is None:
            raise OperationTimeout("(not started)", timedelta(seconds=waited_s))
        try:
            operation = self._operation.result(timeout=SETTLE_LIMIT_S)
        except FutureTimeoutError:
            self._killed = True
            note = "the start was not answered, so it may be running"
            raise OperationTimeout("(unknown)", timedelta(seconds=waited_s), None, note) from None
        return Outcome(Kind.TIMED_OUT, operation.name, operation, waited_s=waited_s)


def _retrying(for_s: float) -> tenacity.Retrying:
    """Repeat what Airflow doesn't take; raises what it raised last."""
    end = clock.now() + for_s
    return tenacity.Retrying(
        stop=lambda _: clock.now() >= end, wait=tenacity.wait_fixed(2), sleep=clock.sleep, reraise=True
    )
