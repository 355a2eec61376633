"""What a DAG file pays for importing the provider."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator
before = set(sys.modules)
from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
heavy = {"requests", "aiohttp", "google.protobuf", "google.auth", "airflow.providers.http"}
ours = {"connection", "watchers", "hooks", "ui"}
heavy |= {f"airflow_provider_operations.{room}" for room in ours}
print(sorted(heavy & (set(sys.modules) - before)))
"""


def test_dag_files_import_no_http_client() -> None:
    """
    Operators and sensors load neither requests, aiohttp, protobuf nor google-auth when a DAG is parsed.

    Nor those of our rooms that only a worker, a triggerer or the UI needs.
    """
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.strip().splitlines()[-1] == "[]"
