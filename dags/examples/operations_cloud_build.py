"""
Google Cloud Build as in production.

Connection ``cloud_build``: type Long-Running Operations, host ``cloudbuild.googleapis.com``, password an OAuth
token with the scope ``cloud-platform``. Params: the project and the image to build.
https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds/create
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_operations.operators import RunOperationOperator

with DAG(
    dag_id="operations_cloud_build",
    schedule=None,
    catchup=False,
    tags=["operations", "google"],
    params={
        "project": Param("my-project", type="string"),
        "image": Param("europe-docker.pkg.dev/my-project/images/app", type="string"),
    },
):
    build = RunOperationOperator(
        task_id="build",
        operations_conn_id="cloud_build",
        path="projects/{{ params.project }}/builds",
        json={
            "steps": [
                {"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", "{{ params.image }}", "."]}
            ],
            "images": ["{{ params.image }}"],
            "timeout": "1800s",
        },
        deferrable=True,
        poke_interval=15,
        timeout=timedelta(hours=1),
        retries=2,
        retry_delay=timedelta(minutes=5),
    )

    @task
    def digest(response: dict[str, Any]) -> str:
        """Return the digest of the image that was pushed."""
        return response["results"]["images"][0]["digest"]

    digest(build.output)
