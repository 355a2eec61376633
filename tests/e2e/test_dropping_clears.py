"""An Airflow whose clears drop a task's state: the next try knows of no predecessor, the old trigger alone does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.emulator import EmulatorProcess
from tests.tooling.harness.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.airflow

HERE = Path(__file__).parent / "dropping_clears"


@pytest.fixture
def server() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture
def airflow(server: EmulatorProcess) -> Iterator[Standalone]:
    connection = {"conn_type": "operations", "host": server.url}
    environment = {
        "AIRFLOW_CONN_OPERATIONS_DEFAULT": json.dumps(connection),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
    }
    with Standalone(HERE / "dags", environment) as airflow:
        yield airflow


def test_cleared(server: EmulatorProcess, airflow: Standalone) -> None:
    """
    A cleared task leaves one operation running, its new one, whether its record was dropped or kept.

    Where it was dropped, the old trigger cancels as soon as it sees that the task has another operation.
    """
    run = airflow.trigger("cleared")
    tasks = ("dropped", "kept")

    def operations(task_id: str) -> list[dict[str, Any]]:
        found = [each for each in server.operations() if each["name"].startswith(f"projects/{task_id}/")]
        return sorted(found, key=lambda each: str(each["metadata"]["createTime"]))

    def records(task_id: str) -> list[Any]:
        path = f"/dags/cleared/dagRuns/{run}/taskInstances/{task_id}/state-store"
        return list(airflow.api("GET", path)["task_state_store"])

    def all_watched() -> bool:
        """Tell whether a triggerer polls each task's latest operation: its trigger hears of a clear from then on."""
        polled = {entry["path"].removeprefix("/v1/") for entry in server.journal("get")}
        return all(operations(task_id) and operations(task_id)[-1]["name"] in polled for task_id in tasks)

    airflow.until(all_watched, "both are deferred", 150)
    for task_id, more in (("dropped", {}), ("kept", {"keep_task_state": True})):
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run, "task_ids": [task_id], **more}
        airflow.api("POST", "/dags/cleared/clearTaskInstances", json=body)
    assert (records("dropped"), len(records("kept"))) == ([], 1)

    def one_each() -> bool:
        return all(
            len(found := operations(task_id)) == 2 and found[0]["done"] and not found[1]["done"]
            for task_id in tasks
        )

    airflow.until(one_each, "the old operations are cancelled and new ones run", 120)
    airflow.until(all_watched, "both are deferred again", 60)
    assert one_each()
