"""Odd answers to the polls of deferred tasks, in a real Airflow."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from .test_airflow import finished, journal, states

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow

PAGE = "<html>be right back</html>"
ONCE: dict[str, dict[str, Any]] = {
    "page": {"status": 200, "body": PAGE},
    "refused": {"status": 403},
    "unauthorized": {"status": 401},
    "missing": {"status": 404, "body": PAGE},
    "cut": {"status": 200, "body": '{"name": "projects/odd-cut/operations/x", "do'},
}
NUMBERS = '{"loss": NaN, "bounds": [Infinity, -Infinity]}'


def test_odd_answers(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """
    One odd answer changes nothing, and numbers that JSON hasn't arrive as text.

    What is refused from the first poll on is final after a minute, and the log says at once what the server said.
    """
    for case, fault in ONCE.items():
        emulator.script_fault(kind="get", operation=f"projects/odd-{case}/", after=2, times=1, **fault)
    over = f'{{"name": "projects/odd-numbers/operations/x", "done": true, "response": {NUMBERS}}}'
    emulator.script_fault(kind="get", operation="projects/odd-numbers/", status=200, body=over)
    emulator.script_fault(kind="get", operation="projects/odd-mistake/", status=403)

    run_id = finished(airflow, "e2e_odd")

    assert states(airflow, "e2e_odd", run_id) == {
        **{case: {"success"} for case in [*ONCE, "numbers"]},
        "mistake": {"failed"},
    }
    fired = {fault["fault"]["operation"]: fault["fired"] for fault in emulator.faults()}
    for case in ONCE:
        assert fired[f"projects/odd-{case}/"] == 1
        assert airflow.xcom("e2e_odd", run_id, case, "return_value") == {"case": case}
        assert journal(emulator, f"projects/odd-{case}/", "cancel") == []
    assert airflow.xcom("e2e_odd", run_id, "numbers", "return_value") == {
        "loss": "NaN",
        "bounds": ["Infinity", "-Infinity"],
    }

    mistake = airflow.task("e2e_odd", run_id, "mistake")
    assert mistake["try_number"] == 1
    failure = airflow.failure("e2e_odd", run_id, "mistake")
    assert failure is not None
    assert failure[0] == "OperationsCallErrorFinal"
    assert "failed: HTTP 403: PERMISSION_DENIED (7)" in failure[1]
    assert "cancel" in journal(emulator, "projects/odd-mistake/", "cancel")
    began, ended = (datetime.fromisoformat(mistake[key]) for key in ("start_date", "end_date"))
    assert 60 <= (ended - began).total_seconds() <= 150
    log = airflow.log("e2e_odd", run_id, "mistake")
    assert "no usable answer (HTTP 403: PERMISSION_DENIED (7): Scripted by" in log
