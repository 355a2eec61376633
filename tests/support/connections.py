"""Connections, as Airflow reads them from the environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def set_connection(
    monkeypatch: pytest.MonkeyPatch, host: str, conn_id: str = "operations_default", **fields: Any
) -> None:
    """Define a connection for one test."""
    connection = {"conn_type": "operations", "host": host, **fields}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
