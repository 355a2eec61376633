"""Tasks to try out with ``airflow dags test`` and ``airflow tasks test``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor


def run(task_id: str, script: dict[str, Any], **arguments: Any) -> RunOperationOperator:
    body = {"operation": {"duration": 2, **script}, **(arguments.pop("more", {}))}
    return RunOperationOperator(
        task_id=task_id, path=f"projects/{task_id}/things:run", json=body, poke_interval=1, **arguments
    )


with DAG(dag_id="tried", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), catchup=False):
    run("running", {"response": {"way": "running"}})
    run("deferred", {"response": {"way": "deferred"}}, deferrable=True)
    run("failing", {"error": {"code": 5, "message": "no such thing"}}, deferrable=True)
    begun = run("begun", {"duration": 4, "response": {"way": "sensed"}}, wait_for_completion=False)
    modes: dict[str, dict[str, Any]] = {
        "poke": {"mode": "poke"},
        "reschedule": {"mode": "reschedule"},
        "deferring": {"deferrable": True},
    }
    for mode, more in modes.items():
        begun >> OperationSensor(task_id=mode, operation_name=str(begun.output), poke_interval=1, **more)

    @task
    def number(x: int) -> int:
        return x

    mapped: Any = number.expand(x=[1, 2])
    run("counted", {"response": {"way": "counted"}}, more={"numbers": mapped})
    OperationSensor(
        task_id="known", operation_name="projects/p/operations/known", poke_interval=1, deferrable=True
    )
