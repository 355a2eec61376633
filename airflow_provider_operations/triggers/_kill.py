"""
What a trigger does about its operation once Airflow has told it to end: leave it alone, cancel it, or ask again later.

The work goes on in the background for as long as the triggerer lives. So the operation of a killed task is cancelled
even if Airflow is slow or the server out of reach, and that of a healthy task isn't cancelled in doubt.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.xcom import OPERATION_KEY, operation_xcom
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import ending
from airflow_provider_operations._protocol.polling import Schedule
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.operation import Operation
from airflow_provider_operations.triggers._ownership import Fate, keep_end, read_fate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_operations.hooks import OperationsAsyncHook

__all__ = ["Kill"]

LIMIT_S = 24 * 3600.0
"""How long Airflow and the server are asked again."""

ASKING = Schedule(maximum_s=60.0)
"""When Airflow is asked again what became of a task."""

CANCELLING = Schedule(maximum_s=300.0)
"""When a cancel that failed is repeated."""

REMOVED_FOR_S = 60.0
"""A task that has been missing from its DAG file for so long has ended."""

LOOK_LIMIT_S = 15.0
"""How long the poll before a cancel may take; without an answer the cancel is sent all the same."""

SETTLE_LIMIT_S = 10.0
"""How long the end of a cancelled operation is awaited, to log how it ended."""

LAST_CALL_S = 5.0
"""What a cancel call may take when the triggerer ends; Airflow kills it after 20 s."""

_NO_CANCEL = frozenset({404, 405, 501})
"""HTTP statuses of a service that has no cancel, or doesn't know the operation; or of a proxy before it."""

REFUSED_FOR_S = 30.0
"""A cancel that the service refuses for so long is refused for good."""


class Kill:
    """
    The work on one operation whose trigger was told to end.

    :param name: the operation.
    :param owner: whose it is, see ``_ownership.OWNERS``.
    :param deadline_epoch_s: the trigger's.
    :param make_hook: makes the hook that cancels.
    """

    def __init__(
        self,
        name: str,
        owner: str,
        task_instance: Any,
        deadline_epoch_s: float | None,
        make_hook: Callable[[], Awaitable[OperationsAsyncHook]],
        log: Any,
    ) -> None:
        self.name = name
        self.owner = owner
        self.task_instance = task_instance
        self.deadline_epoch_s = deadline_epoch_s
        self._make_hook = make_hook
        self._log = log
        self._began = clock.now()
        self._doomed = False
        """Whether Airflow has said that nobody waits for the operation any more."""
        self._logged: set[str] = set()
        self._asked_again = False
        self._refused_since: float | None = None
        self.joinable = True
        """Whether another kill of the same task may leave its work to this one."""

    def join(self, owner: str, deadline_epoch_s: float | None) -> None:
        """Take over the kill of a later trigger for the same task and operation."""
        self.owner, self.deadline_epoch_s = owner, deadline_epoch_s
        self._asked_again = True

    async def run(self) -> None:
        """Cancel the operation, or find out that it isn't to be cancelled; raises nothing but ``CancelledError``."""
        self._log.info(
            "%s: the trigger was told to end; what becomes of the operation is said here if that is known soon, and "
            "else in the triggerer's own output",
            self.name,
        )
        try:
            async with await self._make_hook() as hook:
                try:
                    await self._run(hook)
                except asyncio.CancelledError:
                    await self._last_call(hook)
                    raise
                finally:
                    self.joinable = False
        except Exception:  # Airflow would log less of it
            self._log.exception("%s: it may still run, cancelling it failed", self.name)

    async def _run(self, hook: OperationsAsyncHook) -> None:
        removed_since: float | None = None
        while True:
            self._asked_again = False
            fate = await self._ask()
            if fate is Fate.TIMED_OUT and self._doomed:  # the task had ended before its time was up
                fate = Fate.OVER
            removed_since = (removed_since or clock.now()) if fate is Fate.REMOVED else None
            if fate in {Fate.UNTOUCHED, Fate.TIMED_OUT}:
                if self._asked_again:
                    continue
                self._log.info(_LEFT_ALONE[fate], self.name)
                return
            if fate in {Fate.UNDECIDED, Fate.REMOVED}:
                self._doomed = removed_since is not None and clock.now() - removed_since >= REMOVED_FOR_S
            elif fate is Fate.OVER:
                self._doomed = True
            schedule, hint = ASKING, None
            if self._doomed:
                failure = await self._cancel(hook)
                if failure is None:
                    return
                schedule, hint = CANCELLING, failure.retry_after
            elif await self._is_done(hook):
                return
            age_s = clock.now() - self._began
            if age_s >= LIMIT_S:
                self._log.error("%s: NOT cancelled, and it may still run: given up after a day", self.name)
                return
            pause_s = schedule.next_delay(age_s, hint)
            await clock.asleep(min(pause_s, CANCELLING.maximum_s))

    async def _ask(self) -> Fate | None:
        """Ask Airflow what became of the task; ``None`` if it doesn't answer."""
        deadline = self.deadline_epoch_s
        timed_out = deadline is not None and clock.now() >= deadline
        try:
            fate = await read_fate(self.task_instance, self.name, self.owner, timed_out=timed_out)
        except Exception as error:  # of Airflow's API, database or any XCom backend
            self._log_once(
                logging.WARNING,
                "%s: NOT cancelled, and it may still run: Airflow didn't tell what became of the task (%s: %s); "
                "asking on for up to a day, while this triggerer lives",
                type(error).__name__,
                error,
            )
            return None
        if fate in {Fate.UNDECIDED, Fate.REMOVED}:
            self._log_once(
                logging.INFO,
                "%s: not cancelled, as the task may go on waiting for it; asking on while it may",
            )
        return fate

    async def _look(self, hook: OperationsAsyncHook) -> Operation | None:
        """Poll the operation; ``None`` if the server doesn't answer soon."""
        try:
            async with clock.timeout(LOOK_LIMIT_S):
                seen = await hook.poll(self.name, first=True)
        except Exception:  # the connection's look-up fails in ways of any secrets backend
            return None
        return seen if isinstance(seen, Operation) else None

    async def _is_done(self, hook: OperationsAsyncHook) -> bool:
        """Poll the operation; if it is done already, log how it ended."""
        seen = await self._look(hook)
        if seen is None or not seen.done:
            return False
        self._log.info("%s: %s; nothing to cancel", self.name, ending(seen))
        await self._keep_end(seen)
        return True

    async def _cancel(self, hook: OperationsAsyncHook) -> CallFailure | None:
        """Cancel the operation, if it isn't done; return the failure if there has to be another attempt."""
        if await self._is_done(hook):
            return None
        failure = await self._try_cancel(hook)
        if failure is None:
            self._log.info("%s: asked to cancel, as the task was killed", self.name)
            await self._settle(hook)
            return None
        seen = await self._look(hook)
        if seen is not None and seen.done:
            self._log.info("%s: %s; nothing to cancel", self.name, ending(seen))
            await self._keep_end(seen)
            return None
        known = failure.names_code or not failure.missing  # else it may be a proxy's page
        if failure.http_status in _NO_CANCEL and known and (seen is not None or failure.says_missing):
            self._refused_since = self._refused_since or clock.now()
            if clock.now() - self._refused_since >= REFUSED_FOR_S:
                self._log.error(
                    "%s: it may still run, the cancel call failed: %s", self.name, failure.problem
                )
                return None
        else:
            self._refused_since = None
        self._log_once(
            logging.WARNING,
            "%s: NOT cancelled yet, and it may still run: the cancel call failed (%s); it is repeated for up to a "
            "day, while this triggerer lives",
            failure.problem,
        )
        return failure

    async def _try_cancel(self, hook: OperationsAsyncHook) -> CallFailure | None:
        try:
            return await hook.try_cancel(self.name, Retries(1))
        except Exception as error:  # the connection's look-up fails in ways of any secrets backend
            return CallFailure.not_asked(self.name, error)

    async def _settle(self, hook: OperationsAsyncHook) -> None:
        """Log how the operation ended, if it ends soon."""
        deadline = clock.now() + SETTLE_LIMIT_S
        while True:
            seen = await self._look(hook)
            if seen is not None and seen.done:
                self._log.info("%s: %s", self.name, ending(seen))
                await self._keep_end(seen)
                return
            if clock.now() > deadline:
                self._log.info("%s: not done yet", self.name)
                return
            await clock.asleep(1)

    async def _keep_end(self, operation: Operation) -> None:
        """Keep how the operation of a killed task ended: the tab shows it, also once the service has forgotten it."""
        if not self._doomed:
            return
        try:
            await keep_end(self.task_instance, self.name, operation_xcom(operation))
        except Exception as error:  # of Airflow's API, database or any XCom backend
            self._log.warning(
                "%s: the XCom %r could not be pushed: %s", self.name, OPERATION_KEY, type(error).__name__
            )

    async def _last_call(self, hook: OperationsAsyncHook) -> None:
        """Try to cancel a last time, as the triggerer ends and nobody can take this over."""
        if not self._doomed:
            return
        try:
            async with clock.timeout(LAST_CALL_S):
                failure = await self._try_cancel(hook)
        except asyncio.TimeoutError as error:
            failure = CallFailure.not_asked(self.name, error)
        if failure is None:
            self._log.info("%s: asked to cancel, as the task was killed", self.name)
        else:
            self._log.error(
                "%s: NOT cancelled, and it may still run: the triggerer ends (%s)", self.name, failure.problem
            )

    def _log_once(self, level: int, text: str, *values: Any) -> None:
        """Log a text for the first time only: this goes on for up to a day."""
        if text not in self._logged:
            self._logged.add(text)
            self._log.log(level, text, self.name, *values)


_LEFT_ALONE = {
    Fate.UNTOUCHED: "%s: nobody acted on the task, it goes on elsewhere; not cancelled",
    Fate.TIMED_OUT: "%s: the task's time was up, and its worker dealt with the operation; not cancelled",
}
