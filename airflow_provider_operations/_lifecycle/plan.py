"""
What a try that begins does about the operation of an earlier one: pure, and tested as a table.

``plan`` reads the record, ``after_look`` what the server says of the operation. The operator carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from airflow_provider_operations._lifecycle.record import State
from airflow_provider_operations._protocol.outcome import cancelled, ending, in_grace
from airflow_provider_operations._protocol.response import CallFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_operations._lifecycle.record import Record
    from airflow_provider_operations._lifecycle.start_call import StartCall
    from airflow_provider_operations.operation import Operation

__all__ = ["Facts", "Plan", "Step", "after_look", "plan"]


class Step(Enum):
    """What to do next."""

    START = "start"
    """Start afresh: a new intent."""
    RESEND = "resend"
    """Send the start again, with the same request id."""
    REFUSE = "refuse"
    """Fail, as an operation may be running that can't be found."""
    REPLACE = "replace"
    """Cancel the earlier operation, then start afresh."""
    REDELIVER = "redeliver"
    """Deliver the result again: an earlier try did, but Airflow hasn't recorded its success."""
    LOOK = "look"
    """Poll the operation, then call ``after_look``."""
    ADOPT = "adopt"
    """Go on with the operation, however it stands."""
    FORGOTTEN = "forgotten"
    """Fail: the server doesn't know the operation any more, and a second one isn't started silently."""


@dataclass(frozen=True)
class Plan:
    """
    A step, and why.

    :param reason: for the log or the error; empty where there is nothing to say.
    :param warns: whether the log should say it as a warning.
    :param cleared: whether a clear is why the operation is to be replaced, and not its failure.
    """

    step: Step
    reason: str = ""
    warns: bool = False
    cleared: bool = False


@dataclass(frozen=True)
class Facts:
    """
    What a try knows beside the record.

    :param max_tries: the task's: a clear changes it.
    :param waits: whether the task waits for its operation (``wait_for_completion``).
    :param fails_if_uncertain: ``on_uncertain_start="fail"``.
    """

    max_tries: int
    now_epoch_s: float
    request_id_ttl_s: float
    waits: bool = True
    fails_if_uncertain: bool = False


def plan(record: Record | None, facts: Facts, call: Callable[[], StartCall]) -> Plan:
    """
    Decide what a try does that finds this record.

    :param call: makes the start call; called only to compare it with an earlier one.
    """
    if record is None or record.state is State.REJECTED:
        return Plan(Step.START)
    cleared = record.max_tries != facts.max_tries
    if record.state is State.STARTING:
        return _after_a_lost_answer(record, facts, call(), cleared=cleared)
    if cleared:
        if record.state is State.DELIVERED or not record.name:
            return Plan(Step.START)
        return _after_anothers(record, call()) if record.foreign else Plan(Step.REPLACE, cleared=True)
    if record.state is State.FAILED and record.foreign and record.name:
        return _after_anothers(record, call())
    if record.state is State.FAILED and not (record.name and record.final):
        # An operation whose time was up may have outlived its cancel.
        return Plan(Step.REPLACE if record.name else Step.START)
    if not record.name:
        reason = "started an operation without a name, which was over at once, and its result is lost"
        return Plan(Step.START, f"try {record.try_number} {reason}; starting afresh", warns=True)
    if record.state is State.DELIVERED or not facts.waits:
        reason = f"{record.name}, started by try {record.try_number}, was delivered already"
        return Plan(Step.REDELIVER, reason)
    return Plan(Step.LOOK)


def _after_anothers(record: Record, call: StartCall) -> Plan:
    """Decide about an operation that something else has started, as there is an intent of its own now."""
    if call.digest_of_sought == record.digest:
        return Plan(Step.LOOK)
    why = "as the task asks for something else now"
    return Plan(Step.START, f"{record.name}, which something else has started, is left alone, {why}")


def _after_a_lost_answer(record: Record, facts: Facts, call: StartCall, *, cleared: bool) -> Plan:
    """Decide about a start whose answer is lost: it is repeated if the service recognises the repetition."""
    age_s = facts.now_epoch_s - record.request_id_since_epoch_s
    if not call.recognised:
        why = "it carries no request id"
    elif call.digest != record.digest:
        why = "the request is another one now"
    elif age_s >= facts.request_id_ttl_s:
        why = f"it is older than {facts.request_id_ttl_s:g} s"
    else:
        return Plan(Step.RESEND, f"try {record.try_number} lost the answer to its start: sending it again")
    problem = f"try {record.try_number} sent a start whose answer is lost, and it can't be repeated: {why}"
    if facts.fails_if_uncertain and not cleared:
        advice = "see whether an operation of it is running, then clear the task to start another"
        return Plan(Step.REFUSE, f"{problem}; {advice}")
    return Plan(Step.START, f"{problem}; an operation of it may be running; starting afresh", warns=True)


def after_look(
    record: Record, seen: Operation | CallFailure, now_epoch_s: float, *, final: bool, anew: bool = False
) -> Plan:
    """
    Decide what a try does once it has polled the operation of an earlier one.

    If that failed and a retry may help, this try starts another. If none would help, the failure is delivered: the
    earlier try may have been ended before Airflow heard of it, even if its record says that it was handed over.

    :param final: whether no retry would help a failed operation.
    :param anew: this try has an intent of its own, and may follow an operation that something else has started.
    """
    name, origin = record.name, f"{'followed' if record.foreign else 'started'} by try {record.try_number}"
    if isinstance(seen, CallFailure):
        if seen.says_missing and not in_grace(record.runs_since_epoch_s, now_epoch_s):
            problem = f"HTTP {seen.http_status}, the server has forgotten the operation, {origin}"
            if record.foreign:  # it doesn't run any more, and none of ours does
                return Plan(Step.START, f"{name}: {problem}; starting afresh")
            return Plan(Step.FORGOTTEN, problem)
        return Plan(Step.ADOPT, f"reattached to {name}, {origin}; no answer yet ({seen.problem})")
    if not seen.done:
        progress = f", {seen.progress}" if str(seen.progress) else ""
        return Plan(Step.ADOPT, f"reattached to {name}, {origin}, still running{progress}")
    if seen.error is None and not anew:
        return Plan(Step.ADOPT, f"{name}, {origin}, has succeeded meanwhile")
    if record.foreign:  # what ended it says nothing about a start of ours
        return Plan(Step.START, f"{name}, {origin}, is over ({ending(seen)}); starting afresh")
    if record.final or (final and not cancelled(seen)):
        return Plan(Step.ADOPT, f"{name}, {origin}, is over ({ending(seen)}), and was not delivered yet")
    return Plan(Step.START, f"{name}, {origin}, is over ({ending(seen)}); starting afresh")
