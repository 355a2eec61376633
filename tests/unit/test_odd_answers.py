"""How a watch judges answers that are odd, and answers of before the process stood still."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_operations._protocol.outcome import DOUBT_S, MISSING_AGAIN_S, Kind, Outcome, Watch
from airflow_provider_operations.operation import Code, Operation, Status

from .test_outcome import DONE, NAME, RUNNING, START, failed, watch

if TYPE_CHECKING:
    from airflow_provider_operations._protocol.response import CallFailure


def odd(http_status: int | None, **changes: Any) -> CallFailure:
    """An answer without a readable Status, such as a proxy's page."""
    found = replace(failed(http_status), transient=False, status=Status(Code.UNKNOWN), excerpt="<html>")
    return replace(found, **changes)


ODD = {
    "HTML": odd(200),
    "302": odd(302),
    "401": replace(failed(401), transient=False),
    "403": replace(failed(403), transient=False),
    "501": replace(failed(501), transient=False),
    "HTML 404": odd(404),
    "too large": odd(None),
    "no token": odd(None, sent=False),
}
NO_PAGE_404 = [case for case in ODD if case != "HTML 404"]


def verdicts(
    watching: Watch, *polls: tuple[Operation | CallFailure, float], in_time: bool = True
) -> list[str]:
    """
    Judge polls at seconds from START; return "asks on", or the kind of the end and whether a retry may help.

    :param in_time: they come when they are due, however long the pauses between them.
    """
    told = []
    for seen, at_s in polls:
        if in_time:
            watching.due_epoch_s = START + at_s
        verdict = watching.judge(seen, START + at_s)
        if isinstance(verdict, Outcome):
            worth = "" if verdict.kind is not Kind.CALL_FAILED else ", final"
            if worth and verdict.failure and verdict.failure.transient:
                worth = ", may pass"
            told.append(verdict.kind.value + worth)
        else:
            told.append("asks on")
    return told


@pytest.mark.parametrize("case", ODD)
def test_one_odd_answer_of_an_operation_that_was_found(case: str) -> None:
    """Whatever a poll brings while the operation runs: a poll can be repeated."""
    polls = verdicts(watch(tolerance_s=60), (RUNNING, 0), (ODD[case], 5), (RUNNING, 10), (DONE, 15))
    assert polls == ["asks on", "asks on", "asks on", "done"]


@pytest.mark.parametrize("case", NO_PAGE_404)
def test_odd_answers_for_good_of_an_operation_that_was_found(case: str) -> None:
    """They are borne as an outage is, and what ends the wait then is worth a retry."""
    seen = ODD[case]
    polls = verdicts(watch(tolerance_s=600), (RUNNING, 0), (seen, 5), (seen, 604.9), (seen, 605))
    assert polls == ["asks on", "asks on", "asks on", "unreachable, may pass"]


@pytest.mark.parametrize("case", [case for case in NO_PAGE_404 if case != "no token"])
def test_odd_answers_from_the_first_poll_on(case: str) -> None:
    """What looks as if it would stay so shows after a minute where no poll has found the operation, and is final."""
    seen = ODD[case]
    polls = verdicts(watch(tolerance_s=600), (seen, 1), (seen, 60.9), (seen, 61))
    assert polls == ["asks on", "asks on", "unreachable, final"]


def test_a_connection_that_cannot_be_used_ends_the_wait_at_once() -> None:
    """A connection that can't be used from the first poll on ends the wait at once: no server was asked."""
    assert verdicts(watch(), (ODD["no token"], 1)) == ["unreachable, final"]


@pytest.mark.parametrize("case", NO_PAGE_404)
def test_a_wait_older_than_a_minute(case: str) -> None:
    """A watch that takes over doesn't know what was seen: after a minute of waiting an odd answer is an outage."""
    seen = ODD[case]
    polls = verdicts(watch(tolerance_s=600), (seen, DOUBT_S), (seen, DOUBT_S + 599), (seen, DOUBT_S + 600))
    assert polls == ["asks on", "asks on", "unreachable, may pass"]


@pytest.mark.parametrize(
    ("tolerance_s", "polls", "told"),
    [
        pytest.param(0, [(ODD["403"], 1)], ["unreachable, final"], id="none-borne"),
        pytest.param(
            0, [(RUNNING, 0), (ODD["403"], 1)], ["asks on", "unreachable, may pass"], id="none-found"
        ),
        pytest.param(20, [(ODD["403"], 1), (ODD["403"], 21)], ["asks on", "unreachable, final"], id="20s"),
        pytest.param(
            600,
            [(failed(503), 0), (ODD["403"], 50), (ODD["403"], 109), (ODD["403"], 110)],
            ["asks on", "asks on", "asks on", "unreachable, final"],
            id="503-then-403",
        ),
        pytest.param(
            600,
            [(failed(503), 0), (failed(503), 100), (ODD["HTML"], 120), (ODD["HTML"], 500)],
            ["asks on"] * 4,
            id="503-for-long-then-HTML",
        ),
        pytest.param(
            60,
            [(failed(503), 0), (ODD["403"], 50), (ODD["403"], 60)],
            ["asks on", "asks on", "unreachable, may pass"],
            id="outage-before-the-minute",
        ),
        pytest.param(
            600,
            [(ODD["403"], 0), (failed(503), 30), (ODD["403"], 60)],
            ["asks on", "asks on", "unreachable, final"],
            id="a-503-between",
        ),
        pytest.param(
            600,
            [(ODD["403"], 0), (RUNNING, 30), (ODD["403"], 59), (ODD["403"], 130)],
            ["asks on"] * 4,
            id="found-between",
        ),
    ],
)
def test_how_long_odd_answers_are_borne(
    tolerance_s: float, polls: list[tuple[Operation | CallFailure, float]], told: list[str]
) -> None:
    """At most the tolerance; a minute from the first odd answer where the operation was never found."""
    assert verdicts(watch(tolerance_s=tolerance_s), *polls) == told


@pytest.mark.parametrize(
    ("polls", "told"),
    [
        pytest.param([(odd(404), 100), (RUNNING, 110)], ["asks on"] * 2, id="one-page"),
        pytest.param(
            [(odd(404), 100), (odd(404), 100 + MISSING_AGAIN_S - 0.1), (odd(404), 100 + MISSING_AGAIN_S)],
            ["asks on", "asks on", "unreachable, final"],
            id="again-after-30-s",
        ),
        pytest.param(
            [(odd(404), 100), (RUNNING, 115), (odd(404), 130), (odd(410), 160)],
            ["asks on", "asks on", "asks on", "unreachable, final"],
            id="a-good-answer-between",
        ),
        pytest.param(
            [(failed(503), 100), (odd(404), 129), (failed(503), 140), (odd(404), 158)],
            ["asks on"] * 4,
            id="a-503-before-does-not-count",
        ),
        pytest.param([(failed(404), 100)], ["unreachable, final"], id="the-service-says-so"),
        pytest.param([(failed(410), 100)], ["unreachable, final"], id="the-service-says-so-410"),
        pytest.param(
            [(replace(failed(404), names_code=False), 100), (RUNNING, 110)],
            ["asks on"] * 2,
            id="a-gateway-says",
        ),
    ],
)
@pytest.mark.parametrize("found", [True, False])
def test_a_404_with_a_status_counts_at_once_and_a_page_twice(
    polls: list[tuple[Operation | CallFailure, float]], told: list[str], *, found: bool
) -> None:
    """A 404 of the service is an answer; a page without a Status has to come twice, half a minute apart."""
    watching = watch(tolerance_s=600)
    watching.found = found
    assert verdicts(watching, *polls) == told


def test_the_mistake_is_told_when_the_time_is_up() -> None:
    """Where nothing but refusals came until the deadline, the refusal is the error, not the time-out."""
    assert verdicts(watch(deadline_s=5), (ODD["403"], 1), (ODD["403"], 5)) == [
        "asks on",
        "unreachable, final",
    ]


def test_an_odd_answer_of_a_found_operation_when_the_time_is_up() -> None:
    """It is a time-out, as with any outage."""
    polls = verdicts(watch(deadline_s=5), (RUNNING, 0), (ODD["403"], 5))
    assert polls == ["asks on", "timed_out"]


def test_news_of_odd_answers() -> None:
    """What the server said is logged at the first odd answer, and how long it's borne; then only the end of it."""
    refused = replace(
        failed(403), transient=False, status=Status(Code.PERMISSION_DENIED, "who are you?\nforged line")
    )
    lines = []
    bearing, bearing_a_minute = "; bearing it for up to 600 s", "; bearing it for up to 60 s"
    watching = watch(tolerance_s=600)
    polls: list[Operation | CallFailure] = [failed(), refused, refused, RUNNING, odd(200, problem="not JSON")]
    for number, seen in enumerate(polls):
        watching.judge(seen, START + number)
        lines.append(watching.take_news())
    assert lines == [
        ["operations/x: no answer (HTTP 503); bearing it for up to 600 s"],
        [
            f"{NAME}: no usable answer (HTTP 403: PERMISSION_DENIED (7): who are you? forged line)"
            + bearing_a_minute
        ],
        [],
        ["operations/x: the server answers again", "operations/x: running (0:00:03 elapsed)"],
        [f"{NAME}: no usable answer (not JSON: UNKNOWN (2): (no message): the body began: <html>)" + bearing],
    ]


@pytest.mark.parametrize(
    ("polls", "doubt"),
    [
        ([(RUNNING, 0)], False),
        ([(failed(503), 0)], False),
        ([(ODD["403"], 0)], True),
        ([(RUNNING, 0), (ODD["403"], 5)], False),
        ([(RUNNING, 0), (odd(404), 5)], True),
        ([(ODD["403"], 0), (RUNNING, 5)], False),
        ([(ODD["403"], 100)], False),
    ],
)
def test_in_doubt(polls: list[tuple[Operation | CallFailure, float]], *, doubt: bool) -> None:
    """While the next minute tells whether it's a mistake, whoever would forget what came goes on asking."""
    watching = watch(tolerance_s=600)
    verdicts(watching, *polls)
    assert watching.in_doubt(START + polls[-1][1]) is doubt
    assert not watching.in_doubt(START + polls[-1][1] + DOUBT_S)


# --- a process that stood still ------------------------------------------------------------------------------


def told_late(watching: Watch, *polls: tuple[Operation | CallFailure, float]) -> list[str]:
    """Judge polls that come when they come."""
    return verdicts(watching, *polls, in_time=False)


def asleep_from(at_s: float, *, tolerance_s: float = 60.0, deadline_s: float | None = None) -> Watch:
    """A watch whose server has refused from 20 s on, and that judged last at ``at_s``."""
    watching = watch(tolerance_s=tolerance_s, deadline_s=deadline_s)
    told_late(watching, (RUNNING, 0), (failed(), 20), (failed(), at_s))
    return watching


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(failed(503), id="503"),
        pytest.param(failed(None), id="black-hole"),
        pytest.param(ODD["HTML"], id="HTML"),
    ],
)
def test_an_outage_does_not_count_a_freeze(stale: CallFailure) -> None:
    """
    A holder that stood still from 40 s to 100 s has an answer of before, and the server answers by now.

    So the old answer doesn't end the wait, and what is asked next decides.
    """
    watching = asleep_from(39)
    assert told_late(watching, (stale, 100), (RUNNING, 101)) == ["asks on", "asks on"]


def test_after_a_freeze_the_outage_goes_on() -> None:
    """What was before the freeze counts: 27 s until an answer was due, and 33 s after it, make the minute."""
    watching = asleep_from(39)
    assert watching.due_epoch_s == pytest.approx(START + 47.3)
    polls = [(failed(), at_s) for at_s in (100, 120, 132, 133)]
    assert told_late(watching, *polls) == ["asks on", "asks on", "asks on", "unreachable, may pass"]


@pytest.mark.parametrize(
    ("stale", "deadline_s"),
    [
        pytest.param(RUNNING, 90, id="deadline"),
        pytest.param(failed(503), 90, id="deadline-in-an-outage"),
        pytest.param(failed(404), None, id="gone"),
    ],
)
def test_no_end_is_concluded_from_an_old_answer(
    stale: Operation | CallFailure, deadline_s: float | None
) -> None:
    """The answer may be as old as the freeze: it is asked again, at once."""
    watching = asleep_from(39, deadline_s=deadline_s)
    assert watching.judge(stale, START + 100) == 0.0
    assert told_late(watching, (DONE, 100.5)) == ["done"]


def test_a_second_answer_after_a_freeze_counts() -> None:
    """The fresh answer decides: a deadline that has passed has passed."""
    watching = asleep_from(39, deadline_s=90)
    assert told_late(watching, (RUNNING, 100), (RUNNING, 100.5)) == ["asks on", "timed_out"]


def test_done_counts_however_old() -> None:
    """An operation that was over stays over."""
    assert told_late(asleep_from(39), (DONE, 5000)) == ["done"]


def test_the_grace_is_not_over_by_a_freeze() -> None:
    """A 404 of the moment after the start, looked at a minute later, isn't the end."""
    watching = watch(created_s=0)
    watching.judge(failed(404), START + 1)
    assert told_late(watching, (failed(404), 100), (RUNNING, 101)) == ["asks on", "asks on"]


def test_pages_on_both_sides_of_a_freeze() -> None:
    """Two 404 pages a second apart don't become half a minute apart because the process stood still."""
    watching = watch(tolerance_s=600)
    assert (
        told_late(watching, (RUNNING, 0), (odd(404), 5), (odd(404), 200), (odd(404), 201)) == ["asks on"] * 4
    )


def test_the_first_answer_may_be_late() -> None:
    """A process can stand still before its first judgement, too."""
    watching = watch(deadline_s=90)
    watching.due_epoch_s = START
    assert told_late(watching, (RUNNING, 100), (DONE, 101)) == ["asks on", "done"]


def test_slow_requests_are_no_freeze() -> None:
    """A black hole of a minute each time is an outage that counts, but for the first minute."""
    watching = watch(tolerance_s=600)
    watching.judge(RUNNING, START)
    at_s, told = 0.0, ["asks on"]
    while told == ["asks on"]:
        at_s += 65
        told = told_late(watching, (failed(None), at_s))
    assert told == ["unreachable, may pass"]
    assert 600 <= at_s - 65 <= 600 + 2 * 65


def test_longer_pauses_than_judged_are_no_freeze() -> None:
    """Whoever sleeps longer than the watch said tells it."""
    watching = watch(tolerance_s=600)
    watching.judge(failed(), START)
    watching.pauses(700, START)
    assert told_late(watching, (failed(), 701)) == ["unreachable, may pass"]
