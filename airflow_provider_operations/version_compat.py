"""
What differs between Airflow 2.11, 3.0, 3.1, 3.2 and 3.3, decided here and nowhere else.

DAG files and plugins load this, so it imports only what Airflow has loaded by then. Each fallback has a test that
runs on the version that needs it (``make matrix``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "AIRFLOW_V_3_0_PLUS",
    "AIRFLOW_V_3_1_PLUS",
    "AIRFLOW_V_3_2_PLUS",
    "AIRFLOW_V_3_3_PLUS",
    "AirflowRescheduleException",
    "TaskDeferralError",
    "first_reschedule_date",
    "get_async_extra_dejson",
    "is_trigger_timeout",
    "mask_secret",
    "redact",
    "team_names",
]


def minor_version(version: str) -> tuple[int, ...]:
    """Return major and minor of a version such as ``3.3.2`` or ``4.0.0.dev0``."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


_AIRFLOW = minor_version(airflow_version)

AIRFLOW_V_3_0_PLUS = _AIRFLOW >= (3, 0)
"""There is a Task SDK; before, a trigger asks Airflow's database what became of its task."""

AIRFLOW_V_3_1_PLUS = _AIRFLOW >= (3, 1)
"""The UI has a place for a plugin's views."""

AIRFLOW_V_3_2_PLUS = _AIRFLOW >= (3, 2)
"""The SDK has exceptions of its own; the connection's form is in the provider's metadata, and so are commands."""

AIRFLOW_V_3_3_PLUS = _AIRFLOW >= (3, 3)
"""
Triggers have ``on_kill``; before, ``CancelledError`` is all that one hears of a kill. Their threads can push XComs;
before, such a call waits on another event loop. Tasks have a state store and take a ``retry_policy``.
"""

if TYPE_CHECKING or AIRFLOW_V_3_2_PLUS:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
elif AIRFLOW_V_3_0_PLUS:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError, TaskDeferralTimeout
else:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError

if TYPE_CHECKING or AIRFLOW_V_3_1_PLUS:
    from airflow.sdk.log import mask_secret, redact  # type: ignore[attr-defined]  # imported there to be had
elif AIRFLOW_V_3_0_PLUS:
    from airflow.sdk.execution_time.secrets_masker import mask_secret, redact
else:
    from airflow.utils.log.secrets_masker import mask_secret
    from airflow.utils.log.secrets_masker import redact as _redact

    def redact(text: str) -> str:
        """Hide secrets; by parts, as this version's RE2 gives up on a text with half a surrogate pair."""
        parts = re.split("([\ud800-\udfff]+)", text)
        return "".join(part if number % 2 else _redact(part) for number, part in enumerate(parts))


def is_trigger_timeout(error: Exception) -> bool:
    """Tell whether a trigger failed as its time, of which Airflow knows, was up."""
    if not AIRFLOW_V_3_0_PLUS:  # which has no class for it
        return isinstance(error, TaskDeferralError) and str(error) == "Trigger/execution timeout"
    return isinstance(error, TaskDeferralTimeout)


def first_reschedule_date(context: Any, retries: int) -> datetime | None:
    """
    Return when the first stay of a rescheduled task began, over all its tries; ``None`` in the first.

    :param retries: the task's.
    """
    ti = context["ti"]
    first: datetime | None
    if AIRFLOW_V_3_0_PLUS:
        first = ti.get_first_reschedule_date(context)
    else:
        from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]  # 2.11's

        first = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.max_tries - retries + 1)
    return first


def team_names(dag_ids: list[str], session: Any) -> dict[str, str | None]:
    """Return which team each DAG belongs to; before Airflow 3.2 by one query each."""
    from airflow.models.dag import DagModel

    if AIRFLOW_V_3_2_PLUS:
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
