"""Refused starts in a real Airflow: waited for, or skipped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .test_airflow import finished, journal, states

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
