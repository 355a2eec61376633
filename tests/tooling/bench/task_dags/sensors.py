"""Sensors, in each form; their operations are started elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_operations.sensors import OperationSensor
from tests.tooling.bench.task_dags.mapped_dags import COUNT, NAME, dags_of


def sensor(_: float, **arguments: Any) -> Any:
    """Return mapped sensors."""
    tasks = OperationSensor.partial(
        task_id="task", operations_conn_id="bench", poke_interval=30, retries=0, **arguments
    )
    return tasks.expand(operation_name=[f"{NAME}{number}" for number in range(COUNT)])


globals().update(
    dags_of(
        {
            "sensor": sensor,
            "sensor_deferred": partial(sensor, deferrable=True),
            "sensor_ends_in_trigger": partial(sensor, deferrable=True, end_from_trigger=True),
        }
    )
)
