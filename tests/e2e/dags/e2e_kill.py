"""Operations that go on for an hour, to be killed: deferred, and holding a worker."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

for name, deferrable in (("deferred", True), ("running", False)):
    with DAG(dag_id=f"e2e_kill_{name}", schedule=None, catchup=False) as dag:
        RunOperationOperator(
            task_id="run",
            path=f"projects/kill-{name}/things:run",
            json={"operation": {"duration": 3600}},
            deferrable=deferrable,
            poke_interval=2,
        )
    globals()[dag.dag_id] = dag

with DAG(dag_id="e2e_kill_sensor", schedule=None, catchup=False):
    start = RunOperationOperator(
        task_id="start",
        path="projects/kill-sensor/things:run",
        json={"operation": {"duration": 3600}},
        wait_for_completion=False,
    )
    start >> OperationSensor(
        task_id="wait",
        operation_name=str(start.output),
        deferrable=True,
        cancel_on_kill=True,
        poke_interval=2,
    )

with DAG(dag_id="e2e_modes", schedule=None, catchup=False):
    begin = RunOperationOperator(
        task_id="start",
        path="projects/modes/things:run",
        json={"operation": {"duration": 20, "error": {"code": 9, "message": "the disk is full"}}},
        wait_for_completion=False,
    )
    for mode in ("poke", "reschedule"):
        begin >> OperationSensor(
            task_id=mode,
            operation_name=str(begin.output),
            mode=mode,
            # Much shorter, and a busy scheduler takes the end of one stay for a crash of the next.
            poke_interval=15,
            retries=3,
        )
    begin >> OperationSensor(
        task_id="deferrable", operation_name=str(begin.output), deferrable=True, poke_interval=5, retries=3
    )
    begin >> OperationSensor(
        task_id="softly", operation_name=str(begin.output), deferrable=True, poke_interval=5, soft_fail=True
    )
