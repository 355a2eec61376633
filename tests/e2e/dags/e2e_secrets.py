"""Tasks of connections whose tokens have to be fetched: they succeed, fail, wait in worker and triggerer."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

for kind in ("oauth2", "google"):
    with DAG(dag_id=f"e2e_secrets_{kind}", schedule=None, render_template_as_native_obj=True):
        start = RunOperationOperator(
            task_id="start",
            operations_conn_id=f"secret_{kind}",
            path=f"secrets/{kind}/things:run",
            json={"operation": {"duration": 6, "response": {"answer": 42}}},
            wait_for_completion=False,
            retries=2,
        )
        start >> OperationSensor(
            task_id="wait",
            operations_conn_id=f"secret_{kind}",
            operation_name="{{ ti.xcom_pull(task_ids='start') }}",
            deferrable=True,
            poke_interval=1,
            retries=2,
        )
        RunOperationOperator(
            task_id="fail",
            operations_conn_id=f"secret_{kind}",
            path=f"secrets/{kind}/failures:run",
            json={"operation": {"duration": 1, "error": {"code": 3, "message": "as was asked"}}},
            retries=0,
        )
