"""Sensors of one task each, told by ``dag_run.conf`` what to wait for; those of the chaos suite cancel when killed."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.sensors import OperationSensor

SENSORS: dict[str, dict[str, Any]] = {
    "sensor_deferred": {"deferrable": True, "poke_interval": 2},
    # Much shorter, and a busy scheduler takes the end of one stay for a crash of the next.
    "sensor_rescheduled": {"mode": "reschedule", "poke_interval": 15, "retries": 2},
}

for dag_id, arguments in SENSORS.items():
    with DAG(dag_id=dag_id, schedule=None) as dag:
        OperationSensor(task_id="run", operation_name="{{ dag_run.conf['operation'] }}", **arguments)
    globals()[dag_id] = dag
