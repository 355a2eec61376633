"""``OperationsEventTrigger`` in a real Airflow: DAGs run because operations have ended that Airflow didn't start."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_operations.emulator import EmulatorProcess
from tests.support.raw_requests import start
from tests.tooling.harness.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.airflow

PARENT = "projects/watched"


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    """An emulator of its own."""
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def airflow(emulator: EmulatorProcess) -> Iterator[Standalone]:
    """An Airflow of its own, as its triggerer is killed."""
    with Standalone(Path(__file__).parent / "watcher_dags") as airflow:
        body = {"connection_id": "operations_default", "conn_type": "operations", "host": emulator.url}
        airflow.api("POST", "/connections", json=body)
        yield airflow


def events(airflow: Standalone, outcome: str) -> list[dict[str, Any]]:
    """Return what the asset's events say."""
    path, query = "/assets/events", {"order_by": "timestamp", "limit": 100}
    found = airflow.api("GET", path, params=query)["asset_events"]
    return [event["extra"]["payload"] for event in found if event["name"] == f"e2e_{outcome}"]


def told(airflow: Standalone, outcome: str) -> list[str]:
    return [event["name"] for event in events(airflow, outcome)]


def received(airflow: Standalone, outcome: str) -> list[str]:
    """Return the names of the operations that runs of the DAG were told of."""
    dag_id = f"e2e_watcher_{outcome}"
    names = []
    for run in airflow.api("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "id"})["dag_runs"]:
        if run["state"] == "success":
            value = airflow.xcom(dag_id, run["dag_run_id"], "events", "return_value")
            names += [event["name"] for event in value]
    return names


def looks(emulator: EmulatorProcess) -> int:
    return sum(entry["path"] == f"/v1/{PARENT}/operations" for entry in emulator.journal("list"))


def triggerers(airflow: Standalone) -> list[psutil.Process]:
    """Return the process ``airflow triggerer`` of this Airflow and its children."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("AIRFLOW_HOME") == str(airflow.home)
            if mine and "triggerer" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_watcher(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """
    A DAG is scheduled by the end of an operation that anything started, with the operation in its event.

    What was over before is old. Two watchers share a listing. The triggerer is killed, and its successor tells
    what has ended meanwhile, and nothing twice.
    """
    old = start(emulator.url, name=f"{PARENT}/operations/old", duration=0)
    airflow.until(lambda: looks(emulator) >= 2, "the watchers have looked", 240)

    built = start(emulator.url, name=f"{PARENT}/operations/built", duration=3, metadata={"image": "app"})
    error = {"code": 8, "message": "no quota"}
    broken = start(emulator.url, name=f"{PARENT}/operations/broken", duration=3, error=error)
    airflow.until(lambda: received(airflow, "succeeded") == [built], "a run for what succeeded")
    airflow.until(lambda: received(airflow, "failed") == [broken], "a run for what failed")
    (event,) = events(airflow, "succeeded")
    assert event["done"] is True
    assert (event["outcome"], event["metadata"]["image"]) == ("succeeded", "app")
    (event,) = events(airflow, "failed")
    assert (event["outcome"], event["error"]) == ("failed", error)

    long = start(emulator.url, name=f"{PARENT}/operations/long", duration=30)
    number = looks(emulator)
    airflow.until(lambda: looks(emulator) >= number + 1, "it was seen running")
    killed = triggerers(airflow)
    assert killed
    for process in killed:
        process.send_signal(signal.SIGKILL)
    quick = start(emulator.url, name=f"{PARENT}/operations/quick", duration=1)
    with subprocess.Popen(
        [sys.executable, "-m", "airflow", "triggerer"],
        env=airflow.environment,
        cwd=airflow.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as successor:
        try:
            airflow.until(lambda: set(received(airflow, "succeeded")) >= {long, quick}, "the rest", 240)
        finally:
            successor.terminate()
            successor.wait(30)
    assert told(airflow, "succeeded") == [built, quick, long]
    assert told(airflow, "failed") == [broken]
    assert old not in told(airflow, "succeeded")
