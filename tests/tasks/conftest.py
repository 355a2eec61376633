from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations._protocol import clock
from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.hooks import OperationsAsyncHook, OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationTrigger
from tests.support.clocks import MovedClock
from tests.support.tasks import Driver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """A clock shared by provider and emulator."""
    moved = MovedClock()
    monkeypatch.setattr(clock, "now", moved)
    monkeypatch.setattr(clock, "sleep", moved.sleep)
    monkeypatch.setattr(clock, "asleep", moved.asleep)
    return moved


@pytest.fixture
def emulator(moved: MovedClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator behind the default connection."""
    with Emulator(clock=moved) as emulator:
        connection = {"conn_type": "operations", "host": emulator.url, "extra": {"timeout": 5}}
        monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(connection))
        yield emulator


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What tasks, triggers and hooks log; Airflow's own loggers don't propagate to where pytest listens."""
    writers = (
        RunOperationOperator,
        CancelOperationOperator,
        OperationSensor,
        OperationTrigger,
        OperationsHook,
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
