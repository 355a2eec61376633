"""Airflow 2.11 for the end-to-end tests: another REST API, a webserver, a scheduler that parses the DAGs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import requests

from tests.tooling.harness.standalone import START_TIMEOUT_S, Standalone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Standalone2"]


class Standalone2(Standalone):
    """``airflow standalone`` of 2.11, on SQLite with the local executor, too; the rest as in ``Standalone``."""

    def __init__(self, dags: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(dags, environment)
        self._api = "/api/v1"

    def _start(self, port: int, worker_logs: int, trigger_logs: int) -> None:
        self._more |= {
            "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
            "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__WEBSERVER__BASE_URL": self.url,
            "AIRFLOW__WEBSERVER__WORKERS": "1",
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth",
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # With its write-ahead log SQLite bears a few tasks at once; one at a time takes a quarter of an hour.
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
        }
        super()._start(port, worker_logs, trigger_logs)

    def _wait_until_healthy(self) -> None:
        password = self.home / "standalone_admin_password.txt"

        def healthy() -> bool:
            if not self.running:
                raise RuntimeError(f"airflow standalone ended at once:\n{self.output()}")
            with suppress(requests.RequestException):
                answer = self._session.get(f"{self.url}/api/v1/health", timeout=5)
                parts = answer.json() if answer.ok else {}
                names = ("metadatabase", "scheduler", "triggerer")
                return password.exists() and all(
                    (parts.get(name) or {}).get("status") == "healthy" for name in names
                )
            return False

        self.until(healthy, "Airflow is healthy", START_TIMEOUT_S)
        self._session.auth = ("admin", password.read_text().strip())

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG; return the run's id."""
        self.until(lambda: self._known(dag_id), f"DAG {dag_id} is parsed")
        return str(self.api("POST", f"/dags/{dag_id}/dagRuns", json={"conf": dict(conf or {})})["dag_run_id"])

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task instance as a user does in the UI."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.api("PATCH", path, json={"dry_run": False, "new_state": state})

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return a task's log as text."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer = self._session.get(
            f"{self.url}/api/v1{path}",
            params={"map_index": str(map_index), "full_content": "true"},
            headers={"Accept": "text/plain"},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.text

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        """Return an XCom's value."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", path, params={"map_index": map_index, "stringify": "false"})["value"]
