"""What a task costs: CPU of all of a real Airflow's processes, on PostgreSQL, and how long it takes."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import psutil
from sqlalchemy import create_engine, text

from tests.tooling.bench.around import database_and_server
from tests.tooling.bench.bench import ROOT, Bench, Row
from tests.tooling.bench.emulated import start_operation
from tests.tooling.harness.standalone import Standalone, processes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Engine

__all__ = ["tasks"]

HERE = Path(__file__).parent
FORMS = (
    "operator",
    "operator_deferred",
    "operator_defer_after",
    "operator_ends_in_trigger",
    "sensor",
    "sensor_deferred",
    "sensor_ends_in_trigger",
    "http_sensor",
    "http_operator",
)
"""In ``task_dags``."""

STARTED_ELSEWHERE = ("sensor", "sensor_deferred", "sensor_ends_in_trigger", "http_operator")
AFTER_S = 6.0
"""What a sensor waits for ends so much later than its length, as its worker has to start first."""

TASKS, SUPERVISORS = "processes of tasks", "LocalExecutor's workers, their supervisors"
_ROLES = {
    "worker -- LocalExecutor": SUPERVISORS,
    "airflow worker --": TASKS,
    "api_server": "API server",
    "dag-processor": "DAG processor",
    "triggerer": "triggerer",
    "scheduler": "scheduler",
}
"""What processes are, by words of their command lines; the first that fits."""

IDLE_S = 8.0
"""For so long, before each run, it is looked what Airflow takes without tasks;"""
SETTLE_S = 3.0
"""and so long after a run belongs to it."""
LIMIT_S = 300.0


@dataclass
class Found:
    """What runs of one form have taken."""

    used: list[tuple[float, float]] = field(default_factory=list)
    """CPU seconds of all processes for each task, and how long the run took for each."""
    by_role: list[dict[str, float]] = field(default_factory=list)
    """The same CPU seconds by what the processes are, as ``_ROLES`` names them."""
    late_s: list[float] = field(default_factory=list)
    """From the first start of a task to its end, less the length of its operation."""
    starts: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)

    def cpu_s(self, idle: float) -> float:
        """
        Return the CPU seconds for a task.

        :param idle: what Airflow takes in a second without tasks.
        """
        return statistics.median(cpu_s - idle * length_s for cpu_s, length_s in self.used)

    def roles(self, idle: Mapping[str, float]) -> dict[str, float]:
        """Return the CPU seconds for a task by role; ``idle`` as in ``cpu_s``."""
        runs = zip(self.by_role, self.used, strict=True)
        net = [
            {role: cpu_s - idle.get(role, 0.0) * length_s for role, cpu_s in by.items()}
            for by, (_, length_s) in runs
        ]
        return {role: statistics.median(one.get(role, 0.0) for one in net) for role in set().union(*net)}

    def to_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {**vars(self), "states": dict(self.states)}


def tasks(bench: Bench) -> list[Row]:
    """
    CPU of a task in all of Airflow's processes, by its form and the length of its operation.

    ``BENCH_FORMS`` and ``BENCH_LENGTHS_S`` (JSON lists), ``BENCH_ROUNDS`` and ``BENCH_TASKS`` measure less, or longer.
    """
    lengths = json.loads(os.environ.get("BENCH_LENGTHS_S", "null")) or bench.either([3, 9, 60], [3])
    rows: list[Row] = []
    for preloaded in (False, True):
        bench.say(f"  with{'' if preloaded else 'out'} preload")
        with database_and_server() as (database, server):
            runs = _on_airflow(bench, database, server, lengths, preloaded=preloaded)
        rows += _rows(runs, lengths, preloaded=preloaded)
    return rows


def _forms() -> list[str]:
    """Return those that are measured: all, or as ``BENCH_FORMS`` says."""
    return json.loads(os.environ.get("BENCH_FORMS", "null")) or list(FORMS)


def _rows(runs: Runs, lengths: list[int], *, preloaded: bool) -> list[Row]:
    found, idle = runs.found, runs.idle
    noop = found["noop"].cpu_s(idle)
    figures = {name: one.to_json() for name, one in found.items()}

    def over_noop(form: str, length: int) -> float:
        return found[f"{form}_{length}"].cpu_s(idle) / noop

    def shown(form: str) -> str:
        return ", ".join(f"{over_noop(form, length):.2f}" for length in lengths)

    def profile(name: str) -> list[str]:
        """Say which processes take it, beside those of two no-op starts."""
        ours, floor = (found[one].roles(runs.idle_by_role) for one in (name, "noop"))
        roles = sorted(ours, key=ours.__getitem__, reverse=True)
        lines = [f"  {ours[role]:6.3f}  {2 * floor.get(role, 0.0):6.3f}  {role}" for role in roles]
        return [f"CPU seconds of one task of {name}, and of two no-op starts:", *lines]

    target = 1.3 if preloaded else 1.7
    rows = []
    for form in _forms():
        judged = form == "operator_deferred"
        rows.append(
            Row(
                f"CPU of a task over a no-op's, {form}, operations of {', '.join(map(str, lengths))} s"
                f"{', preloaded' if preloaded else ''}",
                f"≤ {target} x two no-op starts" if judged else "",
                f"{shown(form)} x ({found[f'{form}_{lengths[-1]}'].cpu_s(idle):.2f} s)",
                f"2 x ({noop:.2f} s each)",
                ", ".join(
                    f"{statistics.median(found[f'{form}_{length}'].starts):.1f} starts, "
                    f"{statistics.median(found[f'{form}_{length}'].late_s):.1f} s late"
                    for length in lengths
                ),
                met := all(over_noop(form, length) <= 2 * target for length in lengths) if judged else None,
                figures={
                    "idle_cpu": idle,
                    **{name: figures[name] for name in ("noop", *(f"{form}_{length}" for length in lengths))},
                },
                profile=profile(f"{form}_{lengths[-1]}") if met is False else [],
            )
        )
    return rows


def _on_airflow(bench: Bench, database: str, server: str, lengths: list[int], *, preloaded: bool) -> Runs:
    count = int(os.environ.get("BENCH_TASKS", "8"))
    rounds = int(os.environ.get("BENCH_ROUNDS", bench.either(5, 1)))
    path = [str(ROOT), os.environ.get("PYTHONPATH", ""), *([str(HERE / "preloading")] if preloaded else [])]
    environment = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "36000",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "36000",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",  # Airflow's own default
        "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": "operations", "host": server}),
        "AIRFLOW_CONN_BENCH_HTTP": json.dumps({"conn_type": "http", "host": server}),
        "BENCH_TASKS": str(count),
        "BENCH_LENGTHS_S": json.dumps(lengths),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    with Standalone(HERE / "task_dags", environment) as airflow:
        bench.say("  Airflow is up")
        runs = Runs(airflow, engine, server, count)
        wanted = [("noop", 0), *((f"{form}_{length}", length) for form in _forms() for length in lengths)]
        for number in range(rounds + 1):
            bench.say(f"  round {number} of {rounds}")
            for dag_id, length in random.sample(wanted, len(wanted)):
                runs.play(dag_id, length)
            if (
                not number
            ):  # in which was done what is needed once: a triggerer's first question took it 10 s of CPU
                runs.found.clear()
    engine.dispose()
    return runs


def _role(command_line: str) -> str:
    return next((role for words, role in _ROLES.items() if words in command_line), "other")


class Runs:
    """Runs of DAGs on one Airflow, one after the other."""

    def __init__(self, airflow: Standalone, engine: Engine, server: str, count: int) -> None:
        self._airflow = airflow
        self._engine = engine
        self._server = server
        self._count = count
        self._number = 0
        self._idles: list[dict[str, float]] = []
        self.found: dict[str, Found] = {}
        """By DAG."""

    @property
    def idle(self) -> float:
        """What Airflow takes in a second without tasks: the median of all looks, as one look is short."""
        return statistics.median(sum(one.values()) for one in self._idles)

    @property
    def idle_by_role(self) -> dict[str, float]:
        """The same by what the processes are."""
        return {
            role: statistics.median(one.get(role, 0.0) for one in self._idles)
            for role in set().union(*self._idles)
        }

    def play(self, dag_id: str, length_s: float) -> None:
        """Run a DAG to its end, and note what that took."""
        began_s, before_s = time.monotonic(), self._cpu_s()
        time.sleep(IDLE_S)
        idle_s = time.monotonic() - began_s
        self._idles.append({role: cpu_s / idle_s for role, cpu_s in self._cpu_since(before_s).items()})
        began_s, before_s = time.monotonic(), self._cpu_s()
        self._number += 1
        batch = f"b{self._number}"
        starting = self._operations(dag_id, batch, length_s)
        run_id = self._airflow.trigger(dag_id, {"batch": batch})
        self._airflow.until(
            lambda: self._is_over(dag_id, run_id),
            f"{dag_id} ends",
            LIMIT_S,
        )
        starting.cancel()
        time.sleep(SETTLE_S)
        cpu_s, took_s = self._cpu_since(before_s), time.monotonic() - began_s
        found = self.found.setdefault(dag_id, Found())
        found.used.append((sum(cpu_s.values()) / self._count, took_s / self._count))
        found.by_role.append({role: one / self._count for role, one in cpu_s.items()})
        found.starts.append(self._starts(dag_id, run_id) / self._count)
        for state, late_s in self._ends(dag_id, run_id, length_s):
            found.states[state] += 1
            found.late_s.append(late_s)

    def _operations(self, dag_id: str, batch: str, length_s: float) -> Timer:
        """Start what sensors wait for: now, or for the http provider's sensor only when it is to end."""
        names = [f"projects/bench/operations/{batch}-{number}" for number in range(self._count)]
        form = dag_id.rpartition("_")[0]

        def start(lasts_s: float) -> None:
            for name in names:
                start_operation(self._server, name, lasts_s)

        later = Timer(length_s + AFTER_S, start, (0.0,))
        if form in STARTED_ELSEWHERE:
            start(length_s + AFTER_S)
        elif form == "http_sensor":
            later.start()
        return later

    def _cpu_s(self) -> defaultdict[str, float]:
        used = defaultdict[str, float](float)
        for process in processes_of(self._airflow.home):
            with suppress(psutil.Error):
                times, role = process.cpu_times(), _role(" ".join(process.cmdline()))
                used[role] += times.user + times.system
                used[TASKS if role == SUPERVISORS else role] += times.children_user + times.children_system
        return used

    def _cpu_since(self, before: defaultdict[str, float]) -> dict[str, float]:
        now = self._cpu_s()
        return {role: now[role] - before[role] for role in {*now, *before}}

    def _is_over(self, dag_id: str, run_id: str) -> bool:
        """Look in the database: the API server's answers would count as the tasks' cost."""
        query = text("SELECT state FROM dag_run WHERE dag_id = :dag AND run_id = :run")
        with self._engine.connect() as connection:
            state = connection.execute(query, {"dag": dag_id, "run": run_id}).scalar()
        return state in {"success", "failed"}

    def _starts(self, dag_id: str, run_id: str) -> int:
        query = text("SELECT count(*) FROM log WHERE event = 'running' AND dag_id = :dag AND run_id = :run")
        with self._engine.connect() as connection:
            return int(connection.execute(query, {"dag": dag_id, "run": run_id}).scalar() or 0)

    def _ends(self, dag_id: str, run_id: str, length_s: float) -> list[tuple[str, float]]:
        query = text(
            "SELECT state, extract(epoch FROM end_date - start_date) FROM task_instance"
            " WHERE dag_id = :dag AND run_id = :run"
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query, {"dag": dag_id, "run": run_id}).all()
        return [(str(state), float(seconds or 0.0) - length_s) for state, seconds in rows]
