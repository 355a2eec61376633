from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._protocol.outcome import (
    GRACE_AFTER_START_S,
    MAX_EVENT_CHARS,
    Kind,
    Outcome,
    UnreadableEvent,
    Watch,
    cancelled,
    ending,
    since_then,
)
from airflow_provider_operations._protocol.polling import Outage, Schedule
from airflow_provider_operations._protocol.rendering import finite
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.exceptions import error_of
from airflow_provider_operations.operation import Code, Operation, Status
from tests.support.json_values import JSON

NAME = "operations/x"
START = 1_700_000_000.0
RUNNING = Operation(NAME)
DONE = Operation(NAME, done=True, response={"a": 1})


def failed(http_status: int | None = 503, retry_after_s: float | None = None) -> CallFailure:
    """A failed poll."""
    return CallFailure(
        "GET",
        "https://h/v1/operations/x",
        http_status,
        Status(Code.UNAVAILABLE, "m"),
        f"HTTP {http_status}" if http_status else "TimeoutError",
        retry_after=None if retry_after_s is None else timedelta(seconds=retry_after_s),
        transient=http_status is None or http_status >= 500,
    )


def moment(seconds: float) -> str:
    """A timestamp so long after START."""
    return datetime.fromtimestamp(START + seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def watch(
    *, deadline_s: float | None = None, tolerance_s: float = 60.0, created_s: float | None = None
) -> Watch:
    """A watch that began at START; times are seconds from there."""
    return Watch(
        NAME,
        Schedule(maximum_s=30.0, random=lambda: 0.0),
        Outage(tolerance_s),
        started_epoch_s=START,
        created_epoch_s=None if created_s is None else START + created_s,
        deadline_epoch_s=None if deadline_s is None else START + deadline_s,
    )


@pytest.mark.parametrize(
    ("seen", "at_s", "deadline_s", "verdict"),
    [
        pytest.param(RUNNING, 0, None, 0.5, id="running"),
        pytest.param(RUNNING, 10, None, pytest.approx(2.5), id="running-older"),
        pytest.param(RUNNING, 10, 12, 2.0, id="running-near-the-deadline"),
        pytest.param(DONE, 5, None, Outcome(Kind.DONE, NAME, DONE, None, 5.0), id="done"),
        pytest.param(DONE, 5, 5, Outcome(Kind.DONE, NAME, DONE, None, 5.0), id="done-at-the-deadline"),
        pytest.param(DONE, 99, 5, Outcome(Kind.DONE, NAME, DONE, None, 99.0), id="done-after-the-deadline"),
        pytest.param(DONE, -3, None, Outcome(Kind.DONE, NAME, DONE, None, 0.0), id="clock-set-back"),
        pytest.param(
            RUNNING, 5, 5, Outcome(Kind.TIMED_OUT, NAME, RUNNING, None, 5.0), id="timed-out-exactly"
        ),
        pytest.param(RUNNING, 4.75, 5, 0.25, id="just-before-the-deadline"),
        pytest.param(
            failed(), 5, 5, Outcome(Kind.TIMED_OUT, NAME, None, failed(), 5.0), id="timed-out-in-an-outage"
        ),
        pytest.param(failed(), 10, None, pytest.approx(2.5), id="failure-that-may-pass"),
        pytest.param(failed(None), 10, None, pytest.approx(2.5), id="no-answer"),
        pytest.param(failed(503, 45), 10, None, 45.0, id="failure-with-a-hint"),
        pytest.param(failed(503, 45), 10, 30, 20.0, id="deadline-before-the-hint"),
        pytest.param(failed(503, 86_400), 10, None, 600.0, id="hint-of-a-day"),
        pytest.param(
            failed(404), 1, None, Outcome(Kind.CALL_FAILED, NAME, None, failed(404), 1.0), id="404-at-once"
        ),
        pytest.param(
            failed(403),
            9,
            5,
            Outcome(Kind.CALL_FAILED, NAME, None, failed(403), 9.0),
            id="403-after-the-deadline",
        ),
    ],
)
def test_one_poll_is_judged(
    seen: Operation | CallFailure, at_s: float, deadline_s: float | None, verdict: Outcome | float
) -> None:
    """One poll is judged: over, and how; or the seconds to the next."""
    assert watch(deadline_s=deadline_s).judge(seen, START + at_s) == verdict


def test_an_outage_is_tolerated_for_exactly_its_tolerance() -> None:
    """An outage is borne until exactly its tolerance after its first failure, then it is the end."""
    watching = watch(tolerance_s=60)
    verdicts = [watching.judge(failed(), START + at_s) for at_s in (100, 130, 159.999)]
    assert verdicts == pytest.approx([20.5, 26.5, 30.0])
    assert watching.judge(failed(), START + 160) == Outcome(Kind.CALL_FAILED, NAME, None, failed(), 160.0)


def test_an_answer_between_failures_starts_the_outage_anew() -> None:
    """Failures with an answer between them are two outages."""
    watching = watch(tolerance_s=60)
    seen: list[tuple[Operation | CallFailure, float]] = [
        (failed(), 100.0),
        (RUNNING, 150.0),
        (failed(), 151.0),
        (failed(), 181.0),
        (failed(), 210.9),
    ]
    assert not [
        verdict for poll, at in seen if isinstance(verdict := watching.judge(poll, START + at), Outcome)
    ]
    last = watching.judge(failed(), START + 211)
    assert last == Outcome(Kind.CALL_FAILED, NAME, RUNNING, failed(), 211.0)


def test_no_outage_is_borne_with_tolerance_0() -> None:
    """With a tolerance of 0 the first failure is the end."""
    assert watch(tolerance_s=0).judge(failed(), START) == Outcome(Kind.CALL_FAILED, NAME, None, failed(), 0.0)


@pytest.mark.parametrize(
    ("http_status", "created_s", "at_s", "borne"),
    [
        pytest.param(404, 0, 0, True, id="at-once"),
        pytest.param(404, 0, GRACE_AFTER_START_S - 0.1, True, id="last-moment"),
        pytest.param(404, 0, GRACE_AFTER_START_S, False, id="too-late"),
        pytest.param(404, None, 0, False, id="not-started-here"),
        pytest.param(404, -100, 0, False, id="started-by-an-earlier-try"),
        pytest.param(410, 0, 0, True, id="410"),
        pytest.param(410, None, 0, False, id="410-not-started-here"),
    ],
)
def test_grace_after_the_start(http_status: int, created_s: float | None, at_s: float, borne: bool) -> None:
    """A 404 or 410 within 30 s of our own start is a server that doesn't know its operation yet; later it's gone."""
    verdict = watch(created_s=created_s).judge(failed(http_status), START + at_s)
    assert isinstance(verdict, float) is borne


def test_the_last_operation_seen_goes_with_the_end() -> None:
    """Timed out or unreachable, the outcome says how far the operation was."""
    seen = Operation(NAME, metadata={"progressPercent": 40})
    watching = watch(deadline_s=10)
    watching.judge(seen, START)
    assert watching.judge(failed(), START + 10) == Outcome(Kind.TIMED_OUT, NAME, seen, failed(), 10.0)


def test_news_only_on_change() -> None:
    """One line per change: progress, the begin of an outage, its end; none for polls that bring nothing new."""
    watching = watch()
    copying = Operation(NAME, metadata={"progressPercent": 40, "statusMessage": "copying"})
    lines = []
    polls: list[Operation | CallFailure] = [
        RUNNING,
        RUNNING,
        failed(),
        failed(),
        RUNNING,
        copying,
        copying,
        failed(None),
        copying,
        DONE,
    ]
    for number, seen in enumerate(polls):
        watching.judge(seen, START + number)
        lines.append(watching.take_news())
    assert lines == [
        ["operations/x: running (0:00:00 elapsed)"],
        [],
        ["operations/x: no answer (HTTP 503); bearing it for up to 60 s"],
        [],
        ["operations/x: the server answers again"],
        ["operations/x: 40 %, copying (0:00:05 elapsed)"],
        [],
        ["operations/x: no answer (TimeoutError); bearing it for up to 60 s"],
        ["operations/x: the server answers again"],
        [],
    ]


def test_percent_never_falls_in_the_log() -> None:
    """The estimate of the whole grows while the operation runs; what is said beside it still counts as news."""
    watching = watch()
    said = []
    for completed, estimated, state in [
        (30, 100, "a"),
        (40, 400, "a"),
        (40, 400, "b"),
        (390, 400, "b"),
        (400, 0, "b"),
    ]:
        work = {"completedWork": str(completed), "estimatedWork": str(estimated)}
        watching.judge(Operation(NAME, metadata={"progressDocuments": work, "operationState": state}), START)
        said.append([line.removesuffix(" (0:00:00 elapsed)") for line in watching.take_news()])
    assert said == [
        ["operations/x: 30 %, a"],
        [],
        ["operations/x: 30 %, b"],
        ["operations/x: 97.5 %, b"],
        ["operations/x: 97.5 %, 400 documents, b"],
    ]


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"error": Status(Code.CANCELLED)}, "it has been cancelled"),
        ({"response": {}}, "it has succeeded since"),
        ({"error": Status(Code.INTERNAL)}, "it has failed with INTERNAL (13) since"),
    ],
    ids=repr,
)
def test_an_end_after_the_time_was_up(ended: dict[str, Any], said: str) -> None:
    """What follows "was not over after 0:10:00" doesn't say the contrary."""
    assert since_then(Operation(NAME, done=True, **ended)) == said


@pytest.mark.parametrize(
    ("metadata", "elapsed"),
    [
        ({}, "0:00:10"),
        ({"startTime": moment(-2), "createTime": moment(-9)}, "0:00:12"),
        ({"createTime": moment(-9)}, "0:00:19"),
        ({"createTime": moment(7)}, "0:00:03"),
        ({"createTime": moment(99)}, "0:00:00"),
        ({"createTime": "yesterday"}, "0:00:10"),
    ],
    ids=repr,
)
def test_how_long_it_has_run(metadata: dict[str, Any], elapsed: str) -> None:
    """Counted from when the operation says that it began, else from the start of the wait; never negative."""
    watching = watch()
    watching.judge(Operation(NAME, metadata=metadata), START + 10)
    assert watching.take_news() == [f"operations/x: running ({elapsed} elapsed)"]


@pytest.mark.parametrize(
    ("metadata", "elapsed_s"),
    [
        ({}, 137),
        ({"startTime": moment(1), "createTime": moment(-9), "endTime": moment(51)}, 50),
        ({"createTime": moment(-9), "endTime": moment(51)}, 60),
        ({"endTime": moment(51)}, 137),
        ({"createTime": moment(-9)}, 137),
        ({"createTime": moment(9), "endTime": moment(5)}, 137),
    ],
    ids=repr,
)
def test_how_long_it_took(metadata: dict[str, Any], elapsed_s: float) -> None:
    """By the operation's own times where it has both; else as long as was waited."""
    outcome = watch().judge(replace(DONE, metadata=metadata), START + 137)
    assert isinstance(outcome, Outcome)
    assert outcome.elapsed == timedelta(seconds=elapsed_s)


def test_no_news_of_the_grace() -> None:
    """A 404 right after the start is no outage, so neither its begin nor its end is reported."""
    watching = watch(created_s=0)
    watching.judge(failed(404), START)
    watching.judge(RUNNING, START + 1)
    assert watching.take_news() == ["operations/x: running (0:00:01 elapsed)"]


def test_an_outage_after_the_grace_is_reported() -> None:
    """A 404 in the grace doesn't swallow the news of the outage that follows."""
    watching = watch(created_s=0)
    watching.judge(failed(404), START)
    watching.judge(failed(503), START + 1)
    assert watching.take_news() == ["operations/x: no answer (HTTP 503); bearing it for up to 60 s"]


def test_no_news_of_a_failure_that_ends_the_wait() -> None:
    """Nothing is borne where the operation is gone, so nothing is announced."""
    watching = watch()
    watching.judge(failed(404), START)
    assert watching.take_news() == []


def test_news_are_one_safe_line() -> None:
    """A server's progress message can't forge log lines, send terminal escapes, or fill the log."""
    watching = watch()
    message = "\x1b[31mred\nERROR forged" + "x" * 100_000
    watching.judge(Operation(NAME, metadata={"statusMessage": message}), START)
    (line,) = watching.take_news()
    assert line.startswith("operations/x: \\x1b[31mred ERROR forgedxxx")
    assert "\n" not in line
    assert len(line) < 2000


def test_what_looks_like_a_resource_is_told_once() -> None:
    """A call that answers with a resource instead of an operation would be waited for to the end of its time."""
    watching = watch()
    for polls in range(2):
        watching.judge(
            Operation(NAME, other={"state": "ACTIVE", "createTime": "2026-01-01T00:00:00Z"}), START + polls
        )
    running, line = watching.take_news()
    assert running == "operations/x: running (0:00:00 elapsed)"
    assert line.startswith(
        "operations/x: this looks like a resource rather than an operation, as it has state, createTime"
    )


@pytest.mark.parametrize(
    "seen",
    [
        Operation(NAME),
        Operation(NAME, metadata={}, other={"state": "ACTIVE"}),
        Operation(NAME, done=True, other={"state": "ACTIVE"}),
    ],
)
def test_an_operation_does_not_look_like_a_resource(seen: Operation) -> None:
    """A bare name is an operation, and one with metadata may have fields of its service's own."""
    watching = watch()
    watching.judge(seen, START)
    assert not any("resource" in line for line in watching.take_news())


# --- events --------------------------------------------------------------------------------------------------

FAILURE = replace(
    failed(503, 2.5), excerpt="<html>", sent=False, attempts=3, headers={"www-authenticate": "Bearer"}
)


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(Outcome(Kind.DONE, NAME, DONE, None, 12.5), id="done"),
        pytest.param(Outcome(Kind.DONE, NAME, None, None, 12.5), id="done-too-large"),
        pytest.param(
            Outcome(Kind.DONE, NAME, Operation(NAME, done=True, error=Status(Code(8), "m", [{"a": 1}]))),
            id="error",
        ),
        pytest.param(Outcome(Kind.TIMED_OUT, NAME, RUNNING, FAILURE, 7.0), id="timed-out"),
        pytest.param(Outcome(Kind.CALL_FAILED, NAME, None, FAILURE, 7.0), id="unreachable"),
        pytest.param(
            Outcome(
                Kind.DONE,
                NAME,
                Operation(
                    NAME, done=True, response={"__classname__": "os.system", "__id__": 1, "__type": "x"}
                ),
            ),
            id="reserved-keys",
        ),
        pytest.param(Outcome(Kind.DONE, NAME, Operation(NAME, done=True, response="\ud800")), id="surrogate"),
    ],
)
def test_an_outcome_survives_the_triggers_event(outcome: Outcome) -> None:
    """An outcome survives the trigger's event, which is two scalars: no key of the server's is a key of it."""
    event = outcome.to_event()
    assert event["version"] == 1
    assert set(event) == {"version", "outcome"}
    assert isinstance(event["outcome"], str)
    assert Outcome.from_event(event) == outcome
    assert Outcome.from_event(json.loads(json.dumps(event))) == outcome


def test_airflow_takes_events_with_reserved_keys() -> None:
    """Airflow's serializer, which refuses reserved keys anywhere in a payload, takes our event."""
    from tests.versions import deserialize, serialize

    outcome = Outcome(
        Kind.DONE, NAME, Operation(NAME, done=True, response={"__classname__": "x", "__id__": 1})
    )
    event = outcome.to_event()
    assert Outcome.from_event(deserialize(serialize(event))) == outcome


@given(JSON, JSON)
def test_any_operation_survives(response: Any, error: Any) -> None:
    """Whatever a server put into the operation comes out of the event as it was, but infinities, which are text."""
    operation = Operation.from_json({"name": NAME, "done": True, "response": response, "error": error})
    event = Outcome(Kind.DONE, NAME, operation).to_event()
    json.loads(event["outcome"], parse_constant=pytest.fail)
    assert Outcome.from_event(event).operation == Operation.from_json(finite(operation.to_json()))


def test_oversize_operations_are_dropped() -> None:
    """An operation too large for Airflow's database is left out; the kind, name and time arrive."""
    large = Operation(NAME, done=True, response="x" * MAX_EVENT_CHARS)
    event = Outcome(Kind.DONE, NAME, large, None, 3.0).to_event()
    assert Outcome.from_event(event) == Outcome(Kind.DONE, NAME, None, None, 3.0)
    fits = replace(large, response="x" * (MAX_EVENT_CHARS - 500))
    assert Outcome.from_event(Outcome(Kind.DONE, NAME, fits).to_event()).operation == fits


def test_oversize_failures_are_cut() -> None:
    """A failure with a huge Status arrives with its code, the begin of its message, and all its other facts."""
    status = Status(Code.UNAVAILABLE, "m" * 5000, ["x" * MAX_EVENT_CHARS])
    event = Outcome(Kind.CALL_FAILED, NAME, RUNNING, replace(FAILURE, status=status), 3.0).to_event()
    assert len(event["outcome"]) < 3000
    assert Outcome.from_event(event) == Outcome(
        Kind.CALL_FAILED, NAME, None, replace(FAILURE, status=Status(Code.UNAVAILABLE, "m" * 1000)), 3.0
    )


def body(**changes: Any) -> dict[str, Any]:
    """An event whose content is readable but for the changes."""
    content = {"kind": "done", "name": NAME, "waited_s": 1.0, "operation": None, "failure": None, **changes}
    return {"version": 1, "outcome": json.dumps(content)}


def failure_body(**changes: Any) -> dict[str, Any]:
    content = json.loads(Outcome(Kind.CALL_FAILED, NAME, None, FAILURE).to_event()["outcome"])
    return {"version": 1, "outcome": json.dumps({**content, "failure": {**content["failure"], **changes}})}


def test_the_bodies_below_are_readable_unchanged() -> None:
    """The refusals of the next test are for the changed field alone."""
    assert Outcome.from_event(body()) == Outcome(Kind.DONE, NAME, None, None, 1.0)
    assert Outcome.from_event(failure_body()).failure == FAILURE


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(None, id="none"),
        pytest.param("text", id="text"),
        pytest.param([], id="list"),
        pytest.param({}, id="empty"),
        pytest.param({"outcome": body()["outcome"]}, id="no-version"),
        pytest.param({**body(), "version": 2}, id="version-2"),
        pytest.param({**body(), "version": "1"}, id="version-text"),
        pytest.param({"version": 1}, id="no-outcome"),
        pytest.param({"version": 1, "outcome": None}, id="outcome-none"),
        pytest.param({"version": 1, "outcome": {}}, id="outcome-object"),
        pytest.param({"version": 1, "outcome": "{"}, id="no-JSON"),
        pytest.param({"version": 1, "outcome": "[" * 100_000}, id="deep-JSON"),
        pytest.param({"version": 1, "outcome": "[]"}, id="JSON-list"),
        pytest.param({"version": 1, "outcome": "5"}, id="JSON-number"),
        pytest.param({"version": 1, "outcome": '"x"'}, id="JSON-text"),
        pytest.param({"version": 1, "outcome": "{}"}, id="JSON-empty"),
        pytest.param({"status": "success", "message": "m"}, id="another-provider's"),
        pytest.param(body(kind="finished"), id="unknown-kind"),
        pytest.param(body(kind=None), id="no-kind"),
        pytest.param(body(kind=["done"]), id="kind-list"),
        pytest.param(body(name=5), id="name-number"),
        pytest.param(body(name=None), id="name-null"),
        pytest.param(body(waited_s="soon"), id="waited-text"),
        pytest.param(body(waited_s=None), id="waited-null"),
        pytest.param(body(waited_s=float("nan")), id="waited-nan"),
        pytest.param(body(waited_s=float("inf")), id="waited-infinite"),
        pytest.param(body(waited_s=1e300), id="waited-forever"),
        pytest.param(body(waited_s=10**400), id="waited-beyond-float"),
        pytest.param(body(operation=5), id="operation-number"),
        pytest.param(body(operation={}), id="operation-empty"),
        pytest.param(body(operation={"name": 5}), id="operation-malformed"),
        pytest.param(body(failure=5), id="failure-number"),
        pytest.param(body(failure={}), id="failure-empty"),
        pytest.param(failure_body(unknown=1), id="failure-unknown-field"),
        pytest.param(failure_body(method=5), id="failure-method-number"),
        pytest.param(failure_body(url=None), id="failure-url-null"),
        pytest.param(failure_body(http_status="503"), id="failure-http-status-text"),
        pytest.param(failure_body(problem=None), id="failure-problem-null"),
        pytest.param(failure_body(excerpt=5), id="failure-excerpt-number"),
        pytest.param(failure_body(retry_after_s="1"), id="failure-retry-after-text"),
        pytest.param(failure_body(retry_after_s=1e300), id="failure-retry-after-forever"),
        pytest.param(failure_body(retry_after_s=float("nan")), id="failure-retry-after-nan"),
        pytest.param(failure_body(transient="yes"), id="failure-may-pass-text"),
        pytest.param(failure_body(sent=None), id="failure-sent-null"),
        pytest.param(failure_body(attempts="3"), id="failure-attempts-text"),
        pytest.param(failure_body(headers=None), id="failure-headers-null"),
        pytest.param(failure_body(headers={"a": 1}), id="failure-header-number"),
    ],
)
def test_unreadable_events(event: Any) -> None:
    """An event is foreign input: whatever isn't exactly ours is refused as unreadable, and nothing else happens."""
    with pytest.raises(UnreadableEvent):
        Outcome.from_event(event)


@given(JSON | JSON.map(lambda value: {"version": 1, "outcome": json.dumps(value)}))
def test_any_other_json_is_refused_as_an_event(event: Any) -> None:
    """Any JSON is refused as an event."""
    with pytest.raises(UnreadableEvent):
        Outcome.from_event(event)


@given(
    st.sampled_from(["done", "timed_out", "unreachable"]),
    JSON,
    JSON,
    st.sampled_from([None, *json.loads(failure_body()["outcome"])["failure"]]),
    JSON,
)
def test_what_is_read_can_be_raised(
    kind: str, waited: Any, operation: Any, key: str | None, value: Any
) -> None:
    """An event that is read always leads to success or to an exception with a text."""
    event = failure_body() if key is None else failure_body(**{key: value})
    content = {**json.loads(event["outcome"]), "kind": kind, "waited_s": waited, "operation": operation}
    try:
        outcome = Outcome.from_event({"version": 1, "outcome": json.dumps(content)})
    except UnreadableEvent:
        return
    error = error_of(outcome, final=lambda _: False)
    assert error is None or str(error)


def test_unreadable_events_are_shown_shortly() -> None:
    """A huge foreign event doesn't become a huge message."""
    with pytest.raises(UnreadableEvent) as refused:
        Outcome.from_event({"x": "y" * 1_000_000})
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("error", "is_cancelled", "text"),
    [
        (None, False, "succeeded"),
        (Status(Code.CANCELLED), True, "cancelled"),
        (Status(1), True, "cancelled"),
        (Status(Code.ABORTED), False, "failed with ABORTED (10)"),
        (Status(99), False, "failed with code 99"),
    ],
)
def test_code_1_is_cancelled(error: Status | None, is_cancelled: bool, text: str) -> None:
    """Cancelled is code 1 (AIP-151), whatever the message."""
    operation = Operation(NAME, done=True, error=error)
    assert (cancelled(operation), ending(operation)) == (is_cancelled, text)
