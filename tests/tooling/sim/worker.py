"""A worker's process: Airflow's own task runner, with a task instance as the API server would hand it out."""

from __future__ import annotations

from copy import copy
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk.api.datamodels._generated import DagRun, DagRunState, DagRunType, TIRunContext
from airflow.sdk.execution_time import task_runner

if TYPE_CHECKING:
    from .airflow import Worker
    from .world import World

__all__ = ["run_task"]

_DAY = datetime(2027, 1, 15, tzinfo=timezone.utc)
_RUN = DagRun(
    dag_id="dag",
    run_id="run",
    logical_date=_DAY,
    data_interval_start=_DAY,
    data_interval_end=_DAY,
    run_after=_DAY,
    start_date=_DAY,
    end_date=None,
    run_type=DagRunType.MANUAL,
    state=DagRunState.RUNNING,
    consumed_asset_events=[],
    partition_key=None,
)
_log: Any = structlog.get_logger("simulated task")


def run_task(world: World, worker: Worker) -> int:
    """Run the task as ``task_runner.main`` does; return the exit code."""
    if world.lines is not None:
        return world.lines.run(worker, lambda: _run(world, worker))
    return _run(world, worker)


def _run(world: World, worker: Worker) -> int:
    given = worker.ti
    ti: Any = task_runner.RuntimeTaskInstance.model_construct(
        id=given.id,
        **world.form.place,
        try_number=given.try_number,
        dag_version_id=given.id,
        task=copy(world.task),  # each process has its own
        bundle_instance=None,
        max_tries=given.max_tries,
        start_date=_DAY,
        queue="default",
    )
    ti._ti_context_from_server = TIRunContext(
        dag_run=_RUN,
        max_tries=given.max_tries,
        next_method=given.next_method,
        next_kwargs=given.next_kwargs,
        xcom_keys_to_clear=given.xcom_keys,
        should_retry=given.should_retry,
        task_reschedule_count=given.reschedules,
    )
    version = world.form.airflow
    context = ti.get_template_context()
    if not version.keeps_task_state:
        context.pop("task_state_store")
    state, _, error = task_runner.run(ti, context, _log)
    world.judge.ended(worker, error)
    if worker.refused and not version.reports_refusals:
        return 1
    task_runner.finalize(ti, state, context, _log, error)
    return 1 if ti._terminal_state_send_failed else 0
