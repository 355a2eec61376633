"""What a try that begins does about the operation of an earlier one, as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_operations._lifecycle.plan import Facts, Step, after_look, plan
from airflow_provider_operations._lifecycle.record import Record, State
from airflow_provider_operations._lifecycle.start_call import StartCall
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.operation import Code, Operation, Status

NOW = 1_800_000_000.0
KNOWN = StartCall("things:run", "POST", {"size": 1}, {}, {}, "requestId", "query")
UNKNOWN = replace(KNOWN, request_id_field=None)
FACTS = Facts(max_tries=3, now_epoch_s=NOW, request_id_ttl_s=3600.0)


def record(state: State, **changes: Any) -> Record:
    digest = KNOWN.digest_of_sought if changes.get("foreign") else KNOWN.digest
    values = {"name": "operations/x", "digest": digest, **changes}
    return Record(
        **{
            "state": state,
            "max_tries": 3,
            "try_number": 1,
            "request_id": "id",
            "started_epoch_s": NOW - 60,
            "deadline_epoch_s": NOW + 3600,
            **values,
        }
    )


STARTING = record(State.STARTING, name="")
TABLE: dict[str, tuple[Record | None, Facts, StartCall, Step]] = {
    "no record": (None, FACTS, KNOWN, Step.START),
    "the start was refused": (record(State.REJECTED), FACTS, KNOWN, Step.START),
    "the answer was lost": (STARTING, FACTS, KNOWN, Step.RESEND),
    "the answer was lost, then cleared": (replace(STARTING, max_tries=0), FACTS, KNOWN, Step.RESEND),
    "lost, and no request id": (STARTING, FACTS, UNKNOWN, Step.START),
    "lost, and another request": (replace(STARTING, digest="other"), FACTS, KNOWN, Step.START),
    "lost, and too old": (replace(STARTING, started_epoch_s=NOW - 3600), FACTS, KNOWN, Step.START),
    "lost, and asked to fail": (STARTING, replace(FACTS, fails_if_uncertain=True), UNKNOWN, Step.REFUSE),
    "lost, asked to fail, then cleared": (
        replace(STARTING, max_tries=0),
        replace(FACTS, fails_if_uncertain=True),
        UNKNOWN,
        Step.START,
    ),
    "it runs": (record(State.STARTED), FACTS, KNOWN, Step.LOOK),
    "it runs, and the request is another one now": (
        record(State.STARTED, digest="other"),
        FACTS,
        KNOWN,
        Step.LOOK,
    ),
    "it was taken over before": (record(State.STARTED, reattached=True), FACTS, KNOWN, Step.LOOK),
    "it had no name": (record(State.STARTED, name=""), FACTS, KNOWN, Step.START),
    "it was handed on": (
        record(State.STARTED, handed_on=True),
        replace(FACTS, waits=False),
        KNOWN,
        Step.REDELIVER,
    ),
    "it was delivered": (record(State.DELIVERED), FACTS, KNOWN, Step.REDELIVER),
    "it failed": (record(State.FAILED), FACTS, KNOWN, Step.REPLACE),
    "it failed so that no retry helps": (record(State.FAILED, final=True), FACTS, KNOWN, Step.LOOK),
    "it failed and had no name": (record(State.FAILED, name=""), FACTS, KNOWN, Step.START),
    "it runs, and the task was cleared": (record(State.STARTED, max_tries=0), FACTS, KNOWN, Step.REPLACE),
    "it was handed on, and the task was cleared": (
        record(State.STARTED, max_tries=0, handed_on=True),
        replace(FACTS, waits=False),
        KNOWN,
        Step.REPLACE,
    ),
    "it was delivered, and the task was cleared": (
        record(State.DELIVERED, max_tries=0),
        FACTS,
        KNOWN,
        Step.START,
    ),
    "it failed, and the task was cleared": (record(State.FAILED, max_tries=0), FACTS, KNOWN, Step.REPLACE),
    "another's runs": (record(State.STARTED, foreign=True), FACTS, KNOWN, Step.LOOK),
    "another's was handed on": (
        record(State.STARTED, foreign=True, handed_on=True),
        replace(FACTS, waits=False),
        KNOWN,
        Step.REDELIVER,
    ),
    "another's was delivered": (record(State.DELIVERED, foreign=True), FACTS, KNOWN, Step.REDELIVER),
    "another's failed, or wasn't over in time": (record(State.FAILED, foreign=True), FACTS, KNOWN, Step.LOOK),
    "another's runs, and the task was cleared": (
        record(State.STARTED, foreign=True, max_tries=0),
        FACTS,
        KNOWN,
        Step.LOOK,
    ),
    "another's runs, and the task was edited and cleared": (
        record(State.STARTED, foreign=True, max_tries=0, digest="other"),
        FACTS,
        KNOWN,
        Step.START,
    ),
    "another's wasn't over in time, and the task was edited": (
        record(State.FAILED, foreign=True, digest="other"),
        FACTS,
        KNOWN,
        Step.START,
    ),
    "another's runs, and the task was cleared and creates something else": (
        record(State.STARTED, foreign=True, max_tries=0),
        FACTS,
        replace(KNOWN, resource="things/y"),
        Step.START,
    ),
    "another's failed, and the task was cleared": (
        record(State.FAILED, foreign=True, max_tries=0),
        FACTS,
        KNOWN,
        Step.LOOK,
    ),
}


@pytest.mark.parametrize(("found", "facts", "call", "step"), TABLE.values(), ids=TABLE)
def test_the_record_says_what_a_try_does(
    found: Record | None, facts: Facts, call: StartCall, step: Step
) -> None:
    assert plan(found, facts, lambda: call).step is step


def test_the_call_is_made_only_to_be_compared() -> None:
    """``@task.operation`` calls its function for it."""

    def never() -> StartCall:
        raise AssertionError("made")

    for found, facts, _, step in TABLE.values():
        compared = found is not None and (
            found.state is State.STARTING
            or (found.foreign and (found.state is State.FAILED or found.max_tries != facts.max_tries))
        )
        if not compared:
            assert plan(found, facts, never).step is step


@pytest.mark.parametrize(
    ("changed", "call", "why"),
    [
        ({}, UNKNOWN, "it carries no request id"),
        ({"digest": "other"}, KNOWN, "the request is another one now"),
        ({"started_epoch_s": NOW - 7200}, KNOWN, "it is older than 3600 s"),
    ],
)
def test_a_start_that_cannot_be_repeated_is_warned_of(
    changed: dict[str, Any], call: StartCall, why: str
) -> None:
    todo = plan(replace(STARTING, **changed), FACTS, lambda: call)
    assert todo.warns
    assert todo.reason == (
        f"try 1 sent a start whose answer is lost, and it can't be repeated: {why}; an operation of it may be "
        "running; starting afresh"
    )


def failed(code: Code) -> Operation:
    return Operation("operations/x", done=True, error=Status(code, "no"))


MISSING = CallFailure(
    "GET", "https://a.example/v1/operations/x", 404, Status(Code.NOT_FOUND, "gone"), "HTTP 404"
)
SEEN: dict[str, tuple[Operation | CallFailure, bool, Step]] = {
    "it runs": (Operation("operations/x"), False, Step.ADOPT),
    "it has succeeded": (Operation("operations/x", done=True, response={}), False, Step.ADOPT),
    "it failed, and a retry may help": (failed(Code.UNAVAILABLE), False, Step.START),
    "it failed for good": (failed(Code.FAILED_PRECONDITION), True, Step.ADOPT),
    "it was cancelled": (failed(Code.CANCELLED), True, Step.START),
    "no answer": (replace(MISSING, http_status=503, status=Status(Code.UNAVAILABLE)), False, Step.ADOPT),
    "the server has forgotten it": (replace(MISSING, names_code=True), True, Step.FORGOTTEN),
}


@pytest.mark.parametrize(("seen", "final", "step"), SEEN.values(), ids=SEEN)
def test_the_operation_says_what_a_try_does(seen: Operation | CallFailure, final: bool, step: Step) -> None:
    todo = after_look(record(State.STARTED), seen, NOW, final=final)
    assert todo.step is step
    assert "started by try 1" in todo.reason


ANOTHERS: dict[str, tuple[Operation | CallFailure, bool, Step]] = {
    "it runs": (Operation("operations/x"), False, Step.ADOPT),
    "it runs, and the time of a try is up": (Operation("operations/x"), True, Step.ADOPT),
    "it has succeeded": (Operation("operations/x", done=True, response={}), False, Step.ADOPT),
    "it has succeeded, after its failure was delivered": (
        Operation("operations/x", done=True, response={}),
        True,
        Step.START,
    ),
    "it failed for good": (failed(Code.FAILED_PRECONDITION), False, Step.START),
    "it was cancelled": (failed(Code.CANCELLED), True, Step.START),
    "no answer": (
        replace(MISSING, http_status=503, status=Status(Code.UNAVAILABLE)),
        False,
        Step.ADOPT,
    ),
    "the server has forgotten it": (replace(MISSING, names_code=True), False, Step.START),
}


@pytest.mark.parametrize(("seen", "anew", "step"), ANOTHERS.values(), ids=ANOTHERS)
def test_what_becomes_of_anothers_operation(seen: Operation | CallFailure, anew: bool, step: Step) -> None:
    """While it runs nothing is started; its success is delivered, and after any other end a start of ours is due."""
    todo = after_look(record(State.STARTED, foreign=True), seen, NOW, final=True, anew=anew)
    assert todo.step is step
    assert "followed by try 1" in todo.reason


SEEN_AFTER_A_FINAL_FAILURE: dict[str, tuple[Operation | CallFailure, Step]] = {
    "it failed for good, and Airflow never heard of it": (failed(Code.FAILED_PRECONDITION), Step.ADOPT),
    "it was cancelled": (failed(Code.CANCELLED), Step.ADOPT),
    "no answer": (replace(MISSING, http_status=503, status=Status(Code.UNAVAILABLE)), Step.ADOPT),
    "a proxy's page": (replace(MISSING, http_status=403), Step.ADOPT),
    "the server has forgotten it": (replace(MISSING, names_code=True), Step.FORGOTTEN),
}


@pytest.mark.parametrize(
    ("seen", "step"), SEEN_AFTER_A_FINAL_FAILURE.values(), ids=SEEN_AFTER_A_FINAL_FAILURE
)
def test_nothing_is_started_after_a_final_failure(seen: Operation | CallFailure, step: Step) -> None:
    """Airflow retries a failure for which no retry helps only if it hasn't heard of it."""
    assert after_look(record(State.FAILED, final=True), seen, NOW, final=False).step is step


@pytest.mark.parametrize("state", [State.STARTED, State.DELIVERED])
def test_a_server_may_not_know_its_own_operation_yet(state: State) -> None:
    """Within half a minute of the start a 404 ends nothing, also where another try asks."""
    young = record(state, answered_epoch_s=NOW - 3)
    assert after_look(young, replace(MISSING, names_code=True), NOW, final=False).step is Step.ADOPT
