"""A sweep that goes on and on, and a database that is restarted meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tooling.chaos.cluster import Postgres

pytestmark = pytest.mark.airflow

LIMIT_S = 120.0


def test_sweeps_go_on_after_a_restart_of_the_database(postgres: Postgres, tmp_path: Path) -> None:
    """What fails is said, and the next sweep does it; told to end, the command ends with 0."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    airflow = [sys.executable, "-m", "airflow"]
    sweeping = None
    said = tmp_path / "said"
    try:
        subprocess.run(
            [*airflow, "db", "migrate"], env=environment, check=True, capture_output=True, timeout=240
        )
        with said.open("wb") as out:
            sweeping = subprocess.Popen(
                [*airflow, "operations", "reap", "--every", "5s"], env=environment, stdout=out, stderr=out
            )
        _until(sweeping, said, "swept: 0 looked at", 1)
        postgres.stop()
        _until(sweeping, said, "database doesn't answer", 1)
        before = said.read_text().count("swept: 0 looked at")
        postgres.start()
        _until(sweeping, said, "swept: 0 looked at", before + 2)
        assert "postgres@" not in said.read_text()
        sweeping.terminate()
        assert sweeping.wait(30) == 0
    finally:
        if sweeping is not None:
            sweeping.kill()
            sweeping.wait()


def _until(sweeping: subprocess.Popen[bytes], said: Path, text: str, times: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while said.read_text().count(text) < times:
        if time.monotonic() > deadline or sweeping.poll() is not None:
            pytest.fail(f"not {times} times {text!r} in:\n{said.read_text()[-3000:]}")
        time.sleep(0.2)  # a file tells nobody that it has grown
