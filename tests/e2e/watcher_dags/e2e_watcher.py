"""DAGs that are scheduled by operations which no task has started, two of them sharing one listing."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_operations.triggers import OperationsEventTrigger

for outcome in ("succeeded", "failed"):
    asset = Asset(
        f"e2e_{outcome}",
        watchers=[
            AssetWatcher(
                name="watched",
                trigger=OperationsEventTrigger("projects/watched", outcome=outcome, poke_interval=10),
            )
        ],
    )

    with DAG(dag_id=f"e2e_watcher_{outcome}", schedule=[asset], catchup=False):

        @task
        def events(asset: Asset = asset, triggering_asset_events: Any = None) -> list[dict[str, Any]]:
            """Return what the events of this run say."""
            return [event.extra["payload"] for event in triggering_asset_events[asset]]

        events()
