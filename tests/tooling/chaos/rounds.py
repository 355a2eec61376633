"""A round: one task under its faults; and the world as the suite sees it from outside."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .cluster import Cluster, Ti
    from .proxies import ApiFault, Line

__all__ = ["SETTLE_S", "Expect", "Round", "World"]

SETTLE_S = 40.0
"""How long after a task's end its operation may take to be over: a trigger's ``on_kill`` has 20 s."""


@dataclass(frozen=True)
class Expect:
    """
    What the table of the design says about a round's end.

    :param states: of the task; ``gone`` when its run was deleted.
    :param starts: how many operations there must be, least and most.
    :param error: class of the last exception in Airflow's log; ``None``: not looked at.
    :param left: how many operations may go on although their task is over, least and most.
    :param touched: somebody acted on the task, or its time was up: its operation may be cancelled. Else no cancel
        call may be sent at all, not even about an operation that is over.
    :param may_be_ending: one that was asked to cancel may still be ending when the next one is started.
    :param out_of_reach: the documentation's reason, where the promise can't hold.
    :param swept: a sweep ends what is left then.
    :param asked: a cancel call must have been sent, whatever the server made of it.
    :param within_s: an operation must be over so long after its start.
    :param tries: how many the task may need; ``None``: not looked at.
    :param settle_s: how long after the task's end its operation may take to be over.
    """

    states: tuple[str, ...] = ("success",)
    starts: tuple[int, int] = (1, 1)
    error: tuple[str, ...] | None = None
    left: tuple[int, int] = (0, 0)
    touched: bool = False
    may_be_ending: bool = False
    out_of_reach: str = ""
    swept: bool = False
    asked: bool = False
    within_s: float | None = None
    tries: int | None = None
    settle_s: float = SETTLE_S


@dataclass
class Round:
    """
    One task under its faults.

    :param kinds: the faults' names.
    :param script: what the operation does, as the emulator reads it.
    :param die: phase → how, see ``dags/chaos.py``.
    :param linger: phase → seconds.
    :param server: faults of the server, set before the start; each is about this round's operations only.
    :param api: faults of the task's calls of Airflow's execution API.
    :param connection: of the task; with ``own_line`` its own one, through a TCP proxy, in Airflow's database.
    :param steps: what happens to the round from outside.
    """

    kinds: tuple[str, ...]
    dag_id: str
    expect: Expect
    script: dict[str, Any] = field(default_factory=lambda: {"duration": 20})
    die: dict[str, str] = field(default_factory=dict)
    linger: dict[str, float] = field(default_factory=dict)
    server: list[dict[str, Any]] = field(default_factory=list)
    api: list[ApiFault] = field(default_factory=list)
    connection: str = "operations_default"
    own_line: bool = False
    steps: list[Callable[[World, Round], Iterator[Callable[[], bool]]]] = field(default_factory=list)
    first: bool = False
    """Its task should run before those of the other rounds."""
    id: str = ""
    acts: list[tuple[float, str]] = field(default_factory=list)
    acted: int = 0
    max_tries: int | None = None
    """Of the task instance when it was cleared: a clear that Airflow has counted raises it."""
    """How many of its steps came about."""
    last_ti: Ti | None = None
    over_s: float | None = None
    server_faults: list[str] = field(default_factory=list)
    line: Line | None = None

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.id} {'+'.join(self.kinds)} ({self.dag_id.removeprefix('chaos_')})"

    @property
    def sensor(self) -> bool:
        """Whether the operation is started by the suite, and the task only waits for it."""
        return "_sensor_" in self.dag_id

    def act(self, what: str) -> None:
        """Note what was done to the round."""
        self.acts.append((time.time(), what))


class World:
    """What database and emulator say, looked up a few times a second."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tis: dict[str, Ti] = {}
        self.starts: dict[str, list[dict[str, Any]]] = {}
        self._deferred_since: dict[tuple[str, str | None], float] = {}

    def look(self) -> None:
        """Look again; what can't be reached just now stays as it was."""
        self.tis = self.cluster.tis()
        with suppress(OSError, ValueError):
            starts = defaultdict(list)
            for entry in self.cluster.emulator.journal("start"):
                starts[round_of(entry["path"])].append(entry)
            self.starts = starts
        for run_id, ti in self.tis.items():
            key = (run_id, ti.id)
            if ti.state == "deferred" and ti.trigger_id is not None:
                if key not in self._deferred_since and self.cluster.owner(ti):
                    self._deferred_since[key] = time.monotonic()
            else:
                self._deferred_since.pop(key, None)

    def ti(self, one: Round) -> Ti | None:
        """Return the round's task instance."""
        return self.tis.get(one.id)

    def in_state(self, one: Round, state: str) -> bool:
        """Tell whether the task is in a state."""
        ti = self.ti(one)
        return ti is not None and ti.state == state

    def deferred(self, one: Round, since_s: float = 4.0) -> bool:
        """Tell whether a triggerer has the round's trigger, for a while already, so that it surely runs."""
        ti = self.ti(one)
        since = self._deferred_since.get((one.id, ti.id)) if ti else None
        return since is not None and time.monotonic() - since > since_s

    def running(self, one: Round) -> bool:
        """Tell whether the task holds a worker, and this try has an operation in its hands."""
        ti = self.ti(one)
        return ti is not None and ti.state == "running" and self.marked(one, f"waits-{ti.try_number}")

    def unanswered(self, one: Round) -> bool:
        """Tell whether a start has reached the server and isn't answered."""
        return any(entry["status"] is None for entry in self.starts.get(one.id, ()))

    def marked(self, one: Round, what: str) -> bool:
        """Tell whether the task has come by a place, see ``dags/chaos.py``."""
        return (self.cluster.home / "markers" / f"{one.id}.{what}").exists()

    def over(self, one: Round) -> bool:
        """Tell whether the round's run is over, or gone."""
        ti = self.ti(one)
        if ti is None:
            return one.last_ti is not None
        one.last_ti = ti
        return ti.run_state in {"success", "failed"} and ti.state not in {"running", "deferred", "queued"}


def round_of(path: str) -> str:
    """Return the id of the round that a path or an operation's name is about."""
    parts = path.strip("/").split("/")
    return parts[parts.index("rounds") + 1] if "rounds" in parts[:-1] else ""
