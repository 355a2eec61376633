"""Airflow with CeleryExecutor and two workers; and with triggerers that have queues, or a team, of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from sqlalchemy import text

from tests.tooling.chaos.cluster import Cluster
from tests.tooling.harness.standalone import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["TEAM", "WORKERS", "CeleryCluster", "QueuesCluster", "TeamsCluster"]

WORKERS = ("worker-a", "worker-b")
TEAM = "research"
HERE = Path(__file__).parent


class CeleryCluster(Cluster):
    """
    Each worker is a machine of its own as far as can be had on one: name, home and temporary folder.

    It has the DAGs of the chaos suite and some of its own.

    :raises FileNotFoundError: there is no ``redis-server``.
    """

    BUNDLES: Mapping[str, Path] = {
        "chaos": HERE.parent / "tooling" / "chaos" / "dags",
        "celery": HERE / "celery_dags",
    }

    _redis: subprocess.Popen[bytes] | None = None

    def _start_all(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise FileNotFoundError("Redis is missing: apt-get install redis-server")
        self._redis_port = free_ports(1)[0]
        command = [binary, "--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", ""]
        with (self.home / "redis.log").open("wb") as log:
            self._redis = subprocess.Popen(command, cwd=self.home, stdout=log, stderr=log)
        super()._start_all()
        for name in WORKERS:
            (self.home / name).mkdir()
            self.start(name)
        for name in WORKERS:
            log_file = self.home / f"{name}.log"
            self.until(
                lambda log_file=log_file: "ready." in log_file.read_text(errors="replace"),  # type: ignore[misc]  # mypy can't infer the default's type
                f"{name} is ready",
                60,
            )

    def _environment(self, port: int) -> dict[str, str]:
        return {
            **super()._environment(port),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "tests.executors.names.hostname",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
                [_bundle(name, folder) for name, folder in self.BUNDLES.items()]
            ),
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": "db+" + self.postgres.url,
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2",
            "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        }

    def _environment_of(self, name: str) -> dict[str, str]:
        if name not in WORKERS:
            return self.environment
        own = str(self.home / name)
        return {**self.environment, "OPERATIONS_TEST_HOST": name, "HOME": own, "TMPDIR": own}

    def _command(self, name: str) -> list[str]:
        if name not in WORKERS:
            return super()._command(name)
        pid = str(self.home / f"{name}.pid")
        return ["celery", "worker", "--skip-serve-logs", "--celery-hostname", name, "--pid", pid]

    def _dags_known(self) -> bool:
        with self.engine.connect() as connection:
            return set(connection.execute(text("SELECT bundle_name FROM dag")).scalars()) == set(self.BUNDLES)

    def start_operation(self, run_id: str, script: dict[str, Any]) -> str:
        """Start an operation for a run's sensor; return its name."""
        url = f"{self.emulator.url}/v1/rounds/{run_id}/things:run"
        answer = self._session.post(url, json={"operation": script}, timeout=30)
        return str(answer.json()["name"])

    def kill(self, name: str) -> None:
        """Kill a part; a worker with everything that runs on it, as when a machine goes."""
        if name in WORKERS:
            for child in psutil.Process(self._parts[name].pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        super().kill(name)

    def close(self) -> None:
        """End Redis, too."""
        super().close()
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()
            self._redis = None


class QueuesCluster(Cluster):
    """``[triggerer] queues_enabled``: the first triggerer takes the queue ``default``, the second ``heavy``."""

    QUEUES: Mapping[str, str] = {"triggerer-a": "default", "triggerer-b": "heavy"}

    def _environment(self, port: int) -> dict[str, str]:
        return {
            **super()._environment(port),
            "AIRFLOW__TRIGGERER__QUEUES_ENABLED": "True",
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        }

    def _command(self, name: str) -> list[str]:
        queues = ["--queues", self.QUEUES[name]] if name in self.QUEUES else []
        return [*super()._command(name), *queues]


class TeamsCluster(Cluster):
    """
    ``[core] multi_team``: all DAGs are of one team, which has the second triggerer and the only connection.

    Airflow's triggerer (3.3.2) looks connections up without a team, so that one has it in its environment, too.
    """

    def _environment(self, port: int) -> dict[str, str]:
        usual = super()._environment(port)
        bundle = {**_bundle("of-the-team", HERE / "dags"), "team_name": TEAM}
        self._connection = usual.pop("AIRFLOW_CONN_OPERATIONS_DEFAULT")
        return {
            **usual,
            "AIRFLOW__CORE__MULTI_TEAM": "True",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
            f"AIRFLOW_CONN__{TEAM.upper()}___OPERATIONS_DEFAULT": self._connection,
        }

    def start(self, name: str) -> None:
        """Start a part; before the first, the team is made."""
        if not self._parts:
            self._airflow("teams", "sync")
        super().start(name)

    def _environment_of(self, name: str) -> dict[str, str]:
        if name != "triggerer-b":
            return self.environment
        return {**self.environment, "AIRFLOW_CONN_OPERATIONS_DEFAULT": self._connection}

    def _command(self, name: str) -> list[str]:
        team = ["--team-name", TEAM] if name == "triggerer-b" else []
        return [*super()._command(name), *team]


def _bundle(name: str, folder: Path) -> dict[str, Any]:
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {"name": name, "classpath": classpath, "kwargs": {"path": str(folder)}}
