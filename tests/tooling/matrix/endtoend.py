"""
The provider in a real Airflow of any version: success, failure, kill, time-out, a lost worker, the UI.

Where a version can't give something, the test expects what the documentation says of it. Not collected by default: the
matrix names the file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.emulator import EmulatorProcess
from tests.support.raw_requests import start
from tests.tooling.harness.standalone import Standalone
from tests.versions import AIRFLOW

from .airflow2 import Standalone2

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.airflow

FIRST = ("success", "sensor", "cancel", "failure", "timeout", "kill_deferred")
"""Scenarios that run at the same time; those that hold a worker for long come later."""


@pytest.fixture(scope="session")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def airflow(emulator: EmulatorProcess) -> Iterator[Standalone]:
    kind = Standalone if AIRFLOW >= (3, 0) else Standalone2
    # Without an issuer Airflow 3.0 makes tokens that today's PyJWT refuses.
    with kind(Path(__file__).parent / "dags", {"AIRFLOW__API_AUTH__JWT_ISSUER": "airflow"}) as airflow:
        extra = json.dumps({"console_url": "https://console.example.com/{name}"})
        body = {
            "connection_id": "operations_default",
            "conn_type": "operations",
            "host": emulator.url,
            "password": "the-matrix-token",  # worker and triggerer tell their supervisors of it
            "extra": extra,
        }
        airflow.api("POST", "/connections", json=body)
        yield airflow


@pytest.fixture(scope="session")
def runs(airflow: Standalone) -> dict[str, str]:
    """Run ids of the scenarios that run at the same time."""
    return {scenario: airflow.trigger(f"matrix_{scenario}") for scenario in FIRST}


def measured(feature: str, value: object) -> None:
    """Note for the documentation's table what this version can do."""
    if path := os.environ.get("MATRIX_FEATURES"):
        file = Path(path)
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, feature: value}, indent=1))


def ended(airflow: Standalone, scenario: str, run_id: str) -> dict[str, str]:
    """Wait for the end of a run; return the states of its tasks."""
    dag_id = f"matrix_{scenario}"
    airflow.until(
        lambda: airflow.run_state(dag_id, run_id) in {"success", "failed"}, f"{dag_id} is over", 480
    )
    return {ti["task_id"]: ti["state"] for ti in airflow.tasks(dag_id, run_id)}


def logs_of_failed(airflow: Standalone, scenario: str, run_id: str, states: dict[str, str]) -> str:
    """Return what failed tasks have logged last."""
    failed = [task_id for task_id, state in states.items() if state == "failed"]
    return "\n".join(f"{each}: {airflow.log(f'matrix_{scenario}', run_id, each)[-3000:]}" for each in failed)


def calls(emulator: EmulatorProcess, parent: str) -> list[str]:
    """Return what was asked for, but for polls."""
    return [
        entry["kind"]
        for entry in emulator.journal()
        if f"projects/{parent}/" in entry["path"] and entry["kind"] in {"start", "cancel"}
    ]


def operations(emulator: EmulatorProcess, parent: str) -> list[dict[str, Any]]:
    return [each for each in emulator.operations() if f"projects/{parent}/" in each["name"]]


def test_parsed(airflow: Standalone) -> None:
    """Airflow has no error to tell of the DAGs."""
    airflow.until(lambda: airflow.api("GET", "/dags")["total_entries"] >= 8, "all DAGs are parsed")
    assert airflow.api("GET", "/importErrors")["import_errors"] == []


def test_success(airflow: Standalone, emulator: EmulatorProcess, runs: dict[str, str]) -> None:
    """Deferred or not, by operator or by decorator: one start, and the response is the task's value."""
    states = ended(airflow, "success", runs["success"])

    assert set(states.values()) == {"success"}, logs_of_failed(airflow, "success", runs["success"], states)
    for task_id in ("deferred", "running"):
        value = airflow.xcom("matrix_success", runs["success"], task_id, "return_value")
        assert value == {"way": task_id}
        assert calls(emulator, f"success-{task_id}") == ["start"]
    value = airflow.xcom("matrix_success", runs["success"], "decorated", "return_value")
    assert value == {"after": "deferred"}
    for feature in ("operator", "deferral", "decorator"):
        measured(feature, value=True)


def test_link(airflow: Standalone, runs: dict[str, str]) -> None:
    """The task shows the page about its operation."""
    ended(airflow, "success", runs["success"])
    for task_id in ("deferred", "running"):
        path = f"/dags/matrix_success/dagRuns/{runs['success']}/taskInstances/{task_id}"
        name = airflow.xcom("matrix_success", runs["success"], task_id, "operation_name")
        links = airflow.api("GET", f"{path}/links")
        shown = links.get("extra_links", links).get("Service Console")
        assert shown == f"https://console.example.com/{name}"
    measured("link", value=True)


def test_sensor(airflow: Standalone, runs: dict[str, str]) -> None:
    """All modes; ``end_from_trigger`` has an effect from 3.3 on, and the same value everywhere."""
    states = ended(airflow, "sensor", runs["sensor"])

    assert set(states.values()) == {"success"}, logs_of_failed(airflow, "sensor", runs["sensor"], states)
    for task_id in ("poke", "reschedule", "deferred", "ending"):
        assert airflow.xcom("matrix_sensor", runs["sensor"], task_id, "return_value") == {"way": "sensed"}
    measured("sensor", value=True)


def test_cancel(airflow: Standalone, runs: dict[str, str]) -> None:
    """``CancelOperationOperator`` tells how the operation ended."""
    assert set(ended(airflow, "cancel", runs["cancel"]).values()) == {"success"}
    ended_how = airflow.xcom("matrix_cancel", runs["cancel"], "cancel", "return_value")["ended"]
    assert ended_how == "cancelled"
    measured("CancelOperationOperator", value=True)


def test_failure(airflow: Standalone, runs: dict[str, str]) -> None:
    """The whole error is in the task's log."""
    states = ended(airflow, "failure", runs["failure"])

    assert states == {"deferred": "failed", "running": "failed"}
    for task_id in states:
        log = airflow.log("matrix_failure", runs["failure"], task_id)
        for fact in (
            "RESOURCE_EXHAUSTED (8): no machines",
            "GPU_QUOTA_EXCEEDED (training.example.com)",
            "region: europe-west1",
            "try again after 90s",
        ):
            assert fact in log, f"{fact!r} is not in the log:\n{log}"


def test_timeout(airflow: Standalone, emulator: EmulatorProcess, runs: dict[str, str]) -> None:
    """An operation that isn't over in time is cancelled, and the task fails."""
    states = ended(airflow, "timeout", runs["timeout"])

    assert states == {"deferred": "failed", "running": "failed"}
    for task_id in states:
        assert calls(emulator, f"timeout-{task_id}") == ["start", "cancel"]
        assert "OperationTimeout" in airflow.log("matrix_timeout", runs["timeout"], task_id)


def kill(airflow: Standalone, emulator: EmulatorProcess, way: str, run_id: str) -> None:
    """Mark a task failed once it waits."""
    dag_id = f"matrix_kill_{way}"

    def waits() -> bool:
        polled = [e for e in emulator.journal() if f"/kill-{way}/" in e["path"] and e["kind"] == "get"]
        return airflow.task(dag_id, run_id, way)["state"] == way and len(polled) >= 2

    airflow.until(waits, f"the task is {way} and polls", 180)
    airflow.set_state(dag_id, run_id, way, "failed")


def test_killed_while_deferred(airflow: Standalone, emulator: EmulatorProcess, runs: dict[str, str]) -> None:
    """A task that is marked failed while it is deferred: one cancel."""
    kill(airflow, emulator, "deferred", runs["kill_deferred"])

    def over() -> bool:
        return bool(operations(emulator, "kill-deferred")[0]["done"])

    try:
        airflow.until(over, "the operation is over", 60)
    except TimeoutError:
        measured("cancel when killed while deferred", value=False)
        raise
    assert calls(emulator, "kill-deferred") == ["start", "cancel"]
    assert airflow.task("matrix_kill_deferred", runs["kill_deferred"], "deferred")["state"] == "failed"
    measured("cancel when killed while deferred", value=True)


def test_killed_while_running(airflow: Standalone, emulator: EmulatorProcess, runs: dict[str, str]) -> None:
    """A task that is marked failed while it holds a worker: one cancel."""
    for scenario, run_id in runs.items():
        if scenario != "kill_deferred":
            ended(airflow, scenario, run_id)
    run_id = airflow.trigger("matrix_kill_running")
    kill(airflow, emulator, "running", run_id)

    airflow.until(lambda: operations(emulator, "kill-running")[0]["done"], "the operation is over", 60)
    assert calls(emulator, "kill-running") == ["start", "cancel"]
    airflow.until(lambda: airflow.run_state("matrix_kill_running", run_id) == "failed", "the run failed")
    measured("cancel when killed while running", value=True)


def test_lost_worker(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """
    The next try takes the operation over where there is a state store; before 3.3 it starts another.

    Airflow 3.0 fails a task whose process was killed, however many retries it has.
    """
    run_id = airflow.trigger("matrix_lost")
    states = ended(airflow, "lost", run_id)
    measured("retry after a lost worker", value=states["running"] == "success")
    assert states == {"running": "failed" if AIRFLOW == (3, 0) else "success"}

    starts = len(operations(emulator, "lost-running"))
    measured("takeover after a lost worker", value=states["running"] == "success" and starts == 1)
    assert starts == (1 if AIRFLOW >= (3, 3) or AIRFLOW == (3, 0) else 2)


def test_watcher(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """A DAG runs when an operation ends that no task has started."""
    measured("asset watcher", value=False)
    begun: list[str] = []

    def told() -> bool:
        if begun:
            found = airflow.api("GET", "/dags/matrix_watched/dagRuns", params={"state": "success"})[
                "dag_runs"
            ]
            values = [
                airflow.xcom("matrix_watched", run["dag_run_id"], "events", "return_value") for run in found
            ]
            return values == [begun]
        looks = [each for each in emulator.journal("list") if "projects/watched/" in each["path"]]
        if len(looks) >= 2:
            begun.append(start(emulator.url, name="projects/watched/operations/o", duration=3))
        return False

    airflow.until(told, "the DAG has run", 240)
    measured("asset watcher", value=True)


def test_ui(airflow: Standalone) -> None:
    """Tab and list are there from 3.1 on."""
    found = airflow._session.get(f"{airflow.url}/operations-ui/list", timeout=60)
    served = found.status_code == 200 and "Running operations" in found.text
    plugins = airflow.api("GET", "/plugins")["plugins"]
    views = [
        view
        for plugin in plugins
        if plugin["name"] == "airflow_provider_operations"
        for view in plugin.get("external_views", [])
    ]
    measured("UI tab and list", value=served and len(views) == 2)
    expected = (True, 2) if AIRFLOW >= (3, 1) else (False, 0)
    assert (served, len(views)) == expected, (found.status_code, found.text[:300])
    if AIRFLOW >= (3, 1):
        listed = airflow._session.get(f"{airflow.url}/operations-ui/api/operations", timeout=60)
        assert listed.status_code == 200, listed.text[:300]
        assert isinstance(listed.json()["operations"], list)


FORM = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
prefix = "extra__operations__"
fields = [name[len(prefix):] for name in manager.connection_form_widgets if name.startswith(prefix)]
print(json.dumps([fields, manager.field_behaviours["operations"]["relabeling"]["password"]]))
"""
"""What 2.11 makes the form of; it has no API for it."""


def test_connection_form(airflow: Standalone) -> None:
    """The connection type's own form."""
    if AIRFLOW >= (3, 0):
        answer = airflow._session.get(f"{airflow.url}/ui/connections/hook_meta", timeout=60)
        (form,) = (each for each in answer.json() if each["connection_type"] == "operations")
        fields = set(form["extra_fields"] or {})
        password = ((form["standard_fields"] or {}).get("password") or {}).get("title")
    else:
        form = json.loads(command(airflow, "-c", FORM).stdout.splitlines()[-1])
        fields, password = set(form[0]), form[1]
    found = (password == "Password, token or client secret", "auth" in fields)
    # Airflow 3.0 asks hooks for a form only with what the FAB provider brings; the matrix has it once.
    fab = importlib.util.find_spec("flask_appbuilder") is not None
    measured("connection form with FAB" if fab else "connection form", value=all(found))
    assert found == ((True, True) if fab or AIRFLOW != (3, 0) else (False, False)), form


def test_connection_test(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """ "Test connection" asks the server."""
    body = {"connection_id": "t", "conn_type": "operations", "host": emulator.url}
    assert airflow.api("POST", "/connections/test", json=body)["status"] is True


def command(airflow: Standalone, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env=airflow.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_line(airflow: Standalone, emulator: EmulatorProcess, runs: dict[str, str]) -> None:
    """``python -m`` everywhere; ``airflow operations`` where Airflow asks providers for commands."""
    ended(airflow, "success", runs["success"])
    name = operations(emulator, "success-deferred")[0]["name"]
    everywhere = command(airflow, "-m", "airflow_provider_operations", "get", name, "-o", "json")
    assert json.loads(everywhere.stdout)["name"] == name, everywhere.stderr
    group = command(airflow, "-m", "airflow", "operations", "get", name, "-o", "json")
    measured("airflow operations", value=group.returncode == 0)
    from airflow.providers_manager import ProvidersManager

    assert (group.returncode == 0) == hasattr(ProvidersManager, "cli_command_functions"), group.stderr
