"""A real Airflow for tests and the demo: ``airflow standalone`` in a folder of its own, on free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import TypeGuard

__all__ = ["Standalone", "free_ports", "processes_of"]

START_TIMEOUT_S = 240.0
_SERVER_ERROR = 500


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Standalone:
    """
    Run ``airflow standalone`` on SQLite with the local executor; nothing of it is left behind on exit.

    :param dags: folder with the DAGs.
    :param environment: further variables, connections among them.
    :param check: called again and again while something is waited for; what it raises ends the waiting.
    :param path: of ``[api] base_url``, as behind a proxy.
    :param users: name and role (``viewer``, ``user``, ``op``, ``admin``, or empty: nothing allowed); their passwords
        are their names, and this object is the first of them. Without, everybody is an admin.
    :param python: interpreter of the environment that has Airflow.
    """

    def __init__(
        self,
        dags: Path,
        environment: Mapping[str, str] | None = None,
        check: Callable[[], object] = lambda: None,
        path: str = "",
        users: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
    ) -> None:
        self._dags = dags
        self._python = python
        self._path = path
        self._api = "/api/v2"
        self._users = dict(users or {})
        self._more = dict(environment or {})
        self._check = check
        self._process: subprocess.Popen[bytes] | None = None
        self.home = Path()
        self.url = ""
        self._session = requests.Session()
        self._session.trust_env = False

    # --- life ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Standalone:
        """Start it and wait until scheduler, triggerer and DAG processor are healthy."""
        self._ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self._ports[0]}{self._path}"
        self.home = Path(tempfile.mkdtemp(prefix="airflow-operations-"))
        self.start()
        return self

    def start(self) -> None:
        """Start it, after :meth:`stop` with all that it knew, and wait as ``with`` does."""
        try:
            self._start(*self._ports)
            self._wait_until_healthy()
        except BaseException:
            self.close()
            raise

    def _start(self, port: int, worker_logs: int, trigger_logs: int) -> None:
        temporary = self.home / "tmp"
        temporary.mkdir(exist_ok=True)
        database = self.home / "airflow.db"
        # With the default journal readers and writers lock each other out.
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        self.environment = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("AIRFLOW_", "_AIRFLOW_"))
            },
            "PATH": f"{self._python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "TMPDIR": str(temporary),  # goes with the folder, whatever a killed process has left there
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"])),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            # A supervisor may notice its task's exit only at the next heartbeat, 5 s later as a rule. If the trigger
            # has fired by then, Airflow fails the resumed task: https://github.com/apache/airflow/issues/67287
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            **self._more,
        }
        if self._users:
            passwords = self.home / "passwords.json"
            passwords.write_text(json.dumps({name: name for name in self._users}))
            self.environment |= {
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(map(":".join, self._users.items())),
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python), "-m", "airflow", "standalone"],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every process it has started and remove its folder."""
        self.close()

    def close(self) -> None:
        """Stop every process it has started and remove its folder."""
        self.stop()
        self._session.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def stop(self) -> None:
        """Stop every process it has started; its folder stays for another start."""
        if self._process is not None:
            family = _family(self._process.pid)
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
            # Tasks run in sessions of their own, so the family is remembered from before and looked up again.
            _end({*family, *_family(self._process.pid), *processes_of(self.home)})
            self._process.wait(5)
            self._process = None

    @property
    def running(self) -> bool:
        """Tell whether ``airflow standalone`` has been started and goes on."""
        return self._process is not None and self._process.poll() is None

    def output(self, lines: int = 60) -> str:
        """Return the last lines that Airflow printed."""
        return "\n".join(self._printed().splitlines()[-lines:])

    @property
    def _log(self) -> Path:
        return self.home / "standalone.log"

    def _printed(self, since: int = 0) -> str:
        return self._log.read_bytes()[since:].decode(errors="replace") if self._log.exists() else ""

    def _wait_until_healthy(self) -> None:
        def healthy() -> bool:
            if not self.running:
                raise RuntimeError(f"airflow standalone ended at once:\n{self.output()}")
            with suppress(requests.RequestException):
                answer = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
                parts = answer.json() if answer.ok else {}
                names = ("metadatabase", "scheduler", "triggerer", "dag_processor")
                return all((parts.get(name) or {}).get("status") == "healthy" for name in names)
            return False

        self.until(healthy, "Airflow is healthy", START_TIMEOUT_S)
        self._session.headers["Authorization"] = f"Bearer {self.token(next(iter(self._users), None))}"

    def token(self, user: str | None = None) -> str:
        """Sign a user in and return the token; without users, an admin."""
        if user is None:
            answer = self._session.get(f"{self.url}/auth/token", timeout=10)
        else:
            body = {"username": user, "password": user}
            answer = self._session.post(f"{self.url}/auth/token", json=body, timeout=10)
        return str(answer.json()["access_token"])

    # --- use -----------------------------------------------------------------------------------------------

    def until(self, happened: Callable[[], Any], what: str, timeout_s: float = 120.0) -> Any:
        """Wait until something is true and return it."""
        deadline = time.monotonic() + timeout_s
        while not (result := happened()):
            self._check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s:g} s: {what}\n{self.output()}")
            time.sleep(0.5)
        return result

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """
        Call Airflow's REST API and return the JSON.

        The API server writes its audit log on its event loop. If another of its requests holds SQLite's lock just
        then, that one can't go on to release it, and after 5 s the call ends with "database is locked", before 3.3
        with an error that only the log explains. It was rolled back, so it is repeated.
        """
        for attempt in range(6):
            before = self._log.stat().st_size
            answer = self._session.request(method, f"{self.url}{self._api}{path}", timeout=60, **arguments)
            if answer.status_code != _SERVER_ERROR or attempt == 5:
                break
            self._check()
            time.sleep(1 + attempt)
            if "Database error" not in answer.text and "database is locked" not in self._printed(before):
                break
        if not answer.ok:
            printed = f"\n{self.output()}" if answer.status_code == _SERVER_ERROR else ""
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}{printed}")
        return answer.json() if answer.content else None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``airflow`` with these arguments, as somebody beside this Airflow would; return what it printed."""
        return subprocess.run(
            [str(self._python), "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG; return the run's id."""
        self.until(lambda: self._known(dag_id), f"DAG {dag_id} is parsed")
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.api("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def _known(self, dag_id: str) -> bool:
        return self._session.get(f"{self.url}{self._api}/dags/{dag_id}", timeout=30).ok

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a DAG run."""
        return str(self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, mapped ones each; at most 100, as more come in pages."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        instances: list[dict[str, Any]] = self.api("GET", path, params={"limit": 100})["task_instances"]
        return instances

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance."""
        return next(
            ti
            for ti in self.tasks(dag_id, run_id)
            if (ti["task_id"], ti["map_index"]) == (task_id, map_index)
        )

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task instance as a user does in the UI."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.api("PATCH", path, json={"new_state": state})

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear tasks as a user does in the UI."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False}
        self.api("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return a task's log as text, as the UI shows it."""
        entries = self.log_entries(dag_id, run_id, task_id, try_number, map_index)
        return "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)

    def log_entries(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[dict[str, Any] | str]:
        """Return a task's log: ``{"timestamp": str, "level": str, "event": str, "error_detail": list, ...}``."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content: list[dict[str, Any] | str] = self.api(
            "GET", path, params={"map_index": map_index, "full_content": "true"}
        )["content"]
        return content

    def log_lines(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[str]:
        """Return a task's log for people: time, level and text of each entry, exceptions in full."""
        return [
            line
            for entry in self.log_entries(dag_id, run_id, task_id, try_number, map_index)
            for line in _as_lines(entry)
        ]

    def failure(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> tuple[str, str] | None:
        """Return class name and text of the exception that a task failed with; None if its log has none."""
        entries = self.log_entries(dag_id, run_id, task_id, try_number, map_index)
        failures = [entry["error_detail"][0] for entry in entries if _has_error(entry)]
        return (failures[-1]["exc_type"], failures[-1]["exc_value"]) if failures else None

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        """Return an XCom's value."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", path, params={"map_index": map_index, "deserialize": "false"})["value"]


def _has_error(entry: dict[str, Any] | str) -> TypeGuard[dict[str, Any]]:
    return isinstance(entry, dict) and bool(entry.get("error_detail"))


def _as_lines(entry: dict[str, Any] | str) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
        return
    clock = str(entry.get("timestamp", ""))[11:23]
    yield f"{clock:12} {entry.get('level', ''):8} {entry.get('event', '')}"
    for error in entry.get("error_detail") or []:
        yield from f"{error.get('exc_type')}: {error.get('exc_value')}".splitlines()


def _family(pid: int) -> set[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return {parent, *parent.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def processes_of(home: Path) -> set[psutil.Process]:
    """
    Find what was started in this Airflow home, wherever it hangs in the process tree.

    By the working folder: those that set their title have overwritten their environment.
    """
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.cwd() == str(home) and process.pid != os.getpid():
                found.add(process)
    return found


def _end(processes: set[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(list(processes), timeout=5)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
