"""A DAG that runs when an operation ends which no task has started; Airflow 2 has no asset watchers."""

from __future__ import annotations

from typing import Any

from airflow_provider_operations._airflow.compat import HAS_ASSET_WATCHERS

if HAS_ASSET_WATCHERS:
    from airflow.sdk import DAG, Asset, AssetWatcher, task

    from airflow_provider_operations.triggers import OperationsEventTrigger

    trigger = OperationsEventTrigger("projects/watched", outcome="succeeded", poke_interval=10)
    watched = Asset("matrix_watched", watchers=[AssetWatcher(name="watched", trigger=trigger)])

    with DAG(dag_id="matrix_watched", schedule=[watched], catchup=False):

        @task
        def events(triggering_asset_events: Any = None) -> list[str]:
            """Return which operations have ended."""
            return [event.extra["payload"]["name"] for event in triggering_asset_events[watched]]

        events()
