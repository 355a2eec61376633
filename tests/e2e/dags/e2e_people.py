"""Links to a console, and a retry policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.retry_policies import OperationRetryPolicy
from airflow_provider_operations.sensors import OperationSensor

RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}
RUN: dict[str, Any] = {
    "operations_conn_id": "with_console",
    "path": "projects/links/things:run",
    "deferrable": True,
    "poke_interval": 2,
}
BODY = {"operation": {"duration": 40}}

with DAG(dag_id="e2e_links", schedule=None, catchup=False, default_args=RETRIES):
    run = RunOperationOperator(task_id="run", json=BODY, **RUN)
    RunOperationOperator.partial(task_id="mapped", **RUN).expand(json=[BODY, BODY])
    RunOperationOperator(task_id="plain", json=BODY, **{**RUN, "operations_conn_id": "operations_default"})
    start = RunOperationOperator(task_id="start", json=BODY, wait_for_completion=False, **RUN)
    cancel = CancelOperationOperator(
        task_id="cancel", operation_name=str(start.output), operations_conn_id="with_console"
    )
    wait = OperationSensor(
        task_id="wait",
        operation_name=str(start.output),
        operations_conn_id="with_console",
        deferrable=True,
        poke_interval=2,
        soft_fail=True,
    )
    start >> [wait, cancel]

RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}

with DAG(dag_id="e2e_policy", schedule=None, catchup=False):
    for task_id, error in (
        ("worth", {"code": 14, "message": "no disks today", "details": [RETRY_INFO]}),
        ("hopeless", {"code": 9, "message": "the disk is full"}),
    ):
        RunOperationOperator(
            task_id=task_id,
            path="projects/policy/things:run",
            json={"operation": {"duration": 2, "error": error}},
            deferrable=True,
            retries=1,
            # The test ends sooner: the policy's delay is what counts.
            retry_delay=timedelta(hours=1),
            retry_policy=OperationRetryPolicy(),
        )
