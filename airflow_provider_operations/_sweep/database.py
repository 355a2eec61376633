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
from sqlalchemy import String, Text, and_, case, cast, func, not_, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from airflow_provider_operations._airflow.compat import team_names
from airflow_provider_operations._airflow.serialized import tasks_of
from airflow_provider_operations._airflow.states import OVER_OR_REMOVED, place_of
from airflow_provider_operations._airflow.xcom import LINK_KEY, OPERATION_KEY, OPERATION_NAME_KEY
from airflow_provider_operations._lifecycle.audit import asks_to_cancel
from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._sweep.judgement import Found, Note, own_fields
from airflow_provider_operations._sweep.latest import OWNER, Latest, store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

__all__ = ["NOTE_SUFFIX", "Database", "NoSweepError", "records_elsewhere", "unfinished"]

log = logging.getLogger(__name__)

NOTE_SUFFIX = "_sweep"
"""What is appended to a record's key for the key of its note."""

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


def records_elsewhere() -> str | None:
    """Say in which backend the records are, if they aren't in Airflow's database."""
    backend: str = conf.get("state_store", "backend", fallback=_DEFAULT_BACKEND)
    return None if backend == _DEFAULT_BACKEND else backend


class Database:
    """
    Airflow's database, as a sweep needs it.

    :raises NoSweepError: the records are elsewhere.
    """

    def __init__(self) -> None:
        if backend := records_elsewhere():
            raise NoSweepError(
                f"[state_store] backend is {backend}, and a sweep reads records only from Airflow's own database"
            )
        self._dags: OrderedDict[Any, dict[str, Any]] = OrderedDict()

    # --- reading ---------------------------------------------------------------------------------------------

    def found(self) -> Iterator[Found]:
        """
        Return the tasks that are over and whose record may concern a sweep; read page by page.

        Whose note is the oldest comes first: an operation that brings no answer, after which its service isn't asked
        any more in a sweep, holds up no other for good. That order is settled by one query: to sort all that is due
        for each page anew takes minutes where much of it waits.
        """
        with create_session() as session:
            ids = session.scalars(_due()).all()
        for first in range(0, len(ids), PAGE_ROWS):
            page = ids[first : first + PAGE_ROWS]
            with create_session() as session:
                rows = {row.id: row for row in session.execute(_page(page))}
            for row in (rows[id_] for id_ in page if id_ in rows):
                yield _found(row, _named(row.named, row.value))

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
        """Tell whether another task of the run, which isn't over, waits for an operation: its XCom or argument is that."""
        with create_session() as session:
            if name in _arguments_of_others(found, session):
                return True
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

    def ended(self, sweep: Latest) -> None:
        """Store that a sweep has ended."""
        with create_session() as session:
            store(sweep, session)

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
            if is_now != was or name in map(_name_of, _named_by_others(found, session)):
                return None
            if name in _arguments_of_others(found, session):
                return None
            text = _exchange(found, before, note, session)
            if text is not None:
                session.add(asks_to_cancel(found.place, name, found.try_number, OWNER))
            return text


def _named_by_others(found: Found, session: Session) -> Sequence[Any]:
    """Return the XComs ``operation_name`` of the other tasks of a run that aren't over, as stored."""
    query = (
        select(XComModel.value)
        .join(DagRun, DagRun.id == XComModel.dag_run_id)
        .join(TaskInstance, _same(XComModel))
        .where(DagRun.dag_id == found.dag_id, DagRun.run_id == found.run_id)
        .where(XComModel.key == OPERATION_NAME_KEY, _of_another(found), not_(_is_over()))
    )
    return session.scalars(query).all()


def _arguments_of_others(found: Found, session: Session) -> set[Any]:
    """Return the rendered arguments ``operation_name`` of the other tasks of a run that aren't over."""
    own_run = and_(TaskInstance.dag_id == found.dag_id, TaskInstance.run_id == found.run_id)
    return {name for _, _, name in _rendered_names(session, own_run, _of_another(found))}


def _rendered_names(session: Session, *of: Any) -> Iterator[tuple[str, str, Any]]:
    """
    Yield run and rendered argument ``operation_name`` of tasks that aren't over.

    Airflow deletes a task's XComs when it begins, in reschedule mode before each poll; a sensor has none until its first
    poll is answered.
    """
    fields = RenderedTaskInstanceFields.rendered_fields
    query = (
        select(TaskInstance.dag_id, TaskInstance.run_id, fields)
        .join(TaskInstance, _same(RenderedTaskInstanceFields))
        # Only the tasks that have such an argument are read; what SQLite takes for no JSON is no error so.
        .where(*of, cast(fields, Text).contains(f'"{OPERATION_NAME_KEY}"'), not_(_is_over()))
    )
    for dag_id, run_id, rendered in session.execute(query):
        if isinstance(rendered, dict):
            yield dag_id, run_id, rendered.get(OPERATION_NAME_KEY)


def _of_another(found: Found) -> Any:
    return not_(and_(TaskInstance.task_id == found.task_id, TaskInstance.map_index == found.map_index))


def _is_over() -> Any:
    return and_(TaskInstance.state.is_not(None), TaskInstance.state.in_(OVER_OR_REMOVED))


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


def _due() -> Select[Any]:
    """
    Return the query for the ids of the records that may concern a sweep, whose note is the oldest first.

    What it leaves out, ``judge`` would leave alone: most records are of tasks that have delivered their results.
    """
    tables = _Tables()
    # No COALESCE of the moment and a literal, of which MySQL makes text; no NULLS FIRST, which it hasn't.
    return (
        tables.query()
        .with_only_columns(tables.stored.id, maintain_column_froms=True)
        .where(
            not_(tables.left_alone()),
            not_(tables.has("cancel_if_orphaned", "false")),
            or_(
                TaskInstance.state != "success",
                tables.ended.key.is_(None),
                not_(func.coalesce(tables.done(), False)),
            ),
        )
        .order_by(case((tables.swept.id.is_(None), 0), else_=1), tables.swept.updated_at, tables.stored.id)
    )


def _page(ids: Sequence[int]) -> Select[Any]:
    """Return the query for these records, as far as a sweep still has to do with them."""
    tables = _Tables()
    return tables.query().where(tables.stored.id.in_(ids))


def unfinished(
    session: Session, dag_ids: Collection[str], limit: int
) -> tuple[list[tuple[Found, datetime | None, Any]], bool]:
    """
    Return tasks that are over and whose operation nobody has seen to end, the last to end first.

    It is what a sweep finds, for whoever only wants to see it: three queries, and no XCom backend is asked.

    :return: for each also when it ended, and its XCom with a link; and whether there may be more than ``limit``.
    """
    tables, link = _Tables(), aliased(XComModel)
    # Without a moment it would be the latest for PostgreSQL.
    ended = func.coalesce(TaskInstance.end_date, TaskInstance.updated_at)
    query = (
        tables.query(link.value.label("link"))
        .outerjoin(link, and_(_same(link), link.key == LINK_KEY))
        .where(
            TaskInstance.dag_id.in_(dag_ids),
            not_(func.coalesce(tables.done(), False)),
            not_(tables.left_alone()),
        )
        .order_by(ended.desc(), tables.stored.id.desc())
        .limit(limit)
    )
    found = [(_found(row, None), row.end_date, row.link) for row in session.execute(query)]
    awaited = _awaited({(one.dag_id, one.run_id) for one, _, _ in found}, session)
    alone = [row for row in found if (row[0].dag_id, row[0].run_id, _name_in(row[0].stored)) not in awaited]
    return alone, len(found) == limit


def _awaited(runs: set[tuple[str, str]], session: Session) -> set[tuple[str, str, Any]]:
    """Return the operations that tasks of these runs wait for, by their XComs or arguments, each with its run."""
    if not runs:
        return set()
    of_runs = tuple_(TaskInstance.dag_id, TaskInstance.run_id).in_(runs)
    query = (
        select(DagRun.dag_id, DagRun.run_id, XComModel.value)
        .join(XComModel, DagRun.id == XComModel.dag_run_id)
        .join(TaskInstance, _same(XComModel))
        .where(tuple_(DagRun.dag_id, DagRun.run_id).in_(runs), XComModel.key == OPERATION_NAME_KEY)
        .where(not_(_is_over()))
    )
    named = {(dag_id, run_id, _name_of(value)) for dag_id, run_id, value in session.execute(query)}
    return named | {each for each in _rendered_names(session, of_runs) if isinstance(each[2], str)}


def _name_in(record: Any) -> Any:
    name = record.get("name") if isinstance(record, dict) else None
    return name if isinstance(name, str) else None


class _Tables:
    """Records of tasks that are over, with what is joined to them."""

    def __init__(self) -> None:
        self.stored, self.swept = _store(), aliased(_store())
        self.ended, self.named = aliased(XComModel), aliased(XComModel)

    def done(self) -> Any:
        """Return whether the task's XCom says that its operation is done, and not an earlier one."""
        same = self.has("name", '"' + self.ended.value["name"].as_string() + '"')
        return and_(cast(self.ended.value["done"].as_string(), String(10)).in_(("true", "1")), same)

    def left_alone(self) -> Any:
        """Return whether ``judge`` leaves a record alone in any case: it isn't to take the time, or place, of others."""
        never = (("handed_on", "true"), ("foreign", "true"), ("state", '"rejected"'))
        return or_(*(self.has(name, value) for name, value in never))

    def has(self, name: str, value: Any) -> Any:
        """Return whether a record has this field, however its JSON is spaced."""
        stored = self.stored.value
        # Not LIKE: a value that is read from a row may have % or _.
        return or_(*(func.replace(stored, f'"{name}":{space}' + value, "") != stored for space in ("", " ")))

    def query(self, *more: Any) -> Select[Any]:
        """Return the query for records that aren't delivered, nor settled by a sweep."""
        stored, swept, ended, named = self.stored, self.swept, self.ended, self.named
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
                *more,
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
                stored.key.in_(_KEYS),
                stored.value.contains('"cancel_if_orphaned"'),
                not_(self.has("state", '"delivered"')),
                TaskInstance.state.in_(OVER_OR_REMOVED),
                or_(swept.id.is_(None), swept.updated_at != stored.updated_at),
            )
        )


def _named(stored: Any, record: Any) -> str | None:
    """
    Return the operation that an XCom names; where a backend keeps it elsewhere, what that reads there.

    :param record: the task's, as stored; where both say the same, no backend is asked.
    """
    named = _name_of(stored)
    if named is None:
        return None
    record = _json(record)
    if not isinstance(record, dict) or record.get("name") == named:
        return named
    from airflow.providers.common.compat.sdk import XCom

    try:
        kept = XCom.deserialize_value(SimpleNamespace(key=OPERATION_NAME_KEY, value=stored))
    except Exception as error:  # of any XCom backend
        log.warning("an XCom %r can't be read: %s", OPERATION_NAME_KEY, type(error).__name__)
        return named
    return kept if isinstance(kept, str) and kept else named


def _found(row: Any, named: str | None) -> Found:
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
        named,
    )


def _text(state: Any) -> str | None:
    return None if state is None else str(getattr(state, "value", state))


def _name_of(stored: Any) -> str | None:
    """Return the name that an XCom holds; text is one, too, if it looks like another value in JSON, such as ``123``."""
    named = _json(stored)
    if not isinstance(named, str):
        named = stored
    return named if isinstance(named, str) else None


def _json(value: Any) -> Any:
    """Return a stored value; text that isn't JSON as it is, as XComs are stored in several ways."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
