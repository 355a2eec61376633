"""``dag.test()`` and ``airflow tasks test``: operator and sensor come to their end with neither scheduler nor triggerer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations.emulator import Emulator
from tests.support.raw_requests import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

DAGS = Path(__file__).parent / "without_triggerer"
DATE = "2024-01-02"

SUCCEEDED = {"running", "deferred", "begun", "poke", "reschedule", "deferring", "known", "number", "counted"}

TEST = """
import json
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
run = DagBag().get_dag("tried").test()
states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
print("states", json.dumps(states))
"""


STATE = """
import asyncio, json
from types import SimpleNamespace
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCom
from airflow.utils.session import create_session
from airflow_provider_operations.triggers._ownership import read_fate

with create_session() as session:
    ti = session.query(TaskInstance).filter_by(dag_id="tried", task_id="deferred").first()
    place = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
own = XCom.get_one(key="operation_name", **place)

def fate(place, name, owner):
    return asyncio.run(read_fate(SimpleNamespace(**place), name, owner, timed_out=False)).value

def fate_in(state, name, owner="task"):
    with create_session() as session:
        session.query(TaskInstance).filter_by(**place).one().state = state
    return fate(place, name, owner)

found = [fate_in("deferred", own), fate_in("deferred", "operations/another"), fate_in("failed", own)]
found.append(fate_in(None, own, "sensor"))
print("fates", json.dumps([*found, fate({**place, "run_id": "another"}, own, "sensor")]))
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def python(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run Python with an Airflow of its own, of which only the database is there; return what it printed."""
    home = tmp_path_factory.mktemp("airflow")
    connection = {"conn_type": "operations", "host": emulator.url, "password": "a-secret-token"}
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "_AIRFLOW"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW_CONN_OPERATIONS_DEFAULT": json.dumps(connection),
    }

    def run(*arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        # Airflow 3.0 itself prints, at level debug and here alone, what it tells its masker.
        lines = [line for line in ended.stdout.splitlines() if "msg=MaskSecret(" not in line]
        assert "a-secret-token" not in "\n".join(lines)
        return ended.stdout

    run("-m", "airflow", "db", "migrate")
    run("-m", "airflow", "dags", "reserialize")
    return run


@pytest.fixture(scope="module")
def tried(emulator: Emulator, python: Callable[..., str]) -> str:
    """What ``dag.test()`` printed."""
    start(emulator.url, name="projects/p/operations/known", duration=3, response={"way": "known"})
    return python("-c", TEST)


def last(printed: str, begins: str) -> Any:
    lines = [line for line in printed.splitlines() if line.startswith(begins)]
    assert lines, printed[-3000:]
    return json.loads(lines[-1].removeprefix(begins))


def test_dag_test_runs_every_mode(emulator: Emulator, tried: str) -> None:
    """Every mode; a failed operation fails its task alone, with its error; what a mapped task returns is a list."""
    assert last(tried, "states ") == {**dict.fromkeys(SUCCEEDED, "success"), "failing": "failed"}
    assert "NOT_FOUND (5): no such thing" in tried
    assert emulator.journal("cancel") == []
    (counted,) = (entry for entry in emulator.journal("start") if "counted" in entry["path"])
    assert counted["body"]["numbers"] == [1, 2]


@pytest.mark.usefixtures("tried")
def test_before_3_0_the_state_is_read_in_the_database(python: Callable[..., str]) -> None:
    """
    Before 3.0 a trigger reads in Airflow's database what became of its task.

    One that is deferred for this very operation was acted upon by nobody, as when another triggerer takes over; one
    without a state isn't one that is gone.
    """
    assert last(python("-c", STATE), "fates ") == ["untouched", "over", "over", "undecided", "over"]


@pytest.mark.parametrize("task_id", ["deferred", "known"])
def test_tasks_test_waits_in_process(emulator: Emulator, python: Callable[..., str], task_id: str) -> None:
    """One task, of a DAG that never ran: it waits in its own process."""
    emulator.reset()
    if task_id == "known":
        start(emulator.url, name="projects/p/operations/known", duration=12, response={"way": "known"})

    printed = python("-m", "airflow", "tasks", "test", "tried", task_id, DATE)

    (operation,) = emulator.operations()
    assert operation["done"], printed[-3000:]
    polls = [entry for entry in emulator.journal("get") if operation["name"] in entry["path"]]
    assert polls
    assert emulator.journal("cancel") == []
