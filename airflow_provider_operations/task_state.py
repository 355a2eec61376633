"""
Whether somebody acted upon a deferred task, asked from inside its trigger.

Airflow 3.3 calls a trigger's ``on_kill`` on a healthy task too: when another triggerer has taken the trigger
over (https://github.com/apache/airflow/issues/73454). Only the task's state and its XCom together tell.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_operations.version_compat import ask_airflow, task_state
from airflow_provider_operations.xcoms import OPERATION_NAME_KEY

ATTEMPTS = 60
PAUSE_AFTER_ERROR_S = 5.0
"""So errors of Airflow's are borne for five minutes."""

_asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-state")
"""The calls block and are answered one by one anyway; the loop's own threads are left to others."""

__all__ = ["was_acted_upon"]


async def was_acted_upon(task_instance: Any, operation_name: str) -> bool:
    """
    Tell whether the task no longer waits for this operation.

    A task that is still ``deferred`` and whose XCom names this very operation was touched by nobody: its trigger
    merely runs elsewhere now. A cleared task may be deferred again already, but for another operation. A task
    that doesn't exist any more was acted upon.

    :raises Exception: what kept Airflow from answering, again and again; then it is unknown.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await ask_airflow(_was_acted_upon, task_instance, operation_name, executor=_asking)
        except Exception:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
    raise AssertionError("unreachable")


def _was_acted_upon(task_instance: Any, operation_name: str) -> bool:
    from airflow.providers.common.compat.sdk import XCom

    place = {name: getattr(task_instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    if task_state(place) != "deferred":
        return True
    return bool(XCom.get_one(key=OPERATION_NAME_KEY, **place) != operation_name)
