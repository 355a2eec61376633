"""What the matrix runs on each Airflow; no more of Airflow's features than all of them have."""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

ERROR = {
    "code": 8,
    "message": "no machines",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "GPU_QUOTA_EXCEEDED",
            "domain": "training.example.com",
            "metadata": {"region": "europe-west1"},
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "90s"},
    ],
}
WAYS = {"deferred": True, "running": False}


def run(scenario: str, way: str, script: dict[str, Any], **arguments: Any) -> RunOperationOperator:
    return RunOperationOperator(
        task_id=way,
        path=f"projects/{scenario}-{way}/things:run",
        json={"operation": script},
        deferrable=WAYS[way],
        poke_interval=2,
        **arguments,
    )


def die_soon(context: Any) -> None:
    """Lose the worker in its first try, a while after the start."""
    if context["ti"].try_number == 1:
        threading.Timer(6, os.kill, (os.getpid(), signal.SIGKILL)).start()


with DAG(dag_id="matrix_success", schedule=None, catchup=False):

    @task.operation(path="projects/success-decorated/things:run", deferrable=True, poke_interval=2)
    def decorated(first: Any) -> dict[str, Any]:
        return {"json": {"operation": {"duration": 3, "response": {"after": first["way"]}}}}

    @task.operation(path="projects/success-decorated/things:run", poke_interval=2)
    def decorated_running() -> dict[str, Any]:
        return {"json": {"operation": {"duration": 3, "response": {"way": "decorated"}}}}

    for one in WAYS:
        done = run("success", one, {"duration": 5, "response": {"way": one}})
        if one == "deferred":
            decorated(done.output)
    decorated_running()

with DAG(dag_id="matrix_sensor", schedule=None, catchup=False):
    begun = RunOperationOperator(
        task_id="start",
        path="projects/sensed/things:run",
        json={"operation": {"duration": 20, "response": {"way": "sensed"}}},
        wait_for_completion=False,
    )
    modes: dict[str, dict[str, Any]] = {
        "poke": {"mode": "poke"},
        # Much shorter, and a busy scheduler takes the end of one stay for a crash of the next.
        "reschedule": {"mode": "reschedule", "poke_interval": 15, "retries": 2},
        "deferred": {"deferrable": True},
    }
    for mode, more in modes.items():
        begun >> OperationSensor(
            task_id=mode, operation_name=str(begun.output), **{"poke_interval": 5, **more}
        )
    begun >> OperationSensor(
        task_id="ending",
        operation_name=str(begun.output),
        deferrable=True,
        poke_interval=5,
        end_from_trigger=True,
    )

with DAG(dag_id="matrix_cancel", schedule=None, catchup=False):
    begun = RunOperationOperator(
        task_id="start",
        path="projects/to-cancel/things:run",
        json={"operation": {"duration": 3600, "cancelDelay": 1}},
        wait_for_completion=False,
    )
    begun >> CancelOperationOperator(task_id="cancel", operation_name=str(begun.output))

with DAG(dag_id="matrix_failure", schedule=None, catchup=False):
    for one in WAYS:
        run("failure", one, {"duration": 3, "error": ERROR})

with DAG(dag_id="matrix_timeout", schedule=None, catchup=False):
    for one in WAYS:
        run("timeout", one, {"duration": 3600, "cancelDelay": 1}, timeout=10)

for one in WAYS:
    with DAG(dag_id=f"matrix_kill_{one}", schedule=None, catchup=False) as dag:
        run("kill", one, {"duration": 3600, "cancelDelay": 1})
    globals()[dag.dag_id] = dag

with DAG(dag_id="matrix_lost", schedule=None, catchup=False):
    run(
        "lost",
        "running",
        {"duration": 40, "response": {"way": "lost"}},
        retries=1,
        retry_delay=timedelta(seconds=1),
        pre_execute=die_soon,
    )
