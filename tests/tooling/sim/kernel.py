"""
Virtual time: events in an order that a seed decides, and processes that block, die, freeze and get signals.

Synchronous code runs on greenlets, so that a call can wait for virtual time without the caller's knowing.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BEGIN_S", "EVENTS", "Endless", "Kernel", "Process", "Waiter"]

BEGIN_S = 1_800_000_000.0
"""The epoch at which each simulation begins."""

EVENTS = 100_000
"""More than in any simulation that comes to its end."""


class Endless(Exception):
    """Events go on and on while no time passes, or hardly any."""


class Process:
    """What dies, freezes and gets signals as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.frozen = False
        self.greens: list[greenlet] = []
        """The first one is the main thread, which handles signals."""
        self.parked: list[Callable[[], None]] = []
        self.signals: list[Callable[[], None]] = []
        self.on_death: list[Callable[[], None]] = []


class Waiter:
    """Something that one green thread waits for."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._green = getcurrent()
        self._process = kernel.current
        self.fired = False

    def fire(self) -> None:
        """Let the waiting thread go on, as an event of its own."""
        if not self.fired:
            self.fired = True
            self._kernel.at(0, self._resume, self._process)

    def _resume(self) -> None:
        if not self._green.dead:
            self._green.switch()


class Kernel:
    """The clock, the events, and whose turn it is."""

    def __init__(self, seed: int) -> None:
        self.now = BEGIN_S
        self.random = random.Random(seed)
        self.current: Process | None = None
        self.trace: list[tuple[float, str, str]] = []
        self._hub = getcurrent()
        self._events: list[tuple[float, float, int, Callable[[], None], Process | None]] = []
        self._sequence = 0

    def note(self, actor: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.now - BEGIN_S, actor, what))

    def at(self, delay_s: float, do: Callable[[], None], process: Process | None = None) -> None:
        """Do something later; what falls on the same moment happens in a random order."""
        self._sequence += 1
        at = self.now + delay_s if delay_s > 0 else self.now
        heapq.heappush(self._events, (at, self.random.random(), self._sequence, do, process))

    def spawn(self, process: Process, do: Callable[[], Any]) -> None:
        """Run a function on a green thread of a process."""

        def body() -> None:
            try:
                do()
            finally:
                process.greens.remove(green)

        green = greenlet(body, parent=self._hub)
        process.greens.append(green)
        self.at(0, green.switch, process)

    def wait(self, waiter: Waiter, timeout_s: float | None = None) -> bool:
        """Block this green thread until the waiter is fired; ``False`` if the time is up before."""
        process = self.current
        assert process is not None
        self.check_alive(process)
        assert getcurrent() is not self._hub, "an event loop must not block"
        up = Waiter(self)
        if timeout_s is not None:
            self.at(timeout_s, up.fire, process)
        while not (waiter.fired or up.fired):
            self._hub.switch()
            self.check_alive(process)
            self.handle_signals(process)
        self.check_alive(process)
        return waiter.fired

    def sleep(self, seconds: float) -> None:
        """Block this green thread for a while."""
        self.wait(Waiter(self), seconds)

    @staticmethod
    def check_alive(process: Process) -> None:
        """Unwind the thread of a process that is dead."""
        if process.dead:
            raise GreenletExit

    @staticmethod
    def handle_signals(process: Process) -> None:
        """Run the handlers that are due, if this is the main thread of the process."""
        while process.signals and process.greens and process.greens[0] is getcurrent():
            process.signals.pop(0)()

    def signal(self, process: Process, handler: Callable[[], None]) -> None:
        """Run a handler on top of whatever the main thread of a process is blocked in."""
        process.signals.append(handler)

        def interrupt() -> None:
            if process.signals and process.greens and not process.greens[0].dead:
                process.greens[0].switch()

        self.at(0, interrupt, process)

    def kill(self, process: Process) -> None:
        """End a process at once: none of its code does anything any more."""
        if process.dead:
            return
        process.dead = True
        self.at(0, lambda: self._unwind(process))

    def _unwind(self, process: Process) -> None:
        self.current = process
        for green in list(process.greens):
            if green:
                green.throw(GreenletExit)
            elif green in process.greens:  # it had not begun
                process.greens.remove(green)
        for done in process.on_death:
            done()

    def freeze(self, process: Process) -> None:
        """Stop a process; what would happen in it waits."""
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """Let a process go on; what has waited happens in a random order."""
        process.frozen = False
        parked, process.parked = process.parked, []
        for do in parked:
            self.at(self.random.random() / 10, do, process)

    def run(self, until_s: float) -> None:
        """
        Let events happen until there are none, or until a moment of virtual time after the beginning.

        :raises Endless: there were more than ``EVENTS``.
        """
        end = BEGIN_S + until_s
        last = self._sequence + EVENTS
        events = self._events
        while events and events[0][0] <= end:
            if self._sequence > last:
                raise Endless(f"more than {EVENTS} events by {self.now - BEGIN_S:.3f} s")
            self.now, _, _, do, process = heapq.heappop(events)
            if process is not None and process.dead:
                continue
            if process is not None and process.frozen:
                process.parked.append(do)
                continue
            self.current = process
            do()
            self.current = None
        self.now = max(self.now, end)
