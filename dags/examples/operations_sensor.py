"""One task starts an operation and ends; a sensor waits for it, and its response goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

# A retry takes a running operation over instead of starting another.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10)}

with DAG(dag_id="operations_sensor", schedule=None, catchup=False, tags=["operations"], default_args=RETRIES):
    start = RunOperationOperator(
        task_id="start",
        path="projects/demo/locations/europe-west1/backups",
        json={
            "operation": {
                "duration": 6,
                "steps": [{"at": 2, "metadata": {"progressPercent": 50, "statusMessage": "copying"}}],
                "response": {"backup": "projects/demo/backups/nightly", "sizeBytes": "1073741824"},
            }
        },
        wait_for_completion=False,
    )
    wait = OperationSensor(
        task_id="wait",
        operation_name="{{ ti.xcom_pull(task_ids='start') }}",
        deferrable=True,
        poke_interval=5,
        timeout=600,
    )

    @task
    def use(response: dict[str, Any]) -> str:
        """Take the operation's response from the sensor."""
        return f"backed up to {response['backup']}"

    start >> wait
    use(wait.output)
