"""The list's rows: tasks whose operation runs, or has ended lately, read from Airflow's database alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.xcom import XComModel
from sqlalchemy import JSON, and_, func, or_, select, type_coerce

from airflow_provider_operations._airflow.redaction import without_secrets
from airflow_provider_operations._airflow.states import OVER_OR_REMOVED
from airflow_provider_operations._airflow.xcom import LINK_KEY, OPERATION_KEY, OPERATION_NAME_KEY
from airflow_provider_operations._protocol.outcome import ended_as
from airflow_provider_operations._protocol.rendering import printable
from airflow_provider_operations.ui.tasks import _operation, _text
from airflow_provider_operations.ui.views import shown_text, web_link

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = ["SORTS", "STATES", "Asked", "Show", "counts", "dags", "rows"]

Show = Literal["running", "orphans", "failed", "ended"]

_WAITING = ("running", "deferred", "up_for_reschedule", "up_for_retry", "restarting")
_RESUMING = ("scheduled", "queued")

SORTS = ("task", "conn_id", "state", "since", "ended")
"""By what rows can be sorted."""

STATES: dict[Show, tuple[str, ...]] = {
    "running": (*_WAITING, *_RESUMING),
    "orphans": ("success", "failed", "skipped", "upstream_failed", "removed"),
    "failed": ("failed", "skipped", "up_for_retry"),
    "ended": ("success", "failed", "skipped", "upstream_failed", "removed", *_WAITING),
}
"""States in which tasks of each list may be."""

_FIELDS = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True)
class Asked:
    """
    What is to be listed.

    :param show: operations that run; orphans, which aren't read here; operations that have ended ``after`` then; or
        those of them that failed or were cancelled.
    :param dag_id: only DAGs whose id contains this, whatever its case.
    :param conn_id: only connections whose id contains this.
    :param state: only tasks in this state.
    """

    show: Show
    after: datetime
    dag_id: str = ""
    conn_id: str = ""
    state: str = ""


class _Columns:
    """The joined tables' columns, and what they say of an operation."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        # Before Airflow 3.2 a type of sqlalchemy-jsonfield, which newer SQLAlchemys can't look into.
        fields = type_coerce(RenderedTaskInstanceFields.rendered_fields, JSON)
        self.conn_id = fields["operations_conn_id"].as_string()
        self.final = XComModel.__table__.alias("final")
        # A sensor in reschedule mode pushes its XComs anew in every stay, as Airflow clears them before.
        first_stay = (
            select(func.min(TaskReschedule.start_date))
            .where(TaskReschedule.ti_id == TaskInstance.id)
            .scalar_subquery()
        )
        self.since = func.coalesce(first_stay, XComModel.timestamp)
        self.ended = func.coalesce(self.final.c.timestamp, TaskInstance.end_date)
        unfinished = self.final.c.key.is_(None)
        self.is_running = and_(
            unfinished,
            # XComs of an earlier try stay until the next one begins; one that resumes has begun.
            or_(
                TaskInstance.state.in_(_WAITING),
                and_(TaskInstance.state.in_(_RESUMING), TaskInstance.next_method.is_not(None)),
            ),
        )
        self.has_ended = and_(
            self.ended >= asked.after, or_(~unfinished, TaskInstance.state.in_(OVER_OR_REMOVED))
        )
        self.has_failed = and_(
            self.has_ended,
            or_(
                self.final.c.value["error"].as_string().is_not(None),
                and_(unfinished, TaskInstance.state == "failed"),
            ),
        )
        by = ((TaskInstance.dag_id, TaskInstance.task_id), (self.conn_id,), (TaskInstance.state,))
        self.sorts = dict(zip(SORTS, (*by, (self.since,), (self.ended,)), strict=True))

    def of(self, show: Show) -> Any:
        """Return the condition for the rows of a list; the filter by state is for the list that is shown."""
        asked = self._asked
        one = {"running": self.is_running, "failed": self.has_failed, "ended": self.has_ended}[show]
        return and_(one, TaskInstance.state == asked.state) if asked.state and show == asked.show else one

    def query(self, dag_ids: Collection[str], *selected: Any) -> Any:
        asked = self._asked
        query = (
            select(*selected)
            .select_from(TaskInstance)
            .join(XComModel, and_(_same(XComModel), XComModel.key == OPERATION_NAME_KEY))
            .outerjoin(self.final, and_(_same(self.final.c), self.final.c.key == OPERATION_KEY))
            .outerjoin(RenderedTaskInstanceFields, _same(RenderedTaskInstanceFields))
            .where(TaskInstance.dag_id.in_(dag_ids))
        )
        if asked.dag_id:
            query = query.where(_contains(TaskInstance.dag_id, asked.dag_id))
        if asked.conn_id:
            query = query.where(_contains(self.conn_id, asked.conn_id))
        return query


def _same(other: Any) -> Any:
    return and_(*(getattr(TaskInstance, field) == getattr(other, field) for field in _FIELDS))


def _contains(column: Any, text: str) -> Any:
    return func.lower(column).contains(text.lower(), autoescape=True)


def dags(session: Session, readable: Collection[str], asked: Asked) -> list[str]:
    """Return the DAGs, among those that may be read, that any of the lists would show."""
    columns = _Columns(asked)
    query = columns.query(readable, TaskInstance.dag_id).distinct()
    # Apart, as the few that run are found by an index.
    found = (session.scalars(query.where(one)) for one in (columns.is_running, columns.has_ended))
    return sorted({dag_id for part in found for dag_id in part})


def counts(session: Session, dag_ids: Collection[str], asked: Asked) -> dict[Show, int]:
    """Return how many operations each list has that is read here."""
    columns = _Columns(asked)
    query = columns.query(dag_ids, func.count())
    shows: tuple[Show, ...] = ("running", "failed", "ended")
    return {show: session.scalar(query.where(columns.of(show))) or 0 for show in shows}


def rows(
    session: Session, dag_ids: Collection[str], asked: Asked, *, sort: str, offset: int, limit: int
) -> list[dict[str, Any]]:
    """
    Return a part of a list.

    :param sort: one of ``SORTS``; with a minus in front backwards.
    :return: ``{"dag_id", "run_id", "task_id", "map_index", "state", "name", "conn_id", "since", "ended", "result",
        "message", "console_url", "orphan"}``; the last five are ``None`` where there is nothing to say. The result is
        ``succeeded``, ``failed``, ``cancelled``, or ``unknown``, e.g. of a task that ended before its operation.
    """
    columns = _Columns(asked)
    link = XComModel.__table__.alias("link")
    query = columns.query(
        dag_ids,
        *(getattr(TaskInstance, field) for field in _FIELDS),
        TaskInstance.state,
        XComModel.value.label("name"),
        columns.conn_id.label("conn_id"),
        columns.since.label("since"),
        columns.ended.label("ended"),
        columns.final.c.key.label("final_key"),
        columns.final.c.value.label("final"),
        link.c.value.label("link"),
    ).outerjoin(link, and_(_same(link.c), link.c.key == LINK_KEY))
    by = columns.sorts[sort.removeprefix("-")]
    # Ties are sorted by key, so that rows don't change places between pages.
    order = [column.desc() if sort.startswith("-") else column.asc() for column in by]
    order += [getattr(TaskInstance, field).asc() for field in _FIELDS]
    query = query.where(columns.of(asked.show)).order_by(*order).offset(offset).limit(limit)
    return [_row(row, ended=asked.show != "running") for row in session.execute(query)]


def _row(row: Any, *, ended: bool) -> dict[str, Any]:
    return {
        **{field: getattr(row, field) for field in _FIELDS},
        "state": None if row.state is None else str(getattr(row.state, "value", row.state)),
        "name": printable(_text(row.name) or ""),
        "conn_id": row.conn_id,
        "since": row.since.isoformat(),
        "ended": row.ended.isoformat() if ended and row.ended else None,
        **(_end(row) if ended else {"result": None, "message": None}),
        "console_url": web_link(row.link),
        "orphan": None,
    }


def _end(row: Any) -> dict[str, Any]:
    operation = _operation(row.final) if row.final_key else None
    if operation is None:
        return {"result": "unknown", "message": "how it ended isn't in Airflow; the tab asks the service"}
    error = operation.error
    message = None if error is None else ": ".join(filter(None, (error.code_name, error.message)))
    return {
        "result": ended_as(operation),
        "message": None if message is None else shown_text(message, 500, without_secrets),
    }
