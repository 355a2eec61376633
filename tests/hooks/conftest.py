from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.hooks import hook_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.hooks import Calls

__all__ = ["hook_of"]


@pytest.fixture
def hook(hook_of: Callable[..., Calls], emulator: Emulator) -> Calls:
    """A hook for the emulator."""
    return hook_of(emulator.url)


@pytest.fixture
def free_url() -> str:
    """A URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
