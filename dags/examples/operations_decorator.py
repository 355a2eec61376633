"""``@task.operation``: a function makes the request, here one for each video, and the task runs the operation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

# A retry takes a running operation over instead of starting another.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10)}

with DAG(
    dag_id="operations_decorator", schedule=None, catchup=False, tags=["operations"], default_args=RETRIES
):

    @task
    def videos() -> list[dict[str, Any]]:
        """List what is to be converted."""
        return [{"name": "intro", "minutes": 2}, {"name": "talk", "minutes": 5}]

    @task.operation(deferrable=True, poke_interval=5)
    def convert(video: dict[str, Any], quality: str) -> dict[str, Any]:
        """Return the request that starts the conversion of one video."""
        return {
            "path": f"projects/demo/videos/{video['name']}:convert",
            "json": {
                "operation": {
                    "duration": video["minutes"],
                    "response": {"file": f"{video['name']}-{quality}.mp4"},
                }
            },
            "headers": {"x-quality": quality},
        }

    @task
    def publish(responses: Any) -> list[str]:
        """Take the operations' responses."""
        return sorted(response["file"] for response in responses)

    publish(convert.partial(quality="high").expand(video=videos()))
