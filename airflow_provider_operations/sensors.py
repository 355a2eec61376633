"""The sensor that waits for an operation which something else has started."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_operations._airflow.compat import (
    AirflowRescheduleException,
    first_reschedule_date,
)
from airflow_provider_operations._airflow.states import is_last_try
from airflow_provider_operations._airflow.xcom import OPERATION_NAME_KEY
from airflow_provider_operations._connection.options import SERVICE_FIELDS
from airflow_provider_operations._lifecycle.record import SENSOR_RECORD_KEY, Record, State, is_moment
from airflow_provider_operations._lifecycle.task_state import Records
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import STOOD_STILL_S, Kind, Outcome
from airflow_provider_operations._protocol.polling import Outage
from airflow_provider_operations._protocol.request import name_text
from airflow_provider_operations._tasks.end_from_trigger import EndsFromTrigger
from airflow_provider_operations.exceptions import OperationSensorTimeout, OperationsError
from airflow_provider_operations.links import OperationLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_operations._protocol.outcome import Watch

__all__ = ["OperationSensor"]

_OUTAGE_KEY = "airflow_provider_operations_outage"
"""
Entry of the task state store about an outage: ``{"since_epoch_s": float, "announced": str | None, "due_epoch_s": float}``;
due is the next stay in a worker.
"""

SETTLING_PAUSE_S = 10.0
"""Longest pause in reschedule mode while a stay in a worker goes on, which it does for a minute at most."""


class OperationSensor(EndsFromTrigger, BaseSensorOperator):
    """
    Wait until an operation is done; return its response.

    Its verdict is the same in poke, reschedule and deferrable mode, and so is what ``soft_fail`` (skips when the
    operation failed, the time is up or the server refused), ``never_fail`` (skips whatever happened) and
    ``silent_fail`` (tolerates an outage until the time is up) make of it. XCom: ``operation_name``, and
    ``operation``, the final resource without the response.

    :param operation_name: e.g. the XCom ``operation_name`` of the task that started it. (templated)
    :param operations_conn_id: connection of type ``operations``. (templated)
    :param base_url: this, ``path_prefix``, ``cancel_suffix``, ``cancel_method``, ``error_format`` and
        ``wait_timeout_in``: instead of what the connection says. (all templated)
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none. (templated)
    :param api: an API of Google's, ``file`` or ``file:v1``: what neither the connection nor an argument says of host and
        spelling is looked up in a table. Or an ``ApiDocument`` of your own.
    :param endpoint: ``regional``: the API's address in the location that the operation's name has.
    :param deferrable: wait in the triggerer. ``None``: as ``[operators] default_deferrable``.
    :param poke_interval: longest pause between polls; they begin at half a second, but in reschedule mode, where
        each poll costs a worker start, every pause is this long. At least 1 s. If odd answers may come from a
        mistake in the task, a worker goes on polling for up to a minute in that mode, too, to find out.
    :param timeout: from the first poll on; default ``[sensors] default_timeout``, 7 days. ``execution_timeout``
        counts too, whichever is shorter.
    :param outage_tolerance: how long the server may give no usable answer; default 10 min. In reschedule mode Airflow 3.3
        or later is needed to remember an outage; before, one is tolerated until the time is up.
    :param cancel_on_kill: cancel the operation when the task is marked, cleared or terminated.
    :param cancel_on_timeout: cancel it when the time is up.
    :param poll_with: how the triggerer asks, instead of what the connection says: ``get``; ``list``, by one
        request for all under the same parent; ``wait``, which the server answers when it is done. A worker
        always uses ``get``.
    :param end_from_trigger: when deferrable, a success ends in the triggerer, without a second worker start (Airflow
        3.3 or later; ignored before). Whatever else happens still comes to a worker. Refused where something would
        be lost: ``outlets``, ``on_success_callback``, ``post_execute``, ``multiple_outputs``, listeners, a mapped
        task or the DAG's result depending on this one's.
    :param exponential_backoff: with ``max_wait``, as in every Airflow sensor; refused with ``deferrable=True``, and
        without effect where deferrable is the default.

    :raises OperationFailedFinal: the operation failed; a sensor's retry would find it failed again.
    :raises OperationSensorTimeout: it was not done in time.
    :raises OperationsCallError: no usable answer for too long; as OperationsCallErrorFinal: the operation is gone, or
        the server has refused from the first poll on.
    """

    template_fields: Sequence[str] = ("operation_name", *SERVICE_FIELDS)
    operator_extra_links = (OperationLink(),)
    ui_color = "#e0e7ff"

    timeout_class = OperationSensorTimeout

    def __init__(
        self,
        *,
        operation_name: str,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 30.0,
        cancel_on_kill: bool = False,
        cancel_on_timeout: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            deferrable=deferrable,
            poke_interval=poke_interval,
            cancel_on_kill=cancel_on_kill,
            cancel_on_timeout=cancel_on_timeout,
            **kwargs,
        )
        self.operation_name = operation_name
        if self.deferrable and (self.exponential_backoff or self.max_wait):
            problem = (
                "'exponential_backoff' and 'max_wait' have no effect when deferrable: the trigger's pauses "
                "grow from half a second to 'poke_interval' by themselves; leave them out"
            )
            if deferrable:
                raise ValueError(problem)
            # This DAG hasn't asked for it, and was fine before somebody configured all tasks to defer.
            warnings.warn(
                f"{self.task_id!r} is deferrable by default, and {problem}", UserWarning, stacklevel=3
            )
        if self.silent_fail:
            self.outage_tolerance = max(self.outage_tolerance, self.timeout)

    @property
    def _policy_decides(self) -> bool:
        """No policy makes a sensor's retry useful: it would find the operation failed again."""
        return False

    @property
    def _ends_as(self) -> type:
        return OperationSensor

    def execute(self, context: Context) -> Any:
        """Poll; then wait here, be rescheduled, or hand the waiting over to a trigger."""
        self.link_to_console = ""  # Airflow has deleted the XCom of an earlier try or stay
        self._check_end_from_trigger()
        self._begin_stay(context)
        with self._softened():
            self.operation_name = name_text(self.operation_name, "operation name")
            first = self._rescheduled_since(context)
            started_epoch_s = clock.now() if first is None else first
            outage = Outage(self.outage_tolerance)
            if first is not None:
                self._tolerate(lambda: _recall(context, outage))
            watch = self._watch_for(self.operation_name, started_epoch_s, created_epoch_s=None, outage=outage)
            watch.found = first is not None  # else an earlier stay would have gone on
            try:
                self._hold(self.operation_name)
                self._push_link(context, self.operation_name)
                outcome = self._wait(context, watch)
            except AirflowTaskTimeout:
                self._stay_ends_s = math.inf
                waited_s = clock.now() - started_epoch_s
                outcome = Outcome(Kind.TIMED_OUT, watch.name, watch.last_seen, waited_s=waited_s)
            return self._deliver(context, outcome)

    def _wait(self, context: Context, watch: Watch) -> Outcome:
        polls = 0
        outage = watch.outage
        in_outage_before = outage.since_epoch_s is not None
        first_stay = not watch.found  # else an earlier one has polled

        def pause(seconds: float) -> None:
            nonlocal polls
            if polls == 0:
                self._push(context, OPERATION_NAME_KEY, watch.name)
                if first_stay:
                    self._note(context, watch)
            if self.deferrable:
                self._defer_for(watch)
            polls += 1
            # The next stay would not know which answers were odd in this one.
            settling = self.reschedule and watch.in_doubt(clock.now())
            pause_s = min(seconds, SETTLING_PAUSE_S) if settling else self._pause(watch, seconds, polls)
            if self.reschedule and not settling:
                due = clock.now() + pause_s
                if in_outage_before or outage.since_epoch_s is not None:
                    self._tolerate(lambda: _remember(context, outage, due))
                self._leave(watch.name)
                raise AirflowRescheduleException(datetime.fromtimestamp(due, timezone.utc))
            watch.pauses(pause_s, clock.now())
            clock.sleep(pause_s)

        return self.hook.watch(watch, pause=pause)

    def _note(self, context: Context, watch: Watch) -> None:
        """Leave a record to those who look after operations that no task waits for, if this one is to be cancelled then."""
        if not self._may_be_swept:
            return
        records = Records(context, self.log, SENSOR_RECORD_KEY)
        record = Record(
            State.STARTED,
            records.max_tries,
            records.try_number,
            request_id="",
            digest="",
            started_epoch_s=watch.started_epoch_s,
            deadline_epoch_s=watch.deadline_epoch_s or 0.0,
            name=watch.name,
            **self._for_a_sweep(),
        )
        self._tolerate(lambda: records.write(record))

    def _ends_by(self, error: Exception, context: Context) -> bool:
        """Tell whether an error ends the task itself, so that its state says nothing of a kill."""
        final = isinstance(error, AirflowFailException) or self._will_fail(error)
        return final or self.never_fail or is_last_try(context["ti"])

    def _take_back_note(self, context: Context) -> None:
        """Note that the operation goes on although no task waits for it: a sensor that gives up on a service leaves it."""
        if not self._may_be_swept:
            return
        records = Records(context, self.log, SENSOR_RECORD_KEY)
        if (record := records.read()) is not None:
            records.write(replace(record, cancel_if_orphaned=False))

    def _tolerate(self, use_store: Callable[[], None]) -> None:
        """Use Airflow's task state store for a note that is worth no wait, and without which the sensor waits as well."""
        try:
            use_store()
        except Exception as error:  # whatever the store raises
            self.log.warning("a note in Airflow's task state store could not be read or written: %r", error)

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once; return whether it is done, with the response, or raise what is wrong."""
        watch = self._watch_for(self.operation_name, clock.now(), None)
        outcome = watch.judge(self.hook.poll(watch.name), clock.now())
        if isinstance(outcome, Outcome):
            return PokeReturnValue(is_done=True, xcom_value=self._deliver(context, outcome))
        return PokeReturnValue(is_done=False)

    def execute_complete(
        self, context: Context, event: Any = None, operation_name: str = "", started_epoch_s: float = 0.0
    ) -> Any:
        """
        Resume with the trigger's event.

        A task that was cleared while it resumed gets the old trigger's event once more; it is ignored if the task has
        another operation by now.
        """
        self.operation_name = name_text(self.operation_name, "operation name")
        if operation_name and operation_name != self.operation_name:
            self.log.info("the trigger's event is about %s; polling %s", operation_name, self.operation_name)
            return self.execute(context)
        return self._deliver(context, self._outcome_of(event, operation_name, started_epoch_s))

    def _deliver(self, context: Context, outcome: Outcome) -> Any:
        try:
            result = super()._deliver(context, outcome)
        except OperationsError as error:
            if outcome.kind is Kind.CALL_FAILED and not self._ends_by(error, context):
                self._leave(outcome.name)
            else:
                self._held = None  # dealt with as asked: a kill doesn't cancel it any more
                if outcome.kind is Kind.CALL_FAILED:
                    self._tolerate(lambda: self._take_back_note(context))
            raise
        self._held = None
        return result

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; ``soft_fail`` and ``never_fail`` as in the other modes, not as in Airflow's base class."""
        with self._softened():
            return super().resume_execution(next_method, next_kwargs, context)

    def _pause(self, watch: Watch, pause_s: float, polls: int) -> float:
        """Return the pause in seconds: Airflow's backoff if asked for, in reschedule mode the poke interval."""
        if self.exponential_backoff:
            started: Any = watch.started_epoch_s
            backoff_s = self._get_next_poke_interval(
                started, lambda: clock.now() - watch.started_epoch_s, polls
            )
            pause_s = max(float(backoff_s), 0.0)
        elif self.reschedule:
            pause_s = max(self.poke_interval, pause_s)
        if watch.deadline_epoch_s is not None:
            pause_s = min(pause_s, max(watch.deadline_epoch_s - clock.now(), 0.0))
        return pause_s

    def _rescheduled_since(self, context: Context) -> float | None:
        if not self.reschedule or self.deferrable:
            return None
        first = first_reschedule_date(context, self.retries or 0)
        return first.timestamp() if first else None

    @contextmanager
    def _softened(self) -> Iterator[None]:
        try:
            yield
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (AirflowFailException, AirflowSensorTimeout) as error:
            self._skip_if(self.soft_fail, "soft_fail", error)
            self._skip_if(self.never_fail, "never_fail", error)
            raise
        except Exception as error:
            self._skip_if(self.never_fail, "never_fail", error)
            raise

    @staticmethod
    def _skip_if(skips: bool, argument: str, error: Exception) -> None:
        if skips:
            raise AirflowSkipException(f"Skipping, as {argument} is set: {error}") from error


def _recall(context: Context, outage: Outage) -> None:
    """Restore the outage that earlier stays of this try have stored."""
    store: Any = context.get("task_state_store")
    noted = store.get(_OUTAGE_KEY) if store is not None else None
    if not isinstance(noted, dict):  # others may have edited it
        return
    since, announced, due = map(noted.get, ("since_epoch_s", "announced", "due_epoch_s"))
    if is_moment(since) and noted.get("try_number") == context["ti"].try_number:
        outage.since_epoch_s = since
        if isinstance(announced, str):
            outage.announced = announced
        if (
            is_moment(due) and (late_s := clock.now() - due) > STOOD_STILL_S
        ):  # no slot or no worker: nobody polled
            outage.leave_out(late_s)


def _remember(context: Context, outage: Outage, due_epoch_s: float) -> None:
    store: Any = context.get("task_state_store")
    if store is None:
        return
    if outage.since_epoch_s is None:
        store.delete(_OUTAGE_KEY)
    else:
        noted = {
            "since_epoch_s": outage.since_epoch_s,
            "announced": outage.announced,
            "due_epoch_s": due_epoch_s,
            "try_number": context["ti"].try_number,
        }
        store.set(_OUTAGE_KEY, noted)
