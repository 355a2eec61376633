"""
The life of a task as a list of events in few words, whether it was recorded in a real Airflow or simulated.

What a trace is compared by are its steps: an event, and the situation in which it happens. A situation is what all
events before it have made: it is computed from them alone, in the same way for both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "Event",
    "Situation",
    "Step",
    "TaskValues",
    "Trace",
    "family_of",
    "read_traces",
    "said",
    "write_traces",
]


class Event(NamedTuple):
    """
    Something that happens.

    :param at_s: seconds since the trace's beginning.
    :param what: ``actor: act``, in the words of this module.
    """

    at_s: float
    what: str


@dataclass(frozen=True)
class Situation:
    """
    How things stand between two events.

    :param state: the task's.
    :param trigger: ``none``, ``free`` or ``held``.
    :param record: the state of the task's record; ``none``.
    :param xcom: whether the XCom ``operation_name`` names the ``newest`` operation, an ``older`` one, or ``none``.
    :param newest: how the newest operation stands: ``none``, ``runs``, ``is cancelled`` or ``over``.
    :param older_runs: whether another one runs.
    """

    state: str = "None"
    trigger: str = "none"
    record: str = "none"
    xcom: str = "none"
    newest: str = "none"
    older_runs: bool = False

    def after(self, what: str) -> Situation:
        """Return the situation after an event."""
        actor, _, act = what.partition(": ")
        match actor:
            case "task":
                state = act.split(" ", 1)[0].rpartition(">")[2]
                return replace(self, state=state, trigger="free" if state == "deferred" else "none")
            case "trigger":
                return replace(self, trigger="held")
            case "record":
                return replace(self, record=act)
            case "xcom":
                return replace(self, xcom=act)
            case "start" if act == "new":
                xcom = "older" if self.xcom == "newest" else self.xcom
                older = self.older_runs or self.newest in {"runs", "is cancelled"}
                return replace(self, newest="runs", xcom=xcom, older_runs=older)
            case "cancel in worker" | "cancel in triggerer" if act == "newest":
                return replace(self, newest="is cancelled")
            case "end":
                return (
                    replace(self, newest="over")
                    if act.startswith("newest")
                    else replace(self, older_runs=False)
                )
        return self

    def __str__(self) -> str:
        older = ", an older one runs" if self.older_runs else ""
        return (
            f"task {self.state}, trigger {self.trigger}, record {self.record}, XCom {self.xcom}, "
            f"operation {self.newest}{older}"
        )


class Step(NamedTuple):
    """An event, and the situation in which it happens."""

    before: Situation
    what: str

    def __str__(self) -> str:
        return f"[{self.before}] {self.what}"


@dataclass(frozen=True)
class Trace:
    """
    What one task has lived through.

    :param name: where it was recorded, and under which faults.
    :param family: see ``family_of``.
    """

    name: str
    family: str
    events: tuple[Event, ...]

    def steps(self) -> Iterator[Step]:
        """Yield its steps."""
        for before, event in self._situations():
            yield Step(before, event.what)

    def situations(self) -> Iterator[tuple[Situation, float, float]]:
        """Yield the situations it goes through, each with the times of the events before and after."""
        since_s = 0.0
        for before, event in self._situations():
            yield before, since_s, event.at_s
            since_s = event.at_s

    def without_repetitions(self) -> Trace:
        """Leave out what happens again while nothing changes, such as polls."""
        return replace(self, events=tuple(event for _, event in self._situations()))

    def _situations(self) -> Iterator[tuple[Situation, Event]]:
        now, again = Situation(), set[str]()
        for event in self.events:
            after = now.after(event.what)
            if after != now:
                again.clear()
            elif event.what in again:
                continue
            else:
                again.add(event.what)
            yield now, event
            now = after

    def to_json(self) -> str:
        """Return it as a line."""
        events = [[round(event.at_s, 3), event.what] for event in self.events]
        return json.dumps({"name": self.name, "family": self.family, "events": events})

    @classmethod
    def from_json(cls, line: str) -> Trace:
        """Read what ``to_json`` wrote."""
        value = json.loads(line)
        events = tuple(Event(float(at_s), str(what)) for at_s, what in value["events"])
        return cls(str(value["name"]), str(value["family"]), events)


def read_traces(path: Path) -> list[Trace]:
    """Return the traces of a file."""
    return [Trace.from_json(line) for line in path.read_text().splitlines()]


def write_traces(path: Path, traces: Iterable[Trace]) -> None:
    """Write traces to a file, one to a line."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{trace.to_json()}\n" for trace in traces))


def family_of(form: Mapping[str, Any]) -> str:
    """
    Name what decides what can happen to a task.

    :param form: as ``harness.watching.form_of`` says it.
    """
    deferrable, operator = form["deferrable"], form["kind"] == "operator"
    words = [
        form["kind"],
        "deferred" if deferrable else "rescheduled" if form["reschedules"] else "synchronous",
    ]
    words += ["no request ids"] if operator and not form["request_ids"] else []
    words += ["no record"] if not form["durable"] else []
    words += ["hands on"] if not form["waits"] else []
    words += ["ends in its trigger"] if form["ends_from_trigger"] and deferrable else []
    words += ["limited"] if form["limited"] else []
    words += ["never cancels"] if not form["cancels"] else []
    return ", ".join(words)


def said(what: str, facts: Mapping[str, Any], newest: str) -> str:
    """
    Return the event of something that ``harness.watching`` says.

    :param newest: the name of the newest operation.
    """
    if not facts:
        return what
    own = facts.get("own")
    named = "none" if own is None else "newest" if own == newest else "older"
    return f"{what}: {facts['state']}" + (f", XCom {named}" if "own" in facts else "")


class TaskValues(NamedTuple):
    """What Airflow's database says of a task instance, as far as it is compared."""

    id: str
    state: str | None
    try_number: int
    max_tries: int

    def change_to(self, later: TaskValues) -> str | None:
        """Name the change of state, with what else has changed since the last one; ``None``: the state is the same."""
        if later.state == self.state:
            return None
        more = [
            name
            for name, changed in (
                ("another id", later.id != self.id),
                ("next try", later.try_number != self.try_number),
                ("more tries", later.max_tries != self.max_tries),
            )
            if changed
        ]
        return " ".join([f"task: {self.state}>{later.state}", *([f"({', '.join(more)})"] if more else [])])
