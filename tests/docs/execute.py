"""
``python -m tests.docs.execute FILE``: run blocks of the documentation in a real Airflow, each by its kind.

A process of its own, as Airflow wants a home and a database before it is imported. FILE lists the
connections and the modules, which are beside it; what came of each is printed as JSON.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import requests

from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.operation import Operation

QUOTA = {
    "code": 8,
    "message": "no GPUs left",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "GPU_QUOTA", "domain": "example.com"},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "90s"},
    ],
}


def run_dag(dag: Any) -> str:
    """Run a DAG as its author would, triggers included; return how its tasks ended."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    run = dag.test()
    with create_session() as session:
        tis = session.query(TaskInstance).filter_by(dag_id=dag.dag_id, run_id=run.run_id)
        states = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in tis}
    return f"{run.state}: {states}"


def run_tests(file: Path) -> str:
    """Run a block that is a test file, with the fixtures that this package brings for users."""
    import pytest

    # Whether the entry point of the plugin is installed here or not.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = [
        "-q",
        "-p",
        "airflow_provider_operations.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    return f"pytest: {int(pytest.main([*options, str(file)]))}"


def run_module(file: Path, dags: Path) -> list[str]:
    """
    Run a block: its tests, its DAGs, its callbacks, or, where it has none of them, just the block.

    :param dags: Airflow's folder. ``DAG.test`` parses all that is there, each time, so only what is needed is.
    """
    from airflow.dag_processing.dagbag import DagBag

    text = file.read_text()
    if "def test_" in text:
        for other in file.parent.glob("*.py"):
            shutil.copy(other, dags)
        return [run_tests(file)]
    module = importlib.import_module(file.stem)
    if "DAG(" in text:
        for other in dags.glob("*.py"):
            other.unlink()
        bag = DagBag(shutil.copy(file, dags))
        assert not bag.import_errors, bag.import_errors
        assert bag.dags, "no DAG is found"
        return [run_dag(dag) for dag in bag.dags.values()]
    did = ["executed"]
    for function in list(vars(module).values()):
        if inspect.isfunction(function) and function.__module__ == file.stem:
            arguments = list(inspect.signature(function).parameters)
            assert arguments == ["context"], f"nobody knows how to call {function.__name__}"
            function({"exception": failure()})
            did.append("called")
    return did


def failure() -> Any:
    """Return what a task with a failed operation raises."""
    from airflow_provider_operations.exceptions import OperationFailed

    return OperationFailed(Operation.from_json({"name": "operations/x", "done": True, "error": QUOTA}))


def main(plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run everything that is planned."""
    with Emulator() as emulator:
        for conn_id, fields in plan["connections"].items():
            host = {"host": emulator.url} if fields.get("conn_type") == "operations" else {}
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps({**fields, **host})
        for script in plan.get("operations", []):
            body = {"operation": script}
            requests.post(f"{emulator.url}/v1/operations", json=body, timeout=10).raise_for_status()
        results: dict[str, Any] = {}
        for name in plan["run"]:
            try:
                results[name] = run_module(folder / f"{name}.py", Path(os.environ["AIRFLOW_HOME"]) / "dags")
            except BaseException:  # noqa: BLE001  told in the result
                results[name] = [traceback.format_exc()]
        results["journal"] = [
            [entry["method"], entry["path"]] for entry in emulator.journal() if entry["kind"] == "start"
        ]
        return results


if __name__ == "__main__":
    file = Path(sys.argv[1])
    sys.path.insert(0, str(file.parent))
    outcome = main(json.loads(file.read_text()), file.parent)
    file.with_suffix(".result").write_text(json.dumps(outcome))
