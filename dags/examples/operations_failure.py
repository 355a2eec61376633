"""
An operation that fails: its whole ``google.rpc.Status`` reaches the task's failure and its callback.

The callback gets the exception with the facts as attributes; a task downstream gets them from the XCom
``operation``.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.exceptions import OperationFailed
from airflow_provider_operations.operators import RunOperationOperator

log = logging.getLogger(__name__)

_RPC = "type.googleapis.com/google.rpc"


def tell(context: Any) -> None:
    """Log what an alert would say: code, reason, and how long to wait before trying again."""
    error = context["exception"]
    if isinstance(error, OperationFailed):
        log.error(
            "operation %s failed with %s, reason %s; try again after %s",
            error.operation.name,
            error.status.code_name,
            error.reason,
            error.retry_delay,
        )


with DAG(dag_id="operations_failure", schedule=None, catchup=False, tags=["operations"]):
    train = RunOperationOperator(
        task_id="train",
        path="projects/demo/locations/europe-west1/trainings",
        json={
            "operation": {
                "duration": 5,
                "steps": [{"at": 1, "metadata": {"progressPercent": 20, "statusMessage": "asking for GPUs"}}],
                "error": {
                    "code": 8,
                    "message": "The training job could not get the machines it asked for.",
                    "details": [
                        {
                            "@type": f"{_RPC}.ErrorInfo",
                            "reason": "GPU_QUOTA_EXCEEDED",
                            "domain": "training.example.com",
                            "metadata": {"region": "europe-west1", "asked": "8", "limit": "4"},
                        },
                        {
                            "@type": f"{_RPC}.QuotaFailure",
                            "violations": [
                                {
                                    "subject": "projects/demo",
                                    "description": "GPUs in europe-west1: 8 of 4",
                                }
                            ],
                        },
                        {"@type": f"{_RPC}.RetryInfo", "retryDelay": "90s"},
                        {
                            "@type": f"{_RPC}.Help",
                            "links": [
                                {"description": "Ask for more", "url": "https://console.example.com/quotas"}
                            ],
                        },
                    ],
                },
            }
        },
        deferrable=True,
        poke_interval=5,
        on_failure_callback=tell,
    )

    @task(trigger_rule="all_done")
    def report(operation: dict[str, Any]) -> str:
        """Say what went wrong, from the XCom ``operation``."""
        error = operation["error"]
        return f"{operation['name']}: code {error['code']}, {error['message']}"

    train >> report(train.output["operation"])
