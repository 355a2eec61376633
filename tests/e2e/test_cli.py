"""The command line of a real Airflow, with a connection that is in its database and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.raw_requests import start

if TYPE_CHECKING:
    import subprocess

    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow

NAME = "projects/e2e/operations/on-the-command-line"


def test_connection_of_the_database(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """``airflow operations`` finds a connection that was made in the UI, and its stdout is JSON."""
    body = {
        "connection_id": "only_db",
        "conn_type": "operations",
        "host": emulator.url,
        "password": "s3cr3t-t0ken",
    }
    airflow.api("POST", "/connections", json=body)
    start(emulator.url, name=NAME, duration=0, error={"code": 8, "message": "quota used up"})

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return airflow.command("operations", command, NAME, "--conn-id", "only_db", "-o", "json")

    got = run("get")
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout) == emulator.operation(NAME)
    waited = run("wait")
    assert waited.returncode == 1, waited.stderr
    assert json.loads(waited.stdout) == emulator.operation(NAME)
    assert "Operation ended with RESOURCE_EXHAUSTED (8): quota used up" in waited.stderr
    sent = [entry["headers"]["authorization"] for entry in emulator.journal("get", NAME)]
    assert sent == ["Bearer s3cr3t-t0ken"] * 2
    assert "s3cr3t-t0ken" not in got.stdout + got.stderr + waited.stdout + waited.stderr
