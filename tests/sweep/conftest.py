"""Airflow's database with tasks that are over, and an emulator whose clock is the sweep's."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.utils.session import create_session

from airflow_provider_operations._connection.options import SERVICE_FIELDS
from airflow_provider_operations._lifecycle.record import RECORD_KEY, Record, State
from airflow_provider_operations._sweep.database import NOTE_SUFFIX, Database
from airflow_provider_operations._sweep.latest import Latest, latest
from airflow_provider_operations._sweep.service import Services
from airflow_provider_operations._sweep.sweep import Result, Sweep
from tests.support.connections import set_connection
from tests.support.raw_requests import start
from tests.ui.conftest import Database as Rows
from tests.ui.conftest import database, tables

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

__all__ = ["database", "tables"]

TASK = {
    "_task_module": "airflow_provider_operations.operators.run",
    "operations_conn_id": "operations_default",
}
SERVICE = {**dict.fromkeys(SERVICE_FIELDS), "operations_conn_id": "operations_default"}

Swept = Callable[..., list[Result]]


class Orphans:
    """Tasks that are over, and what they have left."""

    def __init__(self, rows: Rows, emulator: Emulator, moved: MovedClock) -> None:
        self.rows = rows
        self.emulator = emulator
        self.moved = moved
        self._versions: dict[str, Any] = {}

    def add(
        self,
        dag_id: str = "dag",
        map_index: int = -1,
        *,
        state: str = "failed",
        age_s: float = 300,
        task: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        fields: dict[str, Any] | None = None,
        script: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Add a task whose operation runs, and that has ended so long ago; return the operation's name."""
        operation = start(self.emulator.url, **{"duration": 36_000, "cancelDelay": 1, **(script or {})})
        was = datetime.fromtimestamp(self.moved.now - age_s, timezone.utc)
        if dag_id not in self._versions:
            self._versions[dag_id] = self.rows.add_dag_version(dag_id, TASK if task is None else task)
        made = Record(
            State.STARTED, 3, 1, f"id-{operation}", "digest", self.moved.now - 900, self.moved.now + 900, operation,
            cancel_if_orphaned=True, service=SERVICE, answered_epoch_s=self.moved.now - 900,
        )  # fmt: skip
        values = {
            "max_tries": 3,
            "end_date": was,
            "updated_at": was,
            "dag_version_id": self._versions[dag_id],
        }
        self.rows.add_task(
            dag_id,
            map_index,
            state=state,
            record={**made.to_json(), **(record or {})},
            recorded=was,
            fields=SERVICE if fields is None else fields,
            **{**values, **more},
        )
        return operation

    def add_odd(self, count: int) -> list[str]:
        """Add so many, from index 0, for which their service has only errors; return their names."""
        names = [self.add(map_index=index) for index in range(count)]
        for name in names:
            self.emulator.script_fault(kind="get", operation=name, status=500)
        return names

    def forge(self, name: str, map_index: int = -1, *, age_s: float = 0.0, **more: Any) -> None:
        """Write a note on an operation as whoever may edit the state of tasks could; it was written so long ago."""
        note = {
            "version": 1, "of": f"id-{name} {name}", "by": "x", "at_epoch_s": self.moved.now, "said": "over",
            "settled": False, "due_epoch_s": 0, "cancels": 0, **more,
        }  # fmt: skip
        self.rows.insert(
            "task_state_store", dag_id="dag", run_id="run", task_id="task", map_index=map_index, dag_run_id=1,
            key=RECORD_KEY + NOTE_SUFFIX, value=json.dumps(note),
            updated_at=datetime.fromtimestamp(self.moved.now - age_s, timezone.utc),
        )  # fmt: skip

    def notes(self) -> list[dict[str, Any]]:
        """What sweeps have noted."""
        rows = self.rows.execute(
            f"SELECT value FROM task_state_store WHERE key = '{RECORD_KEY}{NOTE_SUFFIX}' ORDER BY id"
        )
        return [json.loads(row.value) for row in rows]

    def add_away(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """Add two tasks of another DAG, whose service doesn't answer; return it, as a record has it."""
        set_connection(monkeypatch, "http://127.0.0.1:9", "away", extra={"timeout": 5})
        away = {**SERVICE, "operations_conn_id": "away"}
        for index in range(2):
            task = {**TASK, "operations_conn_id": "away"}
            self.add("other", index, task=task, fields=away, record={"service": away})
        return away

    def audited(self) -> list[tuple[str, str, str, str, int]]:
        """The lines about tasks in Airflow's audit log."""
        return [
            tuple(row)
            for row in self.rows.execute(
                "SELECT event, owner, extra, task_id, try_number FROM log WHERE task_id IS NOT NULL ORDER BY id"
            )
        ]

    def latest(self) -> Latest | None:
        """The sweep that has ended last, as Airflow's parts read it."""
        with create_session() as session:
            return latest(session)

    def done(self, name: str) -> bool:
        """Whether an operation is over, as its service has it."""
        return bool(self.emulator.operation(name)["done"])

    def set(self, **values: Any) -> None:
        """Act on the task, as others do at any moment."""
        with self.rows._engine.begin() as connection:
            from airflow.models.base import Base

            connection.execute(Base.metadata.tables["task_instance"].update().values(**values))


@pytest.fixture
def orphans(database: Rows, emulator: Emulator, moved: MovedClock) -> Orphans:
    """An empty Airflow."""
    return Orphans(database, emulator, moved)


@pytest.fixture
def sweep(database: Rows) -> Swept:
    """Sweep once."""

    def sweep(*, dry_run: bool = False, services: Services | None = None) -> list[Result]:
        used = services or Services()
        try:
            return Sweep(Database(), used, dry_run=dry_run).run()
        finally:
            used.close()

    return sweep
