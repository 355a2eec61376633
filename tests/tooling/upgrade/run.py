"""
Upgrade the package while tasks are deferred, and go back: ``python -m tests.tooling.upgrade.run COMMIT``.

In a fresh environment of the newest Airflow the wheel of a commit or tag runs until tasks of every kind are deferred.
Airflow is stopped, the wheel of these sources takes its place, and Airflow is started again on the same database. Each
task has to end as it would have ended without that, and each operation is started once. Then the older wheel comes back,
while no task is deferred.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_operations.emulator import EmulatorProcess
from tests.support.raw_requests import start
from tests.tooling.harness.standalone import Standalone
from tests.tooling.matrix.plan import constrained, environments
from tests.tooling.matrix.run import ROOT, WORK, build, installer

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = WORK / "upgrade"
DAGS = ROOT / "tests" / "tooling" / "upgrade" / "dags"
DAG_ID = "upgrade"


class Ending(NamedTuple):
    """How a task is meant to end, and what the service has to have seen of it."""

    state: str
    starts: int = 1
    cancels: int = 0
    """Operations that were cancelled."""
    failure: str = ""


EXPECTED = {
    "succeeds": Ending("success"),
    "fails": Ending("failed", failure="OperationFailedFinal"),
    "times_out": Ending("failed", cancels=1, failure="OperationTimeout"),
    "killed": Ending("failed", cancels=1),
    "cleared": Ending("failed", starts=2, cancels=2),
    "retried": Ending("success", starts=2),
    "begins": Ending("success"),
    "waits": Ending("success", starts=0),
    "ends_in_the_triggerer": Ending("success", starts=0),
    "looks_again": Ending("success", starts=0),
}
WAITING = {
    **dict.fromkeys(EXPECTED.keys() - {"begins", "looks_again"}, "deferred"),
    "begins": "success",
    "looks_again": "up_for_reschedule",
}
"""The states in which Airflow is stopped."""

OPERATIONS_END: dict[str, dict[str, Any]] = {
    **{name: {"response": {"of": name}} for name in ("succeeds", "retried", "begins")},
    "fails": {
        "error": {
            "code": 9,
            "message": "the disk is full",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "DISK_FULL",
                    "domain": "disks.example.com",
                }
            ],
        }
    },
}
"""What the service says of operations after the upgrade."""


class Installation:
    """An environment with Airflow, in which wheels take one another's place."""

    def __init__(self, uv: Path) -> None:
        *_, self._newest = constrained(environments())
        self._uv = uv
        self.python = FOLDER / "venv" / "bin" / "python"
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run(
            [uv, "venv", "--quiet", "--python", self._newest.executable, self.python.parents[1]], check=True
        )

    def install(self, wheel: Path) -> None:
        """Install a wheel in place of the one that is there."""
        package = "airflow-provider-operations"
        subprocess.run(
            [
                self._uv, "pip", "install", "--quiet", "--python", self.python, "--reinstall-package", package,
                f"apache-airflow=={self._newest.airflow}", "--constraint", self._newest.constraints, wheel,
            ],
            check=True,
        )  # fmt: skip
        frozen = subprocess.run(
            [self._uv, "pip", "freeze", "--python", self.python], check=True, capture_output=True, text=True
        )
        (line,) = (line for line in frozen.stdout.splitlines() if line.startswith(package))
        print(f"Airflow {self._newest.airflow}, {line}", flush=True)


def wheel_of(commit: str, uv: Path) -> Path:
    """Build the wheel of a commit."""
    source = FOLDER / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "--extract"], cwd=source, check=True, input=archive.stdout)
    return build(uv, source, FOLDER / "old")


class Rehearsal:
    """What is done to Airflow, and what is looked at."""

    def __init__(self, airflow: Standalone, emulator: EmulatorProcess) -> None:
        self._airflow = airflow
        self._emulator = emulator
        self._run = ""
        self._seen: dict[str, str] = {}
        self.problems: list[str] = []

    def defer(self) -> None:
        """Let the tasks wait; one that is watched for has ended by then."""
        self._run = self._airflow.trigger(DAG_ID)
        self._airflow.until(lambda: self._emulator.journal("list"), "somebody watches", 240)
        start(self._emulator.url, "/v1/projects/watched/things:run", duration=5)
        self._airflow.until(lambda: len(self._events()) == 1, "the watcher has reported it", 240)
        self._airflow.until(self._all_wait, "all tasks wait", 540)
        # Ends while Airflow is down.
        start(self._emulator.url, "/v1/projects/watched/things:run", duration=20)

    def end(self) -> None:
        """Kill one, clear one, let all end, and compare."""
        airflow = self._airflow
        self._until_held("killed")
        airflow.clear(DAG_ID, self._run, "cleared")
        airflow.set_state(DAG_ID, self._run, "killed", "failed")
        airflow.until(lambda: self._asked("start", "cleared") == 2, "the cleared task has started anew", 240)
        airflow.until(lambda: self._states()["cleared"] == "deferred", "it is deferred", 120)
        self._until_held("cleared")
        airflow.set_state(DAG_ID, self._run, "cleared", "failed")
        for name, ending in OPERATIONS_END.items():
            self._end_operation(name, ending)
        airflow.until(lambda: not self._waiting(), "all tasks are over", 900)
        airflow.until(lambda: len(self._events()) >= 2, "what ended meanwhile is reported", 120)
        for task_id, meant in EXPECTED.items():
            self._compare(task_id, meant)
        names = sorted(each["name"] for each in self._emulator.operations() if "/watched/" in each["name"])
        self._expect("events of the watcher", sorted(self._events()), names)

    def _until_held(self, name: str) -> None:
        """Wait until a triggerer has a task's trigger: until then Airflow drops it unrun when the task is marked."""
        before = self._asked("get", name)
        self._airflow.until(lambda: self._asked("get", name) > before, "a triggerer asks again", 120)

    def run_short(self, run: str | None = None) -> str:
        """Run the short DAG, or clear a run of it: another start, and a success."""
        before = self._asked("start", "short")
        if run is None:
            run = self._airflow.trigger("upgrade_short")
        else:
            self._airflow.clear("upgrade_short", run, "short")
        over = {"success", "failed"}
        self._airflow.until(lambda: self._asked("start", "short") == before + 1, "it is started", 120)
        self._airflow.until(lambda: self._airflow.run_state("upgrade_short", run) in over, "it is over", 120)
        self._expect("the short run", self._airflow.run_state("upgrade_short", run), "success")
        self._expect("starts of the short run", self._asked("start", "short"), before + 1)
        return run

    def _compare(self, task_id: str, meant: Ending) -> None:
        instance = self._airflow.task(DAG_ID, self._run, task_id)
        failure = self._airflow.failure(DAG_ID, self._run, task_id, instance["try_number"])
        found = Ending(
            instance["state"],
            self._asked("start", task_id),
            len(
                {
                    entry["path"]
                    for entry in self._emulator.journal("cancel")
                    if f"/{task_id}/" in entry["path"]
                }
            ),
            failure[0] if meant.failure and failure else "",
        )
        self._expect(task_id, found, meant)
        if meant.state == "success" and meant.starts and task_id != "begins":
            value = self._airflow.xcom(DAG_ID, self._run, task_id, "return_value")
            self._expect(f"value of {task_id}", value, {"of": task_id})

    def _expect(self, what: str, found: object, meant: object) -> None:
        print(f"{what}: {found}", flush=True)
        if found != meant:
            self.problems.append(f"{what}: {found}, not {meant}")

    def _all_wait(self) -> bool:
        states = self._states()
        if states != self._seen:
            self._seen = states
            print({name: state for name, state in states.items() if state != WAITING[name]}, flush=True)
        return states == WAITING

    def _end_operation(self, name: str, ending: dict[str, Any]) -> None:
        """Let the service say from now on that the task's operation, which runs, is over."""
        (running,) = (
            each["name"]
            for each in self._emulator.operations()
            if each["name"].startswith(f"projects/{name}/") and not each["done"]
        )
        answer = {"name": running, "done": True, **ending}
        self._emulator.script_fault(kind="get", operation=running, status=200, body=answer)

    def _states(self) -> dict[str, str]:
        return {each["task_id"]: each["state"] for each in self._airflow.tasks(DAG_ID, self._run)}

    def _waiting(self) -> list[str]:
        return [name for name, state in self._states().items() if state not in {"success", "failed"}]

    def _asked(self, kind: str, name: str) -> int:
        return sum(f"/projects/{name}/" in entry["path"] for entry in self._emulator.journal(kind))

    def _events(self) -> list[str]:
        """Return the names in all events that the watching DAG got."""
        names: list[str] = []
        for run in self._airflow.api("GET", "/dags/upgrade_watched/dagRuns")["dag_runs"]:
            if run["state"] == "success":
                value: Any = self._airflow.xcom(
                    "upgrade_watched", run["dag_run_id"], "events", "return_value"
                )
                names += value
        return names


def main() -> int:
    """Rehearse it; 0 if everything ended as it is meant to."""
    parser = argparse.ArgumentParser(prog="make upgrade", description="Upgrade while tasks are deferred")
    parser.add_argument("commit", help="or tag, of which the older wheel is built")
    commit = parser.parse_args().commit
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else Airflow and the emulator would live on
    uv = installer()
    installation = Installation(uv)
    old, new = wheel_of(commit, uv), build(uv, dist=FOLDER / "new")
    installation.install(old)
    with EmulatorProcess() as emulator:
        connection = f'{{"conn_type": "operations", "host": "{emulator.url}"}}'
        # Whatever finds these sources here must find the wheel there.
        environment = {
            "AIRFLOW_CONN_OPERATIONS_DEFAULT": connection,
            "PYTHONPATH": "",
            # A machine that does other things, too; by default Airflow fails a task that waits for 5 s for its API.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            # Its scheduler begins before its API server; what becomes due meanwhile would fail after four attempts.
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "15",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "120",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "120",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
            "AIRFLOW__CORE__PARALLELISM": "3",
        }
        with Standalone(DAGS, environment, python=installation.python) as airflow:

            def replace_by(wheel: Path) -> None:
                airflow.stop()
                installation.install(wheel)
                airflow.start()

            rehearsal = Rehearsal(airflow, emulator)
            rehearsal.defer()
            replace_by(new)
            rehearsal.end()
            short = rehearsal.run_short()
            replace_by(old)
            rehearsal.run_short(short)
            rehearsal.run_short()
    for problem in rehearsal.problems:
        print(f"Not as it is meant to be: {problem}")
    return int(bool(rehearsal.problems))


if __name__ == "__main__":
    sys.exit(main())
