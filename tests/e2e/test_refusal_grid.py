"""
Refused starts in a real Airflow: whatever a refusal means, however the task waits, whatever is done to it, and when.

All tasks of the grid run side by side; they are judged from outside, by the emulator's journal and Airflow's states.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.emulator import EmulatorProcess
from tests.support.raw_requests import start
from tests.tooling.harness.standalone import Standalone, processes_of

from .refusals import CELLS, Cell, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from tests.tooling.chaos.cluster import Postgres

pytestmark = pytest.mark.airflow

TIMEOUT_S = 540.0

KILLED_WITHIN_S = 20.0
"""So long after a mark a worker or a trigger has cancelled what it would cancel, or started what it would start."""

OUTAGE_S = 25.0
"""Two polls fall into it, the second one after all that a task bears, also if a busy triggerer asks late."""

JSON = {"Content-Type": "application/json"}

OVER = {"success", "failed", "skipped"}


class Grid:
    """
    The run of all cells.

    :param anothers: by cell, the name of the operation that something else has started.
    """

    def __init__(self, airflow: Standalone, emulator: EmulatorProcess, anothers: dict[str, str]) -> None:
        self.airflow = airflow
        self.emulator = emulator
        self.anothers = anothers
        self.run_ids: dict[str, str] = {}
        self.ended: set[str] = set()
        """Those of the others' operations that are over, as the service says."""
        self.acted: dict[str, Seen] = {}
        """What was seen of each task when it was acted upon."""
        self._evicted: list[tuple[float, psutil.Process]] = []
        self._clearing: Cell | None = None
        self._polled_before: dict[str, int] = {}
        self._last_mark_s = 0.0

    def play(self) -> None:
        """Run the DAGs, act upon each task at its moment, and wait until all is over."""
        for dag_id in {cell.dag_id for cell in CELLS}:
            self.run_ids[dag_id] = self.airflow.trigger(dag_id)
        with suppress(TimeoutError):  # those that aren't over are told by their own tests
            self.airflow.until(self._look, "all tasks have been acted upon and are over", TIMEOUT_S)
        # Nothing can be waited for here: a kill that does nothing isn't seen.
        time.sleep(max(self._last_mark_s + KILLED_WITHIN_S - time.monotonic(), 0.0))
        self.seen = self._see()
        self.operations = {each["name"]: each for each in self.emulator.operations()}
        self.requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in self.emulator.journal():
            self.requests[_cell_of(entry["path"])].append(entry)

    def _look(self) -> bool:
        time.sleep(1)  # a look takes the API server as much work as a task does: not more often
        seen = self._see()
        for ends_s, process in list(self._evicted):
            if not process.is_running():
                self._evicted.remove((ends_s, process))
            elif time.monotonic() > ends_s:
                process.kill()
        for cell in CELLS:
            name = self.anothers.get(cell.key)
            goes_on = cell.goes_on(seen[cell.key], self.acted.get(cell.key))
            if name is not None and name not in self.ended and goes_on:
                self.ended.add(name)
                end = {"name": name, **cell.end_of_anothers}
                self.emulator.script_fault(
                    kind="get", operation=name, status=200, body=json.dumps(end), headers=JSON
                )
        if self._clearing is not None and seen[self._clearing.key].state != "restarting":
            self._clearing = None
        for cell in sorted(self._waits_for_act(), key=_urgency):
            self._act_if_due(cell, seen[cell.key])
        acts_on = self._waits_for_act() or self._evicted
        return not acts_on and all(one.state in OVER for one in seen.values())

    def _waits_for_act(self) -> list[Cell]:
        return [cell for cell in CELLS if cell.is_acted_upon and cell.key not in self.acted]

    def _act_if_due(self, cell: Cell, seen: Seen) -> None:
        if not cell.is_at(seen):
            return
        if cell.watched and seen.polls < self._polled_before.setdefault(cell.key, seen.polls) + 2:
            return  # a triggerer has it only if it goes on being asked for
        clears_held = cell.act == "cleared" and cell.held
        # Of several tasks that workers hold and that are cleared at once, Airflow takes all but one for retried.
        if clears_held and self._clearing is not None:
            return
        if cell.act in {"evicted", "lost"}:
            if not self._end_worker(cell, seen):
                return
        elif cell.act == "marked":
            self.airflow.set_state(*self._run_of(cell), cell.key, cell.mark)
            self._last_mark_s = time.monotonic()
        elif cell.act == "cleared":
            self.airflow.clear(*self._run_of(cell), cell.key)
        else:
            self.emulator.script_fault(kind="get", operation=cell.place, status=503, for_=OUTAGE_S)
        self.acted[cell.key] = seen
        if clears_held:
            self._clearing = cell

    def _end_worker(self, cell: Cell, seen: Seen) -> bool:
        """End the process of a task, or tell it to end, if it lives still."""
        process = next((one for one in processes_of(self.airflow.home) if one.pid == seen.pid), None)
        if process is None:
            return False
        if cell.act == "lost":
            process.kill()
        else:
            process.terminate()
            self._evicted.append((time.monotonic() + cell.grace_s, process))
        return True

    def _see(self) -> dict[str, Seen]:
        """Look at all tasks; the journal first, so that a state is never older than what has led to it."""
        seen = {cell.key: Seen() for cell in CELLS}
        for kind in ("start", "list", "get"):
            for entry in self.emulator.journal(kind):
                one = seen[_cell_of(entry["path"])]
                if kind == "get":
                    one.polls += 1
                elif kind == "list":
                    one.lists.append(entry["status"])
                elif entry["path"].endswith("/things"):
                    one.starts.append(entry["status"])
        for run in self.run_ids.items():
            for ti in self.airflow.tasks(*run):
                one = seen[ti["task_id"]]
                one.state, one.try_number, one.pid = ti["state"], ti["try_number"], ti["pid"]
        return seen

    def _run_of(self, cell: Cell) -> tuple[str, str]:
        return cell.dag_id, self.run_ids[cell.dag_id]

    def result(self, cell: Cell) -> Any:
        """Return what a task has returned."""
        return self.airflow.xcom(*self._run_of(cell), cell.key, "return_value")

    def ends(self, cell: Cell) -> list[str]:
        """Return how the operations have ended that a task has started, in order."""
        names = dict.fromkeys(
            entry["operation"]
            for entry in self.requests[cell.key]
            if entry["kind"] == "start" and entry["path"].endswith("/things") and entry["operation"]
        )
        return [_end(self.operations[name]) for name in names]

    def story(self, cell: Cell) -> str:
        """Tell what a task has asked, and what its log says."""
        asked = [
            f"{entry['time']:.1f} {entry['kind']} {entry['status']} {entry['operation']} {entry['fault']}"
            for entry in self.requests[cell.key]
            if entry["kind"] != "get"
        ]
        log = [
            f"try {number}: {line}"
            for number in range(1, self.seen[cell.key].try_number + 1)
            for line in self.airflow.log_lines(*self._run_of(cell), cell.key, number)
        ]
        return "\n".join([f"acted upon: {self.acted.get(cell.key)}", *asked, *log])

    def cancelled(self, cell: Cell) -> set[str]:
        """Return the operations that somebody has asked to cancel."""
        return {entry["operation"] for entry in self.requests[cell.key] if entry["kind"] == "cancel"}


def _urgency(cell: Cell) -> tuple[bool, bool, bool]:
    """Sort by what can't wait: a worker that has its answer soon, and operations that go on meanwhile."""
    return cell.act not in {"evicted", "lost"}, cell.moment != "taken", cell.refusal != "wait"


def _cell_of(path: str) -> str:
    """Return the task whose request it is; each has a project of its own."""
    return path.partition("projects/")[2].partition("/")[0]


def _end(operation: dict[str, Any]) -> str:
    if not operation["done"]:
        return "runs"
    if "error" not in operation:
        return "succeeded"
    return "cancelled" if operation["error"]["code"] == 1 else "failed"


@pytest.fixture(scope="module")
def grid(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """Play the grid in an Airflow of its own."""
    dags, settings = (tmp_path_factory.mktemp(name) for name in ("dags", "settings"))
    shutil.copy(Path(__file__).parent / "refusal_dags" / "e2e_refusals.py", dags)
    tasks: dict[str, dict[str, Any]] = defaultdict(dict)
    for cell in CELLS:
        tasks[cell.dag_id][cell.key] = cell.arguments
    (dags / "cells.json").write_text(json.dumps(tasks))
    (settings / "airflow_local_settings.py").write_text("import airflow_provider_operations.preload\n")
    with EmulatorProcess() as emulator:
        connection = {"conn_type": "operations", "host": emulator.url, "extra": {"timeout": 300}}
        environment = {
            "AIRFLOW_CONN_OPERATIONS_DEFAULT": json.dumps(connection),
            "AIRFLOW__CORE__PARALLELISM": "48",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url,  # SQLite would lock out many of so many tasks
            # As many as the API server has threads, or all of these wait for a connection that one of them would free.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "40",
            "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "4",  # they don't all begin in the same moment
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "4",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(settings), os.environ.get("PYTHONPATH")])),
        }
        with Standalone(dags, environment) as airflow:
            for cell in CELLS:
                for fault in cell.faults:
                    emulator.script_fault(**fault)
            airflow.until(
                lambda: airflow.api("GET", "/dags")["total_entries"] == len(tasks), "the DAGs are parsed"
            )
            anothers = {
                cell.key: start(emulator.url, f"/v1/{cell.place}others:create", **cell.anothers)
                for cell in CELLS
                if cell.anothers is not None
            }
            grid = Grid(airflow, emulator, anothers)
            grid.play()
            yield grid


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.key)
def test_refused(grid: Grid, cell: Cell) -> None:
    """One operation for each intent, the task's own cancelled with it and no other, and the operation's end is the task's."""
    seen = grid.seen[cell.key]
    assert cell.key in grid.acted or not cell.is_acted_upon, "its moment hasn't come"
    assert (seen.state, grid.ends(cell)) == (cell.state, cell.ends), grid.story(cell)

    names = [name for name, each in grid.operations.items() if f"{cell.place}operations/" in name]
    meant = {name for name in names if _end(grid.operations[name]) == "cancelled"}
    assert grid.cancelled(cell) == meant, grid.story(cell)
    another = grid.anothers.get(cell.key)
    if another is not None:
        assert another not in meant
        assert (another in grid.ended) == (cell.act != "marked")
    if cell.act == "marked":
        assert len(seen.starts) == len(grid.acted[cell.key].starts), "nothing was started after the mark"
    elif seen.state == "success":
        assert grid.result(cell) == cell.result
