from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._protocol import clock
from airflow_provider_operations.emulator import Emulator
from tests.support.commands import run
from tests.support.raw_requests import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run"]

SECRET = "s3cr3t-bearer-token"


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that passes only when the command sleeps, for command and emulator."""
    time = Clock()
    monkeypatch.setattr(clock, "now", time)

    def sleep(seconds: float) -> None:
        time.now += seconds

    monkeypatch.setattr(clock, "sleep", sleep)
    return time


@pytest.fixture
def emulator(time: Clock, connect: Callable[..., None]) -> Iterator[Emulator]:
    """An emulator behind the default connection."""
    with Emulator(clock=time) as emulator:
        connect(emulator.url)
        yield emulator


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the default connection."""

    def connect(host: str, **fields: Any) -> None:
        fields = {"conn_type": "operations", "host": host, "password": SECRET, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(fields))

    return connect
