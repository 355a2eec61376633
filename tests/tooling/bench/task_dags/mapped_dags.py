"""
DAGs of mapped tasks for the bench.

A worker parses the file of its own DAG, so what another form of a task imports must be in another file.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COUNT", "NAME", "dag_of", "dags_of"]

COUNT = int(os.environ["BENCH_TASKS"])
NAME = "projects/bench/operations/{{ dag_run.conf['batch'] }}-"
"""The beginning of an operation's name."""


def dag_of(dag_id: str, make: Callable[[], Any]) -> dict[str, Any]:
    """Return a DAG, by its id, with the tasks that are made in it."""
    start = datetime(2026, 1, 1)  # noqa: DTZ001  as in any DAG
    with DAG(dag_id, schedule=None, start_date=start, catchup=False) as dag:
        make()
    return {dag_id: dag}


def dags_of(forms: dict[str, Callable[[float], Any]]) -> dict[str, Any]:
    """Return a DAG, by its id, for each form of a task and each length of its operations."""
    found: dict[str, Any] = {}
    for form, make in forms.items():
        for length_s in json.loads(os.environ["BENCH_LENGTHS_S"]):
            found |= dag_of(f"{form}_{length_s}", lambda make=make, length_s=length_s: make(length_s))  # type: ignore[misc]  # defaults bind
    return found
