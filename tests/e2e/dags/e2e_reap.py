"""Operations that go on for an hour, whose workers are lost; only a sweep can cancel what is left then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

TASKS: dict[str, dict[str, Any]] = {
    "lost": {"retries": 0},
    "between": {"retries": 1, "retry_delay": timedelta(hours=1)},
    "scheduled": {"retries": 1, "retry_delay": timedelta(seconds=1), "pool": "reap"},
    "cleared": {"retries": 0, "pool": "reap"},
    "running": {"retries": 1},
}
for task_id, arguments in TASKS.items():
    with DAG(dag_id=f"e2e_reap_{task_id}", schedule=None, catchup=False) as dag:
        RunOperationOperator(
            task_id=task_id,
            path=f"projects/reap-{task_id}/things:run",
            json={"operation": {"duration": 3600, "cancelDelay": 1}},
            deferrable=False,
            poke_interval=2,
            **arguments,
        )
    globals()[dag.dag_id] = dag
