"""Twenty methods of twenty APIs of Google's by their ids, every other one deferred."""

from __future__ import annotations

import json
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

# A run that Airflow has spoilt is repeated, with operations of its own.
_RUN = "{{ dag_run.run_after | ts_nodash }}"

with DAG(dag_id="e2e_methods", schedule=None, catchup=False):
    for number, each in enumerate(json.loads(Path(__file__).with_name("twenty_methods.json").read_text())):
        body = each["json"]
        if body is not None:
            name = each["operation"].replace("RUN", _RUN)
            body |= {"operation": {"name": name, "duration": 5, "response": {"of": each["method"]}}}
        RunOperationOperator(
            task_id=each["document"].replace(":", "_"),
            api_method=each["method"],
            parameters=each["parameters"],
            json=body,
            poke_interval=2,
            deferrable=number % 2 == 0,
        )
