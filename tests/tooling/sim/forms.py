"""The forms of a task that are simulated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from airflow.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

__all__ = ["FORMS", "Form"]

RETRIES = 5
"""More than there are faults, so that the task must succeed unless somebody ends it."""


@dataclass(frozen=True)
class Form:
    """
    A task and how it waits.

    :param waits_only: a sensor, for an operation that something else has started.
    """

    deferrable: bool
    request_ids: bool = True
    waits_only: bool = False
    retries: int = RETRIES

    @property
    def loses_starts(self) -> bool:
        """Whether nobody finds an operation whose start wasn't answered."""
        return not (self.request_ids or self.waits_only)

    @property
    def task(self) -> Any:
        """The operator or sensor, in a DAG."""
        return _task(self)


@cache
def _task(form: Form) -> Any:
    alike: dict[str, Any] = {
        "task_id": "task",
        "deferrable": form.deferrable,
        "retries": form.retries,
        "retry_delay": timedelta(seconds=20),
        "outage_tolerance": 15.0,
        "cancel_on_kill": True,
    }
    with DAG("dag", schedule=None, start_date=datetime(2027, 1, 1, tzinfo=timezone.utc)):
        if form.waits_only:
            return OperationSensor(operation_name="operations/1", **alike)
        request_id_field = "requestId" if form.request_ids else None
        return RunOperationOperator(path="things:run", request_id_field=request_id_field, **alike)


FORMS = {
    "deferred": Form(deferrable=True),
    "deferred, no request id": Form(deferrable=True, request_ids=False),
    "synchronous": Form(deferrable=False),
    "synchronous, no request id": Form(deferrable=False, request_ids=False),
    "deferred sensor": Form(deferrable=True, waits_only=True),
    "poking sensor": Form(deferrable=False, waits_only=True),
}
