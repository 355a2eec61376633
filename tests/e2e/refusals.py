"""
The grid of refused starts: what a service says, how the task waits, what is done to it, and when.

A cell knows its task, how the service is to refuse, how one sees that its moment has come, and what is to come of it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import product
from typing import Any

__all__ = ["CELLS", "Cell", "Seen"]

MOMENTS = {
    "skip": ("sending", "skipped"),
    "wait": ("sending", "listing", "following"),
    "aborted": ("sending", "waiting", "waiting_again", "running"),
    "quota": ("sending", "waiting", "waiting_again", "running", "taken"),
}
"""
By what a refusal means, when a task is acted upon.

:``sending``: the start that will be refused isn't answered; where starts are repeated, the second one.
:``waiting``, ``waiting_again``: between the first and the second start, or the second and the third.
:``listing``: another's operation is looked for.
:``following``: it is waited for.
:``taken``: a start after a refused one was carried out, and its answer is still on the way.
:``running``: the task's own operation is waited for.
"""

ACTS = ("marked", "evicted", "cleared", "lost", "outage", "failed")
"""
What is done to it.

:``marked``: as failed, for a quota as successful.
:``evicted``: its worker process gets SIGTERM, and half a minute later SIGKILL.
:``lost``: its worker process gets SIGKILL.
:``outage``: the service is away for longer than the task bears, so that Airflow retries it.
:``failed``: the operation fails so that Airflow retries the task.
"""

_IN_A_WORKER = {"sending", "listing", "taken"}
_WATCHED = {"running", "following"}

ANSWERED_LATE_S = 240.0
"""Longer than it takes until a task is acted upon; its worker is dead by then."""

EVICTED_ANSWER_S = 30.0
"""So late that the worker is told to end before, and so early that it lives still."""

LONG_PAUSE_S, EVICTED_PAUSE_S = 240, 20
"""What the service asks a task to wait before its next start that is acted upon meanwhile."""

OWN_DURATION_S = 50.0
"""Of an operation that outlasts what is done to its task, and twice that if a new try has to come before its end."""


@dataclass
class Seen:
    """
    A task as one look from outside has shown it.

    :param starts: the statuses of its starts, ``None`` for one that isn't answered.
    :param lists: those of its lists.
    :param polls: how often its operation was asked for.
    """

    state: str | None = None
    try_number: int = 0
    pid: int | None = None
    starts: list[int | None] = field(default_factory=list)
    lists: list[int | None] = field(default_factory=list)
    polls: int = 0


@dataclass(frozen=True)
class Cell:
    """
    One task of the grid.

    :param refusal: a key of ``MOMENTS``.
    :param act: one of ``ACTS``, or ``none``.
    :param moment: empty if nothing is done.
    """

    refusal: str
    deferrable: bool
    act: str
    moment: str

    @property
    def key(self) -> str:
        """The task's id."""
        return "-".join(filter(None, [self.refusal, self._form, self.act, self.moment]))

    @property
    def dag_id(self) -> str:
        """The DAG of the task."""
        return f"e2e_refusals_{self._form}"

    @property
    def _form(self) -> str:
        return "deferred" if self.deferrable else "synchronous"

    @property
    def place(self) -> str:
        """What the paths of its requests contain, and of no other's."""
        return f"projects/{self.key}/"

    @property
    def held(self) -> bool:
        """Whether a worker holds the task at its moment."""
        return not self.deferrable or self.moment in _IN_A_WORKER

    @property
    def repeats(self) -> bool:
        """Whether refused starts are repeated."""
        return self.refusal in {"aborted", "quota"}

    @property
    def is_possible(self) -> bool:
        """Whether there is something to act upon: a worker, a wait, or an operation."""
        if self.moment == "skipped":
            return self.act in {"marked", "cleared"}
        if self.act in {"evicted", "lost"}:
            return self.held
        if self.act == "outage":
            return self.deferrable and self.moment in _WATCHED
        if self.act == "failed":
            return self.moment in _WATCHED
        # A kill before a start is answered within 4 s leaves what has begun, as no code knows its name.
        return not (self.act == "marked" and self.moment == "taken")

    # --- the task --------------------------------------------------------------------------------------------

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its operator."""
        more: dict[str, Any] = {
            "skip": {"if_exists": "skip"},
            "wait": {"if_exists": "wait", "resource_name": self.target},
            "aborted": {"start_retry_on": "ABORTED"},
            "quota": {"start_retry_on": "RATE_LIMIT_EXCEEDED", "request_id_field": "requestId"},
        }[self.refusal]
        if self.act == "outage":
            more |= {"outage_tolerance": 5}
        return {
            "path": f"{self.place}things",
            "json": {"operation": self._script},
            "deferrable": self.deferrable,
            "poke_interval": 6,
            "retries": 5,
            "retry_delay": 1,
            "priority_weight": 2 if self.refusal == "wait" else 1,  # the other's operation runs already
            **more,
        }

    @property
    def target(self) -> str:
        """What it creates."""
        return f"{self.place}things/x"

    @property
    def _script(self) -> dict[str, Any] | str:
        """What its own operations do; what another try starts may do something else."""
        later = {"duration": 5, "response": {"of": self.key}}
        if self.act == "marked":
            return later | {"duration": 3600, "cancelDelay": 1}
        if (self.act, self.moment) == ("cleared", "running"):
            return _by_try({"duration": 3600, "cancelDelay": 1}, later)
        if (self.act, self.moment) == ("failed", "running"):
            return _by_try({"duration": 20, "error": {"code": 14, "message": "away, says the test"}}, later)
        if self.act == "cleared" and (self.moment == "taken" or self._is_resent):
            return later | {"duration": 2 * OWN_DURATION_S}
        return later | {"duration": OWN_DURATION_S if self.moment in {"running", "taken"} else 5}

    # --- the service -----------------------------------------------------------------------------------------

    @property
    def anothers(self) -> dict[str, Any] | None:
        """What the operation does that something else has started: it runs until the test says that it is over."""
        return {"duration": 3600, "metadata": {"target": self.target}} if self.refusal == "wait" else None

    @property
    def end_of_anothers(self) -> dict[str, Any]:
        """What the service says of that operation when it is over, beside its name."""
        if self.act == "failed":
            return {"done": True, "error": {"code": 13, "message": "broken, says the test"}}
        return {"done": True, "response": {"of": "another"}}

    @property
    def faults(self) -> list[dict[str, Any]]:
        """What goes wrong at the service from the beginning, in this order."""
        evicted = self.act == "evicted"
        late: dict[str, Any] = {"delay": EVICTED_ANSWER_S if evicted else ANSWERED_LATE_S}
        pause_s = EVICTED_PAUSE_S if evicted else LONG_PAUSE_S
        if not self.repeats:
            once = self.act == "failed" or (self.act, self.moment) == ("cleared", "skipped")
            first = self._refused(**(late if self.moment == "sending" else {}))
            faults = [first] if once or self.moment == "sending" else []
            if not once:
                faults.append(self._refused(times=None))
            if self.moment == "listing":
                faults.append({"kind": "list", "operation": self.place, "times": 1, **late})
            return faults
        once_more = [self._refused()] if self.refusal == "aborted" and self.act != "marked" else []
        if self.moment == "sending":
            return [self._refused(), self._refused(**late), *once_more]
        if self.moment == "waiting":
            return [self._refused(pause_s), *once_more]
        if self.moment == "waiting_again":
            return [self._refused(), self._refused(pause_s), *once_more]
        if self.moment == "taken":
            return [self._refused(), {"kind": "start", "operation": self.place, "times": 1, **late}]
        if self.act in {"cleared", "failed"}:  # the second operation is refused at first, as the first was
            return [self._refused(), self._refused(after=1)]
        return [self._refused(), self._refused()]

    def _refused(self, pause_s: int | None = None, **more: Any) -> dict[str, Any]:
        code, http_status = {
            "aborted": ("ABORTED", 409),
            "quota": ("RESOURCE_EXHAUSTED", 429),
        }.get(self.refusal, ("ALREADY_EXISTS", 409))
        error: dict[str, Any] = {"code": http_status, "status": code, "message": "refused, says the test"}
        headers = {"Content-Type": "application/json"}
        if self.refusal == "quota":
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
            error["details"] = [info | {"domain": "example.com"}]
            if pause_s is not None:
                retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{pause_s}s"}
                error["details"].append(retry)
        elif pause_s is not None:
            headers["Retry-After"] = str(pause_s)
        fault = {
            "kind": "start",
            "operation": f"{self.place}things",
            "status": http_status,
            "headers": headers,
            "body": json.dumps({"error": error}),
            "times": 1,
            **more,
        }
        return {key: value for key, value in fault.items() if value is not None}

    # --- the moment ------------------------------------------------------------------------------------------

    @property
    def is_acted_upon(self) -> bool:
        """Whether somebody has to do something at its moment."""
        return self.act not in {"none", "failed"}

    def is_at(self, seen: Seen) -> bool:
        """Tell whether the task is where it is to be acted upon; of an operation, whether it is asked for at all."""
        if self.moment == "skipped":
            return seen.state == "skipped" and len(seen.starts) == 1
        if seen.state != ("running" if self.held else "deferred"):
            return False
        answered = [status for status in seen.starts if status is not None]
        if self.moment in {"sending", "taken"}:
            return len(seen.starts) == 1 + self.repeats and len(answered) == self.repeats
        if self.moment == "listing":
            return seen.lists == [None]
        if self.moment in {"waiting", "waiting_again"}:
            return len(answered) == len(seen.starts) == 1 + (self.moment == "waiting_again")
        return 200 in answered if self.moment == "running" else seen.polls > 0

    @property
    def grace_s(self) -> float:
        """How long an evicted worker lives: until it has its answer, or less than it would wait."""
        return EVICTED_ANSWER_S + 15 if self.moment in _IN_A_WORKER else 10.0

    def goes_on(self, now: Seen, acted: Seen | None) -> bool:
        """Tell whether the task waits for another's operation after all that was done to it, so that this may end."""
        if self.act == "marked" or now.polls < 2:
            return False
        if not self.is_acted_upon:
            return True
        by_a_new_try = self.act != "evicted"  # who is evicted may defer, or poll on
        return (
            acted is not None
            and now.polls > acted.polls + 1
            and now.try_number >= acted.try_number + by_a_new_try
        )

    @property
    def watched(self) -> bool:
        """Whether its moment is one in which an operation is asked for."""
        return self.moment in _WATCHED

    # --- what is to come of it -------------------------------------------------------------------------------

    @property
    def mark(self) -> str:
        """What it is marked as."""
        return "success" if self.refusal == "quota" else "failed"

    @property
    def state(self) -> str:
        """How the task ends."""
        if self.act == "marked":
            return self.mark
        if self.refusal != "skip" or (self.act, self.moment) == ("cleared", "skipped"):
            return "success"
        # A start whose answer was lost may have begun what exists, so that the next try isn't skipped.
        return "failed" if self.act in {"lost", "cleared"} else "skipped"

    @property
    def ends(self) -> list[str]:
        """How the operations end that it has started, in order."""
        if self.refusal == "skip":
            return ["succeeded"] if self.state == "success" else []
        if self.refusal == "wait":
            return ["succeeded"] if self.act == "failed" else []
        if self.act == "marked":
            return ["cancelled"] if self.moment == "running" else []
        if self.act == "cleared" and (self.moment in {"running", "taken"} or self._is_resent):
            return ["cancelled", "succeeded"]
        return ["failed", "succeeded"] if self.act == "failed" else ["succeeded"]

    @property
    def _is_resent(self) -> bool:
        """Whether a start that nobody has answered is sent again by its request id; what it begins is cancelled first."""
        return self.refusal == "quota" and self.moment == "sending"

    @property
    def result(self) -> Any:
        """What the task returns, if it succeeds."""
        return {"of": "another" if self.refusal == "wait" and not self.ends else self.key}


def _by_try(first: dict[str, Any], later: dict[str, Any]) -> str:
    return f"{{{{ {json.dumps(first)} if ti.try_number == 1 else {json.dumps(later)} }}}}"


def _grid() -> list[Cell]:
    cells = []
    for refusal, deferrable in product(MOMENTS, (True, False)):
        cells.append(Cell(refusal, deferrable, "none", ""))
        given = (Cell(refusal, deferrable, act, moment) for moment in MOMENTS[refusal] for act in ACTS)
        cells += [cell for cell in given if cell.is_possible]
    return cells


def _some(cells: list[Cell]) -> list[Cell]:
    """Return one moment for each refusal, form and act, in turn, so that each moment is there."""
    moments: dict[tuple[str, bool, str], list[Cell]] = {}
    for cell in cells:
        moments.setdefault((cell.refusal, cell.deferrable, cell.act), []).append(cell)
    return [found[number % len(found)] for number, found in enumerate(moments.values())]


CELLS = _grid() if os.environ.get("REFUSALS") == "all" else _some(_grid())
"""What is played: ``REFUSALS=all`` plays the whole grid."""
