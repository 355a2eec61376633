"""Fixtures that every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .clocks import MovedClock
from .connections import set_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_operations.emulator import Emulator


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """A clock shared by provider and emulator."""
    moved = MovedClock()
    moved.install(monkeypatch)
    return moved


@pytest.fixture
def connection_fields() -> dict[str, Any]:
    """What the connection to the emulator has beside its host; a folder may say otherwise."""
    return {"extra": {"timeout": 5}}


@pytest.fixture
def emulator(
    moved: MovedClock, connection_fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """An emulator on the moved clock, behind the default connection."""
    from airflow_provider_operations.emulator import Emulator

    with Emulator(clock=moved) as emulator:
        set_connection(monkeypatch, emulator.url, **connection_fields)
        yield emulator


@pytest.fixture
def real_emulator(connection_fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator on the real clock, behind the default connection."""
    from airflow_provider_operations.emulator import Emulator

    with Emulator() as emulator:
        set_connection(monkeypatch, emulator.url, **connection_fields)
        yield emulator
