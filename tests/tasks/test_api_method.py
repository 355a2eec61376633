"""Methods of Google's by their ids, through operators, sensor and hook at a real socket, beside Google's own client."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowNotFoundException
from airflow.providers.common.compat.sdk import task as task_decorator

from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations._connection.options import ServiceOptions
from airflow_provider_operations._google_apis.lookup import find_method
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.exceptions import OperationsCallError, OperationsCallErrorFinal
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.hooks._google_api import start_call_of
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.google_apis.twenty import TWENTY, BesideUs
from tests.support.connections import set_connection
from tests.support.raw_server import RawServer, answer, sends
from tests.support.tasks import StateStore, TaskInstance
from tests.versions import AIRFLOW

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.tasks import Driver, Verdict

WAYS = pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "in the worker"])

CREATE = "file.projects.locations.instances.create"
PLACE = "projects/p/locations/europe-west1"
GIVEN = {"parent": f"{PLACE}-b", "instanceId": "nfs"}
ADC: dict[str, Any] = {"conn_type": "google_cloud_platform"}


def run(
    driver: Driver, method: str = CREATE, /, *, store: StateStore | None = None, **arguments: Any
) -> Verdict:
    given = {"parameters": GIVEN, "timeout": 1000, "outage_tolerance": 120, "poke_interval": 20, **arguments}
    return driver.run(lambda: RunOperationOperator(task_id="run", api_method=method, **given), store=store)


def sent(emulator: Emulator, kind: str = "start") -> list[tuple[str, str, dict[str, Any], Any]]:
    """What the emulator got, without the client's own parameters and request ids."""
    own = {"alt", "$.xgafv", "requestId"}
    return [
        (
            entry["method"],
            entry["path"],
            {name: value for name, value in entry["query"].items() if name not in own},
            entry.get("body") or None,
        )
        for entry in emulator.journal(kind)
    ]


@WAYS
@pytest.mark.parametrize("case", TWENTY, ids=lambda case: case["method"])
def test_twenty_apis(emulator: Emulator, driver: Driver, case: dict[str, Any], *, deferrable: bool) -> None:
    """
    The task gets the response. Its start is the one that Google's client makes, and where it polls, that client reads.

    The client's paths come from its own documents.
    """
    method, parameters, body = case["method"], case["parameters"], case["json"]
    name = case["operation"].replace("RUN", "o")
    emulator.script_operation(name=name, duration=30, response={"a": 1})
    verdict = run(driver, method, parameters=parameters, json=body, deferrable=deferrable)
    assert (verdict.state, verdict.value, verdict.error) == ("success", {"a": 1}, None)
    ours, polled = sent(emulator), {path for _, path, *_ in sent(emulator, "get")}
    emulator.clear_journal()
    with BesideUs(case["document"], method, emulator.url) as google:
        google.start(parameters, body).execute()
        for get in google.gets(name):
            assert get.execute()["response"] == {"a": 1}
    assert ours == sent(emulator)
    assert len(polled) == 1
    assert polled <= {path for _, path, *_ in sent(emulator, "get")}


@WAYS
def test_a_name_within_a_name(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """The policy's resource is one segment, in the start and in each poll, as Google's client sends it."""
    parent = "policies/cloudresourcemanager.googleapis.com%2Fprojects%2Fp/denypolicies"
    name = f"{parent}/d/operations/o"
    emulator.script_operation(name=name, duration=30, response={"a": 1})
    method, parameters = "iam:v2.policies.createPolicy", {"parent": parent, "policyId": "d"}
    verdict = run(driver, method, parameters=parameters, json={}, deferrable=deferrable)
    assert (verdict.state, verdict.value) == ("success", {"a": 1})
    ours, polled = sent(emulator), {path for _, path, *_ in sent(emulator, "get")}
    emulator.clear_journal()
    with BesideUs("iam:v2", method, emulator.url) as google:
        google.start(parameters, {}).execute()
        (get,) = google.gets(name)
        assert get.execute()["response"] == {"a": 1}
    assert (sent(emulator), {path for _, path, *_ in sent(emulator, "get")}) == (ours, polled)
    assert polled == {f"/v2/{name}"}


# --- where it goes ---------------------------------------------------------------------------------------------


def asked(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], **arguments: Any) -> ServiceOptions:
    """What a hook is asked for, and needs no table for any more."""
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(fields))
    with OperationsHook("ops", **{"api": "file", **arguments}) as hook:
        options = hook.options
        plain = OperationsHook(**options.arguments())
        assert plain.settings == hook.settings
    return options


@pytest.mark.parametrize(
    ("api", "arguments", "options"),
    [
        pytest.param("file", {}, {"base_url": "https://file.googleapis.com", "path_prefix": None}, id="file"),
        pytest.param("file:v1beta1", {}, {"path_prefix": "v1beta1"}, id="version"),
        pytest.param("translate", {}, {"base_url": "https://translation.googleapis.com"}, id="another-host"),
        pytest.param("speech", {}, {"path_prefix": "v1/operations"}, id="another-prefix"),
        pytest.param("run", {}, {"wait_timeout_in": "body"}, id="wait-by-body"),
        pytest.param("datalabeling:v1beta1", {}, {"cancel_method": "GET"}, id="cancel-by-GET"),
        pytest.param("file", {"path_prefix": "v9"}, {"path_prefix": "v9"}, id="the-tasks-prefix-wins"),
        pytest.param("drive", {}, {"scopes": "https://www.googleapis.com/auth/drive"}, id="scopes"),
        pytest.param("file", {}, {"scopes": None}, id="cloud-platform"),
        pytest.param(
            "aiplatform",
            {"location": "europe-west1"},
            {"base_url": "https://europe-west1-aiplatform.googleapis.com"},
            id="locational",
        ),
        pytest.param(
            "aiplatform",
            {"location": "global"},
            {"base_url": "https://aiplatform.googleapis.com"},
            id="global",
        ),
        pytest.param(
            "redis",
            {"location": "europe-west1-b", "endpoint": "regional"},
            {"base_url": "https://redis.europe-west1.rep.googleapis.com"},
            id="regional",
        ),
        pytest.param(
            "redis",
            {"location": "europe-west1"},
            {"base_url": "https://redis.googleapis.com"},
            id="not-regional",
        ),
        pytest.param(
            "redis",
            {
                "location": "europe-west1-b",
                "endpoint": "regional",
                "base_url": "https://redis.europe-west1.rep.googleapis.com",
            },
            {"base_url": "https://redis.europe-west1.rep.googleapis.com"},
            id="regional-said-twice",
        ),
        pytest.param(
            "aiplatform",
            {"location": "mars-west1", "base_url": "https://mars-west1-aiplatform.googleapis.com"},
            {"base_url": "https://mars-west1-aiplatform.googleapis.com"},
            id="a-new-location",
        ),
        pytest.param(
            "file",
            {"base_url": "https://file.mtls.googleapis.com"},
            {"base_url": "https://file.mtls.googleapis.com"},
            id="the-tasks-host-wins",
        ),
    ],
)
def test_what_the_table_says(
    monkeypatch: pytest.MonkeyPatch, api: str, arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    """With a connection that has nothing but credentials, host and spelling come from the table, or from the task."""
    found = asked(monkeypatch, ADC, api=api, **arguments).arguments()
    assert {key: found[key] for key in options} == options


@pytest.mark.parametrize(
    ("api", "location", "arguments", "proposed"),
    [
        pytest.param("documentai", "eu", {}, "endpoint='regional'", id="documentai"),
        pytest.param(
            "documentai",
            "eu",
            {"base_url": "https://documentai.googleapis.com"},
            "endpoint='regional'",
            id="base_url",
        ),
        pytest.param("documentai", "us", {}, None, id="home"),
        pytest.param("documentai", "eu", {"endpoint": "regional"}, None, id="asked-for"),
        pytest.param(
            "documentai", "eu", {"base_url": "https://eu-documentai.googleapis.com"}, None, id="own"
        ),
        pytest.param(
            "discoveryengine",
            "eu",
            {},
            "base_url='https://eu-discoveryengine.googleapis.com'",
            id="not-in-the-table",
        ),
        pytest.param("discoveryengine", "global", {}, None, id="global"),
        pytest.param("dialogflow:v3", "europe-west2", {}, "europe-west2-dialogflow", id="dialogflow"),
        pytest.param("contentwarehouse", "eu", {}, "eu-contentwarehouse", id="contentwarehouse"),
        pytest.param("redis", "europe-west1", {}, None, id="serves-all"),
        pytest.param("documentai", None, {}, None, id="no-location"),
    ],
)
def test_a_location_that_needs_its_own_address(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    api: str,
    location: str | None,
    arguments: dict[str, Any],
    proposed: str | None,
) -> None:
    """Where the usual address doesn't serve the location, the log says what does, once; it isn't chosen by itself."""
    with caplog.at_level("WARNING"):
        asked(monkeypatch, ADC, api=api, location=location, **arguments)
    said = [record.getMessage() for record in caplog.records if "serves" in record.getMessage()]
    assert len(said) == (proposed is not None)
    assert proposed is None or proposed in said[0]


def test_an_emulator_serves_all_locations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host that isn't Google's knows for itself."""
    asked(
        monkeypatch,
        {"conn_type": "operations", "host": "http://127.0.0.1:9"},
        api="documentai",
        location="eu",
    )
    assert "serves" not in caplog.text


def test_a_connections_host_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator, or a private endpoint; then nothing is said of a host beside the connection."""
    for host in ("http://127.0.0.1:8085", "https://file-mine.p.googleapis.com", "file.googleapis.com"):
        fields = {"conn_type": "operations", "host": host, "extra": {"auth": "google", "path_prefix": "v8"}}
        if "127" in host:
            fields["extra"] = {"path_prefix": "v8"}
        options = asked(monkeypatch, fields)
        assert (options.base_url, options.path_prefix) == (None, "v1")


@pytest.mark.parametrize(
    ("fields", "arguments", "says"),
    [
        pytest.param(
            {"host": "cloudbuild.googleapis.com", "extra": {"auth": "google"}},
            {},
            r"is for cloudbuild\.googleapis\.com, which isn't where file:v1 is",
            id="another-api",
        ),
        pytest.param(
            {"host": "file.googleapis.com"}, {}, "has no credentials, .* google_cloud_default", id="no-token"
        ),
        pytest.param({}, {}, "has no credentials", id="no-host-no-token"),
        pytest.param(
            {"host": "redis.googleapis.com", "extra": {"auth": "google"}},
            {"api": "redis", "endpoint": "regional", "location": "europe-west1"},
            r"for europe-west1 is redis\.europe-west1\.rep\.googleapis\.com, and not redis\.googleapis\.com",
            id="regional-beside-a-host",
        ),
        pytest.param(
            {"extra": {"auth": "google"}},
            {
                "api": "redis",
                "endpoint": "regional",
                "location": "europe-west1",
                "base_url": "https://redis.us-east1.rep.googleapis.com",
            },
            r"and not redis\.us-east1\.rep",
            id="regional-beside-a-base-url",
        ),
        pytest.param(
            {"host": "us-central1-aiplatform.googleapis.com", "extra": {"auth": "google"}},
            {"api": "aiplatform", "location": "europe-west1"},
            r"us-central1-aiplatform.* in us-central1, and what is asked for is in europe-west1",
            id="another-location",
        ),
        pytest.param(
            {"extra": {"auth": "google"}},
            {"endpoint": "regional", "location": "nowhere"},
            "no regional endpoint for the location 'nowhere'",
            id="regional",
        ),
    ],
)
def test_refused_connections(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], arguments: dict[str, Any], says: str
) -> None:
    """What can only be a mistake is refused before anything is sent."""
    with pytest.raises(InvalidConnection, match=says):
        asked(monkeypatch, {"conn_type": "operations", **fields}, **arguments)


def test_a_trigger_needs_no_table(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets host, prefix, cancel and scopes as plain arguments."""
    given: list[dict[str, Any]] = []
    trigger = driver.trigger

    def noting(deferred: Any) -> Any:
        given.append(deferred.serialize()[1])
        return trigger(deferred)

    monkeypatch.setattr(driver, "trigger", noting)
    emulator.script_operation(name="7612202767953098924", duration=30)
    run(driver, "speech.speech.longrunningrecognize", parameters={}, json={}, deferrable=True)
    assert given[0]["path_prefix"] == "v1/operations"
    assert "base_url" not in given[0]  # the connection's
    assert not given[0].keys() & {"api", "api_method", "endpoint"}


# --- a start and its tries ---------------------------------------------------------------------------------------


def test_request_ids(emulator: Emulator, driver: Driver) -> None:
    """One of its own for each start, where the service promises to recognise it, and none elsewhere."""
    run(
        driver,
        "redis.projects.locations.clusters.create",
        parameters={"parent": PLACE, "clusterId": "c"},
        json={},
    )
    hub = {"name": "projects/p/locations/global/hubs/h"}
    run(driver, "networkconnectivity.projects.locations.global.hubs.acceptSpoke", parameters=hub)
    run(driver)
    first, second, third = emulator.journal("start")
    assert len(first["query"]["requestId"]) == 36
    assert len(second["body"]["requestId"]) == 36
    assert "requestId" not in {**third["query"], **(third["body"] or {})}


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="no task state store")
def test_the_digest_has_the_host(emulator: Emulator, driver: Driver) -> None:
    """The same call to another host is another call, and no repetition of the first."""
    store = StateStore()
    run(driver, store=store)
    first = store["airflow_provider_operations"]["digest"]
    run(driver, store=(other := StateStore()))
    assert other["airflow_provider_operations"]["digest"] == first
    call = start_call_of(find_method(CREATE), GIVEN, None, None, "https://elsewhere.example.com")
    here = start_call_of(find_method(CREATE), GIVEN, None, None, emulator.url)
    assert (here.digest, call.digest != first) == (first, True)


@WAYS
@pytest.mark.parametrize(
    "script",
    [
        pytest.param({"duration": 60}, id="running"),
        pytest.param({"raw": {"name": None, "done": None}, "duration": 60}, id="neither-name-nor-done"),
    ],
)
def test_validate_only(
    emulator: Emulator, driver: Driver, script: dict[str, Any], *, deferrable: bool
) -> None:
    """Nothing is started: what is answered counts as done, isn't polled, and no later try takes it over."""
    store = StateStore()
    given = {"parent": PLACE, "clusterId": "c", "validateOnly": True}
    for _ in range(2):
        emulator.script_operation(**script)
        verdict = run(
            driver,
            "alloydb.projects.locations.clusters.create",
            parameters=given,
            json={},
            deferrable=deferrable,
            store=store,
        )
        assert (verdict.state, verdict.deferrals, verdict.error) == ("success", 0, None)
    assert [entry["kind"] for entry in emulator.journal()] == ["start", "start"]


@WAYS
@pytest.mark.parametrize("waits", [True, False])
def test_validate_only_says_no(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, *, deferrable: bool, waits: bool
) -> None:
    """An error that comes as a success, without an operation around it, fails the task."""
    error = {"code": 3, "message": "the name is taken", "status": "INVALID_ARGUMENT"}
    with RawServer(sends(answer(200, json.dumps({"error": error}).encode()))) as server:
        set_connection(monkeypatch, server.url)
        verdict = run(
            driver,
            "alloydb.projects.locations.clusters.create",
            parameters={"parent": PLACE, "clusterId": "c", "validateOnly": True},
            json={},
            deferrable=deferrable,
            wait_for_completion=waits,
        )
        assert len(server.seen) == 1
    assert (verdict.state, verdict.deferrals) == ("failed", 0)
    assert "INVALID_ARGUMENT (3): the name is taken" in str(verdict.error)


def test_an_api_that_cant_be_asked(emulator: Emulator, driver: Driver) -> None:
    """Where the API has no method to ask for an operation that runs, the task fails at once, and says which it is."""
    given: dict[str, Any] = {"parameters": {}, "json": {"displayName": "g"}}
    emulator.script_operation(duration=0, response={"a": 1})
    assert run(driver, "cloudidentity:v1.groups.create", **given).value == {"a": 1}
    emulator.script_operation(name="operations/o", duration=60)
    verdict = run(driver, "cloudidentity:v1.groups.create", **given)
    assert isinstance(verdict.error, OperationsCallErrorFinal)
    assert "operations/o was started and runs, but cloudidentity:v1 has no method to ask for it" in str(
        verdict.error
    )
    assert [entry["kind"] for entry in emulator.journal()] == ["start", "start"]


def test_a_missing_cancel_is_said(
    emulator: Emulator, driver: Driver, logged: pytest.LogCaptureFixture
) -> None:
    """That a kill can't end the operation is in the log from the start on."""
    emulator.script_operation(name=f"{PLACE}/operations/o", duration=30)
    run(driver, "run.projects.locations.jobs.run", parameters={"name": f"{PLACE}/jobs/j"}, json={})
    said = f"{PLACE}/operations/o: run:v2 has no cancel for it: a kill or a time-out leaves it running"
    assert said in logged.messages
    logged.clear()
    emulator.script_operation(name=f"{PLACE}/operations/o2", duration=30)
    run(driver)
    assert "has no cancel" not in logged.text


@pytest.mark.parametrize(
    ("method", "parameters", "is_said"),
    [
        ("beyondcorp.projects.locations.appConnections.delete", {"name": f"{PLACE}/appConnections/a"}, True),
        ("file.projects.locations.instances.delete", {"name": f"{PLACE}-b/instances/nfs"}, False),
    ],
)
def test_a_deprecated_method_is_said(
    emulator: Emulator,
    driver: Driver,
    logged: pytest.LogCaptureFixture,
    method: str,
    parameters: dict[str, str],
    *,
    is_said: bool,
) -> None:
    """It is started all the same; the log says that it may go, however short its operation."""
    emulator.script_operation(duration=0)
    assert run(driver, method, parameters=parameters).state == "success"
    assert ("beyondcorp:v1.projects.locations.appConnections.delete is deprecated" in logged.text) == is_said


# --- what is refused when the DAG is parsed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param({"api_method": "file.projects.x"}, "has no method", id="id"),
        pytest.param({"api_method": CREATE}, "needs the parameter 'parent'", id="missing"),
        pytest.param({"api_method": CREATE, "params": GIVEN}, "did you mean 'parameters'", id="params"),
        pytest.param(
            {"api_method": CREATE, "parameters": {"parant": PLACE}}, "did you mean 'parent'", id="name"
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": {"parent": "p"}},
            r"is like projects/\*/locations/\*",
            id="pattern",
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "path": "x"},
            "'path' and 'api_method' exclude",
            id="path",
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "method": "PUT"},
            "'method' and 'api_method'",
            id="method",
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "query": {"a": 1}},
            "'query' and 'api_method'",
            id="query",
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "request_id_field": "requestId"},
            "'request_id_field' and 'api_method'",
            id="request-id",
        ),
        pytest.param(
            {"path": "x", "parameters": GIVEN}, "either 'path', or 'api_method'", id="parameters-alone"
        ),
        pytest.param({}, "either 'path', or 'api_method'", id="neither"),
        pytest.param({"api_method": 123}, "a method's id is text, and not int", id="no-text"),
        pytest.param({"path": "x", "api": 123}, "an API's name is text, and not int", id="api-no-text"),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "api": "redis"}, "'api' and 'api_method'", id="api"
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "request_id_in": "body"},
            "'request_id_in' and 'api_method'",
            id="request-id-in",
        ),
        pytest.param(
            {"path": "x", "request_id_in": "body"}, "'request_id_in' needs 'request_id_field'", id="in-what"
        ),
        pytest.param(
            {"path": "x", "endpoint": "regional"}, "needs 'api' or 'api_method'", id="endpoint-alone"
        ),
        pytest.param(
            {"api_method": CREATE, "parameters": GIVEN, "endpoint": "global"},
            "'endpoint' is regional",
            id="endpoint",
        ),
    ],
)
def test_refused_at_parse_time(arguments: dict[str, Any], says: str) -> None:
    """A mistake is told where the DAG is parsed, with what to write instead."""
    with pytest.raises(ValueError, match=says):
        RunOperationOperator(task_id="run", **arguments)


def test_templates_wait_for_their_values(emulator: Emulator, driver: Driver) -> None:
    """What is a template is checked when it is rendered, before anything is sent or noted."""
    given = {"parent": "{{ params.parent }}", "instanceId": "{{ ds }}"}
    store = StateStore()
    verdict = run(driver, parameters=given, store=store)
    assert verdict.state == "failed"
    assert "is like projects/*/locations/*, and not '{{ params.parent }}'" in str(verdict.error)
    assert (emulator.journal(), dict(store)) == ([], {})


# --- other ways to use it ------------------------------------------------------------------------------------------


@WAYS
def test_the_decorator(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """The function returns parameters and body, from values that it is called with."""

    def make() -> Any:
        with DAG("d", schedule=None) as dag:

            @task_decorator.operation(api_method=CREATE, deferrable=deferrable)
            def create(name: str) -> dict[str, Any]:
                return {"parameters": {**GIVEN, "instanceId": name}, "json": {"tier": "X"}}

            create("nfs")
        return dag.get_task("create")

    verdict = driver.run(make)
    assert (verdict.state, verdict.error) == ("success", None)
    assert sent(emulator) == [("POST", f"/v1/{PLACE}-b/instances", {"instanceId": "nfs"}, {"tier": "X"})]


@pytest.mark.parametrize("returned", [{"path": "x"}, ("x", {}), None, {"parameters": GIVEN, "method": "PUT"}])
def test_the_function_returns_no_path(driver: Driver, emulator: Emulator, returned: Any) -> None:
    """With a method's id, path, method and query follow from it."""

    def make() -> Any:
        with DAG("d", schedule=None) as dag:

            @task_decorator.operation(api_method=CREATE)
            def create() -> Any:
                return returned

            create()
        return dag.get_task("create")

    verdict = driver.run(make)
    assert isinstance(verdict.error, TypeError)
    assert "a dict of parameters, json, headers, resource_name; it returned" in str(verdict.error)
    assert emulator.journal() == []


@WAYS
def test_sensor_and_cancel(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """They are told the API of the operation, and need nothing else of its spelling."""
    name = "7612202767953098924"
    emulator.script_operation(name=name, duration=300, response={"a": 1})
    with OperationsHook(api="speech") as hook:
        hook.start_method("speech.speech.longrunningrecognize", json={})
    waited = driver.run(
        lambda: OperationSensor(task_id="wait", operation_name=name, api="speech", deferrable=deferrable)
    )
    assert waited.value == {"a": 1}
    ended = driver.run(
        lambda: CancelOperationOperator(
            task_id="stop", operation_name=name, api="speech:v1", deferrable=deferrable
        )
    )
    assert ended.value == {"name": name, "ended": "succeeded"}
    assert {entry["path"] for entry in emulator.journal("get")} == {f"/v1/operations/{name}"}
    with pytest.raises(ValueError, match="did you mean speech"):
        OperationSensor(task_id="wait", operation_name=name, api="speach")


def test_the_hook(emulator: Emulator) -> None:
    """A start by its id, with a request id where the service takes one."""
    with OperationsHook(api="redis") as hook:
        given = {"parent": PLACE, "clusterId": "c"}
        operation = hook.start_method("redis.projects.locations.clusters.create", parameters=given, json={})
        assert hook.get_operation(operation.name).name == operation.name
        with pytest.raises(ValueError, match=r"needs a hook with api='file:v1', not 'redis'"):
            hook.start_method(CREATE, parameters=GIVEN)
    (start,) = emulator.journal("start")
    assert len(start["query"]["requestId"]) == 36


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        pytest.param(
            "aiplatform.projects.locations.models.upload",
            {"api": "aiplatform"},
            "in europe-west1, and what is asked for is in us-central1",
            id="locational",
        ),
        pytest.param(
            "redis.projects.locations.clusters.create",
            {"api": "redis", "endpoint": "regional"},
            r"endpoint for us-central1 is redis\.us-central1\.rep",
            id="regional",
        ),
    ],
)
def test_the_hook_in_another_location(
    monkeypatch: pytest.MonkeyPatch, method: str, arguments: dict[str, Any], says: str
) -> None:
    """Its address was chosen by its location, or by its endpoint; no start for another is sent there."""
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(ADC))
    elsewhere = {"parent": "projects/p/locations/us-central1"}
    hook = OperationsHook("ops", location="europe-west1", **arguments)
    with hook, pytest.raises(InvalidConnection, match=says):
        hook.start_method(method, parameters=elsewhere, json={})


def test_a_location_that_comes_too_late(
    emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the host depends on what a function returns, the task says the host: later stays don't call the function."""
    monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(ADC))

    def make() -> Any:
        with DAG("d", schedule=None) as dag:

            @task_decorator.operation(api_method="aiplatform.projects.locations.models.upload")
            def upload() -> dict[str, Any]:
                return {"parameters": {"parent": PLACE}, "json": {}}

            upload()
        return dag.get_task("upload")

    verdict = driver.run(make)
    assert "give base_url='https://europe-west1-aiplatform.googleapis.com'" in str(verdict.error)


def test_a_location_that_is_unknown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That another address is asked than the location's is said; that ``global`` has none of its own is known."""
    options = asked(monkeypatch, ADC, api="aiplatform", location="mars-west1")
    assert options.base_url == "https://aiplatform.googleapis.com"
    assert "none is known for mars-west1: https://aiplatform.googleapis.com is asked" in caplog.text
    caplog.clear()
    asked(monkeypatch, ADC, api="aiplatform", location="global")
    assert caplog.text == ""


@pytest.mark.parametrize("returned", ["us-central1", "global"])
def test_a_function_returns_another_location(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, returned: str
) -> None:
    """The address was chosen by the task's own parameters; nothing is sent to it for another location."""
    monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(ADC))

    def make() -> Any:
        with DAG("d", schedule=None) as dag:

            @task_decorator.operation(
                api_method="aiplatform.projects.locations.models.upload", parameters={"parent": PLACE}
            )
            def upload() -> dict[str, Any]:
                return {"parameters": {"parent": f"projects/p/locations/{returned}"}, "json": {}}

            upload()
        return dag.get_task("upload")

    store = StateStore()
    verdict = driver.run(make, store=store)
    assert f"in europe-west1, and what is asked for is in {returned}" in str(verdict.error)
    assert dict(store) == {}


@pytest.mark.parametrize(
    ("fields", "sends_tokens"),
    [
        pytest.param({"extra": {"allowed_hosts": "127.0.0.1"}}, True, id="allowed"),
        pytest.param({"extra": {"extra__google_cloud_platform__is_anonymous": True}}, False, id="anonymous"),
    ],
)
def test_an_emulator_in_a_google_connection(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], *, sends_tokens: bool
) -> None:
    """Its own host is used, with tokens only where that is allowed."""
    given = {**ADC, "host": "http://127.0.0.1:8085", **fields}
    given["extra"] = {**given["extra"], "timeout": 7}
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps(given))
    with OperationsHook("ops", api="file") as hook:
        assert hook.settings.service.base_url == "http://127.0.0.1:8085"
        assert hook.settings.timeout_s == 7
        assert (hook.settings.auth.tokens is not None) == sends_tokens


@pytest.mark.parametrize("extra", [{}, {"is_anonymous": True}, {"key_secret_name": "k"}])
def test_a_google_connection_is_for_google(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]) -> None:
    """Without a host it is for Google's alone, whatever a template makes of base_url."""
    monkeypatch.setenv("AIRFLOW_CONN_OPS", json.dumps({**ADC, "extra": extra}))
    for url in ("http://169.254.169.254", "https://googleapis.com.example.com", "http://127.0.0.1:8085"):
        with pytest.raises(InvalidConnection, match="allowed_hosts"):
            OperationsHook("ops", base_url=url).look_up()
    OperationsHook("ops", base_url="https://file.googleapis.com").look_up()


def test_rendered_fields_show_what_the_table_says(
    driver: Driver, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shown as rendered, and what the tab asks with, needs no table; a connection that is missing fails later."""
    given = {"parent": "projects/p/locations/{{ params.location }}"}

    def rendered() -> RunOperationOperator:
        task = RunOperationOperator(
            task_id="run", api_method="aiplatform.projects.locations.models.upload", parameters=given
        )
        task.render_template_fields({"params": {"location": "europe-west1"}})
        return task

    monkeypatch.delenv("AIRFLOW_CONN_OPERATIONS_DEFAULT")
    assert rendered().base_url is None
    monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(ADC))
    task = rendered()
    assert task.parameters == {"parent": PLACE}
    assert ServiceOptions.of(task) == ServiceOptions(
        base_url="https://europe-west1-aiplatform.googleapis.com"
    )


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="it needs a session of Airflow's database to expand")
def test_rendered_fields_of_a_mapped_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow renders those in another way; what the tab asks with has to be there all the same."""
    monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", json.dumps(ADC))
    with DAG("d", schedule=None) as dag:
        mapped = RunOperationOperator.partial(
            task_id="run", api_method="cloudfunctions:v2.projects.locations.functions.create", json={}
        ).expand(parameters=[{"parent": PLACE}])
    ti = TaskInstance("run")
    ti.map_index = 0
    context: Any = {"ti": ti, "dag": dag, "dag_run": SimpleNamespace(conf={})}
    mapped.render_template_fields(context)
    task = context["task"]
    assert isinstance(task, RunOperationOperator)
    assert task.parameters == {"parent": PLACE}
    assert ServiceOptions.of(task) == ServiceOptions(
        base_url="https://cloudfunctions.googleapis.com", path_prefix="v2"
    )


@pytest.mark.skipif(AIRFLOW < (3, 0), reason="it needs a session of Airflow's database to expand")
@pytest.mark.parametrize(
    ("method", "given", "says"),
    [
        (CREATE, {"parant": PLACE}, "did you mean 'parent'"),
        (CREATE, {"parent": "p"}, r"is like projects/\*/locations/\*"),
        (f"{CREATE}r", GIVEN, "did you mean file"),
    ],
)
def test_a_mapped_task_is_checked_when_it_is_rendered(method: str, given: dict[str, str], says: str) -> None:
    """Before that nobody knows what it is made of."""
    with DAG("d", schedule=None) as dag:
        mapped = RunOperationOperator.partial(task_id="run", api_method=method).expand(parameters=[given])
    ti = TaskInstance("run")
    ti.map_index = 0
    context: Any = {"ti": ti, "dag": dag, "dag_run": SimpleNamespace(conf={})}
    with pytest.raises(ValueError, match=says):
        mapped.render_template_fields(context)


def test_another_connection_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the connection is missing, the error names the one that most have; it is never taken by itself."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(ADC))
    with pytest.raises(AirflowNotFoundException, match=r"missing.* such as google_cloud_default"):
        OperationsHook("missing", api="file").look_up()


def test_a_start_by_get_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """That HTTP takes a GET for safe doesn't make it so."""
    method = "aiplatform.projects.locations.datasets.datasetVersions.restore"
    name = f"{PLACE}/datasets/d/datasetVersions/v"
    with RawServer(sends(answer(503, b"{}"))) as server:
        set_connection(monkeypatch, server.url)
        with OperationsHook(api="aiplatform", retries=Retries(delay_s=0)) as hook:
            with pytest.raises(OperationsCallError):
                hook.start_method(method, parameters={"name": name})
            assert [seen.line for seen in server.seen] == [f"GET /v1/{name}:restore HTTP/1.1"]
