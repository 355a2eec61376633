"""The one socket between a process and its supervisor."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .kernel import Waiter

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = ["Channel"]


class Channel:
    """
    A call waits until the one before it is answered, as ``CommsDecoder.send`` holds a lock.

    So a signal handler that interrupts a call and makes one itself waits for ever.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._is_busy = False
        self._waiting: deque[Waiter] = deque()

    def __enter__(self) -> None:
        while self._is_busy:
            waiter = Waiter(self._kernel)
            self._waiting.append(waiter)
            self._kernel.wait(waiter)
        self._is_busy = True

    def __exit__(self, *_: object) -> None:
        self._is_busy = False
        if self._waiting:
            self._waiting.popleft().fire()
