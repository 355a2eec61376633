"""
Whether an operation is an orphan, as far as Airflow's database says it: pure, and tested as a table.

Only what ``judge`` calls ``LOOK`` is asked for at its service, and only if ``stranger`` finds nothing to say against it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.states import OVER_OR_REMOVED, place_of
from airflow_provider_operations._connection.options import SERVICE_FIELDS, ServiceOptions
from airflow_provider_operations._lifecycle.record import RECORD_KEY, Record, State, is_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_operations.operation import Operation

__all__ = [
    "AGAIN_AT_MOST_S",
    "QUIET_S",
    "Found",
    "Judgement",
    "Note",
    "Step",
    "another",
    "judge",
    "operation_of",
    "own_fields",
    "stranger",
]

QUIET_S = 60.0
"""A task has been over, and its record unchanged, for so long: until then, its own process or trigger may see to it."""

AGAIN_AT_MOST_S = 3600.0
"""Longest pause after which an operation that doesn't end is asked to cancel again."""

CLOCKS_DIFFER_S = 3600.0
"""So much the clocks of a service and of a worker may differ, before an operation is taken for another."""

NOTE_VERSION = 1


@dataclass(frozen=True)
class Note:
    """
    What sweeps know of an operation: the value of a key beside the record that no worker writes.

    :param of: which operation it is about, see ``operation_of``.
    :param by: the sweep that has written it.
    :param settled: no sweep has to see to the operation again.
    :param due_epoch_s: no sweep sees to it before; a sweep that works on it has claimed it until then. What is later
        than any sweep asks for, a wrong clock or somebody else has written.
    :param cancels: how often it was asked to cancel.
    :param missing_since_epoch_s: since when its service has said nothing but that it doesn't know it; 0: it hasn't.
    :param misses: how often it has said so.
    """

    of: str
    by: str
    at_epoch_s: float
    said: str
    settled: bool = False
    due_epoch_s: float = 0.0
    cancels: int = 0
    missing_since_epoch_s: float = 0.0
    misses: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the versioned JSON value that is stored."""
        return {"version": NOTE_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> Note | None:
        """Read what ``to_json`` wrote; anything else, which somebody else has written, counts for nothing."""
        if not isinstance(value, dict) or value.get("version") != NOTE_VERSION:
            return None
        of, by, said, settled, cancels = (
            value.get(key) for key in ("of", "by", "said", "settled", "cancels")
        )
        at, due = value.get("at_epoch_s"), value.get("due_epoch_s")
        missing, misses = value.get("missing_since_epoch_s", 0.0), value.get("misses", 0)
        texts = isinstance(of, str) and isinstance(by, str) and isinstance(said, str)
        counts = isinstance(cancels, int) and isinstance(misses, int)
        if not (texts and isinstance(settled, bool) and counts):
            return None
        if not (is_moment(at) and is_moment(due) and is_moment(missing)):
            return None
        return cls(str(of), str(by), at, str(said), settled, due, _count(cancels), missing, _count(misses))


def _count(value: Any) -> int:
    return min(max(int(value), 0), 1000)


@dataclass(frozen=True)
class Found:
    """
    A task and its record, as one query found them.

    :param key: the record's, in the task's state.
    :param ti_id: the task instance's id, which each try has anew.
    :param quiet_since_epoch_s: since when neither the task nor its record has changed; ``None``: that isn't known.
    :param stored: the record's JSON.
    :param stored_at: when it was written, as the database has it.
    :param swept: the note of sweeps as stored text, ``None`` if there is none.
    :param note: the same, read.
    :param swept_at: when it was written; the record's own moment, if that note has settled it.
    :param ended: the XCom ``operation``; ``None`` if there is none.
    :param named: the operation that the XCom ``operation_name`` names.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    ti_id: Any
    state: str | None
    try_number: int
    max_tries: int
    quiet_since_epoch_s: float | None
    stored: Any
    stored_at: Any
    dag_run_id: int = 0
    dag_version_id: Any = None
    swept: str | None = None
    note: Note | None = None
    swept_at: Any = None
    ended: Any = None
    named: str | None = None

    @property
    def place(self) -> dict[str, Any]:
        """What names the task instance over all its tries."""
        return place_of(self)

    def note_of(self, record: Record) -> Note | None:
        """Return the note, if it is about the record's operation."""
        return self.note if self.note is not None and self.note.of == operation_of(record) else None


class Step(Enum):
    """What is to be done about a task's operation."""

    LEAVE = "leave"
    """Nothing: the task goes on, or its operation is over, or somebody else's."""
    WAIT = "wait"
    """Nothing now: another sweep works on it, or it was asked to cancel a short while ago."""
    SHOW = "show"
    """A person should see to it."""
    LOST = "lost"
    """A person should see to it, and is told once: nobody knows the operation's name."""
    LOOK = "look"
    """No task waits for it: ask the service whether it runs."""


@dataclass(frozen=True)
class Judgement:
    """A step, the record if it could be read, and what there is to say to a person."""

    step: Step
    record: Record | None = None
    reason: str = ""


def operation_of(record: Record) -> str:
    """Return what tells one operation of a task from another, also before its name is known."""
    return f"{record.request_id} {record.name}".strip()


def judge(found: Found, now_epoch_s: float) -> Judgement:
    """Decide what is to be done about a task's operation; nothing is done in doubt."""
    if found.state not in OVER_OR_REMOVED:  # ``up_for_retry`` and no state at all are no end
        return Judgement(Step.LEAVE)
    since = found.quiet_since_epoch_s
    if since is None or now_epoch_s - since < QUIET_S:
        return Judgement(Step.LEAVE)
    try:
        record = Record.from_json(found.stored)
    except ValueError:
        return Judgement(Step.SHOW, None, "its record can't be read")
    if not record.cancel_if_orphaned or record.handed_on or record.foreign:
        return Judgement(Step.LEAVE, record)
    if record.state in {State.REJECTED, State.DELIVERED}:
        return Judgement(Step.LEAVE, record)
    note = found.note_of(record)
    if note is not None:
        if note.settled and found.swept_at == found.stored_at:  # the record wasn't written again
            return Judgement(Step.LEAVE, record)
        if now_epoch_s < note.due_epoch_s <= now_epoch_s + 2 * AGAIN_AT_MOST_S:  # hosts' clocks differ
            return Judgement(Step.WAIT, record)
    if record.state is State.STARTING:
        reason = "the answer to its start is lost, so an operation may be running whose name nobody knows"
        return Judgement(Step.LOST, record, reason)
    if not record.name or _has_ended(found.ended, record.name):
        return Judgement(Step.LEAVE, record)
    if found.named not in {None, record.name}:
        return Judgement(Step.SHOW, record, "its XCom names another operation than its record")
    return Judgement(Step.LOOK, record)


def _has_ended(ended: Any, name: str) -> bool:
    return isinstance(ended, dict) and ended.get("name") == name and ended.get("done") is True


# --- whose it is -----------------------------------------------------------------------------------------------

_OURS = "airflow_provider_operations."
_OUR_LINK = "_link_OperationLink"


def own_fields(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """
    Return the arguments of a task of ours as its DAG's code has them; empty if one that matters is a template.

    :param task: as it is in a serialized DAG.
    :return: ``None`` if the task isn't of a class of ours. A subclass is known by our link.
    """
    links = task.get("_operator_extra_links")
    module = str(task.get("_task_module", ""))
    if not module.startswith(_OURS) and not (isinstance(links, dict) and _OUR_LINK in links.values()):
        return None
    names = (*SERVICE_FIELDS, "operation_name")
    given: Mapping[str, Any] = task
    if task.get("_is_mapped"):
        given = {"operations_conn_id": "operations_default", **task.get("partial_kwargs", {})}
        expanded = task.get("expand_input", {})
        value = expanded.get("value", {}) if isinstance(expanded, dict) else {}
        by_name = value.get("__var", value) if isinstance(value, dict) else None
        known = isinstance(expanded, dict) and expanded.get("type") == "dict-of-lists"
        if not known or not isinstance(by_name, dict) or not by_name.keys().isdisjoint(SERVICE_FIELDS):
            return {}
        given = {name: value for name, value in given.items() if name not in by_name}
    fields = {name: given[name] for name in names if given.get(name) is not None}
    service = [fields[name] for name in SERVICE_FIELDS if name in fields]
    literal = all(isinstance(one, int) or (isinstance(one, str) and "{" not in one) for one in service)
    if not literal or not isinstance(fields.get("operations_conn_id"), str):
        return {}
    if "{" in str(fields.get("operation_name", "")) or not isinstance(fields.get("operation_name", ""), str):
        del fields["operation_name"]
    return fields


def another(found: Found, record: Record, seen: Operation) -> str:
    """
    Say why what a service has under an operation's name may not be the task's operation; empty if nothing says so.

    A connection may lead to another host by now, a service may use a name again, and whoever may edit a task's state may
    have put in another name.
    """
    if seen.metadata is None and seen.other:
        return "what the service has under its name looks like a resource rather than an operation"
    created_s = seen.times.created_s
    if created_s is None:
        return ""
    own = found.key == RECORD_KEY
    earliest_s = record.started_epoch_s if own else 0.0
    latest_s = (record.answered_epoch_s or math.inf) if own else record.started_epoch_s
    if earliest_s - CLOCKS_DIFFER_S <= created_s <= latest_s + CLOCKS_DIFFER_S:
        return ""
    return "the service says that it was created at another time than the task's operation"


def stranger(record: Record, sources: Sequence[Mapping[str, Any]]) -> str:
    """
    Say why a record may not be what the task's own code has written; empty if it is.

    Whoever may edit a task's state could write a record. It may lead to no service but the task's own.

    :param sources: the task's arguments, rendered or literal, as far as Airflow has them.
    """
    stored = record.service
    if not isinstance(stored.get("operations_conn_id"), str):
        return "its record doesn't say of which service it is"
    said = [source for source in sources if isinstance(source.get("operations_conn_id"), str)]
    if not said:
        return "Airflow no longer has the task's arguments, so whether its record is right isn't known"
    if not any(ServiceOptions.stored(source) == ServiceOptions.stored(stored) for source in said):
        return "its record leads to another service than the task's arguments"
    names = {source["operation_name"] for source in said if isinstance(source.get("operation_name"), str)}
    if names and record.name not in names:
        return "its record names another operation than the task's arguments"
    return ""
