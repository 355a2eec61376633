"""Who asked for a cancellation: in Airflow's audit log, and in an XCom for the task that then fails."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import delete, select

from airflow_provider_operations._airflow.redaction import log_exception
from airflow_provider_operations._lifecycle.audit import asks_to_cancel, shown_name
from airflow_provider_operations._lifecycle.cancelled_by import (
    AUDIT_EVENT,
    CANCELLED_BY_KEY,
    cancelled_through_the_tab,
)
from airflow_provider_operations._protocol.rendering import one_line

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_provider_operations.ui.tasks import TaskKey

__all__ = ["note", "noted", "take_back"]

log = logging.getLogger(__name__)


def note(key: TaskKey, name: str, try_number: int, by: str) -> bool:
    """
    Store who asks to cancel a task's operation; before the service is asked, so that the failing task finds it.

    :return: whether the XCom was written, which only the first request for this operation does.
    """
    with create_session() as session:
        session.add(asks_to_cancel(key._asdict(), name, try_number, by))
    word = cancelled_through_the_tab(name, by, datetime.now(timezone.utc))
    try:
        with create_session() as session:
            left = session.scalar(select(XComModel.value).where(*_word(key)))
            if isinstance(left, dict) and left.get("name") == name:
                return False
            run = select(DagRun.id).where(DagRun.dag_id == key.dag_id, DagRun.run_id == key.run_id)
            # Stored as a worker's XComs are, which XComModel.set can't do before Airflow 3.2.
            session.execute(delete(XComModel).where(*_word(key)))
            session.add(
                XComModel(
                    dag_run_id=session.scalars(run).one(),
                    key=CANCELLED_BY_KEY,
                    value=word,
                    **key._asdict(),
                )
            )
    except Exception:  # noqa: BLE001  of the database, or of a DAG run that is gone
        # The audit log has it; the task's failure will say to look there.
        log_exception(log, "the XCom %r could not be written", CANCELLED_BY_KEY)
        return False
    return True


def take_back(key: TaskKey) -> None:
    """Delete the XCom, as the cancel call has failed; the audit log keeps that it was asked for."""
    with create_session() as session:
        session.execute(delete(XComModel).where(*_word(key)))


def noted(key: TaskKey, name: str, session: Session) -> dict[str, Any] | None:
    """Return who asked last to cancel this operation of the task: ``{"by": str, "at": str | None}``."""
    place = (getattr(Log, field) == value for field, value in key._asdict().items())
    row = session.execute(
        select(Log.owner, Log.dttm)
        .where(*place, Log.event == AUDIT_EVENT, Log.extra == shown_name(name))
        .order_by(Log.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return {"by": one_line(row.owner or "", 250), "at": row.dttm and row.dttm.isoformat()}


def _word(key: TaskKey) -> tuple[Any, ...]:
    place = (getattr(XComModel, field) == value for field, value in key._asdict().items())
    return (*place, XComModel.key == CANCELLED_BY_KEY)
