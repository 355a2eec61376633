"""Deferred tasks of the http provider."""

from __future__ import annotations

import json
from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor

from tests.tooling.bench.task_dags.mapped_dags import COUNT, NAME, dags_of


def http_sensor(_: float) -> Any:
    """Return mapped sensors, which take a 404 for "not yet"."""
    tasks = HttpSensor.partial(
        task_id="task", http_conn_id="bench_http", poke_interval=1, deferrable=True, retries=0
    )
    return tasks.expand(endpoint=[f"v1/{NAME}{number}" for number in range(COUNT)])


def http_operator(_: float) -> Any:
    """Return mapped operators, whose one request is answered when an operation is over."""
    tasks = HttpOperator.partial(
        task_id="task",
        http_conn_id="bench_http",
        method="POST",
        data=json.dumps({"timeout": "600s"}),
        headers={"Content-Type": "application/json"},
        deferrable=True,
        warn_on_non_idempotent=False,
        retries=0,
    )
    return tasks.expand(endpoint=[f"v1/{NAME}{number}:wait" for number in range(COUNT)])


globals().update(dags_of({"http_sensor": http_sensor, "http_operator": http_operator}))
