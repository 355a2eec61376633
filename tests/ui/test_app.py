"""The app behind the tab and the list: who may see and do what, and what the browser is told."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._connection.options import ServiceOptions
from airflow_provider_operations._lifecycle.cancelled_by import by_whom
from airflow_provider_operations.ui.live import Asking, Target
from tests.support.connections import set_connection
from tests.support.endless import dripping
from tests.support.raw_server import RawServer
from tests.versions import AIRFLOW

from .conftest import BEGAN, OPERATOR, run_number, start

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from airflow_provider_operations.emulator import Emulator

    from .conftest import Database, People

TAB = "api/dags/dag/operation?run_id=run&task_id=task&map_index=-1"
OURS = {"X-Airflow-Operations": "cancel", "Sec-Fetch-Site": "same-origin", "Origin": "http://airflow.test"}


def cancel_url(name: str) -> str:
    return f"api/dags/dag/operation/cancel?run_id=run&task_id=task&map_index=-1&name={name}"


async def tab(client: httpx.AsyncClient, url: str = TAB) -> dict[str, Any]:
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


# --- who may -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "page", "read", "cancel"),
    [
        pytest.param({"session": False}, 401, 401, 401, id="nobody"),
        pytest.param({"role": None}, 200, 403, 403, id="no access"),
        pytest.param({"role": "viewer"}, 200, 200, 403, id="may read"),
        pytest.param({"role": "user"}, 200, 200, 200, id="may edit"),
        pytest.param({"role": "admin"}, 200, 200, 200, id="admin"),
    ],
)
async def test_reading_needs_read_access_and_cancelling_edit_access(
    people: People,
    database: Database,
    emulator: Emulator,
    who: dict[str, Any],
    page: int,
    read: int,
    cancel: int,
) -> None:
    """Without a session 401; without access 403; a viewer reads; a user cancels, and nobody else reaches the service."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    client = people(**who)
    assert (await client.get("task")).status_code == page
    assert (await client.get("list")).status_code == page
    assert (await client.get(TAB)).status_code == read
    assert (await client.post(cancel_url(name), headers=OURS)).status_code == cancel
    assert len(emulator.journal("cancel")) == (cancel == 200)
    assert len(emulator.journal("get")) == (read == 200)


async def test_the_button_is_offered_to_who_may_edit(
    people: People, database: Database, emulator: Emulator
) -> None:
    """A viewer is told that he may not cancel, a user that he may."""
    database.add_task(name=start(emulator, duration=60))
    assert (await tab(people("viewer")))["may_cancel"] is False
    assert (await tab(people("user")))["may_cancel"] is True


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="a form"),
        pytest.param({**OURS, "X-Airflow-Operations": "x"}, id="another value"),
        pytest.param({**OURS, "Sec-Fetch-Site": "cross-site"}, id="another site"),
        pytest.param({**OURS, "Sec-Fetch-Site": "same-site"}, id="another host of the site"),
        pytest.param({"X-Airflow-Operations": "cancel", "Origin": "http://evil.test"}, id="another origin"),
        pytest.param({"X-Airflow-Operations": "cancel", "Origin": "null"}, id="a sandboxed page"),
    ],
)
async def test_other_sites_cant_make_a_browser_cancel(
    people: People, database: Database, emulator: Emulator, headers: dict[str, str]
) -> None:
    """A valid session alone cancels nothing: the header of our page and its origin have to be there."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    assert (await people("admin").post(cancel_url(name), headers=headers)).status_code == 403
    assert emulator.journal("cancel") == []


@pytest.mark.parametrize("base_url", [None, "", "/"])
@pytest.mark.parametrize("sent_from", ["null", "", "http://evil.test"])
async def test_no_origin_is_ours_where_airflow_has_no_address(
    people: People,
    database: Database,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    base_url: str | None,
    sent_from: str,
) -> None:
    """``Origin: null`` of a sandboxed page doesn't pass for the ``[api] base_url`` that isn't set."""
    monkeypatch.delenv("AIRFLOW__API__BASE_URL")
    if base_url is not None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    name = start(emulator, duration=60)
    database.add_task(name=name)
    client = people("admin")
    headers = {"X-Airflow-Operations": "cancel", "Origin": sent_from}
    assert (await client.post(cancel_url(name), headers=headers)).status_code == 403
    assert emulator.journal("cancel") == []
    headers["Origin"] = "http://airflow.test"
    assert (await client.post(cancel_url(name), headers=headers)).status_code == 200


@pytest.mark.parametrize("url", [TAB, cancel_url("operations/x")], ids=["tab", "cancel"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("map_index=-1", "map_index=99999999999999999999"),
        ("map_index=-1", "map_index=2147483648"),
        ("map_index=-1", "map_index=-2"),
        ("map_index=-1", "map_index=1e3"),
        ("run_id=run", "run_id=run%00"),
        ("run_id=run", "run_id=" + "r" * 251),
        ("task_id=task", "task_id=%00"),
        ("dags/dag/", "dags/dag%00/"),
        ("dags/dag/", "dags/%00/"),
    ],
)
async def test_ids_that_no_database_takes(
    people: People, database: Database, emulator: Emulator, url: str, old: str, new: str
) -> None:
    """They are refused, and make no error of the server's own."""
    database.add_task(name="operations/x")
    client = people("admin")
    url = url.replace(old, new)
    answer = await (client.post(url, headers=OURS) if "cancel" in url else client.get(url))
    assert answer.status_code in {400, 422}
    assert emulator.journal() == []


@pytest.mark.parametrize("query", ["dag_id=%00", "conn_id=a%00", "state=%00"])
async def test_nor_in_the_list(people: People, database: Database, query: str) -> None:
    """The list's filters neither."""
    assert (await people("admin").get(f"api/operations?{query}")).status_code == 400


async def test_a_get_cancels_nothing(people: People, database: Database, emulator: Emulator) -> None:
    """Cancelling is a POST alone."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    assert (await people("admin").get(cancel_url(name), headers=OURS)).status_code == 405


async def test_cancelling_is_in_the_audit_log(people: People, database: Database, emulator: Emulator) -> None:
    """Who asked to cancel which operation of which task stands in Airflow's own log."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    client = people("user")
    assert (await tab(client))["cancel_asked"] is None
    await client.post(cancel_url(name), headers=OURS)
    rows = database.execute("SELECT event, owner, dag_id, task_id, run_id, map_index, extra FROM log")
    assert rows == [("cancel_operation", "somebody", "dag", "task", "run", -1, name)]
    asked = (await tab(client))["cancel_asked"]
    assert asked["by"] == "somebody"
    assert datetime.fromisoformat(asked["at"]).tzinfo is not None


async def words_for_the_task(database: Database) -> list[Any]:
    rows = database.execute("SELECT value FROM xcom WHERE key = 'operation_cancelled_by'")
    return [json.loads(value) for (value,) in rows]


async def test_the_task_is_told_who_has_cancelled(
    people: People, database: Database, emulator: Emulator
) -> None:
    """No worker reads the audit log: an XCom says it, and the first to ask counts, even if a second one fails."""
    name = start(emulator, duration=60, cancelDelay=60)
    database.add_task(name=name)
    assert (await people("user").post(cancel_url(name), headers=OURS)).status_code == 200
    (word,) = words = await words_for_the_task(database)
    emulator.script_fault(kind="cancel", status=400)
    assert (await people("user").post(cancel_url(name), headers=OURS)).status_code == 502
    assert await words_for_the_task(database) == words
    assert (word["name"], word["by"]) == (name, "somebody")
    assert by_whom(name, word) == (
        f"cancelled through the tab by somebody at {word['at']}; Airflow's audit log has it "
        "(event cancel_operation)"
    )


async def test_a_cancel_that_failed_was_nobodys(
    people: People, database: Database, emulator: Emulator
) -> None:
    """Where the service refuses, a later end of the operation isn't put down to whoever asked."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    emulator.script_fault(kind="cancel", status=501)
    assert (await people("user").post(cancel_url(name), headers=OURS)).status_code == 502
    assert await words_for_the_task(database) == []
    assert len(database.execute("SELECT * FROM log")) == 1


async def test_a_cancel_goes_on_without_the_word(
    people: People, database: Database, emulator: Emulator
) -> None:
    """A run that is about to be deleted takes no XCom: the operation is cancelled all the same."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    database.execute("DELETE FROM dag_run")
    assert (await people("user").post(cancel_url(name), headers=OURS)).status_code == 200
    assert len(emulator.journal("cancel")) == 1


async def test_what_is_cancelled_is_what_was_seen(
    people: People, database: Database, emulator: Emulator
) -> None:
    """A task that has started another operation meanwhile isn't cancelled by a page that shows the old one."""
    database.add_task(name=start(emulator, duration=60))
    answer = await people("user").post(cancel_url("operations/old"), headers=OURS)
    assert (answer.status_code, emulator.journal("cancel")) == (409, [])


async def test_numbers_that_json_has_not(people: People, database: Database, emulator: Emulator) -> None:
    """NaN and infinities in metadata and error, which a browser's JSON doesn't have, are text there."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    body = f'''{{"name": "{name}", "done": true, "metadata": {{"loss": NaN, "percentComplete": NaN}},
        "error": {{"code": 3, "more": Infinity, "details": [{{"a": [-Infinity]}}]}}}}'''
    emulator.script_fault(kind="get", status=200, body=body)
    operation = (await tab(people("viewer")))["operation"]
    assert operation["metadata"] == {"loss": "NaN", "percentComplete": "NaN"}
    assert operation["percent"] is None
    shown = {section["title"]: section["json"] for section in operation["error"]["sections"]}
    assert shown == {"Detail": {"a": ["-Infinity"]}, "Also sent": {"more": "Infinity"}}


# --- where it is asked ---------------------------------------------------------------------------------------------


async def test_the_xcom_gives_the_name_and_nothing_else(
    people: People, database: Database, emulator: Emulator
) -> None:
    """Whoever may edit XComs can't send the connection's credentials to another host or path."""
    database.add_task(name="https://evil.test/v1/operations/x")
    view = await tab(people("viewer"))
    assert "URL or an absolute path" in view["problem"]
    assert emulator.journal() == []


@pytest.mark.parametrize("name", ["../secret", "operations/x?y=z", "/v1/x", "operations/../../x", "a\nb"])
async def test_a_name_from_an_xcom_is_checked(
    people: People, database: Database, emulator: Emulator, name: str
) -> None:
    """A name that leaves the prefix is shown as a problem, and nothing is sent."""
    database.add_task(name=name)
    assert (await tab(people("viewer")))["problem"]
    assert emulator.journal() == []


async def test_without_rendered_fields_nothing_is_asked(
    people: People, database: Database, emulator: Emulator
) -> None:
    """A task of another kind that pushes ``operation_name`` gets no request made."""
    database.add_task(name="operations/x", fields={"bash_command": "echo"})
    view = await tab(people("viewer"))
    assert (view["name"], view["operation"], view["conn_id"]) == ("operations/x", None, None)
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("conn_id", "asked"),
    [
        pytest.param("operations_default", 1, id="literal"),
        pytest.param("{{ params.conn }}", 0, id="a template"),
    ],
)
async def test_where_rendered_fields_are_gone_the_dag_tells(
    people: People, database: Database, emulator: Emulator, conn_id: str, asked: int
) -> None:
    """Airflow keeps rendered fields of the latest runs only; the serialized task has what isn't a template."""
    version = database.add_dag_version("dag", {"operations_conn_id": conn_id, "json": "{{ ds }}"})
    name = start(emulator, duration=60)
    database.add_task(name=name, fields={}, dag_version_id=version)
    view = await tab(people("viewer"))
    assert (view["name"], view["operation"] is not None) == (name, bool(asked))
    assert len(emulator.journal("get")) == asked


async def test_a_deferred_task_is_asked_for_as_its_trigger_does(
    people: People, database: Database, emulator: Emulator
) -> None:
    """The trigger's arguments win over the XCom, and hold what isn't rendered: how to cancel."""
    name = start(emulator, duration=60)
    database.add_task(
        name="operations/edited",
        state="deferred",
        fields={},
        trigger={"operation_name": name, "cancel_suffix": "/cancel", "path_prefix": "v1"},
    )
    client = people("user")
    assert (await tab(client))["operation"]["name"] == name
    await client.post(cancel_url(name), headers=OURS)
    assert [entry["path"] for entry in emulator.journal() if entry["method"] == "POST"][
        -1
    ] == f"/v1/{name}/cancel"


RECORD = {
    "version": 1,
    "state": "started",
    "max_tries": 0,
    "try_number": 1,
    "request_id": "r",
    "digest": "d",
    "started_epoch_s": 1.0,
    "deadline_epoch_s": 2.0,
}
"""What a worker has noted, but for the name."""


@pytest.mark.parametrize(
    "record",
    [None, {}, 5, {**RECORD, "name": 5}, {**RECORD, "name": ""}],
    ids=["none", "empty", "5", "named 5", "nameless"],
)
async def test_what_only_an_xcom_names_is_not_cancelled(
    people: People, database: Database, emulator: Emulator, record: Any
) -> None:
    """Whoever may edit XComs, or spoil a record, gets nothing cancelled by it: no button, and the server refuses."""
    name = start(emulator, duration=60)
    database.add_task(name=name, fields=OPERATOR, record=record if AIRFLOW >= (3, 3) else None)
    client = people("admin")
    view = await tab(client)
    assert (view["name"], view["operation"]["state"], view["may_cancel"]) == (name, "running", False)
    answer = await client.post(cancel_url(name), headers=OURS)
    assert (answer.status_code, emulator.journal("cancel")) == (409, [])
    assert "only an XCom says" in answer.json()["detail"]


@pytest.mark.parametrize("by", ["trigger", "record", "argument"])
@pytest.mark.parametrize("edited", [True, False])
async def test_what_trigger_record_or_argument_name_is_cancelled(
    people: People, database: Database, emulator: Emulator, by: str, *, edited: bool
) -> None:
    """They are written by the task itself, so they count, and an XCom that says otherwise doesn't."""
    own, foreign = start(emulator, duration=60), start(emulator, duration=60)
    if by == "record" and AIRFLOW < (3, 3):
        pytest.skip("there are no records")
    ways: dict[str, dict[str, Any]] = {
        "trigger": {"trigger": {"operation_name": own}},
        "record": {"record": {**RECORD, "name": own, "of_later": [1]}},
        "argument": {"fields": {**OPERATOR, "operation_name": own}},
    }
    database.add_task(name=foreign if edited else own, **{"fields": OPERATOR, **ways[by]})
    client = people("user")
    view = await tab(client)
    assert (view["name"], view["operation"]["name"], view["may_cancel"]) == (own, own, True)
    assert (await client.post(cancel_url(foreign), headers=OURS)).status_code == 409
    assert (await client.post(cancel_url(own), headers=OURS)).status_code == 200
    assert [entry["path"] for entry in emulator.journal("cancel")] == [f"/v1/{own}:cancel"]


async def test_a_mapped_task_has_its_own_operation(
    people: People, database: Database, emulator: Emulator
) -> None:
    """Each map index shows the operation that it has pushed."""
    names = [start(emulator, duration=60) for _ in range(2)]
    for index, name in enumerate(names):
        database.add_task(map_index=index, name=name)
    client = people("viewer")
    urls = [TAB.replace("map_index=-1", f"map_index={index}") for index in range(2)]
    assert [(await tab(client, url))["operation"]["name"] for url in urls] == names


async def test_ten_tabs_cost_one_request(
    people: People, database: Database, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks while an answer is awaited, or isn't old yet, shares it."""
    monkeypatch.setattr("airflow_provider_operations.ui.live.KEPT_S", 600.0)
    database.add_task(name=start(emulator, duration=60))
    emulator.script_fault(kind="get", delay=0.3)
    clients = [people("viewer") for _ in range(10)]
    await asyncio.gather(*(tab(client) for client in clients))
    await tab(clients[0])
    assert len(emulator.journal("get")) == 1
    monkeypatch.setattr("airflow_provider_operations.ui.live.KEPT_S", 0.0)
    await tab(clients[0])
    assert len(emulator.journal("get")) == 2


async def test_a_service_that_hangs_is_given_up(
    people: People, database: Database, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the connection's timeout, a page gets its answer in time, and the name all the same."""
    monkeypatch.setattr("airflow_provider_operations.ui.live.REQUEST_S", 0.3)
    name = start(emulator, duration=60)
    database.add_task(name=name)
    emulator.script_fault(kind="get", delay=5)
    view = await asyncio.wait_for(tab(people("viewer")), 4)
    assert (view["name"], view["operation"], view["live"]) == (name, None, True)
    assert "UNAVAILABLE" in view["problem"]


def hanging(monkeypatch: pytest.MonkeyPatch) -> RawServer:
    """A service that takes requests and never answers, behind the connection ``hanging``."""
    server = RawServer(lambda _connection: server.released.wait(30))
    set_connection(monkeypatch, server.url, "hanging")
    return server


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it doesn't come")


async def test_a_service_that_hangs_takes_nothing_from_others(
    people: People, database: Database, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its tabs are open, that of another connection is answered while they wait."""
    healthy = start(emulator, duration=60)
    database.add_task(name=healthy)
    for index in range(20):
        fields = {"operations_conn_id": "hanging", "operation_name": f"operations/{index}"}
        database.add_task("other", index, fields=fields)
    client = people("user")
    with hanging(monkeypatch) as server:
        waiting = [
            asyncio.create_task(
                tab(client, TAB.replace("dags/dag", "dags/other").replace("=-1", f"={index}"))
            )
            for index in range(20)
        ]
        await until(lambda: len(server.seen) >= 4)
        await asyncio.sleep(0.5)
        view = await tab(client)
        cancelled = await client.post(cancel_url(healthy), headers=OURS)
        assert not any(task.done() for task in waiting)
        assert len(server.seen) == 4
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert (view["operation"]["name"], cancelled.status_code) == (healthy, 200)


async def test_a_cancellation_doesnt_queue_behind_those_who_look(
    people: People, database: Database, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants an operation of a slow service to end gets the request sent, all its looks unanswered."""
    asking = Asking()
    with hanging(monkeypatch) as server:
        looks = [
            asyncio.create_task(asking.ask(Target(f"operations/{index}", ServiceOptions("hanging"))))
            for index in range(20)
        ]
        await until(lambda: len(server.seen) >= 4)
        cancels = [
            asyncio.create_task(asking.cancel(Target(f"operations/{index}", ServiceOptions("hanging"))))
            for index in range(3)
        ]
        await until(lambda: len(server.seen) == 7)
        assert not any(task.done() for task in looks)
        assert sorted(seen.line.split()[0] for seen in server.seen) == ["GET"] * 4 + ["POST"] * 3
        server.released.set()
        await asyncio.gather(*looks, *cancels)
    await until(lambda: not asking._turns)


async def test_nobody_waits_in_vain_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has had no turn for as long as anybody waits isn't asked any more, so that no queue outlives its tabs."""
    monkeypatch.setattr("airflow_provider_operations.ui.live.PATIENCE_S", 0.5)
    asking = Asking()
    with hanging(monkeypatch) as server:
        looks = [asking.ask(Target(f"operations/{index}", ServiceOptions("hanging"))) for index in range(10)]
        problems = [answered.problem for answered in await asyncio.gather(*looks)]
        server.released.set()
        await until(lambda: not asking._turns)
        assert len(server.seen) == 4
    refused = "not asked: 4 requests with this connection have not been answered for long"
    assert problems.count("the service has not answered for 0.5 s") + problems.count(refused) == 10


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_no_credential_reaches_the_browser(
    people: People, database: Database, emulator: Emulator
) -> None:
    """Neither the connection's headers nor its address are in what the page is told; its console's page is."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    text = (await people("admin").get(TAB)).text
    assert "s3cret" not in text
    assert emulator.url not in text
    assert json.loads(text)["console_url"] == f"https://console.example.com/{name}"


@pytest.mark.parametrize("status", [200, 403])
async def test_a_credential_that_the_service_repeats_is_hidden(
    people: People, database: Database, emulator: Emulator, status: int
) -> None:
    """As in the task's log: whoever may read a task need not know the secrets of its connection."""
    name = start(emulator, duration=60)
    database.add_task(name=name)
    error = {"code": 7, "message": "not with s3cret", "details": [{"@type": "x/y.Z", "sent": ["s3cret"]}]}
    body = {"name": name, "done": True, "error": error, "metadata": {"sent": {"s3cret": "s3cret"}}}
    emulator.script_fault(kind="get", status=status, body=body if status == 200 else {"error": error})
    emulator.script_fault(kind="cancel", status=403, body={"error": error})
    client = people("user")
    answers = [await client.get(TAB), await client.post(cancel_url(name), headers=OURS)]
    assert not any("s3cret" in answer.text for answer in answers)
    assert all("not with ***" in answer.text for answer in answers)


async def test_what_the_service_forgot_is_shown_as_the_task_saw_it(
    people: People, database: Database, emulator: Emulator
) -> None:
    """When the task is over and the service answers 404, the XCom ``operation`` is shown, and asked no more."""
    final = {"name": "operations/gone", "done": True, "error": {"code": 9, "message": "the disk is full"}}
    database.add_task(name="operations/gone", final=final, state="failed")
    view = await tab(people("user"))
    assert view["operation"]["error"]["code"] == "FAILED_PRECONDITION (9)"
    assert (view["remembered"], view["live"], view["may_cancel"], view["problem"]) == (
        True,
        False,
        False,
        None,
    )


async def test_what_is_over_is_not_asked_for_again(
    people: People, database: Database, emulator: Emulator
) -> None:
    """``live`` tells the page to stop: here the operation has ended."""
    database.add_task(name=start(emulator, duration=0))
    view = await tab(people("user"))
    assert (view["operation"]["state"], view["live"], view["may_cancel"]) == ("succeeded", False, False)


async def test_a_task_without_operation_says_so(people: People, database: Database) -> None:
    """The tab is on every task's page: there is nothing to show, and while the task goes on it may still come."""
    database.add_task(fields={"bash_command": "echo"})
    view = await tab(people("viewer"))
    assert (view["name"], view["operation"], view["live"]) == (None, None, True)
    assert (await people("viewer").get(TAB.replace("task_id=task", "task_id=none"))).status_code == 404


async def test_pages_load_nothing_from_elsewhere(people: People) -> None:
    """The policy allows scripts, styles and requests of Airflow's own origin, and nothing inline."""
    client = people("viewer")
    for page in ("task", "list", "static/task.js"):
        policy = (await client.get(page)).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
    for page in ("task", "list"):
        html = (await client.get(page)).text
        assert "://" not in html
        assert "style=" not in html
        assert "<script>" not in html


# --- the list ----------------------------------------------------------------------------------------------------------


async def listed(client: httpx.AsyncClient, **filters: str) -> list[tuple[str, int, str]]:
    answer = await client.get("api/operations", params=filters)
    assert answer.status_code == 200, answer.text
    return [(row["dag_id"], row["map_index"], row["name"]) for row in answer.json()["operations"]]


async def test_the_list_has_what_runs_and_filters(people: People, database: Database) -> None:
    """All tasks that wait for an operation, by DAG, connection and state; not those that have seen its end."""
    database.add_task(name="operations/a", state="deferred")
    database.add_task("other", name="operations/b", fields={"operations_conn_id": "second"})
    database.add_task(
        "other", 0, name="operations/over", final={"name": "x", "done": True}, state="up_for_retry"
    )
    database.add_task("other", 1, name="operations/old", state="queued")
    database.add_task("other", 2, name="operations/resuming", state="queued", next_method="execute_complete")
    database.add_task("other", 3, name="operations/done", state="success")
    client = people("viewer")
    a, b, resuming = (
        ("dag", -1, "operations/a"),
        ("other", -1, "operations/b"),
        ("other", 2, "operations/resuming"),
    )
    assert sorted(await listed(client)) == [a, b, resuming]
    assert await listed(client, dag_id="da") == [a]
    assert await listed(client, dag_id="%") == []
    assert await listed(client, conn_id="second") == [b]
    assert await listed(client, state="deferred") == [a]


async def test_filters_take_any_case(people: People, database: Database) -> None:
    """Parts of ids, as people type them; what SQL would take for a pattern is text."""
    database.add_dag("Nightly_Copy")
    database.add_task("Nightly_Copy", name="operations/a", fields={"operations_conn_id": "Cloud_Build"})
    database.add_task(name="operations/b")
    client = people("viewer")
    row = [("Nightly_Copy", -1, "operations/a")]
    for dag_id in ("nightly", "NIGHTLY", "Copy", "y_c"):
        assert await listed(client, dag_id=dag_id) == row
    for conn_id in ("cloud", "BUILD", "Cloud_Build"):
        assert await listed(client, conn_id=conn_id) == row
    assert await listed(client, dag_id="nightly%copy") == await listed(client, conn_id="d.b") == []


def ago(**span: float) -> datetime:
    return datetime.now(timezone.utc) - timedelta(**span)


def add_ended(database: Database) -> None:
    """Tasks of ``other`` whose operation is over, each in its way; one that is not, and one of long ago."""
    error = {"code": 8, "message": "no machines\x1b[31m", "details": []}
    for index, (state, error_of, minutes) in enumerate(
        [
            ("success", None, 5),
            ("failed", error, 4),
            ("up_for_retry", {"code": 1, "message": ""}, 3),
            ("failed", None, 60 * 26),
        ]
    ):
        name = f"operations/{index}"
        final = {"name": name, "done": True, **({"error": error_of} if error_of else {})}
        database.add_task("other", index, name=name, final=final, state=state)
        ended = f"{ago(minutes=minutes):%Y-%m-%d %H:%M:%S.%f}"
        database.execute(
            f"UPDATE xcom SET timestamp = '{ended}' WHERE key = 'operation' AND map_index = {index}"
        )
    for index, state in ((4, "failed"), (5, "success"), (6, "running")):
        database.add_task("other", index, name=f"operations/{index}", state=state, end_date=ago(minutes=2))


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({}, ["6"]),
        ({"show": "failed"}, ["4", "2", "1"]),
        ({"show": "ended"}, ["4", "5", "2", "1", "0"]),
        ({"show": "ended", "hours": "48"}, ["4", "5", "2", "1", "0", "3"]),
        ({"show": "ended", "state": "success"}, ["5", "0"]),
        ({"show": "ended", "sort": "ended"}, ["0", "1", "2", "4", "5"]),
        ({"show": "ended", "sort": "-task"}, ["0", "1", "2", "4", "5"]),
        ({"show": "failed", "offset": "2"}, ["1"]),
        ({"show": "failed", "dag_id": "dag"}, []),
    ],
)
async def test_the_list_has_what_has_ended(
    people: People, database: Database, filters: dict[str, str], shown: list[str]
) -> None:
    """Of a time span, the latest first; failed ones alone: operations that failed, were cancelled, or whose task failed."""
    add_ended(database)
    rows = await listed(people("viewer"), **filters)
    names = [name.rpartition("/")[2] for _, _, name in rows]
    if filters.get("show") in {"failed", "ended"} and "sort" not in filters:
        names[:2] = sorted(names[:2])  # of the same moment, by hair's breadth
        shown = [*sorted(shown[:2]), *shown[2:]]
    assert names == shown


async def test_each_ended_row_says_how(people: People, database: Database) -> None:
    """The result with the error's code and message, made harmless; when, and how long it took; nothing is asked."""
    add_ended(database)
    view = (await people("viewer").get("api/operations", params={"show": "ended"})).json()
    not_said = "how it ended isn't in Airflow; the tab asks the service"
    said = {row["name"]: (row["result"], row["message"], row["state"]) for row in view["operations"]}
    assert said == {
        "operations/0": ("succeeded", None, "success"),
        "operations/1": ("failed", "RESOURCE_EXHAUSTED (8): no machines\\x1b[31m", "failed"),
        "operations/2": ("cancelled", "CANCELLED (1)", "up_for_retry"),
        "operations/4": ("unknown", not_said, "failed"),
        "operations/5": ("unknown", not_said, "success"),
    }
    assert all(row["since"] < row["ended"] for row in view["operations"])
    assert view["counts"] == {"running": 1, "orphans": 0, "failed": 3, "ended": 5}


async def test_counts_are_of_what_is_filtered(people: People, database: Database) -> None:
    """By DAG and connection for all lists; the state belongs to the one that is shown."""
    add_ended(database)
    database.add_task(name="operations/a", state="deferred")
    client = people("viewer")
    for filters, expected in (
        ({}, {"running": 2, "failed": 3, "ended": 5}),
        ({"dag_id": "dag"}, {"running": 1, "failed": 0, "ended": 0}),
        ({"state": "deferred"}, {"running": 1, "failed": 3, "ended": 5}),
    ):
        counts = (await client.get("api/operations", params=filters)).json()["counts"]
        assert counts == {"orphans": 0, **expected}
    assert (await people(None).get("api/operations")).json()["counts"] == dict.fromkeys(
        ("running", "orphans", "failed", "ended"), 0
    )


async def test_the_list_comes_in_pages(people: People, database: Database) -> None:
    """Fifty at a time, each once, in the order that is asked for."""
    for index in range(120):
        database.add_task(map_index=index, name=f"operations/{index:03}", state="deferred")
    client = people("viewer")
    pages = [await listed(client, sort="-state", offset=str(offset)) for offset in (0, 50, 100)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [name for page in pages for _, _, name in page] == [
        f"operations/{index:03}" for index in range(120)
    ]


@pytest.mark.parametrize(
    "query", ["show=all", "hours=0", "hours=x", "sort=name", "sort=--task", "offset=-1", "offset=99999999999"]
)
async def test_what_the_list_does_not_have(people: People, database: Database, query: str) -> None:
    """Is refused."""
    assert (await people("viewer").get(f"api/operations?{query}")).status_code == 422


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://console.example.com/a", "https://console.example.com/a"),
        ("javascript:alert(1)", None),
        ({"a": 1}, None),
    ],
)
async def test_the_list_links_to_the_console(
    people: People, database: Database, link: Any, shown: str | None
) -> None:
    """Where the task has pushed a link; one that isn't a plain web address is none, whoever wrote it."""
    database.add_task(name="operations/a")
    place = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}
    database.insert(
        "xcom", **place, dag_run_id=run_number("dag"), key="_link_OperationLink", value=link, timestamp=BEGAN
    )
    (row,) = (await people("viewer").get("api/operations")).json()["operations"]
    assert row["console_url"] == shown


async def test_a_rescheduled_sensor_waits_since_its_first_stay(people: People, database: Database) -> None:
    """Each stay clears the XComs and pushes them anew: they are as old as the last look."""
    database.add_task(name="operations/short", state="deferred")
    database.add_task("other", name="operations/long", state="up_for_reschedule")
    stays = [BEGAN - timedelta(hours=hours) for hours in (2, 1)]
    for stay in stays:
        start_date = stay.strftime("%Y-%m-%d %H:%M:%S.%f")
        database.execute(
            "INSERT INTO task_reschedule (ti_id, start_date, end_date, duration, reschedule_date) "
            f"SELECT id, '{start_date}', '{start_date}', 5, '{start_date}' FROM task_instance "
            "WHERE dag_id = 'other'"
        )
    rows = (await people("viewer").get("api/operations")).json()["operations"]
    assert [(row["name"], row["since"]) for row in rows] == [
        ("operations/long", stays[0].isoformat()),
        ("operations/short", BEGAN.isoformat()),
    ]


async def test_the_list_shows_what_the_viewer_may_read(
    people: People, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DAGs that somebody may not read are left out, and so are those whose task instances he may not read."""
    from airflow.api_fastapi.app import get_auth_manager

    for dag_id in ("dag", "other", "third"):
        database.add_task(dag_id, name=f"operations/{dag_id}")
    database.add_dag("third")
    assert (await people(session=False).get("api/operations")).status_code == 401
    assert await listed(people(None)) == []
    assert len(await listed(people("viewer"))) == 3

    def may(*, access_entity: Any = None, details: Any = None, **_: Any) -> bool:
        return details.id == "dag" or (details.id == "other" and access_entity is None)

    monkeypatch.setattr(get_auth_manager(), "is_authorized_dag", may)
    assert await listed(people("viewer")) == [("dag", -1, "operations/dag")]


async def test_a_service_that_never_comes_to_an_end(
    people: People, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tab says so when the time for a request is over."""
    database.add_task(name="operations/x")
    with dripping("trailers") as server:
        set_connection(monkeypatch, server.url, extra={"timeout": 0.5})
        view = await tab(people("viewer"))
    assert "the answer was not complete in time" in view["problem"]
