"""
Google Cloud Spanner: create an instance and a database, fill it, and build an index.

Connection ``spanner``: type Long-Running Operations, host ``spanner.googleapis.com``, password an OAuth token
with the scope ``cloud-platform``; or the emulator, host ``127.0.0.1``, port 9020, and nothing else.

The index is unique and the rows are not: its creation fails, and the task says which rows are in its way, in
Spanner's own words.
https://cloud.google.com/spanner/docs/reference/rest/v1/projects.instances.databases/updateDdl
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_operations.operators import RunOperationOperator

_INSTANCE = "projects/{{ params.project }}/instances/{{ params.instance }}"

with DAG(
    dag_id="operations_spanner",
    schedule=None,
    catchup=False,
    tags=["operations", "google"],
    params={
        "project": Param("my-project", type="string"),
        "instance": Param("airflow-demo", type="string"),
        "config": Param("regional-europe-west1", type="string"),
    },
    default_args={
        "operations_conn_id": "spanner",
        "deferrable": True,
        "poke_interval": 10,
        "timeout": timedelta(hours=2),
    },
):
    create_instance = RunOperationOperator(
        task_id="create_instance",
        path="projects/{{ params.project }}/instances",
        json={
            "instanceId": "{{ params.instance }}",
            "instance": {
                "config": "projects/{{ params.project }}/instanceConfigs/{{ params.config }}",
                "displayName": "Airflow demo",
                "nodeCount": 1,
            },
        },
    )
    create_database = RunOperationOperator(
        task_id="create_database",
        path=f"{_INSTANCE}/databases",
        json={
            "createStatement": "CREATE DATABASE `orders`",
            "extraStatements": ["CREATE TABLE Orders (Id INT64, Customer STRING(36)) PRIMARY KEY (Id)"],
        },
    )

    @task
    def fill(project: str, instance: str) -> int:
        """Write two orders of the same customer; a plain call that answers at once, no operation."""
        from airflow_provider_operations.hooks import OperationsHook

        with OperationsHook("spanner") as hook:
            url = f"{hook.settings.service.base_url}/v1"
            database = f"projects/{project}/instances/{instance}/databases/orders"
            session: Any = hook.get_conn()
            name = session.post(f"{url}/{database}/sessions", timeout=30).json()["name"]
            rows = {"table": "Orders", "columns": ["Id", "Customer"], "values": [["1", "ann"], ["2", "ann"]]}
            request = {"singleUseTransaction": {"readWrite": {}}, "mutations": [{"insert": rows}]}
            session.post(f"{url}/{name}:commit", json=request, timeout=30).raise_for_status()
        return 2

    create_index = RunOperationOperator(
        task_id="create_index",
        path=f"{_INSTANCE}/databases/orders/ddl",
        method="PATCH",
        json={"statements": ["CREATE UNIQUE INDEX OneOrderPerCustomer ON Orders(Customer)"]},
    )

    (
        create_instance
        >> create_database
        >> fill("{{ params.project }}", "{{ params.instance }}")
        >> create_index
    )
