"""A sweep over a real Airflow: it cancels what no task can, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._sweep.judgement import QUIET_S
from airflow_provider_operations._sweep.latest import OWNER
from airflow_provider_operations._sweep.sweep import LEFT, Fate

from .test_airflow import journal

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

pytestmark = pytest.mark.airflow

PREFIX = "e2e_reap_"
ORPHANS = {"lost", "between", "scheduled"}
TASKS = ORPHANS | {"cleared", "running"}


def reap(airflow: Standalone, *arguments: str) -> list[dict[str, Any]]:
    """Sweep once; return what was found of these DAGs. The exit code is also about what other tests have left."""
    ended = airflow.command("operations", "reap", "-o", "json", *arguments)
    assert ended.stdout, ended.stderr
    rows = json.loads(ended.stdout)
    assert ended.returncode == int(any(Fate(row["fate"]) in LEFT for row in rows))
    return [row for row in rows if row["dag_id"].startswith(PREFIX)]


def polled(emulator: EmulatorProcess, task: str) -> bool:
    return len(journal(emulator, f"projects/reap-{task}/", "get")) >= 2


def begun(airflow: Standalone, emulator: EmulatorProcess, task: str) -> str:
    """Run a task until its operation is polled; once more where Airflow itself has failed to start it, as on a busy machine."""

    def settled() -> bool:
        ti = airflow.task(PREFIX + task, run_id, task)
        return polled(emulator, task) or ti["try_number"] > 1 or ti["state"] in {"failed", "up_for_retry"}

    for _ in range(4):
        run_id = airflow.trigger(PREFIX + task)
        airflow.until(settled, f"{task} runs, or doesn't", 240)
        if polled(emulator, task):
            return run_id
        airflow.api("PATCH", f"/dags/{PREFIX}{task}/dagRuns/{run_id}", json={"state": "failed"})
    pytest.fail(f"Airflow has started {task} in none of four runs")


def set_slots(airflow: Standalone, slots: int) -> None:
    airflow.api("PATCH", "/pools/reap", json={"pool": "reap", "slots": slots, "include_deferred": False})


def states(airflow: Standalone, runs: dict[str, str]) -> dict[str, str]:
    return {task: airflow.task(PREFIX + task, run_id, task)["state"] for task, run_id in runs.items()}


def test_a_sweep_cancels_what_no_task_can(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """
    A worker lost without retries left; a task marked failed while it waits for its retry, or for a slot with its retry.

    A task that runs, and one that was cleared and waits for a slot, keep their operations.
    """
    airflow.api("POST", "/pools", json={"name": "reap", "slots": 2})
    # One after another: a busy machine fails some of several that begin at once.
    runs = {task: begun(airflow, emulator, task) for task in sorted(TASKS)}
    operations = {
        task: next(op["name"] for op in emulator.operations() if f"projects/reap-{task}/" in op["name"])
        for task in TASKS
    }
    set_slots(airflow, 0)
    for task in TASKS - {"running"}:
        os.kill(int(airflow.task(PREFIX + task, runs[task], task)["pid"]), signal.SIGKILL)
    airflow.until(
        lambda: (
            {task: state for task, state in states(airflow, runs).items() if task != "running"}
            == {"lost": "failed", "between": "up_for_retry", "scheduled": "scheduled", "cleared": "failed"}
        ),
        "Airflow has noticed",
        240,
    )
    airflow.clear(f"{PREFIX}cleared", runs["cleared"], "cleared")
    for task in ("between", "scheduled"):
        airflow.set_state(PREFIX + task, runs[task], task, "failed")
    found = reap(airflow, "--dry-run")
    assert {row["task_id"] for row in found} <= {"lost"}, "the others aren't over for a minute yet"

    time.sleep(QUIET_S)  # by the clock of Airflow's processes, which no test moves
    found = reap(airflow, "--dry-run")
    assert {row["task_id"]: row["fate"] for row in found} == dict.fromkeys(ORPHANS, "orphan")
    found = reap(airflow)
    assert {row["task_id"]: (row["fate"], row["name"]) for row in found} == {
        task: ("cancelled", operations[task]) for task in ORPHANS
    }
    over = {task for task, name in operations.items() if emulator.operation(name)["done"]}
    assert over == ORPHANS
    assert {task: len(journal(emulator, f"projects/reap-{task}/", "cancel")) for task in TASKS} == {
        task: int(task in ORPHANS) for task in TASKS
    }
    assert states(airflow, runs)["running"] == "running"
    lines = airflow.api("GET", "/eventLogs", params={"event": "cancel_operation", "owner": OWNER})[
        "event_logs"
    ]
    assert sorted(line["extra"] for line in lines) == sorted(operations[task] for task in ORPHANS)
    assert reap(airflow) == []

    # The new try of the cleared task ends the old operation itself, once it has a slot.
    set_slots(airflow, 2)
    airflow.until(
        lambda: len(journal(emulator, "projects/reap-cleared/", "start")) == 2,
        "the cleared task starts anew",
        240,
    )
    assert journal(emulator, "projects/reap-cleared/", "start", "cancel") == ["start", "cancel", "start"]
    assert emulator.operation(operations["cleared"])["done"]
    for task, run_id in runs.items():
        airflow.api("PATCH", f"/dags/{PREFIX}{task}/dagRuns/{run_id}", json={"state": "failed"})
