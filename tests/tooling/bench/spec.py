"""What a process is told to measure, and what it answers."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field

__all__ = ["Measured", "Spec"]


@dataclass(frozen=True)
class Spec:
    """
    One candidate, so many operations, and how long to look.

    :param candidate: ``ours``, ``floor``, ``sensor`` or ``event``.
    :param url: of the server.
    :param count: operations.
    :param interval_s: between the polls of one operation.
    :param names: of the operations, with a place for the number.
    :param poll_with: for ours.
    :param fresh: the waits begin now; otherwise they are old enough for their longest pause.
    :param warm: so many waits are run and ended before, so that what is needed once is there.
    :param begin_over_s: the waits are started evenly over this time; 0: one after the other at once.
    :param settle_s: then nothing is measured for so long.
    :param window_s: then CPU time is, in parts of a second.
    :param hold_s: at least so long from the first start to the end.
    :param counted: the server has a ``/status``.
    :param frozen: what is in memory before the start is kept from garbage collection, so that a collection takes
        as long as what the waits have made, and not as long as all of Airflow.
    :param profile: ``cpu``, ``memory`` or ``block``: say where it goes, at the price of the figures.
    """

    candidate: str
    url: str
    count: int
    interval_s: float
    names: str = "projects/bench/operations/{}"
    poll_with: str = "get"
    fresh: bool = False
    warm: int = 20
    begin_over_s: float = 0.0
    settle_s: float = 0.0
    window_s: float = 0.0
    hold_s: float = 0.0
    counted: bool = True
    frozen: bool = False
    profile: str = ""

    def to_json(self) -> str:
        """Write it for ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))


@dataclass
class Measured:
    """
    What came out.

    :param parts: CPU time of each part of the window, all threads, without garbage collection, and its requests.
    :param window_s: how long the window was.
    :param collecting_s: CPU time of garbage collections in the window.
    :param kb_per_operation: memory at the end, less what was used before the start.
    :param blocked_ms: longest time that the event loop didn't come round while the waits were started.
    :param blocked_cpu_ms: most CPU time that the loop's thread used in one round: without what others took.
    :param collected_ms: longest garbage collection meanwhile, a part of ``blocked_ms``.
    :param started_s: how long it took to start all waits.
    :param round_trip_ms: median time of a bare request.
    :param begun: when the first wait was started (epoch).
    :param ended: when waits ended by themselves (epoch), by name.
    :param errors: what waits raised, the same texts once.
    :param profile: lines for people.
    """

    parts: list[tuple[float, int]] = field(default_factory=list)
    window_s: float = 0.0
    collecting_s: float = 0.0
    kb_per_operation: float = 0.0
    blocked_ms: float = 0.0
    blocked_cpu_ms: float = 0.0
    collected_ms: float = 0.0
    started_s: float = 0.0
    round_trip_ms: float = 0.0
    begun: float = 0.0
    ended: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    profile: list[str] = field(default_factory=list)

    @property
    def polls(self) -> int:
        """Requests of the window."""
        return sum(polls for _, polls in self.parts)

    @property
    def cpu_ms_per_poll(self) -> float:
        """
        CPU time per poll in the least disturbed third of the window, and the window's garbage collections.

        What else the machine runs empties the caches of whoever waits, and makes each poll dearer, by up to a
        half. Collections are rare and large, so they are spread over all polls.
        """
        if not self.polls:
            return float("nan")
        costs = sorted(1000 * cpu_s / polls for cpu_s, polls in self.parts if polls)
        return statistics.fmean(costs[: math.ceil(len(costs) / 3)]) + self.collecting_ms_per_poll

    @property
    def cpu_us_per_second(self) -> float:
        """CPU time of the process in a second of the window, everything in it."""
        return 1e6 * (sum(cpu_s for cpu_s, _ in self.parts) + self.collecting_s) / self.window_s

    @property
    def collecting_ms_per_poll(self) -> float:
        """CPU time of garbage collections per poll."""
        return 1000 * self.collecting_s / self.polls if self.polls else 0.0
