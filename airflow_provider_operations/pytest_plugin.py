"""
Fixtures for the tests of those who use this package (entry point ``pytest11``).

pytest loads this module wherever the package is installed, so it imports nothing that isn't needed by then.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_operations.emulator import Emulator

__all__ = ["operations_conn_ids", "operations_emulator"]


@pytest.fixture
def operations_conn_ids() -> Sequence[str]:
    """Connections that ``operations_emulator`` sets; override it to name those of your DAGs."""
    return ["operations_default"]


@pytest.fixture
def operations_emulator(
    operations_conn_ids: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """
    Serve the emulator for one test, and let the connections ``operations_conn_ids`` lead to it.

    They are set as ``AIRFLOW_CONN_...``, which Airflow asks before its database. Needs the extra ``emulator``.
    """
    try:
        from airflow_provider_operations.emulator import Emulator
    except ImportError as error:
        raise pytest.UsageError(
            f'the emulator can\'t be loaded ({error}): pip install "airflow-provider-operations[emulator]"'
        ) from error
    with Emulator() as emulator:
        for conn_id in operations_conn_ids:
            connection = {"conn_type": "operations", "host": emulator.url}
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        yield emulator
