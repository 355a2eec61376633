"""
The one judgement "is this over, and how", and its JSON, which is the trigger's event.

Poke mode, reschedule mode, the deferred trigger and the synchronous operator all feed a ``Watch`` with what
they saw and do what it says, so they can't disagree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from typing import Any

from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.polling import Outage, Schedule, as_seconds
from airflow_provider_operations._protocol.rendering import finite, one_line, render_status
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations.operation import Code, Operation, Progress, Status

__all__ = [
    "EVENT_VERSION",
    "STOOD_STILL_S",
    "Kind",
    "Outcome",
    "UnreadableEvent",
    "Watch",
    "in_grace",
]

EVENT_VERSION = 1

MAX_EVENT_CHARS = 256 * 1024
"""A larger operation doesn't travel through Airflow's database: the worker asks for it again."""

MAX_NEWS_CHARS = 1000
"""Longest part of a log line that a server has written."""

GRACE_AFTER_START_S = 30.0
"""A 404 this soon after the start is a server that doesn't know its own operation yet."""

LAST_ANSWER_S, LAST_PAUSE_S = 30.0, 2.0
"""So long, with such pauses, a wait goes on that has polled for the first time after its deadline, in vain."""

DOUBT_S = 60.0
"""How long an odd answer, one that isn't transient (403, HTML), is tolerated before a poll finds the operation."""

MISSING_AGAIN_S = 30.0
"""A 404 that may be a proxy's counts once another comes this much later."""

STOOD_STILL_S = 25.0
"""
If an answer is so late, the process stood still, and nobody polled meanwhile. Or requests take so long: then two in a
row are late. A freeze that lets another triggerer take over lasts longer.
"""


class UnreadableEvent(ValueError):
    """A trigger event that this version can't read."""


class Kind(str, Enum):
    """How a wait ended."""

    DONE = "done"
    TIMED_OUT = "timed_out"
    CALL_FAILED = "unreachable"


@dataclass(frozen=True)
class Outcome:
    """
    The end of a wait.

    :param operation: the final operation (``DONE``) or the last one seen; ``None`` for a ``DONE`` operation too
        large for an event, and where none was seen.
    :param failure: the call that failed last (``CALL_FAILED``, or ``TIMED_OUT`` during an outage). It says whether
        a retry may help, which depends on more than the answer: see ``Watch.judge``.
    :param waited_s: seconds from the start of the wait.
    """

    kind: Kind
    name: str
    operation: Operation | None = None
    failure: CallFailure | None = None
    waited_s: float = 0.0

    @property
    def elapsed(self) -> timedelta:
        """How long the operation took, by its own times where it has both; else how long was waited. Whole seconds."""
        times = self.operation.times if self.operation else None
        lasted_s = self.waited_s
        if (
            times
            and times.began_s is not None
            and times.ended_s is not None
            and times.ended_s >= times.began_s
        ):
            lasted_s = times.ended_s - times.began_s
        return timedelta(seconds=int(lasted_s))

    def to_event(self) -> dict[str, Any]:
        """
        Return ``{"version": 1, "outcome": "<JSON text>"}``.

        Text, because Airflow's serializer refuses the keys ``__classname__`` and ``__id__`` anywhere in a
        payload, and a server's JSON may hold them. NaN and infinities become text in it.
        """
        operation = self.operation
        if operation and operation.abridged and self.kind is Kind.DONE:
            operation = None
        body = {
            "kind": self.kind.value,
            "name": self.name,
            "waited_s": self.waited_s,
            "operation": finite(operation.to_json()) if operation else None,
            "failure": finite(_failure_to_json(self.failure)) if self.failure else None,
        }
        text = json.dumps(body)
        if len(text) > MAX_EVENT_CHARS:
            text = json.dumps({**body, "operation": None})
        if len(text) > MAX_EVENT_CHARS and self.failure:
            status = Status(self.failure.status.code, self.failure.status.message[:1000])
            text = json.dumps(
                {**body, "operation": None, "failure": _failure_to_json(replace(self.failure, status=status))}
            )
        return {"version": EVENT_VERSION, "outcome": text}

    @classmethod
    def from_event(cls, event: object) -> Outcome:
        """
        Read what ``to_event`` wrote.

        :raises UnreadableEvent: anything else, another version included.
        """
        if not isinstance(event, dict) or event.get("version") != EVENT_VERSION:
            raise UnreadableEvent(f"not an event of version {EVENT_VERSION}: {str(event)[:500]}")
        try:
            body = json.loads(event["outcome"])
            operation, failure = body["operation"], body["failure"]
            waited_s = float(_typed(body, "waited_s", int | float))
            timedelta(seconds=waited_s)  # what it must fit into
            return cls(
                kind=Kind(body["kind"]),
                name=_typed(body, "name", str),
                operation=None if operation is None else Operation.from_json(operation),
                failure=None if failure is None else _failure_from_json(failure),
                waited_s=waited_s,
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UnreadableEvent(f"{type(error).__name__}: {error} in {str(event)[:500]}") from error


@dataclass
class Watch:
    """
    Judges what each poll brought: that the wait is over, and how, or when to poll again. All times are epoch seconds.

    :param started_epoch_s: when the wait began.
    :param created_epoch_s: when the operation was started, as far as that is known: soon after, a 404 is tolerated.
    :param deadline_epoch_s: absolute, so that restarts don't extend it; ``None`` waits without end.
    :param outage: kept by the caller if the wait lasts longer than this watch.
    :param due_epoch_s: when the next poll is due; kept by ``judge``.
    :param found: whether a poll has found the operation, in this watch or before. From then on an odd answer is the
        server's trouble and no mistake of ours.
    """

    name: str
    schedule: Schedule
    outage: Outage
    started_epoch_s: float
    created_epoch_s: float | None = None
    deadline_epoch_s: float | None = None
    due_epoch_s: float | None = None
    found: bool = False
    last_seen: Operation | None = None
    progress: Progress | None = None
    """Of the operation while it runs, with the highest percent of all answers; ``None`` before the first."""
    _was_late: bool = False
    _requests_take_s: float = 0.0
    news: list[str] = field(default_factory=list)
    """Lines worth logging since they were last taken: progress that changed, an outage that began or ended."""

    @classmethod
    def from_now(
        cls,
        name: str,
        poke_interval: timedelta | float,
        timeout: timedelta | float | None,
        outage_tolerance: timedelta | float,
    ) -> Watch:
        """
        Return a watch that begins now.

        :raises ValueError: a time is negative.
        """
        now = clock.now()
        return cls(
            name,
            Schedule(maximum_s=as_seconds("poke_interval", poke_interval)),
            Outage(as_seconds("outage_tolerance", outage_tolerance)),
            started_epoch_s=now,
            due_epoch_s=now,
            deadline_epoch_s=None if timeout is None else now + as_seconds("timeout", timeout),
        )

    def judge(self, seen: Operation | CallFailure, now: float) -> Outcome | float:
        """
        Judge one poll.

        A finished operation counts even after the deadline, and whenever the answer came. A failure is
        tolerated, as a poll can be repeated, whatever the answer was:

        - for the outage's tolerance, once a poll has found the operation or the wait has lasted a minute (a watch
          that begins later doesn't know whether one has). What ends the wait then is worth a retry, so ``transient``;
        - else, if it isn't transient by itself, for a minute at most: it may be a mistake of ours, which shows soon;
        - not at all if the service says that there is no such operation, after the grace.

        If the process stood still, an answer may be old, so the wait doesn't end by it: it is polled again at once.

        :return: the outcome, or the seconds to sleep before the next poll.
        """
        late = self._is_late(now)
        verdict = self._verdict(seen, now)
        if isinstance(verdict, Outcome):
            if verdict.kind is Kind.DONE or not late:
                return verdict
            verdict = 0.0
        self.pauses(verdict, now)
        return verdict

    def pauses(self, seconds: float, now: float) -> None:
        """Note how long the caller will sleep, where that isn't what ``judge`` said."""
        self.due_epoch_s = now + seconds

    def in_doubt(self, now: float) -> bool:
        """Tell whether answers are odd, and polling for another minute would show whether they stay so."""
        odd_since = self.outage.odd_since_epoch_s
        if odd_since is None or now - odd_since >= DOUBT_S:
            return False
        return self.outage.missing_since_epoch_s is not None or not self._trusts(odd_since)

    def _verdict(self, seen: Operation | CallFailure, now: float) -> Outcome | float:
        left = None if self.deadline_epoch_s is None else self.deadline_epoch_s - now
        time_is_up = left is not None and left <= 0
        if isinstance(seen, Operation):
            before, self.last_seen, self.found = self.last_seen, seen, True
            self._note_answer(seen, before, now)
            if seen.done:
                return self._end(Kind.DONE, now)
            if time_is_up:
                return self._end(Kind.TIMED_OUT, now)
            return self.schedule.next_delay(now - self.started_epoch_s, None, left)
        failure = self._ended_by(seen, now, time_is_up=time_is_up)
        if failure is not None:
            return self._end(Kind.CALL_FAILED, now, failure)
        if left is not None and left <= 0:
            # A wait that begins after its time has to see once how the operation stands.
            failing_s = now - (self.outage.since_epoch_s or 0.0)
            if self.last_seen is None and failing_s < min(-left, LAST_ANSWER_S):
                return LAST_PAUSE_S
            return self._end(Kind.TIMED_OUT, now, seen)
        return self.schedule.next_delay(now - self.started_epoch_s, seen.retry_after, left)

    def _ended_by(self, failure: CallFailure, now: float, *, time_is_up: bool) -> CallFailure | None:
        """Return the failure with which the wait ends; None while it is tolerated."""
        outage = self.outage
        too_long = outage.exceeded(now)
        missing_s = outage.missing_for(now) if failure.missing else 0.0
        if self._in_grace(failure, now):
            return None
        tolerated_s = outage.tolerance_s
        if not failure.transient:
            if failure.says_missing or missing_s >= MISSING_AGAIN_S:
                return failure
            odd_s = outage.odd_for(now)
            if not self._trusts(now - odd_s):
                answered = failure.sent or failure.http_status is not None
                tolerated_s = min(tolerated_s, DOUBT_S) if answered else 0.0
                if odd_s >= tolerated_s or time_is_up:
                    return failure
        if too_long:
            return replace(failure, transient=True)
        self._note_failure(failure, tolerated_s)
        return None

    def _trusts(self, odd_since_epoch_s: float) -> bool:
        """Tell whether answers that were odd from then on can't come from a mistake of ours."""
        return self.found or odd_since_epoch_s - self.started_epoch_s >= DOUBT_S

    def _is_late(self, now: float) -> bool:
        """
        Tell whether the process stood still; that time is left out of an outage.

        Late twice in a row, it is the requests that take so long; then the time counts, as polling went on.
        """
        if self.due_epoch_s is None:
            return False
        late_s = now - self.due_epoch_s - self._requests_take_s
        late = late_s > STOOD_STILL_S
        if late and self._was_late:
            self._requests_take_s += late_s
            late = False
        elif late:
            self.outage.leave_out(late_s)
        self._was_late = late
        return late

    def take_news(self) -> list[str]:
        """Return the lines to log and forget them."""
        lines, self.news = self.news, []
        return lines

    def _end(self, kind: Kind, now: float, failure: CallFailure | None = None) -> Outcome:
        return Outcome(kind, self.name, self.last_seen, failure, max(now - self.started_epoch_s, 0.0))

    def _in_grace(self, failure: CallFailure, now: float) -> bool:
        created = self.created_epoch_s
        return failure.missing and created is not None and in_grace(created, now)

    def _note_answer(self, operation: Operation, before: Operation | None, now: float) -> None:
        if self.outage.announced:
            self.news.append(f"{self.name}: the server answers again")
        self.outage.over()
        self._requests_take_s = 0.0
        if operation.done or (before is not None and before.metadata == operation.metadata):
            return
        if (progress := operation.progress.no_less_than(self.progress)) != self.progress:
            self.progress = progress
            own_s = operation.times.began_s
            elapsed_s = max(now - (self.started_epoch_s if own_s is None else own_s), 0.0)
            elapsed = timedelta(seconds=int(elapsed_s))
            self.news.append(
                f"{self.name}: {one_line(str(progress), MAX_NEWS_CHARS) or 'running'} ({elapsed} elapsed)"
            )
        if before is None and operation.metadata is None and operation.other:
            fields = one_line(", ".join(operation.other), MAX_NEWS_CHARS)
            self.news.append(
                f"{self.name}: this looks like a resource rather than an operation, as it has {fields} and no "
                "metadata; one that never has 'done' is waited for until the time is up"
            )

    def _note_failure(self, failure: CallFailure, tolerated_s: float) -> None:
        """Announce an outage, and once what is odd in it."""
        outage = self.outage
        if failure.transient:
            if not outage.announced:
                outage.announced = _NO_ANSWER
                problem = failure.problem
                self.news.append(
                    f"{self.name}: no answer ({problem}); bearing it for up to {tolerated_s:g} s"
                )
            return
        if outage.announced == _ODD_ANSWER:
            return
        outage.announced = _ODD_ANSWER
        said = [failure.problem]
        if failure.status.message != failure.problem:
            said.append(render_status(failure.status, MAX_NEWS_CHARS))
        if failure.excerpt:
            said.append(f"the body began: {failure.excerpt}")
        problem = one_line(": ".join(said), MAX_NEWS_CHARS)
        self.news.append(f"{self.name}: no usable answer ({problem}); bearing it for up to {tolerated_s:g} s")


_NO_ANSWER, _ODD_ANSWER = "no answer", "odd answer"


def _failure_to_json(failure: CallFailure) -> dict[str, Any]:
    retry_after = failure.retry_after
    return {
        "method": failure.method,
        "url": failure.url,
        "http_status": failure.http_status,
        "status": failure.status.to_json(),
        "problem": failure.problem,
        "excerpt": failure.excerpt,
        "retry_after_s": None if retry_after is None else retry_after.total_seconds(),
        "may_pass": failure.transient,
        "sent": failure.sent,
        "attempts": failure.attempts,
        "headers": dict(failure.headers),
    }


def _failure_from_json(body: Any) -> CallFailure:
    if not isinstance(body, dict):
        raise TypeError("a failure is an object")
    if unknown := body.keys() - _FAILURE_TYPES.keys() - {"status"}:
        raise ValueError(f"unknown fields of a failure: {', '.join(sorted(unknown))}")
    fields = {key: _typed(body, key, types) for key, types in _FAILURE_TYPES.items()}
    if not all(isinstance(value, str) for value in fields["headers"].values()):
        raise TypeError("a header's value is text")
    retry_after_s = fields.pop("retry_after_s")
    fields["transient"] = fields.pop("may_pass")  # as stored events spell it
    return CallFailure(
        status=Status.from_json(body["status"]),
        retry_after=None if retry_after_s is None else timedelta(seconds=retry_after_s),
        **fields,
    )


_FAILURE_TYPES: dict[str, Any] = {
    "method": str,
    "url": str,
    "http_status": int | None,
    "problem": str,
    "excerpt": str,
    "retry_after_s": int | float | None,
    "may_pass": bool,
    "sent": bool,
    "attempts": int,
    "headers": dict,
}


def _typed(body: dict[str, Any], key: str, types: Any) -> Any:
    """Return a field of an event, which is foreign input."""
    value = body[key]
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        raise TypeError(f"{key!r} must not be {type(value).__name__}")
    return value


def in_grace(started_epoch_s: float, now: float) -> bool:
    """Tell whether an operation was started so lately that its server may not know it yet."""
    return now - started_epoch_s < GRACE_AFTER_START_S


def cancelled(operation: Operation) -> bool:
    """Return whether a finished operation was cancelled (``Code.CANCELLED``, AIP-151)."""
    return operation.error is not None and operation.error.code == Code.CANCELLED


def ended_as(operation: Operation) -> str:
    """Say in a word how a finished operation ended: ``succeeded``, ``failed`` or ``cancelled``."""
    if operation.error is None:
        return "succeeded"
    return "cancelled" if cancelled(operation) else "failed"


def since_then(operation: Operation) -> str:
    """Say how an operation has ended that was running when its time was up, or when it was to be cancelled."""
    ended = ended_as(operation)
    if ended == "cancelled":
        return "it has been cancelled"
    return "it has succeeded since" if ended == "succeeded" else f"it has {ending(operation)} since"


def ending(operation: Operation) -> str:
    """Say how a finished operation ended; of one that failed, with its code."""
    ended = ended_as(operation)
    return f"failed with {operation.error.code_name}" if operation.error and ended == "failed" else ended
