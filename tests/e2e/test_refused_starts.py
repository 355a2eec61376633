"""Refused starts in a real Airflow: waited for, skipped, or followed by a wait for another's operation."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import requests

from .test_airflow import finished, journal, operation, states

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow

REFUSALS = {
    "deferred": (409, "ABORTED", 2),
    "synchronous": (409, "ABORTED", 2),
    "exists": (409, "ALREADY_EXISTS", 1),
    "missing": (404, "NOT_FOUND", 1),
}
"""HTTP status, code, and how often."""

KILLED_WITHIN_S = 20.0
"""So long after a mark a worker or a trigger has cancelled what it would cancel."""


def test_refused_starts(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """The third start is taken in the same try; what exists, or is gone already, skips its task."""
    for case, (http_status, code, times) in REFUSALS.items():
        error = {"error": {"code": http_status, "status": code, "message": "refused, says the test"}}
        emulator.script_fault(
            kind="start",
            operation=f"projects/refused-{case}/",
            status=http_status,
            headers={"Content-Type": "application/json"},
            body=json.dumps(error),
            times=times,
        )

    run_id = finished(airflow, "e2e_refused")

    assert states(airflow, "e2e_refused", run_id) == {
        "deferred": {"success"},
        "synchronous": {"success"},
        "exists": {"skipped"},
        "missing": {"skipped"},
    }
    for case in ("deferred", "synchronous"):
        assert airflow.task("e2e_refused", run_id, case)["try_number"] == 1
        assert airflow.xcom("e2e_refused", run_id, case, "return_value") == {"case": case}
        assert journal(emulator, f"projects/refused-{case}/", "start") == ["start"] * 3
        assert journal(emulator, f"projects/refused-{case}/", "cancel") == []
        assert "not started (HTTP 409, ABORTED (10)); starting again in" in airflow.log(
            "e2e_refused", run_id, case
        )
    assert "nothing was started" in airflow.log("e2e_refused", run_id, "exists")


def _exists(emulator: EmulatorProcess, case: str) -> None:
    """Let each start of a task be refused."""
    error = {"error": {"code": 409, "status": "ALREADY_EXISTS", "message": "refused, says the test"}}
    emulator.script_fault(
        kind="start",
        operation=f"projects/foreign-{case}/things",
        status=409,
        headers={"Content-Type": "application/json"},
        body=json.dumps(error),
    )


def test_anothers_operation(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """Its end is the task's; where there is none, what exists is no success."""
    for case in ("deferred", "synchronous", "none"):
        _exists(emulator, case)

    run_id = finished(airflow, "e2e_foreign")

    assert states(airflow, "e2e_foreign", run_id) == {
        "another_deferred": {"success"},
        "another_synchronous": {"success"},
        "deferred": {"success"},
        "synchronous": {"success"},
        "none": {"failed"},
    }
    for case in ("deferred", "synchronous"):
        name = airflow.xcom("e2e_foreign", run_id, f"another_{case}", "operation_name")
        assert airflow.xcom("e2e_foreign", run_id, case, "operation_name") == name
        assert airflow.xcom("e2e_foreign", run_id, case, "return_value") == {"by": "another"}
        assert journal(emulator, f"projects/foreign-{case}/things", "start") == ["start"]
        assert journal(emulator, f"projects/foreign-{case}/", "cancel") == []
    assert "nothing is waited for: of 0 operations that run" in airflow.log("e2e_foreign", run_id, "none")


@pytest.mark.parametrize("phase", ["deferred", "running"])
def test_anothers_operation_of_a_killed_task(
    airflow: Standalone, emulator: EmulatorProcess, phase: str
) -> None:
    """Marked and cleared, in a worker or in a trigger: it runs on, is waited for again, and nothing else is started."""
    case, dag_id = f"killed-{phase}", f"e2e_foreign_killed_{phase}"
    place = f"projects/foreign-{case}/"
    script = {"duration": 3600, "metadata": {"target": f"{place}things/x"}}
    started = requests.post(f"{emulator.url}/v1/{place}things", json={"operation": script}, timeout=10)
    started.raise_for_status()
    _exists(emulator, case)
    run_id = airflow.trigger(dag_id)

    def polls(before: int = 0) -> bool:
        at_it = airflow.task(dag_id, run_id, "run")["state"] == phase
        return at_it and len(journal(emulator, place, "get")) > before

    airflow.until(polls, f"the task is {phase} and polls")
    airflow.clear(dag_id, run_id, "run")
    airflow.until(lambda: airflow.task(dag_id, run_id, "run")["try_number"] == 2, "the next try begins")
    polled = len(journal(emulator, place, "get"))
    airflow.until(lambda: polls(polled), f"the task is {phase} and polls again")
    airflow.set_state(dag_id, run_id, "run", "failed")
    airflow.until(lambda: airflow.run_state(dag_id, run_id) == "failed", "the run is over")
    time.sleep(KILLED_WITHIN_S)

    assert (
        journal(emulator, place, "start", "cancel") == ["start"] * 2
    )  # the other's, and the one that was refused
    assert not operation(emulator, place)["done"]
