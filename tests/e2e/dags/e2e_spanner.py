"""An instance, a database and a table of Google's Spanner emulator, by the ids of the methods."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

# The emulator refuses an instance that it has already, and a run that Airflow has spoilt is repeated.
_PROJECT = "projects/demo-{{ dag_run.run_after | ts_nodash | lower }}"

with DAG(
    dag_id="e2e_spanner",
    schedule=None,
    catchup=False,
    default_args={"operations_conn_id": "spanner", "poke_interval": 2},
):
    create_instance = RunOperationOperator(
        task_id="create_instance",
        api_method="spanner.projects.instances.create",
        parameters={"parent": _PROJECT},
        json={
            "instanceId": "by-ids",
            "instance": {
                "config": f"{_PROJECT}/instanceConfigs/emulator-config",
                "displayName": "By ids",
                "nodeCount": 1,
            },
        },
    )
    create_database = RunOperationOperator(
        task_id="create_database",
        api_method="spanner.projects.instances.databases.create",
        parameters={"parent": f"{_PROJECT}/instances/by-ids"},
        json={"createStatement": "CREATE DATABASE `orders`"},
        deferrable=True,
    )
    add_table = RunOperationOperator(
        task_id="add_table",
        api_method="spanner.projects.instances.databases.updateDdl",
        parameters={"database": f"{_PROJECT}/instances/by-ids/databases/orders"},
        json={"statements": ["CREATE TABLE Orders (Id INT64) PRIMARY KEY (Id)"]},
        deferrable=True,
    )
    create_instance >> create_database >> add_table
