"""Cancelling an operation that nobody waits for any more, from a worker."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import in_grace, since_then
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from airflow_provider_operations.hooks.worker import WorkerClient

__all__ = ["CANCEL_OUTAGE_S", "SETTLE_LIMIT_S", "CancelEnd", "cancel"]

CANCEL_OUTAGE_S = 60.0
"""How long a cancel call is repeated in an outage, unless the worker is about to be killed."""

CANCEL_DOUBT_S = 20.0
"""How long a cancel call is repeated whose answer may not be the service's own, but a proxy's page."""

SETTLE_LIMIT_S = 15.0
"""How long a cancelled operation's end is then waited for."""


class CancelEnd(NamedTuple):
    """
    What became of an operation that was to be cancelled.

    :param refused: the service itself refuses to cancel; any other failure may be a proxy's, or transient.
    """

    over: bool
    note: str
    failure: CallFailure | None = None
    refused: bool = False


_REFUSED = frozenset({400, 404, 405, 409, 412, 501})
_NOT_NOW = frozenset({400, 409})
"""Refusals of a cancel that may end once the operation is in another state."""


def cancel(
    hook: WorkerClient,
    name: str,
    outage_s: float,
    settle_s: float,
    started_epoch_s: float = math.inf,
    *,
    within_s: float = 0.0,
) -> CancelEnd:
    """
    Cancel, wait until it is over, and say what became of it.

    :param outage_s: how long the cancel call is repeated while the server doesn't answer.
    :param settle_s: how long the end is waited for, once the server has been asked.
    :param started_epoch_s: when the operation was started, so that it may be unknown to the server yet; if the caller
        doesn't know, it may have been just now.
    :param within_s: what of this the cancel call has left is for waiting, too.
    """

    def ask(for_s: float) -> CallFailure | None:
        return hook.try_cancel(name, Retries(None, delay_s=0.5, for_s=for_s, doubt_s=CANCEL_DOUBT_S))

    all_s = clock.now() + within_s
    failure = ask(outage_s)
    deadline = max(clock.now() + settle_s, all_s)
    pause_s = 0.5
    found = False
    """Whether a poll has found it before the last cancel."""
    while True:
        seen = hook.poll(name)
        if isinstance(seen, Operation) and seen.done:
            return CancelEnd(over=True, note=since_then(seen))
        # A service that can't cancel answers 404, too, so the poll decides whether there is an operation.
        missing = isinstance(seen, CallFailure) and seen.says_missing
        not_found = failure is not None and failure.http_status == 404
        unknown = not_found and missing
        # It may have become known just after the cancel. A poll that isn't answered says nothing.
        too_early = not_found and not (isinstance(seen, Operation) and found)
        may_yet = (too_early and in_grace(started_epoch_s, clock.now())) or (
            failure is not None and failure.http_status in _NOT_NOW and not missing
        )
        found = found or isinstance(seen, Operation)
        if may_yet and clock.now() + pause_s <= deadline:
            clock.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 5.0)
            failure = ask(max(deadline - clock.now(), 0.0))
            continue
        if failure is not None:
            if unknown:
                return CancelEnd(over=True, note="the server doesn't know it")
            problem = f"the cancel call failed: {failure.problem}, {failure.status.code_name}"
            refused = failure.http_status in _REFUSED and isinstance(seen, Operation)
            return CancelEnd(False, f"it may still run: {problem}", failure, refused)
        if clock.now() + pause_s > deadline:
            return CancelEnd(over=False, note="asked to cancel, it is not over yet")
        clock.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 5.0)
