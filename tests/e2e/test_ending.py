"""``end_from_trigger`` in a real Airflow: one worker start instead of two, the same XComs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .test_airflow import finished, states

if TYPE_CHECKING:
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow


def worker_starts(airflow: Standalone, dag_id: str, run_id: str) -> dict[str, int]:
    """Count by task how often a worker took one of its instances up, as Airflow's audit log has it."""
    query = {"dag_id": dag_id, "run_id": run_id, "event": "running", "limit": 100}
    counts: dict[str, int] = {}
    for entry in airflow.api("GET", "/eventLogs", params=query)["event_logs"]:
        counts[entry["task_id"]] = counts.get(entry["task_id"], 0) + 1
    return counts


def test_ending(airflow: Standalone) -> None:
    """
    A success costs one worker start, and downstream gets the objects that a worker would have delivered.

    A failure still comes to a worker: its whole error is in the log, and it is final.
    """
    run_id = finished(airflow, "e2e_ending")

    found = states(airflow, "e2e_ending", run_id)
    assert found.pop("failed") == {"failed"}
    assert found.keys() == {"start", "ended", "silent", "resumed", "mapped", "use", "start_broken"}
    assert set.union(*found.values()) == {"success"}
    assert worker_starts(airflow, "e2e_ending", run_id) == {
        **dict.fromkeys(("start", "start_broken", "use"), 1),
        **dict.fromkeys(("ended", "silent", "mapped"), 1),
        **dict.fromkeys(("resumed", "failed"), 2),
    }
    response = airflow.xcom("e2e_ending", run_id, "resumed", "return_value")
    operation = airflow.xcom("e2e_ending", run_id, "resumed", "operation")
    assert response["layers"] == [1, 2.5, None, True]
    for task_id, map_index in (("ended", -1), ("mapped", 0)):
        assert airflow.xcom("e2e_ending", run_id, task_id, "return_value", map_index) == response
        assert airflow.xcom("e2e_ending", run_id, task_id, "operation", map_index) == operation
    assert airflow.xcom("e2e_ending", run_id, "silent", "operation") == operation
    keys = xcom_keys(airflow, run_id, "resumed")
    assert keys >= {"operation_name", "operation", "return_value"}
    assert xcom_keys(airflow, run_id, "ended") == keys
    assert xcom_keys(airflow, run_id, "silent") == keys - {"return_value"}
    assert airflow.xcom("e2e_ending", run_id, "use", "return_value") == {"type": "dict", "layers": 4}

    ended = airflow.task("e2e_ending", run_id, "ended")
    assert ended["duration"] > 5
    assert ended["end_date"] > ended["start_date"]
    assert f"{operation['name']}: succeeded after " in airflow.log("e2e_ending", run_id, "ended")
    failure = airflow.failure("e2e_ending", run_id, "failed")
    assert failure is not None
    assert failure[0] == "OperationFailedFinal"
    assert "FAILED_PRECONDITION (9): the disk is full" in failure[1]
    assert airflow.task("e2e_ending", run_id, "failed")["try_number"] == 1


def xcom_keys(airflow: Standalone, run_id: str, task_id: str) -> set[str]:
    path = f"/dags/e2e_ending/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
    return {entry["key"] for entry in airflow.api("GET", path)["xcom_entries"]}
