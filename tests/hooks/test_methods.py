"""Methods of Google's by their ids, through both hooks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._google_apis.call import InvalidParameters
from airflow_provider_operations._protocol.request import InvalidRequest
from airflow_provider_operations.google_apis import ApiDocument, UnknownMethod
from tests.google_apis.test_own import EXAMPLE, GIVEN, MAKE

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.hooks import Calls

CREATE = "redis.projects.locations.clusters.create"
PLACE = "projects/p/locations/europe-west1"
CLUSTER = {"parent": PLACE, "clusterId": "c"}


def test_a_start_and_its_end(emulator: Emulator, hook_of: Callable[..., Calls]) -> None:
    """It is started with a request id, and asked for and cancelled as the table says."""
    calls = hook_of(emulator.url, api="redis")
    operation = calls("start_method", CREATE, parameters=CLUSTER, json={"shardCount": 3})
    assert calls("get_operation", operation.name).name == operation.name
    calls("cancel_operation", operation.name)
    assert [(each["method"], each["path"]) for each in emulator.journal()] == [
        ("POST", f"/v1/{PLACE}/clusters"),
        ("GET", f"/v1/{operation.name}"),
        ("POST", f"/v1/{operation.name}:cancel"),
    ]
    assert len(emulator.journal("start")[0]["query"]["requestId"]) == 36


def test_another_spelling(emulator: Emulator, hook_of: Callable[..., Calls]) -> None:
    """Prefix and wait are the table's also where nothing is started by a method."""
    name = f"{PLACE}/operations/o"
    emulator.script_operation(name=name, duration=0)
    calls = hook_of(emulator.url, api="run")
    calls("start_operation", "projects/p/x")
    calls("wait_operation", name, 1)
    _, wait = emulator.journal()
    assert (wait["path"], wait["query"], wait["body"]) == (f"/v2/{name}:wait", {}, {"timeout": "1s"})


def test_a_document_of_ones_own(emulator: Emulator, hook_of: Callable[..., Calls]) -> None:
    """It stands for the API."""
    own = ApiDocument(EXAMPLE)
    calls = hook_of(emulator.url, api=own)
    operation = calls("start_method", own.find(MAKE), **GIVEN)
    assert calls("get_operation", operation.name).name == operation.name
    assert [each["path"] for each in emulator.journal()] == ["/v3/projects/p/things:make", f"/v3/{operation.name}"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "method", "parameters", "error", "says"),
    [
        pytest.param(
            {"api": "file"},
            CREATE,
            CLUSTER,
            ValueError,
            "needs a hook with api='redis:v1', not 'file'",
            id="another-api",
        ),
        pytest.param({}, CREATE, CLUSTER, ValueError, "needs a hook with api='redis:v1'", id="no-api"),
        pytest.param({"api": "redis"}, f"{CREATE}r", CLUSTER, UnknownMethod, "did you mean", id="no-method"),
        pytest.param(
            {"api": "rediss"}, CREATE, CLUSTER, UnknownMethod, "did you mean redis", id="no-api-of-that-name"
        ),
        pytest.param(
            {"api": "redis"}, CREATE, {"parent": "p"}, InvalidParameters, "is like", id="parameters"
        ),
    ],
)
def test_refused(
    emulator: Emulator,
    hook_of: Callable[..., Calls],
    arguments: dict[str, Any],
    method: str,
    parameters: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    """What isn't right is refused before anything is sent."""
    with pytest.raises(error, match=says):
        hook_of(emulator.url, **arguments)("start_method", method, parameters=parameters, json={})
    assert emulator.journal() == []


@pytest.mark.parametrize(
    ("arguments", "parameters", "says"),
    [
        pytest.param(
            {"api": "redis", "endpoint": "regional", "location": "europe-west1"},
            {**CLUSTER, "parent": "projects/p/locations/us-central1"},
            r"its regional endpoint for us-central1 is redis\.us-central1\.rep",
            id="elsewhere",
        ),
        pytest.param(
            {"api": "redis", "base_url": "https://file.googleapis.com"},
            CLUSTER,
            "isn't where redis:v1 is",
            id="another-api's-host",
        ),
    ],
)
def test_a_wrong_address(
    hook_of: Callable[..., Calls],
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    parameters: dict[str, Any],
    says: str,
) -> None:
    """No start goes to an address that isn't the API's, or the location's."""
    calls = hook_of("http://127.0.0.1:9", **arguments)
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "google_cloud_platform"}))
    with pytest.raises(InvalidConnection, match=says):
        calls("start_method", CREATE, parameters=parameters, json={})


@pytest.mark.parametrize("location", [None, "europe-west1"])
def test_an_address_for_each_location(
    hook_of: Callable[..., Calls],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    location: str | None,
) -> None:
    """A hook doesn't know it before a start names it: the log says which location to make the hook with."""
    calls = hook_of("http://127.0.0.1:9", api="aiplatform", location=location)
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({"conn_type": "google_cloud_platform"}))
    create = "aiplatform.projects.locations.endpoints.create"
    with pytest.raises(InvalidRequest):  # so that nothing is sent
        calls("start_method", create, parameters={"parent": PLACE}, json={}, headers={"Host": "a.example"})
    said = "a hook with location='europe-west1' asks https://europe-west1-aiplatform.googleapis.com"
    assert (said in caplog.text) == (location is None)


def test_another_connection_is_proposed(
    hook_of: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the connection is missing, the error names the one that most have; it is never taken by itself."""
    calls = hook_of("http://127.0.0.1:9", api="redis")
    monkeypatch.delenv("AIRFLOW_CONN_OPS")
    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps({"conn_type": "google_cloud_platform"})
    )
    with pytest.raises(AirflowNotFoundException, match=r"for redis .* such as google_cloud_default"):
        calls("start_method", CREATE, parameters=CLUSTER, json={})
