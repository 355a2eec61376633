"""Many tasks at once on a real Airflow: how many its race fails, and how soon all are started."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, text

from tests.tooling.bench.around import database_and_server
from tests.tooling.bench.bench import ROOT, Bench, Row
from tests.tooling.harness.standalone import Standalone

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

__all__ = ["crowds"]

HERE = Path(__file__).parent
LIMIT_S = 1800.0
BUSY = "while True: pass"


def crowds(bench: Bench) -> list[Row]:
    """
    Of many tasks without retries, how many fail on a busy machine, and what ``defer_after`` does to their starts.

    ``BENCH_CROWDS`` (``failed`` or ``started``) measures one of these.
    """
    only = os.environ.get("BENCH_CROWDS", "")
    short, long = bench.either(200, 20), bench.either(500, 32)
    with database_and_server() as (database, server):
        environment = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",  # Airflow's own default
            "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": "operations", "host": server}),
            "CROWD_SHORT": str(short),
            "CROWD_LONG": str(long),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
        }
        engine = create_engine(database, isolation_level="AUTOCOMMIT")
        with Standalone(HERE / "crowd_dags", environment) as airflow:
            rows = [_failed(bench, airflow, engine, short)] if only != "started" else []
            if only != "failed":
                rows.append(_started(bench, airflow, engine, long))
        engine.dispose()
    return rows


def _failed(bench: Bench, airflow: Standalone, engine: Engine, count: int) -> Row:
    """Run the short ones while each core has a process of another kind, too."""
    seen: dict[str, Any] = {}
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(busy.kill)
        for dag_id in ("short_deferred", "short_ends_in_trigger"):
            seen[dag_id] = _run(bench, airflow, engine, dag_id)
    failed = {dag_id: one["states"].get("failed", 0) for dag_id, one in seen.items()}
    return Row(
        f"tasks that fail, of {count} with operations of 1 to 10 s, no retries, on a busy machine",
        "≤ 1 %; 0 with end_from_trigger",
        f"{failed['short_deferred']}; {failed['short_ends_in_trigger']} with end_from_trigger",
        met=failed["short_deferred"] <= count / 100 and not failed["short_ends_in_trigger"],
        figures=seen,
    )


def _started(bench: Bench, airflow: Standalone, engine: Engine, count: int) -> Row:
    """Run the long ones, which with ``defer_after`` hold a worker's slot for some seconds more."""
    seen: dict[str, list[dict[str, Any]]] = {"long_deferred": [], "long_defer_after": []}
    for dag_id in (*seen, *reversed(seen)):
        seen[dag_id].append(_run(bench, airflow, engine, dag_id))
    at_once, later = (statistics.mean(one["started_s"] for one in runs) for runs in seen.values())
    return Row(
        f"until {count} tasks of 60 s are started, 16 at a time, defer_after=5 over 0",
        "≤ 1.1 x for a default above 0",
        f"{later / at_once:.2f} x ({later:.0f} s)",
        f"({at_once:.0f} s)",
        figures=seen,
    )


def _run(bench: Bench, airflow: Standalone, engine: Engine, dag_id: str) -> dict[str, Any]:
    """Run a DAG to its end; return how its tasks ended, and when the last of them was started."""
    run = {"dag": dag_id, "run": airflow.trigger(dag_id)}

    def rows(query: str) -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(text(f"{query} WHERE dag_id = :dag AND run_id = :run"), run))

    airflow.until(
        lambda: rows("SELECT state FROM dag_run")[0][0] in {"success", "failed"}, f"{dag_id} ends", LIMIT_S
    )
    began = rows("SELECT start_date FROM dag_run")[0][0]
    tasks = rows("SELECT state, start_date FROM task_instance")
    states: dict[str, int] = {}
    for state, _ in tasks:
        states[state] = states.get(state, 0) + 1
    started_s = max((start - began).total_seconds() for _, start in tasks)
    bench.say(f"  {dag_id}: {states}, the last is started after {started_s:.0f} s")
    return {"states": states, "started_s": started_s}
