"""What a call costs: memory, and CPU time of the event loop's thread."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

__all__ = ["MOST_LOOP_S", "Meter", "memory_of"]

MOST_LOOP_S = 0.050
"""Most CPU time that one answer takes of the event loop's thread."""


class Meter:
    """What one call costs, of memory and of the event loop's thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop_s = 0.0
        run = asyncio.events.Handle._run

        def measured(handle: asyncio.events.Handle) -> None:
            begun_s = time.thread_time()
            run(handle)
            self._loop_s = max(self._loop_s, time.thread_time() - begun_s)

        monkeypatch.setattr(asyncio.events.Handle, "_run", measured)

    def loop_s(self, call: Callable[[], object]) -> float:
        """Return for how long a call held the loop's thread, at the longest; by the best of several, as others run too."""
        best_s = float("inf")
        for _ in range(4):
            self._loop_s = 0.0
            call()
            best_s = min(best_s, self._loop_s)
            if best_s < MOST_LOOP_S:
                break
        return best_s


def memory_of(call: Callable[[], object]) -> int:
    """Return the most memory that Python took during a call, in bytes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
