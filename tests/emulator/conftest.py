from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_operations.emulator import Emulator
from tests.support.raw_requests import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> Clock:
    """The emulator's time, moved by hand."""
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[Emulator]:
    """An emulator whose time stands still unless moved."""
    with Emulator(clock=clock) as running:
        yield running
