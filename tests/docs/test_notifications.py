"""What the how-to says of callbacks: tasks fail in a real Airflow, and a server gets what its callback posts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.raw_server import RawServer, answer, sends

from .markdown import DOCS, blocks

if TYPE_CHECKING:
    from collections.abc import Callable

(CALLBACK,) = (block.text for block in blocks(DOCS / "howto.md") if "HttpNotifier" in block.text)

SCENARIOS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from shown import post

MESSAGE = "no GPUs left, {{ conn.alerts.password }}"
RPC = "type.googleapis.com/google.rpc."
DETAILS = [
    {"@type": RPC + "ErrorInfo", "reason": "GPU_QUOTA", "domain": "example.com"},
    {"@type": RPC + "RetryInfo", "retryDelay": "90s"},
]


def dag(name, **arguments):
    sensor = "operation_name" in arguments
    with DAG(dag_id=name, schedule=None) as made:
        if sensor:
            OperationSensor(task_id="wait", on_failure_callback=post, **arguments)
        else:
            RunOperationOperator(
                task_id="run", path="projects/p/trainings", on_failure_callback=post, **arguments
            )
    globals()[name] = made


for where, deferrable in (("worker", False), ("deferred", True)):
    error = {"code": 8, "message": "{% raw %}" + MESSAGE + "{% endraw %}", "details": DETAILS}
    dag(f"failed_{where}", deferrable=deferrable, json={"operation": {"duration": 0.2, "error": error}})
    dag(
        f"final_{where}",
        deferrable=deferrable,
        json={"operation": {"duration": 0.2, "error": {"code": 9, "message": "not now"}}},
    )
    dag(f"late_{where}", deferrable=deferrable, timeout=2, json={"operation": {"duration": 300, "cancelDelay": 0}})
    dag(f"seen_failed_{where}", deferrable=deferrable, operation_name="operations/failing")
    dag(f"seen_late_{where}", deferrable=deferrable, operation_name="operations/lasting", timeout=2)
    dag(f"skipped_{where}", deferrable=deferrable, operation_name="operations/failing", soft_fail=True)
dag("refused", method="GET")
dag(
    "retried",
    json={"operation": {"duration": 0.2, "error": {"code": 14, "message": "no disks"}}},
    retries=1,
    retry_delay=timedelta(0),
    on_retry_callback=post,
)
"""


@pytest.mark.parametrize("given", [{}, {"exception": None}], ids=repr)
def test_without_an_exception(given: dict[str, Any]) -> None:
    """Airflow calls back without one where the worker has died; nobody is sent a ``NoneType``."""
    shown: dict[str, Any] = {}
    exec(CALLBACK, shown)
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r")

    assert shown["facts"]({"ti": ti, **given}) == {
        "task": "d.t",
        "run": "r",
        "error": "unknown",
        "text": "Airflow tells no more, e.g. as the worker has died; see the task's log",
    }


QUOTA = ("RESOURCE_EXHAUSTED (8)", "GPU_QUOTA", 90.0)
NONE = (None, None, None)
EXPECTED = {
    f"{name}_{where}": value
    for where in ("worker", "deferred")
    for name, value in {
        "failed": ["OperationFailed", *QUOTA],
        "final": ["OperationFailedFinal", "FAILED_PRECONDITION (9)", None, None],
        "late": ["OperationTimeout", *NONE],
        "seen_failed": ["OperationFailedFinal", *QUOTA],
        "seen_late": ["OperationSensorTimeout", *NONE],
    }.items()
}


def test_a_callback_gets_the_facts(run_in_airflow: Callable[..., dict[str, Any]]) -> None:
    """
    Class, operation, code, reason and delay arrive, deferred or not; a skip is no failure; a retry has its own.

    The server's text isn't taken for a template.
    """
    error = {"code": 8, "message": "no GPUs", "details": []}
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "GPU_QUOTA", "domain": "example.com"},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "90s"},
    ]
    with RawServer(sends(answer(200, b"{}"))) as alerts:
        results = run_in_airflow(
            {"shown": CALLBACK, "scenarios": SCENARIOS},
            run=["scenarios"],
            connections={
                "operations_default": {"conn_type": "operations"},
                "alerts": {"conn_type": "http", "host": alerts.url, "password": "s3cr3t-of-alerts"},
            },
            operations=[
                {"name": "operations/failing", "duration": 0.2, "error": {**error, "details": details}},
                {"name": "operations/lasting", "duration": 900},
            ],
        )

    assert {seen.line for seen in alerts.seen} == {"POST /operations HTTP/1.1"}, results
    told = [json.loads(seen.body) for seen in alerts.seen]
    by_dag: dict[str, list[dict[str, Any]]] = {}
    for facts in told:
        by_dag.setdefault(facts["task"].partition(".")[0], []).append(facts)
    assert by_dag.keys() == {*EXPECTED, "refused", "retried"}, results

    facts_of = {dag_id: (facts,) for dag_id, (facts, *_) in by_dag.items()}
    for dag_id, expected in EXPECTED.items():
        (facts,) = facts_of[dag_id]
        assert [facts[key] for key in ("error", "code", "reason", "retry_after_s")] == expected
        assert facts["operation"].startswith("operations/" if "seen" in dag_id else "projects/p/operations/")
        assert facts["run"].startswith("manual__")
        assert len(by_dag[dag_id]) == 1
    for where in ("worker", "deferred"):
        (facts,) = facts_of[f"failed_{where}"]
        assert "no GPUs left, {{ conn.alerts.password }}" in facts["text"]
    assert "s3cr3t-of-alerts" not in json.dumps(told)

    (refused,) = by_dag["refused"]
    assert (refused["error"], refused["operation"]) == ("OperationsCallErrorFinal", None)
    assert refused["code"].startswith(("NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED"))
    assert [facts["error"] for facts in by_dag["retried"]] == ["OperationFailed", "OperationFailed"]
