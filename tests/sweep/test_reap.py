"""``airflow operations reap``: what it prints, and the code it ends with."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from airflow_provider_operations._lifecycle.record import RECORD_KEY
from airflow_provider_operations._sweep.database import Database
from airflow_provider_operations.cli import commands
from airflow_provider_operations.cli.definition import _duration
from airflow_provider_operations.cli.reap import _said
from tests.support.commands import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clocks import MovedClock
    from tests.support.commands import Ended

    from .conftest import Orphans

    Run = Callable[..., Ended]

__all__ = ["run"]


def test_nothing(run: Run, orphans: Orphans) -> None:
    """Code 0."""
    ended = run("reap")
    assert (ended.code, ended.stdout) == (0, "No orphans found\n")
    assert "swept: 0 looked at, no orphans" in ended.stderr
    assert run("reap", "-o", "json").data == []


def test_an_orphan(run: Run, orphans: Orphans) -> None:
    """It is cancelled, and shown; none is left, so the code is 0."""
    name = orphans.add(map_index=3)
    ended = run("reap", "-o", "json")
    assert ended.code == 0
    assert ended.data == [
        {
            "dag_id": "dag",
            "run_id": "run",
            "task_id": "task",
            "map_index": 3,
            "state": "failed",
            "name": name,
            "conn_id": "operations_default",
            "fate": "cancelled",
            "said": "cancelled",
        }
    ]
    assert orphans.done(name)


def test_for_people(run: Run, orphans: Orphans) -> None:
    """A line for each operation; what is left makes the code 1."""
    orphans.add(script={"onCancel": "ignore"})
    ended = run("reap")
    assert ended.code == 1
    titles, _, line = ended.stdout.splitlines()
    assert [cell.strip() for cell in titles.split("|")] == [
        "task", "run", "state", "operation", "conn_id", "fate", "said",
    ]  # fmt: skip
    assert [cell.strip() for cell in line.split("|")][::5] == ["dag.task", "asked to cancel"]
    assert "operations that run on, or may: 1" in ended.stderr


def test_what_is_left_alone(run: Run, orphans: Orphans) -> None:
    """It is shown, and is no alarm: it would be one for as long as the run is kept."""
    orphans.add(record={"name": 5})
    ended = run("reap", "-o", "json")
    assert (ended.code, [row["fate"] for row in ended.data]) == (0, ["left alone"])


def test_a_dry_run(run: Run, orphans: Orphans) -> None:
    """Code 1 says that there are orphans."""
    name = orphans.add()
    ended = run("reap", "--dry-run", "-o", "json")
    assert (ended.code, [row["fate"] for row in ended.data]) == (1, ["orphan"])
    assert not orphans.done(name)


def test_again_and_again(
    run: Run, orphans: Orphans, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep every five minutes until SIGTERM, which ends it with code 0; a database that is away ends nothing."""
    names: list[str] = []
    found = Database.found
    handler = signal.getsignal(signal.SIGTERM)

    def meanwhile() -> None:
        if moved.sleeps[-1] < 100:  # a pause of the sweep itself
            return
        if len(names) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        names.append(orphans.add(map_index=len(names)))

    def sometimes(self: Database) -> Any:
        if len(names) == 1:
            raise OperationalError("SELECT secret", {}, Exception("the database is away"))
        return found(self)

    moved.on_sleep = meanwhile
    monkeypatch.setattr(Database, "found", sometimes)
    ended = run("reap", "--every", "5m", "-o", "json")
    assert ended.code == 0
    assert signal.getsignal(signal.SIGTERM) is handler
    assert all(map(orphans.done, names[:3]))
    assert ended.stderr.count("swept:") == 3
    assert "doesn't answer: OperationalError: the database is away" in ended.stderr
    assert "SELECT" not in ended.stderr
    assert moved.now >= 1_800_000_000 + 1200


def test_the_database_is_away(run: Run, orphans: Orphans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 3, and a line."""

    def away(_: Database) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("the database is away"))

    monkeypatch.setattr(Database, "found", away)
    ended = run("reap")
    assert (ended.code, ended.stdout) == (3, "")
    assert "SELECT" not in ended.stderr


def test_a_database_without_tables(run: Run, orphans: Orphans) -> None:
    """It is another than was meant, or wasn't migrated."""
    orphans.rows.execute("ALTER TABLE task_state_store RENAME TO elsewhere")
    try:
        ended = run("reap")
    finally:
        orphans.rows.execute("ALTER TABLE elsewhere RENAME TO task_state_store")
    assert (ended.code, ended.stdout) == (3, "")
    assert "lacks a table (OperationalError: no such table: task_state_store)" in ended.stderr
    assert "airflow db migrate" in ended.stderr


def test_before_airflow_3_3(run: Run, orphans: Orphans, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to sweep by, and it is said."""
    monkeypatch.setattr(commands, "TASKS_KEEP_STATE", False)
    ended = run("reap")
    assert ended.code == 2
    assert "Airflow keeps no state of tasks before version 3.3" in ended.stderr


def test_a_backend_of_somebody(run: Run, orphans: Orphans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that aren't in Airflow's database aren't read, and it is said."""
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", "mine.Backend")
    ended = run("reap")
    assert ended.code == 2
    assert "[state_store] backend is mine.Backend" in ended.stderr


def test_a_backend_of_the_workers(run: Run, orphans: Orphans) -> None:
    """So it is where only a reference is in the database; other records are seen to."""
    orphans.add(map_index=1)
    orphans.rows.execute(
        f"""UPDATE task_state_store SET value = '{{"__airflow_state_ref__": "s3://x"}}' WHERE key = '{RECORD_KEY}'"""
    )
    name = orphans.add(map_index=2)
    ended = run("reap")
    assert "[workers] state_store_backend" in ended.stderr
    assert (ended.code, orphans.done(name)) == (0, True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("30s", 30), ("5m", 300), ("1h", 3600), ("0.5h", 1800)]
)
def test_durations(text: str, seconds: float) -> None:
    """As people write them."""
    assert _duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "x", "4", "4s", "-5m", "1e9h", "nan", "5 d"])
def test_no_durations(run: Run, text: str) -> None:
    """Wrong usage."""
    assert run("reap", f"--every={text}").code == 2


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        ("no such table: task_state_store", True),
        ('relation "task_state_store" does not exist\nLINE 1: SELECT', True),
        ("(1146, \"Table 'airflow.task_state_store' doesn't exist\")", True),
        ('FATAL:  database "airflow" does not exist', False),
        ('FATAL:  role "airflow" does not exist', False),
    ],
)
def test_what_a_database_lacks(said: str, lacks: bool) -> None:
    """That a table is missing is said only where it is one."""
    text = _said(ProgrammingError("SELECT", {}, Exception(said)))
    assert ("lacks a table" in text) is lacks
    assert said in text
