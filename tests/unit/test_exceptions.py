from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)
from google.rpc import error_details_pb2

from airflow_provider_operations import exceptions
from airflow_provider_operations._protocol.outcome import Kind, Outcome
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.exceptions import (
    WORTH_A_RETRY,
    OperationCancelled,
    OperationCancelledFinal,
    OperationEventError,
    OperationFailed,
    OperationFailedFinal,
    OperationsCallError,
    OperationsCallErrorFinal,
    OperationSensorTimeout,
    OperationsError,
    OperationTimeout,
    error_of,
    error_of_call,
)
from airflow_provider_operations.operation import Code, Operation, Status

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = "type.googleapis.com/google.rpc."
ERROR = Status(
    Code.RESOURCE_EXHAUSTED,
    "quota used up",
    [
        {"@type": TYPES + "ErrorInfo", "reason": "NO_CPU", "domain": "d"},
        {"@type": TYPES + "RetryInfo", "retryDelay": "30s"},
    ],
)
FAILED = Operation("operations/x", done=True, error=ERROR)
CANCELLED = Operation("operations/x", done=True, error=Status(Code.CANCELLED, "stopped"))
RUNNING = Operation("operations/x", metadata={"progressPercent": 40, "statusMessage": "copying"})
CALL = CallFailure(
    "GET",
    "https://h/v1/operations/x",
    503,
    Status(Code.UNAVAILABLE, "overloaded"),
    "HTTP 503",
    retry_after=timedelta(seconds=7),
    transient=True,
    attempts=3,
)

EVERY = [
    OperationFailed(FAILED),
    OperationFailedFinal(FAILED),
    OperationCancelled(CANCELLED),
    OperationCancelledFinal(CANCELLED),
    OperationTimeout("operations/x", timedelta(seconds=61), RUNNING, "it has been cancelled"),
    OperationSensorTimeout("operations/x", timedelta(seconds=61), RUNNING, None),
    OperationsCallError(CALL, "operations/x"),
    OperationsCallErrorFinal(CALL),
    OperationEventError("not an event"),
    OperationsError("anything"),
]


def name_of(value: object) -> str:
    return type(value).__name__


def test_every_class_is_tried() -> None:
    """No exception class is forgotten below."""
    public = {getattr(exceptions, name) for name in exceptions.__all__ if name.startswith("Operation")}
    assert {type(error) for error in EVERY} == public


@pytest.mark.parametrize("error", EVERY, ids=name_of)
def test_errors_survive_pickling(error: OperationsError) -> None:
    """Class, facts and text survive the pickling between Airflow's processes."""
    error.operation = error.operation or RUNNING
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert (copy.code, copy.retry_delay, copy.operation) == (error.code, error.retry_delay, error.operation)


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (OperationsError, {AirflowException}),
        (OperationFailed, {OperationsError}),
        (OperationFailedFinal, {OperationFailed, AirflowFailException}),
        (OperationCancelled, {OperationFailed}),
        (OperationCancelledFinal, {OperationCancelled, OperationFailedFinal}),
        (OperationTimeout, {OperationsError}),
        (OperationSensorTimeout, {OperationTimeout, AirflowSensorTimeout}),
        (OperationsCallError, {OperationsError}),
        (OperationsCallErrorFinal, {OperationsCallError, AirflowFailException}),
        (OperationEventError, {OperationsError}),
    ],
)
def test_the_class_tree_is_what_users_catch_by(cls: type, bases: set[type]) -> None:
    """The class tree is what users catch by."""
    assert set(cls.__bases__) == bases


@pytest.mark.parametrize("error", EVERY, ids=name_of)
def test_final_means_no_retry(error: OperationsError) -> None:
    """Exactly the Final classes are AirflowFailException, which Airflow doesn't retry."""
    assert isinstance(error, AirflowFailException) == type(error).__name__.endswith("Final")


def test_facts_of_a_failed_operation() -> None:
    """Everything that a handler decides by is an attribute."""
    error = OperationFailed(FAILED)
    assert (error.operation, error.status) == (FAILED, ERROR)
    assert (error.code, error.reason, error.retry_delay) == (
        Code.RESOURCE_EXHAUSTED,
        "NO_CPU",
        timedelta(seconds=30),
    )
    found = error.status.find(error_details_pb2.ErrorInfo)
    assert found is not None
    assert found.domain == "d"


def test_facts_of_a_failed_call() -> None:
    """Everything that a handler decides by is an attribute; the hint is Retry-After's."""
    error = OperationsCallError(CALL, "operations/x")
    assert (error.http_status, error.status, error.method, error.url, error.attempts, error.name) == (
        503,
        CALL.status,
        "GET",
        "https://h/v1/operations/x",
        3,
        "operations/x",
    )
    assert (error.code, error.retry_delay, error.failure) == (Code.UNAVAILABLE, timedelta(seconds=7), CALL)


def test_facts_of_a_timeout() -> None:
    """How long was waited and what was seen last are attributes."""
    error = OperationTimeout("operations/x", timedelta(seconds=61), RUNNING, "n")
    assert (error.name, error.waited, error.last_seen, error.operation, error.note, error.code) == (
        "operations/x",
        timedelta(seconds=61),
        RUNNING,
        RUNNING,
        "n",
        None,
    )


def test_an_unknown_code_stays_a_number() -> None:
    """A code that the standard doesn't know is kept as it came."""
    error = OperationFailed(replace(FAILED, error=Status(99, "m")))
    assert error.code == 99
    assert str(error) == "Operation ended with code 99: m\n  operation: operations/x"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(
            OperationFailed(FAILED),
            "Operation ended with RESOURCE_EXHAUSTED (8): quota used up\n"
            "  operation: operations/x\n"
            "  ErrorInfo: NO_CPU (d)\n"
            "  RetryInfo: try again after 30s",
            id="failed",
        ),
        pytest.param(
            OperationCancelledFinal(CANCELLED),
            "Operation ended with CANCELLED (1): stopped\n  operation: operations/x",
            id="cancelled",
        ),
        pytest.param(
            OperationFailed(Operation("", done=True)),
            "Operation ended with UNKNOWN (2): (no message)\n  operation: (without a name)",
            id="without-name-or-error",
        ),
        pytest.param(
            OperationTimeout("operations/x", timedelta(seconds=61.9), RUNNING, "it has been cancelled"),
            "Operation operations/x was not over after 0:01:01; last seen: 40 %, copying; it has been cancelled",
            id="timeout",
        ),
        pytest.param(
            OperationTimeout("operations/x", timedelta(days=7)),
            "Operation operations/x was not over after 7 days, 0:00:00",
            id="timeout-nothing-seen",
        ),
        pytest.param(
            OperationTimeout("operations/x", timedelta(0), Operation("operations/x")),
            "Operation operations/x was not over after 0:00:00; last seen: running",
            id="timeout-no-progress",
        ),
        pytest.param(
            OperationTimeout("x\x1b[31m", timedelta(0), Operation("x", metadata={"verb": "a\x1bb"})),
            "Operation x\\x1b[31m was not over after 0:00:00; last seen: a\\x1bb",
            id="control-characters",
        ),
        pytest.param(
            OperationsCallError(CALL),
            "GET https://h/v1/operations/x failed: HTTP 503: UNAVAILABLE (14): overloaded (attempt 3)",
            id="call",
        ),
        pytest.param(
            OperationsCallError(
                replace(
                    CALL,
                    status=Status(Code.UNAUTHENTICATED),
                    attempts=1,
                    headers={"www-authenticate": "Bearer\x1b"},
                    excerpt="<html>",
                )
            ),
            "GET https://h/v1/operations/x failed: HTTP 503: UNAUTHENTICATED (16): (no message)\n"
            "  www-authenticate: Bearer\\x1b\n"
            "  the body began: <html>",
            id="call-with-header-and-excerpt",
        ),
        pytest.param(
            OperationsCallError(
                replace(
                    CALL, status=Status(Code.UNAVAILABLE, "TimeoutError"), problem="TimeoutError", attempts=1
                )
            ),
            "GET https://h/v1/operations/x failed: TimeoutError",
            id="call-without-answer-says-it-once",
        ),
        pytest.param(OperationEventError("not an event"), "not an event", id="event"),
    ],
)
def test_the_text_says_what_failed_and_all_the_server_said(error: OperationsError, text: str) -> None:
    """The text says what failed, which operation or request, and all that the server said."""
    assert str(error) == text


def test_huge_facts_make_bounded_texts() -> None:
    """A server's megabytes stay in the attributes, not in the text."""
    huge = Status(Code.ABORTED, "x" * 1_000_000)
    for error in (
        OperationFailed(replace(FAILED, error=huge)),
        OperationsCallError(replace(CALL, status=huge)),
    ):
        assert len(str(error)) < 17_000
        assert error.status == huge


def test_a_retry_is_worth_it_after_these_errors_alone() -> None:
    """After these errors a second start may succeed; after the rest it would only fail again."""
    assert {code.name for code in WORTH_A_RETRY} == {
        "UNAVAILABLE",
        "ABORTED",
        "INTERNAL",
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
    }


@pytest.mark.parametrize(
    ("transient", "final", "cls"),
    [
        (True, None, OperationsCallError),
        (False, None, OperationsCallErrorFinal),
        (True, True, OperationsCallErrorFinal),
        (False, False, OperationsCallError),
    ],
)
def test_a_failed_call_is_final_unless_it_may_pass(transient: bool, final: bool | None, cls: type) -> None:
    """A failed call is final unless it may pass, or as told."""
    error = error_of_call(replace(CALL, transient=transient), "operations/x", final=final)
    assert type(error) is cls
    assert error.name == "operations/x"


def never(_: object) -> bool:
    return False


def always(_: object) -> bool:
    return True


X = "operations/x"


@pytest.mark.parametrize(
    ("outcome", "final", "cls"),
    [
        pytest.param(Outcome(Kind.DONE, X, Operation(X, done=True)), always, type(None), id="success"),
        pytest.param(
            Outcome(Kind.DONE, X, Operation(X, done=True, response={"a": 1})),
            always,
            type(None),
            id="response",
        ),
        pytest.param(Outcome(Kind.DONE, X, FAILED), never, OperationFailed, id="failed"),
        pytest.param(Outcome(Kind.DONE, X, FAILED), always, OperationFailedFinal, id="failed-final"),
        pytest.param(Outcome(Kind.DONE, X, CANCELLED), never, OperationCancelled, id="cancelled"),
        pytest.param(Outcome(Kind.DONE, X, CANCELLED), always, OperationCancelledFinal, id="cancelled-final"),
        pytest.param(Outcome(Kind.TIMED_OUT, X, RUNNING), always, OperationTimeout, id="timed-out"),
        pytest.param(
            Outcome(Kind.TIMED_OUT, X, None, CALL), always, OperationTimeout, id="timed-out-in-an-outage"
        ),
        pytest.param(Outcome(Kind.CALL_FAILED, X, None, CALL), never, OperationsCallError, id="unreachable"),
        pytest.param(
            Outcome(Kind.CALL_FAILED, X, None, CALL), always, OperationsCallErrorFinal, id="unreachable-final"
        ),
        pytest.param(Outcome(Kind.DONE, X), never, OperationEventError, id="done-without-operation"),
        pytest.param(Outcome(Kind.DONE, X, RUNNING), never, OperationEventError, id="done-but-running"),
        pytest.param(
            Outcome(Kind.CALL_FAILED, X), never, OperationEventError, id="unreachable-without-failure"
        ),
    ],
)
def test_each_outcome_has_its_exception(outcome: Outcome, final: Callable[[Any], bool], cls: type) -> None:
    """Each outcome calls for exactly one exception, or for none."""
    assert type(error_of(outcome, final=final)) is cls


def test_error_of_asks_about_the_thing_that_failed() -> None:
    """The caller decides on the operation or the call itself."""
    asked: list[object] = []

    def final(failed: object) -> bool:
        asked.append(failed)
        return True

    error_of(Outcome(Kind.DONE, X, FAILED), final=final)
    error_of(Outcome(Kind.CALL_FAILED, X, RUNNING, CALL), final=final)
    error_of(Outcome(Kind.TIMED_OUT, X, RUNNING), final=final)
    assert asked == [FAILED, CALL]


def test_error_of_keeps_the_facts() -> None:
    """Name, waited time, note, class and the operation last seen reach the exception."""
    outcome = Outcome(Kind.TIMED_OUT, X, RUNNING, None, 61.5)
    error = error_of(outcome, final=always, timeout_class=OperationSensorTimeout, note="n")
    assert isinstance(error, OperationSensorTimeout)
    assert (error.name, error.waited, error.last_seen, error.note) == (
        X,
        timedelta(seconds=61.5),
        RUNNING,
        "n",
    )
    call_error = error_of(Outcome(Kind.CALL_FAILED, X, RUNNING, CALL), final=never)
    assert isinstance(call_error, OperationsCallError)
    assert (call_error.operation, call_error.name, call_error.failure) == (RUNNING, X, CALL)


def test_error_of_names_the_nameless() -> None:
    """An operation that answers without its name is named as it was asked for."""
    error = error_of(Outcome(Kind.DONE, X, replace(FAILED, name="")), final=never)
    assert isinstance(error, OperationFailed)
    assert error.operation == FAILED
