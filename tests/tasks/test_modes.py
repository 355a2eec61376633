"""Poke, reschedule and deferrable mode give the same verdict, whatever happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.emulator import Emulator
from airflow_provider_operations.hooks import OperationsHook
from airflow_provider_operations.operators import CancelOperationOperator, RunOperationOperator
from airflow_provider_operations.sensors import OperationSensor
from tests.support.clocks import MovedClock
from tests.support.tasks import Driver, StateStore, Verdict

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}
ATTITUDES: dict[str, dict[str, Any]] = {
    "strict": {},
    "soft_fail": {"soft_fail": True},
    "never_fail": {"never_fail": True},
    "silent_fail": {"silent_fail": True},
}


def start(**script: Any) -> str:
    with OperationsHook() as hook:
        return hook.start_operation("projects/p/things:run", json={"operation": script}).name


Case = Callable[[Emulator, MovedClock], str]


def succeeds(emulator: Emulator, moved: MovedClock) -> str:
    return start(duration=40, response={"answer": 42})


def over_already(emulator: Emulator, moved: MovedClock) -> str:
    name = start(duration=1, response={"answer": 42})
    moved.sleep(2)
    return name


def fails(emulator: Emulator, moved: MovedClock) -> str:
    return start(duration=40, error={"code": 9, "message": "the disk is full", "details": []})


def is_cancelled(emulator: Emulator, moved: MovedClock) -> str:
    name = start(duration=400)
    with OperationsHook() as hook:
        hook.cancel_operation(name)
    return name


def times_out(emulator: Emulator, moved: MovedClock) -> str:
    return start(duration=5000)


def malformed(emulator: Emulator, moved: MovedClock) -> str:
    name = start(duration=5000)
    emulator.script_fault(kind="get", status=200, body="<html>log in first</html>", after=2)
    return name


def no_such(emulator: Emulator, moved: MovedClock) -> str:
    return "operations/nobody-knows"


def outage(emulator: Emulator, moved: MovedClock) -> str:
    name = start(duration=5000)
    emulator.script_fault(kind="get", status=503, after=2)
    return name


def short_outage(emulator: Emulator, moved: MovedClock) -> str:
    name = start(duration=400, response={"answer": 42})
    emulator.script_fault(kind="get", status=503, after=2, times=3)
    return name


def empty_error(emulator: Emulator, moved: MovedClock) -> str:
    return start(duration=10, raw={"error": {}, "response": None})


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        succeeds,
        over_already,
        fails,
        is_cancelled,
        times_out,
        malformed,
        no_such,
        outage,
        short_outage,
        empty_error,
    )
}

SUCCESS = ("success", "NoneType", {"answer": 42})
FAILED = "OperationFailedFinal"

# What each case comes to, by attitude: (state, exception or what was skipped for, return value).
EXPECTED: dict[str, dict[str, tuple[str, str, Any]]] = {
    "succeeds": dict.fromkeys(ATTITUDES, SUCCESS),
    "over_already": dict.fromkeys(ATTITUDES, SUCCESS),
    "short_outage": dict.fromkeys(ATTITUDES, SUCCESS),
    "fails": {
        "strict": ("failed", FAILED, None),
        "soft_fail": ("skipped", FAILED, None),
        "never_fail": ("skipped", FAILED, None),
        "silent_fail": ("failed", FAILED, None),
    },
    "empty_error": {
        "strict": ("failed", FAILED, None),
        "soft_fail": ("skipped", FAILED, None),
        "never_fail": ("skipped", FAILED, None),
        "silent_fail": ("failed", FAILED, None),
    },
    "is_cancelled": {
        "strict": ("failed", "OperationCancelledFinal", None),
        "soft_fail": ("skipped", "OperationCancelledFinal", None),
        "never_fail": ("skipped", "OperationCancelledFinal", None),
        "silent_fail": ("failed", "OperationCancelledFinal", None),
    },
    "times_out": {
        "strict": ("failed", "OperationSensorTimeout", None),
        "soft_fail": ("skipped", "OperationSensorTimeout", None),
        "never_fail": ("skipped", "OperationSensorTimeout", None),
        "silent_fail": ("failed", "OperationSensorTimeout", None),
    },
    # Of an operation that was seen, what can't be read is an outage.
    "malformed": {
        "strict": ("failed", "OperationsCallError", None),
        "soft_fail": ("failed", "OperationsCallError", None),
        "never_fail": ("skipped", "OperationsCallError", None),
        "silent_fail": ("failed", "OperationSensorTimeout", None),
    },
    "no_such": {
        "strict": ("failed", "OperationsCallErrorFinal", None),
        "soft_fail": ("skipped", "OperationsCallErrorFinal", None),
        "never_fail": ("skipped", "OperationsCallErrorFinal", None),
        "silent_fail": ("failed", "OperationsCallErrorFinal", None),
    },
    # An outage may pass: soft_fail lets Airflow retry, silent_fail bears it until the time is up.
    "outage": {
        "strict": ("failed", "OperationsCallError", None),
        "soft_fail": ("failed", "OperationsCallError", None),
        "never_fail": ("skipped", "OperationsCallError", None),
        "silent_fail": ("failed", "OperationSensorTimeout", None),
    },
}


def verdict_of(driver: Driver, name: str, **arguments: Any) -> Verdict:
    defaults = {"poke_interval": 20, "timeout": 1000, "outage_tolerance": 120}
    return driver.run(
        lambda: OperationSensor(task_id="wait", operation_name=name, **{**defaults, **arguments})
    )


@pytest.mark.parametrize("attitude", ATTITUDES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_same_verdict(
    emulator: Emulator, moved: MovedClock, driver: Driver, mode: str, case: str, attitude: str
) -> None:
    """State, exception and value depend on what happened and on the attitude, never on the mode."""
    name = CASES[case](emulator, moved)

    verdict = verdict_of(driver, name, **MODES[mode], **ATTITUDES[attitude])

    assert verdict.essence == EXPECTED[case][attitude]
    waits = case not in {"over_already", "no_such"}
    assert verdict.deferrals == (1 if mode == "deferrable" and waits else 0)
    assert bool(verdict.reschedules) == (mode == "reschedule" and waits)


@pytest.mark.parametrize("mode", MODES)
def test_the_server_is_asked_no_more_than_said(
    emulator: Emulator, moved: MovedClock, driver: Driver, mode: str
) -> None:
    """Polls stop with the verdict, and a sensor cancels nothing unless asked to."""
    name = succeeds(emulator, moved)

    verdict_of(driver, name, **MODES[mode])

    kinds = [entry["kind"] for entry in emulator.journal()]
    assert kinds.count("start") == 1
    assert "cancel" not in kinds
    assert 3 <= kinds.count("get") <= 20


@pytest.mark.parametrize("asked", [True, False], ids=["cancel_on_timeout", "default"])
@pytest.mark.parametrize("mode", MODES)
def test_a_sensor_cancels_only_if_asked_when_time_is_up(
    emulator: Emulator, moved: MovedClock, driver: Driver, mode: str, *, asked: bool
) -> None:
    """A sensor cancels what it has waited for in vain only with ``cancel_on_timeout``; the error says which."""
    name = start(duration=5000, cancelDelay=1)

    verdict = verdict_of(driver, name, **MODES[mode], timeout=100, cancel_on_timeout=asked)

    cancels = [entry for entry in emulator.journal() if entry["kind"] == "cancel"]
    assert len(cancels) == (1 if asked else 0)
    said = "it has been cancelled" if asked else "it goes on running"
    assert str(verdict.error).endswith(said), str(verdict.error)
    assert "was not over after 0:01:4" in str(verdict.error)


@pytest.mark.parametrize("mode", MODES)
def test_no_such_connection(moved: MovedClock, driver: Driver, mode: str) -> None:
    """A missing connection is named, before anything is sent."""
    verdict = verdict_of(driver, "operations/x", **MODES[mode], operations_conn_id="no_such_connection")

    assert verdict.state == "failed"
    assert type(verdict.error).__name__ == "AirflowNotFoundException"
    assert "no_such_connection" in str(verdict.error)


def test_an_outage_of_long_ago(emulator: Emulator, moved: MovedClock, driver: Driver) -> None:
    """What an earlier wait noted of an outage doesn't count in the next."""
    store = StateStore(
        {
            "airflow_provider_operations_outage": {
                "since_epoch_s": moved.now - 5000,
                "announced": "x",
                "try_number": 0,
            }
        }
    )
    name = start(duration=300, response={"answer": 42})
    emulator.script_fault(kind="get", status=503, after=1, times=1)
    verdict = driver.run(
        lambda: OperationSensor(
            task_id="wait", operation_name=name, mode="reschedule", poke_interval=20, outage_tolerance=120
        ),
        store=store,
    )
    assert verdict.value == {"answer": 42}


@pytest.mark.parametrize("method", ["get", "set", "delete"])
def test_a_store_that_is_away_ends_no_wait(
    emulator: Emulator, driver: Driver, moved: MovedClock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What a rescheduled sensor notes of an outage is worth no wait: where Airflow doesn't take it, it goes on."""

    def away(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no database")

    monkeypatch.setattr(StateStore, method, away, raising=False)
    name = start(duration=300, response={"answer": 42})
    emulator.script_fault(kind="get", status=503, after=1, times=2)
    verdict = driver.run(
        lambda: OperationSensor(task_id="wait", operation_name=name, mode="reschedule", poke_interval=20)
    )
    assert verdict.value == {"answer": 42}


NO_ANSWER = "no answer (HTTP 503); bearing it for up to 120 s"
NO_USABLE = "no usable answer (HTTP 403: PERMISSION_DENIED (7): (no message)); bearing it for up to 120 s"
AGAIN = "the server answers again"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("statuses", "lines"),
    [
        ([503] * 4, [NO_ANSWER, AGAIN]),
        ([403] * 4, [NO_USABLE, AGAIN]),
        ([503, 503, 403, 403], [NO_ANSWER, NO_USABLE, AGAIN]),
        ([403, 403, 503, 503], [NO_USABLE, AGAIN]),
        ([503, 200, 503], [NO_ANSWER, AGAIN] * 2),
    ],
    ids=repr,
)
def test_outages_are_announced_once(
    emulator: Emulator,
    driver: Driver,
    logged: pytest.LogCaptureFixture,
    mode: str,
    statuses: list[int],
    lines: list[str],
) -> None:
    """An outage is announced when it begins and when it ends, however many stays of a rescheduled task it spans."""
    name = start(duration=300, response={"answer": 42})
    for number, status in enumerate(statuses):
        if status != 200:
            emulator.script_fault(
                kind="get", status=status, body="", after=2 + statuses[:number].count(200), times=1
            )
    verdict = driver.run(
        lambda: OperationSensor(
            task_id="wait", operation_name=name, poke_interval=20, outage_tolerance=120, **MODES[mode]
        )
    )

    assert verdict.value == {"answer": 42}
    announced = [line.removeprefix(f"{name}: ") for line in logged.messages if "answer" in line]
    assert announced == lines


def test_time_without_a_worker_is_no_outage(emulator: Emulator, driver: Driver, moved: MovedClock) -> None:
    """A rescheduled sensor that gets its next worker an hour late doesn't count the hour as one without an answer."""
    name = start(duration=7000, response={"answer": 42})
    emulator.script_fault(kind="get", status=503, body="", after=1, times=2)
    stays = 0

    def make() -> OperationSensor:
        nonlocal stays
        stays += 1
        if stays == 3:
            moved.now += 3600
        return OperationSensor(
            task_id="wait", operation_name=name, poke_interval=60, outage_tolerance=300, **MODES["reschedule"]
        )

    assert driver.run(make).value == {"answer": 42}
    assert stays > 3


@pytest.fixture
def deferrable_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")


@pytest.mark.usefixtures("deferrable_by_default")
@pytest.mark.parametrize("backoff", [{"exponential_backoff": True}, {"max_wait": 60}], ids=repr)
def test_backoff_where_deferrable_is_the_default(
    emulator: Emulator, driver: Driver, backoff: dict[str, Any]
) -> None:
    """A DAG that never said deferrable is imported, defers, and is warned; ``default_args`` say it."""
    name = start(duration=300, response={"answer": 42})

    def make() -> OperationSensor:
        with pytest.warns(
            UserWarning, match="'wait' is deferrable by default, and 'exponential_backoff' and"
        ):
            return OperationSensor(task_id="wait", operation_name=name, **backoff)

    verdict = driver.run(make)
    assert (verdict.value, verdict.deferrals) == ({"answer": 42}, 1)

    with DAG("d", default_args={"deferrable": True}), pytest.raises(ValueError, match="have no effect"):
        OperationSensor(task_id="wait", operation_name=name, **backoff)
    with DAG("e", default_args={"deferrable": False}):
        assert not OperationSensor(task_id="wait", operation_name=name, **backoff).deferrable


@pytest.mark.usefixtures("deferrable_by_default")
def test_deferrable_by_default() -> None:
    """All three tasks are deferrable where Airflow's configuration says so and the DAG doesn't."""
    makers: list[tuple[Any, dict[str, Any]]] = [
        (OperationSensor, {"operation_name": "operations/x"}),
        (CancelOperationOperator, {"operation_name": "operations/x"}),
        (RunOperationOperator, {"path": "x:run"}),
    ]
    for make, arguments in makers:
        assert make(task_id="t", **arguments).deferrable is True
        assert make(task_id="t", deferrable=None, **arguments).deferrable is True
        assert make(task_id="t", deferrable=False, **arguments).deferrable is False


@pytest.mark.parametrize("value", ["false", "no", "", 0, -1, math.nan])
@pytest.mark.parametrize(
    ("make", "flags"),
    [
        pytest.param(
            partial(RunOperationOperator, path="x:run"),
            ("cancel_on_kill", "cancel_on_timeout", "wait_for_completion", "durable", "end_from_trigger"),
            id="operator",
        ),
        pytest.param(
            partial(OperationSensor, operation_name="operations/x"),
            ("cancel_on_kill", "cancel_on_timeout", "end_from_trigger"),
            id="sensor",
        ),
        pytest.param(
            partial(CancelOperationOperator, operation_name="operations/x"),
            ("wait_for_completion",),
            id="cancel",
        ),
    ],
)
def test_a_flag_is_no_text(make: Any, flags: tuple[str, ...], value: Any) -> None:
    """``"false"`` would be true: a text that says not to cancel would cancel."""
    for flag in ("deferrable", *flags):
        with pytest.raises(ValueError, match=f"'{flag}' is True or False, not {value!r}"):
            make(task_id="t", **{flag: value})


def test_backoff_is_refused_when_deferrable() -> None:
    """Airflow's backoff arguments would be ignored in the trigger, so they are refused with the reason."""
    with pytest.raises(ValueError, match="have no effect when deferrable"):
        OperationSensor(task_id="t", operation_name="operations/x", deferrable=True, exponential_backoff=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name",
    [
        "",
        "None",
        "https://example.com/v1/operations/x",
        "/operations/x",
        "operations/../x",
        "a\x00b",
        "x?y=1",
        "x#y",
    ],
)
def test_bad_names(emulator: Emulator, driver: Driver, mode: str, name: str) -> None:
    """A name that isn't one is refused with the reason before a request is made."""
    verdict = verdict_of(driver, name, **MODES[mode])

    assert type(verdict.error).__name__ == "InvalidName"
    assert str(verdict.error).startswith("the operation name ")
    assert emulator.journal() == []


@pytest.mark.parametrize("mode", MODES)
def test_connection_without_host(monkeypatch: pytest.MonkeyPatch, driver: Driver, mode: str) -> None:
    """A connection that says no host is named, and what is missing."""
    monkeypatch.setenv("AIRFLOW_CONN_OPERATIONS_DEFAULT", '{"conn_type": "operations"}')
    verdict = verdict_of(driver, "operations/x", **MODES[mode])

    assert str(verdict.error) == (
        "connection 'operations_default' has no host, and no base_url is given: nothing to send to"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("raw", "essence"),
    [
        pytest.param({"response": None, "error": None}, ("success", "NoneType", None), id="neither"),
        pytest.param(
            {"response": {"a": 1}, "error": {"code": 99, "message": "m"}}, ("failed", FAILED, None), id="both"
        ),
        pytest.param({"error": "disk full"}, ("failed", FAILED, None), id="error is text"),
        pytest.param({"done": "yes"}, ("failed", "OperationsCallError", None), id="done is text"),
        pytest.param({"metadata": None, "response": [1]}, ("success", "NoneType", [1]), id="metadata null"),
    ],
)
def test_odd_operations(
    emulator: Emulator, driver: Driver, mode: str, raw: dict[str, Any], essence: tuple[str, str, Any]
) -> None:
    """What can be understood is; what can't be is never taken for "not done"."""
    verdict = verdict_of(driver, start(duration=10, raw=raw), **MODES[mode])

    assert verdict.essence == essence
