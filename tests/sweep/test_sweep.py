"""A sweep cancels what no task waits for, whatever happens meanwhile; and nothing else."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.utils.session import create_session
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from airflow_provider_operations._lifecycle.cancelled_by import AUDIT_EVENT
from airflow_provider_operations._lifecycle.record import RECORD_KEY, SENSOR_RECORD_KEY
from airflow_provider_operations._sweep.database import NOTE_SUFFIX, OWNER, PAGE_ROWS, Database
from airflow_provider_operations._sweep.service import Services
from airflow_provider_operations._sweep.sweep import AGAIN_S, CLAIM_S, SETTLE_LIMIT_S, Fate, Sweep
from airflow_provider_operations.ui.audit import noted
from airflow_provider_operations.ui.tasks import TaskKey
from tests.support.connections import set_connection
from tests.ui.conftest import run_number

from .conftest import SERVICE, TASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
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


def test_what_is_over_is_asked_for_once(orphans: Orphans, sweep: Swept) -> None:
    """An operation that has ended by itself is no orphan, and nothing to talk about."""
    orphans.add(script={"duration": 0})
    assert sweep() == []
    assert sweep() == []
    assert len(orphans.emulator.journal("get")) == 1
    assert orphans.emulator.journal("cancel") == []
    assert list(Database().found()) == []


def test_an_operation_that_the_service_has_forgotten(
    orphans: Orphans, sweep: Swept, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing to cancel; the log says so, in case the connection leads elsewhere by mistake."""
    caplog.set_level(logging.INFO)
    orphans.add(record={"name": "operations/gone"})
    assert sweep() == []
    assert sweep() == []
    assert len(orphans.emulator.journal("get")) == 1
    assert caplog.messages.count("operations/gone: no orphan: the service doesn't know it") == 1


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


def test_a_record_that_was_written_again_is_swept_again(orphans: Orphans, sweep: Swept) -> None:
    """What a service once didn't know, as its connection led elsewhere, a later try of the task may wait for again."""
    name = orphans.add()
    orphans.emulator.script_fault(
        kind="get",
        times=1,
        status=404,
        body={"error": {"code": 404, "message": "unknown", "status": "NOT_FOUND"}},
    )
    assert sweep() == []
    assert sweep() == []
    orphans.rows.execute(
        f"UPDATE task_state_store SET updated_at = '2027-01-15 07:56:00.000000' WHERE key = '{RECORD_KEY}'"
    )
    assert fates(sweep()) == ["cancelled"]
    assert orphans.done(name)


@pytest.mark.parametrize(
    "forged",
    [{"settled": True}, {"due_epoch_s": 1e13}, {"due_epoch_s": 1e13, "cancels": 1000}],
    ids=["settled", "claimed for ever", "asked for ever"],
)
def test_a_forged_note_hides_no_orphan(
    orphans: Orphans, sweep: Swept, moved: MovedClock, forged: dict[str, Any]
) -> None:
    """Nor does one of a sweep whose clock was wrong."""
    name = orphans.add()
    note = {
        "version": 1, "of": f"id-{name} {name}", "by": "x", "at_epoch_s": moved.now, "said": "", "settled": False,
        "due_epoch_s": 0, "cancels": 0, **forged,
    }  # fmt: skip
    orphans.rows.insert(
        "task_state_store", dag_id="dag", run_id="run", task_id="task", map_index=-1, dag_run_id=1,
        key=RECORD_KEY + NOTE_SUFFIX, value=json.dumps(note),
        updated_at=datetime.fromtimestamp(moved.now, timezone.utc),
    )  # fmt: skip
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
    assert fates(sweep()) == ["asked to cancel"]


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
    """Who got no answer comes last in the next sweep, as its service isn't asked any more in this one."""
    odd = orphans.add()
    name = orphans.add(map_index=1)
    orphans.emulator.script_fault(kind="get", operation=odd, status=500)
    assert fates(sweep()) == ["no answer", "no answer"]
    assert fates(sweep()) == ["asked to cancel", "no answer"]
    assert [entry["operation"] for entry in orphans.emulator.journal("cancel")] == [name]


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
    assert (orphans.notes(), orphans.audited()) == ([], [])


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
    """Whatever is wrong with it."""
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
        ("dag", "left alone"),
        ("other", "cancelled"),
    ]
    assert results[0].said == "KeyError, see the log"
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
        assert fates(sweep()) == ["cancelled", "left alone"]
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
