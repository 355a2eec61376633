"""A whole Airflow on one machine, each part a process of its own that can be killed, stopped and restarted."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests
from sqlalchemy import create_engine, text

from airflow_provider_operations._lifecycle.cancelled_by import AUDIT_EVENT
from airflow_provider_operations._sweep.latest import OWNER
from airflow_provider_operations.emulator import EmulatorProcess
from tests.tooling.harness.recorder import Recorder, settings_that_watch
from tests.tooling.harness.standalone import free_ports, processes_of

from .proxies import ApiProxy, Line, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from sqlalchemy.engine import Engine

__all__ = ["SWEEP", "TRIGGERERS", "Cluster", "Postgres", "Ti", "temporary_postgres"]

TRIGGERERS = ("triggerer-a", "triggerer-b")
HERE = Path(__file__).parent
ROOT = HERE.parents[2]

TRIGGERER_THRESHOLD_S = 10
"""A triggerer that is silent for so long loses its triggers to the other one."""

HEARTBEAT_TIMEOUT_S = 40
"""A worker that is silent for so long is taken for dead."""

START_TIMEOUT_S = 180.0

SWEEP = "sweep"
"""The part that looks again and again for operations that no task waits for."""

SLOW_POOL = "slow"
"""As in ``dags/chaos.py``."""

POOL_SLOTS = 100
FAST = {
    "AIRFLOW__CORE__PARALLELISM": "16",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
    "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "500",
    # A batch creates more runs of a DAG than Airflow keeps arguments of, and without these a sweep leaves an orphan alone.
    "AIRFLOW__CORE__NUM_DAG_RUNS_TO_RETAIN_RENDERED_FIELDS": "1000",
    "AIRFLOW__SCHEDULER__MAX_DAGRUNS_TO_CREATE_PER_LOOP": "100",
    "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "100",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT_S),
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "20",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_THRESHOLD_S),
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
}
"""What makes Airflow notice a death within seconds, and leaves two cores for the tasks."""


class Postgres:
    """
    A PostgreSQL server of our own: own data, own port, own socket folder.

    :param folder: empty, and removed by somebody else.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """
        Make the data folder unless there is one, start the server and wait until it answers.

        :raises FileNotFoundError: no PostgreSQL is installed.
        """
        binaries = _postgres_binaries()
        # PostgreSQL refuses to run as root.
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        else:
            self._as_user = []
        data = self.folder / "data"
        if not data.exists():
            initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
            self._run([*initdb, "--no-sync", "-E", "UTF8"])
        command = [
            binaries / "postgres",
            "-D",
            data,
            "-p",
            str(self.port),
            "-k",
            self.folder,
            "-h",
            "127.0.0.1",
        ]
        for setting in ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"):
            command += ["-c", setting]
        with (self.folder / "postgres.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._as_user, *map(str, command)], cwd=self.folder, stdout=log, stderr=log
            )
        ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 30
        while subprocess.run(ready, check=False, stdout=subprocess.DEVNULL).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "postgres.log").read_text(errors="replace"))
            time.sleep(0.2)

    def _run(self, command: Sequence[object]) -> None:
        done = subprocess.run(
            [*self._as_user, *map(str, command)], cwd=self.folder, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def temporary_postgres() -> Iterator[Postgres]:
    """
    Run a PostgreSQL in a folder that its user can come to.

    :raises FileNotFoundError: none is installed.
    """
    with tempfile.TemporaryDirectory(prefix="operations-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "pg"
        data.mkdir()
        postgres = Postgres(data, *free_ports(1))
        try:
            postgres.start()
            yield postgres
        finally:
            postgres.stop()


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise FileNotFoundError("PostgreSQL is missing: apt-get install postgresql")
    return Path(initdb).resolve().parent


@dataclass(frozen=True)
class Ti:
    """A task instance as it is in Airflow's database."""

    id: str
    dag_id: str
    run_id: str
    task_id: str
    state: str | None
    try_number: int
    max_tries: int
    next_method: str | None
    trigger_id: int | None
    pid: int | None
    ended: float | None
    run_state: str


@dataclass
class Cluster:
    """
    PostgreSQL, API server, scheduler, DAG processor, two triggerers, the emulator and the proxies between them.

    :param keep: leave the folder behind, for looking at logs.
    :param records: keep what happens to each task, see ``Recorder``.
    :param sweep_every_s: a sweep begins so often; 0: none does.
    """

    keep: bool = False
    records: bool = False
    sweep_every_s: float = 0.0
    home: Path = field(default_factory=Path)
    triggerer_jobs: dict[str, int] = field(default_factory=dict)
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _jobs_before: set[int] = field(default_factory=set)

    def __enter__(self) -> Cluster:
        """Start everything; return once Airflow is healthy and the DAGs are known."""
        self.home = Path(tempfile.mkdtemp(prefix="operations-chaos-"))
        self.home.chmod(0o755)
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every process and remove the folder."""
        self.close()

    def _start_all(self) -> None:
        for name in ("pg", "tmp", "markers", "logs"):
            (self.home / name).mkdir()
        self._preload()
        port, pg_port, *_ = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.network = Network()
        self.execution_api = ApiProxy(self.network, self.url)
        self.postgres = Postgres(self.home / "pg", pg_port)
        self.postgres.start()
        self.emulator = EmulatorProcess(state=self.home / "emulator.db", port=free_ports(1)[0])
        self.emulator.start()
        self.engine: Engine = create_engine(self.postgres.url, isolation_level="AUTOCOMMIT")
        self.environment = self._environment(port)
        self._airflow("db", "migrate")
        if self.records:
            self.recorder = Recorder(self.engine, self._watched)
        self.start("api-server")
        self.start("dag-processor")
        self.start("scheduler")
        for name in TRIGGERERS:
            self.start(name)
            self.until(lambda name=name: self.is_up(name), f"{name} has a job", START_TIMEOUT_S)  # type: ignore[misc]  # mypy can't infer the default's type
        self._session = requests.Session()
        self._session.trust_env = False
        self.until(self._healthy, "Airflow is healthy", START_TIMEOUT_S)
        token = self._session.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"
        self.until(self._dags_known, "the DAGs are parsed", START_TIMEOUT_S)
        self.api("POST", "/pools", json={"name": SLOW_POOL, "slots": POOL_SLOTS})
        if self.sweep_every_s:
            self.start(SWEEP)

    def _preload(self) -> None:
        """
        Let the scheduler import what its workers need, as they are forked: a cold start costs seconds.

        And let every process write its stack at SIGUSR1, so that one that hangs can say where.
        """
        settings = self.home / "config" / "airflow_local_settings.py"
        settings.parent.mkdir()
        modules = ("hooks", "operators", "sensors", "triggers")
        settings.write_text(
            "".join(f"import airflow_provider_operations.{module}\n" for module in modules)
            + "import faulthandler, signal\n"
            f"faulthandler.register(signal.SIGUSR1, file=open({str(self._stacks)!r}, 'ab'))\n"
            + (settings_that_watch(self._watched) if self.records else "")
        )

    @property
    def _watched(self) -> Path:
        return self.home / "watched.jsonl"

    @property
    def _stacks(self) -> Path:
        return self.home / "stacks.log"

    def _environment(self, port: int) -> dict[str, str]:
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "_AIRFLOW_"))
        }
        connection = {"conn_type": "operations", "host": self.emulator.url}
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "TMPDIR": str(self.home / "tmp"),
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"])),
            "CHAOS_MARKERS": str(self.home / "markers"),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONN_OPERATIONS_DEFAULT": json.dumps(connection),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.url,
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__FERNET_KEY": fernet,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.execution_api.url}/execution/",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            **FAST,
        }

    def _airflow(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *command],
            env=self.environment,
            cwd=self.home,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(command)}: {done.stdout[-4000:]}{done.stderr[-4000:]}")

    def close(self) -> None:
        """Kill every process and remove the folder; safe at any moment."""
        mine = processes_of(self.home)
        for process in mine:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(mine, timeout=5)
        for part in self._parts.values():
            part.wait(10)
        self._parts.clear()
        if hasattr(self, "emulator"):
            self.emulator.kill()
        if hasattr(self, "engine"):
            self.engine.dispose()
        if hasattr(self, "postgres"):
            self.postgres.stop()
        if hasattr(self, "_session"):
            self._session.close()
        if hasattr(self, "network"):
            self.network.close()
        if not self.keep:
            shutil.rmtree(self.home, ignore_errors=True)

    # --- parts ---------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """
        Start a part: ``api-server``, ``scheduler``, ``dag-processor``, ``SWEEP``, or one of ``TRIGGERERS``.

        A triggerer is known by its job, so the next one waits until ``is_up``.
        """
        before = self._jobs("TriggererJob") if name in TRIGGERERS else set()
        with (self.home / f"{name}.log").open("ab") as log:
            self._parts[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *self._command(name)],
                env=self._environment_of(name),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._jobs_before = before

    def _command(self, name: str) -> list[str]:
        if name == SWEEP:
            return ["operations", "reap", "--every", f"{self.sweep_every_s:g}s"]
        command = name.partition("-")[0] if name in TRIGGERERS else name
        return [command, *(["--skip-serve-logs"] if command in {"triggerer", "scheduler"} else [])]

    def _environment_of(self, name: str) -> dict[str, str]:
        return self.environment

    def is_up(self, name: str) -> bool:
        """Tell whether the triggerer that was started last has begun to work."""
        new = self._jobs("TriggererJob") - self._jobs_before
        if new:
            self.triggerer_jobs[name] = max(new)
        return bool(new)

    def kill(self, name: str) -> None:
        """SIGKILL a part with its children; only a scheduler's workers stay, as they would."""
        process = psutil.Process(self._parts[name].pid)
        victims = [process, *(process.children(recursive=True) if name != "scheduler" else [])]
        ports = [
            each.laddr.port
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_ESTABLISHED
        ]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        self._parts[name].wait()
        if name == "scheduler":
            self._end_sessions(ports)

    def _end_sessions(self, client_ports: list[int]) -> None:
        """
        End database sessions of a process that is dead, as the database does when its machine is gone.

        The workers that stay have inherited its sockets; a transaction of it would hold its locks for ever.
        """
        end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port = ANY(:ports)")
        with self.engine.connect() as connection:
            connection.execute(end, {"ports": client_ports})

    def stop(self, name: str) -> None:
        """SIGSTOP a part and its children."""
        self._signal(name, signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """SIGCONT a part and its children."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = psutil.Process(self._parts[name].pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def living(self) -> list[str]:
        """Return the triggerers that run."""
        return [name for name in TRIGGERERS if self._parts[name].poll() is None]

    def dead(self) -> list[str]:
        """Return the parts that ended although nobody killed them."""
        return [name for name, part in self._parts.items() if part.poll() not in (None, -signal.SIGKILL)]

    def worker(self, ti: Ti) -> psutil.Process | None:
        """Return the process that runs a task instance now; its parent is the supervisor."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(ti.pid) if ti.pid else None
            return process if process and ti.id in " ".join(process.cmdline()) else None
        return None

    def task_processes(self) -> dict[str, psutil.Process]:
        """Return the processes that still run a task, by title: each task instance has its own and a supervisor."""
        found = {}
        for process in processes_of(self.home):
            with suppress(psutil.Error):
                title = " ".join(process.cmdline()).strip()
                if title.startswith("airflow worker -- ") and "<idle>" not in title:
                    found[title] = process
        return found

    def stack(self, process: psutil.Process) -> str:
        """Let a process say where it is: all threads, the main one last and from its begin as a task or a worker."""
        before = self._stacks.stat().st_size
        with suppress(psutil.Error):
            process.send_signal(signal.SIGUSR1)
            # Its signal handler writes, and nothing tells when; one that is stopped writes nothing.
            time.sleep(1)
        lines = self._stacks.read_bytes()[before:].decode(errors="replace").splitlines()
        return "\n".join(
            itertools.takewhile(lambda line: not line.endswith(("_subprocess_main", "_run_worker")), lines)
        )

    def run_of(self, ti_id: str) -> str:
        """Return the run of a task instance, or of an earlier try of one, by its id; empty if it is gone."""
        query = text(
            "SELECT run_id FROM task_instance WHERE id::text = :id"
            " UNION SELECT run_id FROM task_instance_history WHERE task_instance_id::text = :id"
        )
        with self.engine.connect() as connection:
            return str(connection.execute(query, {"id": ti_id}).scalar() or "")

    # --- Airflow -------------------------------------------------------------------------------------------

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call Airflow's REST API (``/api/v2``) and return the JSON."""
        answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=60, **arguments)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:1000]}")
        return answer.json() if answer.content else None

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run of a DAG."""
        body = {"logical_date": None, "dag_run_id": run_id, "conf": conf}
        self.api("POST", f"/dags/{dag_id}/dagRuns", json=body)

    def mark(self, ti: Ti, state: str) -> None:
        """Mark a task instance as a user does in the UI."""
        path = f"/dags/{ti.dag_id}/dagRuns/{ti.run_id}/taskInstances/{ti.task_id}"
        self.api("PATCH", path, json={"new_state": state})

    def clear(self, ti: Ti) -> None:
        """Clear a task instance as a user does in the UI."""
        body = {
            "dry_run": False,
            "dag_run_id": ti.run_id,
            "task_ids": [ti.task_id],
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.api("POST", f"/dags/{ti.dag_id}/clearTaskInstances", json=body)

    def lay_line(self, conn_id: str) -> Line:
        """Make a TCP proxy before the emulator, and a connection in Airflow's database that goes through it."""
        line = Line(self.network, self.emulator.url)
        self.add_connection(conn_id, line.url)
        return line

    def add_connection(self, conn_id: str, url: str) -> None:
        """Store a connection in Airflow's database."""
        body = {"connection_id": conn_id, "conn_type": "operations", "host": url}
        self.api("POST", "/connections", json=body)

    def delete_connection(self, conn_id: str) -> None:
        """Delete a connection from Airflow's database."""
        self.api("DELETE", f"/connections/{conn_id}")

    def open_pool(self, *, is_open: bool) -> None:
        """Let the tasks of ``SLOW_POOL`` be scheduled, or let them wait for a slot."""
        body = {"pool": SLOW_POOL, "slots": POOL_SLOTS if is_open else 0, "include_deferred": False}
        self.api("PATCH", f"/pools/{SLOW_POOL}?update_mask=slots", json=body)

    def delete_run(self, ti: Ti) -> None:
        """Delete a DAG run as a user does: Airflow wants it ended before."""
        path = f"/dags/{ti.dag_id}/dagRuns/{ti.run_id}"
        self.api("PATCH", path, json={"state": "failed"})
        self.api("DELETE", path)

    def tis(self) -> dict[str, Ti]:
        """Return the task instance of each DAG run, by the run's id, from the database."""
        query = text(
            "SELECT ti.id::text, ti.dag_id, ti.run_id, ti.task_id, ti.state, ti.try_number, ti.max_tries,"
            " ti.next_method, ti.trigger_id, ti.pid, extract(epoch FROM ti.end_date)::float, dr.state"
            " FROM task_instance ti JOIN dag_run dr ON dr.dag_id = ti.dag_id AND dr.run_id = ti.run_id"
        )
        with self.engine.connect() as connection:
            return {row[2]: Ti(*row) for row in connection.execute(query)}

    def owner(self, ti: Ti) -> str | None:
        """Return the triggerer that runs a task's trigger, by name."""
        with self.engine.connect() as connection:
            query = text("SELECT triggerer_id FROM trigger WHERE id = :id")
            job = connection.execute(query, {"id": ti.trigger_id}).scalar()
        return next((name for name, one in self.triggerer_jobs.items() if one == job), None)

    def owned(self, name: str) -> int:
        """Return how many triggers a triggerer has."""
        with self.engine.connect() as connection:
            query = text("SELECT count(*) FROM trigger WHERE triggerer_id = :id")
            return int(connection.execute(query, {"id": self.triggerer_jobs[name]}).scalar() or 0)

    def raced(self) -> Counter[str]:
        """Return how many tries of a run Airflow has ended, as it resumed a task before it had noted its first worker's end."""
        log = (self.home / "scheduler.log").read_text(errors="replace")
        ended = r"<TaskInstance: \S+ (\S+) \[queued\][^>]*> finished with state success, but"
        return Counter(re.findall(ended, log))

    def swept(self) -> Counter[str]:
        """Return for how many operations of a run a sweep has asked to cancel, as Airflow's audit log says."""
        query = text("SELECT run_id FROM log WHERE event = :event AND owner = :owner")
        with self.engine.connect() as connection:
            rows = connection.execute(query, {"event": AUDIT_EVENT, "owner": OWNER})
            return Counter(str(row.run_id) for row in rows)

    def taken_for_lost(self) -> set[str]:
        """Return the runs whose workers a busy scheduler took for lost, and reset, although they lived."""
        log = (self.home / "scheduler.log").read_text(errors="replace")
        return set(re.findall(r"^\t<TaskInstance: \S+ (\S+) \[running\]", log, re.MULTILINE))

    def failure(self, dag_id: str, run_id: str, task_id: str) -> tuple[str, str] | None:
        """Return class and text of the last exception in Airflow's log of a task, over all its tries."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        attempts = sorted(
            (one for one in folder.glob("attempt=*.log") if ".trigger." not in one.name),
            key=lambda one: int(one.stem.partition("=")[2]),
        )
        for log in reversed(attempts):
            for line in reversed(log.read_text(errors="replace").splitlines()):
                with suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("error_detail") and "Task failed" in entry.get("event", ""):
                        error = entry["error_detail"][0]
                        return str(error["exc_type"]), str(error["exc_value"])
        return None

    def until(self, happened: Callable[[], Any], what: str, timeout_s: float) -> Any:
        """Wait until something is true and return it."""
        deadline = time.monotonic() + timeout_s
        while not (result := happened()):
            if time.monotonic() > deadline or self.dead():
                raise TimeoutError(
                    f"not within {timeout_s:g} s: {what}; dead: {self.dead()}\n{self._tails()}"
                )
            time.sleep(0.5)
        return result

    def _tails(self) -> str:
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            for log in sorted(self.home.glob("*.log"))
        )

    def _jobs(self, kind: str) -> set[int]:
        with self.engine.connect() as connection:
            query = text("SELECT id FROM job WHERE job_type = :kind")
            return {row[0] for row in connection.execute(query, {"kind": kind})}

    def _healthy(self) -> bool:
        with suppress(requests.RequestException):
            answer = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
            parts = answer.json() if answer.ok else {}
            names = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            return all((parts.get(name) or {}).get("status") == "healthy" for name in names)
        return False

    def answers(self) -> bool:
        """Tell whether the API server answers."""
        with suppress(requests.RequestException):
            return self._session.get(f"{self.url}/api/v2/version", timeout=5).ok
        return False

    def _dags_known(self) -> bool:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM dag")).scalar() or 0) > 0
