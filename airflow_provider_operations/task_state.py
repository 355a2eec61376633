"""
Whether somebody acted upon a deferred task, asked from inside its trigger.

Airflow 3.3 calls a trigger's ``on_kill`` on a healthy task too: when another triggerer has taken the trigger
over (https://github.com/apache/airflow/issues/73454). Only the task's state and its XCom together tell.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
    loop = asyncio.get_running_loop()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await loop.run_in_executor(_asking, _was_acted_upon, task_instance, operation_name)
        except ImportError:  # Airflow 2
            raise
        except Exception:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
    raise AssertionError("unreachable")


def _was_acted_upon(task_instance: Any, operation_name: str) -> bool:
    from airflow.providers.common.compat.sdk import XCom
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    where = {"dag_id": task_instance.dag_id, "map_index": task_instance.map_index}
    states = RuntimeTaskInstance.get_task_states(
        **where, task_ids=[task_instance.task_id], run_ids=[task_instance.run_id]
    )
    state = next(iter(states.get(task_instance.run_id, {}).values()), None)
    if state != "deferred":
        return True
    own = XCom.get_one(
        **where, key=OPERATION_NAME_KEY, task_id=task_instance.task_id, run_id=task_instance.run_id
    )
    return bool(own != operation_name)
