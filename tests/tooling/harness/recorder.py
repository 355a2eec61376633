"""
Records what a real Airflow does: triggers of its database note each change of a task, its XComs, record and trigger.

With the emulator's journal and what ``watching`` writes this is the life of a task, seen from outside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

__all__ = ["Recorder", "settings_that_watch"]

_PLACE = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True)
class _Change:
    """
    A change of a table that is noted.

    :param row: ``NEW`` or ``OLD``.
    :param columns: those that are noted.
    """

    what: str
    table: str
    event: str
    columns: tuple[str, ...]
    row: str = "NEW"

    @property
    def name(self) -> str:
        return f"lifecycle_{self.table}_{self.event.split(' ', 1)[0].lower()}"

    def values(self, json_object: str, now: str) -> str:
        facts = ", ".join(f"'{name}', {self.row}.{name}" for name in self.columns)
        place = ", ".join("NULL" if self.table == "trigger" else f"{self.row}.{name}" for name in _PLACE)
        return (
            f"INSERT INTO lifecycle (at_s, what, {', '.join(_PLACE)}, facts) "
            f"VALUES ({now}, '{self.what}', {place}, {json_object}({facts}))"
        )


_TASK = ("id", "state", "try_number", "max_tries", "trigger_id")
_CHANGES = (
    _Change("task", "task_instance", "INSERT", _TASK),
    _Change("task", "task_instance", "UPDATE", _TASK),
    _Change("task is gone", "task_instance", "DELETE", (), "OLD"),
    _Change("xcom", "xcom", "INSERT", ("key", "value")),
    _Change("xcom", "xcom", "UPDATE", ("key", "value")),
    _Change("xcom is gone", "xcom", "DELETE", ("key",), "OLD"),
    _Change("record", "task_state_store", "INSERT", ("key", "value")),
    _Change("record", "task_state_store", "UPDATE", ("key", "value")),
    _Change("record is gone", "task_state_store", "DELETE", ("key",), "OLD"),
    _Change("trigger", "trigger", "UPDATE OF triggerer_id", ("id", "triggerer_id")),
)


def _statements(dialect: str) -> list[str]:
    """Return what makes the table and the database's triggers."""
    columns = "what TEXT, dag_id TEXT, run_id TEXT, task_id TEXT, map_index INTEGER, facts TEXT"
    made = []
    if dialect == "sqlite":
        now = "(julianday('now') - 2440587.5) * 86400.0"
        made.append(f"CREATE TABLE lifecycle (seq INTEGER PRIMARY KEY, at_s REAL, {columns})")
        for one in _CHANGES:
            insert = one.values("json_object", now)
            made.append(f'CREATE TRIGGER {one.name} AFTER {one.event} ON "{one.table}" BEGIN {insert}; END')
        return made
    now = "extract(epoch FROM clock_timestamp())"
    made.append(f"CREATE TABLE lifecycle (seq BIGSERIAL PRIMARY KEY, at_s DOUBLE PRECISION, {columns})")
    for one in _CHANGES:
        body = f"BEGIN {one.values('json_build_object', now)}; RETURN NULL; END"
        made.append(f"CREATE FUNCTION {one.name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        when = f'AFTER {one.event} ON "{one.table}" FOR EACH ROW EXECUTE FUNCTION {one.name}()'
        made.append(f"CREATE TRIGGER {one.name} {when}")
    return made


class Recorder:
    """
    The life of all tasks of one Airflow.

    :param engine: of its database, migrated.
    :param watched: where ``watching`` writes.
    """

    def __init__(self, engine: Engine, watched: Path) -> None:
        self._engine = engine
        self._watched = watched
        with engine.begin() as connection:
            for statement in _statements(engine.dialect.name):
                connection.execute(text(statement))

    def rows(self) -> list[dict[str, Any]]:
        """
        Return what has happened, in order.

        :return: ``{"at_s": float, "what": str, "dag_id": str | None, ..., "facts": dict}`` each.
        """
        query = text(f"SELECT at_s, what, {', '.join(_PLACE)}, facts FROM lifecycle ORDER BY seq")
        with self._engine.connect() as connection:
            changed = [dict(row) for row in connection.execute(query).mappings()]
        for row in changed:
            row["facts"] = json.loads(row["facts"])
        seen = self._watched.read_text().splitlines() if self._watched.exists() else []
        return sorted([*changed, *map(json.loads, seen)], key=lambda row: float(row["at_s"]))


def settings_that_watch(path: Path) -> str:
    """Return lines for ``airflow_local_settings.py``, which each process of Airflow imports."""
    return (
        f"from tests.tooling.harness import watching\nwatching.to_file({str(path)!r})  # undone by nobody\n"
    )
