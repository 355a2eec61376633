"""Signals as a wish to end, looked at between two steps: nothing is torn apart half-way."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Interrupted", "Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """
    Somebody wants this to end.

    :param number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupts:
    """
    Keep Ctrl-C, SIGTERM and SIGHUP until :meth:`check`.

    An exception thrown from a signal handler could come between a process's start and the note that it was
    started; and a second Ctrl-C would cut short the cleaning up after the first.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take over the signals."""
        self._before = {number: signal.signal(number, self._keep) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back to who had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _keep(self, number: int, _frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number

    def ignore(self) -> None:
        """Ignore the signals from now on, also after the end of this: the process is about to exit."""
        self._before = dict.fromkeys(_SIGNALS, signal.SIG_IGN)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """
        Raise if a signal has come.

        :raises Interrupted: with the first one.
        """
        if self.number is not None:
            raise Interrupted(self.number)

    def sleep(self, seconds: float) -> None:
        """
        Sleep, but no longer than until a signal comes.

        :raises Interrupted: one has come.
        """
        # A handler that only sets an attribute doesn't end a sleep (PEP 475), hence slices.
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))
        self.check()
