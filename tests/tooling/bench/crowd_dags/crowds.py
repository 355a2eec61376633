"""DAGs of many mapped operators at once."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

SHORT = int(os.environ["CROWD_SHORT"])
"""So many tasks have operations of 1 to 10 s;"""
LONG = int(os.environ["CROWD_LONG"])
"""and so many of a minute."""


def crowd(dag_id: str, lengths_s: list[int], **arguments: Any) -> DAG:
    """Return a DAG with a task, never retried, for each length of an operation."""
    start = datetime(2026, 1, 1)  # noqa: DTZ001  as in any DAG
    with DAG(dag_id, schedule=None, start_date=start, catchup=False, max_active_tasks=10_000) as dag:
        RunOperationOperator.partial(
            task_id="task",
            operations_conn_id="bench",
            path="projects/bench/things:run",
            retries=0,
            deferrable=True,
            **arguments,
        ).expand(json=[{"operation": {"duration": length_s}} for length_s in lengths_s])
    return dag


_short = [1 + number % 10 for number in range(SHORT)]
short_deferred = crowd("short_deferred", _short)
short_ends_in_trigger = crowd("short_ends_in_trigger", _short, end_from_trigger=True)
long_deferred = crowd("long_deferred", [60] * LONG)
long_defer_after = crowd("long_defer_after", [60] * LONG, defer_after=5)
