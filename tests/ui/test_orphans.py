"""Orphans in the list, what a sweep saw of them, and whether sweeps run."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from airflow.utils.session import create_session
from sqlalchemy.exc import OperationalError

from airflow_provider_operations._sweep.database import Database
from airflow_provider_operations._sweep.latest import Latest, store
from airflow_provider_operations._sweep.service import Services
from airflow_provider_operations._sweep.sweep import Sweep
from airflow_provider_operations.ui import app, orphans
from tests.sweep.conftest import SERVICE, Orphans
from tests.sweep.test_sweep import another_task, polling_sensor

from .test_app import OURS, cancel_url, tab, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock

    from .conftest import Database as Rows
    from .conftest import People


@pytest.fixture
def left(database: Rows, emulator: Emulator, moved: MovedClock) -> Orphans:
    """Tasks that are over, whose operations run; the service has no clock but the real one."""
    moved.now = time.time()
    return Orphans(database, emulator, moved)


@pytest.fixture
def sweep(database: Rows) -> Callable[[], Any]:
    """Sweep once."""

    def sweep() -> Any:
        services = Services()
        try:
            return Sweep(Database(), services).run()
        finally:
            services.close()

    return sweep


def moment(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).isoformat()


async def listed(client: httpx.AsyncClient, **filters: str) -> dict[str, Any]:
    answer = await client.get("api/operations", params={"show": "orphans", **filters})
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def names(client: httpx.AsyncClient, **filters: str) -> list[str]:
    return [row["name"] for row in (await listed(client, **filters))["operations"]]


def said(view: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    return [(row["orphan"]["said"], row["orphan"]["at"]) for row in view["operations"]]


# --- which are listed ------------------------------------------------------------------------------------------


async def test_an_orphan_that_no_sweep_has_seen(people: People, left: Orphans) -> None:
    """With its task, its connection, since when it runs and when its task ended."""
    name = left.add(age_s=300)
    view = await listed(people("viewer"))
    (row,) = view["operations"]
    assert row == {
        "dag_id": "dag",
        "run_id": "run",
        "task_id": "task",
        "map_index": -1,
        "state": "failed",
        "name": name,
        "conn_id": "operations_default",
        "since": moment(left.moved.now - 900),
        "ended": moment(left.moved.now - 300),
        "result": None,
        "message": None,
        "console_url": None,
        "orphan": {"said": None, "at": None},
    }
    assert (view["counts"]["orphans"], view["more_orphans"]) == (1, False)
    assert left.emulator.journal("get") == []


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"state": "running"}, id="it runs"),
        pytest.param({"state": "up_for_retry"}, id="it waits for its retry"),
        pytest.param({"age_s": 30}, id="it has only just ended"),
        pytest.param({"record": {"state": "delivered"}}, id="delivered"),
        pytest.param({"record": {"state": "rejected"}}, id="rejected"),
        pytest.param({"record": {"handed_on": True}, "state": "success"}, id="handed on"),
        pytest.param({"record": {"foreign": True}}, id="somebody else's"),
    ],
)
async def test_what_is_no_orphan(people: People, left: Orphans, more: dict[str, Any]) -> None:
    """Its task may still see to it, has seen its end, or had nothing to do with it any more."""
    left.add(**more)
    view = await listed(people("viewer"))
    assert (view["operations"], view["counts"]["orphans"]) == ([], 0)


@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("encoded", [False, True])
async def test_an_operation_that_was_seen_to_end(
    people: People, left: Orphans, state: str, encoded: bool
) -> None:
    """It is no orphan, however its XCom is stored; that of another operation says nothing."""
    others = ("operations/c", "operations/a%", "operations/_-b", "operations/A-B")
    for index, name in enumerate(("operations/a-b", *others)):
        left.add(map_index=index, state=state, record={"name": "operations/a-b"})
        ended = {"name": name, "done": True}
        left.rows.insert(
            "xcom", dag_id="dag", run_id="run", task_id="task", map_index=index, dag_run_id=1, key="operation",
            value=json.dumps(ended) if encoded else ended, timestamp=datetime.now(timezone.utc),
        )  # fmt: skip
    rows = (await listed(people("viewer")))["operations"]
    assert sorted(row["map_index"] for row in rows) == [1, 2, 3, 4]


async def test_tasks_that_ended_nobody_knows_when(
    people: People, left: Orphans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take the place of those that have ended last only if they were changed later."""
    monkeypatch.setattr(orphans, "MAX_ORPHANS", 2)
    for index in range(3):
        left.add(map_index=index, state="removed", age_s=9000 - index)
    left.add(map_index=3, state="removed", age_s=300)
    left.rows.execute("UPDATE task_instance SET end_date = NULL")
    left.add(map_index=4, age_s=400)
    left.add(map_index=5, age_s=500)
    rows = (await listed(people("viewer")))["operations"]
    assert sorted(row["map_index"] for row in rows) == [3, 4]


@pytest.mark.parametrize("state", ["deferred", "running", None, "failed"])
@pytest.mark.parametrize("known_by", [another_task, polling_sensor], ids=["XCom", "argument"])
async def test_another_task_waits_for_it(
    people: People, left: Orphans, state: str | None, known_by: Callable[..., None]
) -> None:
    """A sensor beside a task whose worker was lost: as long as it isn't over, there is no orphan."""
    name = left.add()
    known_by(left, state, name)
    assert await names(people("viewer")) == ([name] if state == "failed" else [])


async def test_a_task_that_keeps_its_operation(people: People, left: Orphans) -> None:
    """No sweep cancels it, and a person may want to: it is listed, and says why it goes on."""
    name = left.add(record={"cancel_if_orphaned": False})
    view = await listed(people("viewer"))
    assert [row["name"] for row in view["operations"]] == [name]
    ((text, at),) = said(view)
    assert at is None
    assert text is not None
    assert text.startswith("no sweep cancels it")


async def test_a_lost_start(people: People, left: Orphans) -> None:
    """Nobody knows the name, so there is nothing to cancel."""
    left.add(record={"state": "starting", "name": ""})
    view = await listed(people("user"))
    (row,) = view["operations"]
    assert row["name"] == ""
    assert row["orphan"]["said"].startswith("the answer to its start is lost")


async def test_a_record_that_cant_be_read(people: People, left: Orphans) -> None:
    """It may be anything, and is shown."""
    left.add(record={"name": 5})
    view = await listed(people("viewer"))
    assert said(view) == [("its record can't be read", None)]
    assert view["operations"][0]["conn_id"] is None


async def test_filters_sorting_and_pages(people: People, left: Orphans) -> None:
    """As of the other lists."""
    client = people("viewer")
    second = {**SERVICE, "operations_conn_id": "Second"}
    a = left.add(age_s=300)
    b = left.add("other", 0, state="success", age_s=200, fields=second, record={"service": second})
    assert await names(client) == [b, a]
    assert await names(client, sort="ended") == [a, b]
    assert await names(client, sort="-task") == [b, a]
    assert await names(client, sort="conn_id") == [b, a]
    assert await names(client, dag_id="OTH") == [b]
    assert await names(client, dag_id="%") == []
    assert await names(client, conn_id="second") == [b]
    assert await names(client, state="failed") == [a]
    assert await names(client, offset="1") == [a]
    counted = await listed(client, show="running", state="deferred", dag_id="other")
    assert counted["counts"]["orphans"] == 1


async def test_pages(people: People, left: Orphans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row once; where there are more than are read at once, it says so."""
    monkeypatch.setattr(app, "PAGE_ROWS", 2)
    made = {left.add(map_index=index) for index in range(5)}
    client = people("viewer")
    pages = [await names(client, offset=str(offset)) for offset in (0, 2, 4)]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {name for page in pages for name in page} == made
    monkeypatch.setattr(orphans, "MAX_ORPHANS", 3)
    view = await listed(client)
    assert (view["counts"]["orphans"], view["more_orphans"]) == (3, True)


async def test_other_lists_say_which_are_orphans(people: People, left: Orphans) -> None:
    """A task that failed lately; one that has left no record isn't known to be one."""
    now = datetime.now(timezone.utc)
    name = left.add(name="operations/of_xcom", end_date=now)
    left.rows.add_task("other", name="operations/x", state="failed", end_date=now)
    left.moved.now += 120
    client = people("viewer")
    rows = (await listed(client, show="ended"))["operations"]
    assert {row["dag_id"]: row["orphan"] for row in rows} == {
        "dag": {"said": None, "at": None},
        "other": None,
    }
    assert await names(client) == [name]


async def test_other_lists_read_orphans_now_and_then(
    people: People, left: Orphans, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are renewed every few seconds, and say what was so a minute ago; the list of orphans is read anew."""
    counted: list[str] = []
    sa.event.listen(tables, "before_cursor_execute", lambda *given: counted.append(given[2]))

    async def count(show: str) -> tuple[int, int]:
        counted.clear()
        view = await listed(client, show=show)
        return view["counts"]["orphans"], sum("task_state_store" in statement for statement in counted)

    client = people("viewer")
    left.add()
    assert await count("running") == (1, 1)
    left.add(map_index=1)
    assert [await count(show) for show in ("running", "failed")] == [(1, 0), (1, 0)]
    assert await count("orphans") == (2, 1)
    assert await count("ended") == (2, 0)
    left.add(map_index=2)
    monkeypatch.setattr(orphans, "KEPT_S", 0.0)
    assert await count("running") == (3, 1)


# --- who may ---------------------------------------------------------------------------------------------------


async def test_who_sees_and_cancels(people: People, left: Orphans, sweep: Callable[[], Any]) -> None:
    """As with the operation of any task: read access to see it, edit access to cancel it; the audit log has who did."""
    name = left.add()
    assert (await people(session=False).get("api/operations?show=orphans")).status_code == 401
    nobody = await listed(people(None))
    assert (nobody["operations"], nobody["counts"]["orphans"]) == ([], 0)
    assert await names(people("viewer")) == [name]
    assert (await tab(people("viewer")))["may_cancel"] is False
    assert (await people("viewer").post(cancel_url(name), headers=OURS)).status_code == 403
    assert left.emulator.journal("cancel") == []
    user = people("user")
    assert (await tab(user))["may_cancel"] is True
    assert (await user.post(cancel_url(name), headers=OURS)).status_code == 200
    assert left.audited() == [("cancel_operation", "somebody", name, "task", 1)]
    await until(lambda: left.done(name))
    assert sweep() == []
    assert await names(user) == []


async def test_dags_that_somebody_may_not_see(
    people: People, left: Orphans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their orphans are neither listed nor counted."""
    from airflow.api_fastapi.app import get_auth_manager

    mine, _ = left.add(), left.add("other", 0)
    client = people("viewer")

    def may(*, access_entity: Any = None, details: Any = None, **_: Any) -> bool:
        return details.id == "dag" or access_entity is None

    assert (await listed(client, show="running"))["counts"]["orphans"] == 2
    monkeypatch.setattr(get_auth_manager(), "is_authorized_dag", may)
    assert (await listed(client, show="running"))["counts"]["orphans"] == 1
    view = await listed(client)
    assert [row["name"] for row in view["operations"]] == [mine]
    assert view["counts"]["orphans"] == 1


# --- what a sweep saw ------------------------------------------------------------------------------------------


async def test_what_a_sweep_saw(
    people: People, left: Orphans, sweep: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each what is noted, and when; of a service that is away it is said for those that weren't asked for, too."""
    away = left.add_away(monkeypatch)
    left.add(script={"onCancel": "unimplemented"})
    left.add(map_index=2, record={"service": away})
    ended = left.add(map_index=3, script={"cancelDelay": 0})
    began = left.moved.now
    sweep()
    left.moved.now += 100
    view = await listed(people("viewer"), sort="task")
    assert ended not in [row["name"] for row in view["operations"]]
    texts = [(text or "").partition(":")[0] for text, _ in said(view)]
    assert texts == ["not cancelled", "left alone", "no answer", "its service gave no answer"]
    assert [at for _, at in said(view)][:3] == [moment(began)] * 3
    assert view["sweep"] == {
        "status": "healthy", "last_sweep": view["sweep"]["last_sweep"], "looked": 3, "cancelled": 1, "left": 3,
    }  # fmt: skip


async def test_a_service_that_was_away_before(
    people: People, left: Orphans, sweep: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an operation whose task has ended after the last sweep nothing is said: that hasn't asked for it."""
    away = left.add_away(monkeypatch)
    sweep()
    left.moved.now += 300
    left.add("other", 2, age_s=200, record={"service": away})
    texts = [text for text, _ in said(await listed(people("viewer"), sort="task"))]
    assert texts[1:] == ["its service gave no answer", None]


async def test_a_sweep_that_was_killed(people: People, left: Orphans, sweep: Callable[[], Any]) -> None:
    """What it has noted is newer than the sweep that has ended last, and is shown."""
    name = left.add(script={"onCancel": "unimplemented"})
    with create_session() as session:
        store(Latest(left.moved.now - 600, 1.0, 0), session)
    left.forge(name, said="not cancelled: HTTP 501")
    assert said(await listed(people("viewer"))) == [("not cancelled: HTTP 501", moment(left.moved.now))]


@pytest.mark.parametrize("more", [{}, {"settled": True}, {"due_epoch_s": 1e13}, {"of": "another"}])
async def test_a_forged_note_says_and_hides_nothing(
    people: People, left: Orphans, more: dict[str, Any]
) -> None:
    """Where no sweep runs, no row looks as if one had; and none is out of the list."""
    name = left.add()
    left.forge(name, **more)
    client = people("viewer")
    view = await listed(client)
    assert ([row["name"] for row in view["operations"]], said(view)) == ([name], [(None, None)])
    with create_session() as session:
        store(Latest(left.moved.now - 3700, 1.0, 0), session)
    assert said(await listed(client)) == [(None, None)]


async def test_what_is_noted_is_text(people: People, left: Orphans) -> None:
    """Of a service or of anybody: without control characters, and not too long."""
    name = left.add()
    left.forge(name, said="<b>\x1b[31m\u202e " + "x" * 5000)
    with create_session() as session:
        store(Latest(left.moved.now + 1, 1.0, 0), session)
    ((text, _),) = said(await listed(people("viewer")))
    assert text is not None
    assert text.startswith("<b>\\x1b[31m\\x202e xxx")
    assert len(text) < 600


async def test_moments_that_are_none(people: People, left: Orphans) -> None:
    """A record may say any: the list is shown."""
    left.add(record={"started_epoch_s": 1e13, "answered_epoch_s": 1e13, "deadline_epoch_s": 1e13})
    (row,) = (await listed(people("viewer")))["operations"]
    assert row["since"] is None


async def test_where_records_are_elsewhere(
    people: People, left: Orphans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of sweeps, as there are none."""
    left.add()
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", "mine.Backend")
    view = await listed(people("viewer"))
    assert (view["operations"], view["sweep"], view["counts"]["orphans"]) == ([], None, 0)


async def test_one_query_reads_all_orphans(people: People, left: Orphans, tables: sa.Engine) -> None:
    """However many there are."""
    counted: list[str] = []
    sa.event.listen(tables, "before_cursor_execute", lambda *given: counted.append(given[2]))
    client = people("viewer")
    await listed(client)
    sizes: list[int] = []
    for _ in range(2):
        for index in range(3):
            left.add(map_index=len(sizes) * 3 + index)
        counted.clear()
        await listed(client)
        sizes.append(len(counted))
    assert sizes[0] == sizes[1]
    assert sum("task_state_store" in statement for statement in counted) == 1


# --- whether sweeps run ----------------------------------------------------------------------------------------


async def test_health(people: People, left: Orphans, sweep: Callable[[], Any]) -> None:
    """Anybody may ask, as for Airflow's own; it says when a sweep has ended, and whether that is too long ago."""
    client = people(session=False)

    async def health(query: str = "") -> Any:
        answer = await client.get(f"health{query}")
        assert answer.status_code == 200
        return answer.json()

    assert await health() == {"status": "never", "last_sweep": None}
    left.add(record={"service": {}})
    sweep()
    ended = moment(left.moved.now)
    assert await health() == {"status": "healthy", "last_sweep": ended}
    left.moved.now += 3500
    assert await health() == {"status": "healthy", "last_sweep": ended}
    assert await health("?max_age_s=900") == {"status": "unhealthy", "last_sweep": ended}
    left.moved.now += 200
    assert await health() == {"status": "unhealthy", "last_sweep": ended}
    assert await health("?max_age_s=7200") == {"status": "healthy", "last_sweep": ended}


@pytest.mark.parametrize("query", ["max_age_s=0", "max_age_s=x", "max_age_s=1e3", "max_age_s=99999999999"])
async def test_ages_that_are_none(people: People, query: str) -> None:
    """They are refused."""
    assert (await people(session=False).get(f"health?{query}")).status_code == 422


async def test_health_without_a_database(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known, which is not well; and nothing of the database is told."""

    def away(_: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("secret"))

    monkeypatch.setattr(app, "latest", away)
    answer = await people(session=False).get("health")
    assert answer.json() == {"status": "unhealthy", "last_sweep": None}
    assert answer.headers["cache-control"] == "no-store"


async def test_the_list_says_whether_sweeps_run(people: People, database: Rows) -> None:
    """In every list."""
    view = (await people("viewer").get("api/operations")).json()
    assert view["sweep"] == {
        "status": "never", "last_sweep": None, "looked": 0, "cancelled": 0, "left": 0,
    }  # fmt: skip
