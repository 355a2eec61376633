from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import tenacity

from airflow_provider_operations._protocol.readers import read_json
from airflow_provider_operations._protocol.request import Request
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._protocol.retries import Retries
from airflow_provider_operations.operation import Code, Status
from tests.support.clocks import MovedClock

LOG = logging.getLogger(__name__)
GET = Request("GET", "/v1/operations/x", read=read_json)
START = Request("POST", "/v1/x:run", idempotent=False, read=read_json)


def failed(
    http_status: int | None = 500,
    retry_after_s: float | None = None,
    *,
    transient: bool = True,
    sent: bool = True,
) -> CallFailure:
    hint = None if retry_after_s is None else timedelta(seconds=retry_after_s)
    return CallFailure(
        "GET", "u", http_status, Status(Code.INTERNAL), "p", retry_after=hint, transient=transient, sent=sent
    )


def run(retries: Retries, request: Request[Any], *results: object) -> tuple[Any, list[float]]:
    """Send until it ends; return what came of it, and the pauses. A sent request more than results is an error."""
    left = list(results)
    moved = MovedClock()

    def send() -> object:
        return left.pop(0)

    with pytest.MonkeyPatch.context() as patch:
        moved.install(patch)
        result = tenacity.Retrying(**retries.options(request, LOG), sleep=moved.sleep)(send)
    assert left == []
    return result, moved.sleeps


@pytest.mark.parametrize(
    ("request_", "failure", "repeated"),
    [
        pytest.param(GET, failed(500), True, id="get-500"),
        pytest.param(GET, failed(None), True, id="get-no-answer"),
        pytest.param(GET, failed(404, transient=False), False, id="get-404"),
        pytest.param(START, failed(500), False, id="start-500"),
        pytest.param(START, failed(None), False, id="start-answer-lost"),
        pytest.param(START, failed(None, sent=False), True, id="start-never-sent"),
        pytest.param(START, failed(None, sent=False, transient=False), False, id="start-certificate-refused"),
        pytest.param(START, failed(429), True, id="start-429"),
        pytest.param(START, failed(503), False, id="start-503"),
        pytest.param(START, failed(503, 0), True, id="start-503-with-Retry-After"),
        pytest.param(START, failed(500, 1), False, id="start-500-with-Retry-After"),
    ],
)
def test_what_is_repeated(request_: Request[Any], failure: CallFailure, repeated: bool) -> None:
    """A request is repeated if that may help and, for a start, if it had no effect for certain."""
    results = [failure, "ok"] if repeated else [failure]
    result, pauses = run(Retries(), request_, *results)
    assert result == results[-1]
    assert len(pauses) == len(results) - 1


def test_there_are_at_most_three_attempts() -> None:
    """At most three by default; the last failure says how often it was sent."""
    result, pauses = run(Retries(), GET, failed(), failed(), failed(502))
    assert (result.http_status, result.attempts, len(pauses)) == (502, 3, 2)


def test_with_one_attempt_nothing_is_repeated() -> None:
    """With one attempt nothing is repeated."""
    assert run(Retries(attempts=1), GET, failed()) == (failed(), [])


@pytest.mark.parametrize(("hint_s", "pause_s"), [(5, 5.0), (50, 50.0), (86_400, None), (61, None)], ids=str)
def test_a_hint_is_the_least_that_is_waited(hint_s: float, pause_s: float | None) -> None:
    """A hint is the least that is waited; one that leads beyond the time allowed ends it."""
    results = [failed(503, hint_s), "ok"] if pause_s else [failed(503, hint_s)]
    result, pauses = run(Retries(delay_s=0), GET, *results)
    assert (result, pauses) == (results[-1], [pause_s] if pause_s else [])


def test_hints_are_bounded() -> None:
    """A server that asks for a day is asked again after 10 minutes, where that long is allowed."""
    assert run(Retries(for_s=10_000, delay_s=0), GET, failed(503, 86_400), "ok") == ("ok", [600.0])


def test_pauses_are_random_below_a_doubling_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are drawn from zero to 1, 2, 4 ... 30 s, so that many clients don't come back at once."""
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    _, pauses = run(Retries(attempts=8, for_s=1000), GET, *[failed()] * 8)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_time_alone_ends_it() -> None:
    """Without a number of attempts all the time allowed is used: the last pause is cut, not dropped."""
    result, pauses = run(Retries(attempts=None, for_s=60, delay_s=0), GET, *[failed(503, 25)] * 4)
    assert (result.attempts, pauses) == (4, [25.0, 25.0, 10.0])


def test_a_cut_pause_is_the_last() -> None:
    """Where a server asks for a longer pause than is left, it is asked once more when the time is up."""
    result, pauses = run(Retries(attempts=None, for_s=60, delay_s=0), GET, *[failed(429, 300)] * 2)
    assert (result.attempts, pauses) == (2, [60.0])


def test_nobody_repeats_what_nobody_wants_any_more() -> None:
    """Nobody repeats what nobody wants any more."""
    wanted = iter([False, True])
    result, pauses = run(Retries(delay_s=0, abandoned=lambda: next(wanted)), GET, failed(500), failed(502))
    assert (result.http_status, len(pauses)) == (502, 1)


def test_success_at_once() -> None:
    """What isn't a failure is the result, whatever it is."""
    assert run(Retries(), START, None) == (None, [])


def test_what_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The first failure is logged at once, and then one a minute: nobody waits for 10 minutes without a word."""
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    run(Retries(attempts=None, for_s=130), START, *[failed(None, sent=False)] * 10)

    assert caplog.messages == [
        "GET u: p; trying again in 1.0 s, and for up to 130 s",
        "GET u: p; 61 s and 7 attempts so far; trying again in 30.0 s, and for up to 69 s",
        "GET u: p; 121 s and 9 attempts so far; trying again in 9.0 s, and for up to 9 s",
    ]


def test_what_is_not_repeated_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What isn't repeated isn't logged: whoever called hears of it."""
    run(Retries(attempts=1), GET, failed())
    run(Retries(), START, failed(500))

    assert caplog.messages == []
