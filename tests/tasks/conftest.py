from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations.hooks import OperationsAsyncHook
from airflow_provider_operations.hooks.worker import WorkerClient
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.tasks import Driver

if TYPE_CHECKING:
    from tests.support.clocks import MovedClock


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What tasks, triggers and hooks log; Airflow's own loggers don't propagate to where pytest listens."""
    writers = (
        RunOperationOperator,
        CancelOperationOperator,
        OperationSensor,
        OperationTrigger,
        WorkerClient,
        OperationsAsyncHook,
    )
    for writer in writers:
        monkeypatch.setattr(writer, "log", logging.getLogger("written"), raising=False)
    caplog.set_level(logging.INFO, "written")
    return caplog


@pytest.fixture
def driver(moved: MovedClock) -> Driver:
    """A driver on the moved clock."""
    return Driver(moved)
