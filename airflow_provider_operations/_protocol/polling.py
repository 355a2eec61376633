"""
When to poll again: schedules as data, and how long an outage is tolerated.

Three clocks are kept apart, as google-api-core does: the timeout of one request, the repetition of a failed
request (``Retries``), and the deadline of the wait (``Schedule`` and ``Outage``).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_HINT", "POLL_WITH", "Outage", "Schedule", "as_seconds"]

POLL_WITH = ("get", "list", "wait")
"""How a triggerer polls: each operation, all under one parent, or by a request that is answered at the end."""

MAX_HINT = timedelta(minutes=10)
"""The longest pause that a server can ask for."""


@dataclass(frozen=True)
class Schedule:
    """
    Pauses that grow with the age of the wait: half a second at first, by a factor of 1.2 from pause to pause.

    A geometric series of pauses is, seen from its start, linear in the age: ``first + (factor - 1) * age``. So
    a watcher that is restarted goes on where the schedule is by now, not at the beginning again.

    :param maximum_s: the poke interval.
    :param jitter: share of the pause by which it is shortened at random, so that thousands don't ask at once.
    """

    maximum_s: float
    first_s: float = 0.5
    factor: float = 1.2
    jitter: float = 0.1
    random: Callable[[], float] = random.random

    def next_delay(
        self, age_s: float, hint: timedelta | None = None, until_deadline_s: float | None = None
    ) -> float:
        """
        Return how many seconds to sleep before the next poll.

        :param age_s: seconds since the wait began.
        :param hint: the server's RetryInfo or Retry-After; wins when longer, up to ``MAX_HINT``.
        :param until_deadline_s: seconds left; the pause never reaches beyond.
        """
        delay = min(self.maximum_s, self.first_s + (self.factor - 1) * max(age_s, 0.0))
        delay *= 1 - self.jitter * self.random()
        if hint is not None:
            delay = max(delay, min(hint, MAX_HINT).total_seconds())
        if until_deadline_s is not None:
            delay = min(delay, max(until_deadline_s, 0.0))
        return delay


@dataclass
class Outage:
    """
    How long the server hasn't given a usable answer.

    :param tolerance_s: tolerated this long, counted from the first failure.
    :param since_epoch_s: when it began; ``None`` while all is well.
    :param odd_since_epoch_s: when the first odd answer came: one that isn't transient by itself, such as a 403 or HTML.
    :param missing_since_epoch_s: when the first 404 or 410 came.
    :param announced: what the log says of it so far; ``None``: nothing.
    """

    tolerance_s: float
    since_epoch_s: float | None = None
    odd_since_epoch_s: float | None = None
    missing_since_epoch_s: float | None = None
    announced: str | None = None

    def over(self) -> None:
        """Note that the server answered."""
        self.since_epoch_s = self.odd_since_epoch_s = self.missing_since_epoch_s = self.announced = None

    def leave_out(self, seconds: float) -> None:
        """Don't count the last seconds, in which nobody asked."""
        if self.since_epoch_s is not None:
            self.since_epoch_s += seconds
        if self.odd_since_epoch_s is not None:
            self.odd_since_epoch_s += seconds
        if self.missing_since_epoch_s is not None:
            self.missing_since_epoch_s += seconds

    def exceeded(self, now: float) -> bool:
        """Note a failure at ``now`` (epoch seconds); return whether it has lasted too long."""
        if self.since_epoch_s is None:
            self.since_epoch_s = now
        return now - self.since_epoch_s >= self.tolerance_s

    def odd_for(self, now: float) -> float:
        """Note an odd answer; return for how many seconds there have been such."""
        if self.odd_since_epoch_s is None:
            self.odd_since_epoch_s = now
        return now - self.odd_since_epoch_s

    def missing_for(self, now: float) -> float:
        """Note a 404 or 410; return for how many seconds there have been such."""
        if self.missing_since_epoch_s is None:
            self.missing_since_epoch_s = now
        return now - self.missing_since_epoch_s


def as_seconds(argument: str, value: timedelta | float) -> float:
    """
    Take seconds, or a timedelta.

    :raises ValueError: neither, or negative.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{argument!r} is seconds, not negative, or a timedelta; not {value!r}")
    return float(value)
