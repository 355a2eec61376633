"""
Defer the tasks of a DAG run in Airflow's database: ``python -m tests.tooling.bench.defer FILE``, with Airflow's environment.

The file holds ``{"dag_id": str, "run_id": str, "triggers": [{"classpath": str, "kwargs": dict, "next": dict}]}``, one
for each task instance. What is stored is what Airflow's own ``defer`` stores, and the XCom that our sensor pushes before.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import select


def defer(dag_id: str, run_id: str, triggers: list[dict[str, Any]]) -> None:
    """Defer every task instance of a run, and let the run begin."""
    now = datetime.now(timezone.utc)
    with create_session() as session:
        of_run = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        found = session.scalars(select(TaskInstance).where(*of_run).order_by(TaskInstance.map_index)).all()
        for task, told in zip(found, triggers, strict=True):
            kwargs = told["kwargs"]
            if "moment" in kwargs:
                kwargs["moment"] = datetime.fromtimestamp(kwargs["moment"], timezone.utc)
            trigger = Trigger(told["classpath"], kwargs)
            session.add(trigger)
            session.flush()
            task.trigger_id = trigger.id
            task.state = TaskInstanceState.DEFERRED
            task.next_method = "execute_complete"
            task.next_kwargs = told["next"]
            task.try_number = 1
            task.start_date = now
            if name := told["next"].get("operation_name"):
                XComModel.set(
                    "operation_name",
                    name,
                    dag_id=dag_id,
                    task_id=task.task_id,
                    run_id=run_id,
                    map_index=task.map_index,
                    serialize=False,  # as from a worker, which has done so
                    session=session,
                )
        run = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()
        run.state = DagRunState.RUNNING
        run.start_date = now


if __name__ == "__main__":
    defer(**json.loads(Path(sys.argv[1]).read_text()))
