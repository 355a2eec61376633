"""What importing the provider costs: a DAG file, a task's process, and a process that loads it before it forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HTTP_CLIENTS = {"requests", "aiohttp"}
HEAVY = {"aiohttp", "google.protobuf", "google.auth", "authlib", "airflow.providers.http"}
OURS_ELSEWHERE = {f"airflow_provider_operations.{room}" for room in ("cli", "hooks", "triggers", "ui")}
OURS_IN_A_TASK = ("operators.run", "sensors", "triggers.operation", "hooks.worker", "_tasks.base", "links")

DAG_FILE = """
import airflow.providers.common.compat.sdk
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator
before = set(sys.modules)
from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
"""

WORKER = """
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator
before = set(sys.modules)
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
for task in (
    RunOperationOperator(task_id="run", path="things"),
    CancelOperationOperator(task_id="cancel", operation_name="operations/x"),
    OperationSensor(task_id="wait", operation_name="operations/x"),
):
    assert not task.hook.poll("operations/x").sent  # nobody listens there
"""

PRELOADED = """
import threading
import airflow_provider_operations.preload
assert threading.active_count() == 1
before = set(sys.modules)
""" + WORKER.replace("before = set(sys.modules)\n", "")

TRIGGERER = """
import asyncio, threading
from airflow_provider_operations.triggers import OperationTrigger
before, main, threads = set(sys.modules), threading.get_ident(), set()
class Watching:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"aiohttp", "requests", "airflow"}:
            threads.add(threading.get_ident())
sys.meta_path.insert(0, Watching())
asyncio.run(OperationTrigger("operations/x")._hook())
assert threads and main not in threads
"""


def loaded(code: str, *packages: str) -> set[str]:
    """Run code in a fresh interpreter; return which of the packages it has loaded since ``before``."""
    report = f"print(sorted(set({list(packages)!r}) & (set(sys.modules) - before)))"
    connection = {"conn_type": "operations", "host": "http://127.0.0.1:9"}
    environment = {**os.environ, "AIRFLOW_CONN_OPERATIONS_DEFAULT": json.dumps(connection)}
    result = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{report}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found: list[str] = json.loads(result.stdout.strip().splitlines()[-1].replace("'", '"'))
    return set(found)


def test_dag_files_import_no_http_client() -> None:
    """
    Operators and sensors load neither requests, aiohttp, protobuf nor google-auth when a DAG is parsed.

    Nor those of our rooms that only a worker, a triggerer or the UI needs.
    """
    assert loaded(DAG_FILE, *HTTP_CLIENTS, *HEAVY, *OURS_ELSEWHERE) == set()


@pytest.mark.slow
def test_tasks_import_one_http_client() -> None:
    """A worker's process loads requests to ask a service, and neither aiohttp nor the http provider."""
    assert loaded(WORKER, *HTTP_CLIENTS, *HEAVY) == {"requests"}


@pytest.mark.slow
def test_a_preloaded_process_imports_nothing_more() -> None:
    """What tasks import is there once ``preload`` is: nothing of ours is left, nor an HTTP client."""
    ours = (f"airflow_provider_operations.{one}" for one in OURS_IN_A_TASK)
    assert loaded(PRELOADED, *HTTP_CLIENTS, *HEAVY, *ours) == set()


def settings_that_preload(home: Path) -> dict[str, str]:
    """Write what docs/deployment.md has users write; return the environment of such an Airflow."""
    (home / "config").mkdir()
    line = "import airflow_provider_operations.preload\n"
    (home / "config" / "airflow_local_settings.py").write_text(line)
    return {**os.environ, "AIRFLOW_HOME": str(home)}


@pytest.mark.slow
def test_airflow_preloads(tmp_path: Path) -> None:
    """Airflow asks the package what it has before it reads its local settings: a part of it is imported by then."""
    code = "import sys; from airflow import settings; settings.initialize(); print(sorted(sys.modules))"
    environment = settings_that_preload(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    for name in OURS_IN_A_TASK:
        assert repr(f"airflow_provider_operations.{name}") in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("first", ["operators", "exceptions", "links", "retry_policies", "decorators"])
def test_python_may_import_ours_before_airflow(tmp_path: Path, first: str) -> None:
    """Then Airflow's local settings, with their line about ``preload``, are read in the midst of that."""
    environment = settings_that_preload(tmp_path)
    subprocess.run(
        [sys.executable, "-c", f"import airflow_provider_operations.{first}"], env=environment, check=True
    )


@pytest.mark.slow
def test_a_triggerer_imports_in_a_thread() -> None:
    """The event loop of a triggerer doesn't stand still while HTTP clients are loaded for the first trigger."""
    assert "aiohttp" in loaded(TRIGGERER, *HTTP_CLIENTS)
