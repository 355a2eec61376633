"""The clock that tests move; ``virtual_loop`` has one for event loops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_operations._protocol import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@dataclass
class MovedClock:
    """Time that passes only when somebody sleeps, or when a test moves ``now``."""

    now: float = 1_800_000_000.0
    sleeps: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] | None = None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        if self.on_sleep:
            self.on_sleep()

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the provider's clock."""
        for name, value in {
            "now": self,
            "monotonic": self,
            "sleep": self.sleep,
            "asleep": self.asleep,
        }.items():
            monkeypatch.setattr(clock, name, value)
