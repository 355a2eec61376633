"""Teams with triggerers and connections of their own (``[core] multi_team``)."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.executors.clusters import TEAM, TeamsCluster

pytestmark = pytest.mark.celery


def test_a_trigger_keeps_its_tasks_team() -> None:
    """The team's triggerer watches with the team's connection, and cancels when the task is killed."""
    with TeamsCluster() as cluster:
        script = {"duration": 600, "cancelDelay": 1}
        cluster.trigger("queues", "one", {"script": script})

        def watched() -> bool:
            query = text("SELECT team_name, triggerer_id FROM trigger WHERE triggerer_id IS NOT NULL")
            with cluster.engine.connect() as connection:
                found = [tuple(row) for row in connection.execute(query)]
            return found == [(TEAM, cluster.triggerer_jobs["triggerer-b"])] * 2

        cluster.until(watched, "the team's triggerer has both", 120)
        cluster.until(lambda: len(cluster.emulator.journal("get")) >= 4, "they are polled", 60)

        cluster.api("PATCH", "/dags/queues/dagRuns/one/taskInstances/heavy", json={"new_state": "failed"})
        cluster.until(lambda: cluster.emulator.journal("cancel"), "it is cancelled", 60)
        assert len(cluster.emulator.journal("start")) == 2
        assert len(cluster.emulator.journal("cancel")) == 1
