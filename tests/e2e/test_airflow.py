"""The provider in a real Airflow, driven through its REST API; judged by Airflow and the emulator's journal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import EmulatorProcess
    from tests.tooling.harness.standalone import Standalone

    from .functions import FunctionsEmulator
    from .spanner import SpannerEmulator

pytestmark = pytest.mark.airflow


CONFUSED = "but the task instance's state attribute is queued"
"""What Airflow logs when it fails a resumed task for a reason of its own (apache/airflow #67287)."""


def _is_over(airflow: Standalone, dag_id: str, run_id: str, meanwhile: Callable[[], object]) -> bool:
    meanwhile()
    return airflow.run_state(dag_id, run_id) in {"success", "failed"}


def finished(
    airflow: Standalone,
    dag_id: str,
    conf: dict[str, Any] | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> str:
    """
    Run a DAG to its end; once more where Airflow itself has spoilt the run.

    :param meanwhile: called again and again until it is over.
    """
    for _ in range(3):
        run_id = airflow.trigger(dag_id, conf)
        over = partial(_is_over, airflow, dag_id, run_id, meanwhile)
        airflow.until(over, f"{dag_id} is over", 240)
        if not any(CONFUSED in line and run_id in line for line in airflow.output(100_000).splitlines()):
            return run_id
    pytest.fail(f"Airflow has spoilt three runs of {dag_id}")


def states(airflow: Standalone, dag_id: str, run_id: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for ti in airflow.tasks(dag_id, run_id):
        found.setdefault(ti["task_id"], set()).add(ti["state"])
    return found


def journal(emulator: EmulatorProcess, parent: str, *kinds: str) -> list[str]:
    return [e["kind"] for e in emulator.journal() if parent in e["path"] and e["kind"] in kinds]


def operation(emulator: EmulatorProcess, parent: str) -> dict[str, Any]:
    (found,) = (op for op in emulator.operations() if parent in op["name"])
    return found


def test_examples_parse(airflow: Standalone) -> None:
    """Every example DAG is parsed without an import error."""
    airflow.until(lambda: airflow.api("GET", "/dags")["total_entries"] >= 15, "all DAGs are parsed")
    assert airflow.api("GET", "/importErrors")["import_errors"] == []


def test_provider_is_known(airflow: Standalone) -> None:
    """``airflow providers get`` shows the provider."""
    output = subprocess.run(
        [
            sys.executable,
            "-m",
            "airflow",
            "providers",
            "get",
            "airflow-provider-operations",
            "--full",
            "--output",
            "json",
        ],
        env=airflow.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Long-Running Operations" in output
    assert "airflow_provider_operations.hooks.OperationsHook" in output


def test_connection_form(airflow: Standalone) -> None:
    """The connection type has its own form in the UI: standard fields relabelled, extras as fields."""
    answer = airflow._session.get(f"{airflow.url}/ui/connections/hook_meta", timeout=30)
    (form,) = (meta for meta in answer.json() if meta["connection_type"] == "operations")
    assert form["hook_name"] == "Long-Running Operations"
    assert form["standard_fields"]["password"]["title"] == "Password, token or client secret"
    assert set(form["extra_fields"]) >= {
        "auth",
        "keyfile_dict",
        "oauth2_url",
        "path_prefix",
        "cancel_suffix",
        "cancel_method",
        "headers",
        "timeout",
        "verify",
        "proxies",
        "console_url",
    }


def test_connection_test(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """The UI's "Test connection" asks the server, and says why not when it can't."""
    body = {"connection_id": "t", "conn_type": "operations", "host": emulator.url}
    good = airflow.api("POST", "/connections/test", json=body)
    bad = airflow.api("POST", "/connections/test", json={**body, "host": "http://127.0.0.1:9"})

    assert good["status"] is True, good
    assert bad["status"] is False
    assert "Connection refused" in bad["message"]


def test_success(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """An operation is started once, watched in the triggerer with its progress logged, its response used."""
    run_id = finished(airflow, "operations_success")

    assert states(airflow, "operations_success", run_id) == {"build": {"success"}, "deploy": {"success"}}
    log = airflow.log("operations_success", run_id, "build")
    assert re.search(r"operations/[-0-9a-f]+: \d+ %, \w[\w ]+ \(0:00:\d\d elapsed\)", log), log
    value = airflow.xcom("operations_success", run_id, "build", "return_value")
    assert value == {"image": "registry.example.com/app@sha256:5e1f", "layers": 7}
    assert "response" not in airflow.xcom("operations_success", run_id, "build", "operation")


def test_failure(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """The whole Status is in the task's log, its callback and its XCom."""
    run_id = finished(airflow, "operations_failure")

    assert states(airflow, "operations_failure", run_id) == {"train": {"failed"}, "report": {"success"}}
    log = airflow.log("operations_failure", run_id, "train")
    for fact in (
        "RESOURCE_EXHAUSTED (8): The training job could not get the machines it asked for.",
        "GPU_QUOTA_EXCEEDED (training.example.com)",
        "region: europe-west1",
        "projects/demo: GPUs in europe-west1: 8 of 4",
        "try again after 90s",
        "Ask for more: https://console.example.com/quotas",
        "reason GPU_QUOTA_EXCEEDED; try again after 0:01:30",  # the callback
    ):
        assert fact in log, f"{fact!r} is not in the log:\n{log}"
    error = airflow.xcom("operations_failure", run_id, "train", "operation")["error"]
    assert [detail["@type"].rpartition(".")[2] for detail in error["details"]] == [
        "ErrorInfo",
        "QuotaFailure",
        "RetryInfo",
        "Help",
    ]


@pytest.mark.parametrize("phase", ["deferred", "running"])
def test_killed(airflow: Standalone, emulator: EmulatorProcess, phase: str) -> None:
    """A task marked failed while deferred, or while it holds a worker: one start, one cancel, CANCELLED."""
    dag_id = f"e2e_kill_{phase}"
    run_id = airflow.trigger(dag_id)
    airflow.until(
        lambda: (
            airflow.task(dag_id, run_id, "run")["state"] == phase
            and len(journal(emulator, f"kill-{phase}", "get")) >= 2
        ),
        f"the task is {phase} and polls",
    )
    airflow.set_state(dag_id, run_id, "run", "failed")

    airflow.until(lambda: operation(emulator, f"kill-{phase}")["done"], "the operation is over", 60)
    assert operation(emulator, f"kill-{phase}")["error"]["code"] == 1
    assert journal(emulator, f"kill-{phase}", "start", "cancel") == ["start", "cancel"]
    assert airflow.task(dag_id, run_id, "run")["state"] == "failed"


def test_killed_sensor(airflow: Standalone, emulator: EmulatorProcess) -> None:
    """A deferred sensor cancels what it waits for only because it was asked to."""
    run_id = airflow.trigger("e2e_kill_sensor")
    airflow.until(
        lambda: (
            airflow.task("e2e_kill_sensor", run_id, "wait")["state"] == "deferred"
            and len(journal(emulator, "kill-sensor", "get")) >= 3
        ),
        "the sensor is deferred and polls",
    )
    airflow.set_state("e2e_kill_sensor", run_id, "wait", "failed")

    airflow.until(lambda: operation(emulator, "kill-sensor")["done"], "the operation is over", 60)
    assert journal(emulator, "kill-sensor", "start", "cancel") == ["start", "cancel"]


def test_modes(airflow: Standalone) -> None:
    """The three modes fail alike and for good; softly, it is skipped."""
    run_id = finished(airflow, "e2e_modes")

    assert states(airflow, "e2e_modes", run_id) == {
        "start": {"success"},
        "poke": {"failed"},
        "reschedule": {"failed"},
        "deferrable": {"failed"},
        "softly": {"skipped"},
    }
    for mode in ("poke", "reschedule", "deferrable"):
        task = airflow.task("e2e_modes", run_id, mode)
        assert task["try_number"] == 1, f"{mode} was retried"
        assert "FAILED_PRECONDITION (9): the disk is full" in airflow.log("e2e_modes", run_id, mode)


@pytest.mark.parametrize(
    ("dag_id", "tasks", "value_of", "value"),
    [
        ("operations_sensor", ("start", "wait", "use"), "use", "backed up to projects/demo/backups/nightly"),
        ("operations_mapped", ("requests", "convert", "count"), "count", 15_000),
        ("operations_cancel", ("start", "cancel", "report"), "report", "cancelled"),
    ],
)
def test_examples(
    airflow: Standalone, dag_id: str, tasks: tuple[str, ...], value_of: str, value: Any
) -> None:
    """The example DAGs end well, with the values that come of their operations."""
    run_id = finished(airflow, dag_id)

    assert states(airflow, dag_id, run_id) == {task: {"success"} for task in tasks}
    result = airflow.xcom(dag_id, run_id, value_of, "return_value")
    assert result == value if dag_id != "operations_cancel" else str(result).endswith(f" {value}")


@pytest.mark.spanner
def test_spanner(airflow: Standalone, spanner: SpannerEmulator | None) -> None:
    """Against Google's own server: instance and database are made, the index fails in Spanner's words."""
    if spanner is None:
        if os.environ.get("CI"):
            pytest.fail("CI installs google-cloud-cli-spanner-emulator, and it isn't here")
        pytest.skip("the package google-cloud-cli-spanner-emulator is not installed")
    run_id = finished(airflow, "operations_spanner", {"project": "demo", "config": "emulator-config"})

    found = states(airflow, "operations_spanner", run_id)
    assert found == {
        "create_instance": {"success"},
        "create_database": {"success"},
        "fill": {"success"},
        "create_index": {"failed"},
    }
    log = airflow.log("operations_spanner", run_id, "create_index")
    assert "FAILED_PRECONDITION (9)" in log
    assert "OneOrderPerCustomer" in log
    instance = airflow.xcom("operations_spanner", run_id, "create_instance", "return_value")
    assert instance["name"] == "projects/demo/instances/airflow-demo"


@pytest.mark.spanner
def test_spanner_by_ids(airflow: Standalone, spanner: SpannerEmulator | None) -> None:
    """Google's own server takes what is made of methods' ids, and its operations are waited for."""
    if spanner is None:
        pytest.skip("the package google-cloud-cli-spanner-emulator is not installed")
    run_id = finished(airflow, "e2e_spanner")

    assert states(airflow, "e2e_spanner", run_id) == {
        task_id: {"success"} for task_id in ("create_instance", "create_database", "add_table")
    }
    database = airflow.xcom("e2e_spanner", run_id, "create_database", "return_value")["name"]
    assert database.endswith("/instances/by-ids/databases/orders")
    assert (
        "CREATE TABLE Orders"
        in requests.get(f"{spanner.url}/v1/{database}/ddl", timeout=10).json()["statements"][0]
    )


FUNCTIONS_TYPES = "types.googleapis.com/google.cloud.functions.v1beta2."


@pytest.mark.functions
def test_functions(airflow: Standalone, functions: FunctionsEmulator | None) -> None:
    """Against Google's own server, by operator and by sensor: functions run, its errors and types are kept."""
    if functions is None:
        if os.environ.get("CI"):
            pytest.fail("CI installs Google's Cloud Functions emulator, and it isn't here")
        pytest.skip("Google's Cloud Functions emulator isn't here: make functions-emulator, which needs npm")
    sources = {name: functions.source(name) for name in ("good", "slow", "broken")}
    run_id = finished(airflow, "e2e_functions", sources)

    assert states(airflow, "e2e_functions", run_id) == {
        "run": {"success"},
        "run_broken": {"failed"},
        "by_id": {"success"},
        "start": {"success"},
        "wait": {"success"},
        "start_broken": {"success"},
        "wait_broken": {"failed"},
    }
    for task_id, deployed in (("run", "run"), ("by_id", "by_id"), ("wait", "start")):
        response = airflow.xcom("e2e_functions", run_id, task_id, "return_value")
        assert response["typeUrl"] == f"{FUNCTIONS_TYPES}CloudFunction"
        function = response["value"]
        assert function["status"] == "READY"
        assert function["name"].endswith(f"/functions/{deployed}")
        assert requests.get(function["httpsTrigger"]["url"], timeout=10).text == "deployed"
        metadata = airflow.xcom("e2e_functions", run_id, task_id, "operation")["metadata"]
        assert metadata["typeUrl"] == f"{FUNCTIONS_TYPES}OperationMetadataV1Beta2"
        assert metadata["value"]["target"] == function["name"]
        assert metadata["value"]["request"]["typeUrl"] == f"{FUNCTIONS_TYPES}CreateFunctionRequest"
    for task_id in ("run_broken", "wait_broken"):
        log = airflow.log("e2e_functions", run_id, task_id)
        assert "INTERNAL (13): Function worker crashed with exit code: 1" in log, log
        assert "Error: the bucket of receipts is missing" in log, log
        error = airflow.xcom("e2e_functions", run_id, task_id, "operation")["error"]
        assert (error["code"], error["name"]) == (13, "InternalError")
        assert [detail["typeUrl"] for detail in error["details"]] == [
            "types.googleapis.com/google.rpc.DebugInfo"
        ]
