"""What Airflow's database says about tasks and their operations."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from sqlalchemy import select
from sqlalchemy.orm import lazyload

from airflow_provider_operations._airflow.compat import stored_task_state
from airflow_provider_operations._airflow.redaction import log_exception
from airflow_provider_operations._airflow.serialized import tasks_of
from airflow_provider_operations._airflow.states import OVER_OR_REMOVED
from airflow_provider_operations._airflow.xcom import OPERATION_KEY, OPERATION_NAME_KEY
from airflow_provider_operations._connection.options import SERVICE_FIELDS, ServiceOptions
from airflow_provider_operations._json.abridging import is_too_deep
from airflow_provider_operations._lifecycle.record import RECORD_KEY, Record
from airflow_provider_operations.operation import MalformedOperation, Operation
from airflow_provider_operations.ui.live import Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = ["Seen", "TaskKey", "look"]

log = logging.getLogger(__name__)

_TRIGGER = "airflow_provider_operations.triggers.OperationTrigger"
_DEFAULT_CONN_ID = "operations_default"  # the trigger's; it serializes no argument that has its default


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
        """Whether the task has ended, at least for now."""
        return self.state in OVER_OR_REMOVED


def look(key: TaskKey, session: Session) -> Seen | None:
    """
    Read a task instance.

    Which service is asked comes from the trigger's arguments, the rendered fields or the serialized task, all written
    by the DAG's own code. It never comes from an XCom, which whoever may edit XComs could point anywhere. The
    operation's name comes from there as well, or from the task's record.
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
        target=Target(name, ServiceOptions.stored(fields)) if name and fields else None,
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
    fields = tasks_of(dag_version_id, session).get(key.task_id, {})
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
    except Exception:  # noqa: BLE001  it may come out of any backend
        log_exception(log, "can't look into the task state store")
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, str) and value.startswith('"'):  # as serialized by Airflow's older XCom API
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, str) and value not in {"", "None"} else None


def _operation(value: Any) -> Operation | None:
    try:
        value = json.loads(value) if isinstance(value, str) else value
        return None if is_too_deep(value) else Operation.from_json(value)
    except (MalformedOperation, ValueError, RecursionError):
        return None
