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

with DAG(dag_id="e2e_foreign", schedule=None, catchup=False):
    for case, deferrable in (("deferred", True), ("synchronous", False), ("none", True)):
        place = f"projects/foreign-{case}"
        follows = RunOperationOperator(
            task_id=case,
            path=f"{place}/things",
            resource_name=f"{place}/things/x",
            if_exists="wait",
            deferrable=deferrable,
            poke_interval=2,
        )
        if case != "none":
            script = {
                "duration": 90,
                "metadata": {"target": f"{place}/things/x"},
                "response": {"by": "another"},
            }
            another = RunOperationOperator(
                task_id=f"another_{case}",
                path=f"{place}/others:create",
                json={"operation": script},
                wait_for_completion=False,
            )
            another >> follows

for case, deferrable in (("deferred", True), ("running", False)):
    with DAG(dag_id=f"e2e_foreign_killed_{case}", schedule=None, catchup=False) as dag:
        RunOperationOperator(
            task_id="run",
            path=f"projects/foreign-killed-{case}/things",
            resource_name=f"projects/foreign-killed-{case}/things/x",
            if_exists="wait",
            deferrable=deferrable,
            poke_interval=2,
        )
    globals()[dag.dag_id] = dag
