"""What a process is told to measure, and what it answers."""

from __future__ import annotations

import json
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
    :param window_s: then CPU time is.
    :param hold_s: at least so long from the first start to the end.
    :param counted: the server has a ``/status``.
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

    :param cpu_s: CPU time of the window, all threads.
    :param polls: requests of the window.
    :param window_s: how long it was.
    :param kb_per_operation: memory at the end, less what was used before the start.
    :param blocked_ms: longest time that the event loop didn't come round while the waits were started.
    :param blocked_cpu_ms: most CPU time that the loop's thread used in one round: without what others took.
    :param collected_ms: longest garbage collection meanwhile.
    :param started_s: how long it took to start all waits.
    :param round_trip_ms: median time of a bare request.
    :param begun: when the first wait was started (epoch).
    :param ended: when waits ended by themselves (epoch), by name.
    :param errors: what waits raised, the same texts once.
    :param profile: lines for people.
    """

    cpu_s: float = 0.0
    polls: int = 0
    window_s: float = 0.0
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
    def cpu_ms_per_poll(self) -> float:
        """CPU time per poll."""
        return 1000 * self.cpu_s / self.polls if self.polls else float("nan")
