"""``@task.operation``, in process."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, task

from airflow_provider_operations.operators import RunOperationOperator
from tests.support.tasks import Driver, StateStore, TaskInstance, Verdict, context_of
from tests.versions import DagSerialization

from .test_operators import WAYS, kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator

PATH = "projects/p/things:run"
BODY = {"operation": {"duration": 30, "response": {"a": 1}}}


def made(function: Callable[..., Any], /, *args: Any, **arguments: Any) -> Callable[[], Any]:
    """Return what makes the decorated task anew, as a worker that parses the DAG does."""
    with DAG(dag_id="decorated"):
        operator = task.operation(**{"poke_interval": 20, **arguments})(function)(*args).operator
    assert isinstance(operator, RunOperationOperator)
    return operator.prepare_for_execution


def request(**more: Any) -> dict[str, Any]:
    return {"path": PATH, "json": BODY, **more}


def sent(emulator: Emulator) -> dict[str, Any]:
    (start,) = (entry for entry in emulator.journal() if entry["kind"] == "start")
    return start


@WAYS
def test_a_returned_dict_is_the_request(emulator: Emulator, driver: Driver, *, deferrable: bool) -> None:
    """The dict that the function returns is the request; the task's value is the operation's response."""

    def build(what: str) -> dict[str, Any]:
        return request(query={"what": what}, headers={"x-what": what})

    verdict = driver.run(made(build, "app", deferrable=deferrable))

    assert (verdict.state, verdict.value, verdict.deferrals) == ("success", {"a": 1}, int(deferrable))
    assert verdict.xcoms["operation_name"].startswith("projects/p/")
    start = sent(emulator)
    assert (start["method"], start["path"], start["body"]) == ("POST", "/v1/projects/p/things:run", BODY)
    assert (start["query"], start["headers"]["x-what"]) == ({"what": "app"}, "app")


def test_a_returned_pair_is_path_and_body(emulator: Emulator, driver: Driver) -> None:
    """Path and JSON body as a pair will do."""
    assert driver.run(made(lambda: (PATH, BODY), task_id="t")).value == {"a": 1}
    assert sent(emulator)["body"] == BODY


def test_arguments_of_the_decorator(emulator: Emulator, driver: Driver) -> None:
    """What the function doesn't return is taken from the decorator, rendered; everything else too."""
    make = made(
        lambda: {"json": BODY},
        task_id="t",
        path="projects/{{ project }}/things:run",
        query={"a": "1"},
        wait_for_completion=False,
        request_id_field="requestId",
    )

    def rendered() -> Any:
        operator = make()
        operator.render_template_fields({"project": "p"})
        return operator

    name = driver.run(rendered).value

    assert name.startswith("projects/p/")
    assert sent(emulator)["query"].keys() == {"a", "requestId"}


def test_what_the_function_returns_is_no_template(emulator: Emulator, driver: Driver) -> None:
    """What the function returns is sent as it is: data with braces in it is no template."""
    body = {"operation": {"duration": 1, "response": {"text": "{{ 7 * 7 }}"}}}

    assert driver.run(made(lambda: (PATH, body), task_id="t")).value == {"text": "{{ 7 * 7 }}"}


def test_context(emulator: Emulator, driver: Driver) -> None:
    """The function gets what it asks for of Airflow's context."""

    def build(ti: Any = None) -> Any:
        return f"projects/{ti.task_id}/things:run", BODY

    driver.run(made(build, wait_for_completion=False))

    assert sent(emulator)["path"] == "/v1/projects/build/things:run"


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (None, "it returned None"),
        ("projects/p/things:run", "it returned str 'projects/p/things:run'"),
        ([PATH, BODY], "it returned list"),
        ((PATH,), "it returned tuple"),
        ({"path": PATH, "body": BODY}, "it returned 'body'"),
        ({"path": PATH, "operations_conn_id": "other"}, "it returned 'operations_conn_id'"),
        ({"json": BODY}, "its path is None"),
        ({"path": "", "json": BODY}, "its path is str ''"),
        ({"path": PATH, "method": None}, "its method is None"),
        ({"path": PATH, "query": "a=1"}, "its query is str 'a=1'"),
        ({"path": PATH, "headers": ["a"]}, "its headers are list ['a']"),
    ],
    ids=repr,
)
def test_what_is_no_request_is_refused(emulator: Emulator, driver: Driver, returned: Any, found: str) -> None:
    """A return value that is no request fails with what it is and what it should be; nothing is sent."""
    verdict = driver.run(made(lambda: returned, task_id="t"))

    assert isinstance(verdict.error, TypeError)
    assert "returns the request: a dict of path, method, json, query, headers" in str(verdict.error)
    assert found in str(verdict.error)
    assert emulator.journal() == []


def test_coroutine_function() -> None:
    """A coroutine function is refused when the DAG is parsed."""

    async def build() -> Any:
        return request()

    with pytest.raises(TypeError, match="no coroutine function"):
        made(build)


def test_what_the_function_raises_is_the_tasks_end(emulator: Emulator, driver: Driver) -> None:
    """What the function raises is the task's end: a skip skips."""

    def build() -> Any:
        raise AirflowSkipException("nothing to do")

    assert driver.run(made(build)).state == "skipped"


def test_the_annotation_makes_no_multiple_outputs(emulator: Emulator, driver: Driver) -> None:
    """The function's annotation is about the request: it doesn't make multiple outputs of the response."""

    def build() -> dict[str, Any]:
        return request()

    assert made(build)().multiple_outputs is False
    assert made(build, multiple_outputs=True)().multiple_outputs is True


def test_the_decorator_needs_no_parentheses() -> None:
    """Without arguments the decorator needs no parentheses; ``override`` changes arguments afterwards."""
    with DAG(dag_id="bare"):

        @task.operation
        def build() -> Any:
            return request()

        outputs: list[Any] = [
            build(),
            build.override(task_id="other", deferrable=True, operations_conn_id="elsewhere")(),
        ]
    plain, other = (output.operator for output in outputs)

    assert (plain.task_id, plain.operations_conn_id) == ("build", "operations_default")
    assert (other.task_id, other.deferrable, other.operations_conn_id) == ("other", True, "elsewhere")


class Attempts:
    """One decorated task over several tries."""

    def __init__(self, driver: Driver, **arguments: Any) -> None:
        self.driver, self.arguments = driver, arguments
        self.store = StateStore()
        self.calls = 0
        self.body: Any = {"operation": {"duration": 300, "response": {"a": 1}}}

    def attempt(self, number: int) -> Verdict:
        def build() -> Any:
            self.calls += 1
            return PATH, self.body

        return self.driver.run(made(build, **self.arguments), store=self.store, try_number=number)


def test_a_retry_takes_over_and_calls_no_function(emulator: Emulator, driver: Driver) -> None:
    """A retry takes the running operation over, and the function isn't called again."""
    attempts = Attempts(driver, outage_tolerance=1)
    emulator.script_fault(kind="get", status=503, times=20)
    assert attempts.attempt(1).state == "failed"
    emulator.clear_faults()

    verdict = attempts.attempt(2)

    assert (verdict.value, attempts.calls) == ({"a": 1}, 1)
    assert kinds(emulator) == ["start"]


@pytest.mark.parametrize("same", [True, False])
def test_a_start_whose_answer_is_lost_is_repeated_with_its_id(
    emulator: Emulator, driver: Driver, caplog: pytest.LogCaptureFixture, *, same: bool
) -> None:
    """A start whose answer is lost is repeated with its id if the function returns the same request again."""
    attempts = Attempts(driver, request_id_field="requestId", outage_tolerance=0)
    emulator.script_fault(kind="start", dropAfterEffect=True, times=1)
    assert attempts.attempt(1).state == "failed"
    if not same:
        attempts.body = {**attempts.body, "at": "another time"}

    with caplog.at_level(logging.INFO):
        assert attempts.attempt(2).value == {"a": 1}

    ids = [entry["query"]["requestId"] for entry in emulator.journal() if entry["kind"] == "start"]
    assert (len(set(ids)) == 1) == same


def test_expand_makes_one_request_of_each_value(emulator: Emulator, driver: Driver) -> None:
    """``expand`` makes one request of each value, ``partial`` keeps the others; the decorator's arguments hold."""
    with DAG(dag_id="mapped") as dag:

        @task.operation(deferrable=True, query={"a": "1"}, path="projects/p/things:run")
        def convert(video: str, quality: str) -> Any:
            return {"json": {"video": video, "quality": quality}}

        converted: Any = convert.partial(quality="high").expand(video=["a", "b"])
    mapped = converted.operator
    assert mapped.task_type == "OperationDecoratedOperator"
    assert mapped.operator_name == "@task.operation"
    verdict = driver.run(lambda: mapped.unmap({"op_kwargs": {"video": "b"}}))

    assert (verdict.state, verdict.deferrals) == ("success", 1)
    start = sent(emulator)
    assert (start["path"], start["query"]) == ("/v1/projects/p/things:run", {"a": "1"})
    assert start["body"] == {"video": "b", "quality": "high"}
    serialized = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    (stored,) = serialized.tasks
    assert [link.name for link in stored.operator_extra_links] == ["Service Console"]


def test_shown_as_rendered(emulator: Emulator, driver: Driver) -> None:
    """Airflow shows the request that was sent as the rendered fields."""
    operator = made(lambda: (PATH, BODY), task_id="t", wait_for_completion=False)()
    operator.execute(context_of(TaskInstance("t")))

    assert operator.overwrite_rtif_after_execution is True
    assert {"op_args", "op_kwargs", "path", "json", "query", "headers"} <= set(operator.template_fields)
    assert (operator.path, operator.json) == (PATH, BODY)
