"""Link, retry policy and decorator in a real Airflow."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from .test_airflow import finished, journal, states

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow


def link(airflow: Standalone, run_id: str, task_id: str, map_index: int = -1) -> str | None:
    """Return what Airflow's API says of the link, as the UI asks it."""
    path = f"/dags/e2e_links/dagRuns/{run_id}/taskInstances/{task_id}/links"
    links: dict[str, str | None] = airflow.api("GET", path, params={"map_index": map_index})["extra_links"]
    assert links.keys() == {"Service Console"}
    return links["Service Console"]


def name(airflow: Standalone, run_id: str, task_id: str, map_index: int = -1) -> str:
    return str(airflow.xcom("e2e_links", run_id, task_id, "operation_name", map_index))


def test_links(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """The link is there while the task is deferred and afterwards, each mapped task has its own, others have none."""
    airflow.api(
        "POST",
        "/connections",
        json={
            "connection_id": "with_console",
            "conn_type": "operations",
            "host": emulator.url,
            "extra": json.dumps({"console_url": "https://console.example.com/{operation_id}?in={project}"}),
        },
    )
    run_id = airflow.trigger("e2e_links")
    waiting = [("run", -1), ("mapped", 0), ("mapped", 1), ("plain", -1)]

    def deferred() -> bool:
        found = {(ti["task_id"], ti["map_index"]): ti["state"] for ti in airflow.tasks("e2e_links", run_id)}
        return all(found.get(task) == "deferred" for task in waiting)

    airflow.until(deferred, "the tasks are deferred")
    seen = {task: link(airflow, run_id, *task) for task in waiting}
    names = {task: name(airflow, run_id, *task) for task in waiting}
    assert deferred()
    assert seen.pop(("plain", -1)) is None
    assert len(set(seen.values())) == 3
    for task, url in seen.items():
        assert url == f"https://console.example.com/{names[task].rpartition('/')[2]}?in=links"

    airflow.until(
        lambda: airflow.run_state("e2e_links", run_id) in {"success", "failed"}, "the run is over", 240
    )
    for task, url in seen.items():
        assert link(airflow, run_id, *task) == url
    assert link(airflow, run_id, "plain") is None
    ended = {link(airflow, run_id, task_id) for task_id in ("start", "wait", "cancel")}
    started = name(airflow, run_id, "start").rpartition("/")[2]
    assert ended == {f"https://console.example.com/{started}?in=links"}


def test_policy(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """A retry comes when the server says, with the reason kept; what a retry would not help fails at once."""
    run_id = finished(airflow, "e2e_policy")

    assert states(airflow, "e2e_policy", run_id) == {"worth": {"failed"}, "hopeless": {"failed"}}
    worth, hopeless = (airflow.task("e2e_policy", run_id, task_id) for task_id in ("worth", "hopeless"))
    assert (worth["try_number"], hopeless["try_number"]) == (2, 1)
    retried = (
        "retry in 0:00:07, as the server asks: the operation ended with UNAVAILABLE (14): no disks today"
    )
    failed = "no retry: the operation ended with FAILED_PRECONDITION (9): the disk is full"
    assert retried in airflow.log("e2e_policy", run_id, "worth")
    assert failed in airflow.log("e2e_policy", run_id, "hopeless")
    assert airflow.failure("e2e_policy", run_id, "hopeless") is not None
    with closing(sqlite3.connect(airflow.home / "airflow.db")) as connection:
        kept: list[Any] = connection.execute(
            "SELECT retry_reason, end_date FROM task_instance_history WHERE run_id = ? AND task_id = 'worth'",
            (run_id,),
        ).fetchall()
    ((reason, end_date),) = kept
    assert reason == retried
    pause = datetime.fromisoformat(worth["start_date"]).replace(tzinfo=None) - datetime.fromisoformat(
        end_date
    )
    assert 7 <= pause.total_seconds() < 120


def test_decorator(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """The example: one request by the function for each video, each operation's response is the task's value."""
    run_id = finished(airflow, "operations_decorator")

    assert states(airflow, "operations_decorator", run_id) == {
        task_id: {"success"} for task_id in ("videos", "convert", "publish")
    }
    files = airflow.xcom("operations_decorator", run_id, "publish", "return_value")
    assert files == ["intro-high.mp4", "talk-high.mp4"]
    rendered = airflow.task("operations_decorator", run_id, "convert", 0)["rendered_fields"]
    assert rendered["operations_conn_id"] == "operations_default"
    assert rendered["op_kwargs"]["video"]["name"] == "intro"
    for video in ("intro", "talk"):
        assert journal(emulator, f"videos/{video}", "start") == ["start"]
