"""The trigger that waits for an operation without a worker."""

from __future__ import annotations

import asyncio
import importlib
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_operations._airflow.compat import TRIGGERS_HAVE_ON_KILL
from airflow_provider_operations._airflow.states import place_of
from airflow_provider_operations._connection.options import ServiceOptions
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import Kind, Watch
from airflow_provider_operations._protocol.polling import Outage, Schedule
from airflow_provider_operations._protocol.request import InvalidName
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.triggers._arguments import stored_arguments
from airflow_provider_operations.triggers._end_from_trigger import success_event
from airflow_provider_operations.triggers._kill import Kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_provider_operations.hooks import OperationsAsyncHook
    from airflow_provider_operations.operation import Operation

__all__ = ["OperationTrigger"]

KILL_LIMIT_S = 20.0
"""How long ``on_kill`` waits for its work, which goes on without it; Airflow's own limit is 30 s."""

NEAR_S = 60.0
"""This close to the deadline a poll has to end by then, and goes first where requests wait for their turns."""

RESUMES_AFTER_S = 8.0
"""
A worker is asked for at the earliest so long after the trigger has begun.

A task that resumes before the scheduler has taken note of its first worker's end is failed by Airflow
(https://github.com/apache/airflow/issues/72716; all versions up to 3.3.2). That end is noticed up to
``[workers] min_heartbeat_interval`` late, 5 s by default, and in the scheduler's next round.
"""

LAST_LOOK_S = 5.0
"""How long a poll at the deadline may take."""

_kills: dict[Any, tuple[Kill, asyncio.Task[None]]] = {}
"""Work of killed triggers, one for each operation of a task; the event loop itself holds tasks only weakly."""


class OperationTrigger(BaseTrigger):
    """
    Poll an operation until it is done, the deadline has passed or the server is out of reach for too long.

    Yields exactly one event, ``{"version": 1, "outcome": "<JSON text>"}`` (see ``Outcome.from_event``) or, with
    ``end_from_trigger``, Airflow's ``TaskSuccessEvent``, and never raises for what the server did. Its arguments and
    its path are stored in users' databases: they stay.

    :param operation_name: the operation.
    :param operations_conn_id: connection of type ``operations``.
    :param base_url: this and the next five: instead of what the connection says.
    :param scopes: OAuth scopes of Google's tokens, with spaces between, where the connection says none.
    :param poke_interval: longest pause between polls, in seconds; they begin at half a second.
    :param started_epoch_s: when the wait began: the pauses grow from then on, and for 30 s a 404 doesn't end the
        wait. ``None``: now.
    :param deadline_epoch_s: absolute, so that a restart of the triggerer doesn't extend it.
    :param outage_tolerance_s: how long the server may fail to answer.
    :param cancel_on_kill: cancel the operation when a user marks or clears the waiting task.
    :param poll_with: ``get``, ``list`` (all under one parent by one request) or ``wait`` (the server answers
        when it is done); ``None``: as the connection says.
    :param end_from_trigger: end the task's success here, without a worker; ``"without_result"``: for a task with
        ``do_xcom_push=False``.
    :param owner: whose the operation is, which decides what a kill does: ``record``, a task's whose later tries know
        it; ``task``, a task's whose later tries don't; ``sensor``, somebody else's.
    :param found: whether a poll has found the operation already, so that odd answers can't come from a mistake of
        the task's.
    """

    def __init__(
        self,
        operation_name: str,
        *,
        operations_conn_id: str = "operations_default",
        base_url: str | None = None,
        path_prefix: str | None = None,
        cancel_suffix: str | None = None,
        cancel_method: str | None = None,
        error_format: int | None = None,
        wait_timeout_in: str | None = None,
        scopes: str | None = None,
        poke_interval: float = 30.0,
        started_epoch_s: float | None = None,
        deadline_epoch_s: float | None = None,
        outage_tolerance_s: float = 600.0,
        cancel_on_kill: bool = False,
        poll_with: str | None = None,
        end_from_trigger: bool | str = False,
        owner: str = "record",
        found: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # BaseTrigger's
        self.operation_name = operation_name
        self.operations_conn_id = operations_conn_id
        self.base_url = base_url
        self.path_prefix = path_prefix
        self.cancel_suffix = cancel_suffix
        self.cancel_method = cancel_method
        self.error_format = error_format
        self.wait_timeout_in = wait_timeout_in
        self.scopes = scopes
        self.poke_interval = poke_interval
        self.started_epoch_s = started_epoch_s
        self.deadline_epoch_s = deadline_epoch_s
        self.outage_tolerance_s = outage_tolerance_s
        self.cancel_on_kill = cancel_on_kill
        self.poll_with = poll_with
        self.end_from_trigger = end_from_trigger
        self.owner = owner
        self.found = found
        self._kill: tuple[asyncio.Task[None], float] | None = None
        """The work that a kill has begun, and until when (``time.monotonic``) it is waited for."""
        self.before_deferring: Callable[[], None] | None = None
        """Called when Airflow stores the trigger: a worker's last moment to refuse to defer, by raising."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return path and arguments."""
        if self.before_deferring is not None:
            self.before_deferring()
        arguments = {"operation_name": self.operation_name, **stored_arguments(self, OperationTrigger)}
        return "airflow_provider_operations.triggers.OperationTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        now = clock.now()
        schedule = Schedule(maximum_s=self.poke_interval)
        watch = Watch(
            self.operation_name,
            schedule,
            Outage(self.outage_tolerance_s),
            started_epoch_s=self.started_epoch_s if self.started_epoch_s is not None else now,
            created_epoch_s=self.started_epoch_s,
            deadline_epoch_s=self.deadline_epoch_s,
        )
        watch.found = self.found
        # The worker polled before it deferred. A triggerer that starts with thousands of old ones spreads them out.
        pause_s = schedule.next_delay(now - watch.started_epoch_s, until_deadline_s=self._left_s())
        try:
            await clock.asleep(pause_s * random.random())  # noqa: S311  no secret
            hook = await self._hook()
            async with hook.watching() as figures:
                watch.due_epoch_s = clock.now()
                outcome = await hook.watch(watch, look=partial(self._look, hook), pause_s=pause_s)
                if outcome.kind is Kind.DONE and outcome.operation is not None:
                    figures.detected(outcome.operation)
            event = await success_event(self.task_instance, outcome, self.log, self.end_from_trigger)
            # Without a task instance there is no scheduler (dag.test). Of a time-out no worker knows before the event,
            # and a trigger that is so young then isn't its task's first.
            if event is None and self.task_instance is not None and outcome.kind is not Kind.TIMED_OUT:
                early_s = now + RESUMES_AFTER_S - clock.now()
                left_s = self._left_s()
                if left_s is not None:
                    early_s = min(early_s, left_s / 2)  # the worker needs some of it
                await clock.asleep(min(max(early_s, 0.0), RESUMES_AFTER_S))
        except asyncio.CancelledError:
            if not TRIGGERS_HAVE_ON_KILL:  # this is the only sign of a kill
                await self.on_kill()
            raise
        yield event or TriggerEvent(outcome.to_event())

    def _left_s(self) -> float | None:
        return None if self.deadline_epoch_s is None else self.deadline_epoch_s - clock.now()

    async def _look(
        self, hook: OperationsAsyncHook, name: str, max_age_s: float, *, first: bool = False
    ) -> tuple[Operation | CallFailure, float]:
        """Poll once; an exception becomes a value, as Airflow would lose its text."""
        left_s = self._left_s()
        try:
            if left_s is None or left_s > NEAR_S:
                return await hook.look(name, max_age_s, first=first)
            # In a queue of thousands its turn could come too late.
            async with clock.timeout(max(left_s, LAST_LOOK_S)):
                return await hook.look(name, 0.0, first=True)
        except asyncio.TimeoutError:
            return self._not_asked(TimeoutError("no answer before the deadline"), transient=True), 0.0
        except InvalidName as error:
            return self._not_asked(error, transient=False), 0.0
        except Exception as error:  # looking up the connection fails in ways of any secrets backend
            # A missing or invalid one is transient, too: a worker has used it, so somebody is changing it.
            return self._not_asked(error, transient=True), 0.0

    def _not_asked(self, error: Exception, *, transient: bool) -> CallFailure:
        about = f"{self.operation_name} with connection {self.operations_conn_id!r}"
        return CallFailure.not_asked(about, error, transient=transient)

    async def _hook(self) -> OperationsAsyncHook:
        # The first import loads two HTTP clients, which takes too long for the event loop.
        hooks = await asyncio.to_thread(
            importlib.import_module, "airflow_provider_operations.hooks.asynchronous"
        )
        options = ServiceOptions.of(self).arguments()
        hook: OperationsAsyncHook = hooks.OperationsAsyncHook(**options, poll_with=self.poll_with)
        return hook

    async def on_kill(self) -> None:
        """
        Cancel the operation if nobody waits for it any more; never raises.

        Airflow repeats the cancellation of this coroutine every second and gives up on it after 30 s, so the
        work has a task of its own.
        """
        if self.cancel_on_kill:
            self._kill = self._killing(), time.monotonic() + KILL_LIMIT_S
            await self._wait_for_kill()

    async def cleanup(self) -> None:
        """
        Wait for what ``on_kill`` has begun: once this has returned, Airflow closes the task's log.

        On Python 3.11 Airflow stops waiting for ``on_kill`` when it repeats the cancellation for the second time. A
        triggerer that ends cancels without a message, and isn't kept from ending.
        """
        await self._wait_for_kill(is_kept=lambda error: bool(error.args))

    async def _wait_for_kill(
        self, is_kept: Callable[[asyncio.CancelledError], bool] = lambda _: True
    ) -> None:
        if self._kill is None:
            return
        work, until_s = self._kill
        while not work.done() and (left := until_s - time.monotonic()) > 0:
            try:
                await asyncio.wait({work}, timeout=left)
            except asyncio.CancelledError as error:
                if not is_kept(error):
                    raise

    def _killing(self) -> asyncio.Task[None]:
        """Return the work on this task's operation, which may be under way from an earlier kill."""
        ti = self.task_instance
        key = (self.operation_name, None if ti is None else tuple(place_of(ti).values()))
        kill, work = _kills.get(key, (None, None))
        if kill is not None and work is not None and kill.joinable:
            kill.join(self.owner, self.deadline_epoch_s)
            return work
        kill = Kill(self.operation_name, self.owner, ti, self.deadline_epoch_s, self._hook, self.log)
        work = asyncio.create_task(kill.run())
        _kills[key] = kill, work

        def forget(done: asyncio.Task[None]) -> None:
            if _kills.get(key, (None, None))[1] is done:
                del _kills[key]

        work.add_done_callback(forget)
        return work
