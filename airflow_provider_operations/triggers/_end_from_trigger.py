"""
Success without a second worker start: what a trigger does to end its task by itself, and when that loses something.

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
    from collections.abc import Iterator

    from airflow_provider_operations._protocol.outcome import Outcome
    from airflow_provider_operations.operation import Operation

__all__ = ["WITHOUT_RESULT", "listeners", "losses", "mapped_over", "success_event"]

WITHOUT_RESULT = "without_result"
"""Value of the trigger's ``end_from_trigger`` for a task with ``do_xcom_push=False``."""

RESULT_KEY = "return_value"

_pushing = ThreadPoolExecutor(max_workers=8, thread_name_prefix="xcom")
"""The calls block, in an XCom backend too; the loop's own threads are left to others."""


# --- in the triggerer ------------------------------------------------------------------------------------------


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
    except Exception as error:  # noqa: BLE001  of Airflow or of any XCom backend; a worker shows it if it stays
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


# --- when a DAG is parsed --------------------------------------------------------------------------------------


def losses(task: Any, ends_in: type) -> Iterator[str]:
    """
    Say what of a task would not happen if a trigger ended it; Airflow drops all of it without a word.

    :param ends_in: the class whose methods do nothing that the trigger doesn't.
    """
    if task.outlets:
        yield "'outlets' would get no asset events"
    if task.on_success_callback:
        yield "'on_success_callback' would not be called"
    if task.multiple_outputs:
        yield "'multiple_outputs' would not be pushed"
    if task._post_execute_hook:
        yield "'post_execute' would not be called"
    if getattr(task, "returns_dag_result", False):
        yield "its value would not be the DAG's result"
    for method in ("execute_complete", "post_execute", "resume_execution"):
        if getattr(type(task), method) is not getattr(ends_in, method):
            yield f"{type(task).__name__}.{method} would not be called"


def mapped_over(task: Any) -> Iterator[str]:
    """Say which mapped tasks depend on a task's result; known once the whole DAG is."""
    for node in task.iter_mapped_dependants():
        yield f"{node.node_id!r} is mapped over its result, and only a worker tells Airflow the length of it"


def listeners() -> Iterator[str]:
    """Say which plugins listen for successes; asked in a worker, where Airflow would call them."""
    from airflow.sdk.listener import get_listener_manager

    for listener in get_listener_manager().hook.on_task_instance_success.get_hookimpls():
        yield f"the listener {listener.plugin_name} would not be told of the success"
