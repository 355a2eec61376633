"""The floor: what one cannot do without. A bare aiohttp loop with one shared session, a task per operation."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from tests.tooling.bench.spec import Spec

JITTER = 0.1
"""As in our schedule: the share by which a pause is shortened at random."""


class Floor:
    """GET, parse, sleep."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._session: aiohttp.ClientSession | None = None

    async def wait(self, name: str, interval_s: float) -> Any:
        """Poll until it is done."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        url = f"{self._spec.url}/v1/{name}"
        while True:
            async with self._session.get(url) as response:
                operation = await response.json()
            if operation["done"]:
                return operation
            await asyncio.sleep(interval_s * (1 - JITTER * random.random()))

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
