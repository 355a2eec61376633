"""A user's own API document in tasks, sensors and hooks; its host is trusted as far as a task's ``base_url`` is."""

from __future__ import annotations

import copy
import json
import pickle
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.compat.sdk import task as task_decorator

from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations.google_apis import ApiDocument
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.google_apis.test_own import EXAMPLE, GIVEN, MAKE
from tests.support.connections import set_connection
from tests.support.raw_requests import start
from tests.support.tasks import TaskInstance
from tests.versions import AIRFLOW, DagSerialization

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_operations.emulator import Emulator
    from tests.support.tasks import Driver


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The document in a file."""
    path = tmp_path / "example.json"
    path.write_text(json.dumps(EXAMPLE))
    return path


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "in the worker"])
@pytest.mark.parametrize("as_decorator", [False, True], ids=["operator", "decorator"])
def test_a_start(
    emulator: Emulator, driver: Driver, file: Path, *, deferrable: bool, as_decorator: bool
) -> None:
    """A task starts, polls and cancels as the document says, at the connection's host."""
    emulator.script_operation(name="projects/p/operations/o", duration=30, response={"a": 1})

    def make() -> Any:
        own = ApiDocument(file, recognises_request_ids=True)
        more: dict[str, Any] = {"timeout": 10, "deferrable": deferrable}
        if not as_decorator:
            return RunOperationOperator(task_id="make", api_method=own.find(MAKE), **GIVEN, **more)
        with DAG("d", schedule=None) as dag:
            decorate: Any = task_decorator.operation
            decorate(task_id="make", api_method=own.find(MAKE), **more)(lambda: GIVEN)()
        return dag.get_task("make")

    verdict = driver.run(make)

    assert "was not over after 0:00:10" in str(verdict.error)
    started, *others = emulator.journal()
    assert (started["method"], started["path"]) == ("POST", "/v3/projects/p/things:make")
    assert started["query"] == {"dry": "false"}
    assert started["body"].keys() == {"size", "requestId"}
    assert {(each["method"], each["path"]) for each in others} == {
        ("GET", "/v3/projects/p/operations/o"),
        ("POST", "/v3/projects/p/operations/o/cancel"),
    }


def test_sensor_cancel_and_hook(emulator: Emulator, driver: Driver, file: Path) -> None:
    """What waits for operations of others is told the document as its ``api``."""
    for make in (OperationSensor, CancelOperationOperator):
        name = f"projects/p/operations/{make.__name__}"
        start(emulator.url, name=name, duration=5, cancelDelay=1, response={"a": 1})
        task = make(task_id="t", operation_name=name, api=ApiDocument(file))
        verdict = driver.run(partial(copy.copy, task))
        assert verdict.state == "success"
    own = ApiDocument(file)
    with OperationsHook(api=own) as hook:
        assert hook.start_method(own.find(MAKE), **GIVEN).name
    with (
        OperationsHook(api="file") as hook,
        pytest.raises(ValueError, match=r"needs a hook with api=example:v3"),
    ):
        hook.start_method(own.find(MAKE), **GIVEN)
    paths = {each["path"] for each in emulator.journal() if each["method"] == "GET"}
    assert paths == {f"/v3/projects/p/operations/{kind}" for kind in ("OperationSensor", "CancelOperationOperator")}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        pytest.param({"login": "u", "password": "p"}, True, id="password"),
        pytest.param({"password": "t"}, True, id="token"),
        pytest.param({"extra": {"auth": "google"}}, True, id="google"),
        pytest.param({"conn_type": "google_cloud_platform"}, True, id="google-provider"),
        pytest.param({"host": "other.example.com", "password": "t"}, False, id="the-connections-host"),
        pytest.param({"password": "t", "extra": {"allowed_hosts": "example.com"}}, False, id="allowed"),
        pytest.param({}, False, id="no-credentials"),
    ],
)
def test_the_host_is_trusted_as_a_base_url_is(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], *, refused: bool
) -> None:
    """Credentials go where the connection says, and not where a document does, just as with ``base_url``."""
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "operations", **fields}))
    hooks = (
        OperationsHook("ops", api=ApiDocument(EXAMPLE)),
        OperationsHook("ops", base_url="https://example.com"),
    )
    for hook in hooks[: None if refused or "host" not in fields else 1]:
        if refused:
            with pytest.raises(InvalidConnection, match="allowed_hosts"):
                hook.look_up()
        else:
            host = fields.get("host", "example.com")
            assert hook.look_up().service.base_url == f"https://{host}"


def test_an_impostor_of_a_googles_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a document calls itself like an API of Google's changes nothing about where tokens go."""
    impostor = {**EXAMPLE, "id": "file:v1", "rootUrl": "https://file.googleapis.com.example.com/"}
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "google_cloud_platform"}))
    with pytest.raises(InvalidConnection, match="allowed_hosts"):
        OperationsHook("ops", api=ApiDocument(impostor)).look_up()


def test_tasks_are_copied_without_their_document(file: Path) -> None:
    """Airflow copies tasks often; a document is never copied with them. It can be sent to another process."""
    own = ApiDocument(file)
    task = RunOperationOperator(task_id="make", api_method=own.find(MAKE), **GIVEN)
    copied: Any = copy.deepcopy(task).api_method
    assert copied.document is own
    assert copy.copy(own) is own
    assert pickle.loads(pickle.dumps(own)).find(MAKE).id == own.find(MAKE).id


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="it needs a session of Airflow's database to expand")
def test_a_mapped_task(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """It is rendered with what the document says."""
    set_connection(monkeypatch, "http://127.0.0.1:9")
    with DAG("d", schedule=None) as dag:
        mapped = RunOperationOperator.partial(
            task_id="make", api_method=ApiDocument(file).find(MAKE), json={}
        ).expand(parameters=[{"parent": "projects/p"}])
    ti = TaskInstance("make")
    ti.map_index = 0
    context: Any = {"ti": ti, "dag": dag, "dag_run": SimpleNamespace(conf={})}
    mapped.render_template_fields(context)
    task = context["task"]
    assert (task.parameters, task.path_prefix, task.cancel_suffix) == (
        {"parent": "projects/p"},
        "v3",
        "/cancel",
    )


def test_a_dag_is_serialized_without_the_document(file: Path) -> None:
    """Airflow stores DAGs as JSON, once for each version: nothing of the document is in it, mapped tasks or not."""
    method = ApiDocument(file).find(MAKE)
    with DAG("d", schedule=None) as dag:
        RunOperationOperator(task_id="one", api_method=method, **GIVEN)
        RunOperationOperator.partial(task_id="many", api_method=method).expand(parameters=[])
    stored = json.dumps(DagSerialization.to_dict(dag))
    assert "things:make" not in stored
    assert len(stored) < 20_000
