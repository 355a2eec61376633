"""
What a task fails with.

::

    OperationsError(AirflowException)
    ├ OperationFailed              the operation is done, with an error
    │ ├ OperationFailedFinal       ... and a retry would not help
    │ └ OperationCancelled         code 1
    │   └ OperationCancelledFinal  ... by somebody else
    ├ OperationTimeout             still running when the time was up
    │ └ OperationSensorTimeout     ... in a sensor; also AirflowSensorTimeout
    ├ OperationsCallError          a request brought no usable answer
    │ └ OperationsCallErrorFinal   ... and asking again would not help
    └ OperationEventError          a trigger event that can't be read

The ``Final`` classes are ``AirflowFailException`` too: Airflow doesn't retry them. Facts are attributes, all of
it survives pickling, and the text says what failed, which operation, and what the server said.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)

from airflow_provider_operations._airflow.redaction import without_secrets
from airflow_provider_operations._protocol.outcome import Kind, Outcome, cancelled
from airflow_provider_operations._protocol.rendering import clip, one_line, render_status
from airflow_provider_operations.operation import Code, Operation, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations._protocol.response import CallFailure

__all__ = [
    "WORTH_A_RETRY",
    "OperationCancelled",
    "OperationCancelledFinal",
    "OperationEventError",
    "OperationFailed",
    "OperationFailedFinal",
    "OperationSensorTimeout",
    "OperationTimeout",
    "OperationsCallError",
    "OperationsCallErrorFinal",
    "OperationsError",
    "error_of",
    "error_of_call",
]


class OperationsError(AirflowException):
    """Base class of everything that a task of this provider fails with."""

    operation: Operation | None = None
    """The final operation, or the last one seen."""
    status: Status | None = None
    """What the server said."""
    final: bool | None = None
    """
    Whether a retry would not help, as the task judges it; None: it hasn't judged.

    Airflow retries none of the Final classes, and asks no ``retry_policy`` about them. So a task with a policy raises
    none of them, and this attribute says it instead.
    """

    @property
    def code(self) -> Code | int | None:
        """The error code; an int where the number is not in ``google.rpc.Code``."""
        return self.status.code if self.status else None

    @property
    def retry_delay(self) -> timedelta | None:
        """How long the server asks to wait before trying again."""
        return self.status.retry_delay if self.status else None


class OperationFailed(OperationsError):
    """
    The operation ended with an error.

    :param operation: the final operation; its ``error`` is set.
    """

    operation: Operation
    status: Status
    note: str | None = None
    """By whom a cancelled one was cancelled, or where that is written."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation)
        self.operation = operation
        self.status = operation.error or Status()

    @property
    def reason(self) -> str | None:
        """``ErrorInfo.reason``, the machine-readable name of the cause, e.g. ``CPU_QUOTA_EXCEEDED``."""
        return self.status.reason

    def __str__(self) -> str:
        """Return the whole Status as text."""
        # The reason first: that is what a log's line shows before it is cut.
        reason, *details = render_status(self.status).split("\n")
        lines = [f"Operation ended with {reason}", f"  operation: {_shown(self.operation.name)}"]
        if self.note:
            lines.append(f"  {self.note}")
        return "\n".join([*lines, *details])


class OperationFailedFinal(OperationFailed, AirflowFailException):
    """The operation ended with an error that a retry would only repeat."""

    final = True


class OperationCancelled(OperationFailed):
    """The operation was cancelled (code 1), in consequence of this task's own kill or time-out."""


class OperationCancelledFinal(OperationCancelled, OperationFailedFinal):
    """The operation was cancelled (code 1) by somebody else."""


class OperationTimeout(OperationsError):
    """
    The operation was still running when the time was up.

    :param name: the operation.
    :param waited: how long was waited for it.
    :param last_seen: the operation as last seen, or None.
    :param note: what became of it, e.g. "it has been cancelled".
    """

    def __init__(
        self, name: str, waited: timedelta, last_seen: Operation | None = None, note: str | None = None
    ) -> None:
        super().__init__(name, waited, last_seen, note)
        self.name = name
        self.waited = waited
        self.last_seen = self.operation = last_seen
        self.note = note

    def __str__(self) -> str:
        """Return how long was waited and how far the operation was."""
        waited = timedelta(seconds=int(self.waited.total_seconds()))
        text = f"Operation {_shown(self.name)} was not over after {waited}"
        if self.last_seen and not self.last_seen.done:
            text += f"; last seen: {one_line(str(self.last_seen.progress)) or 'running'}"
        return f"{text}; {self.note}" if self.note else text


class OperationSensorTimeout(OperationTimeout, AirflowSensorTimeout):
    """The sensor's time was up; as with every Airflow sensor, not retried."""


class OperationsCallError(OperationsError):
    """
    A request brought no usable answer: refused, unreadable, or none at all for longer than is tolerated.

    :param failure: what is known of the last attempt.
    :param name: the operation it was about, where it was about one.
    """

    status: Status

    def __init__(self, failure: CallFailure, name: str | None = None) -> None:
        super().__init__(failure, name)
        self.failure = failure
        self.name = name
        self.http_status = failure.http_status
        self.status = failure.status
        self.method = failure.method
        self.url = failure.url
        self.attempts = failure.attempts

    @property
    def retry_delay(self) -> timedelta | None:
        """Retry-After, or RetryInfo in the error body."""
        return self.failure.retry_after

    def __str__(self) -> str:
        """Return request, HTTP status, what the body said or its first characters."""
        failure = self.failure
        text = f"{failure.method} {failure.url} failed: {failure.problem}"
        if failure.status.message != failure.problem or failure.status.details:
            text += f": {render_status(failure.status)}"
        if failure.attempts > 1:
            text += f" (attempt {failure.attempts})"
        if challenge := failure.headers.get("www-authenticate"):
            text += f"\n  www-authenticate: {one_line(challenge, 300)}"
        if failure.excerpt:
            # Indented, so that none of its lines passes for one of the log.
            text += "\n  the body began: " + failure.excerpt.replace("\n", "\n    ")
        return clip(text)


class OperationsCallErrorFinal(OperationsCallError, AirflowFailException):
    """A request was refused, or answered unreadably, in a way that repeating it won't change."""

    final = True


class OperationEventError(OperationsError):
    """The trigger's event can't be read, so nothing is known of the operation."""


WORTH_A_RETRY = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
        Code.ABORTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
    }
)
"""Errors of an operation after which starting it again may succeed."""


def error_of_call(
    failure: CallFailure, name: str | None = None, *, final: bool | None = None, may_be_final: bool = True
) -> OperationsCallError:
    """
    Return the exception for a failed call.

    :param final: whether a retry would not help; ``None``: unless the failure is transient.
    :param may_be_final: ``False``: none of the Final classes, about which Airflow asks no retry policy; the attribute
        ``final`` says it instead.
    """
    if final is None:
        final = not failure.transient
    error = (OperationsCallErrorFinal if final and may_be_final else OperationsCallError)(failure, name)
    error.final = final
    return error


def error_of(
    outcome: Outcome,
    *,
    final: Callable[[Operation | CallFailure], bool],
    may_be_final: bool = True,
    timeout_class: type[OperationTimeout] = OperationTimeout,
    note: str | None = None,
) -> OperationsError | None:
    """
    Return the exception that an outcome calls for; the one place where that is decided.

    :param final: says whether a failed operation or call is final.
    :param may_be_final: see ``error_of_call``.
    :param note: what became of an operation that timed out.
    :return: ``None`` for success.
    """
    if outcome.kind is Kind.TIMED_OUT:
        waited = timedelta(seconds=outcome.waited_s)
        return timeout_class(outcome.name, waited, outcome.operation, note)
    if outcome.kind is Kind.CALL_FAILED and outcome.failure:
        failure = outcome.failure
        error = error_of_call(failure, outcome.name, final=final(failure), may_be_final=may_be_final)
        error.operation = outcome.operation
        return error
    operation = outcome.operation
    if outcome.kind is not Kind.DONE or operation is None or not operation.done:
        return OperationEventError(
            f"the outcome of operation {_shown(outcome.name)} is incomplete: {one_line(str(outcome))}"
        )
    if operation.error is None:
        return None
    if not operation.name:
        operation = Operation.from_json({**operation.to_json(), "name": outcome.name})
    verdict = final(operation)
    kinds = (
        (OperationCancelled, OperationCancelledFinal)
        if cancelled(operation)
        else (OperationFailed, OperationFailedFinal)
    )
    failed = kinds[verdict and may_be_final](operation)
    failed.final = verdict
    return failed


def _shown(name: str) -> str:
    return one_line(without_secrets(name), 300) or "(without a name)"
