"""What Airflow's database has of a DAG's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import select
from sqlalchemy.orm import lazyload

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["tasks_of"]


def tasks_of(dag_version_id: Any, session: Session) -> dict[str, dict[str, Any]]:
    """Return the tasks of a version of a DAG as they are serialized, by their ids; none if there is no such version."""
    query = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == dag_version_id)
    dag = session.scalar(query.options(lazyload("*")))
    tasks = dag.data["dag"]["tasks"] if dag is not None and dag.data else []
    return {task["__var"]["task_id"]: task["__var"] for task in tasks}
