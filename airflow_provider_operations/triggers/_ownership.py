"""
What became of a task that waits in a trigger, asked of Airflow from inside the trigger.

Airflow calls a trigger's ``on_kill`` on a healthy task too: when another triggerer has taken the trigger over
(https://github.com/apache/airflow/issues/73454), at once or long after. Only the task's state and its XCom together
show which it is, and what they mean depends on whose the operation is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from airflow_provider_operations._airflow.compat import TRIGGERS_PUSH_XCOMS, ask_airflow, task_state
from airflow_provider_operations._airflow.states import OVER, is_over, place_of
from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY

__all__ = ["OWNERS", "Fate", "fate_of", "keep_end", "read_fate"]

OWNERS = ("record", "task", "sensor")
"""
Whose an operation is. ``record``: a task's that keeps a record of it, so that its retries take it over and a clear
cancels it. ``task``: a task's that keeps none, so that no later try knows it. ``sensor``: somebody else's, and a sensor
waits for it.
"""

_RUNNING_AGAIN = "running"

_asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-state")
"""The calls block, so they get a thread of their own; one, as Airflow answers them one by one."""


class Fate(Enum):
    """What became of a task, as seen by a trigger that Airflow has told to end."""

    UNTOUCHED = "untouched"
    """It waits for this operation still, in another triggerer."""
    TIMED_OUT = "timed_out"
    """Its time was up, and its worker dealt with the operation."""
    OVER = "over"
    """Nobody waits for this operation any more."""
    REMOVED = "removed"
    """Its DAG file doesn't have it: over, if it stays so; one bad parse sets and unsets it."""
    UNDECIDED = "undecided"
    """It is between two stays: it may wait for this operation again, or end it."""


def fate_of(state: str | None, own: str | None, name: str, owner: str, *, timed_out: bool) -> Fate:
    """
    Say what became of a task.

    :param state: the task's; ``None`` if it is gone.
    :param own: the operation that its XCom names.
    :param name: the operation that the trigger waits for.
    :param owner: one of ``OWNERS``.
    :param timed_out: the trigger's deadline has passed. Then ``failed`` doesn't mean that somebody marked the task, nor
        another operation of a later try that this one is to be cancelled.
    """
    if state == "deferred" and own == name:
        return Fate.UNTOUCHED
    if state == "deferred" and own is None:  # it waits to start another one, or somebody has deleted the XCom
        return Fate.UNDECIDED
    if owner == "task":
        return Fate.OVER
    if timed_out and (state == "failed" or own not in {None, name}):
        return Fate.TIMED_OUT
    if is_over(state):
        return Fate.OVER
    if state == "removed":
        return Fate.REMOVED
    # A later try that has another operation has dealt with this one, if it knew it.
    if state in {"deferred", _RUNNING_AGAIN} and own is not None:
        return Fate.UNDECIDED if own == name else Fate.OVER
    return Fate.UNDECIDED


async def read_fate(task_instance: Any, name: str, owner: str, *, timed_out: bool) -> Fate:
    """
    Ask Airflow what became of a task; ``fate_of`` has the parameters.

    :raises Exception: what kept Airflow from answering; then it is unknown.
    """
    state, own = await ask_airflow(_ask, place_of(task_instance), executor=_asking)
    return fate_of(state, own, name, owner, timed_out=timed_out)


async def keep_end(task_instance: Any, name: str, operation: Any) -> None:
    """
    Push the XCom ``operation`` of a task that has ended, if this operation is its own.

    Airflow deletes a task's XComs when a later try begins; pushed after that, this one would pass for the later try's.

    :param operation: as ``operation_xcom`` returns it.
    :raises Exception: what kept Airflow from taking it.
    """
    if TRIGGERS_PUSH_XCOMS:
        await ask_airflow(_keep_end, place_of(task_instance), name, operation, executor=_asking)


def _keep_end(place: dict[str, Any], name: str, operation: Any) -> None:
    from airflow.providers.common.compat.sdk import XCom

    if task_state(place) in OVER and XCom.get_one(key=OPERATION_NAME_KEY, **place) == name:
        XCom.set(key=OPERATION_KEY, value=operation, **place)


def _ask(place: dict[str, Any]) -> tuple[str | None, str | None]:
    from airflow.providers.common.compat.sdk import XCom

    state = task_state(place)
    if state not in {"deferred", _RUNNING_AGAIN}:
        return state, None
    own = XCom.get_one(key=OPERATION_NAME_KEY, **place)
    return state, own if isinstance(own, str) else None
