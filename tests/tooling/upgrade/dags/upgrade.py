"""Tasks that are deferred while the package is replaced, and one short run for before and after."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationsEventTrigger

LASTS_S = 3600
"""Longer than all of it takes: what is to end is ended by the rehearsal."""

ARGUMENTS: dict[str, Any] = {"deferrable": True, "poke_interval": 5}
RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}


def run(name: str, duration: float = LASTS_S, **arguments: Any) -> RunOperationOperator:
    return RunOperationOperator(
        task_id=name,
        path=f"projects/{name}/things:run",
        json={"operation": {"duration": duration}},
        **{**ARGUMENTS, **arguments},
    )


with DAG(dag_id="upgrade", schedule=None, catchup=False):
    run("succeeds")
    run("fails")
    # Later than the upgrade, if it is to show something.
    run("times_out", timeout=600)
    run("killed")
    run("cleared")

    @task.operation(path="projects/retried/things:run", **ARGUMENTS, **RETRY)
    def retried(ti: Any = None) -> dict[str, Any]:
        """Fail in the first try."""
        first = {"duration": 1, "error": {"code": 14, "message": "try again"}}
        return {"json": {"operation": first if ti.try_number == 1 else {"duration": LASTS_S}}}

    retried()

    begun = run("begins", wait_for_completion=False)
    ways: dict[str, dict[str, Any]] = {
        "waits": ARGUMENTS,
        "ends_in_the_triggerer": {**ARGUMENTS, "end_from_trigger": True},
        "looks_again": {"mode": "reschedule", "poke_interval": 20},
    }
    for way, arguments in ways.items():
        begun >> OperationSensor(task_id=way, operation_name=str(begun.output), **arguments)

with DAG(dag_id="upgrade_short", schedule=None, catchup=False):
    run("short", duration=5)

watched = Asset(
    "upgrade_watched",
    watchers=[
        AssetWatcher(name="watched", trigger=OperationsEventTrigger("projects/watched", poke_interval=10))
    ],
)

with DAG(dag_id="upgrade_watched", schedule=[watched], catchup=False):

    @task
    def events(triggering_asset_events: Any = None) -> list[str]:
        """Return which operations have ended."""
        return [event.extra["payload"]["name"] for event in triggering_asset_events[watched]]

    events()
