from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

with DAG(dag_id="cleared", schedule=None, catchup=False):
    for task_id in ("dropped", "kept"):
        RunOperationOperator(
            task_id=task_id,
            path=f"projects/{task_id}/things:run",
            json={"operation": {"duration": 3600, "cancelDelay": 1.0}},
            deferrable=True,
            poke_interval=1,
        )
