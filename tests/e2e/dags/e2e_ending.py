"""Sensors whose success ends in the triggerer, beside one that ends in a worker; and one that fails."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

RESPONSE = {"image": "app", "layers": [1, 2.5, None, True], "__type": "Build", "sizes": {"total": 7}}


def start(task_id: str, **script: Any) -> RunOperationOperator:
    """Return a task that starts an operation long enough for all sensors to find it running."""
    return RunOperationOperator(
        task_id=task_id,
        path="projects/ending/things:run",
        json={"operation": {"duration": 40, **script}},
        wait_for_completion=False,
    )


@task
def use(response: Any) -> dict[str, Any]:
    """Tell what a downstream task gets."""
    return {"type": type(response).__name__, "layers": len(response["layers"])}


with DAG(
    dag_id="e2e_ending",
    schedule=None,
    catchup=False,
    default_args={"deferrable": True, "poke_interval": 2, "retries": 2},
):
    build = start("start", response=RESPONSE, metadata={"progressPercent": 50})
    name = str(build.output)
    ended = OperationSensor(task_id="ended", operation_name=name, end_from_trigger=True)
    silent = OperationSensor(task_id="silent", operation_name=name, end_from_trigger=True, do_xcom_push=False)
    resumed = OperationSensor(task_id="resumed", operation_name=name)
    mapped = OperationSensor.partial(task_id="mapped", end_from_trigger=True).expand(operation_name=[name])
    build >> [ended, silent, resumed, mapped]
    use(ended.output)

    broken = start("start_broken", error={"code": 9, "message": "the disk is full"})
    broken >> OperationSensor(task_id="failed", operation_name=str(broken.output), end_from_trigger=True)
