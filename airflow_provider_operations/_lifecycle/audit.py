"""Who asks to cancel an operation, as a line of Airflow's audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.models.log import Log

from airflow_provider_operations._lifecycle.cancelled_by import AUDIT_EVENT
from airflow_provider_operations._protocol.rendering import one_line
from airflow_provider_operations.operation import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["asks_to_cancel", "shown_name"]


def asks_to_cancel(place: Mapping[str, Any], name: str, try_number: int, by: str) -> Log:
    """
    Return the line, to be added to a session before the service is asked.

    :param place: what names the task instance: ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    """
    return Log(
        event=AUDIT_EVENT,
        owner=by,
        owner_display_name=by,
        extra=shown_name(name),
        try_number=try_number,
        **place,
    )


def shown_name(name: str) -> str:
    """Return an operation's name as such a line has it."""
    return one_line(name, MAX_NAME_BYTES)
