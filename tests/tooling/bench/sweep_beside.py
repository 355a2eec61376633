"""
What sweeps cost an Airflow at work: ``python -m tests.tooling.bench.sweep_beside [TASKS]``; needs PostgreSQL.

A hundred thousand tasks have a record, and a thousand more run: by turns for a minute without sweeps, and for a minute
with one every 30 s. What is printed is the CPU of PostgreSQL's processes, and how many tasks changed their state, in each
kind of minute; and how long the sweeps took.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine, text

from tests.tooling.bench import sweep
from tests.tooling.bench.around import database_and_server
from tests.tooling.bench.bench import ROOT
from tests.tooling.harness.standalone import Standalone

WINDOW_S = 60.0
TURNS = 40
"""At most so many minutes; usually the tasks are over before."""


def main() -> None:
    """Print what was measured."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with database_and_server() as (database, server):
        environment = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": "operations", "host": server}),
            "CROWD_SHORT": "1",
            "CROWD_LONG": str(tasks),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
        }
        with Standalone(Path(__file__).parent / "crowd_dags", environment) as airflow:
            subprocess.run(
                [sys.executable, "-m", sweep.__name__, sweep.FILL], env=airflow.environment, check=True
            )
            run_id = airflow.trigger("long_deferred")
            _take_turns(airflow, database, run_id)


def _take_turns(airflow: Standalone, database: str, run_id: str) -> None:
    engine = create_engine(database, isolation_level="AUTOCOMMIT")

    def rows(query: str) -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(text(query), {"run": run_id}))

    airflow.until(
        lambda: rows("SELECT 1 FROM task_instance WHERE run_id = :run AND state = 'deferred'"), "a start", 600
    )
    for turn, swept in zip(range(TURNS), itertools.cycle((False, True)), strict=False):
        sweeps = None
        if swept:
            command = [sys.executable, "-m", "airflow", "operations", "reap", "--every", "30s"]
            sweeps = subprocess.Popen(
                command, env=airflow.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        began, before, changes = time.time(), _cpu_s(engine.url.port), _changes(rows)
        took: set[tuple[float, float]] = set()
        while time.time() < began + WINDOW_S:
            time.sleep(1)  # more often than sweeps end: each writes over what the one before has stored
            for (extra,) in rows("SELECT extra FROM log WHERE event = 'sweep_operations'"):
                seen = json.loads(extra)
                if seen["at_epoch_s"] >= began:
                    took.add((seen["at_epoch_s"], seen["took_s"]))
        print(
            f"turn {turn}, {'sweeps ' if swept else 'no sweep'}: PostgreSQL {_cpu_s(engine.url.port) - before:.2f} CPU-s, "
            f"{_changes(rows) - changes} tasks begun or ended; sweeps took {[round(each, 2) for _, each in sorted(took)]} s",
            flush=True,
        )
        if sweeps is not None:
            sweeps.terminate()
            sweeps.wait()
        if rows("SELECT state FROM dag_run WHERE run_id = :run")[0][0] in {"success", "failed"}:
            break
    engine.dispose()


def _changes(rows: Any) -> int:
    query = "SELECT count(start_date) + count(end_date) FROM task_instance WHERE run_id = :run"
    return int(rows(query)[0][0])


def _cpu_s(port: int | None) -> float:
    """Return what the processes of the PostgreSQL on a port have used; what has ended counts for the one that began it."""
    (first,) = (
        each
        for each in psutil.process_iter(["name", "cmdline", "ppid"])
        if each.info["name"] == "postgres"
        and "-p" in each.info["cmdline"]
        and str(port) in each.info["cmdline"]
    )
    own = first.cpu_times()
    used = own.user + own.system + own.children_user + own.children_system
    return used + sum(sum(each.cpu_times()[:2]) for each in first.children())


if __name__ == "__main__":
    main()
