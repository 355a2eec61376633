"""Task instances: what names one, and which of their states are an end."""

from __future__ import annotations

from typing import Any

__all__ = ["OVER", "OVER_OR_REMOVED", "is_last_try", "is_over", "place_of"]

OVER = frozenset({"failed", "success", "skipped", "upstream_failed"})
"""States of a task that runs no more."""

OVER_OR_REMOVED = OVER | {"removed"}
"""These, and that of a task which its DAG has no more; one bad parse sets and unsets it."""


def place_of(task_instance: Any) -> dict[str, Any]:
    """Return what names a task instance over all its tries."""
    return {name: getattr(task_instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}


def is_over(state: str | None) -> bool:
    """Tell whether a task in this state runs no more; ``None``: there is no such task any more."""
    return state is None or state in OVER


def is_last_try(task_instance: Any) -> bool:
    """Tell whether Airflow retries the task no more after this try."""
    try_number, max_tries = (getattr(task_instance, name, None) for name in ("try_number", "max_tries"))
    return (try_number or 1) > (max_tries or 0)
