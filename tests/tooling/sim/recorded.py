"""Traces of a real Airflow, made of what was recorded: its database, the emulator's journal, and what tasks have said."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.xcom import OPERATION_NAME_KEY
from airflow_provider_operations._lifecycle.record import RECORD_KEY

from .traces import Event, TaskValues, Trace, family_of, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["assemble"]

Row = dict[str, Any]
Place = tuple[str, str, str, int]

SAME_CHANGE_S = 0.5
"""What one transaction changes comes in several statements."""

READ_LATE_S = 1.5
"""So much earlier than it was noted Airflow may have looked up what it has answered."""


@dataclass
class _Life:
    """What is known of one task instance."""

    rows: list[Row] = field(default_factory=list)
    form: Row | None = None
    names: set[str] = field(default_factory=set)
    """Its operations, as far as its argument, its XComs and its records name them."""


def assemble(
    rows: Iterable[Row],
    journal: list[Row],
    operations: list[Row],
    name_of: Callable[[str, str, str], str],
    prefix_of: Callable[[str], str] = lambda _: "",
) -> list[Trace]:
    """
    Return the trace of each task of this package.

    :param rows: as ``Recorder.rows`` returns them.
    :param journal: the emulator's.
    :param operations: all of the emulator's, as resources.
    :param name_of: makes a trace's name of the task's DAG, run and id.
    :param prefix_of: how the names of a run's operations begin, if they can be known by that.
    """
    lives = _lives(rows)
    owners: dict[str, int] = defaultdict(int)
    for life in lives.values():
        for name in life.names:
            owners[name] += 1
    traces = []
    for (dag_id, run_id, task_id, _), life in sorted(lives.items()):
        prefix = prefix_of(run_id)
        names = life.names | {one["name"] for one in operations if prefix and one["name"].startswith(prefix)}
        # Of an operation that several tasks are about, the journal doesn't tell who asks.
        if life.form is None or not names or any(owners[name] > 1 for name in names):
            continue
        own = _Own([one for one in operations if one["name"] in names])
        events = sorted([*_of_server(journal, own), *own.ends(), *_of_airflow(life, own)])
        if events:
            began_s = events[0].at_s
            shifted = tuple(Event(event.at_s - began_s, event.what) for event in events)
            trace = Trace(name_of(dag_id, run_id, task_id), family_of(life.form), shifted)
            traces.append(trace.without_repetitions())
    return traces


def _lives(rows: Iterable[Row]) -> dict[Place, _Life]:
    lives: dict[Place, _Life] = defaultdict(_Life)
    waits: dict[int, Place] = {}
    """Which task waits for a trigger."""
    for row in rows:
        facts = row["facts"]
        place = (row["dag_id"], row["run_id"], row["task_id"], row["map_index"])
        if row["what"] == "trigger":
            if facts["id"] not in waits:
                continue
            place = waits[facts["id"]]
        life = lives[place]
        life.rows.append(row)
        if row["what"] == "task" and facts["trigger_id"] is not None:
            waits[facts["trigger_id"]] = place
        elif row["what"] == "stay":
            life.form = life.form or facts
            if facts.get("operation"):
                life.names.add(facts["operation"])
        elif row["what"] == "record" and (name := _plain(facts["value"]).get("name")):
            life.names.add(name)
        elif row["what"] == "xcom" and facts["key"] == OPERATION_NAME_KEY:
            life.names.add(_plain(facts["value"]))
    return lives


def _plain(value: Any) -> Any:
    """Return a value of Airflow's database, which may be JSON as text, and that as JSON again."""
    while isinstance(value, str) and re.match(r"[\[{\"]", value):
        value = json.loads(value)
    return value


class _Own:
    """The operations of one task."""

    def __init__(self, operations: list[Row]) -> None:
        self._began = {one["name"]: _epoch_s(one["metadata"]["createTime"]) for one in operations}
        self._resources = {one["name"]: one for one in operations}

    def __contains__(self, name: object) -> bool:
        return name in self._began

    def newest(self, at_s: float) -> str:
        """Return the one that was started last by then."""
        return max(
            (name for name, began_s in self._began.items() if began_s <= at_s + 0.001),
            key=lambda name: self._began[name],
            default="",
        )

    def which(self, name: str, at_s: float) -> str:
        return "newest" if name == self.newest(at_s) else "older"

    def ended_s(self, name: str) -> float | None:
        end = self._resources[name]["metadata"].get("endTime")
        return None if end is None else _epoch_s(end)

    def ends(self) -> Iterator[Event]:
        for name, resource in self._resources.items():
            if (ended_s := self.ended_s(name)) is not None:
                error = resource.get("error") or {}
                how = "succeeded" if not error else "cancelled" if error.get("code") == 1 else "failed"
                yield Event(ended_s, f"end: {self.which(name, ended_s)} {how}")


def _epoch_s(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def _of_server(journal: list[Row], own: _Own) -> Iterator[Event]:
    for entry in journal:
        name, at_s = entry["operation"], entry["time"]
        if name not in own:
            continue
        actor = "worker" if "connection" in entry["headers"] else "triggerer"
        ended_s = own.ended_s(name)
        over = ended_s is not None and ended_s <= at_s
        answered = entry["status"] is not None and 200 <= entry["status"] < 300
        if entry["kind"] == "start":
            yield Event(at_s, f"start: {'known' if entry['deduplicated'] else 'new'}")
        elif entry["kind"] == "cancel" and answered:
            yield Event(at_s, f"cancel in {actor}: {'in vain' if over else own.which(name, at_s)}")
        elif entry["kind"] == "get" and answered and entry["fault"] is None:
            yield Event(at_s, f"poll in {actor}: {own.which(name, at_s)} {'over' if over else 'runs'}")


def _of_airflow(life: _Life, own: _Own) -> list[Event]:
    events: list[Event] = []
    values = previous = TaskValues("", None, 0, 0)
    holder: tuple[int, int] | None = None
    changed_s, place = float("-inf"), -1
    for row in life.rows:
        at_s, what, facts = row["at_s"], row["what"], row["facts"]
        if what == "task":
            now = TaskValues(facts["id"], facts["state"], facts["try_number"], facts["max_tries"])
            if not values.id:
                values = now._replace(state=None, try_number=0)
            if change := values.change_to(now):
                changed_s, place, previous, values = at_s, len(events), values, now
                events.append(Event(at_s, change))
            elif at_s - changed_s < SAME_CHANGE_S and (whole := previous.change_to(now)):
                values = now
                events[place] = Event(changed_s, whole)
        elif what == "trigger":
            if facts["triggerer_id"] is not None:
                taken_over = holder is not None and holder[0] == facts["id"]
                events.append(Event(at_s, f"trigger: {'taken over' if taken_over else 'taken'}"))
                holder = facts["id"], facts["triggerer_id"]
        elif what in {"record", "xcom", "xcom is gone"}:
            if said_by := _noted(what, facts, own, at_s):
                events.append(Event(at_s, said_by))
        elif what not in {"stay", "task is gone", "record is gone"}:
            if facts.get("state") not in {None, "no_status", values.state} and at_s - changed_s < READ_LATE_S:
                at_s = changed_s - 0.0005 if facts["state"] == previous.state else at_s
            events.append(Event(at_s, said(what, facts, own.newest(at_s))))
    return events


def _noted(what: str, facts: Row, own: _Own, at_s: float) -> str | None:
    """Return the event of a change of a record, or of an XCom."""
    if what == "record":
        return f"record: {_plain(facts['value'])['state']}" if facts["key"] == RECORD_KEY else None
    if facts["key"] != OPERATION_NAME_KEY:
        return None
    return "xcom: none" if what == "xcom is gone" else f"xcom: {own.which(_plain(facts['value']), at_s)}"
