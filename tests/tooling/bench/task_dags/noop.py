"""A task that needs a worker, and nothing else."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

from tests.tooling.bench.task_dags.mapped_dags import COUNT, dag_of


class Nothing(BaseOperator):
    """A task that does nothing."""

    def __init__(self, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Do nothing."""


globals().update(
    dag_of("noop", lambda: Nothing.partial(task_id="task", retries=0).expand(number=list(range(COUNT))))
)
