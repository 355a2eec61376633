"""How a failed request is repeated: one policy for the sync and the async hook, carried out by tenacity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.polling import MAX_HINT
from airflow_provider_operations._protocol.response import CallFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations._protocol.request import Request

__all__ = ["Retries"]

LOG_EVERY_S = 60.0
"""How often a request that keeps failing is logged."""


@dataclass(frozen=True)
class Retries:
    """
    Repeat a request whose failure is transient.

    A request that isn't idempotent (a start without a request id) is sent again only when it had no effect for
    certain: never sent, 429, or 503 with Retry-After.

    :param attempts: at most so many; ``None``: as long as ``for_s`` allows, all of which is used: the last pause is
        cut so that it ends then.
    :param delay_s: first pause; doubles up to 30 s. A longer Retry-After or RetryInfo wins, up to 10 min.
    :param for_s: no attempt begins later than this after the first.
    :param doubt_s: how long an answer that names no code, such as a proxy's page, is retried although it isn't
        transient.
    :param abandoned: says whether nobody wants the request any more.
    :param left: tells which failures are not to be repeated here, as the caller deals with them.
    """

    attempts: int | None = 3
    delay_s: float = 1.0
    for_s: float = 60.0
    doubt_s: float = 0.0
    abandoned: Callable[[], bool] = bool
    left: Callable[[CallFailure], bool] = lambda _: False

    def options(self, request: Request[Any], log: Any) -> dict[str, Any]:
        """
        Return the arguments of ``tenacity.Retrying`` and ``AsyncRetrying``; the last failure is the result.

        :param log: a logger, for the first failure that is retried, and then for one every minute.
        """
        began = clock.now()
        end = began + self.for_s
        believed = began + min(self.doubt_s, self.for_s)
        logged: float | None = None
        backoff = tenacity.wait_random_exponential(multiplier=self.delay_s, max=30.0)

        def wait(state: tenacity.RetryCallState) -> float:
            hint = _result(state).retry_after
            pause_s = max(backoff(state), min(hint, MAX_HINT).total_seconds() if hint else 0.0)
            return pause_s if self.attempts else min(pause_s, max(end - clock.now(), 0.0))

        def enough(state: tenacity.RetryCallState) -> bool:
            if self.attempts is None:
                return clock.now() >= end
            return state.attempt_number == self.attempts or clock.now() + state.upcoming_sleep >= end

        def worth_it(result: object) -> bool:
            return (
                isinstance(result, CallFailure)
                and (result.transient or (not result.names_code and clock.now() < believed))
                and (request.idempotent or result.safe_to_resend)
                and not (self.abandoned() or self.left(result))
            )

        def tell(state: tenacity.RetryCallState) -> None:
            nonlocal logged
            now, failure = clock.now(), _result(state)
            if logged and now - logged < LOG_EVERY_S:
                return
            so_far = f"{now - began:.0f} s and {state.attempt_number} attempts so far; " if logged else ""
            logged = now
            log.warning(
                "%s %s: %s; %strying again in %.1f s, and for up to %.0f s",
                failure.method, failure.url, failure.problem, so_far, state.upcoming_sleep, end - now,
            )  # fmt: skip

        def give_up(state: tenacity.RetryCallState) -> CallFailure:
            return replace(_result(state), attempts=state.attempt_number)

        return {
            "retry": tenacity.retry_if_result(worth_it),
            "stop": enough,
            "wait": wait,
            "before_sleep": tell,
            "retry_error_callback": give_up,
        }


def _result(state: Any) -> CallFailure:
    """Return the failed attempt of a ``RetryCallState``: only failures are retried, and tenacity sets it first."""
    failure: CallFailure = state.outcome.result()
    return failure
