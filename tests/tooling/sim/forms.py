"""The forms of a task that are simulated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from airflow.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

__all__ = ["FORMS", "Form"]

RETRIES = 5
"""More than there are faults, so that the task must succeed unless somebody ends it."""


@dataclass(frozen=True)
class Form:
    """A task and how it waits."""

    deferrable: bool
    request_ids: bool
    retries: int = RETRIES

    @property
    def task(self) -> Any:
        """The operator, in a DAG."""
        return _task(self)


@cache
def _task(form: Form) -> Any:
    with DAG("dag", schedule=None, start_date=datetime(2027, 1, 1, tzinfo=timezone.utc)):
        return RunOperationOperator(
            task_id="task",
            path="things:run",
            deferrable=form.deferrable,
            request_id_field="requestId" if form.request_ids else None,
            retries=form.retries,
            retry_delay=timedelta(seconds=20),
            outage_tolerance=15.0,
        )


FORMS = {
    "deferred": Form(deferrable=True, request_ids=True),
    "deferred, no request id": Form(deferrable=True, request_ids=False),
    "synchronous": Form(deferrable=False, request_ids=True),
    "synchronous, no request id": Form(deferrable=False, request_ids=False),
}
