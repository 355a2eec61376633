"""Tasks whose starts the service refuses."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

with DAG(dag_id="e2e_refused", schedule=None, catchup=False):
    for case, deferrable in (("deferred", True), ("synchronous", False)):
        RunOperationOperator(
            task_id=case,
            path=f"projects/refused-{case}/things:run",
            json={"operation": {"duration": 3, "response": {"case": case}}},
            deferrable=deferrable,
            start_retry_on="ABORTED",
        )
    RunOperationOperator(task_id="exists", path="projects/refused-exists/things", if_exists="skip")
    RunOperationOperator(
        task_id="missing", path="projects/refused-missing/things/x", method="DELETE", if_missing="skip"
    )
