"""
What a sweep costs in a large Airflow: ``python -m tests.tooling.bench.sweep``; needs PostgreSQL.

A hundred thousand tasks have a record; of a few the operation runs on, or is due for a look. What is printed is the
plan of the one query, how long it takes, and what a whole sweep takes in time and memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from typing import Any

RECORDS = 100_000
RUNS = 1_000
FIRST_ID = 1_000_000
"""Runs have their ids from here; those that Airflow itself gives out are lower."""

ORPHANS = 20
OVER = 200
"""Operations that a first sweep has to look at, as they ended without an XCom that says so."""


MEASURE, FILL = "--measure-in-the-environment", "--fill-in-the-environment"


def main() -> None:
    """Print what was measured."""
    from tests.tooling.chaos.cluster import temporary_postgres

    with temporary_postgres() as postgres, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": home,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url,
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "_AIRFLOW_PROCESS_CONTEXT": "server",
        }
        # Not in this process: it may have imported Airflow already, which would so write into the user's own database.
        subprocess.run([sys.executable, "-m", __spec__.name, MEASURE], env=environment, check=True)


def _measure() -> None:
    import airflow.models
    import airflow.models.task_state_store
    import sqlalchemy as sa
    from airflow import settings
    from airflow.models.base import Base

    from airflow_provider_operations._sweep.database import Database, _due
    from airflow_provider_operations._sweep.service import Services
    from airflow_provider_operations._sweep.sweep import Sweep
    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.support.raw_requests import start

    engine = settings.engine
    assert engine is not None
    assert engine.dialect.name == "postgresql"
    airflow.models.import_all_models()
    Base.metadata.create_all(engine)
    with EmulatorProcess() as emulator:
        os.environ["AIRFLOW_CONN_OPERATIONS_DEFAULT"] = json.dumps(
            {"conn_type": "operations", "host": emulator.url}
        )
        names = [start(emulator.url, duration=36_000, cancelDelay=0) for _ in range(ORPHANS)]
        names += [start(emulator.url, duration=0) for _ in range(OVER)]
        began = time.monotonic()
        _fill(engine, names)
        print(f"filled in {time.monotonic() - began:.0f} s")
        query = str(_due().compile(engine, compile_kwargs={"literal_binds": True}))
        with engine.connect() as connection:
            connection.execute(sa.text("COMMIT"))
            connection.execute(sa.text("VACUUM ANALYZE"))
            for _ in range(2):
                plan = connection.execute(
                    sa.text(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {query}".replace(":", "\\:"))
                ).scalars()
                lines = list(plan)
        print("\n".join(lines))
        counted: list[str] = []
        sa.event.listen(engine, "before_cursor_execute", lambda *given: counted.append(given[2]))
        for number in (1, 2):
            counted.clear()
            before = resource.getrusage(resource.RUSAGE_SELF)
            began = time.monotonic()
            services = Services()
            sweep = Sweep(Database(), services)
            results = sweep.run()
            services.close()
            after = resource.getrusage(resource.RUSAGE_SELF)
            print(
                f"sweep {number}: {time.monotonic() - began:.2f} s, "
                f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.2f} s of CPU, "
                f"{sweep.looked} looked at, {len(results)} cancelled, {len(counted)} statements, "
                f"{(after.ru_maxrss - before.ru_maxrss) / 1024:.0f} MiB more at the most"
            )


def _fill(engine: Any, names: list[str]) -> None:
    """Write the rows that workers and the scheduler would have written: most tasks have delivered."""
    from airflow.models.base import Base

    from airflow_provider_operations._lifecycle.record import RECORD_KEY, Record, State
    from tests.sweep.conftest import SERVICE, TASK
    from tests.ui.conftest import Database as Rows

    rows = Rows(engine)
    rows.insert("dag_bundle", name="bundle", active=True)
    rows.add_dag("dag")
    version = rows.add_dag_version("dag", TASK)
    was = datetime.fromtimestamp(time.time() - 600, timezone.utc)
    tables = Base.metadata.tables
    each = RECORDS // RUNS

    def record(name: str, state: State) -> str:
        now = time.time()
        made = Record(
            state, 3, 1, name, "0" * 64, now - 900, now + 900, name, cancel_if_orphaned=True, service=SERVICE,
            answered_epoch_s=now - 900,
        )  # fmt: skip
        return json.dumps(made.to_json())

    with engine.begin() as connection:
        connection.execute(
            tables["dag_run"].insert(),
            [
                {
                    "id": FIRST_ID + n,
                    "dag_id": "dag",
                    "run_id": f"r{n}",
                    "run_type": "manual",
                    "run_after": was,
                    "state": "success",
                }
                for n in range(1, RUNS + 1)
            ],
        )
    for run in range(1, RUNS + 1):
        instances, stored, xcoms, rendered = [], [], [], []
        for index in range(each):
            number = (run - 1) * each + index
            place = {"dag_id": "dag", "run_id": f"r{run}", "task_id": "task", "map_index": index}
            orphan = number % (RECORDS // len(names)) == 0 and number // (RECORDS // len(names)) < len(names)
            name = names[number // (RECORDS // len(names))] if orphan else f"projects/p/operations/{number}"
            # A tenth are ended by their triggers, which leave records as they are.
            ended_by_trigger = number % 10 == 3
            state = State.STARTED if orphan or ended_by_trigger else State.DELIVERED
            instances.append(
                {
                    **place, "state": "failed" if orphan else "success", "pool": "default_pool", "try_number": 1,
                    "max_tries": 3, "start_date": was, "end_date": was, "updated_at": was, "dag_version_id": version,
                }
            )  # fmt: skip
            stored.append(
                {
                    **place,
                    "dag_run_id": FIRST_ID + run,
                    "key": RECORD_KEY,
                    "value": record(name, state),
                    "updated_at": was,
                }
            )
            pushed = {"operation_name": name}
            if not orphan:
                pushed["operation"] = {
                    "name": name,
                    "done": True,
                    "metadata": {"@type": "x", "progress": 100},
                }  # type: ignore[assignment]
            xcoms += [
                {**place, "dag_run_id": FIRST_ID + run, "key": key, "value": value, "timestamp": was}
                for key, value in pushed.items()
            ]
            if orphan:
                rendered.append({**place, "rendered_fields": SERVICE})
        with engine.begin() as connection:
            connection.execute(tables["task_instance"].insert(), instances)
            connection.execute(tables["task_state_store"].insert(), stored)
            connection.execute(tables["xcom"].insert(), xcoms)
            if rendered:
                connection.execute(tables["rendered_task_instance_fields"].insert(), rendered)


if __name__ == "__main__":
    if sys.argv[1:] == [MEASURE]:
        _measure()
    elif sys.argv[1:] == [FILL]:
        from airflow import settings

        _fill(settings.engine, [f"projects/p/operations/over-{number}" for number in range(ORPHANS + OVER)])
    else:
        main()
