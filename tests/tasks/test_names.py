"""Names as templates leave them: a number where Airflow renders natively, nothing where an XCom is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._protocol.request import InvalidName
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.connections import set_connection
from tests.support.raw_requests import start

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.tasks import Driver

TASKS = [
    pytest.param(OperationSensor, {}, id="poke"),
    pytest.param(OperationSensor, {"mode": "reschedule"}, id="reschedule"),
    pytest.param(OperationSensor, {"deferrable": True}, id="deferrable"),
    pytest.param(CancelOperationOperator, {}, id="cancel"),
    pytest.param(CancelOperationOperator, {"deferrable": True}, id="cancel, deferrable"),
]


@pytest.fixture(autouse=True)
def connection(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose operations have numbers for names, and a console."""
    extra = {"path_prefix": "v1/operations", "console_url": "https://console.example.com/{name}"}
    set_connection(monkeypatch, emulator.url, extra=extra)


@pytest.mark.parametrize(("make", "arguments"), TASKS)
def test_a_name_that_became_a_number_is_the_text_that_was_meant(
    emulator: Emulator, driver: Driver, make: Any, arguments: dict[str, Any]
) -> None:
    """A name that a native template made an int is the text that was meant, for XCom, trigger and link too."""
    start(emulator.url, name="operations/7", duration=60, cancelDelay=5, response={"a": 1})

    verdict = driver.run(lambda: make(task_id="t", operation_name=7, **arguments))

    value = {"name": "7", "ended": "cancelled"} if make is CancelOperationOperator else {"a": 1}
    assert (verdict.state, verdict.value) == ("success", value)
    assert verdict.deferrals == int("deferrable" in arguments)
    assert verdict.xcoms["operation_name"] == "7"
    assert verdict.xcoms["_link_OperationLink"] == "https://console.example.com/7"


@pytest.mark.parametrize("name", [None, "", "None"])
@pytest.mark.parametrize(("make", "arguments"), TASKS)
def test_a_name_that_no_template_found_is_refused(
    emulator: Emulator, driver: Driver, make: Any, arguments: dict[str, Any], name: Any
) -> None:
    """Where a template found nothing, the text of docs/troubleshooting.md says so, and nothing is sent."""
    verdict = driver.run(lambda: make(task_id="t", operation_name=name, **arguments))

    assert type(verdict.error) is InvalidName
    assert str(verdict.error) == (
        f"the operation name is {name!r}: a template found nothing; does the upstream task push it?"
    )
    assert (emulator.journal(), verdict.xcoms) == ([], {})


def test_a_path_is_needed() -> None:
    """Said when the DAG is parsed; only then, a template can't have been meant."""
    with pytest.raises(ValueError, match="a task needs either 'path', or 'api_method' with 'parameters'"):
        RunOperationOperator(task_id="t", path=None)


@pytest.mark.parametrize("path", ["", "None"])
def test_a_path_that_no_template_found_is_refused(emulator: Emulator, driver: Driver, path: Any) -> None:
    """The same of a start's path, before a start is noted."""
    verdict = driver.run(lambda: RunOperationOperator(task_id="t", path=path))

    assert str(verdict.error) == (
        f"the start path is {path!r}: a template found nothing; does the upstream task push it?"
    )
    assert emulator.journal() == []


def test_a_path_that_is_a_list(driver: Driver) -> None:
    """The example in the text is one of a path, not of an operation's name."""
    verdict = driver.run(lambda: RunOperationOperator(task_id="t", path=["a"]))  # type: ignore[arg-type]  # that is the point

    assert str(verdict.error) == (
        "the start path is list ['a']; it must be text such as 'projects/my-project/things'"
    )


def test_a_path_that_is_a_number(emulator: Emulator, driver: Driver) -> None:
    """A number is a path as well."""
    driver.run(lambda: RunOperationOperator(task_id="t", path=7, json={"operation": {"duration": 0}}))  # type: ignore[arg-type]  # that is the point

    assert emulator.journal()[0]["path"] == "/v1/operations/7"
