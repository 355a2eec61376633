"""Operators that start operations, in each form."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_operations.operators import RunOperationOperator
from tests.tooling.bench.task_dags.mapped_dags import COUNT, dags_of


def operator(length_s: float, **arguments: Any) -> Any:
    """Return mapped operators for operations of a length."""
    script = {"operation": {"duration": length_s, "response": {"a": 1}}}
    tasks = RunOperationOperator.partial(
        task_id="task", operations_conn_id="bench", path="projects/bench/things:run", retries=0, **arguments
    )
    return tasks.expand(json=[script] * COUNT)


globals().update(
    dags_of(
        {
            "operator": operator,
            "operator_deferred": partial(operator, deferrable=True),
            "operator_defer_after": partial(operator, deferrable=True, defer_after=5),
            "operator_ends_in_trigger": partial(operator, deferrable=True, end_from_trigger=True),
        }
    )
)
