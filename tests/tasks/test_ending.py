"""``end_from_trigger``: a success ends in the triggerer, with the XComs of a worker; the rest comes to a worker."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.listeners import hookimpl
from airflow.providers.common.compat.sdk import DAG, BaseOperator
from airflow.sdk import Asset
from airflow.sdk.execution_time import task_runner
from airflow.sdk.listener import get_listener_manager
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_operations._tasks import end_from_trigger as checks
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.sensors import OperationSensor
from airflow_provider_operations.triggers import OperationTrigger
from airflow_provider_operations.triggers import _end_from_trigger as ending
from tests.support.supervisor import Supervisor
from tests.support.tasks import Driver, TaskInstance

if TYPE_CHECKING:
    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


def start(**script: Any) -> str:
    with OperationsHook() as hook:
        return hook.start_operation("things:run", json={"operation": script}).name


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """The supervisor that tasks and triggers of this process talk to."""
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


async def event_of(
    name: str, supervisor: Supervisor, *, own: str | None = None, in_triggerer: bool = True, **arguments: Any
) -> TriggerEvent:
    """Run a trigger whose task has said that ``own`` is its operation; return the event."""
    supervisor.stored["operation_name"] = name if own is None else own
    arguments = {"end_from_trigger": True, "poke_interval": 5.0, **arguments}
    trigger = OperationTrigger(name, **arguments)
    path, stored = trigger.serialize()
    assert path == "airflow_provider_operations.triggers.OperationTrigger"
    trigger = OperationTrigger(**json.loads(json.dumps(stored)))
    if in_triggerer:
        trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="t", run_id="run", map_index=-1)  # type: ignore[assignment]
    (event,) = [event async for event in trigger.run()]
    return event


def delivered_by_worker(driver: Driver, name: str) -> dict[str, Any]:
    """Return the XComs with which a worker ends the task."""
    verdict = driver.run(lambda: OperationSensor(task_id="t", operation_name=name, deferrable=True))
    assert verdict.state == "success"
    return {**verdict.xcoms, **({} if verdict.value is None else {"return_value": verdict.value})}


RESPONSES: dict[str, dict[str, Any]] = {
    "object": {"response": {"answer": 42, "deep": {"list": [1, 2.5, "drei", None, True, {}]}}},
    "reserved keys": {"response": {"__type": "a", "x": [{"__classname__": "b", "__id__": "c", "__var": 1}]}},
    "looks encoded": {"response": {"__data__": 1, "__version__": 2, "\\__id__": 3}},
    "Any": {"response": {"@type": "type.googleapis.com/google.protobuf.Empty"}},
    "empty": {"response": {}},
    "nothing": {"raw": {"response": None}},
    "a list": {"raw": {"response": [1, "two"]}},
    "text": {"raw": {"response": '{"a": 1}'}},
    "zero": {"raw": {"response": 0}},
    "false": {"raw": {"response": False}},
    "much metadata": {"metadata": {"log": "x" * 60_000}, "response": {"a": 1}},
    "what no channel takes": {"response": {"big": 10**30, "half": "\ud800", "\0": ["\udfff"]}},
    "not only ASCII": {"response": {"grüße": "\U0001f600\x00\x7f"}},
}


@pytest.mark.parametrize("case", RESPONSES)
async def test_the_same_xcoms(
    emulator: Emulator, moved: MovedClock, driver: Driver, supervisor: Supervisor, case: str
) -> None:
    """Downstream gets from a trigger the very objects that a worker delivers, under the same keys."""
    name = start(duration=10, **RESPONSES[case])

    event = await event_of(name, supervisor)

    assert type(event) is TaskSuccessEvent
    assert event.xcoms is None
    expected = await asyncio.to_thread(delivered_by_worker, driver, name)
    assert {key: supervisor.pulled(key) for key in supervisor.stored} == {"operation_name": name, **expected}
    assert ("return_value" in supervisor.set) == (case != "nothing")


async def test_no_xcom_push_means_no_return_value(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor
) -> None:
    """``do_xcom_push=False`` keeps the return value back, and that alone, as in a worker."""
    name = start(duration=10, response={"answer": 42})
    event = await event_of(name, supervisor, end_from_trigger="without_result")
    assert type(event) is TaskSuccessEvent
    assert supervisor.set == ["operation"]


@pytest.mark.parametrize("push", [True, False])
@pytest.mark.parametrize("end", [True, False])
def test_what_the_sensor_hands_over(
    emulator: Emulator,
    moved: MovedClock,
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    *,
    end: bool,
    push: bool,
) -> None:
    """The trigger learns of ``do_xcom_push``; where nothing is asked of it, an older triggerer can take it."""
    # Airflow's examples, which aren't loaded outside of tests, have a listener.
    monkeypatch.setattr(checks, "listeners", lambda: iter(()))
    name = start(duration=10, response={"answer": 42})
    handed_over: list[dict[str, Any]] = []
    run = driver.trigger

    def look_and_run(deferred: Any) -> Any:
        handed_over.append(deferred.serialize()[1])
        return run(deferred)

    monkeypatch.setattr(driver, "trigger", look_and_run)
    verdict = driver.run(
        lambda: OperationSensor(
            task_id="t", operation_name=name, deferrable=True, end_from_trigger=end, do_xcom_push=push
        )
    )
    assert verdict.value == {"answer": 42}, verdict.error
    expected = {True: True, False: "without_result"}[push] if end else None
    assert [arguments.get("end_from_trigger") for arguments in handed_over] == [expected]


LEFT_TO_A_WORKER: dict[str, dict[str, Any]] = {
    "failed": {"script": {"error": {"code": 9, "message": "the disk is full"}}},
    "failed emptily": {"script": {"raw": {"error": {}, "response": None}}},
    "failed with a response": {"script": {"raw": {"error": {"code": 9}, "response": {"a": 1}}}},
    "too large": {"script": {"response": {"a": "x" * 300_000}}},
    "time is up": {"script": {"duration": 5000}, "deadline": 60},
    "no such operation": {"name": "operations/nobody-knows"},
    "cleared meanwhile": {"script": {"response": {"a": 1}}, "own": "operations/another"},
    "not in a triggerer": {"script": {"response": {"a": 1}}, "in_triggerer": False},
    "an argument of a later version": {"script": {"response": {"a": 1}}, "end": "somehow"},
}


@pytest.mark.parametrize("case", LEFT_TO_A_WORKER)
async def test_left_to_a_worker(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor, case: str
) -> None:
    """Whatever isn't a plain success of this task comes to a worker, whole, and nothing is pushed."""
    defaults: dict[str, Any] = {
        "script": {},
        "own": None,
        "in_triggerer": True,
        "deadline": 3600,
        "end": True,
    }
    this = {**defaults, **LEFT_TO_A_WORKER[case]}
    name = this.get("name") or start(**{"duration": 10, **this["script"]})
    arguments = {"deadline_epoch_s": moved.now + this["deadline"]}
    began = moved.now

    event = await event_of(
        name,
        supervisor,
        own=this["own"],
        in_triggerer=this["in_triggerer"],
        end_from_trigger=this["end"],
        **arguments,
    )

    assert supervisor.set == []
    moved.now = began
    plain = await event_of(name, supervisor, end_from_trigger=False, **arguments)
    assert type(event) is TriggerEvent
    assert json.loads(event.payload["outcome"]).keys() == json.loads(plain.payload["outcome"]).keys()
    kept = ("kind", "operation")
    assert [json.loads(event.payload["outcome"])[key] for key in kept] == [
        json.loads(plain.payload["outcome"])[key] for key in kept
    ]


@pytest.mark.parametrize("argument", ["end_from_trigger", "poll_with"])
def test_arguments_of_a_later_version(argument: str) -> None:
    """What a newer worker has stored ends an older triggerer, unless it is a TypeError: Airflow catches no other."""
    arguments: Any = {argument: "somehow"}
    with suppress(TypeError):
        OperationTrigger("operations/x", **arguments)


@pytest.mark.parametrize("key", ["operation", "return_value"])
async def test_where_an_xcom_is_refused_a_worker_ends_the_task(
    emulator: Emulator,
    moved: MovedClock,
    driver: Driver,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key: str,
) -> None:
    """If an XCom can't be pushed, a worker gets the ordinary event, and the log says why."""
    # Airflow's own loggers don't propagate to where pytest listens.
    monkeypatch.setattr(OperationTrigger, "log", logging.getLogger("trigger"), raising=False)
    supervisor.broken_key = key
    name = start(duration=10, response={"answer": 42})
    event = await event_of(name, supervisor)
    assert type(event) is TriggerEvent
    assert json.loads(event.payload["outcome"])["operation"]["response"] == {"answer": 42}
    assert (
        f"{name}: a worker ends the task, as its XComs could not be pushed here: the API server"
        in caplog.text
    )


@pytest.mark.parametrize(
    "response",
    [
        pytest.param("[" * 600 + "]" * 600, id="deep"),
    ],
)
async def test_what_no_message_can_carry(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor, response: str
) -> None:
    """A response that Airflow's channel or database can't hold ends neither trigger nor triggerer."""
    name = start(duration=10)
    body = f'{{"name": "{name}", "done": true, "response": {response}}}'
    emulator.script_fault(kind="get", status=200, body=body)
    event = await event_of(name, supervisor)
    assert "return_value" not in supervisor.set
    assert type(event) is TriggerEvent


async def test_numbers_that_no_database_takes(
    emulator: Emulator, moved: MovedClock, driver: Driver, supervisor: Supervisor
) -> None:
    """NaN and infinities are text downstream, whether a trigger or a worker ends the task."""
    name = start(duration=10)
    numbers = '{"nan": NaN, "infinite": [Infinity, -Infinity]}'
    body = f'{{"name": "{name}", "done": true, "metadata": {numbers}, "response": {numbers}}}'
    emulator.script_fault(kind="get", status=200, body=body)

    event = await event_of(name, supervisor)

    assert type(event) is TaskSuccessEvent
    stored = {"nan": "NaN", "infinite": ["Infinity", "-Infinity"]}
    assert supervisor.pulled("return_value") == stored
    assert supervisor.pulled("operation")["metadata"] == stored
    expected = await asyncio.to_thread(delivered_by_worker, driver, name)
    assert {key: supervisor.pulled(key) for key in supervisor.stored} == {"operation_name": name, **expected}


async def test_the_loop_goes_on(emulator: Emulator, supervisor: Supervisor, moved: MovedClock) -> None:
    """While Airflow takes its time, the event loop serves others."""
    name = start(duration=0, response={"answer": 42})
    supervisor.slow_s = 0.3
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    event = await event_of(name, supervisor)
    ticking.cancel()
    assert type(event) is TaskSuccessEvent
    assert supervisor.threads
    assert threading.get_ident() not in supervisor.threads
    assert ticks > 30


# --- what is refused -------------------------------------------------------------------------------------------


def note(*arguments: Any) -> None:
    """Stand for a user's callback."""


class Shouting(OperationSensor):
    """A user's subclass that makes something of the result."""

    def execute_complete(self, *args: Any, **kwargs: Any) -> Any:
        return str(super().execute_complete(*args, **kwargs)).upper()


class Looking(OperationSensor):
    """A user's subclass that looks at the result."""

    def post_execute(self, context: Any, result: Any = None) -> None:
        note(result)


REFUSED: dict[str, tuple[type[OperationSensor], dict[str, Any], str]] = {
    "outlets": (OperationSensor, {"outlets": [Asset("a")]}, "'outlets' would get no asset events"),
    "callback": (
        OperationSensor,
        {"on_success_callback": note},
        "'on_success_callback' would not be called",
    ),
    "callback of the DAG": (
        OperationSensor,
        {"default_args": {"on_success_callback": [note]}},
        "'on_success_callback' would not be called",
    ),
    "multiple_outputs": (
        OperationSensor,
        {"multiple_outputs": True},
        "'multiple_outputs' would not be pushed",
    ),
    "post_execute": (OperationSensor, {"post_execute": note}, "'post_execute' would not be called"),
    "execute_complete": (Shouting, {}, "Shouting.execute_complete would not be called"),
    "own post_execute": (Looking, {}, "Looking.post_execute would not be called"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_airflow_would_drop_is_refused_at_parse_time(case: str) -> None:
    """What Airflow would drop without a word is refused when the DAG is parsed, with the reason."""
    sensor, arguments, reason = REFUSED[case]
    with pytest.raises(ValueError, match="can't have 'end_from_trigger': ") as caught:
        sensor(task_id="t", operation_name="x", deferrable=True, end_from_trigger=True, **arguments)
    assert str(caught.value) == f"'t' can't have 'end_from_trigger': {reason}"


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("mode", [{"end_from_trigger": True}, {"deferrable": True}], ids=str)
def test_only_where_a_trigger_ends_it(case: str, mode: dict[str, Any]) -> None:
    """Where a worker ends the task nothing is lost, so nothing is refused; Airflow isn't told otherwise."""
    sensor, arguments, _ = REFUSED[case]
    task = sensor(task_id="t", operation_name="x", **{"deferrable": False, **mode}, **arguments)
    assert task.end_from_trigger is False


@pytest.mark.parametrize(
    "arguments",
    [
        {"on_failure_callback": note, "on_retry_callback": note, "on_skipped_callback": note},
        {"on_execute_callback": note, "pre_execute": note, "inlets": [Asset("a")]},
        {"soft_fail": True, "retries": 3, "cancel_on_kill": True, "do_xcom_push": False},
    ],
    ids=", ".join,
)
def test_what_belongs_to_a_worker_is_not_refused(arguments: dict[str, Any]) -> None:
    """What belongs to the first worker, or to an end other than success, isn't in the way."""
    task = OperationSensor(
        task_id="t", operation_name="x", deferrable=True, end_from_trigger=True, **arguments
    )
    assert task.end_from_trigger is True


class Taking(BaseOperator):
    """A downstream task."""

    template_fields = ("value",)

    def __init__(self, *, value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


def ending_sensor(**arguments: Any) -> OperationSensor:
    return OperationSensor(
        task_id="t", operation_name="x", deferrable=True, end_from_trigger=True, **arguments
    )


def test_mapped_downstream_is_refused() -> None:
    """Over a result that a trigger pushed nothing can be mapped; Airflow finds out when it has the whole DAG."""
    with DAG(dag_id="d", schedule=None) as dag:
        sensor = ending_sensor()
        Taking.partial(task_id="each").expand(value=sensor.output)
    with pytest.raises(ValueError, match="'each' is mapped over its result, and only a worker tells Airflow"):
        dag.resolve_template_files()  # what a DAG file's import does at its end


def test_the_result_of_a_dag_is_refused() -> None:
    """A trigger's XCom isn't marked as the DAG's result."""
    with DAG(dag_id="d", schedule=None) as dag:
        dag.add_result(ending_sensor().output)
    with pytest.raises(ValueError, match="its value would not be the DAG's result"):
        dag.resolve_template_files()


def test_plain_downstream_is_not_refused() -> None:
    """A task that uses the result, or is mapped over something else behind the sensor, is no reason."""
    with DAG(dag_id="d", schedule=None) as dag:
        sensor = ending_sensor()
        Taking(task_id="one", value=sensor.output)
        sensor >> Taking.partial(task_id="each").expand(value=[1, 2])
    dag.resolve_template_files()


def test_mapped_sensor_is_not_refused() -> None:
    """Airflow counts the XComs of a mapped task itself, whoever pushed them."""
    with DAG(dag_id="d", schedule=None) as dag:
        sensor = OperationSensor.partial(task_id="t", deferrable=True, end_from_trigger=True).expand(
            operation_name=["x", "y"]
        )
        Taking.partial(task_id="each").expand(value=sensor.output)
    dag.resolve_template_files()


def test_added_by_a_policy(emulator: Emulator) -> None:
    """A callback that a cluster policy has added is found before anything is asked; ``never_fail`` hides no mistake."""
    context: Any = {"ti": TaskInstance("t")}
    sensor = ending_sensor(never_fail=True)
    sensor.on_success_callback = [note]
    with pytest.raises(ValueError, match="'on_success_callback' would not be called"):
        sensor.execute(context)
    assert emulator.journal() == []


def test_listeners_for_successes_are_refused(emulator: Emulator) -> None:
    """Listeners for successes are refused: by Airflow when it parses the DAG, and of mapped sensors by us."""

    class Listener:
        @hookimpl
        def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
            """Listen."""

    context: Any = {"ti": TaskInstance("t")}
    listener = Listener()
    manager = get_listener_manager()
    manager.add_listener(listener)
    try:
        with pytest.raises(ValueError, match="would not be told of the success"):
            ending_sensor().execute(context)
    finally:
        manager.pm.unregister(listener)
    assert emulator.journal() == []


def test_before_airflow_3_3(
    emulator: Emulator, moved: MovedClock, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older Airflow ignores it with a warning, and a worker delivers."""
    for module in (ending, checks):
        monkeypatch.setattr(module, "TRIGGERS_PUSH_XCOMS", False)
    name = start(duration=10, response={"answer": 42})

    def make() -> OperationSensor:
        with pytest.warns(UserWarning, match="'end_from_trigger' needs Airflow 3.3 or later"):
            return OperationSensor(
                task_id="t", operation_name=name, deferrable=True, end_from_trigger=True, outlets=[Asset("a")]
            )

    assert make().end_from_trigger is False
    assert driver.run(make).value == {"answer": 42}
