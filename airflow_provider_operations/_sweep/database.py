"""
What a sweep reads of Airflow's database, and the little that it writes: its notes, and lines of the audit log.

Each call is a transaction of its own, and short: none is open while a service is asked. A record is never written, and
no row is locked that a worker might want to write.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import String, and_, cast, func, not_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from airflow_provider_operations._airflow.compat import team_names
from airflow_provider_operations._airflow.serialized import tasks_of
from airflow_provider_operations._airflow.states import OVER_OR_REMOVED, place_of
from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY
from airflow_provider_operations._lifecycle.audit import asks_to_cancel
from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._sweep.judgement import Found, Note, own_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

__all__ = ["NOTE_SUFFIX", "OWNER", "Database", "NoSweepError"]

log = logging.getLogger(__name__)

NOTE_SUFFIX = "_sweep"
"""What is appended to a record's key for the key of its note."""

OWNER = "airflow operations reap"
"""Who has asked for a cancellation, in Airflow's audit log."""

PAGE_ROWS = 500
"""So many rows are read at once."""

KEPT_DAGS = 50
"""So many serialized DAGs are kept, of which one may have megabytes."""

MAX_VERSIONS = 20
"""So many versions of a DAG are looked through for a task that the newest has no more."""

_KEYS = (RECORD_KEY, SENSOR_RECORD_KEY)
_DEFAULT_BACKEND = "airflow.state.metastore.MetastoreBackend"


class NoSweepError(Exception):
    """Records are where a sweep can't read them; the text says where."""


class Database:
    """
    Airflow's database, as a sweep needs it.

    :raises NoSweepError: the records are elsewhere.
    """

    def __init__(self) -> None:
        backend = conf.get("state_store", "backend", fallback=_DEFAULT_BACKEND)
        if backend != _DEFAULT_BACKEND:
            raise NoSweepError(
                f"[state_store] backend is {backend}, and a sweep reads records only from Airflow's own database"
            )
        self._dags: OrderedDict[Any, dict[str, Any]] = OrderedDict()

    # --- reading ---------------------------------------------------------------------------------------------

    def found(self) -> Iterator[Found]:
        """
        Return the tasks that are over and whose record may concern a sweep; read page by page.

        In a page, who was asked for longest ago comes first: an operation that brings no answer, after which its
        service isn't asked any more in a sweep, holds up no other for good.
        """
        last = 0
        while True:
            with create_session() as session:
                rows = session.execute(_due(last)).all()
            yield from sorted(map(_found, rows), key=_asked_for_at)
            if len(rows) < PAGE_ROWS:
                return
            last = rows[-1].id

    def kept_elsewhere(self) -> bool:
        """Tell whether workers keep a record in a backend of their own, of which only a reference is here."""
        stored = _store()
        query = select(stored.id).where(stored.key.in_(_KEYS), stored.value.contains("__airflow_state_ref__"))
        with create_session() as session:
            return session.scalar(query.limit(1)) is not None

    def team(self, found: Found) -> str | None:
        """Return the team that a task's DAG belongs to; its workers may know a connection by the same id as others do."""
        if not conf.getboolean("core", "multi_team", fallback=False):
            return None
        with create_session() as session:
            return team_names([found.dag_id], session).get(found.dag_id)

    def waited_for(self, found: Found, name: str) -> bool:
        """Tell whether another task of the run, which isn't over, waits for an operation: its XCom names that."""
        with create_session() as session:
            values = _named_by_others(found, session)
        return any(_named(value, {"name": name}) == name for value in values)

    def arguments(self, found: Found) -> list[Mapping[str, Any]] | None:
        """
        Return the arguments of a task as its own code has them, rendered and literal; ``None``: it isn't one of ours.

        No XCom and no record is among what this reads, as others may write those.
        """
        with create_session() as session:
            literal = self._literal(found, session)
            if literal is None:
                return None
            query = select(RenderedTaskInstanceFields.rendered_fields)
            rendered = session.scalar(query.where(*_is(RenderedTaskInstanceFields, found)))
        return [each for each in (rendered, literal) if isinstance(each, dict)]

    def _literal(self, found: Found, session: Session) -> Mapping[str, Any] | None:
        """Return a task's arguments as in its DAG; of one that the DAG has no more, as in the last version that had it."""
        task = self._tasks(found.dag_version_id, session).get(found.task_id)
        if task is None:
            versions = (
                select(SerializedDagModel.dag_version_id)
                .where(SerializedDagModel.dag_id == found.dag_id)
                .order_by(SerializedDagModel.created_at.desc())
                .limit(MAX_VERSIONS)
            )
            earlier = (self._tasks(version, session) for version in session.scalars(versions).all())
            task = next((tasks[found.task_id] for tasks in earlier if found.task_id in tasks), None)
        return None if task is None else own_fields(task)

    def _tasks(self, dag_version_id: Any, session: Session) -> dict[str, Any]:
        """Return the tasks of a version of a DAG by their ids."""
        if dag_version_id is None:
            return {}
        if dag_version_id not in self._dags:
            self._dags[dag_version_id] = tasks_of(dag_version_id, session)
            if len(self._dags) > KEPT_DAGS:
                self._dags.popitem(last=False)
        return self._dags[dag_version_id]

    # --- writing ---------------------------------------------------------------------------------------------

    def write(self, found: Found, before: str | None, note: Note) -> str | None:
        """
        Write a note, if nobody has written another meanwhile.

        :param before: the note as it was, as text; ``None``: there was none.
        :return: it, as text; ``None`` if it wasn't written.
        """
        with create_session() as session:
            return _exchange(found, before, note, session)

    def confirm(self, found: Found, name: str, before: str, note: Note) -> str | None:
        """
        See that nobody has acted on a task; note in the audit log that its operation is about to be cancelled.

        One transaction, and in it one query for all that has to be as it was.

        :return: the note as text; ``None`` if anything has changed, or is gone.
        """
        stored = _store()
        query = (
            select(TaskInstance.id, TaskInstance.state, TaskInstance.try_number, TaskInstance.max_tries)
            .add_columns(stored.updated_at)
            .join(stored, _same(stored))
            .where(*_is(TaskInstance, found), stored.key == found.key)
        )
        with create_session() as session:
            row = session.execute(query).one_or_none()
            if row is None:
                return None
            is_now = (row[0], _text(row.state), row.try_number, row.max_tries, row.updated_at)
            was = (found.ti_id, found.state, found.try_number, found.max_tries, found.stored_at)
            # What an XCom backend keeps elsewhere was asked for before: no transaction is to wait for it.
            if is_now != was or name in map(_json, _named_by_others(found, session)):
                return None
            text = _exchange(found, before, note, session)
            if text is not None:
                session.add(asks_to_cancel(found.place, name, found.try_number, OWNER))
            return text


def _named_by_others(found: Found, session: Session) -> Sequence[Any]:
    """Return the XComs ``operation_name`` of the other tasks of a run that aren't over, as stored."""
    own = and_(TaskInstance.task_id == found.task_id, TaskInstance.map_index == found.map_index)
    over = and_(TaskInstance.state.is_not(None), TaskInstance.state.in_(OVER_OR_REMOVED))
    query = (
        select(XComModel.value)
        .join(DagRun, DagRun.id == XComModel.dag_run_id)
        .join(TaskInstance, _same(XComModel))
        .where(DagRun.dag_id == found.dag_id, DagRun.run_id == found.run_id)
        .where(XComModel.key == OPERATION_NAME_KEY, not_(own), not_(over))
    )
    return session.scalars(query).all()


def _exchange(found: Found, before: str | None, note: Note, session: Session) -> str | None:
    """Put a note in the place of another; the database decides who of several comes first."""
    stored = _store()
    text = json.dumps(note.to_json())
    # The record's own moment says that nothing has to be done about this record any more: ``_due`` leaves it out then.
    at = found.stored_at if note.settled else datetime.fromtimestamp(clock.now(), timezone.utc)
    key = found.key + NOTE_SUFFIX
    if before is None:
        try:
            with session.begin_nested():
                session.add(
                    stored(
                        **found.place,
                        dag_run_id=found.dag_run_id,
                        key=key,
                        value=text,
                        updated_at=at,
                        expires_at=None,
                    )
                )
        except IntegrityError:  # another was first, or the run is gone
            return None
        return text
    where = (
        stored.dag_run_id == found.dag_run_id,
        stored.task_id == found.task_id,
        stored.map_index == found.map_index,
        stored.key == key,
        stored.value == before,
    )
    changed: Any = session.execute(
        update(stored).where(*where).values(value=text, updated_at=at),
        execution_options={"synchronize_session": False},
    )
    return text if changed.rowcount == 1 else None


# --- the query -------------------------------------------------------------------------------------------------


def _store() -> Any:
    from airflow.models.task_state_store import TaskStateStoreModel

    return TaskStateStoreModel


def _is(model: Any, found: Found) -> tuple[Any, ...]:
    return tuple(getattr(model, name) == value for name, value in found.place.items())


def _same(other: Any) -> Any:
    return and_(*(own == getattr(other, name) for name, own in place_of(TaskInstance).items()))


def _due(last: int) -> Any:
    """
    Return the query for a page of records.

    What it leaves out, ``judge`` would leave alone: most records are of tasks that have delivered their results.

    :param last: the id of the last row of the page before.
    """
    stored, swept = _store(), aliased(_store())
    ended, named = aliased(XComModel), aliased(XComModel)
    done = cast(ended.value["done"].as_string(), String(10)).in_(("true", "1"))
    delivered = or_(*(stored.value.contains(f'"state":{space}"delivered"') for space in ("", " ")))
    return (
        select(
            stored.id,
            stored.key,
            stored.value,
            stored.updated_at,
            stored.dag_run_id,
            *place_of(TaskInstance).values(),
            TaskInstance.id.label("ti_id"),
            TaskInstance.state,
            TaskInstance.try_number,
            TaskInstance.max_tries,
            TaskInstance.end_date,
            TaskInstance.updated_at.label("changed_at"),
            TaskInstance.dag_version_id,
            swept.value.label("swept"),
            swept.updated_at.label("swept_at"),
            ended.value.label("ended"),
            named.value.label("named"),
        )
        .select_from(stored)
        .join(TaskInstance, _same(stored))
        .outerjoin(
            swept,
            and_(
                swept.dag_run_id == stored.dag_run_id,
                swept.task_id == stored.task_id,
                swept.map_index == stored.map_index,
                swept.key == stored.key + NOTE_SUFFIX,
            ),
        )
        .outerjoin(ended, and_(_same(ended), ended.key == OPERATION_KEY))
        .outerjoin(named, and_(_same(named), named.key == OPERATION_NAME_KEY))
        .where(
            stored.id > last,
            stored.key.in_(_KEYS),
            stored.value.contains('"cancel_if_orphaned"'),
            not_(delivered),
            TaskInstance.state.in_(OVER_OR_REMOVED),
            or_(swept.id.is_(None), swept.updated_at != stored.updated_at),
            or_(TaskInstance.state != "success", ended.key.is_(None), not_(func.coalesce(done, False))),
        )
        .order_by(stored.id)
        .limit(PAGE_ROWS)
    )


def _named(stored: Any, record: Any) -> str | None:
    """
    Return the operation that an XCom names; where a backend keeps it elsewhere, what that reads there.

    :param record: the task's, as stored; where both say the same, no backend is asked.
    """
    named = _json(stored)
    if not isinstance(named, str):
        return None
    if not isinstance(record, dict) or record.get("name") == named:
        return named
    from airflow.providers.common.compat.sdk import XCom

    try:
        kept = XCom.deserialize_value(SimpleNamespace(key=OPERATION_NAME_KEY, value=stored))
    except Exception as error:  # of any XCom backend
        log.warning("an XCom %r can't be read: %s", OPERATION_NAME_KEY, type(error).__name__)
        return named
    return kept if isinstance(kept, str) and kept else named


def _found(row: Any) -> Found:
    moments = [moment.timestamp() for moment in (row.end_date, row.changed_at) if moment is not None]
    quiet_since = max(*moments, row.updated_at.timestamp()) if moments else None
    record = _json(row.value)
    return Found(
        row.dag_id,
        row.run_id,
        row.task_id,
        row.map_index,
        row.key,
        row.ti_id,
        _text(row.state),
        row.try_number,
        row.max_tries,
        quiet_since,
        record,
        row.updated_at,
        row.dag_run_id,
        row.dag_version_id,
        row.swept,
        Note.from_json(_json(row.swept)),
        row.swept_at,
        _json(row.ended),
        _named(row.named, record),
    )


def _asked_for_at(found: Found) -> float:
    return 0.0 if found.note is None else found.note.at_epoch_s


def _text(state: Any) -> str | None:
    return None if state is None else str(getattr(state, "value", state))


def _json(value: Any) -> Any:
    """Return a stored value; text that isn't JSON as it is, as XComs are stored in several ways."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
