"""Triggerers with queues of their own (``[triggerer] queues_enabled``, Airflow 3.2 or later)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.executors.clusters import QueuesCluster

pytestmark = pytest.mark.celery


def test_a_trigger_keeps_its_tasks_queue() -> None:
    """Each operation is watched by the triggerer of its task's queue, and cancelled by it when the task is killed."""
    with QueuesCluster() as cluster:
        script = {"duration": 600, "cancelDelay": 1}
        cluster.trigger("queues", "one", {"script": script})

        def deferred() -> dict[str, Any]:
            query = text(
                "SELECT ti.task_id, tr.queue, tr.triggerer_id FROM task_instance ti"
                " JOIN trigger tr ON tr.id = ti.trigger_id WHERE tr.triggerer_id IS NOT NULL"
            )
            with cluster.engine.connect() as connection:
                rows = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
            return rows if len(rows) == 2 else {}

        held = cluster.until(deferred, "both are watched", 120)

        jobs = cluster.triggerer_jobs
        assert held == {"heavy": ("heavy", jobs["triggerer-b"]), "usual": ("default", jobs["triggerer-a"])}
        cluster.api("PATCH", "/dags/queues/dagRuns/one/taskInstances/heavy", json={"new_state": "failed"})
        cluster.until(lambda: cluster.emulator.journal("cancel"), "the heavy one is cancelled", 60)
        assert len(cluster.emulator.journal("cancel")) == 1
