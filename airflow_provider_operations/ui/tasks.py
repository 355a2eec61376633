"""What Airflow's database says about tasks and their operations."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from sqlalchemy import JSON, and_, exists, func, or_, select, type_coerce
from sqlalchemy.orm import lazyload

from airflow_provider_operations.operation import MalformedOperation, Operation
from airflow_provider_operations.record import RECORD_KEY, Record
from airflow_provider_operations.ui.asking import Target
from airflow_provider_operations.version_compat import stored_task_state
from airflow_provider_operations.waiting import SERVICE_FIELDS
from airflow_provider_operations.xcoms import OPERATION_KEY, OPERATION_NAME_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = ["Seen", "TaskKey", "look", "running_operations"]

log = logging.getLogger(__name__)

_TRIGGER = "airflow_provider_operations.triggers.OperationTrigger"
_DEFAULT_CONN_ID = "operations_default"  # the trigger's; it serializes no argument that has its default
_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class TaskKey(NamedTuple):
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True)
class Seen:
    """
    A task instance and what it says of its operation.

    :param name: of its operation; ``None`` where it has none (yet).
    :param by_xcom: only an XCom says that name, and whoever may edit XComs may have written it: it is shown, and not
        cancelled.
    :param target: where to ask; ``None`` where that isn't known.
    :param final: the operation as the task saw it last.
    """

    state: str | None
    try_number: int
    started: datetime | None
    ended: datetime | None
    name: str | None
    by_xcom: bool
    target: Target | None
    final: Operation | None

    @property
    def over(self) -> bool:
        """Whether the task has ended, for this time."""
        return self.state in _OVER


def look(key: TaskKey, session: Session) -> Seen | None:
    """
    Look a task instance up.

    Where the service is comes from the trigger's arguments, the rendered fields or the serialized task, all written
    by the DAG's own code, and never from an XCom, which whoever may edit XComs could point anywhere. So does the
    operation's name, or from the task's record, where there is one.
    """
    ti = session.execute(
        select(
            TaskInstance.state,
            TaskInstance.try_number,
            TaskInstance.start_date,
            TaskInstance.end_date,
            TaskInstance.trigger_id,
            TaskInstance.dag_version_id,
        ).where(*_is(TaskInstance, key))
    ).one_or_none()
    if ti is None:
        return None
    xcoms: dict[str, Any] = dict(
        session.execute(
            select(XComModel.key, XComModel.value).where(
                *_is(XComModel, key), XComModel.key.in_([OPERATION_NAME_KEY, OPERATION_KEY])
            )
        ).all()
    )
    fields = (
        _trigger_arguments(ti.trigger_id, session)
        or _rendered(key, session)
        or _serialized(key, ti.dag_version_id, session)
    )
    own = _text(fields.get("operation_name")) or _recorded(key, session)
    name = own or _text(xcoms.get(OPERATION_NAME_KEY))
    return Seen(
        state=None if ti.state is None else str(getattr(ti.state, "value", ti.state)),
        try_number=ti.try_number,
        started=ti.start_date,
        ended=ti.end_date,
        name=name,
        by_xcom=name is not None and own is None,
        target=_target(name, fields) if name and fields else None,
        final=_operation(xcoms.get(OPERATION_KEY)),
    )


def _is(model: Any, key: TaskKey) -> tuple[Any, ...]:
    return (
        model.dag_id == key.dag_id,
        model.run_id == key.run_id,
        model.task_id == key.task_id,
        model.map_index == key.map_index,
    )


def _trigger_arguments(trigger_id: int | None, session: Session) -> Mapping[str, Any]:
    """Return the arguments of the trigger that waits for the task, if it is one of ours."""
    if trigger_id is None:
        return {}
    trigger = session.scalar(select(Trigger).where(Trigger.id == trigger_id).options(lazyload("*")))
    if trigger is None or trigger.classpath != _TRIGGER:
        return {}
    return {"operations_conn_id": _DEFAULT_CONN_ID, **trigger.kwargs}


def _rendered(key: TaskKey, session: Session) -> Mapping[str, Any]:
    fields = session.scalar(
        select(RenderedTaskInstanceFields.rendered_fields).where(*_is(RenderedTaskInstanceFields, key))
    )
    return fields if isinstance(fields, dict) and _text(fields.get("operations_conn_id")) else {}


def _serialized(key: TaskKey, dag_version_id: Any, session: Session) -> Mapping[str, Any]:
    """Return a task's arguments as in its DAG, if none is a template: rendered fields are kept of few runs only."""
    if dag_version_id is None or key.map_index >= 0:
        return {}
    query = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == dag_version_id)
    dag = session.scalar(query.options(lazyload("*")))
    tasks = dag.data["dag"]["tasks"] if dag is not None and dag.data else []
    fields: dict[str, Any] = next(
        (task["__var"] for task in tasks if task["__var"]["task_id"] == key.task_id), {}
    )
    given: dict[str, Any] = {name: fields[name] for name in SERVICE_FIELDS if name in fields}
    literal = not any("{" in str(value) for value in given.values())
    if not literal or not _text(given.get("operations_conn_id")):
        return {}
    return given


def _recorded(key: TaskKey, session: Session) -> str | None:
    """Return the operation that the task's record names; none where workers keep state elsewhere than in Airflow."""
    try:
        text = stored_task_state(key._asdict(), RECORD_KEY, session)
        return None if text is None else Record.from_json(json.loads(text)).name or None
    except ValueError:
        return None
    except Exception:
        log.exception("can't look into the task state store")  # a backend of others
        return None


def _target(name: str, fields: Mapping[str, Any]) -> Target:
    error_format = str(fields.get("error_format"))  # a template leaves text
    given: dict[str, Any] = {
        # An empty prefix is one too.
        key: value
        for key in ("base_url", "path_prefix", "cancel_suffix", "cancel_method")
        if isinstance(value := fields.get(key), str)
    }
    if error_format.isdecimal():
        given["error_format"] = int(error_format)
    return Target(name, fields["operations_conn_id"], **given)


def _text(value: Any) -> str | None:
    if isinstance(value, str) and value.startswith('"'):  # as serialized by Airflow's older XCom API
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, str) and value not in {"", "None"} else None


def _operation(value: Any) -> Operation | None:
    try:
        return Operation.from_json(json.loads(value) if isinstance(value, str) else value)
    except (MalformedOperation, ValueError):
        return None


# --- the list --------------------------------------------------------------------------------------------------

_WAITING = ("running", "deferred", "up_for_reschedule", "up_for_retry", "restarting")
_RESUMING = ("scheduled", "queued")

STATES = (*_WAITING, *_RESUMING)
"""States of tasks whose operation may be running."""


def running_operations(
    session: Session,
    dag_ids: Collection[str],
    *,
    dag_id: str = "",
    conn_id: str = "",
    state: str = "",
    limit: int,
) -> list[dict[str, Any]]:
    """
    List the tasks that have an operation and haven't seen its end, the longest running first.

    :param dag_ids: DAGs whose tasks may be shown.
    :param dag_id: only DAGs whose id contains this.
    :return: ``{"dag_id", "run_id", "task_id", "map_index", "state", "name", "since", "conn_id"}``
    """
    # Before Airflow 3.2 a type of sqlalchemy-jsonfield, which newer SQLAlchemys can't look into.
    fields = type_coerce(RenderedTaskInstanceFields.rendered_fields, JSON)
    conn = fields["operations_conn_id"].as_string()
    same = [
        getattr(TaskInstance, field) == getattr(XComModel, field)
        for field in ("dag_id", "run_id", "task_id", "map_index")
    ]
    final = XComModel.__table__.alias("final")
    # A sensor in reschedule mode pushes its XComs anew in every stay, as Airflow clears them before.
    first_stay = (
        select(func.min(TaskReschedule.start_date))
        .where(TaskReschedule.ti_id == TaskInstance.id)
        .scalar_subquery()
    )
    since = func.coalesce(first_stay, XComModel.timestamp)
    query = (
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.state,
            XComModel.value.label("name"),
            since.label("since"),
            conn.label("conn_id"),
        )
        .join(XComModel, and_(*same, XComModel.key == OPERATION_NAME_KEY))
        .outerjoin(
            RenderedTaskInstanceFields,
            and_(
                *(
                    getattr(TaskInstance, field) == getattr(RenderedTaskInstanceFields, field)
                    for field in ("dag_id", "run_id", "task_id", "map_index")
                )
            ),
        )
        .where(
            TaskInstance.dag_id.in_(dag_ids),
            # XComs of an earlier try stay until the next one begins; one that resumes has begun.
            or_(
                TaskInstance.state.in_(_WAITING),
                and_(TaskInstance.state.in_(_RESUMING), TaskInstance.next_method.is_not(None)),
            ),
            ~exists().where(
                *(
                    final.c[field] == getattr(TaskInstance, field)
                    for field in ("dag_id", "run_id", "task_id", "map_index")
                ),
                final.c.key == OPERATION_KEY,
            ),
        )
        .order_by(since)
        .limit(limit)
    )
    if dag_id:
        query = query.where(TaskInstance.dag_id.contains(dag_id, autoescape=True))
    if conn_id:
        query = query.where(conn == conn_id)
    if state:
        query = query.where(TaskInstance.state == state)
    return [
        {**row._mapping, "state": str(getattr(row.state, "value", row.state)), "name": _text(row.name) or ""}
        for row in session.execute(query)
    ]
