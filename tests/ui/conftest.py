"""The plugin's app below a path prefix, with Airflow's own auth manager, a database and an emulator."""

from __future__ import annotations

import json
import uuid
import warnings
import zlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa
from airflow import settings
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.base import Base
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from sqlalchemy.orm import scoped_session, sessionmaker
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_provider_operations._lifecycle.record import RECORD_KEY
from tests.versions import AIRFLOW

with warnings.catch_warnings():  # of what Airflow's API server imports of its own
    warnings.simplefilter("ignore")
    from airflow.api_fastapi.app import init_auth_manager, purge_cached_app

    from airflow_provider_operations.ui.app import create_app

if AIRFLOW >= (3, 3):
    import airflow.models.task_state_store  # noqa: F401  its table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from airflow_provider_operations.emulator import Emulator

OPERATOR = {"operations_conn_id": "operations_default", "base_url": None, "path_prefix": None}
"""Rendered fields of a task that starts an operation."""

BEGAN = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def run_number(dag_id: str) -> int:
    """Return the id of a DAG's run."""
    return zlib.crc32(dag_id.encode()) % 2**31


class Database:
    """Airflow's tables, with the rows that a worker and the scheduler would have written."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def insert(self, table: str, **values: Any) -> int:
        with self._engine.begin() as connection:
            result = connection.execute(Base.metadata.tables[table].insert().values(**values))
        key: Any = result.inserted_primary_key
        return int(key[0]) if table == "trigger" else 0

    def execute(self, statement: str) -> list[Any]:
        with self._engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            return list(result) if result.returns_rows else []

    def add_dag(self, dag_id: str) -> None:
        self.insert(
            "dag",
            dag_id=dag_id,
            bundle_name="bundle",
            is_stale=False,
            fileloc="x",
            max_active_tasks=1,
            max_consecutive_failed_dag_runs=0,
            has_task_concurrency_limits=False,
        )
        self.insert(
            "dag_run",
            id=run_number(dag_id),
            dag_id=dag_id,
            run_id="run",
            run_type="manual",
            run_after=BEGAN,
        )

    def add_dag_version(self, dag_id: str, task: dict[str, Any]) -> uuid.UUID:
        version = uuid.uuid4()
        self.insert("dag_version", id=version, version_number=1, dag_id=dag_id, bundle_name="bundle")
        data = {"__version": 3, "dag": {"dag_id": dag_id, "tasks": [{"__var": {"task_id": "task", **task}}]}}
        self.insert(
            "serialized_dag", id=uuid.uuid4(), dag_id=dag_id, data=data, dag_hash="x", dag_version_id=version
        )
        return version

    def add_task(
        self,
        dag_id: str = "dag",
        map_index: int = -1,
        *,
        state: str = "running",
        name: Any = None,
        final: Any = None,
        fields: dict[str, Any] | None = None,
        trigger: dict[str, Any] | None = None,
        record: Any = None,
        key: str = RECORD_KEY,
        recorded: datetime = BEGAN,
        **values: Any,
    ) -> None:
        """
        Add a task instance.

        :param name: the XCom ``operation_name``; without ``fields`` also the argument, as a sensor has it.
        :param fields: rendered fields.
        :param record: value in its state store, under ``key``, of the moment ``recorded``.
        """
        place = {"dag_id": dag_id, "run_id": "run", "task_id": "task", "map_index": map_index}
        if trigger is not None:
            values["trigger_id"] = self.insert(
                "trigger",
                classpath="airflow_provider_operations.triggers.OperationTrigger",
                kwargs=Trigger.encrypt_kwargs(trigger),
                created_date=BEGAN,
            )
        self.insert(
            "task_instance",
            **{
                **place,
                "state": state,
                "pool": "default_pool",
                "start_date": BEGAN,
                "try_number": 1,
                **values,
            },
        )
        for pushed, value in (("operation_name", name), ("operation", final)):
            if value is not None:
                self.insert(
                    "xcom", **place, dag_run_id=run_number(dag_id), key=pushed, value=value, timestamp=BEGAN
                )
        if record is not None:
            entry = {"dag_run_id": 1, "key": key, "value": json.dumps(record), "updated_at": recorded}
            self.insert("task_state_store", **place, **entry)
        if fields is None:
            fields = {**OPERATOR, "operation_name": name}
        if fields:
            self.insert("rendered_task_instance_fields", **place, rendered_fields=fields)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """An SQLite database with Airflow's tables."""
    engine = sa.create_engine(
        f"sqlite:///{tmp_path_factory.mktemp('database') / 'airflow.db'}",
        connect_args={"check_same_thread": False},
    )
    assert XComModel.__tablename__ in Base.metadata.tables
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def database(tables: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Airflow's database, with the DAGs ``dag`` and ``other``."""
    with tables.begin() as connection:
        for name in sa.inspect(tables).get_table_names():
            connection.execute(Base.metadata.tables[name].delete())
    monkeypatch.setattr(settings, "Session", scoped_session(sessionmaker(tables, expire_on_commit=False)))
    database = Database(tables)
    database.insert("dag_bundle", name="bundle", active=True)
    database.add_dag("dag")
    database.add_dag("other")
    return database


@pytest.fixture
def connection_fields() -> dict[str, Any]:
    """The connection has a console, and something that nobody may see."""
    return {"extra": {"console_url": "https://console.example.com/{name}", "headers": {"X-Secret": "s3cret"}}}


@pytest.fixture
def emulator(real_emulator: Emulator) -> Emulator:
    """An operations service behind the default connection."""
    return real_emulator


def start(emulator: Emulator, **script: Any) -> str:
    """Start an operation and return its name."""
    answer = httpx.post(
        f"{emulator.url}/v1/projects/p/things:run", json={"operation": script}, trust_env=False
    )
    return str(answer.json()["name"])


class People:
    """Clients with the session cookie of somebody."""

    def __init__(self, root: Starlette, auth: Any) -> None:
        self._root = root
        self._auth = auth
        self._clients: list[httpx.AsyncClient] = []

    def __call__(self, role: str | None = None, *, session: bool = True) -> httpx.AsyncClient:
        """
        Return the client of a user.

        :param role: viewer, user, op, admin; ``None``: signed in, and allowed nothing.
        :param session: ``False``: not signed in.
        """
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._root),
            base_url="http://airflow.test/airflow/operations-ui/",
            timeout=20,
        )
        if session:
            client.cookies.set(
                "_token", self._auth.generate_jwt(SimpleAuthManagerUser(username="somebody", role=role))
            )
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@pytest.fixture
async def people(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[People]:
    """Users of an Airflow with roles."""
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret of sufficient length " * 3)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.test/airflow")
    purge_cached_app()
    auth = init_auth_manager()
    root = Starlette(routes=[Mount("/airflow/operations-ui", create_app())])
    people = People(root, auth)
    yield people
    await people.close()
    purge_cached_app()
