"""A sweep cancels what no task waits for, whatever happens meanwhile; and nothing else."""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from airflow.utils.session import create_session
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from airflow_provider_operations._lifecycle.cancelled_by import AUDIT_EVENT
from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._sweep.database import PAGE_ROWS, Database, _due
from airflow_provider_operations._sweep.judgement import Note
from airflow_provider_operations._sweep.latest import OWNER
from airflow_provider_operations._sweep.service import ERRORS_IN_A_ROW, Services
from airflow_provider_operations._sweep.sweep import (
    AGAIN_S,
    CLAIM_S,
    LEFT,
    MISSES,
    MISSING_FOR_S,
    SETTLE_LIMIT_S,
    Fate,
    Sweep,
)
from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.ui.audit import noted
from airflow_provider_operations.ui.tasks import TaskKey
from tests.support.connections import set_connection
from tests.ui.conftest import run_number

from .conftest import SERVICE, TASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clocks import MovedClock

    from .conftest import Orphans, Swept


def fates(results: list[Any]) -> list[str]:
    return sorted(result.fate.value for result in results)


# --- what is cancelled -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed"])
def test_an_orphan_is_cancelled(orphans: Orphans, sweep: Swept, state: str) -> None:
    """Once, and the audit log says so; the next sweep doesn't even ask for it."""
    name = orphans.add(state=state)
    (result,) = sweep()
    assert (result.fate, result.name, result.state) == (Fate.CANCELLED, name, state)
    assert orphans.done(name)
    assert orphans.audited() == [(AUDIT_EVENT, OWNER, name, "task", 1)]
    polls = len(orphans.emulator.journal("get"))
    assert sweep() == []
    assert len(orphans.emulator.journal("get")) == polls
    assert len(orphans.emulator.journal("cancel")) == 1
    (noted,) = orphans.notes()
    assert noted["settled"] is True


def test_the_tab_says_that_a_sweep_has_asked(orphans: Orphans, sweep: Swept) -> None:
    """As it says who has asked through the tab."""
    name = orphans.add()
    sweep()
    with create_session() as session:
        asked = noted(TaskKey("dag", "run", "task"), name, session)
    assert asked is not None
    assert asked["by"] == "airflow operations reap"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"state": "up_for_retry"}, id="it waits for its retry"),
        pytest.param({"state": None}, id="it was cleared"),
        pytest.param({"state": "running"}, id="it runs"),
        pytest.param({"state": "deferred"}, id="it is deferred"),
        pytest.param({"age_s": 30}, id="it has just ended"),
        pytest.param({"record": {"handed_on": True}}, id="it has handed its operation on"),
        pytest.param({"record": {"foreign": True}}, id="the operation isn't its own"),
        pytest.param({"record": {"cancel_if_orphaned": False}}, id="it doesn't cancel"),
        pytest.param({"record": {"state": "delivered"}}, id="it has delivered"),
    ],
)
def test_what_is_left_alone(orphans: Orphans, sweep: Swept, more: dict[str, Any]) -> None:
    """Nobody is asked, nothing is noted."""
    name = orphans.add(**more)
    assert sweep() == []
    assert not orphans.done(name)
    assert orphans.emulator.journal("get") == []
    assert (orphans.notes(), orphans.audited()) == ([], [])


def test_old_records_are_left_alone(orphans: Orphans, sweep: Swept) -> None:
    """They don't say of which service the operation is, nor whether it may be cancelled."""
    orphans.add()
    orphans.rows.execute(
        "UPDATE task_state_store SET value = json_remove(value, '$.service', '$.cancel_if_orphaned')"
    )
    assert sweep() == []
    assert orphans.emulator.journal() == orphans.emulator.journal("start")


def test_a_success_whose_operation_is_done_costs_no_look(orphans: Orphans, sweep: Swept) -> None:
    """A trigger that ends its task leaves the record as it is."""
    name = orphans.add(state="success", final={"name": "x", "done": True})
    orphans.rows.execute(
        f'UPDATE xcom SET value = \'{{"name": "{name}", "done": true}}\' WHERE key = \'operation\''
    )
    assert list(Database().found()) == []
    assert sweep() == []
    assert orphans.emulator.journal("get") == []


def test_a_success_whose_earlier_operation_is_done(orphans: Orphans, sweep: Swept) -> None:
    """It says nothing of the one in the record; the list of orphans shows that as well."""
    name = orphans.add(state="success", final={"name": "operations/earlier", "done": True})
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


def test_what_is_over_is_asked_for_once(orphans: Orphans, sweep: Swept) -> None:
    """An operation that has ended by itself is no orphan, and nothing to talk about."""
    orphans.add(script={"duration": 0})
    assert sweep() == []
    assert sweep() == []
    assert len(orphans.emulator.journal("get")) == 1
    assert orphans.emulator.journal("cancel") == []
    assert list(Database().found()) == []


def test_an_operation_that_the_service_has_forgotten(
    orphans: Orphans, sweep: Swept, moved: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told for a day, and asked for ever more seldom; after that there is nothing to cancel."""
    caplog.set_level(logging.INFO)
    orphans.add(record={"name": "operations/gone"})
    began, asked = moved.now, 0
    while results := sweep():
        assert [(one.fate, one.said) for one in results] == [(Fate.UNKNOWN, "the service doesn't know it")]
        asked = len(orphans.emulator.journal("get"))
        moved.now += 60
    assert MISSING_FOR_S <= moved.now - began <= MISSING_FOR_S + 3660
    assert 20 < asked < 40
    assert sweep() == []
    assert orphans.emulator.journal("cancel") == []
    said = "dag.task of run: operations/gone: no orphan: the service doesn't know it, for a day by now"
    assert caplog.messages.count(said) == 1
    assert list(Database().found()) == []


def test_a_connection_that_leads_elsewhere_for_a_while(
    orphans: Orphans, sweep: Swept, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that doesn't know an operation ends nothing; the one that does is asked as soon as it may be."""
    name = orphans.add()
    with Emulator() as other:
        set_connection(monkeypatch, other.url)
        for _ in range(3):
            assert fates(sweep()) == ["unknown"]
            moved.now += CLAIM_S
    set_connection(monkeypatch, orphans.emulator.url)
    moved.now += 600
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


def test_a_service_that_knows_it_again(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """The day begins anew with the next answer that doesn't know it."""
    orphans.add(script={"onCancel": "ignore", "duration": 1e6})
    missing = {
        "kind": "get", "status": 404, "times": 1,
        "body": {"error": {"code": 404, "message": "unknown", "status": "NOT_FOUND"}},
    }  # fmt: skip
    seen = []
    for status in (404, None, 404, 403, 404):
        if status is not None:
            orphans.emulator.script_fault(**{**missing, "status": status})
        seen += fates(sweep())
        moved.now += MISSING_FOR_S
    assert seen == ["unknown", "asked to cancel", "unknown", "no answer", "unknown"]
    assert [note["misses"] for note in orphans.notes()] == [1]


def test_an_outage_between_answers(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """It doesn't begin the day anew: a service that is away every night forgets its operations all the same."""
    orphans.add(record={"name": "operations/gone"})
    seen = []
    for hour in range(26):
        if hour % 6 == 5:
            orphans.emulator.script_fault(kind="get", status=503, times=1)
        seen += fates(sweep())
        moved.now += 3600
    assert seen == [*["unknown"] * 5, "no answer"] * 4
    assert orphans.notes()[0]["settled"] is True


def test_a_lost_start_is_shown_once(orphans: Orphans, sweep: Swept) -> None:
    """Nobody knows the operation's name, so a person has to look."""
    orphans.add(record={"state": "starting", "name": ""})
    (result,) = sweep()
    assert (result.fate, "lost" in result.said) == (Fate.SHOWN, True)
    assert sweep() == []


def test_a_task_that_started_another_is_swept_again(orphans: Orphans, sweep: Swept) -> None:
    """What was settled is the operation, and not the task."""
    orphans.add(script={"duration": 0})
    assert sweep() == []
    orphans.rows.execute(f"DELETE FROM task_state_store WHERE key = '{RECORD_KEY}'")
    for table in ("task_instance", "rendered_task_instance_fields"):
        orphans.rows.execute(f"DELETE FROM {table}")
    name = orphans.add(age_s=200)
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


def test_a_record_that_was_written_again_is_swept_again(
    orphans: Orphans, sweep: Swept, moved: MovedClock
) -> None:
    """What a service didn't know for a day, as its connection led elsewhere, a later try may wait for again."""
    name = orphans.add(script={"duration": 1e6})
    orphans.emulator.script_fault(
        kind="get",
        times=MISSES + 1,
        status=404,
        body={"error": {"code": 404, "message": "unknown", "status": "NOT_FOUND"}},
    )
    for _ in range(MISSES):
        assert fates(sweep()) == ["unknown"]
        moved.now += MISSING_FOR_S / MISSES + 1
    assert sweep() == sweep() == []
    orphans.rows.execute(
        f"UPDATE task_state_store SET updated_at = '2027-01-16 07:56:00.000000' WHERE key = '{RECORD_KEY}'"
    )
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


@pytest.mark.parametrize(
    "forged",
    [{"settled": True}, {"due_epoch_s": 1e13}, {"due_epoch_s": 1e13, "cancels": 1000}],
    ids=["settled", "claimed for ever", "asked for ever"],
)
def test_a_forged_note_hides_no_orphan(orphans: Orphans, sweep: Swept, forged: dict[str, Any]) -> None:
    """Nor does one of a sweep whose clock was wrong."""
    name = orphans.add()
    orphans.forge(name, **forged)
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


def test_a_sensor(orphans: Orphans, sweep: Swept) -> None:
    """Its record is under a key of its own, and its argument says which operation it waits for."""
    task = {**TASK, "_task_module": "airflow_provider_operations.sensors"}
    name = orphans.add(task=task, key=SENSOR_RECORD_KEY)
    orphans.rows.execute(
        f"UPDATE rendered_task_instance_fields SET rendered_fields = json_set(rendered_fields, '$.operation_name', '{name}')"
    )
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


def test_many(orphans: Orphans, sweep: Swept) -> None:
    """Mapped tasks each have theirs; pages are read to the end."""
    orphans.rows.execute("PRAGMA synchronous = OFF")
    names = [orphans.add(map_index=index, record={"state": "started"}) for index in range(5)]
    for index in range(5, PAGE_ROWS + 3):
        orphans.rows.insert(
            "task_state_store", dag_id="dag", run_id="run", task_id="task", map_index=index, dag_run_id=1,
            key=RECORD_KEY, value='{"state": "delivered", "cancel_if_orphaned": true}',
            updated_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        )  # fmt: skip
    assert fates(sweep()) == ["cancelled"] * 5
    assert all(map(orphans.done, names))


@pytest.mark.parametrize(
    "record",
    [{"handed_on": True}, {"foreign": True}, {"cancel_if_orphaned": False}, {"state": "rejected"}],
    ids=["handed on", "foreign", "not cancelled", "rejected"],
)
def test_what_is_left_alone_for_good_is_not_read(orphans: Orphans, record: dict[str, Any]) -> None:
    """There may be a hundred thousand of them, for as long as their runs are kept."""
    orphans.add(record=record)
    assert list(Database().found()) == []


def test_all_that_is_due_is_sorted_once(
    orphans: Orphans, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each page, which takes minutes where a hundred thousand wait."""
    monkeypatch.setattr("airflow_provider_operations._sweep.database.PAGE_ROWS", 3)
    for index in range(8):
        orphans.add(map_index=index)
    seen: list[str] = []

    def count(*given: Any) -> None:
        seen.append(given[2])

    sa.event.listen(tables, "before_cursor_execute", count)
    found = [one.map_index for one in Database().found()]
    sa.event.remove(tables, "before_cursor_execute", count)
    assert found == list(range(8))
    assert sum("ORDER BY" in statement for statement in seen) == 1


@pytest.mark.parametrize("dialect", ["mysql", "postgresql", "sqlite"])
def test_the_order_for_each_database(dialect: str) -> None:
    """
    By moments and no text: MySQL makes text of ``COALESCE(moment, literal)``, which Airflow's type for moments can't read.

    It has no ``NULLS FIRST``, either; the moments of PostgreSQL's rows without a note would come last.
    """
    _, order = str(_due().compile(dialect=sa.make_url(f"{dialect}://").get_dialect()())).split("ORDER BY ")
    assert "coalesce" not in order
    assert "NULLS" not in order
    assert order.startswith("CASE WHEN (task_state_store_1.id IS NULL)")


# --- what is noted -----------------------------------------------------------------------------------------------


def test_what_a_sweep_saw_is_noted(
    orphans: Orphans, sweep: Swept, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the record, for the list in the UI: also of what it hasn't cancelled, and why not."""
    set_connection(monkeypatch, "http://127.0.0.1:9", "away", extra={"timeout": 5})
    away = {**SERVICE, "operations_conn_id": "away"}
    cases: dict[str, dict[str, Any]] = {
        "asked to cancel": {"script": {"onCancel": "ignore"}},
        "not cancelled: ": {"script": {"onCancel": "unimplemented"}},
        "no answer: ": {"dag_id": "other", "task": {**TASK, "operations_conn_id": "away"}, "fields": away,
                        "record": {"service": away}},
        "left alone: its record leads to another service than the task's arguments": {
            "record": {"service": away}
        },
    }  # fmt: skip
    for index, more in enumerate(cases.values()):
        orphans.add(map_index=index, **more)
    sweep()
    said = sorted(note["said"] for note in orphans.notes())
    assert len(said) == len(cases)
    assert all(text.startswith(begin) for text, begin in zip(said, sorted(cases), strict=True)), said


def test_what_is_left_alone_is_noted_once(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """It may be so for as long as the run is kept: not every sweep writes it again."""
    orphans.add(task={"_task_module": "somebody.elses"}, fields={})
    for _ in range(3):
        sweep()
        moved.now += 300
    (note,) = orphans.notes()
    assert note["said"] == "left alone: it isn't a task of this package"
    assert note["at_epoch_s"] == moved.now - 900


def test_a_dry_run_notes_nothing(orphans: Orphans, sweep: Swept) -> None:
    """Neither at the operations, nor that it was there."""
    orphans.add()
    orphans.add(map_index=1, record={"service": {}})
    sweep(dry_run=True)
    assert orphans.notes() == []
    assert orphans.latest() is None


def test_that_it_has_ended_is_stored(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """When, and what it has found; in one line of the audit log, however many sweeps there are."""
    assert orphans.latest() is None
    orphans.add()
    orphans.add(map_index=1, record={"service": {}})
    sweep()
    first = orphans.latest()
    assert first is not None
    assert (first.at_epoch_s, first.looked, first.away) == (moved.now, 1, ())
    assert first.fates == {"cancelled": 1, "left alone": 1}
    moved.now += 300
    sweep()
    second = orphans.latest()
    assert second is not None
    assert (second.at_epoch_s, second.looked, second.fates) == (moved.now, 0, {"left alone": 1})
    assert orphans.rows.execute("SELECT event, owner, dag_id FROM log WHERE task_id IS NULL") == [
        ("sweep_operations", OWNER, None)
    ]


def test_which_services_were_away_is_stored(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their connections."""
    orphans.add_away(monkeypatch)
    sweep()
    latest = orphans.latest()
    assert latest is not None
    assert (latest.away, latest.fates) == (("away",), {"no answer": 2})


def test_a_database_that_is_away_at_the_end(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sweep has done is told all the same; that it has ended isn't known then, and an alarm comes of it."""

    def away(*_: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("away"))

    monkeypatch.setattr(Database, "ended", away)
    orphans.add()
    assert fates(sweep()) == ["cancelled"]
    assert orphans.latest() is None


def test_a_cleaned_audit_log(orphans: Orphans, sweep: Swept) -> None:
    """The next sweep writes the line anew."""
    sweep()
    orphans.rows.execute("DELETE FROM log")
    sweep()
    assert orphans.latest() is not None


# --- services --------------------------------------------------------------------------------------------------


def test_a_service_that_accepts_cancels_and_ignores_them(
    orphans: Orphans, sweep: Swept, moved: MovedClock
) -> None:
    """It is asked again, with pauses that double to an hour, and each sweep says that the operation runs on."""
    orphans.add(script={"onCancel": "ignore"})
    asked: list[float] = []
    for _ in range(60):
        assert fates(sweep()) == ["asked to cancel"]
        if len(orphans.emulator.journal("cancel")) > len(asked):
            asked.append(moved.now)
        moved.now += AGAIN_S
    pauses = [after - before for before, after in itertools.pairwise(asked)]
    assert pauses[0] >= CLAIM_S
    assert pauses == sorted(pauses)
    assert 5 < len(asked) < 12
    assert orphans.notes()[0]["cancels"] == len(asked)


def test_a_service_that_refuses(orphans: Orphans, sweep: Swept) -> None:
    """It is said, and tried again later."""
    orphans.add(script={"onCancel": "unimplemented"})
    (result,) = sweep()
    assert result.fate is Fate.REFUSED
    assert "UNIMPLEMENTED" in result.said
    (again,) = sweep()
    assert (again.fate, again.said) == (Fate.REFUSED, result.said)
    assert len(orphans.emulator.journal("cancel")) == 1


def test_a_service_whose_cancels_hang(
    orphans: Orphans, sweep: Swept, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up no other for long; the next sweep goes on with those that it wasn't asked about."""
    slow = {**SERVICE, "operations_conn_id": "slow"}
    set_connection(monkeypatch, orphans.emulator.url, "slow")
    for index in range(8):
        orphans.add(
            "other", index, task={**TASK, "operations_conn_id": "slow"}, fields=slow, record={"service": slow}
        )
    name = orphans.add()

    class Slow(Services):
        def cancel(self, options: Any, name: str) -> Any:
            if options.operations_conn_id == "operations_default":
                return super().cancel(options, name)

            def hang(_: Any) -> CallFailure:
                moved.now += 10
                return CallFailure.not_asked(name, TimeoutError())

            return self._call(options, hang)

    assert fates(sweep(services=Slow())) == ["cancelled", *["no answer"] * 2, *["not cancelled"] * 6]
    assert orphans.done(name)
    latest = orphans.latest()
    assert latest is not None
    assert latest.away == ("slow",)
    assert fates(sweep(services=Slow())) == ["not cancelled"] * 8


def test_a_slow_service(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """Each of its operations has its turn, however many there are that ignore their cancels."""
    for index in range(21):
        orphans.add(map_index=index, script={"onCancel": "ignore", "duration": 1e7})
    name = orphans.add(map_index=21, script={"duration": 1e7})

    class Slow(Services):
        def _call(self, *arguments: Any) -> Any:
            moved.now += 6
            self._spent_s[arguments[0].operations_conn_id] += 6
            return super()._call(*arguments)

    for _ in range(8):
        sweep(services=Slow())
        moved.now += 300
    assert orphans.done(name)


def test_a_cancel_is_sent_once(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """Not again seconds later, when somebody may have acted on the task: the next sweep reads it anew."""
    name = orphans.add()
    orphans.emulator.script_fault(kind="cancel", status=503, times=1)
    assert fates(sweep()) == ["not cancelled"]
    assert len(orphans.emulator.journal("cancel")) == 1
    moved.now += CLAIM_S
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


def test_an_operation_that_cant_be_asked_for_keeps_no_other_from_being_seen_to(
    orphans: Orphans, sweep: Swept
) -> None:
    """Not even in the same sweep."""
    odd = orphans.add()
    name = orphans.add(map_index=1)
    orphans.emulator.script_fault(kind="get", operation=odd, status=500)
    assert fates(sweep()) == ["cancelled", "no answer"]
    assert [entry["operation"] for entry in orphans.emulator.journal("cancel")] == [name]


def test_nor_do_several(orphans: Orphans, sweep: Swept) -> None:
    """Who got no answer comes last in the next sweep, as its service isn't asked any more in this one."""
    orphans.add_odd(ERRORS_IN_A_ROW)
    name = orphans.add(map_index=ERRORS_IN_A_ROW)
    assert fates(sweep()) == ["no answer"] * (ERRORS_IN_A_ROW + 1)
    assert len(orphans.emulator.journal("get")) == ERRORS_IN_A_ROW
    assert fates(sweep()) == ["asked to cancel", *["no answer"] * ERRORS_IN_A_ROW]
    assert [entry["operation"] for entry in orphans.emulator.journal("cancel")] == [name]
    assert len(orphans.emulator.journal("get")) > ERRORS_IN_A_ROW + 1


def test_it_keeps_none_of_another_page_from_being_seen_to(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is that of all that is due, whatever a note says of itself."""
    monkeypatch.setattr("airflow_provider_operations._sweep.database.PAGE_ROWS", 3)
    odd = orphans.add_odd(ERRORS_IN_A_ROW)
    for index in range(ERRORS_IN_A_ROW, 20):
        waits = orphans.add(map_index=index)
        orphans.forge(waits, index, due_epoch_s=orphans.moved.now + 7000)
    name = orphans.add(map_index=20)
    orphans.forge(name, 20, age_s=900, at_epoch_s=1e13)
    for _ in range(2):
        sweep()
        orphans.moved.now += 300
    assert orphans.done(name)
    assert not any(map(orphans.done, odd))


def test_a_replica_that_does_not_know_it_yet(orphans: Orphans, sweep: Swept, moved: MovedClock) -> None:
    """One such answer after a cancel is no end."""
    orphans.add(script={"onCancel": "ignore", "duration": 1e6})
    orphans.emulator.script_fault(
        kind="get",
        after=1,
        times=1,
        status=404,
        body={"error": {"code": 404, "message": "unknown", "status": "NOT_FOUND"}},
    )
    for _ in range(2):
        assert fates(sweep()) == ["asked to cancel"]
        moved.now += CLAIM_S
    assert len(orphans.emulator.journal("cancel")) == 2


@pytest.mark.parametrize("said", ["cancelled: done", "left alone: x", "orphan: x"])
def test_what_a_forged_note_pretends(orphans: Orphans, sweep: Swept, said: str) -> None:
    """It is told as what runs on, or may."""
    name = orphans.add()
    orphans.forge(name, said=said, due_epoch_s=orphans.moved.now + 7000, cancels=3)
    assert fates(sweep()) == ["asked to cancel"]


def test_a_forbidden_operation_says_nothing_of_others(orphans: Orphans, sweep: Swept) -> None:
    """A 403 is an answer about one operation: in the same sweep its service is asked for the next."""
    odd = orphans.add()
    name = orphans.add(map_index=1)
    orphans.emulator.script_fault(kind="get", operation=odd, status=403)
    assert sorted(fates(sweep())) == ["cancelled", "no answer"]
    assert [entry["operation"] for entry in orphans.emulator.journal("cancel")] == [name]


def test_ends_are_not_awaited_for_longer_than_promised(
    orphans: Orphans, sweep: Swept, moved: MovedClock
) -> None:
    """However many there are, and however slowly the service answers."""
    for index in range(5):
        orphans.add(map_index=index, script={"onCancel": "ignore"})

    class Slow(Services):
        def look(self, *arguments: Any) -> Any:
            moved.now += 9
            return super().look(*arguments)

    began = moved.now
    assert fates(sweep(services=Slow())) == ["asked to cancel"] * 5
    assert moved.now - began <= 5 * 9 + SETTLE_LIMIT_S + 9


def test_a_service_out_of_reach(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked once, is said once in the log, holds up no other service, and is tried again by the next sweep."""
    caplog.set_level(logging.INFO)
    away = {**SERVICE, "operations_conn_id": "away"}
    set_connection(monkeypatch, "http://127.0.0.1:9", "away", extra={"timeout": 5})
    task = {**TASK, "operations_conn_id": "away"}
    for index in range(3):
        orphans.add("other", index, task=task, fields=away, record={"service": away})
    name = orphans.add()
    results = sweep()
    assert fates(results) == ["cancelled", "no answer", "no answer", "no answer"]
    assert orphans.done(name)
    assert sum("no answer" in line for line in caplog.messages) == 1
    set_connection(monkeypatch, orphans.emulator.url, "away")
    assert fates(sweep()) == ["cancelled"] * 3


def test_a_connection_that_is_gone(orphans: Orphans, sweep: Swept, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; the operations wait for it to be back."""
    caplog.set_level(logging.INFO)
    gone = {**SERVICE, "operations_conn_id": "gone"}
    for index in range(3):
        orphans.add(
            map_index=index,
            task={**TASK, "operations_conn_id": "gone"},
            fields=gone,
            record={"service": gone},
        )
    assert fates(sweep()) == ["no answer"] * 3
    assert sum("isn't defined" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("multi_team", [True, False])
def test_a_connection_of_a_team(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch, multi_team: bool
) -> None:
    """A team's connection may lead elsewhere than the one of the same id that a sweep finds."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", str(multi_team))
    orphans.rows.insert("team", name="mine")
    orphans.rows.insert("dag_bundle_team", dag_bundle_name="bundle", team_name="mine")
    orphans.add()
    (result,) = sweep()
    if multi_team:
        assert (result.fate, "the team mine" in result.said) == (Fate.NO_ANSWER, True)
        assert orphans.emulator.journal() == orphans.emulator.journal("start")
    else:
        assert result.fate is Fate.CANCELLED


# --- the record is no privilege ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "forged"),
    [
        ("operations_conn_id", "other"),
        ("base_url", "http://127.0.0.1:9/elsewhere"),
        ("path_prefix", "v2"),
        ("cancel_suffix", ":delete"),
        ("cancel_method", "DELETE"),
        ("error_format", 2),
        ("wait_timeout_in", "body"),
        ("scopes", "https://www.googleapis.com/auth/cloud-platform"),
    ],
)
def test_a_forged_service(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch, field: str, forged: Any
) -> None:
    """A record that leads elsewhere than the task's own arguments is shown, and nobody is asked."""
    set_connection(monkeypatch, orphans.emulator.url, "other")
    orphans.add(record={"service": {**SERVICE, field: forged}})
    (result,) = sweep()
    assert (result.fate, result.said) == (
        Fate.SHOWN,
        "its record leads to another service than the task's arguments",
    )
    assert orphans.emulator.journal() == orphans.emulator.journal("start")
    (note,) = orphans.notes()
    assert (note["said"], note["settled"], note["due_epoch_s"]) == (f"left alone: {result.said}", False, 0)
    assert orphans.audited() == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": {**TASK, "_task_module": "airflow.operators.bash"}}, "it isn't a task of this package"),
        ({"task": {**TASK, "task_id": "another"}}, "it isn't a task of this package"),
        ({"name": "operations/another"}, "its XCom names another operation than its record"),
        ({"record": {"name": 5}}, "its record can't be read"),
        ({"record": {"service": {}}}, "its record doesn't say of which service it is"),
        ({"fields": {**SERVICE, "operation_name": "operations/y"}}, "its record names another operation"),
    ],
    ids=["another operator", "no such task", "XCom", "spoiled", "no service", "argument"],
)
def test_other_forgeries(orphans: Orphans, sweep: Swept, more: dict[str, Any], said: str) -> None:
    """So is what isn't a task of ours, or has another operation."""
    orphans.add(**more)
    (result,) = sweep()
    assert (result.fate, said in result.said) == (Fate.SHOWN, True)
    assert orphans.emulator.journal() == orphans.emulator.journal("start")


@pytest.mark.parametrize(
    ("kept", "fate"),
    [("its own", "cancelled"), ("operations/another", "left alone"), (None, "left alone"), (5, "left alone")],
    ids=["its own", "another", "can't be read", "no name"],
)
def test_an_xcom_backend(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch, kept: Any, fate: str
) -> None:
    """Where a backend keeps XComs elsewhere, it is asked what the reference in the database stands for."""

    class Backend:
        @staticmethod
        def deserialize_value(result: Any) -> Any:
            assert result.value == "s3://bucket/x"
            if kept is None:
                raise PermissionError("s3cret")
            return name if kept == "its own" else kept

    monkeypatch.setattr("airflow.providers.common.compat.sdk.XCom", Backend, raising=False)
    name = orphans.add(name="s3://bucket/x")
    assert fates(sweep()) == [fate]


def test_names_that_are_none(orphans: Orphans, sweep: Swept) -> None:
    """A name leads to no other path of the service."""
    orphans.add(record={"name": "operations/../secrets/x"})
    (result,) = sweep()
    assert result.fate is Fate.NO_ANSWER
    assert orphans.emulator.journal() == orphans.emulator.journal("start")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_name_that_was_used_again(orphans: Orphans, sweep: Swept, dry_run: bool) -> None:
    """As where a connection leads to another host by now: what was created at another time is left alone."""
    name = orphans.add(script={"metadata": {"createTime": "2026-12-24T12:00:00Z"}})
    (result,) = sweep(dry_run=dry_run)
    assert (result.fate, "created at another time" in result.said) == (Fate.SHOWN, True)
    assert orphans.emulator.journal("cancel") == []
    assert not orphans.done(name)
    assert fates(sweep()) == ["left alone"]


# --- meanwhile ---------------------------------------------------------------------------------------------------


class Meanwhile(Services):
    """Services, and somebody who does something after the look."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self._act = act

    def look(self, *arguments: Any) -> Any:
        seen = super().look(*arguments)
        self._act()
        return seen


ACTS: dict[str, dict[str, Any]] = {
    "cleared": {"state": None, "max_tries": 7},
    "cleared, and running": {"state": "running", "max_tries": 7, "id": uuid.UUID(int=7)},
    "cleared, and failed again": {"max_tries": 7, "id": uuid.UUID(int=7)},
    "retried": {"state": "running", "try_number": 2},
    "retried, and failed again": {"try_number": 2},
    "marked successful": {"state": "success"},
    "back in its DAG": {"state": "deferred"},
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_somebody_acts_between_look_and_cancel(orphans: Orphans, sweep: Swept, act: dict[str, Any]) -> None:
    """Then nothing is cancelled, nor noted in the audit log; the claim is given back."""
    name = orphans.add()
    assert sweep(services=Meanwhile(lambda: orphans.set(**act))) == []
    assert orphans.emulator.journal("cancel") == []
    assert not orphans.done(name)
    assert orphans.audited() == []
    assert orphans.notes()[0]["due_epoch_s"] == 0


def another_task(orphans: Orphans, state: str | None, name: Any) -> None:
    """Add a task to the run whose XCom names an operation."""
    place = {"dag_id": "dag", "run_id": "run", "task_id": "sensor", "map_index": -1}
    orphans.rows.insert("task_instance", **place, state=state, pool="default_pool", try_number=1)
    orphans.rows.insert(
        "xcom", **place, dag_run_id=run_number("dag"), key="operation_name", value=name,
        timestamp=datetime.fromtimestamp(orphans.moved.now, timezone.utc),
    )  # fmt: skip


@pytest.mark.parametrize("state", ["deferred", "running", "up_for_retry", "up_for_reschedule", None])
@pytest.mark.parametrize("dry_run", [True, False])
def test_another_task_waits_for_it(orphans: Orphans, sweep: Swept, state: str | None, dry_run: bool) -> None:
    """A sensor beside a task whose worker was lost, for example: it goes on waiting."""
    name = orphans.add()
    another_task(orphans, state, name)
    assert sweep(dry_run=dry_run) == []
    assert orphans.emulator.journal("cancel") == []
    assert orphans.notes() == []
    orphans.rows.execute("UPDATE task_instance SET state = 'failed' WHERE task_id = 'sensor'")
    assert fates(sweep(dry_run=dry_run)) == ["orphan" if dry_run else "cancelled"]


def polling_sensor(orphans: Orphans, state: str | None, name: Any) -> None:
    """Add a sensor to the run that has no XCom, as Airflow has deleted those of its last stay, and no answer yet."""
    place = {"dag_id": "dag", "run_id": "run", "task_id": "sensor", "map_index": -1}
    orphans.rows.insert("task_instance", **place, state=state, pool="default_pool", try_number=1)
    orphans.rows.insert(
        "rendered_task_instance_fields", **place, rendered_fields={**SERVICE, "operation_name": name}
    )


@pytest.mark.parametrize("state", ["running", "up_for_retry", "up_for_reschedule", None])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_sensor_that_polls_waits_for_it(
    orphans: Orphans, sweep: Swept, state: str | None, dry_run: bool
) -> None:
    """One in reschedule mode begins each stay without XComs, and has none until its poll is answered."""
    name = orphans.add()
    polling_sensor(orphans, state, name)
    assert sweep(dry_run=dry_run) == []
    assert orphans.emulator.journal("cancel") == []
    orphans.rows.execute("UPDATE task_instance SET state = 'failed' WHERE task_id = 'sensor'")
    assert fates(sweep(dry_run=dry_run)) == ["orphan" if dry_run else "cancelled"]


def test_a_sensor_begins_to_poll_between_look_and_cancel(orphans: Orphans, sweep: Swept) -> None:
    """It counts as well; one that waits for another operation doesn't."""
    name = orphans.add()
    assert sweep(services=Meanwhile(lambda: polling_sensor(orphans, "running", name))) == []
    assert orphans.emulator.journal("cancel") == []
    orphans.rows.execute(
        'UPDATE rendered_task_instance_fields SET rendered_fields = \'{"operation_name": "another", "x": NaN}\''
        " WHERE task_id = 'sensor'"
    )
    assert fates(sweep()) == ["cancelled"]


@pytest.mark.parametrize("name", ["123", "true"])
def test_a_name_that_looks_like_other_json(orphans: Orphans, name: str) -> None:
    """Airflow stores an XCom's text as it is: who waits for the operation ``123`` isn't overlooked."""
    orphans.add()
    another_task(orphans, "running", name)
    (found,) = Database().found()
    assert Database().waited_for(found, name)
    claim = Note("of", "test", orphans.moved.now, "claimed")
    text = Database().write(found, None, claim)
    assert text is not None
    assert Database().confirm(found, name, text, claim) is None


def test_another_task_waits_for_another(orphans: Orphans, sweep: Swept) -> None:
    """Which has nothing to do with this one."""
    orphans.add()
    another_task(orphans, "running", "operations/another")
    assert fates(sweep()) == ["cancelled"]


def test_another_task_begins_to_wait_between_look_and_cancel(orphans: Orphans, sweep: Swept) -> None:
    """It counts as well."""
    name = orphans.add()
    assert sweep(services=Meanwhile(lambda: another_task(orphans, "running", name))) == []
    assert orphans.emulator.journal("cancel") == []
    assert orphans.notes()[0]["due_epoch_s"] == 0


def test_a_worker_writes_between_look_and_cancel(orphans: Orphans, sweep: Swept) -> None:
    """A new record may be about the same operation, which somebody has taken over."""
    orphans.add()

    def write() -> None:
        orphans.rows.execute(
            f"UPDATE task_state_store SET updated_at = '2027-01-15 08:00:01.000000' WHERE key = '{RECORD_KEY}'"
        )

    assert sweep(services=Meanwhile(write)) == []
    assert orphans.emulator.journal("cancel") == []


def test_the_run_is_deleted_between_look_and_cancel(orphans: Orphans, sweep: Swept) -> None:
    """Nobody can say any more that the task is over."""
    orphans.add()
    assert sweep(services=Meanwhile(lambda: orphans.rows.execute("DELETE FROM task_instance"))) == []
    assert orphans.emulator.journal("cancel") == []


def test_the_record_is_never_written(orphans: Orphans, sweep: Swept) -> None:
    """A worker's write isn't overwritten."""
    orphans.add()
    query = f"SELECT value, updated_at FROM task_state_store WHERE key = '{RECORD_KEY}'"
    before = orphans.rows.execute(query)
    sweep()
    assert orphans.rows.execute(query) == before


def test_no_transaction_is_open_while_a_service_is_asked(orphans: Orphans, sweep: Swept) -> None:
    """A worker may write its record at that moment."""
    orphans.add()
    wrote = []

    def write() -> None:
        orphans.rows.execute(f"UPDATE task_state_store SET value = value WHERE key = '{RECORD_KEY}'")
        orphans.rows.execute("UPDATE task_instance SET pid = 5")
        wrote.append(True)

    class Asked(Meanwhile):
        def cancel(self, *arguments: Any) -> Any:
            write()
            return super().cancel(*arguments)

    assert fates(sweep(services=Asked(write))) == ["cancelled"]
    assert len(wrote) > 2


# --- several sweeps, and dying ones ------------------------------------------------------------------------------


def test_two_sweeps_at_once(orphans: Orphans, emulator: Emulator) -> None:
    """Each operation is one sweep's to see to, whichever comes first."""
    names = [orphans.add(map_index=index) for index in range(6)]
    barrier = threading.Barrier(2)
    results: list[Any] = []

    class Slow(Services):
        def look(self, *arguments: Any) -> Any:
            with_other()
            return super().look(*arguments)

    def with_other() -> None:
        try:
            barrier.wait(2)
        except threading.BrokenBarrierError:
            barrier.reset()

    def run() -> None:
        results.extend(Sweep(Database(), Slow()).run())

    first = threading.Thread(target=run)
    first.start()
    run()
    first.join()
    assert len(emulator.journal("cancel")) == 6
    assert all(map(orphans.done, names))
    assert [result for result in results if result.fate is Fate.CANCELLED]
    assert len(orphans.audited()) == 6


class Died(BaseException):
    """The sweep's process was killed here."""


PHASES = [
    (Database, "write", 1, "before the claim"),
    (Services, "look", 1, "before the look"),
    (Database, "confirm", 1, "before it is read again"),
    (Services, "cancel", 1, "before the cancel"),
    (Services, "look", 2, "before its end is seen"),
    (Database, "write", 2, "before its end is noted"),
]


@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize(("kind", "method", "call", "what"), PHASES, ids=[phase[-1] for phase in PHASES])
def test_a_sweep_killed_in_each_phase(
    orphans: Orphans,
    sweep: Swept,
    moved: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    method: str,
    call: int,
    what: str,
    after: bool,
) -> None:
    """What it leaves undone, the next one does, at the latest when its claim is over."""
    name = orphans.add()
    real, calls = getattr(kind, method), 0

    def dying(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Died
        result = real(self, *arguments)
        if calls == call:
            raise Died
        return result

    with monkeypatch.context() as patch:
        patch.setattr(kind, method, dying)
        with pytest.raises(Died):
            sweep()
    sweep()
    moved.now += CLAIM_S
    sweep()
    moved.now += CLAIM_S
    assert sweep() == []
    assert orphans.done(name)
    assert orphans.notes()[0]["settled"] is True
    assert len(orphans.emulator.journal("cancel")) <= 2


def test_one_task_keeps_no_other_from_being_seen_to(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it; it counts as one that may run on, so that the exit code says so."""
    orphans.add()
    name = orphans.add("other", 1)
    arguments = Database.arguments

    def some(self: Database, found: Any) -> Any:
        if found.dag_id == "dag":
            raise KeyError("tasks")
        return arguments(self, found)

    monkeypatch.setattr(Database, "arguments", some)
    results = sweep()
    assert [(result.dag_id, result.fate.value) for result in results] == [
        ("dag", "no answer"),
        ("other", "cancelled"),
    ]
    assert results[0].said == "KeyError, see the log"
    assert results[0].fate in LEFT
    assert orphans.done(name)


@pytest.mark.parametrize(
    ("kind", "goes_on"), [(DataError, True), (IntegrityError, True), (OperationalError, False)]
)
def test_what_the_database_doesnt_take(
    orphans: Orphans, sweep: Swept, monkeypatch: pytest.MonkeyPatch, kind: Any, goes_on: bool
) -> None:
    """One task's values keep no other from being seen to; a database that is away ends the sweep."""
    orphans.add()
    name = orphans.add("other", 1)
    confirm = Database.confirm

    def some(self: Database, found: Any, *arguments: Any) -> Any:
        if found.dag_id == "dag":
            raise kind("INSERT", {}, Exception("incorrect string value"))
        return confirm(self, found, *arguments)

    monkeypatch.setattr(Database, "confirm", some)
    if goes_on:
        assert fates(sweep()) == ["cancelled", "no answer"]
        assert orphans.done(name)
    else:
        with pytest.raises(OperationalError):
            sweep()


def test_a_dry_run_changes_nothing(orphans: Orphans, sweep: Swept) -> None:
    """It looks, and says what a sweep would do."""
    name = orphans.add()
    orphans.add(map_index=1, script={"duration": 0})
    orphans.add(map_index=2, record={"state": "starting", "name": ""})
    assert fates(sweep(dry_run=True)) == ["left alone", "orphan"]
    assert (orphans.notes(), orphans.audited()) == ([], [])
    assert not orphans.done(name)
    assert orphans.emulator.journal("cancel") == []
