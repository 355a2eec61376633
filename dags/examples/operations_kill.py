"""
An operation that goes on for an hour: mark the task failed (or clear it), and the operation is cancelled.

The same holds while the task is deferred and while it holds a worker; ``cancel_on_kill=False`` leaves it alone.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

# A retry takes a running operation over instead of starting another.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10)}

with DAG(dag_id="operations_kill", schedule=None, catchup=False, tags=["operations"], default_args=RETRIES):
    RunOperationOperator(
        task_id="long_running",
        path="projects/demo/exports",
        json={
            "operation": {
                "duration": 3600,
                "steps": [
                    {
                        "at": minute * 60,
                        "metadata": {"progressPercent": minute * 100 // 60, "statusMessage": "exporting"},
                    }
                    for minute in range(60)
                ],
            }
        },
        deferrable=True,
        poke_interval=5,
    )
