"""The operator that starts an operation and owns it to its end."""

from __future__ import annotations

import math
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_operations._airflow.compat import TaskDeferralError, clears_drop_task_state
from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY, operation_xcom
from airflow_provider_operations._connection.options import SERVICE_FIELDS
from airflow_provider_operations._lifecycle.record import State
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Outcome, cancelled
from airflow_provider_operations._tasks.cancel import SETTLE_LIMIT_S
from airflow_provider_operations._tasks.starting import StartsOperation
from airflow_provider_operations.exceptions import OperationsError, OperationTimeout
from airflow_provider_operations.links import OperationLink
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_operations._lifecycle.record import Record
    from airflow_provider_operations._lifecycle.task_state import Records
    from airflow_provider_operations._protocol.outcome import Watch
    from airflow_provider_operations._protocol.response import CallFailure

__all__ = ["RunOperationOperator"]


class RunOperationOperator(StartsOperation):
    """
    Start an operation, wait until it is done, return its response.

    XCom: ``operation_name``, pushed before it waits; ``operation``, the final resource without the response, on
    success and failure. The return value is the response (the name, with ``wait_for_completion=False``).

    :param path: what to call, below the path prefix (``projects/p/builds``); with a leading ``/`` below the base
        URL. Either this or ``api_method``. (templated)
    :param method: HTTP method of the start call.
    :param json: JSON body of the start call; lazy sequences are sent as lists, an aware datetime as RFC 3339, a
        timedelta as ``3.5s``. (templated)
    :param query: query parameters of the start call; a list is sent as a repeated parameter. (templated)
    :param headers: headers of the start call, beside the connection's; not such as ``Host`` that say how the request
        is sent, nor one that would replace the connection's credentials. (templated)
    :param api_method: instead of ``path``, ``method`` and ``query``: a method of Google's, by its id
        (``file.projects.locations.instances.create``; with a version ``file:v1.projects…``). Host, prefix, request id
        and how cancel is spelled follow from it. Or one of an ``ApiDocument`` of your own.
    :param parameters: of ``api_method``, by their names in the API's documentation. (templated)
    :param endpoint: ``regional``: the API's address in the location that ``parameters`` name.
    :param operations_conn_id: connection of type ``operations`` or ``google_cloud_platform``. (templated)
    :param base_url: this, ``path_prefix``, ``cancel_suffix``, ``cancel_method``, ``error_format`` and
        ``wait_timeout_in``: instead of what the connection says. (all templated)
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none. (templated)
    :param deferrable: wait in the triggerer, and not in a worker. ``None``: as ``[operators] default_deferrable``.
    :param defer_after: when deferrable, first wait in the worker until the operation is this old, and defer only what
        lasts longer: a short one then takes one worker start instead of two, and keeps its worker for as long.
    :param poke_interval: longest pause between polls; they begin at half a second. At least 1 s.
    :param timeout: from the start of the operation, over all restarts; default 7 days. ``execution_timeout``
        counts too, whichever is shorter.
    :param outage_tolerance: how long the server may fail to answer; default 10 min.
    :param cancel_on_kill: cancel the operation when the task is marked, cleared or terminated.
    :param cancel_on_timeout: cancel it when the time is up.
    :param poll_with: how the triggerer asks, instead of what the connection says: ``get``; ``list``, by one
        request for all under the same parent; ``wait``, which the server answers when it is done. A worker
        always uses ``get``.
    :param wait_for_completion: ``False`` hands the name on to a sensor.
    :param request_id_field: where the service takes a request id (``requestId``; dotted in a body), by which it
        recognises a repeated start.
    :param request_id_in: ``query``, ``body`` or ``header`` (``request_id_field="Idempotency-Key"``).
    :param durable: keep a record of the operation in Airflow's task state store (3.3 or later), so that a lost
        worker, a retry or a clear neither starts a second operation nor forgets the first.
    :param request_id_ttl: how long the service recognises a request id, in seconds; default 1 h.
    :param on_uncertain_start: when an earlier try's start was never answered and can't be repeated: ``start``
        afresh with a warning, or ``fail``.
    :param if_exists: what it does where the service refuses the start with ALREADY_EXISTS: ``fail``; ``skip`` the
        task; ``wait`` for the one operation that runs and creates it, which is never cancelled.
    :param resource_name: for ``if_exists="wait"``: the name of what the start creates, which is in the
        ``metadata.target`` of its operation; of ``api_method`` mostly known. (templated)
    :param if_missing: ``skip`` skips a task that deletes (``method="DELETE"``) where there is nothing to delete
        (NOT_FOUND); ``fail``.
    :param start_retry_on: codes (``ABORTED``) or reasons (``google.rpc.ErrorInfo``), or a single one, with which a
        service refuses a start for the time being, as another operation is running: it is started again, after 10 s
        and more. A deferrable task waits for that in the triggerer.
    :param start_timeout: for how long, from the first start on, in seconds; default 1 h. ``timeout`` counts from
        then, too.
    :param retry_on: codes of operation errors, or a single one, that Airflow may retry, instead of ``WORTH_A_RETRY``.
    :param end_from_trigger: when deferrable, a success ends in the triggerer, without a second worker start (Airflow
        3.3 or later; ignored before). Whatever else happens still comes to a worker. Refused where something would
        be lost: ``outlets``, ``on_success_callback``, ``post_execute``, ``multiple_outputs``, listeners, a mapped
        task or the DAG's result depending on this one's.
    :param retry_policy: decides about every error instead, e.g. ``OperationRetryPolicy`` (Airflow 3.3 or later;
        before, a warning says that it has no effect).

    :raises OperationFailed: the operation failed; its Final twin where a retry would not help.
    :raises OperationTimeout: it was not done in time.
    :raises OperationsCallError: the server refused, or didn't answer for too long.
    """

    template_fields: Sequence[str] = (
        "path",
        "json",
        "query",
        "headers",
        "parameters",
        "resource_name",
        *SERVICE_FIELDS,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "json": "json",
        "query": "json",
        "headers": "json",
        "parameters": "json",
    }
    operator_extra_links = (OperationLink(),)
    ui_color = "#dbeafe"

    @property
    def _ends_as(self) -> type:
        return RunOperationOperator

    def execute(self, context: Context) -> Any:
        """Start the operation, or take over the one that an earlier try has started; then wait for it."""
        self.link_to_console = ""  # Airflow has deleted the XCom of an earlier try or stay
        self._begin_stay(context)
        records = self._records_of(context)
        if not records.kept and self.durable and not self._starts_again:  # else it is said already
            self.log.warning(
                "this Airflow keeps no task state: if the worker is lost while the operation starts or is waited "
                "for without a trigger, the next try starts another"
            )
        with self._cancelled_if_abandoned(records):
            try:
                return self._run(context, records)
            except AirflowTaskTimeout:
                self._stay_ends_s = math.inf
                outcome = self._execution_timed_out(records)
            return self._deliver(context, outcome)

    def _run(self, context: Context, records: Records) -> Any:
        record, seen = self._begin(records)
        name = record.name
        if name:
            self._push(context, OPERATION_NAME_KEY, name)
            self._push_link(context, name)
        if seen is None:
            return self._deliver_again(context, record)
        validated = record.state is State.REJECTED
        if not (self.wait_for_completion or validated):
            watch = self._watch_of(record, seen)
            watch.judge(seen, clock.now())
            self.hook.log_news(watch)
            if isinstance(seen, Operation):
                self._push_or_log(context, OPERATION_KEY, operation_xcom(seen))
            self._leave(name)
            return name
        return self._deliver(context, self._wait_for(self._watch_of(record, seen), seen))

    def _watch_of(self, record: Record, seen: Operation | CallFailure) -> Watch:
        since_s = record.runs_since_epoch_s
        watch = self._watch_for(record.name, since_s, since_s, deadline_epoch_s=record.deadline_epoch_s)
        # What this try has started itself, or found in a list, it hasn't polled yet.
        watch.found = record.reattached and not record.foreign and isinstance(seen, Operation)
        return watch

    def _deliver_again(self, context: Context, record: Record) -> Any:
        """Deliver a result again: an earlier try did, but Airflow hasn't recorded its success."""
        if not self.wait_for_completion:
            self._hold(record.name)
            self._leave(record.name)
            return record.name
        _, seen = self._look(record)
        # Its end was seen in time.
        since_s = record.runs_since_epoch_s
        watch = self._watch_for(record.name, since_s, since_s, deadline_epoch_s=math.inf)
        return self._deliver(context, self.hook.watch(watch, seen=seen))

    def execute_complete(
        self, context: Context, event: Any = None, operation_name: str = "", started_epoch_s: float = 0.0
    ) -> Any:
        """
        Resume with the trigger's event.

        A task that was cleared while it resumed gets the old trigger's event once more; then it starts afresh.
        """
        records = self._records_of(context)
        with self._cancelled_if_abandoned(records, operation_name):
            record = self._read_patiently(records)
            # The first try can't have been cleared: its record is only not to be found.
            dropped = record is None and records.kept and records.try_number > 1 and clears_drop_task_state()
            if not dropped and (record is None or record.max_tries == records.max_tries):
                return self._deliver(context, self._outcome_of(event, operation_name, started_epoch_s))
        self.log.info("cleared while it resumed; the trigger's event is an old one")
        if dropped and operation_name:
            self._end_predecessor(operation_name, started_epoch_s, cleared=True)
        return self.execute(context)

    def _deliver_timeout_of_trigger(self, context: Context, name: str) -> Any:
        records = self._records_of(context)
        # Without a record, or while the store is away, its time is up as it looks; a clear is seen by the next try.
        if records.current is not None and records.current.max_tries != records.max_tries:
            self.log.info("cleared while it resumed; that the time of %s is up is old", name)
            return self.execute(context)
        return super()._deliver_timeout_of_trigger(context, name)

    def _noted_deadline_epoch_s(self) -> float | None:
        record = (
            self._records.current if self._records else None
        )  # it counts from the first start, if that was refused
        return None if record is None else record.deadline_epoch_s

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where the trigger has crashed and no retry will take the operation over, cancel it."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError:
            name = ""
            try:
                name = self._own_name(context)
            except Exception as error:  # the task fails with the trigger's crash
                self.log.warning("which operation the trigger waited for is unknown: %s", error)
            with self._cancelled_if_abandoned(self._records_of(context), name):
                raise

    def _own_name(self, context: Context) -> str:
        """
        Return the operation that this task deferred for; empty where that is lost.

        The record says which. An XCom, which others may edit, counts only without a record, or if the store is away.

        :raises ValueError: there is a record that can't be read.
        """
        try:
            record = self._records_of(context).read()
        except ValueError:
            raise
        except Exception:  # whatever the store raises
            record = None
            self.log.warning(
                "Airflow's task state store is away: which operation is this task's, an XCom says"
            )
        return self._name_in_xcom(context) if record is None else record.name

    @property
    def _owner(self) -> str:
        """Return ``record`` if there is one, which later tries and a clear find."""
        return "record" if self._records is not None and self._records.kept else "task"

    def _ends_in(self, state: str | None) -> bool:
        if state == "restarting":  # cleared, while a worker holds it
            return clears_drop_task_state()  # then the next try doesn't know of the operation
        handed_on = state == "success" and not self.wait_for_completion
        return super()._ends_in(state) and not handed_on

    def _retry_knows_it(self, within_s: float) -> bool:
        records = self._records
        if records is None or not records.kept or records.last_try:
            return False
        if self._found_by_request_id and records.stored is State.STARTING:
            return True
        if records.stored is State.FAILED and records.current is not None and records.current.final:
            return True  # the next try delivers the failure
        ends = time.monotonic() + within_s
        while records.stored is not State.STARTED and not self._settled and time.monotonic() < ends:
            time.sleep(0.05)  # in a thread of its own, while the main thread stores it
        return records.stored is State.STARTED

    def _deliver(self, context: Context, outcome: Outcome) -> Any:
        records = self._records_of(context)
        self._settled = outcome.kind is not Kind.CALL_FAILED
        try:
            result = super()._deliver(context, outcome)
        except OperationsError as error:
            if self._settled:
                records.close(State.FAILED, final=self._will_fail(error))
                self._held = None  # dealt with as asked: a kill doesn't cancel it any more
            raise
        records.close(State.DELIVERED)
        self._held = None
        return result

    @contextmanager
    def _cancelled_if_abandoned(self, records: Records, name: str = "") -> Iterator[None]:
        """Cancel the operation where an error leaves it running and no later try will take it over."""
        try:
            yield
        except Exception as error:
            record = records.current
            if record is not None and record.state is State.STARTED:
                name = record.name
            retried = records.kept and not records.last_try and not self._will_fail(error)
            if name and not (self._settled or self._cancelled):
                if retried:
                    # Airflow may still kill this process, e.g. for a heartbeat after the failure was reported.
                    self._leave(name)
                else:
                    if self._timeout_cancels:
                        self.log.warning("%s: giving up on it; %s", name, self._cancel_late(name))
                    self._held = None
            raise

    def _is_final(self, failed: Operation | CallFailure) -> bool:
        if self._is_foreign and (isinstance(failed, Operation) or failed.missing):
            return False  # it was another's request; a retry starts ours
        if isinstance(failed, Operation) and failed.error:
            if failed.error.code in self.retry_on:
                return False
            record = self._records.current if self._records else None
            if cancelled(failed) and record is not None and record.reattached:
                return False  # perhaps an earlier try's worker has cancelled it
        return super()._is_final(failed)

    def _execution_timed_out(self, records: Records) -> Outcome:
        """Return the outcome of an ``execution_timeout``; the answer to the start is waited for, briefly."""
        waited_s = clock.now() - records.current.started_epoch_s if records.current else 0.0
        if self._held is None:
            raise OperationTimeout("(not started)", timedelta(seconds=waited_s))
        if self._held.done() and self._held.exception() is not None:  # it waits to send the same start again
            note = "its start was refused, but may have been carried out before"
            raise OperationTimeout("(unknown)", timedelta(seconds=waited_s), None, note)
        try:
            operation = self._held.result(timeout=SETTLE_LIMIT_S)
        except FutureTimeoutError:
            self._killed = True
            note = "the start was not answered, so it may be running"
            raise OperationTimeout("(unknown)", timedelta(seconds=waited_s), None, note) from None
        # The time may have been up before the name could be noted, and the next try is to know it.
        if records.current is not None:
            records.current = replace(records.current, state=State.STARTED, name=operation.name)
        return Outcome(Kind.TIMED_OUT, operation.name, operation, waited_s=waited_s)
