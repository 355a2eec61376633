"""
How fast requests of one connection follow each other, all its operations together.

Not aiolimiter: its rate is fixed when it is made, and here the rate follows what the server accepts.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["AdaptiveRateLimiter"]

WINDOW_S = 2.0
"""What the server accepts is measured over this time."""

CUT = 0.9
"""When it refuses, the rate is set to this share of what it accepts; at most once a second."""

GROWTH_PER_S = 1.05
"""While the server accepts, the rate grows by this factor every second,"""

PROBE_PER_S = 1.005
"""or by this one near the rate that it refused last,"""

PROBING_S = 30.0
"""unless that was longer ago than this."""

CALM_S = 60.0
"""After this long without a refusal, and without a queue, the rate is set to ``most_per_s`` again."""

LEAST_PER_S = 0.2

FEW = 20
"""With fewer requests in the window nothing is limited: each operation's own schedule does what the server asks."""


class AdaptiveRateLimiter:
    """
    Lets requests through in the order in which they came, at most so many a second as the rate allows.

    :param most_per_s: the highest rate; ``None``: as many as come, until the server says that it's too many (429).
    """

    def __init__(self, most_per_s: float | None = None) -> None:
        self.most_per_s = most_per_s
        self.rate_per_s = most_per_s
        """Now; ``None``: not limited."""
        self._queue: deque[asyncio.Future[None]] = deque()
        self._next_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._offered: deque[tuple[float, bool]] = deque()
        """When requests were answered, and whether they were accepted."""
        self._refused_s = self._changed_s = float("-inf")
        self._ceiling_per_s = 0.0

    async def turn(self, *, first: bool = False) -> float:
        """
        Wait for a turn.

        :param first: go before all others, as this request was refused last time.
        :return: how many seconds it took to come.
        """
        if self.rate_per_s is None:
            return 0.0
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._queue and now >= self._next_s:
            self._next_s = now + 1 / self.rate_per_s
            return 0.0
        turn = loop.create_future()
        (self._queue.appendleft if first else self._queue.append)(turn)
        self._arm(loop)
        await turn
        return loop.time() - now

    def accepted(self) -> None:
        """Note that the server did not refuse a request for its frequency."""
        now = self._note(accepted=True)
        if self.rate_per_s is None or now - self._changed_s < 1.0:
            return
        self._changed_s = now
        probing = self.rate_per_s > CUT * self._ceiling_per_s and now - self._refused_s < PROBING_S
        self.rate_per_s *= PROBE_PER_S if probing else GROWTH_PER_S
        calm = now - self._refused_s > CALM_S and not self._queue
        if calm or (self.most_per_s is not None and self.rate_per_s > self.most_per_s):
            self.rate_per_s = self.most_per_s

    def refused(self) -> None:
        """Note that the server refused a request, as there were too many."""
        now = self._refused_s = self._note(accepted=False)
        few = len(self._offered) < FEW
        if few if self.rate_per_s is None else now - self._changed_s < 1.0:
            return
        self._changed_s = now
        window_s = max(now - self._offered[0][0], 0.5)
        accepted = sum(accepted for _, accepted in self._offered) / window_s
        rate = self.rate_per_s or len(self._offered) / window_s
        self._ceiling_per_s = min(accepted, rate)
        # Never less than half, as the first moments say little.
        self.rate_per_s = max(self._ceiling_per_s * CUT, rate / 2, LEAST_PER_S)

    def _note(self, *, accepted: bool) -> float:
        now = asyncio.get_running_loop().time()
        self._offered.append((now, accepted))
        while self._offered[0][0] < now - WINDOW_S:
            self._offered.popleft()
        return now

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._queue:
            self._timer = loop.call_at(self._next_s, self._let_through, loop)

    def _let_through(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._queue and self._next_s <= now:
            turn = self._queue.popleft()
            if turn.done():  # nobody waits for it any more
                continue
            turn.set_result(None)
            # If the timer was late, up to a tenth of a second of turns is caught up.
            gap_s = 1 / self.rate_per_s if self.rate_per_s else 0.0
            self._next_s = max(self._next_s, now - 0.1) + gap_s
        self._arm(loop)
