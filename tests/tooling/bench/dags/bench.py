"""Tasks that the bench defers by itself, in Airflow's database: no worker ever runs their ``execute``."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.sensors import OperationSensor

for dag_id, count in (
    ("control", int(os.environ["BENCH_COUNT"])),
    ("ending", int(os.environ["BENCH_COUNT"])),
    ("resumed", int(os.environ["BENCH_RESUMED"])),
):
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:  # noqa: DTZ001  as in any DAG
        OperationSensor.partial(task_id="wait", operations_conn_id="bench", retries=0).expand(
            operation_name=[f"projects/bench/operations/{dag_id}-{number}" for number in range(count)]
        )
    globals()[dag_id] = dag
