"""The link to the service's console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskDeferred, XCom

from airflow_provider_operations._connection.fields import InvalidConnection
from airflow_provider_operations.links import OperationLink
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.connections import set_connection
from tests.support.tasks import Driver, TaskInstance, context_of
from tests.versions import DagSerialization

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator

LINK = "_link_OperationLink"


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def connect(**extra: Any) -> None:
        set_connection(monkeypatch, emulator.url, extra=extra)

    connect(console_url="https://console.example.com/{operation_id}?in={project}")
    return connect


def run(**arguments: Any) -> RunOperationOperator:
    body = {"operation": {"duration": 60}}
    return RunOperationOperator(
        **{"task_id": "run", "path": "projects/p/things:run", "json": body, **arguments}
    )


def page(name: str) -> str:
    return f"https://console.example.com/{name.rpartition('/')[2]}?in=p"


def started(driver: Driver) -> str:
    """Start an operation that goes on for a minute."""
    return str(driver.run(lambda: run(wait_for_completion=False)).value)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (OperationSensor, {}),
        (OperationSensor, {"deferrable": True}),
        (OperationSensor, {"mode": "reschedule"}),
        (CancelOperationOperator, {}),
        (CancelOperationOperator, {"deferrable": True}),
        (CancelOperationOperator, {"wait_for_completion": False}),
    ],
)
def test_of_a_given_operation(
    connect: Callable[..., None], driver: Driver, make: Any, arguments: dict[str, Any]
) -> None:
    """Sensor and cancel operator push the link in all their modes."""
    name = started(driver)
    verdict = driver.run(lambda: make(task_id="t", operation_name=name, **arguments))

    assert verdict.xcoms[LINK] == page(name)


@pytest.mark.parametrize("arguments", [{}, {"deferrable": True}, {"wait_for_completion": False}])
def test_of_a_started_operation(
    connect: Callable[..., None], driver: Driver, arguments: dict[str, Any]
) -> None:
    """The operator pushes the link of the operation that it has started."""
    verdict = driver.run(lambda: run(**arguments))

    assert verdict.xcoms[LINK] == page(verdict.xcoms["operation_name"])


@pytest.mark.parametrize("kind", ["run", "sensor"])
def test_the_link_is_there_while_deferred(connect: Callable[..., None], driver: Driver, kind: str) -> None:
    """The link is there before the task defers."""
    name = started(driver)
    task = (
        run(deferrable=True)
        if kind == "run"
        else OperationSensor(task_id="t", operation_name=name, deferrable=True)
    )
    ti = TaskInstance(task.task_id)
    with pytest.raises(TaskDeferred):
        task.execute(context_of(ti))

    assert ti.xcoms[LINK] == page(ti.xcoms["operation_name"])


def test_of_an_operation_that_is_over(connect: Callable[..., None], driver: Driver) -> None:
    """A sensor that finds the operation over at its first look has the link as well."""
    name = driver.run(run).xcoms["operation_name"]

    assert driver.run(lambda: OperationSensor(task_id="t", operation_name=name)).xcoms[LINK] == page(name)


def test_of_a_failed_operation(connect: Callable[..., None], driver: Driver) -> None:
    """A failed task keeps its link, which is when people want it most."""
    script = {"duration": 5, "error": {"code": 9, "message": "m"}}
    verdict = driver.run(
        lambda: RunOperationOperator(task_id="t", path="projects/p/things:run", json={"operation": script})
    )

    assert verdict.state == "failed"
    assert verdict.xcoms[LINK] == page(verdict.xcoms["operation_name"])


@pytest.mark.parametrize("extra", [{}, {"console_url": "https://console.example.com/{location}"}])
def test_no_page_means_no_link(connect: Callable[..., None], driver: Driver, extra: dict[str, Any]) -> None:
    """Without a template, or where the name lacks what it asks for, there is no link."""
    connect(**extra)

    assert LINK not in driver.run(run).xcoms


def test_a_bad_template_starts_nothing(
    connect: Callable[..., None], emulator: Emulator, driver: Driver
) -> None:
    """A template that nobody can fill in is found before anything is started."""
    connect(console_url="https://console.example.com/{id}")
    verdict = driver.run(run)

    assert isinstance(verdict.error, InvalidConnection)
    assert "unknown placeholder, {id}" in str(verdict.error)
    assert emulator.journal() == []


@pytest.mark.parametrize("pushed", ["https://console.example.com/o", None, {"a": 1}])
def test_asked_by_airflow(monkeypatch: pytest.MonkeyPatch, pushed: Any) -> None:
    """Airflow asks for the link when a worker is done, and is told what was pushed; empty if nothing was."""
    asked = []

    def get_value(**what: Any) -> Any:
        asked.append(what)
        return pushed

    monkeypatch.setattr(XCom, "get_value", get_value)
    ti = TaskInstance("t")

    assert OperationLink().get_link(run(), ti_key=ti) == (pushed if isinstance(pushed, str) else "")
    assert asked == [{"key": LINK, "ti_key": ti}]


TASKS: dict[str, Callable[[str], Any]] = {
    "run": lambda _: run(),
    "run, deferred": lambda _: run(deferrable=True),
    "run, handed on": lambda _: run(wait_for_completion=False),
    "refused": lambda _: run(json={"operation": {"duration": "long"}}),
    "sensor": lambda name: OperationSensor(task_id="t", operation_name=name),
    "sensor, deferred": lambda name: OperationSensor(task_id="t", operation_name=name, deferrable=True),
    "sensor, rescheduled": lambda name: OperationSensor(task_id="t", operation_name=name, mode="reschedule"),
    "bad name": lambda _: OperationSensor(task_id="t", operation_name="None"),
    "cancel": lambda name: CancelOperationOperator(task_id="t", operation_name=name),
    "cancel, deferred": lambda name: CancelOperationOperator(
        task_id="t", operation_name=name, deferrable=True
    ),
}


@pytest.mark.parametrize("extra", [{}, None], ids=["without a console", "with one"])
@pytest.mark.parametrize("kind", TASKS)
def test_airflow_is_not_asked(
    connect: Callable[..., None],
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    extra: dict[str, Any] | None,
) -> None:
    """At its end a task knows its link, or that it has none: Airflow logs an error for an XCom that isn't there."""
    if extra is not None:
        connect(**extra)
    name = started(driver)
    asked: list[Any] = []
    monkeypatch.setattr(XCom, "get_value", lambda **what: asked.append(what))
    made: list[Any] = []

    def make() -> Any:
        made.append(TASKS[kind](name))
        return made[-1]

    verdict = driver.run(make)
    link = OperationLink().get_link(made[-1], ti_key=TaskInstance("t"))

    assert (link, asked) == (verdict.xcoms.get(LINK, ""), [])
    assert bool(link) == (extra is None and kind not in {"refused", "bad name"})


def test_in_the_serialized_dag() -> None:
    """Airflow's API knows of the link, and under which XCom, for each kind of task, mapped ones too."""
    with DAG(dag_id="links") as dag:
        run()
        RunOperationOperator.partial(task_id="mapped", path="p").expand(json=[{}, {}])
        OperationSensor(task_id="sensor", operation_name="operations/o")
        OperationSensor.partial(task_id="sensors").expand(operation_name=["operations/o"])
        CancelOperationOperator(task_id="cancel", operation_name="operations/o")
    tasks = DagSerialization.from_dict(DagSerialization.to_dict(dag)).tasks

    assert len(tasks) == 5
    for task in tasks:
        assert [(link.name, link.xcom_key) for link in task.operator_extra_links] == [
            ("Service Console", LINK)
        ]
