"""
What all tasks that wait for an operation share: arguments, deferring, what a kill does, the result or error.

A "stay" is the time that a task spends in one worker process: a try that defers or reschedules has several. Above the
hook a failure is an exception; this is the one place where a worker turns an outcome into the task's result or error.
"""

from __future__ import annotations

import math
import time
import warnings
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
)

from airflow_provider_operations._airflow.compat import (
    EXECUTION_TIMEOUT_SPANS_STAYS,
    KILLED_WORKERS_MAY_ASK,
    LINKS_ARE_MADE_LAST,
    TASKS_HAVE_RETRY_POLICIES,
    is_trigger_timeout,
    spent_of_execution_timeout_s,
    task_state,
)
from airflow_provider_operations._airflow.states import is_last_try, is_over, place_of
from airflow_provider_operations._airflow.xcom import (
    LINK_KEY,
    OPERATION_KEY,
    OPERATION_NAME_KEY,
    operation_xcom,
    storable,
)
from airflow_provider_operations._connection.console_url import page
from airflow_provider_operations._connection.options import ServiceOptions
from airflow_provider_operations._lifecycle.cancelled_by import CANCELLED_BY_KEY, by_whom
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.names import location_in
from airflow_provider_operations._protocol.outcome import (
    Kind,
    Outcome,
    UnreadableEvent,
    Watch,
    cancelled,
    since_then,
)
from airflow_provider_operations._protocol.polling import POLL_WITH, Outage, Schedule, as_seconds
from airflow_provider_operations._protocol.request import name_text
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._tasks.api import checked_api, endpoint_of
from airflow_provider_operations._tasks.cancel import CANCEL_OUTAGE_S, SETTLE_LIMIT_S, cancel
from airflow_provider_operations.exceptions import (
    OperationCancelled,
    OperationEventError,
    OperationsError,
    OperationTimeout,
    error_of,
    error_of_call,
)
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.definitions.retry_policy import RetryPolicy

    from airflow_provider_operations._google_apis.own import ApiDocument
    from airflow_provider_operations.exceptions import OperationsCallError
    from airflow_provider_operations.hooks.worker import WorkerClient

__all__ = ["BACKSTOP_S", "BaseOperationOperator", "as_flag"]

MIN_POKE_INTERVAL_S = 1.0
BACKSTOP_S = 90.0
"""Airflow's own trigger timeout comes this much after the trigger's deadline, in case the trigger is dead."""

KILL_BUDGET_S = 4.0
"""How long a kill may take in all: Airflow sends SIGKILL 5 s after SIGTERM."""

LOOK_LIMIT_S = 1.0
"""How long a kill waits for the poll before the cancel: what is done already isn't cancelled."""

CANCEL_CALL_S = 1.0
"""How much of ``KILL_BUDGET_S`` is kept for the cancel call itself."""

DECIDE_IN_S = 0.5
"""
How long the signal handler waits for Airflow's answer, which may never come: the handler may have interrupted a call
to Airflow that would have to finish first.
"""

RESUME_S = 60.0
"""How long it may take until a resumed task runs in a worker."""

STAY_MARGIN_S = 1.0
"""How much of ``execution_timeout`` is kept back for failing the task, once the operation was cancelled."""


_deciding_kill = Lock()
"""Held while it is decided whether a process that got SIGTERM cancels its operation or leaves it to others."""

_LINK_ARGUMENT = "link_to_console"
_FOREIGN_ARGUMENT = "foreign"
"""What a task that defers passes to its next stay, beside the arguments of ``execute_complete``."""


class BaseOperationOperator(BaseOperator):
    """
    A task that waits for an operation.

    :param operations_conn_id: connection of type ``operations``. (templated)
    :param base_url: this and the next five: instead of what the connection says. (all six templated)
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none. (templated)
    :param api: an API of Google's (``file``, ``file:v1``): what is said nowhere else is looked up in a table. Or an
        ``ApiDocument`` of your own.
    :param endpoint: ``regional``: the address of the location, where there is one.
    :param deferrable: wait in the triggerer. ``None``: as ``[operators] default_deferrable``.
    :param outage_tolerance: how long the server may give no usable answer; default 10 min.
    :param cancel_on_kill: cancel the operation when the task is marked, cleared or terminated.
    :param cancel_on_timeout: cancel it when the time is up.
    :param poll_with: how the triggerer asks: ``get``, ``list`` or ``wait``; ``None``: as the connection says.
    :param retry_policy: decides about every error (Airflow 3.3 or later; before, a warning says that it has no
        effect).
    """

    operation_name: str
    """Only of subclasses that wait for an operation which something else has started."""
    poke_interval: float
    timeout: float
    defer_after: float = 0.0
    """How long a deferrable task waits in its worker before it defers, in seconds from the start of its operation."""

    timeout_class: type[OperationTimeout] = OperationTimeout

    _hook: WorkerClient | None = None
    _held: Future[Operation] | None = None
    """The operation that a kill of this process cancels; pending while its start call is under way."""
    _killed: bool = False
    _cancelled: bool = False
    """Whether a kill is cancelling the operation, or has cancelled it."""
    _killing: Thread | None = None
    _task_instance: Any = None
    _left_to_later: str = ""
    """The operation that a kill leaves to a trigger or the next try; ``see_after_its_end`` checks that there is one."""
    link_to_console: str | None = None
    """The link as this process knows it, empty if there is none; ``None``: an earlier stay may have pushed one."""
    _follows_foreign: bool | None = None
    """Whether the operation is another's, as this stay or the one before knows; ``None``: a record may say it."""
    _stay_ends_s: float = math.inf
    """When ``execution_timeout`` ends this stay, by ``time.monotonic``; infinite once it has raised."""
    _stay_began_epoch_s: float = 0.0
    _spent_s: float = 0.0
    """How much of ``execution_timeout`` had passed when this stay began."""

    def __init__(
        self,
        *,
        operations_conn_id: str = "operations_default",
        base_url: str | None = None,
        path_prefix: str | None = None,
        cancel_suffix: str | None = None,
        cancel_method: str | None = None,
        error_format: int | None = None,
        wait_timeout_in: str | None = None,
        scopes: str | None = None,
        api: str | ApiDocument | None = None,
        endpoint: str | None = None,
        deferrable: bool | None = None,
        outage_tolerance: timedelta | float = 600.0,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        poll_with: str | None = None,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_policy_argument(retry_policy), **kwargs)
        if poll_with not in {None, *POLL_WITH}:
            raise ValueError(f"'poll_with' is one of {', '.join(POLL_WITH)}, not {poll_with!r}")
        self.operations_conn_id = operations_conn_id
        self.base_url = base_url
        self.path_prefix = path_prefix
        self.cancel_suffix = cancel_suffix
        self.cancel_method = cancel_method
        self.error_format = error_format
        self.wait_timeout_in = wait_timeout_in
        self.scopes = scopes
        self.api = None if api is None else checked_api(api)
        self.endpoint = endpoint_of(api, endpoint)
        self.deferrable = _as_deferrable(deferrable)
        self.outage_tolerance = as_seconds("outage_tolerance", outage_tolerance)
        self.cancel_on_kill = as_flag("cancel_on_kill", cancel_on_kill)
        self.cancel_on_timeout = as_flag("cancel_on_timeout", cancel_on_timeout)
        self.poll_with = poll_with

    # --- before waiting ------------------------------------------------------------------------------------

    @property
    def _policy_decides(self) -> bool:
        """Whether a ``retry_policy`` decides: then no Final errors are raised, as Airflow asks no policy about those."""
        return getattr(self, "retry_policy", None) is not None

    def _will_fail(self, error: Exception) -> bool:
        """Tell whether an error fails the task although retries are left; a policy that isn't ours isn't asked."""
        policy = getattr(self, "retry_policy", None)
        if policy is None:
            return isinstance(error, AirflowFailException)
        fails = getattr(policy, "fails", None)
        return bool(fails(error)) if callable(fails) else False

    def _error_of_call(
        self, failure: CallFailure, name: str | None = None, *, final: bool
    ) -> OperationsCallError:
        return error_of_call(failure, name, final=final, may_be_final=not self._policy_decides)

    @property
    def _is_foreign(self) -> bool:
        """Whether the task follows an operation that something else has started, and that it may never cancel."""
        return False

    @property
    def _kill_cancels(self) -> bool:
        return self.cancel_on_kill and not self._is_foreign

    @property
    def _timeout_cancels(self) -> bool:
        return self.cancel_on_timeout and not self._is_foreign

    @property
    def hook(self) -> WorkerClient:
        """What an ``OperationsHook`` is without the http provider's part; it is made once."""
        return self._look_up_connection()

    def _look_up_connection(self) -> WorkerClient:
        """Return the client, its connection looked up now: in a signal handler, that could deadlock."""
        if self._hook is None:
            from airflow_provider_operations.hooks.worker import WorkerClient

            hook = WorkerClient(**{**ServiceOptions.of(self).arguments(), **self._api_arguments()})
            hook.look_up()
            if self.api is not None:  # what a trigger is given, and what is shown, needs no table
                for field, value in hook.options.arguments().items():
                    setattr(self, field, value)
            self._hook = hook
        return self._hook

    def _api_arguments(self) -> dict[str, Any]:
        """Return the hook's arguments about the API of Google's that the task is for."""
        if self.api is None:
            return {}
        return {"api": self.api, "endpoint": self.endpoint, "location": self._location()}

    def _location(self) -> str | None:
        """Return the location in the name of the operation."""
        return location_in(str(self.operation_name))

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """
        Render the arguments; what a table says beside them is shown as if it had been an argument.

        Airflow calls this for every task, and ``render_template_fields`` only for one that isn't mapped.
        """
        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is self and self.api is not None:
            with suppress(Exception):  # it fails once more when it is needed, and is reported then
                self._look_up_connection()

    @property
    def _may_be_swept(self) -> bool:
        """Whether its operation may be cancelled when no task waits for it: who finds it can't tell a mark from giving up."""
        return self.cancel_on_kill and self.cancel_on_timeout

    def _for_a_sweep(self, *, foreign: bool = False) -> dict[str, Any]:
        """Return what a record says to those who find it when no task waits for its operation any more."""
        service = self.hook.options.arguments()
        return {"cancel_if_orphaned": self._may_be_swept and not foreign, "service": service}

    def _deadline_epoch_s(self, started_epoch_s: float) -> float:
        limits = [self.timeout]
        if self.execution_timeout is not None:
            limit_s = self.execution_timeout.total_seconds()
            if EXECUTION_TIMEOUT_SPANS_STAYS and self.deferrable:
                # A worker has to resume the task before: later, Airflow fails the task before it calls our code.
                # What of it had passed before this stay, but after the start, is in the deadline already.
                since_start_s = max(self._stay_began_epoch_s - started_epoch_s, 0.0)
                limit_s -= min(RESUME_S, limit_s / 5) + max(self._spent_s - since_start_s, 0.0)
            limits.append(limit_s)
        return started_epoch_s + min(limits)

    def _watch_for(
        self,
        name: str,
        started_epoch_s: float,
        created_epoch_s: float | None,
        *,
        deadline_epoch_s: float | None = None,
        outage: Outage | None = None,
    ) -> Watch:
        return Watch(
            name,
            Schedule(maximum_s=max(self.poke_interval, MIN_POKE_INTERVAL_S)),
            outage or Outage(self.outage_tolerance),
            started_epoch_s=started_epoch_s,
            created_epoch_s=created_epoch_s,
            deadline_epoch_s=deadline_epoch_s or self._deadline_epoch_s(started_epoch_s),
            due_epoch_s=clock.now(),
        )

    def _wait_for(self, watch: Watch, seen: Operation | CallFailure | None = None) -> Outcome:
        """
        Wait in this worker, or hand the watch over to a trigger, which doesn't return.

        :param seen: what is known of the operation already, for example from the answer to its start.
        """
        now = clock.now()
        # No longer than asked for, whatever the clock says that has noted the start.
        defers_at_s = now + min(max(watch.started_epoch_s + self.defer_after - now, 0.0), self.defer_after)

        def pause(seconds: float) -> None:
            if self.deferrable:
                seconds = self._pause_before_deferring(watch, seconds, defers_at_s)
            clock.sleep(seconds)

        return self.hook.watch(watch, seen=seen, pause=pause)

    def _pause_before_deferring(self, watch: Watch, seconds: float, defers_at_s: float) -> float:
        """
        Return how long to sleep until the next poll here; defer where it is time to, which doesn't return.

        The last poll comes when ``defer_after`` is over, but not before the service has asked for one.
        """
        now = clock.now()
        left_s = defers_at_s - now
        in_outage = watch.outage.since_epoch_s is not None
        if left_s <= 0 or (in_outage and seconds > left_s):
            self._defer_for(watch)
        if seconds > left_s:
            seconds = left_s
            watch.pauses(seconds, now)
        return seconds

    def _defer_for(self, watch: Watch) -> None:
        """Hand the watch over to a trigger; doesn't return."""
        from airflow_provider_operations.triggers import OperationTrigger

        deadline_epoch_s = watch.deadline_epoch_s or self._deadline_epoch_s(watch.started_epoch_s)
        trigger = OperationTrigger(
            watch.name,
            **ServiceOptions.of(self).arguments(),
            poke_interval=max(self.poke_interval, MIN_POKE_INTERVAL_S),
            started_epoch_s=watch.started_epoch_s,
            deadline_epoch_s=deadline_epoch_s,
            outage_tolerance_s=watch.outage.tolerance_s,
            cancel_on_kill=self._kill_cancels,
            poll_with=self.poll_with,
            end_from_trigger=self._trigger_ends(),
            # The trigger's default isn't stored.
            owner=self._owner if self._kill_cancels else "record",
            found=watch.found,
        )
        trigger.before_deferring = partial(self._before_deferring, watch.name)
        left = max(deadline_epoch_s - clock.now(), 0.0)
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={
                "operation_name": watch.name,
                "started_epoch_s": watch.started_epoch_s,
                _LINK_ARGUMENT: self.link_to_console,
                **({_FOREIGN_ARGUMENT: self._is_foreign} if self._may_be_foreign else {}),
            },
            timeout=timedelta(seconds=left + BACKSTOP_S),
        )

    @property
    def _may_be_foreign(self) -> bool:
        """Whether a later stay has to be told whose the operation is."""
        return False

    def _trigger_ends(self) -> bool | str:
        """Return the trigger's ``end_from_trigger``."""
        return False

    @property
    def _owner(self) -> str:
        """Return the trigger's ``owner``: whose the operation is."""
        return "sensor"

    def _before_deferring(self, name: str) -> None:
        """
        Refuse to defer in a worker that got SIGTERM and cancels the operation.

        :raises OperationsError: to be retried.
        """
        asks_later = LINKS_ARE_MADE_LAST and self._has_last_moment
        if self._killing is not None:
            self._killing.join(KILL_BUDGET_S)
        with _deciding_kill:
            if asks_later and not self._cancelled:
                self._left_to_later = name  # before the next line reads: a signal may come at any
        if self._cancelled or (self._killed and self._kill_cancels and not asks_later):
            raise OperationsError(f"operation {name} was cancelled, as its worker was told to end")

    @property
    def _has_last_moment(self) -> bool:
        """Whether Airflow will call ``see_after_its_end``, by our link; a subclass may have other links instead."""
        links: Any = getattr(self, "operator_extra_links", ())
        return any(getattr(link, "xcom_key", None) == LINK_KEY for link in links)

    def _leave(self, name: str) -> None:
        """
        Leave the operation to a later stay of this task, so that a kill of this process doesn't cancel it.

        It may still be killed: Airflow ends a process whose callbacks take long, and evicts one at any moment.
        """
        if LINKS_ARE_MADE_LAST and self._has_last_moment:
            self._left_to_later = name
        else:
            self._held = None

    def see_after_its_end(self, task_instance: Any) -> None:
        """
        Cancel the operation that was left to a trigger or a later try, if neither will come.

        ``OperationLink`` calls this, the last that Airflow runs in a worker's process. By then Airflow has accepted the
        task's deferral or retry, or has refused it because somebody acted on the task meanwhile. It doesn't say which,
        so the task's state is read, once. That a report was lost need not be feared: Airflow repeats it.
        """
        name = self._left_to_later
        if not name or not self._kill_cancels:
            return
        try:
            state = task_state(place_of(task_instance))
        except Exception as error:  # of Airflow's API
            self.log.warning(
                "%s: not cancelled: Airflow didn't tell what became of the task (%s)", name, error
            )
            return
        if self._ends_in(state) or (
            self._owner == "task" and state not in {"deferred", "running", "success"}
        ):
            shown = "gone" if state is None else state
            self.log.warning("%s: the task is %s; %s", name, shown, self._cancel_late(name))

    # --- the end -------------------------------------------------------------------------------------------

    def _outcome_of(self, event: Any, operation_name: str, started_epoch_s: float) -> Outcome:
        """
        Read the trigger's event; an operation that was too large for it is polled again.

        Without any event the wait goes on: Airflow resumes a task like that whose DAG file has lacked it for a moment.

        :raises OperationEventError: the event can't be read.
        """
        if event is None and operation_name:
            self.log.warning(
                "%s: resumed without an event of its trigger, so the wait goes on", operation_name
            )
            self._hold(operation_name)
            began_s = started_epoch_s or clock.now()
            deadline_s = self._noted_deadline_epoch_s()
            return self._wait_for(
                self._watch_for(operation_name, began_s, began_s, deadline_epoch_s=deadline_s)
            )
        try:
            outcome = Outcome.from_event(event)
        except UnreadableEvent as error:
            raise OperationEventError(
                f"operation {operation_name}: the trigger's event can't be read: {error}"
            ) from error
        if outcome.kind is not Kind.DONE:
            # The outcome itself says what is wrong with a connection.
            with suppress(AirflowNotFoundException, ValueError):
                self._hold(outcome.name)
        if outcome.kind is Kind.DONE and outcome.operation is None:
            self.log.info("%s: too large for the trigger's event, asking again", outcome.name)
            # dag.test and "airflow tasks test" resume a task with the event and nothing else.
            # The trigger has seen its end, in time.
            began_s = started_epoch_s or clock.now()
            watch = self._watch_for(outcome.name, began_s, created_epoch_s=None, deadline_epoch_s=math.inf)
            watch.found = True
            outcome = replace(self.hook.watch(watch), waited_s=outcome.waited_s)
        return outcome

    def _noted_deadline_epoch_s(self) -> float | None:
        """Return the deadline of the operation as an earlier stay has noted it."""
        return None

    def _deliver(self, context: Context, outcome: Outcome) -> Any:
        """
        Return the response of a successful operation; raise for anything else.

        :raises OperationFailed: also as OperationCancelled, and their Final twins.
        :raises OperationTimeout: after cancelling, where asked to.
        :raises OperationsCallError: the server was out of reach for too long, or refused.
        """
        if outcome.operation is not None:
            self._push_or_log(context, OPERATION_KEY, operation_xcom(outcome.operation))
        note = None
        if outcome.kind is Kind.TIMED_OUT:
            note, over = "it goes on running", None
            if self._timeout_cancels:
                note, over = self._end_late(outcome.name)
            # The last polls were in vain, and this one isn't. A cancel may be this task's own.
            if outcome.failure is not None and over is not None and not cancelled(over):
                self.log.info("%s: its time is up, and %s", outcome.name, note)
                self._push_or_log(context, OPERATION_KEY, operation_xcom(over))
                outcome = replace(outcome, kind=Kind.DONE, operation=over, failure=None)
        error = error_of(
            outcome,
            final=self._is_final,
            may_be_final=not self._policy_decides,
            timeout_class=self.timeout_class,
            note=note,
        )
        if isinstance(error, OperationCancelled) and not self._cancelled:
            error.note = by_whom(outcome.name, self._pulled(context, CANCELLED_BY_KEY))
        if error is not None or outcome.operation is None:
            raise error or OperationEventError(f"operation {outcome.name}: its end is unknown")
        self.log.info("%s: succeeded after %s", outcome.name, outcome.elapsed)
        return storable(outcome.operation.response)

    def _is_final(self, failed: Operation | CallFailure) -> bool:
        """Tell whether a failed operation or call is final; after our own cancel nothing is."""
        if self._cancelled:
            return False
        return not failed.transient if isinstance(failed, CallFailure) else True

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where the trigger or this stay missed the deadline, end the wait as the trigger would have."""
        self._begin_stay(context)
        given = dict(next_kwargs or {})
        self.link_to_console = given.pop(_LINK_ARGUMENT, None)
        self._follows_foreign = given.pop(_FOREIGN_ARGUMENT, None)
        try:
            # Not super(): the sensors' base class would make a time-out of its own of this one, and skip on
            # errors on which it doesn't skip in poke mode.
            return BaseOperator.resume_execution(self, next_method, given, context)
        except AirflowTaskTimeout:
            name = str(given.get("operation_name") or "")
            if not name:
                raise
            self._stay_ends_s = math.inf
            waited_s = max(clock.now() - float(given.get("started_epoch_s") or clock.now()), 0.0)
            return self._deliver(context, Outcome(Kind.TIMED_OUT, name, waited_s=waited_s))
        except Exception as error:
            if not is_trigger_timeout(error):
                raise
            return self._deliver_timeout_of_trigger(context, self._own_name(context))

    def _deliver_timeout_of_trigger(self, context: Context, name: str) -> Any:
        return self._deliver(context, self._trigger_timed_out(name))

    def pre_execute(self, context: Any) -> None:
        """Remember a deferred task's operation: 2.11 may fail the task before ``execute``, and then calls ``on_kill``."""
        super().pre_execute(context)
        ti = context["ti"]
        if EXECUTION_TIMEOUT_SPANS_STAYS and self.cancel_on_kill and getattr(ti, "next_method", None):
            self._follows_foreign = (ti.next_kwargs or {}).get(_FOREIGN_ARGUMENT)
            name = (ti.next_kwargs or {}).get("operation_name") or self._own_name(context)
            if name:
                self._hold(str(name))

    def _begin_stay(self, context: Context) -> None:
        """Note whose stay in a worker this is, and when Airflow's ``execution_timeout`` will end it."""
        self._task_instance = context["ti"]
        self._stay_began_epoch_s = clock.now()
        if self.execution_timeout is not None:
            self._spent_s = spent_of_execution_timeout_s(context)
            self._stay_ends_s = time.monotonic() + self.execution_timeout.total_seconds() - self._spent_s

    def _push_link(self, context: Context, name: str) -> None:
        """Let Airflow show the link to the service's page about the operation, if the connection says where it is."""
        self.link_to_console = page(self.hook.settings.console_url, name) or ""
        if self.link_to_console:
            self._push_or_log(context, LINK_KEY, self.link_to_console)

    def _push(self, context: Context, key: str, value: Any) -> None:
        context["ti"].xcom_push(key=key, value=value)

    def _push_or_log(self, context: Context, key: str, value: Any) -> None:
        """Push an XCom that the task can do without: a failure is only logged."""
        try:
            self._push(context, key, value)
        except Exception as error:  # of Airflow or of any XCom backend
            self.log.warning("the XCom %r could not be pushed: %s", key, type(error).__name__)

    def _pulled(self, context: Context, key: str) -> Any:
        """
        Return an XCom of this task, which need not exist; of a mapped task, those of all its instances.

        Asked for one instance's, Airflow would log an error where it doesn't exist.
        """
        ti = context["ti"]
        try:
            return ti.xcom_pull(task_ids=ti.task_id, key=key)
        except Exception:  # of Airflow or of any XCom backend; the verdict doesn't hang on it
            return None

    def _own_name(self, context: Context) -> str:
        """
        Return the operation that this task deferred for; empty where that is lost.

        The task's argument says which, and not the XCom, which others may edit. The XCom only shows whether the
        argument was rendered to another name when the task deferred.

        :raises InvalidName: the argument is none.
        """
        name, said = name_text(self.operation_name, "operation name"), self._name_in_xcom(context)
        return name if said in {"", name} else ""

    def _name_in_xcom(self, context: Context) -> str:
        """Return the operation that the task's XCom names."""
        ti = context["ti"]
        name = ti.xcom_pull(task_ids=ti.task_id, key=OPERATION_NAME_KEY, map_indexes=ti.map_index)
        return str(name or "")

    def _trigger_timed_out(self, name: str) -> Outcome:
        """Take over from a trigger that missed its own deadline, so that Airflow's timeout ended it."""
        if not name:
            raise OperationEventError("the trigger timed out, and which operation it waited for is lost")
        seen = self.hook.poll(name)
        limit_s = self._deadline_epoch_s(0.0)
        if isinstance(seen, CallFailure):
            kind = Kind.CALL_FAILED if seen.says_missing else Kind.TIMED_OUT
            return Outcome(kind, name, failure=seen, waited_s=limit_s)
        return Outcome(Kind.DONE if seen.done else Kind.TIMED_OUT, name, seen, waited_s=limit_s)

    def _hold(self, name: str) -> None:
        """
        Remember an operation that may be running, so that a kill cancels it.

        :raises OperationsError: the kill came before this; the operation is cancelled here.
        """
        self._look_up_connection()
        known = self._held is not None
        operation: Future[Operation] = Future()
        operation.set_result(Operation(name))
        self._held = operation
        if self._killed and not known and self._kill_cancels and self._kill_ends(name, 0.0):
            self._cancelled = True
            raise OperationsError(f"operation {name}: the task was killed; {self._cancel_late(name)}")

    # --- cancelling ----------------------------------------------------------------------------------------

    def _cancel_late(self, name: str) -> str:
        """Cancel an operation that nobody will wait for; say what became of it."""
        return self._end_late(name)[0]

    def _end_late(self, name: str) -> tuple[str, Operation | None]:
        """Cancel an operation, unless it is over: then return it, too. Say what became of it."""
        left_s = max(self._stay_ends_s - time.monotonic() - STAY_MARGIN_S, 0.1)
        try:
            # Its own session: a time-out may have interrupted the hook's at any point.
            with self.hook.detached(timeout_s=left_s / 2) as hook:
                if isinstance(seen := hook.poll(name), Operation) and seen.done:
                    return since_then(seen), seen
                outage_s, settle_s = min(CANCEL_OUTAGE_S, left_s / 4), min(SETTLE_LIMIT_S, left_s / 4)
                return cancel(hook, name, outage_s, settle_s).note, None
        except (AirflowNotFoundException, ValueError) as error:
            return f"it could not be cancelled and may still run: {error}", None

    def on_kill(self) -> None:
        """
        Cancel the operation, unless the task goes on without this worker; Airflow calls this on SIGTERM.

        It runs in a signal handler, which may have interrupted the main thread anywhere, so the work has a thread and a
        session of its own.
        """
        self._killed = True
        if self._left_to_later:  # ``see_after_its_end`` sees to it
            return
        if not self._kill_cancels or self._hook is None or self._held is None:
            return
        if self._killing is not None and self._killing.is_alive():
            return
        decided = Event()
        self._killing = Thread(
            target=self._cancel_killed,
            args=(self._hook.detached(), self._held, decided),
            name="cancel",
            daemon=True,
        )
        self._killing.start()
        if decided.wait(DECIDE_IN_S):
            self._killing.join(KILL_BUDGET_S)

    def _cancel_killed(self, hook: WorkerClient, starting: Future[Operation], decided: Event) -> None:
        deadline_s = time.monotonic() + KILL_BUDGET_S
        if not wait([starting], KILL_BUDGET_S).done:
            self.log.error("killed while the start was unanswered: an operation may be running")
            return
        if starting.exception() is not None:  # nothing was started; the main thread says why
            return
        name = starting.result().name
        with hook:
            if not self._kill_ends(name, max(deadline_s - time.monotonic() - CANCEL_CALL_S, 0.0)):
                return
            with _deciding_kill:
                if self._left_to_later:  # the task has come to its deferral, or its end, meanwhile
                    return
                self._cancelled = True
            decided.set()
            with hook.detached(timeout_s=LOOK_LIMIT_S) as brief:
                seen = brief.poll(name)
            if isinstance(seen, Operation) and seen.done:
                self.log.info("%s: nothing to cancel, %s", name, since_then(seen))
                return
            left_s = max(deadline_s - time.monotonic(), CANCEL_CALL_S)
            note = cancel(hook, name, left_s / 2, left_s / 2, within_s=left_s).note
        self.log.info("%s: the task was killed; %s", name, note)

    def _kill_ends(self, name: str, within_s: float) -> bool:
        """
        Tell whether a kill is to cancel the operation; blocks while Airflow doesn't answer.

        A worker gets SIGTERM when a user acts on its task, but also when it is evicted, when it can't reach Airflow for
        half a minute, and when it stood still for so long that a retry has its task by now. Only the task's state shows
        which it is. An operation that no later try knows is cancelled in any case.

        :param within_s: how long the main thread may still take to store what it has just started.
        """
        if not (
            KILLED_WORKERS_MAY_ASK and self._task_instance is not None and self._retry_knows_it(within_s)
        ):
            return True
        try:
            state = task_state(place_of(self._task_instance))
        except Exception as error:  # of Airflow's API
            told = f"Airflow doesn't say what became of the task ({error})"
        else:
            if self._ends_in(state):
                return True
            told = f"the task is {state}"
        self.log.warning(
            "%s: NOT cancelled, as the task's next try sees to it: this process is told to end, and %s",
            name,
            told,
        )
        return False

    def _ends_in(self, state: str | None) -> bool:
        """Tell whether a task in this state waits for its operation no more; ``None``: it is gone."""
        return is_over(state)

    def _retry_knows_it(self, within_s: float) -> bool:  # noqa: ARG002  for what has to be noted first
        """Tell whether a later try goes on with the operation that this process holds, or will in ``within_s``."""
        return not is_last_try(self._task_instance)


def _policy_argument(retry_policy: Any) -> dict[str, Any]:
    """Return the argument for ``BaseOperator``, which before Airflow 3.3 takes none: then warn instead."""
    if retry_policy is None:
        return {}
    if TASKS_HAVE_RETRY_POLICIES:
        return {"retry_policy": retry_policy}
    _warn_of_policy()
    return {}


@cache
def _warn_of_policy() -> None:
    warnings.warn(
        "'retry_policy' needs Airflow 3.3 or later and has no effect: tasks are retried as without it",
        UserWarning,
        stacklevel=4,
    )


def _as_deferrable(asked: bool | None) -> bool:
    """Return whether a task defers: as asked, else as Airflow's configuration says for all."""
    if asked is None:
        return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
    return as_flag("deferrable", asked)


def as_flag(argument: str, value: bool) -> bool:
    """
    Take a flag, and no text: ``"false"`` would count as true.

    :raises ValueError: it is anything but True or False.
    """
    if value is not True and value is not False:
        raise ValueError(f"{argument!r} is True or False, not {value!r} ({type(value).__name__})")
    return value
