"""The fixture for users' tests, in a pytest of its own with an Airflow of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow with an empty database."""
    home = tmp_path_factory.mktemp("airflow")
    migrated = run([sys.executable, "-m", "airflow", "db", "migrate"], home, home)
    assert migrated.returncode == 0, migrated.stderr[-2000:]
    return home


def run(command: list[str], home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user with this Airflow would."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTEST"))
    }
    environment |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def pytest_of(test: str, home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a user's test file."""
    (folder / "test_dag.py").write_text(test)
    return run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_dag.py"], home, folder)


def test_the_documentations_example_runs(airflow_home: Path, tmp_path: Path) -> None:
    """A user's tests run a whole DAG, which defers, against the emulator: no triggerer and no cloud needed."""
    pages = (ROOT / "README.md").read_text() + (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", pages, re.DOTALL)
    dag = next(block for block in blocks if 'dag_id="build"' in block)
    tests = next(block for block in blocks if "def test_build" in block)
    (airflow_home / "dags").mkdir(exist_ok=True)
    (airflow_home / "dags" / "build.py").write_text(dag)

    done = pytest_of(tests, airflow_home, tmp_path)

    assert done.returncode == 0, done.stdout[-4000:]
    assert "2 passed" in done.stdout


CONNECTIONS = """
import os
import pytest
from airflow_provider_operations.hooks import OperationsHook

@pytest.fixture
def operations_conn_ids():
    return ["cloud_build", "vertex"]

def test_each_connection_leads_to_it(operations_emulator):
    for conn_id in ("cloud_build", "vertex"):
        with OperationsHook(conn_id) as hook:
            hook.start_operation("jobs", json={"operation": {"name": f"operations/{conn_id}"}})
    assert [one["name"] for one in operations_emulator.operations()] == ["operations/cloud_build", "operations/vertex"]

def test_nothing_is_left():
    assert "AIRFLOW_CONN_VERTEX" not in os.environ
"""


def test_connections_are_the_users_choice(airflow_home: Path, tmp_path: Path) -> None:
    """The user names the connections; they're gone after the test."""
    done = pytest_of(CONNECTIONS, airflow_home, tmp_path)

    assert "2 passed" in done.stdout, done.stdout[-4000:]


def test_a_pytest_that_does_not_use_it_loads_nothing(airflow_home: Path, tmp_path: Path) -> None:
    """The plugin is loaded wherever the package is installed: neither Airflow nor a web server comes with it."""
    test = """
import sys

def test_loaded(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("airflow_provider_operations")
    assert not {"airflow", "starlette", "uvicorn", "aiohttp", "requests"} & set(sys.modules)
"""
    done = pytest_of(test, airflow_home, tmp_path)

    assert "1 passed" in done.stdout, done.stdout[-4000:]


def test_without_its_extra_it_says_what_to_install(airflow_home: Path, tmp_path: Path) -> None:
    """Where uvicorn is missing the error names the extra."""
    test = """
import sys
sys.modules["uvicorn"] = None

def test_it(operations_emulator):
    raise AssertionError
"""
    done = pytest_of(test, airflow_home, tmp_path)

    assert 'pip install "airflow-provider-operations[emulator]"' in done.stdout
