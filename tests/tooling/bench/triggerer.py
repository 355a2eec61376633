"""A real triggerer with a thousand deferred tasks, on PostgreSQL; the tasks are deferred in the database."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from sqlalchemy import create_engine, text

from tests.tooling.bench.around import database_and_server
from tests.tooling.bench.bench import ROOT, Bench, NotMeasured, Row
from tests.tooling.bench.emulated import start_operation
from tests.tooling.harness.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

__all__ = ["triggerer"]

FIRST_END_S = 30.0
ENDS_OVER_S = 30.0
LIMIT_S = 240.0
BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
OURS = "airflow_provider_operations.triggers.OperationTrigger"
CONTROL = "airflow.providers.standard.triggers.temporal.DateTimeTrigger"


def triggerer(bench: Bench) -> list[Row]:
    """One real triggerer process with deferred tasks on it."""
    count, resumed = bench.either((1_000, 20), (200, 4))
    bench.run("tests.tooling.bench.supports", json.dumps({"end_from_trigger": True}))
    with database_and_server() as (database, server):
        return _on_airflow(bench, database, server, count, resumed)


def _on_airflow(bench: Bench, database: str, server: str, count: int, resumed: int) -> list[Row]:
    environment = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__TRIGGERER__CAPACITY": str(2 * count),
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": "operations", "host": server}),
        "BENCH_COUNT": str(count),
        "BENCH_RESUMED": str(resumed),
    }
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    with Standalone(Path(__file__).parent / "dags", environment) as airflow:
        bench.say("  Airflow is up")
        sets = Sets(bench, airflow, engine, server)
        control = sets.play("control", count, sets.control)
        ending = sets.play("ending", count, sets.ours(end_from_trigger=True))
        worked = sets.play("resumed", resumed, sets.ours(end_from_trigger=False))
    engine.dispose()
    smooth = len(ending["blocked_s"]) <= len(control["blocked_s"])
    all_succeed = ending["states"] == {"success": count} and worked["states"] == {"success": resumed}
    starts = f"{ending['worker_starts']} worker starts for {count:,}, {worked['worker_starts']} for {resumed} without"
    return [
        Row(
            f"one real triggerer process, {count:,} deferred tasks on it",
            'all succeed, no "blocked" warning caused by us',
            f"{_states(ending)}; {len(ending['blocked_s'])} warnings; end_from_trigger: {starts}",
            "",
            f"as many DateTimeTrigger: {len(control['blocked_s'])} warnings",
            smooth and all_succeed and not ending["worker_starts"],
            figures={"control": control, "end_from_trigger": ending, "resumed": worked},
        )
    ]


def _states(figures: dict[str, Any]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in figures["states"].items())


class Sets:
    """Sets of deferred tasks on one Airflow, one after the other."""

    def __init__(self, bench: Bench, airflow: Standalone, engine: Engine, server: str) -> None:
        self._bench = bench
        self._airflow = airflow
        self._engine = engine
        self._server = server

    @staticmethod
    def control(name: str, ends_s: float) -> dict[str, Any]:
        """Return a trigger that does next to nothing: what Airflow itself needs for as many."""
        return {"classpath": CONTROL, "kwargs": {"moment": ends_s, "end_from_trigger": True}, "next": {}}

    def ours(self, *, end_from_trigger: bool) -> Callable[[str, float], dict[str, Any]]:
        """Return what makes our trigger, and the operation for it."""

        def made(name: str, ends_s: float) -> dict[str, Any]:
            start_operation(self._server, name, ends_s - time.time())
            now = time.time()
            waits = {"operation_name": name, "started_epoch_s": now}
            kwargs = {**waits, "operations_conn_id": "bench", "end_from_trigger": end_from_trigger}
            return {"classpath": OURS, "kwargs": kwargs, "next": waits}

        return made

    def play(self, dag_id: str, count: int, made: Callable[[str, float], dict[str, Any]]) -> dict[str, Any]:
        """Defer a set and wait until all its tasks are over."""
        self._bench.say(f"  {dag_id}: {count} deferred tasks")
        run_id = self._airflow.trigger(dag_id)  # its DAG is paused, so that nothing is scheduled yet
        first_s = time.time() + FIRST_END_S
        triggers = [
            made(f"projects/bench/operations/{dag_id}-{number}", first_s + ENDS_OVER_S * number / count)
            for number in range(count)
        ]
        before = len(self._log())
        self._defer({"dag_id": dag_id, "run_id": run_id, "triggers": triggers})
        deferred_s = time.time()
        self._airflow.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        runner = self._runner()
        used = _cpu_s(runner)
        deadline = time.monotonic() + LIMIT_S
        while set(self._states(dag_id)) - {"success", "failed"} and time.monotonic() < deadline:
            time.sleep(1)
        over_s = time.time()
        said = self._log()[before:]
        states = self._states(dag_id)
        return {
            "states": states,
            "failures": self._failures(dag_id, run_id) if "failed" in states else [],
            "worker_starts": self._worker_starts(dag_id),
            "blocked_s": [float(seconds) for seconds in BLOCKED.findall(said)],
            "over_after_last_end_s": over_s - (first_s + ENDS_OVER_S),
            "deferred_before_first_end_s": first_s - deferred_s,
            "triggerer_cpu_s": _cpu_s(runner) - used,
        }

    def _defer(self, told: dict[str, Any]) -> None:
        file = self._airflow.home / f"{told['dag_id']}.json"
        file.write_text(json.dumps(told))
        done = subprocess.run(
            [sys.executable, "-m", "tests.tooling.bench.defer", str(file)],
            cwd=ROOT,
            env=self._airflow.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise NotMeasured(f"the tasks could not be deferred: {done.stderr[-500:]}")

    def _log(self) -> str:
        return (self._airflow.home / "standalone.log").read_text(errors="replace")

    def _states(self, dag_id: str) -> dict[str, int]:
        query = text(
            "SELECT coalesce(state, 'none'), count(*) FROM task_instance WHERE dag_id = :id GROUP BY 1"
        )
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query, {"id": dag_id})}

    def _failures(self, dag_id: str, run_id: str) -> list[str]:
        query = text("SELECT map_index FROM task_instance WHERE dag_id = :id AND state = 'failed' LIMIT 3")
        with self._engine.connect() as connection:
            indexes = [row[0] for row in connection.execute(query, {"id": dag_id})]
        return [
            str(self._airflow.failure(dag_id, run_id, "wait", map_index=index))[:1000] for index in indexes
        ]

    def _worker_starts(self, dag_id: str) -> int:
        query = text("SELECT count(pid) FROM task_instance WHERE dag_id = :id")
        with self._engine.connect() as connection:
            return int(connection.execute(query, {"id": dag_id}).scalar() or 0)

    def _runner(self) -> list[psutil.Process]:
        """Return the triggerer's processes."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self._airflow.home) and "triggerer" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def _cpu_s(processes: list[psutil.Process]) -> float:
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system
    return used
