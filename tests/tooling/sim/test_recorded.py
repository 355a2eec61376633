"""What is recorded in a real Airflow becomes a trace, in the words that the simulation's traces have."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, text

from tests.tooling.harness.recorder import Recorder

from .recorded import assemble

if TYPE_CHECKING:
    from pathlib import Path

NAME = "rounds/r001/operations/1"
PLACE = {"dag_id": "d", "run_id": "r001", "task_id": "run", "map_index": -1}
FORM = {
    "kind": "operator",
    "deferrable": True,
    "reschedules": False,
    "request_ids": True,
    "durable": True,
    "waits": True,
    "ends_from_trigger": False,
    "limited": False,
    "cancels": True,
}


def _row(at_s: float, what: str, **facts: Any) -> dict[str, Any]:
    return {"at_s": at_s, "what": what, **PLACE, "facts": facts}


def _task(
    at_s: float, state: str | None, number: int = 1, ti: str = "a", trigger: int | None = None
) -> dict[str, Any]:
    facts = {"id": ti, "state": state, "try_number": number, "max_tries": 3, "trigger_id": trigger}
    return _row(at_s, "task", **facts)


def _entry(at_s: float, kind: str, **more: Any) -> dict[str, Any]:
    plain = {"operation": NAME, "status": 200, "fault": None, "deduplicated": False, "headers": {}}
    return {"time": at_s, "kind": kind, **plain, **more}


def _utc(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%dT%H:%M:%S.%f}+0000"


def test_a_life() -> None:
    """Rows, journal and what the task has said, in one order."""
    record = json.dumps({"state": "started", "name": NAME})
    rows = [
        _task(0.0, None, 0),
        _task(1.0, "queued"),
        _task(2.0, "running"),
        _row(2.1, "stay", **FORM),
        _row(3.2, "record", key="airflow_provider_operations", value=record),
        _row(3.3, "xcom", key="operation_name", value=json.dumps(NAME)),
        _row(3.3, "xcom", key="operation", value="{}"),
        _task(4.0, "deferred", trigger=7),
        {**_row(4.5, "trigger", id=7, triggerer_id=1), "dag_id": None, "run_id": None, "task_id": None},
        _task(6.0, "failed"),
        _row(6.2, "asks in triggerer", state="deferred", own=NAME),  # looked up before, answered after
        _row(6.9, "asks in triggerer", state="failed", own=None),
    ]
    journal = [
        _entry(3.0, "start", headers={"connection": "keep-alive"}),
        _entry(3.5, "get", headers={"connection": "keep-alive"}),
        _entry(5.0, "get"),
        _entry(5.5, "get", fault="f1"),
        _entry(7.0, "cancel"),
    ]
    times = {"createTime": _utc(3.0), "endTime": _utc(8.0)}
    operations = [{"name": NAME, "metadata": times, "error": {"code": 1}}]

    (trace,) = assemble(rows, journal, operations, lambda *place: "/".join(place))

    assert (trace.name, trace.family) == ("d/r001/run", "operator, deferred")
    assert [(event.at_s, event.what) for event in trace.events] == [
        (0.0, "task: None>queued (next try)"),
        (1.0, "task: queued>running"),
        (2.0, "start: new"),
        (2.2, "record: started"),
        (2.3, "xcom: newest"),
        (2.5, "poll in worker: newest runs"),
        (3.0, "task: running>deferred"),
        (3.5, "trigger: taken"),
        (4.0, "poll in triggerer: newest runs"),
        (4.9995, "asks in triggerer: deferred, XCom newest"),
        (5.0, "task: deferred>failed"),
        (5.9, "asks in triggerer: failed, XCom none"),
        (6.0, "cancel in triggerer: newest"),
        (7.0, "end: newest cancelled"),
    ]


def test_a_task_without_operations_has_no_trace() -> None:
    """Nor one of others."""
    assert assemble([_task(0.0, None, 0), _task(1.0, "queued")], [], [], lambda *_: "") == []


def test_an_operation_of_two_tasks_has_no_trace() -> None:
    """The journal doesn't tell which of them asks, also if one has found it done at once and has no XCom of it."""
    sensor = {**FORM, "kind": "sensor", "operation": NAME}
    rows = [
        _row(0.0, "stay", **FORM),
        _row(1.0, "xcom", key="operation_name", value=json.dumps(NAME)),
        {**_row(3.0, "stay", **sensor), "task_id": "wait"},
    ]
    operations = [{"name": NAME, "metadata": {"createTime": _utc(0.5), "endTime": _utc(2.0)}}]
    assert assemble(rows, [_entry(3.5, "get")], operations, lambda *_: "") == []
    assert len(assemble(rows[:2], [_entry(1.5, "get")], operations, lambda *_: "")) == 1


def test_changes_of_a_database_are_noted(tmp_path: Path) -> None:
    """The recorder's triggers, in SQLite; the chaos suite tries those of PostgreSQL."""
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    place = "dag_id TEXT, run_id TEXT, task_id TEXT, map_index INTEGER"
    with engine.begin() as connection:
        for table, columns in (
            ("task_instance", f"id TEXT, state TEXT, try_number INT, max_tries INT, trigger_id INT, {place}"),
            ("xcom", f"key TEXT, value TEXT, {place}"),
            ("task_state_store", f"key TEXT, value TEXT, {place}"),
            ('"trigger"', "id INT, triggerer_id INT"),
        ):
            connection.execute(text(f"CREATE TABLE {table} ({columns})"))
    watched = tmp_path / "watched.jsonl"
    watched.write_text(json.dumps({**_row(0.0, "stay", **FORM)}) + "\n")
    recorder = Recorder(engine, watched)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO task_instance VALUES ('a', NULL, 0, 3, NULL, 'd', 'r001', 'run', -1)")
        )
        connection.execute(text("UPDATE task_instance SET state = 'queued'"))
        connection.execute(text('INSERT INTO "trigger" VALUES (7, NULL)'))
        connection.execute(text('UPDATE "trigger" SET triggerer_id = 1'))
        connection.execute(
            text("INSERT INTO xcom VALUES ('operation_name', '\"x\"', 'd', 'r001', 'run', -1)")
        )
        connection.execute(text("DELETE FROM xcom"))

    stay, new, queued, taken, named, gone = recorder.rows()
    assert stay["what"] == "stay"
    assert new["facts"]["state"] is None
    assert queued["facts"] == {
        "id": "a",
        "state": "queued",
        "try_number": 0,
        "max_tries": 3,
        "trigger_id": None,
    }
    assert queued["run_id"] == "r001"
    assert taken["facts"] == {"id": 7, "triggerer_id": 1}
    assert (named["what"], gone["what"]) == ("xcom", "xcom is gone")
    assert abs(queued["at_s"] - datetime.now(timezone.utc).timestamp()) < 60
    engine.dispose()
