from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import run
from tests.support.connections import set_connection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run"]

SECRET = "s3cr3t-bearer-token"


@pytest.fixture
def connection_fields() -> dict[str, Any]:
    """The emulator is asked with a token."""
    return {"password": SECRET}


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the default connection."""
    return lambda host, **fields: set_connection(monkeypatch, host, **{"password": SECRET, **fields})
