"""
A DAG that runs when an operation fails, whoever has started it (Airflow 3).

An asset watcher looks at the operations under a location. Each that fails is an event of the asset
``failed_operations``, and the DAG is scheduled by that asset. A run may have several events.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_operations.triggers import OperationsEventTrigger

failed_operations = Asset(
    "failed_operations",
    watchers=[
        AssetWatcher(
            name="europe-west1",
            trigger=OperationsEventTrigger(
                "projects/demo/locations/europe-west1", outcome="failed", poke_interval=10
            ),
        )
    ],
)

with DAG(dag_id="operations_watcher", schedule=[failed_operations], catchup=False, tags=["operations"]):

    @task
    def tell(triggering_asset_events: Any = None) -> str:
        """Say which operations have failed, and why."""
        found = [event.extra["payload"] for event in triggering_asset_events[failed_operations]]
        return "; ".join(f"{each['name']}: {each['error']['message']}" for each in found)

    tell()
