"""The forms of a task that are simulated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from airflow.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor

from .versions import VERSIONS, Version

__all__ = ["FAILS", "FORMS", "NEIGHBOUR", "OUTAGE_TOLERANCE_S", "OUTLASTS", "UNAVAILABLE", "Form"]

OUTAGE_TOLERANCE_S = 15.0
RETRIES = 5
"""More than there are faults, so that the task must succeed unless somebody ends it; some forms have fewer."""

TIMEOUT_S = 60.0

NEIGHBOUR = 2
"""The map index of a mapped task's other instance."""

UNAVAILABLE, FAILS = 14, 3
"""Codes with which an operation fails: one that is worth a retry, and one that isn't."""

OUTLASTS = -1
"""Instead of a code: the operation runs for longer than its task may wait."""


@dataclass(frozen=True)
class Form:
    """
    A task, how it waits, and on which Airflow.

    :param waits_only: a sensor, for an operation that something else has started.
    :param waits: the operator's ``wait_for_completion``.
    :param ends: how the first operations end, by code; all later ones succeed.
    :param foreign: what the task would create, somebody else's operation is creating; its starts are refused as long
        as that runs (ALREADY_EXISTS), and it waits for that. ``ends`` begins with how that one ends.
    :param foreign_runs_s: how long that one runs.
    :param refused: so many starts are refused as another operation is running (ABORTED), and repeated by the task.
    :param timeout_s: the task's ``timeout``.
    :param execution_timeout_s: the task's ``execution_timeout``.
    :param swept: sweeps look for operations that no task waits for.
    :param mapped: it is one of two instances of a mapped task; the other one has failed, and has an operation as well.
    """

    deferrable: bool
    request_ids: bool = True
    waits_only: bool = False
    retries: int = RETRIES
    durable: bool = True
    waits: bool = True
    reschedules: bool = False
    ends_from_trigger: bool = False
    ends: tuple[int, ...] = ()
    refused: int = 0
    foreign: bool = False
    foreign_runs_s: float | None = None
    timeout_s: float | None = None
    execution_timeout_s: float | None = None
    airflow: Version = VERSIONS["3.3"]
    swept: bool = False
    mapped: bool = False

    @property
    def place(self) -> dict[str, Any]:
        """What names the task instance."""
        map_index = NEIGHBOUR + 1 if self.mapped else -1
        return {"dag_id": "dag", "task_id": "task", "run_id": "run", "map_index": map_index}

    @property
    def loses_starts(self) -> bool:
        """Whether nobody finds an operation whose start wasn't answered."""
        return not (self.request_ids or self.waits_only)

    @property
    def keeps_record(self) -> bool:
        """Whether later tries know what an earlier one has started, or waited for; else a worker's end is the task's."""
        return self.durable and self.airflow.keeps_task_state

    @property
    def limit_s(self) -> float | None:
        """How long the task waits for an operation."""
        limits = [one for one in (self.timeout_s, self.execution_timeout_s) if one is not None]
        return min(limits, default=None)

    @property
    def task(self) -> Any:
        """The operator or sensor, in a DAG."""
        return _task(self)


@cache
def _task(form: Form) -> Any:
    alike: dict[str, Any] = {
        "task_id": "task",
        "deferrable": form.deferrable,
        "retries": form.retries,
        "retry_delay": timedelta(seconds=20),
        "outage_tolerance": OUTAGE_TOLERANCE_S,
        "cancel_on_kill": True,
        "cancel_on_timeout": True,
    }
    if form.timeout_s is not None:
        alike["timeout"] = form.timeout_s
    if form.execution_timeout_s is not None:
        alike["execution_timeout"] = timedelta(seconds=form.execution_timeout_s)
    with DAG("dag", schedule=None, start_date=datetime(2027, 1, 1, tzinfo=timezone.utc)):
        if form.waits_only:
            return OperationSensor(
                operation_name="operations/1",
                mode="reschedule" if form.reschedules else "poke",
                end_from_trigger=form.ends_from_trigger,
                **alike,
            )
        if form.foreign:
            alike |= {"if_exists": "wait", "resource_name": "things/x"}
        return RunOperationOperator(
            path="things:run",
            request_id_field="requestId" if form.request_ids else None,
            durable=form.durable,
            wait_for_completion=form.waits,
            start_retry_on="ABORTED" if form.refused else (),
            **alike,
        )


_DROPS = VERSIONS["3.3, clears drop task state"]

FORMS = {
    "deferred": Form(deferrable=True),
    "deferred, no request id": Form(deferrable=True, request_ids=False),
    "synchronous": Form(deferrable=False),
    "synchronous, no request id": Form(deferrable=False, request_ids=False),
    "deferred sensor": Form(deferrable=True, waits_only=True),
    "poking sensor": Form(deferrable=False, waits_only=True),
    "rescheduled sensor": Form(deferrable=False, waits_only=True, reschedules=True),
    "sensor that ends in its trigger": Form(deferrable=True, waits_only=True, ends_from_trigger=True),
    "deferred, no record": Form(deferrable=True, durable=False),
    "synchronous, no record": Form(deferrable=False, durable=False),
    "no record, no request id": Form(deferrable=True, durable=False, request_ids=False),
    "hands its operation on": Form(deferrable=False, waits=False),
    "hands its operation on, no request id": Form(deferrable=False, waits=False, request_ids=False),
    "deferred, fails once": Form(deferrable=True, ends=(UNAVAILABLE,)),
    "synchronous, fails once": Form(deferrable=False, ends=(UNAVAILABLE,)),
    "deferred, fails": Form(deferrable=True, ends=(FAILS,) * 9),
    "deferred, no request id, fails": Form(deferrable=True, request_ids=False, ends=(FAILS,) * 9),
    "synchronous, fails": Form(deferrable=False, ends=(FAILS,) * 9),
    "poking sensor, fails": Form(deferrable=False, waits_only=True, ends=(FAILS,)),
    "deferred, times out once": Form(deferrable=True, timeout_s=TIMEOUT_S, ends=(OUTLASTS,)),
    "synchronous, times out once": Form(deferrable=False, timeout_s=TIMEOUT_S, ends=(OUTLASTS,)),
    "deferred, execution_timeout": Form(deferrable=True, execution_timeout_s=TIMEOUT_S, ends=(OUTLASTS,)),
    "synchronous, execution_timeout": Form(deferrable=False, execution_timeout_s=TIMEOUT_S, ends=(OUTLASTS,)),
    "deferred, its starts are refused": Form(deferrable=True, refused=2),
    "synchronous, its starts are refused": Form(deferrable=False, refused=2),
    "no record, its starts are refused": Form(deferrable=True, refused=2, durable=False),
    "deferred, another's operation runs": Form(deferrable=True, foreign=True),
    "synchronous, another's operation runs": Form(deferrable=False, foreign=True),
    "no record, another's operation runs": Form(deferrable=True, foreign=True, durable=False),
    "deferred, another's operation fails": Form(deferrable=True, foreign=True, ends=(FAILS,)),
    "deferred, another's operation outlasts a try": Form(
        deferrable=True, foreign=True, timeout_s=TIMEOUT_S, foreign_runs_s=1.5 * TIMEOUT_S
    ),
    "deferred sensor, times out": Form(
        deferrable=True, waits_only=True, timeout_s=TIMEOUT_S, ends=(OUTLASTS,)
    ),
    "poking sensor, times out": Form(
        deferrable=False, waits_only=True, timeout_s=TIMEOUT_S, ends=(OUTLASTS,)
    ),
    "poking sensor, execution_timeout": Form(
        deferrable=False, waits_only=True, execution_timeout_s=TIMEOUT_S, ends=(OUTLASTS,)
    ),
    "rescheduled sensor, times out": Form(
        deferrable=False, waits_only=True, reschedules=True, timeout_s=TIMEOUT_S, ends=(OUTLASTS,)
    ),
    "deferred on 3.2": Form(deferrable=True, airflow=VERSIONS["3.2"]),
    "synchronous on 3.2": Form(deferrable=False, airflow=VERSIONS["3.2"]),
    "deferred sensor on 3.2": Form(deferrable=True, waits_only=True, airflow=VERSIONS["3.2"]),
    "deferred on 3.0": Form(deferrable=True, airflow=VERSIONS["3.0"]),
    "synchronous on 3.0": Form(deferrable=False, airflow=VERSIONS["3.0"]),
    "deferred, clears drop task state": Form(deferrable=True, airflow=_DROPS),
    "synchronous, clears drop task state": Form(deferrable=False, airflow=_DROPS),
    "deferred, another's operation runs, clears drop task state": Form(
        deferrable=True, foreign=True, airflow=_DROPS
    ),
    "deferred, swept": Form(deferrable=True, swept=True),
    "deferred, no request id, swept": Form(deferrable=True, request_ids=False, swept=True),
    "synchronous, swept": Form(deferrable=False, swept=True),
    "synchronous, no retries, swept": Form(deferrable=False, retries=0, swept=True),
    "deferred, no retries, swept": Form(deferrable=True, retries=0, swept=True),
    "hands its operation on, swept": Form(deferrable=False, waits=False, swept=True),
    "deferred sensor, swept": Form(deferrable=True, waits_only=True, swept=True),
    "poking sensor, swept": Form(deferrable=False, waits_only=True, swept=True),
    "poking sensor, no retries, swept": Form(deferrable=False, waits_only=True, retries=0, swept=True),
    "rescheduled sensor, swept": Form(deferrable=False, waits_only=True, reschedules=True, swept=True),
    "deferred, times out once, swept": Form(
        deferrable=True, timeout_s=TIMEOUT_S, ends=(OUTLASTS,), swept=True
    ),
    "deferred, its starts are refused, swept": Form(deferrable=True, refused=2, swept=True),
    "deferred, another's operation runs, swept": Form(deferrable=True, foreign=True, swept=True),
    "deferred, clears drop task state, swept": Form(deferrable=True, airflow=_DROPS, swept=True),
    "deferred, one retry": Form(deferrable=True, retries=1),
    "synchronous, one retry": Form(deferrable=False, retries=1),
    "deferred, no request id, one retry": Form(deferrable=True, request_ids=False, retries=1),
    "deferred, times out once, one retry": Form(
        deferrable=True, timeout_s=TIMEOUT_S, ends=(OUTLASTS,), retries=1
    ),
    "deferred, mapped": Form(deferrable=True, mapped=True),
    "deferred, no record, mapped": Form(deferrable=True, durable=False, mapped=True),
    "synchronous, no record, mapped": Form(deferrable=False, durable=False, mapped=True),
    "deferred sensor, mapped": Form(deferrable=True, waits_only=True, mapped=True),
    "sensor that ends in its trigger, mapped": Form(
        deferrable=True, waits_only=True, ends_from_trigger=True, mapped=True
    ),
    "no record, times out once, mapped": Form(
        deferrable=True, durable=False, timeout_s=TIMEOUT_S, ends=(OUTLASTS,), mapped=True
    ),
    "deferred on 3.0, mapped": Form(deferrable=True, airflow=VERSIONS["3.0"], mapped=True),
}
