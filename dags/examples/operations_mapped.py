"""Many operations by dynamic task mapping: one mapped task each, all waiting in the triggerer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import RunOperationOperator

# A retry takes a running operation over instead of starting another.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10)}

with DAG(dag_id="operations_mapped", schedule=None, catchup=False, tags=["operations"], default_args=RETRIES):

    @task
    def requests() -> list[dict[str, Any]]:
        """Make one request body for each video."""
        return [
            {
                "operation": {
                    "duration": 4 + number,
                    "steps": [{"at": 1, "metadata": {"progressPercent": 10 * (number + 1)}}],
                    "response": {"frames": 1000 * (number + 1)},
                }
            }
            for number in range(5)
        ]

    convert = RunOperationOperator.partial(
        task_id="convert",
        path="projects/demo/videos",
        deferrable=True,
        poke_interval=5,
    ).expand(json=requests())

    @task
    def count(responses: Any) -> int:
        """Add up what the operations have returned."""
        return sum(response["frames"] for response in responses)

    count(convert.output)
