"""``end_from_trigger`` of operators: the trigger ends a success, and later tries find the operation all the same."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, TaskDeferred
from airflow.sdk import Asset
from airflow.sdk.execution_time import task_runner
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_operations._lifecycle.record import RECORD_KEY
from airflow_provider_operations._tasks import end_from_trigger as checks
from airflow_provider_operations.decorators import operation_task
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.triggers import OperationTrigger
from airflow_provider_operations.triggers import _end_from_trigger as ending
from tests.support.supervisor import Supervisor
from tests.support.tasks import Driver, StateStore, TaskInstance, context_of

from .test_operators import kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations.emulator import Emulator
    from tests.support.clocks import MovedClock


@pytest.fixture(autouse=True)
def no_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's examples, which aren't loaded outside of tests, have a listener."""
    monkeypatch.setattr(checks, "listeners", lambda: iter(()))


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """The supervisor that triggers of this process talk to."""
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


def operator(**arguments: Any) -> RunOperationOperator:
    script = {"duration": 10, **arguments.pop("script", {})}
    if "error" not in script:
        script["response"] = {"answer": 42}
    return RunOperationOperator(
        **{
            "task_id": "t",
            "path": "things:run",
            "json": {"operation": script},
            "deferrable": True,
            "end_from_trigger": True,
            "poke_interval": 5,
            **arguments,
        }
    )


class Run:
    """A task over several tries, whose trigger pushes what it pushes through the supervisor."""

    def __init__(self, make: Callable[[], Any], supervisor: Supervisor) -> None:
        self.make = make
        self.supervisor = supervisor
        self.store = StateStore()

    def until_deferred(self, try_number: int = 1, max_tries: int = 3) -> dict[str, Any]:
        """Run a try in a worker; return the trigger's arguments."""
        operator = self.make()
        instance = TaskInstance("t", try_number, max_tries)
        context: Any = context_of(instance, self.store)
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        self.supervisor.stored.clear()
        self.supervisor.stored.update(instance.xcoms)
        path, arguments = deferred.value.trigger.serialize()
        assert path == "airflow_provider_operations.triggers.OperationTrigger"
        return json.loads(json.dumps(arguments))  # type: ignore[no-any-return]

    @staticmethod
    def event(arguments: dict[str, Any]) -> TriggerEvent:
        """Run the trigger; return its event."""

        async def run() -> TriggerEvent:
            trigger = OperationTrigger(**arguments)
            trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="t", run_id="run", map_index=-1)  # type: ignore[assignment]
            (event,) = [event async for event in trigger.run()]
            return event

        return asyncio.run(run())


def decorated(**arguments: Any) -> Any:
    def request() -> Any:
        return "things:run", {"operation": {"duration": 10, "response": {"answer": 42}}}

    with DAG(dag_id="dag", schedule=None):
        made: Any = operation_task(
            request, task_id="t", deferrable=True, end_from_trigger=True, poke_interval=5, **arguments
        )
        return made().operator


@pytest.mark.parametrize("make", [operator, decorated])
def test_the_same_xcoms(
    emulator: Emulator, moved: MovedClock, driver: Driver, supervisor: Supervisor, make: Any
) -> None:
    """Downstream gets from a trigger what a worker delivers; the record says that the operation was started."""
    run = Run(make, supervisor)

    event = run.event(run.until_deferred())

    assert type(event) is TaskSuccessEvent
    name = emulator.operations()[0]["name"]
    assert supervisor.pulled("operation_name") == name
    assert supervisor.pulled("operation")["name"] == name
    assert supervisor.pulled("return_value") == {"answer": 42}
    by_worker = driver.run(lambda: operator(end_from_trigger=False))
    assert supervisor.stored.keys() == {*by_worker.xcoms, "return_value"}
    assert (run.store[RECORD_KEY]["state"], run.store[RECORD_KEY]["name"]) == ("started", name)


def test_no_xcom_push_means_no_return_value(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor
) -> None:
    """``do_xcom_push=False`` keeps the return value back, and that alone."""
    run = Run(lambda: operator(do_xcom_push=False), supervisor)
    assert type(run.event(run.until_deferred())) is TaskSuccessEvent
    assert supervisor.stored.keys() == {"operation_name", "operation"}


def test_an_early_success_is_not_held_back(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor
) -> None:
    """No worker is resumed, so there is nothing that Airflow could take for its end."""
    run = Run(lambda: operator(script={"duration": 1}), supervisor)
    arguments, began = run.until_deferred(), moved.now
    assert type(run.event(arguments)) is TaskSuccessEvent
    assert moved.now - began < 3


def test_failures_come_to_a_worker(emulator: Emulator, moved: MovedClock, supervisor: Supervisor) -> None:
    """A failed operation isn't ended by the trigger: retries, callbacks and the error are a worker's."""
    run = Run(lambda: operator(script={"error": {"code": 14}}), supervisor)
    event = run.event(run.until_deferred())
    assert type(event) is TriggerEvent
    assert supervisor.set == []


def test_cleared_after_its_end(emulator: Emulator, moved: MovedClock, supervisor: Supervisor) -> None:
    """A clear finds by one request that the old operation is over, cancels nothing, and starts another."""
    run = Run(operator, supervisor)
    run.event(run.until_deferred())
    before = len(emulator.journal())

    run.until_deferred(try_number=2, max_tries=4)

    assert [entry["kind"] for entry in emulator.journal()][before:] == ["get", "start"]
    assert len(emulator.operations()) == 2


def test_cleared_between_its_xcoms_and_its_end(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor
) -> None:
    """The old trigger doesn't end a task that was cleared and has another operation by now."""
    run = Run(operator, supervisor)
    old = run.until_deferred()
    run.event(old)
    run.until_deferred(try_number=2, max_tries=4)
    supervisor.set.clear()

    assert type(run.event(old)) is TriggerEvent
    assert supervisor.set == []


def test_forgotten_before_a_clear(emulator: Emulator, moved: MovedClock, supervisor: Supervisor) -> None:
    """If the service has forgotten the old operation by then, the cleared task starts another all the same."""
    run = Run(operator, supervisor)
    run.event(run.until_deferred())
    with OperationsHook() as hook:
        hook.delete_operation(emulator.operations()[0]["name"])
    moved.sleep(60)

    run.until_deferred(try_number=2, max_tries=4)

    assert kinds(emulator).count("start") == 2


def test_a_second_triggerer_ends_it_once_more(
    emulator: Emulator, moved: MovedClock, supervisor: Supervisor
) -> None:
    """A triggerer that dies between the XComs and the event leaves nothing that the next one would stumble over."""
    run = Run(operator, supervisor)
    arguments = run.until_deferred()
    run.event(arguments)
    assert type(run.event(arguments)) is TaskSuccessEvent
    assert supervisor.pulled("return_value") == {"answer": 42}
    assert kinds(emulator).count("start") == 1


# --- what is refused -------------------------------------------------------------------------------------------


def note(*arguments: Any) -> None:
    """Stand for a user's callback."""


class Shouting(RunOperationOperator):
    """A user's subclass that makes something of the result."""

    def execute_complete(self, *args: Any, **kwargs: Any) -> Any:
        return str(super().execute_complete(*args, **kwargs)).upper()


REFUSED: dict[str, dict[str, Any]] = {
    "'outlets' would get no asset events": {"outlets": [Asset("a")]},
    "'on_success_callback' would not be called": {"on_success_callback": note},
    "'multiple_outputs' would not be pushed": {"multiple_outputs": True},
    "'post_execute' would not be called": {"post_execute": note},
}


@pytest.mark.parametrize("make", [operator, decorated])
@pytest.mark.parametrize("reason", REFUSED)
def test_what_airflow_would_drop_is_refused_at_parse_time(make: Any, reason: str) -> None:
    """What Airflow would drop without a word is refused when the DAG is parsed, with the reason."""
    with pytest.raises(ValueError, match="can't have 'end_from_trigger': ") as caught:
        make(**REFUSED[reason])
    assert str(caught.value) == f"'t' can't have 'end_from_trigger': {reason}"


def test_own_methods_are_refused() -> None:
    """A subclass that does something with the result needs a worker."""
    with pytest.raises(ValueError, match=r"Shouting\.execute_complete would not be called"):
        Shouting(task_id="t", path="p", deferrable=True, end_from_trigger=True)


@pytest.mark.parametrize("mode", [{"deferrable": False}, {"wait_for_completion": False}], ids=str)
def test_only_where_a_trigger_ends_it(mode: dict[str, Any]) -> None:
    """Where a worker ends the task nothing is lost, so nothing is refused; Airflow isn't told otherwise."""
    assert operator(**mode, outlets=[Asset("a")]).end_from_trigger is False


def test_mapped_downstream_is_refused() -> None:
    """Over a result that a trigger pushed nothing can be mapped."""

    class Taking(BaseOperator):
        template_fields = ("value",)

        def __init__(self, *, value: Any = None, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.value = value

    with DAG(dag_id="d", schedule=None) as dag:
        Taking.partial(task_id="each").expand(value=operator().output)
    with pytest.raises(ValueError, match="'each' is mapped over its result"):
        dag.resolve_template_files()


def test_a_cancelling_task_has_no_such_argument() -> None:
    """What it returns isn't the operation's response, so no trigger could end it."""
    with pytest.raises(TypeError, match="end_from_trigger"):
        CancelOperationOperator(task_id="t", operation_name="x", end_from_trigger=True)


def test_nothing_is_started_for_a_task_that_is_refused(
    emulator: Emulator, moved: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only a worker knows of is refused before anything is sent or noted."""
    monkeypatch.setattr(
        checks, "listeners", lambda: iter(["the listener l would not be told of the success"])
    )
    store = StateStore()
    with pytest.raises(ValueError, match="would not be told of the success"):
        operator().execute(context_of(TaskInstance("t"), store))
    assert emulator.journal() == []
    assert store == {}


def test_a_running_operation_is_waited_for_all_the_same(
    emulator: Emulator,
    moved: MovedClock,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    logged: pytest.LogCaptureFixture,
) -> None:
    """A retry that finds a running operation takes it over, and a worker ends the task; nothing is left alone."""
    run = Run(lambda: operator(script={"duration": 300}), supervisor)
    assert run.until_deferred()["end_from_trigger"] is True
    monkeypatch.setattr(
        checks, "listeners", lambda: iter(["the listener l would not be told of the success"])
    )

    assert "end_from_trigger" not in run.until_deferred(try_number=2)

    assert "a worker ends this task, as without 'end_from_trigger': the listener l" in logged.text
    assert kinds(emulator).count("start") == 1


def test_before_airflow_3_3(emulator: Emulator, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older Airflow ignores it with a warning, and a worker delivers."""
    for module in (ending, checks):
        monkeypatch.setattr(module, "TRIGGERS_PUSH_XCOMS", False)

    def make() -> RunOperationOperator:
        with pytest.warns(UserWarning, match="'end_from_trigger' needs Airflow 3.3 or later") as caught:
            made = operator(outlets=[Asset("a")])
        assert caught[0].filename == __file__
        return made

    assert make().end_from_trigger is False
    assert driver.run(make).value == {"answer": 42}
