"""
Success without a second worker start: what a trigger does to end its task by itself.

``TaskSuccessEvent(xcoms=...)`` stores every value as JSON text within JSON, so downstream gets a string where a
worker delivers an object. The trigger therefore pushes the XComs itself, as a worker would, and ends the task with
an event that has none. Whatever isn't a plain success, or can't be pushed, is left to a worker.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TaskSuccessEvent

from airflow_provider_operations._airflow.compat import TRIGGERS_PUSH_XCOMS
from airflow_provider_operations._airflow.xcom import (
    OPERATION_KEY,
    OPERATION_NAME_KEY,
    operation_xcom,
    storable,
)
from airflow_provider_operations._protocol.outcome import MAX_EVENT_CHARS, Kind

if TYPE_CHECKING:
    from airflow_provider_operations._protocol.outcome import Outcome
    from airflow_provider_operations.operation import Operation

__all__ = ["WITHOUT_RESULT", "success_event"]

WITHOUT_RESULT = "without_result"
"""Value of the trigger's ``end_from_trigger`` for a task with ``do_xcom_push=False``."""

RESULT_KEY = "return_value"

_pushing = ThreadPoolExecutor(max_workers=8, thread_name_prefix="xcom")
"""The calls block, those of an XCom backend too, so they get threads of their own."""


def success_of(outcome: Outcome) -> Operation | None:
    """Return the operation if it has succeeded; everything else is for a worker."""
    operation = outcome.operation
    if (
        outcome.kind is not Kind.DONE
        or operation is None
        or operation.abridged
        or not operation.done
        or operation.error is not None
    ):
        return None
    return operation


def xcoms_of(operation: Operation, *, with_result: bool) -> dict[str, Any] | None:
    """
    Return what a worker would push for a successful operation, by key.

    :param with_result: the task has ``do_xcom_push``.
    :return: ``None`` where it is so large that an event wouldn't bring it to a worker either.
    """
    xcoms = {OPERATION_KEY: operation_xcom(operation)}
    if with_result and operation.response is not None:
        xcoms[RESULT_KEY] = storable(operation.response)
    return xcoms if len(json.dumps(xcoms)) <= MAX_EVENT_CHARS else None


async def success_event(
    task_instance: Any, outcome: Outcome, log: Any, end_from_trigger: bool | str
) -> TaskSuccessEvent | None:
    """
    Push the XComs of a success and return the event that ends the task; never raises.

    :param task_instance: the trigger's; ``None`` outside of a triggerer: ``dag.test`` knows no such event.
    :param end_from_trigger: the trigger's.
    :return: ``None`` where a worker has to end the task; the ordinary event brings it there.
    """
    operation = success_of(outcome)
    if operation is None or task_instance is None or not TRIGGERS_PUSH_XCOMS:
        return None
    if end_from_trigger not in (True, WITHOUT_RESULT):  # a value of a later version among them
        return None
    name = outcome.name
    push = partial(_push, task_instance, name, operation, with_result=end_from_trigger is True)
    try:
        pushed = await asyncio.get_running_loop().run_in_executor(_pushing, push)
    except Exception as error:  # of Airflow or of any XCom backend; a worker shows it if it stays
        log.warning("%s: a worker ends the task, as its XComs could not be pushed here: %s", name, error)
        return None
    if not pushed:
        return None
    log.info("%s: succeeded after %s", name, outcome.elapsed)
    return TaskSuccessEvent()


def _push(task_instance: Any, operation_name: str, operation: Operation, *, with_result: bool) -> bool:
    """
    Push the XComs in the task's name, if they aren't too large and it still waits for this operation.

    A task that was cleared may wait for another one already, and its XComs aren't to be overwritten.
    """
    from airflow.providers.common.compat.sdk import XCom

    xcoms = xcoms_of(operation, with_result=with_result)
    where = {
        "dag_id": task_instance.dag_id,
        "task_id": task_instance.task_id,
        "run_id": task_instance.run_id,
        "map_index": task_instance.map_index,
    }
    if xcoms is None or XCom.get_one(key=OPERATION_NAME_KEY, **where) != operation_name:
        return False
    for key, value in xcoms.items():
        XCom.set(key=key, value=value, **where)
    return True
