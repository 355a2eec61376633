"""Start an operation, wait for it without a worker, use its response."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_operations.operators import RunOperationOperator

# A retry takes a running operation over instead of starting another.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10)}

with DAG(
    dag_id="operations_success", schedule=None, catchup=False, tags=["operations"], default_args=RETRIES
):
    build = RunOperationOperator(
        task_id="build",
        path="projects/demo/builds",
        # The emulator takes from the body what the operation shall do; a real service takes its request.
        json={
            "operation": {
                "duration": 20,
                "steps": [
                    {"at": 1, "metadata": {"progressPercent": 10, "statusMessage": "fetching sources"}},
                    {"at": 6, "metadata": {"progressPercent": 40, "statusMessage": "compiling"}},
                    {"at": 13, "metadata": {"progressPercent": 85, "statusMessage": "pushing the image"}},
                ],
                "response": {"image": "registry.example.com/app@sha256:5e1f", "layers": 7},
            }
        },
        deferrable=True,
        poke_interval=5,
    )

    @task
    def deploy(response: dict) -> str:
        """Print what the operation has returned."""
        return f"deploying {response['image']}"

    deploy(build.output)
