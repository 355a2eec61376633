"""
What differs between Airflow 2.11, 3.0, 3.1, 3.2 and 3.3, decided here and nowhere else.

DAG files and plugins load this, so it imports only what Airflow has loaded by then. Each fallback has a test that
runs on the version that needs it (``make matrix``).
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, TypeVar

from airflow import __version__ as airflow_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import datetime

T = TypeVar("T")

__all__ = [
    "EXECUTION_TIMEOUT_SPANS_STAYS",
    "HAS_ASSET_WATCHERS",
    "HOOKS_TELL_THE_FORM",
    "KILLED_WORKERS_MAY_ASK",
    "LINKS_ARE_MADE_LAST",
    "NO_STATUS",
    "OPERATORS_LACK_XCOM_PUSH",
    "TASKS_HAVE_RETRY_POLICIES",
    "TASKS_KEEP_STATE",
    "TRIGGERS_HAVE_ON_KILL",
    "TRIGGERS_PUSH_XCOMS",
    "UI_HAS_VIEWS",
    "AirflowRescheduleException",
    "TaskDeferralError",
    "ask_airflow",
    "clears_drop_task_state",
    "first_reschedule_date",
    "get_async_extra_dejson",
    "is_trigger_timeout",
    "mask_secret",
    "redact",
    "spent_of_execution_timeout_s",
    "stored_task_state",
    "task_state",
    "team_names",
]


def minor_version(version: str) -> tuple[int, ...]:
    """Return major and minor of a version such as ``3.3.2`` or ``4.0.0.dev0``."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


_AIRFLOW = minor_version(airflow_version)

_V_3_0_PLUS = _AIRFLOW >= (3, 0)
_V_3_1_PLUS = _AIRFLOW >= (3, 1)
_V_3_2_PLUS = _AIRFLOW >= (3, 2)
_V_3_3_PLUS = _AIRFLOW >= (3, 3)

EXECUTION_TIMEOUT_SPANS_STAYS = not _V_3_0_PLUS
"""``execution_timeout`` counts from the first start of a try, deferred time included; later each stay has all of it."""

HAS_ASSET_WATCHERS = _V_3_0_PLUS
"""``airflow.triggers.base`` has ``BaseEventTrigger``."""

OPERATORS_LACK_XCOM_PUSH = _V_3_0_PLUS and not _V_3_1_PLUS
"""The SDK's operators of 3.0 lack a method that its ``DecoratedOperator`` calls."""

UI_HAS_VIEWS = _V_3_1_PLUS
"""The UI has a place for a plugin's views."""

HOOKS_TELL_THE_FORM = not _V_3_2_PLUS
"""The connection's form is asked of the hook; later it is in the provider's metadata."""

TASKS_HAVE_RETRY_POLICIES = _V_3_3_PLUS
"""Operators take a ``retry_policy``."""

TASKS_KEEP_STATE = _V_3_3_PLUS
"""A task has a state store, in which its record outlives it."""

TRIGGERS_HAVE_ON_KILL = _V_3_3_PLUS
"""Before, ``CancelledError`` is a trigger's only sign of a kill."""

_ANY_THREAD_MAY_ASK = _V_3_3_PLUS

KILLED_WORKERS_MAY_ASK = _V_3_3_PLUS
"""A worker's supervisor answers while it ends the process, and a task that it had to kill is retried like any other."""

TRIGGERS_PUSH_XCOMS = _V_3_3_PLUS
"""What a trigger pushes reaches Airflow; before, such a call waits on another event loop."""

LINKS_ARE_MADE_LAST = tuple(map(int, re.findall(r"\d+", airflow_version)[:3])) >= (3, 2, 2)
"""
A worker makes extra links after it has reported how the task ended, with the operator that has run, and also if Airflow
has refused that report; 3.0 to 3.2.1 exit in that case.
"""

NO_STATUS = "no_status"
"""What Airflow calls the state of a task instance that has none: not scheduled yet, or just cleared."""

if TYPE_CHECKING or _V_3_2_PLUS:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
elif _V_3_0_PLUS:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
else:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError

if TYPE_CHECKING or _V_3_1_PLUS:
    from airflow.sdk.log import mask_secret
elif _V_3_0_PLUS:
    from airflow.sdk.execution_time.secrets_masker import mask_secret

if TYPE_CHECKING or _V_3_0_PLUS:
    from airflow.providers.common.compat.sdk import redact  # airflow.sdk.log has it from 3.1.6 on
else:
    from airflow.utils.log.secrets_masker import mask_secret
    from airflow.utils.log.secrets_masker import redact as _redact

    def redact(text: str) -> str:
        """Hide secrets; by parts, as this version's RE2 gives up on a text with half a surrogate pair."""
        parts = re.split("([\ud800-\udfff]+)", text)
        return "".join(part if number % 2 else _redact(part) for number, part in enumerate(parts))


async def ask_airflow(call: Callable[..., T], *arguments: Any, executor: Executor | None = None) -> T:
    """
    Make a blocking call that asks Airflow, from inside a trigger and off its event loop.

    Before 3.3 such a call comes back to the triggerer's event loop, and only asgiref's threads know which one that
    is. From another thread two loops would read the supervisor's answers, and the triggerer would fail.

    :param executor: where it is made, if any thread will do.
    """
    if _ANY_THREAD_MAY_ASK:
        return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)
    from asgiref.sync import sync_to_async

    answer: T = await sync_to_async(call)(*arguments)
    return answer


def is_trigger_timeout(error: Exception) -> bool:
    """Tell whether a trigger failed because the ``timeout`` of its deferral had passed."""
    if not _V_3_0_PLUS:  # which has no class for it
        return isinstance(error, TaskDeferralError) and str(error) == "Trigger/execution timeout"
    return isinstance(error, TaskDeferralTimeout)


def spent_of_execution_timeout_s(context: Any) -> float:
    """Return how much of ``execution_timeout`` had passed when this stay in a worker began; call it at once."""
    started: datetime | None = None if _V_3_0_PLUS else getattr(context["ti"], "start_date", None)
    return 0.0 if started is None else max(time.time() - started.timestamp(), 0.0)


def clears_drop_task_state() -> bool:
    """
    Tell whether clearing a task drops its state, unless asked to keep it.

    As https://github.com/apache/airflow/pull/72100 has it; False on a worker that can't tell.
    """
    try:
        from airflow.api_fastapi.core_api.datamodels.task_instances import ClearTaskInstancesBody
    except ImportError:
        return False
    return "keep_task_state" in ClearTaskInstancesBody.model_fields


def first_reschedule_date(context: Any, retries: int) -> datetime | None:
    """
    Return when the first stay of a rescheduled task began, over all its tries; ``None`` in the first.

    :param retries: the task's.
    """
    ti = context["ti"]
    first: datetime | None
    if _V_3_0_PLUS:
        first = ti.get_first_reschedule_date(context)
    else:
        from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]  # 2.11's

        first = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.max_tries - retries + 1)
    return first


def task_state(place: dict[str, Any]) -> str | None:
    """
    Return a task instance's state, asked from inside a trigger or a task; blocks.

    :param place: ``dag_id``, ``task_id``, ``run_id`` and ``map_index``.
    :return: ``NO_STATUS`` if it has none, ``None`` if there is no such task instance.
    """
    states: list[str | None]
    if _V_3_0_PLUS:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        found = RuntimeTaskInstance.get_task_states(
            dag_id=place["dag_id"],
            map_index=place["map_index"],
            task_ids=[place["task_id"]],
            run_ids=[place["run_id"]],
        )
        states = list(found.get(place["run_id"], {}).values())
    else:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            states = [row.state for row in session.query(TaskInstance.state).filter_by(**place)]
    return (states[0] or NO_STATUS) if states else None


def stored_task_state(place: dict[str, Any], key: str, session: Any) -> str | None:
    """
    Return what a task's state store has, as JSON text, on the API server; ``None`` where there is none.

    :param place: ``dag_id``, ``task_id``, ``run_id`` and ``map_index``.
    """
    if not TASKS_KEEP_STATE:
        return None
    from airflow.state import TaskScope, get_state_backend

    return get_state_backend().get(TaskScope(**place), key, session=session)


def team_names(dag_ids: list[str], session: Any) -> dict[str, str | None]:
    """Return which team each DAG belongs to; before Airflow 3.2 by one query each."""
    from airflow.models.dag import DagModel

    if _V_3_2_PLUS:
        return DagModel.get_dag_id_to_team_name_mapping(dag_ids, session=session)
    return {dag_id: DagModel.get_team_name(dag_id, session=session) for dag_id in dag_ids}


async def get_async_extra_dejson(conn: Any) -> dict[str, Any]:
    """Return the connection's extra; masking its secrets asks the supervisor, so not on the event loop."""
    try:
        from airflow.providers.common.compat.connection import get_async_extra_dejson as of_compat
    except ImportError:  # common-compat 1.20, the newest for Python 3.10
        from asgiref.sync import sync_to_async

        extra: dict[str, Any] = await sync_to_async(lambda: conn.extra_dejson)()
        return extra
    return dict(await of_compat(conn))
