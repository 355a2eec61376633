"""A task for each cell of the grid of refused starts, which the test has written beside this file."""

from __future__ import annotations

import json
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

for dag_id, tasks in json.loads(Path(__file__).with_name("cells.json").read_text()).items():
    with DAG(
        dag_id=dag_id,
        schedule=None,
        catchup=False,
        max_active_tasks=len(tasks),
        render_template_as_native_obj=True,  # what an operation does may hang on the try that starts it
    ) as dag:
        for task_id, arguments in tasks.items():
            RunOperationOperator(task_id=task_id, **arguments)
    globals()[dag_id] = dag
