"""
Figures for Airflow's metrics (StatsD, OpenTelemetry), each with the tag ``conn_id``.

=============================  =======  ==========================================================
``operations.polls``           counter  requests that asked what has become of operations
``operations.poll_errors``     counter  those without a usable answer
``operations.throttled_time``  timer    how long requests waited for their turns, all together
``operations.watched``         gauge    operations that the triggerer waits for
``operations.detection_delay`` timer    from an operation's ``endTime`` to the trigger's event
=============================  =======  ==========================================================

Sent every ten seconds at most, as thousands of polls would send thousands of datagrams.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_operations._airflow.metrics import Metrics
from airflow_provider_operations._protocol import clock

if TYPE_CHECKING:
    from airflow_provider_operations.operation import Operation

__all__ = ["Figures"]

SENT_EVERY_S = 10.0


class Figures:
    """What is counted for one connection and event loop."""

    def __init__(self, conn_id: str) -> None:
        self._metrics = Metrics({"conn_id": conn_id})
        self._polls = self._errors = self._watched = 0
        self._throttled_s = 0.0
        self._sent_s = clock.now()

    def polled(self, *, failed: bool, throttled_s: float) -> None:
        """Count a poll."""
        self._polls += 1
        self._errors += failed
        self._throttled_s += throttled_s
        if clock.now() - self._sent_s >= SENT_EVERY_S:
            self.send()

    def watched(self, more: int) -> None:
        """Count operations that are waited for from now on, or no longer."""
        self._watched += more
        if clock.now() - self._sent_s >= SENT_EVERY_S or self._watched == 0:
            self.send()

    def detected(self, operation: Operation) -> None:
        """Measure how long an operation had been done, where the server says when it ended."""
        if (ended_s := operation.times.ended_s) is not None:
            delay = timedelta(seconds=max(clock.now() - ended_s, 0.0))
            self._metrics.send("timing", "operations.detection_delay", delay)

    def send(self) -> None:
        """Send what was counted since the last time."""
        self._sent_s = clock.now()
        if self._polls:
            self._metrics.send("incr", "operations.polls", self._polls)
        if self._errors:
            self._metrics.send("incr", "operations.poll_errors", self._errors)
        if self._throttled_s:
            self._metrics.send("timing", "operations.throttled_time", timedelta(seconds=self._throttled_s))
        self._polls = self._errors = 0
        self._throttled_s = 0.0
        self._metrics.send("gauge", "operations.watched", self._watched)
