"""Cancel an operation from a task, and go on with how it ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator

# A retry takes a running operation over instead of starting another.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10)}

with DAG(dag_id="operations_cancel", schedule=None, catchup=False, tags=["operations"], default_args=RETRIES):
    start = RunOperationOperator(
        task_id="start",
        path="projects/demo/imports",
        json={"operation": {"duration": 3600, "metadata": {"progressPercent": 3}}},
        wait_for_completion=False,
    )
    cancel = CancelOperationOperator(
        task_id="cancel",
        operation_name="{{ ti.xcom_pull(task_ids='start') }}",
        deferrable=True,
        poke_interval=5,
    )

    @task
    def report(result: dict[str, Any]) -> str:
        """Say how the operation ended."""
        return f"{result['name']} {result['ended']}"

    start >> cancel
    report(cancel.output)
