"""
Functions deployed to Google's Cloud Functions emulator: started and awaited in one task, by path and by the method's id,
and in two.

The connection is ``functions``; the run's ``conf`` names the sources: ``{"good": str, "slow": str, "broken": str}``.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

# The emulator refuses a function that it has already, and a run that Airflow has spoilt is repeated.
_LOCATION = "projects/demo-{{ dag_run.run_after | ts_nodash }}/locations/us-central1"


def deploy(task_id: str, source: str, **arguments: Any) -> RunOperationOperator:
    """Return a task that deploys a function, named as the task."""
    return RunOperationOperator(
        task_id=task_id,
        json={
            "name": f"{_LOCATION}/functions/{task_id}",
            "entryPoint": "main",
            "httpsTrigger": {},
            "sourceUploadUrl": f"{{{{ dag_run.conf['{source}'] }}}}",
        },
        **{"path": f"{_LOCATION}/functions", **arguments},
    )


with DAG(
    dag_id="e2e_functions",
    schedule=None,
    catchup=False,
    default_args={"operations_conn_id": "functions", "poke_interval": 2},
):
    deploy("run", "good", deferrable=True)
    deploy("run_broken", "broken", deferrable=True)
    deploy(
        "by_id",
        "good",
        path=None,
        api_method="cloudfunctions:v1.projects.locations.functions.create",
        parameters={"location": _LOCATION},
        deferrable=True,
    )

    for suffix, source in (("", "slow"), ("_broken", "broken")):
        start = deploy(f"start{suffix}", source, wait_for_completion=False)
        start >> OperationSensor(task_id=f"wait{suffix}", operation_name=str(start.output), deferrable=True)
