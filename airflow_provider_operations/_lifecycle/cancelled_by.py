"""
Who has cancelled an operation: written by the tab of the UI, read by the task that then fails.

Pure. A worker can't read Airflow's audit log, so the tab pushes an XCom of the task as well. Like every XCom it may
have been written by anybody, and it is deleted when the task is cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_operations._protocol.rendering import one_line

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["AUDIT_EVENT", "CANCELLED_BY_KEY", "by_whom", "cancelled_through_the_tab"]

CANCELLED_BY_KEY = "operation_cancelled_by"
"""XCom under which the tab says who has cancelled the task's operation."""

AUDIT_EVENT = "cancel_operation"
"""The event in Airflow's audit log."""


def cancelled_through_the_tab(name: str, by: str, at: datetime) -> dict[str, str]:
    """Return ``{"name": str, "by": str, "at": "2026-11-29T12:00:00Z"}``, the XCom's value."""
    return {"name": name, "by": by, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}"}


def by_whom(name: str, pulled: Any) -> str:
    """
    Say who has cancelled an operation, or where that is written.

    :param pulled: the XCom of the task; of a mapped one those of all its instances.
    """
    for word in pulled if isinstance(pulled, list | tuple) else [pulled]:
        if isinstance(word, dict) and word.get("name") == name:
            by, at = (one_line(str(word.get(key)), 250) for key in ("by", "at"))
            return (
                f"cancelled through the tab by {by} at {at}; Airflow's audit log has it (event {AUDIT_EVENT})"
            )
    return (
        "by whom isn't known here: Airflow's audit log has who cancelled through a tab (event "
        f"{AUDIT_EVENT}), the service's own may have who did elsewhere"
    )
