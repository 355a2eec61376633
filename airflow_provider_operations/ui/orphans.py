"""
Orphans for the list: tasks that are over and whose operation nobody has seen to end, and what a sweep saw of them.

What a sweep has noted stands beside the task's record, so whoever may edit the state of tasks may write it, too. No such
note takes a row out of the list, or keeps it from being cancelled: it is text. It counts only up to an hour after the
latest sweep that has really ended, so where no sweep runs no row looks as if one had.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.compat import TASKS_KEEP_STATE
from airflow_provider_operations._airflow.redaction import without_secrets
from airflow_provider_operations._airflow.states import OVER_OR_REMOVED
from airflow_provider_operations._sweep.database import records_elsewhere, unfinished
from airflow_provider_operations._sweep.judgement import QUIET_S, Step, judge
from airflow_provider_operations._sweep.latest import MAX_AGE_S
from airflow_provider_operations.operation import MAX_NAME_BYTES
from airflow_provider_operations.ui.views import shown_text, web_link

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.orm import Session

    from airflow_provider_operations._sweep.judgement import Found, Judgement
    from airflow_provider_operations._sweep.latest import Latest
    from airflow_provider_operations.ui.table import Asked

__all__ = ["MAX_ORPHANS", "Orphan", "Orphans", "has_records", "iso", "mark", "ordered"]

MAX_ORPHANS = 1000
"""So many are read at once, those whose task ended last."""

KEPT_S = 60.0
"""So old may be what lists of other operations say of orphans: reading them costs as much as such a list itself."""

MAX_KEPT = 20
"""For so many sets of DAGs that somebody may read, orphans are kept."""


@dataclass(frozen=True)
class Orphan:
    """
    A task that is over, whose operation may run.

    :param row: what the list shows, as ``ui.table.rows`` returns it.
    """

    row: dict[str, Any]

    @property
    def dag_id(self) -> str:
        """Its task's DAG, by which is decided who may see it."""
        return str(self.row["dag_id"])

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells its task from others."""
        return _key(self.row)

    def matches(self, asked: Asked) -> bool:
        """Tell whether the list's filters leave it in; those by state are for the list that is shown."""
        row = self.row
        return (
            asked.dag_id.lower() in str(row["dag_id"]).lower()
            and asked.conn_id.lower() in (row["conn_id"] or "").lower()
            and (not asked.state or asked.show != "orphans" or row["state"] == asked.state)
        )


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("dag_id", "run_id", "task_id", "map_index"))


def ordered(among: list[Orphan], sort: str) -> list[dict[str, Any]]:
    """
    Return their rows in the order that is asked for, as ``ui.table.rows`` does.

    :param sort: one of ``ui.table.SORTS``; with a minus in front backwards.
    """
    name = sort.removeprefix("-")
    by = ("dag_id", "task_id") if name == "task" else (name,)
    # Ties are sorted by key, so that rows don't change places between pages.
    rows = sorted((one.row for one in among), key=_key)
    return sorted(rows, key=lambda row: [row[each] or "" for each in by], reverse=sort.startswith("-"))


def mark(rows: list[dict[str, Any]], among: list[Orphan]) -> None:
    """Say of rows of other lists which are orphans; a task that was cleared since these were read isn't."""
    known = {one.key: one.row["orphan"] for one in among}
    for row in rows:
        row["orphan"] = known.get(_key(row)) if row["state"] in OVER_OR_REMOVED else None


def has_records() -> bool:
    """Tell whether this Airflow has records of tasks in its database."""
    return TASKS_KEEP_STATE and records_elsewhere() is None


class Orphans:
    """Reads orphans, for all requests to an API server's process."""

    def __init__(self) -> None:
        self._kept: dict[frozenset[str], tuple[float, tuple[list[Orphan], bool]]] = {}

    def read(
        self,
        session: Session,
        dag_ids: Collection[str],
        latest: Latest | None,
        now_epoch_s: float,
        *,
        anew: bool,
    ) -> tuple[list[Orphan], bool]:
        """
        Return the orphans of some DAGs, and whether there may be more than were read.

        :param anew: not what was read for the same DAGs a moment ago.
        """
        now_s, dags = time.monotonic(), frozenset(dag_ids)
        for others, (read_s, _) in list(self._kept.items()):
            if now_s - read_s >= KEPT_S or len(self._kept) > MAX_KEPT:
                self._kept.pop(others, None)
        kept = self._kept.get(dags)
        if kept is not None and not anew:
            return kept[1]
        found, more = unfinished(session, dag_ids, MAX_ORPHANS)
        made = (_orphan(*one, latest, now_epoch_s) for one in found)
        read = [one for one in made if one is not None], more
        self._kept[dags] = now_s, read
        return read


def _orphan(
    found: Found, ended: datetime | None, link: Any, latest: Latest | None, now_epoch_s: float
) -> Orphan | None:
    judged, may = judge(found, now_epoch_s), True
    stored = found.stored
    if judged.step is Step.LEAVE and isinstance(stored, dict) and stored.get("cancel_if_orphaned") is False:
        judged, may = judge(replace(found, stored={**stored, "cancel_if_orphaned": True}), now_epoch_s), False
    if judged.step is Step.LEAVE:
        return None
    record = judged.record
    said, at_epoch_s = _seen(found, judged, latest)
    if not may:
        said, at_epoch_s = (
            "no sweep cancels it, as its task has not both cancel_on_kill and cancel_on_timeout",
            None,
        )
    conn_id = None if record is None else record.service.get("operations_conn_id")
    return Orphan(
        {
            **found.place,
            "state": found.state,
            "name": "" if record is None else shown_text(record.name, MAX_NAME_BYTES),
            "conn_id": None if conn_id is None else shown_text(str(conn_id), 250),
            "since": None if record is None else iso(record.runs_since_epoch_s),
            "ended": ended and ended.isoformat(),
            "result": None,
            "message": None,
            "console_url": web_link(link),
            "orphan": {
                "said": None if said is None else shown_text(said, 500, without_secrets),
                "at": None if at_epoch_s is None else iso(at_epoch_s),
            },
        }
    )


def _seen(found: Found, judged: Judgement, latest: Latest | None) -> tuple[str | None, float | None]:
    """Return what a sweep has noted of an operation and when; without that, what Airflow's database says of it."""
    record = judged.record
    note = None if record is None else found.note_of(record)
    conn_id = None if record is None else record.service.get("operations_conn_id")
    if note is not None:
        # One that is under way, or was killed, has noted what it saw, too.
        if latest is not None and note.at_epoch_s <= latest.at_epoch_s + MAX_AGE_S:
            return note.said, note.at_epoch_s
    elif latest is not None and conn_id in latest.away and _is_due_at(found, latest.at_epoch_s):
        return "its service gave no answer", latest.at_epoch_s
    return judged.reason or None, None


def _is_due_at(found: Found, epoch_s: float) -> bool:
    """Tell whether a sweep that ended then would have looked at a task's operation."""
    return found.quiet_since_epoch_s is not None and found.quiet_since_epoch_s + QUIET_S <= epoch_s


def iso(epoch_s: float) -> str | None:
    """Return a moment as the pages read it."""
    try:
        return datetime.fromtimestamp(epoch_s, timezone.utc).isoformat()
    except (ValueError, OverflowError, OSError):  # a year after 9999
        return None
