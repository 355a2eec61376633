"""Deferred tasks whose polls are answered oddly once, and one whose polls are refused from the first on."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

CASES = ("page", "refused", "unauthorized", "missing", "cut", "numbers", "mistake")

with DAG(
    dag_id="e2e_odd",
    schedule=None,
    catchup=False,
    default_args={"deferrable": True, "poke_interval": 2, "retries": 2, "retry_delay": timedelta(seconds=1)},
):
    for case in CASES:
        RunOperationOperator(
            task_id=case,
            path=f"projects/odd-{case}/things:run",
            json={"operation": {"duration": 300 if case == "mistake" else 30, "response": {"case": case}}},
        )
