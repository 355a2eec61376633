"""One task whose queue is ``heavy``, and one that is in none."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

with DAG(dag_id="queues", schedule=None, render_template_as_native_obj=True):
    queues: dict[str, dict[str, Any]] = {"heavy": {"queue": "heavy"}, "usual": {}}
    for task_id, arguments in queues.items():
        RunOperationOperator(
            task_id=task_id,
            path="projects/p/things:run",
            json={"operation": "{{ dag_run.conf['script'] }}"},
            deferrable=True,
            poke_interval=2,
            **arguments,
        )
