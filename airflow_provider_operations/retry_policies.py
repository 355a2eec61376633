"""A retry policy that goes by what the server said (Airflow 3.3 or later)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.compat import TASKS_HAVE_RETRY_POLICIES
from airflow_provider_operations._protocol.rendering import printable
from airflow_provider_operations.exceptions import (
    WORTH_A_RETRY,
    OperationCancelled,
    OperationFailed,
    OperationsCallError,
    OperationsError,
    OperationTimeout,
)
from airflow_provider_operations.operation import Code

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow.sdk import Context, RetryDecision, RetryPolicy
elif TASKS_HAVE_RETRY_POLICIES:
    from airflow.sdk import RetryPolicy
else:
    RetryPolicy = object  # nobody asks it; the operators say so

__all__ = ["OperationRetryPolicy"]

MAX_REASON_CHARS = 500
"""Airflow cuts a longer one."""


class OperationRetryPolicy(RetryPolicy):
    """
    Retry if the error's code is worth it, at the time that the server asks for.

    A failed operation is started again if its code is worth it; one that was cancelled only if this task's own kill
    did it. A call that failed is repeated if it may pass: no connection, time-out, 408, 429, 5xx but 501. RetryInfo
    or Retry-After says when; without them, the task's ``retry_delay``. What isn't an error of this provider is left
    to Airflow. The task's ``retries`` stay the limit.

    A sensor's verdict on a finished operation stays final, and so does its time-out: Airflow doesn't ask.

    :param retry_on: codes (or a single one) of operations that are started again, instead of the operator's ``retry_on``
        (``WORTH_A_RETRY``); calls that were refused with one of them are repeated, too.
    :param fail_on: codes, or one, after which nothing is retried, whatever else holds.
    :param retry_timeouts: start an operation again whose time was up.
    :param max_delay: longest pause that a server may ask for, in seconds; default 1 h.
    """

    def __init__(
        self,
        *,
        retry_on: Collection[Code | int | str] | Code | int | str | None = None,
        fail_on: Collection[Code | int | str] | Code | int | str = (),
        retry_timeouts: bool = True,
        max_delay: timedelta | float = 3600.0,
    ) -> None:
        self.retry_on = None if retry_on is None else Code.set_of("retry_on", retry_on)
        self.fail_on = Code.set_of("fail_on", fail_on)
        self.retry_timeouts = retry_timeouts
        self.max_delay = max_delay if isinstance(max_delay, timedelta) else timedelta(seconds=max_delay)
        if self.max_delay < timedelta():
            raise ValueError(f"'max_delay' is not negative; it is {max_delay!r}")

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide; the reason is what the log shows, and on a retry the task instance keeps it."""
        from airflow.sdk import RetryDecision

        fails = self.fails(exception)
        if fails is None or not isinstance(exception, OperationsError):
            return RetryDecision.default()
        what = _said(exception)
        if fails:
            return RetryDecision.fail(_reason(f"no retry: {what}"))
        if try_number > max_tries:  # Airflow counts, and asks all the same
            return RetryDecision(reason=_reason(f"no retries are left: {what}"))
        asked = exception.retry_delay
        if not asked or asked < timedelta():
            return RetryDecision.retry(reason=_reason(f"retry: {what}"))
        delay = min(asked, self.max_delay)
        whose = "as the server asks" if delay == asked else f"the server asks for {asked}"
        return RetryDecision.retry(delay, _reason(f"retry in {delay}, {whose}: {what}"))

    def fails(self, exception: BaseException) -> bool | None:
        """Tell whether the task fails for good; None: as Airflow decides without a policy."""
        if isinstance(exception, OperationTimeout):
            return not self.retry_timeouts
        if not isinstance(exception, OperationFailed | OperationsCallError):
            return None
        code, final = exception.code, exception.final
        if code in self.fail_on:
            return True
        if self.retry_on is not None and code in self.retry_on:
            return False
        if isinstance(exception, OperationsCallError):
            return not exception.failure.transient if final is None else final
        if final is not None and (self.retry_on is None or isinstance(exception, OperationCancelled)):
            return final
        return code not in (WORTH_A_RETRY if self.retry_on is None else self.retry_on)

    def serialize(self) -> dict[str, Any]:
        """Return the arguments as JSON."""
        return {
            "retry_on": None if self.retry_on is None else sorted(self.retry_on),
            "fail_on": sorted(self.fail_on),
            "retry_timeouts": self.retry_timeouts,
            "max_delay": self.max_delay.total_seconds(),
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> OperationRetryPolicy:
        """Return the policy that was serialised."""
        return cls(**data)


def _said(error: OperationsError) -> str:
    if isinstance(error, OperationFailed):
        reason = f", {error.reason}" if error.reason else ""
        return f"the operation ended with {error.status.code_name}{reason}: {error.status.message}"
    if isinstance(error, OperationsCallError):
        said = error.status.message
        text = f"a {error.method} request failed with {error.status.code_name}: {error.failure.problem}"
        return f"{text}: {said}" if said and said != error.failure.problem else text
    return str(error)


def _reason(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= MAX_REASON_CHARS else f"{text[: MAX_REASON_CHARS - 1]}…"
