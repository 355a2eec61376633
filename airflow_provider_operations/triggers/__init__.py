"""The triggers, by the paths that users' databases hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_operations.triggers.operation import OperationTrigger

if TYPE_CHECKING:
    from airflow_provider_operations.triggers.event import OperationsEventTrigger

__all__ = ["OperationTrigger", "OperationsEventTrigger"]


def __getattr__(name: str) -> Any:
    """Return ``OperationsEventTrigger``, which only asset watchers need: every DAG file loads this package."""
    if name == "OperationsEventTrigger":
        from airflow_provider_operations.triggers.event import OperationsEventTrigger

        return OperationsEventTrigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
