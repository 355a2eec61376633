"""Each form of a task that the bench looks at, one DAG for each form and length of its operations."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = int(os.environ["BENCH_TASKS"])
LENGTHS_S = json.loads(os.environ["BENCH_LENGTHS_S"])
NAME = "projects/bench/operations/{{ dag_run.conf['batch'] }}-"


class Nothing(BaseOperator):
    """A task that needs a worker, and nothing else."""

    def __init__(self, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Do nothing."""


def operator(**arguments: Any) -> Callable[[float], Any]:
    """Return what makes the mapped operator for operations of a length."""

    def made(length_s: float) -> Any:
        script = {"operation": {"duration": length_s, "response": {"a": 1}}}
        tasks = RunOperationOperator.partial(
            task_id="task",
            operations_conn_id="bench",
            path="projects/bench/things:run",
            retries=0,
            **arguments,
        )
        return tasks.expand(json=[script] * COUNT)

    return made


def sensor(**arguments: Any) -> Callable[[float], Any]:
    """Return what makes the mapped sensor; its operations are started elsewhere."""

    def made(_: float) -> Any:
        tasks = OperationSensor.partial(
            task_id="task", operations_conn_id="bench", poke_interval=30, retries=0, **arguments
        )
        return tasks.expand(operation_name=[f"{NAME}{number}" for number in range(COUNT)])

    return made


def http_sensor(_: float) -> Any:
    """Return mapped sensors of the http provider, which take a 404 for "not yet"."""
    tasks = HttpSensor.partial(
        task_id="task", http_conn_id="bench_http", poke_interval=1, deferrable=True, retries=0
    )
    return tasks.expand(endpoint=[f"v1/{NAME}{number}" for number in range(COUNT)])


def http_operator(_: float) -> Any:
    """Return mapped operators of the http provider, whose one request is answered when an operation is over."""
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


FORMS: dict[str, Callable[[float], Any]] = {
    "operator": operator(),
    "operator_deferred": operator(deferrable=True),
    "operator_defer_after": operator(deferrable=True, defer_after=5),
    "operator_ends_in_trigger": operator(deferrable=True, end_from_trigger=True),
    "sensor": sensor(),
    "sensor_deferred": sensor(deferrable=True),
    "sensor_ends_in_trigger": sensor(deferrable=True, end_from_trigger=True),
    "http_sensor": http_sensor,
    "http_operator": http_operator,
}

for form, make in FORMS.items():
    for seconds in LENGTHS_S:
        with DAG(f"{form}_{seconds}", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as dag:  # noqa: DTZ001  as in any DAG
            make(seconds)
        globals()[dag.dag_id] = dag

with DAG("noop", schedule=None, start_date=datetime(2026, 1, 1), catchup=False) as noop:  # noqa: DTZ001  as in any DAG
    Nothing.partial(task_id="task", retries=0).expand(number=list(range(COUNT)))
