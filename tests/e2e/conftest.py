"""One real Airflow and one emulator for all end-to-end tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from airflow_provider_operations.emulator import EmulatorProcess
from tests.tooling.chaos.cluster import Postgres, temporary_postgres
from tests.tooling.harness.recorder import Recorder, settings_that_watch
from tests.tooling.harness.standalone import Standalone
from tests.tooling.sim.recorded import assemble
from tests.tooling.sim.traces import write_traces

from .functions import FunctionsEmulator
from .spanner import GATEWAY, SpannerEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL; where none is, the test is left out, but not in CI, which installs one."""
    try:
        with temporary_postgres() as postgres:
            yield postgres
    except FileNotFoundError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def emulator() -> Iterator[EmulatorProcess]:
    """The operations emulator in a process of its own."""
    with EmulatorProcess() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def spanner() -> Iterator[SpannerEmulator | None]:
    """Google's Spanner emulator, where its package is installed."""
    if not GATEWAY.exists():
        yield None
        return
    with SpannerEmulator() as server:
        yield server


@pytest.fixture(scope="session")
def functions() -> Iterator[FunctionsEmulator | None]:
    """Google's Cloud Functions emulator, where ``make functions-emulator`` has installed it."""
    if not FunctionsEmulator.is_installed():
        yield None
        return
    with FunctionsEmulator() as server:
        yield server


@pytest.fixture(scope="session")
def airflow(
    emulator: EmulatorProcess,
    spanner: SpannerEmulator | None,
    functions: FunctionsEmulator | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Standalone]:
    """``airflow standalone`` with the example DAGs and those of the tests."""
    dags = tmp_path_factory.mktemp("dags")
    for folder in (ROOT / "dags/examples", ROOT / "tests/e2e/dags"):
        shutil.copytree(folder, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    traces = os.environ.get("RECORD_TRACES")
    watched = tmp_path_factory.mktemp("watched")
    if traces:
        (watched / "airflow_local_settings.py").write_text(settings_that_watch(watched / "seen.jsonl"))
    with Standalone(dags, {"PYTHONPATH": f"{watched}{os.pathsep}{ROOT}"} if traces else None) as airflow:
        database = create_engine(f"sqlite:///{airflow.home / 'airflow.db'}", connect_args={"timeout": 60})
        recorder = Recorder(database, watched / "seen.jsonl") if traces else None
        connections = {"operations_default": emulator.url}
        if spanner is not None:
            connections["spanner"] = spanner.url
        if functions is not None:
            connections["functions"] = functions.url
        for conn_id, url in connections.items():
            body = {"connection_id": conn_id, "conn_type": "operations", "host": url}
            airflow.api("POST", "/connections", json=body)
        yield airflow
        if traces and recorder is not None:
            journal, operations = emulator.journal(), emulator.operations()
            write_traces(Path(traces), assemble(recorder.rows(), journal, operations, _name))
        database.dispose()


def _name(dag_id: str, _: str, task_id: str) -> str:
    return f"e2e {dag_id}.{task_id}"
