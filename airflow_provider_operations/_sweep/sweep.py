"""
A sweep: finds operations that no task waits for, sees whether they run, and has them cancelled.

Several may run at once, and each may end at any moment. Before a service is asked, the operation is claimed for a few
minutes by a note in the task's state; just before the cancel all is read again. What a sweep leaves undone, the next one
does when the claim is over.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from airflow_provider_operations._airflow.metrics import Metrics
from airflow_provider_operations._airflow.redaction import log_exception
from airflow_provider_operations._connection.options import ServiceOptions
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import ending, in_grace
from airflow_provider_operations._protocol.rendering import one_line
from airflow_provider_operations._protocol.response import CallFailure
from airflow_provider_operations._sweep.judgement import (
    AGAIN_AT_MOST_S,
    Note,
    Step,
    another,
    judge,
    operation_of,
    stranger,
)
from airflow_provider_operations._sweep.latest import Latest
from airflow_provider_operations._sweep.service import NotAskedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_operations._lifecycle.record import Record
    from airflow_provider_operations._sweep.database import Database
    from airflow_provider_operations._sweep.judgement import Found
    from airflow_provider_operations._sweep.service import Services

__all__ = ["LEFT", "Fate", "Result", "Sweep", "left_of"]

log = logging.getLogger(__name__)

CLAIM_S = 180.0
"""How long an operation is another sweep's to see to; a look and a cancel take less than a minute."""

SETTLE_LIMIT_S = 15.0
"""How long the ends of all cancelled operations together are awaited."""

MAX_AWAY = 20
"""So many services without an answer are kept with a sweep that has ended."""

MISSING_FOR_S = 24 * 3600.0
MISSES = 10
"""A service that hasn't known an operation for so long, and has said so more often than that, has forgotten it."""

MISSED_AT_THE_END = 3
"""After an accepted cancel, so many answers in a row that the service doesn't know it are its end."""

AGAIN_S = 60.0
"""When an operation that doesn't end is asked to cancel again; the pause doubles, up to ``AGAIN_AT_MOST_S``."""


class Fate(str, Enum):
    """What became of an operation, or of the attempt to find out."""

    CANCELLED = "cancelled"
    ASKED = "asked to cancel"
    REFUSED = "not cancelled"
    """The service has refused, or not answered the cancel."""
    NO_ANSWER = "no answer"
    """The service wasn't asked, or gave no usable answer: tried again by the next sweep."""
    ORPHAN = "orphan"
    """It would have been asked to cancel (``--dry-run``)."""
    UNKNOWN = "unknown"
    """The service doesn't know it: it has forgotten it, or its connection leads elsewhere by mistake."""
    SHOWN = "left alone"
    """A person should see to it."""


LEFT = frozenset({Fate.ASKED, Fate.REFUSED, Fate.NO_ANSWER, Fate.ORPHAN, Fate.UNKNOWN})
"""Fates of operations that run on, or may."""


def left_of(fates: Mapping[str, int]) -> int:
    """Return how many operations run on, or may: of a ``Latest``'s counts by fate."""
    return sum(fates.get(fate.value, 0) for fate in LEFT)


_EXPECTED = frozenset({Fate.CANCELLED, Fate.ORPHAN})


_OF_WHAT_IS_WRITTEN = (DataError, IntegrityError)
"""Errors of a database that takes everything else, such as a name with characters that MySQL's ``utf8mb3`` doesn't have."""


@dataclass(frozen=True)
class Result:
    """
    An operation that a sweep has something to say about.

    :param said: what there is to say, a line.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    name: str
    conn_id: str
    fate: Fate
    said: str


@dataclass
class _Asked:
    """An operation that was asked to cancel."""

    found: Found
    record: Record
    options: ServiceOptions
    note: Note
    text: str
    missed: int = 0
    """How often in a row the service has said since that it doesn't know it."""


class Sweep:
    """
    One sweep over Airflow's database.

    :param dry_run: look, and change nothing.
    :param every_s: how often sweeps come; 0: that isn't known.
    """

    def __init__(
        self, database: Database, services: Services, *, dry_run: bool = False, every_s: float = 0.0
    ) -> None:
        self._database = database
        self._services = services
        self._dry_run = dry_run
        self._every_s = every_s
        self._by = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._results: list[Result] = []
        self._asked: list[_Asked] = []
        self._logged: set[Any] = set()
        self.looked = 0
        """How many operations were asked for."""
        self._new = 0
        """How many of them no sweep has asked to cancel before."""
        self._refused = 0
        """How many cancels were refused, or not answered."""

    def run(self) -> list[Result]:
        """Do it; return what a person may want to know, in no order."""
        began = clock.now()
        for found in self._database.found():
            try:
                self._consider(found)
            except Exception as error:  # of one task, which mustn't keep all others from being seen to
                if isinstance(error, SQLAlchemyError) and not isinstance(error, _OF_WHAT_IS_WRITTEN):
                    raise
                log_exception(log, "%s can't be seen to", found.place)
                # Its operation may run on, and that of every other task if it is a mistake of ours.
                self._tell(found, None, Fate.NO_ANSWER, f"{type(error).__name__}, see the log")
        self._await_ends()
        if not self._dry_run:
            self._note_the_end(began)
        return self._results

    def _note_the_end(self, began: float) -> None:
        """Store that this sweep has ended; what it has found is told in any case."""
        now = clock.now()
        away = self._services.away
        fates = dict(Counter(result.fate.value for result in self._results))
        ended = Latest(
            now, max(now - began, 0.0), self.looked, fates, tuple(sorted(away)[:MAX_AWAY]), self._every_s
        )
        try:
            self._database.ended(ended)
        except SQLAlchemyError:
            log_exception(log, "that this sweep has ended could not be stored")
        self._measure(ended, len(away))

    def _measure(self, ended: Latest, away: int) -> None:
        """Send this sweep's figures; ``docs/scale.md`` says what they mean."""
        metrics, fates = Metrics(), ended.fates
        metrics.send("incr", "operations.sweeps", 1)
        metrics.send("timing", "operations.sweep_time", timedelta(seconds=ended.took_s))
        for name, count in (
            ("sweep_looks", ended.looked),
            ("orphans_found", self._new),
            ("orphans_cancelled", fates.get(Fate.CANCELLED.value, 0)),
            ("orphans_refused", self._refused),
        ):
            if count:
                metrics.send("incr", f"operations.{name}", count)
        metrics.send("gauge", "operations.orphans", left_of(fates))
        metrics.send("gauge", "operations.orphans_unknown", fates.get(Fate.UNKNOWN.value, 0))
        metrics.send("gauge", "operations.orphans_left_alone", fates.get(Fate.SHOWN.value, 0))
        metrics.send("gauge", "operations.sweep_services_away", away)

    def _consider(self, found: Found) -> None:
        judgement = judge(found, clock.now())
        if judgement.step is Step.LOOK and judgement.record is not None:
            self._see_to(found, judgement.record)
        elif judgement.step is Step.WAIT and found.note is not None:
            if (told := _told(found.note)) is not None:
                self._tell(found, judgement.record, *told)
        elif judgement.step is Step.SHOW:
            self._leave(found, judgement.record, Fate.SHOWN, judgement.reason)
        elif judgement.step is Step.LOST:
            self._tell(found, judgement.record, Fate.SHOWN, judgement.reason)
            if judgement.record is not None:
                self._settle(found, judgement.record, found.swept, judgement.reason)

    def _see_to(self, found: Found, record: Record) -> None:
        """Look whether an operation runs, unless its record isn't to be trusted; then cancel it."""
        arguments = self._database.arguments(found)
        if arguments is None:
            self._leave(found, record, Fate.SHOWN, "it isn't a task of this package")
            return
        if problem := stranger(record, arguments):
            self._leave(found, record, Fate.SHOWN, problem)
            return
        if team := self._database.team(found):
            said = f"its DAG belongs to the team {team}, whose connections a sweep doesn't find"
            self._leave(found, record, Fate.NO_ANSWER, said)
            return
        options = ServiceOptions.stored(record.service)
        if away := self._services.why_away(options):
            # Not noted: who was asked for longest ago comes first in the next sweep.
            self._tell(found, record, Fate.NO_ANSWER, away)
            return
        if self._database.waited_for(found, record.name):
            return
        claim = self._note(record, "looking", due_epoch_s=clock.now() + CLAIM_S)
        if (before := found.note_of(record)) is not None:
            claim = replace(
                claim,
                cancels=before.cancels,
                missing_since_epoch_s=before.missing_since_epoch_s,
                misses=before.misses,
            )
        text = found.swept if self._dry_run else self._database.write(found, found.swept, claim)
        if text is None and not self._dry_run:
            return  # another sweep sees to it
        try:
            self.looked += 1
            seen = self._services.look(options, record.name)
        except NotAskedError as error:
            self._hand_over(found, record, claim, text, Fate.NO_ANSWER, str(error))
            return
        if isinstance(seen, CallFailure):
            if seen.says_missing and not in_grace(record.runs_since_epoch_s, clock.now()):
                self._miss(found, record, claim, text)
            else:
                # An outage says nothing of what the service knows.
                kept = claim if seen.transient else _known(claim)
                self._hand_over(found, record, kept, text, Fate.NO_ANSWER, _problem(seen))
            return
        claim = _known(claim)
        if seen.done:
            self._drop(found, record, text, ending(seen))
        elif problem := another(found, record, seen):
            self._hand_over(found, record, claim, text, Fate.SHOWN, problem)
        elif self._dry_run:
            self._tell(found, record, Fate.ORPHAN, "it runs, and no task waits for it")
        elif text is not None:
            self._cancel(found, record, options, claim, text)

    def _miss(self, found: Found, record: Record, claim: Note, text: str | None) -> None:
        """Keep in mind for a day what a service doesn't know: the connection may lead elsewhere by mistake."""
        now = clock.now()
        since = min(claim.missing_since_epoch_s or now, now)
        if now - since >= MISSING_FOR_S and claim.misses >= MISSES:
            self._drop(found, record, text, f"{_UNKNOWN}, for a day by now")
            return
        if text is not None and not self._dry_run:
            pause_s = min(max(now - since, CLAIM_S), AGAIN_AT_MOST_S)
            note = replace(
                claim,
                said=_seen(Fate.UNKNOWN, _UNKNOWN),
                due_epoch_s=now + pause_s,
                missing_since_epoch_s=since,
                misses=claim.misses + 1,
            )
            self._database.write(found, text, note)
        self._tell(found, record, Fate.UNKNOWN, _UNKNOWN)

    def _cancel(self, found: Found, record: Record, options: ServiceOptions, claim: Note, text: str) -> None:
        """Ask for the cancellation, if the task and its record are as they were."""
        pause_s = min(AGAIN_S * 2.0 ** min(claim.cancels, 20), AGAIN_AT_MOST_S)
        due_epoch_s = clock.now() + max(pause_s, CLAIM_S)
        note = replace(claim, said="asked to cancel", cancels=claim.cancels + 1, due_epoch_s=due_epoch_s)
        confirmed = self._database.confirm(found, record.name, text, note)
        if confirmed is None:
            log.info(
                "%s: %s: not cancelled, as somebody has acted on its task meanwhile, or another waits for it",
                _place(found),
                record.name,
            )
            self._give_back(found, claim, text, Fate.SHOWN, "somebody has acted on its task meanwhile")
            return
        self._new += claim.cancels == 0
        log.info("%s: %s: asking to cancel it (%s)", _place(found), record.name, found.state)
        try:
            failure = self._services.cancel(options, record.name)
        except NotAskedError as error:
            fate, said = Fate.NO_ANSWER, str(error)
        else:
            if failure is None:
                self._asked.append(_Asked(found, record, options, note, confirmed))
                return
            fate, said = Fate.REFUSED, _problem(failure)
            self._refused += 1
        self._database.write(found, confirmed, replace(note, said=_seen(fate, said)))
        self._tell(found, record, fate, said)

    def _await_ends(self) -> None:
        """Wait for the ends of what was asked to cancel, all together, and say how it came."""
        deadline, pause_s = clock.now() + SETTLE_LIMIT_S, 0.5
        waiting = self._asked
        while waiting:
            waiting = [each for each in waiting if clock.now() >= deadline or not self._has_ended(each)]
            if not waiting or clock.now() + pause_s > deadline:
                break
            clock.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 5.0)
        for asked in waiting:
            self._tell(asked.found, asked.record, Fate.ASKED, _not_over_yet(asked.note))

    def _has_ended(self, asked: _Asked) -> bool:
        try:
            seen = self._services.look(asked.options, asked.record.name)
        except NotAskedError:
            return False
        if isinstance(seen, CallFailure):
            # The first such answer may be of a replica that doesn't know it yet.
            asked.missed = asked.missed + 1 if seen.says_missing else 0
            if asked.missed < MISSED_AT_THE_END:
                return False
            said = "the service doesn't know it any more"
        elif seen.done:
            said = ending(seen)
        else:
            return False
        self._settle(asked.found, asked.record, asked.text, said)
        self._tell(asked.found, asked.record, Fate.CANCELLED, said)
        return True

    # --- notes -----------------------------------------------------------------------------------------------

    def _note(self, record: Record, said: str, **more: Any) -> Note:
        return Note(operation_of(record), self._by, clock.now(), one_line(said, 500), **more)

    def _settle(self, found: Found, record: Record, before: str | None, said: str) -> None:
        """Note that no sweep has to see to an operation again, and why."""
        if not self._dry_run:
            self._database.write(found, before, self._note(record, said, settled=True))

    def _drop(self, found: Found, record: Record, before: str | None, said: str) -> None:
        """Settle what turns out to be no orphan."""
        log.info("%s: %s: no orphan: %s", _place(found), record.name, said)
        self._settle(found, record, before, said)

    def _give_back(self, found: Found, claim: Note, text: str | None, fate: Fate, said: str) -> None:
        """End the claim, so that the next sweep may see to the operation; note why this one didn't."""
        if text is not None and not self._dry_run:
            self._database.write(found, text, replace(claim, said=_seen(fate, said), due_epoch_s=0.0))

    def _hand_over(
        self, found: Found, record: Record, claim: Note, text: str | None, fate: Fate, said: str
    ) -> None:
        """End the claim, and say why this sweep didn't see to the operation."""
        self._give_back(found, claim, text, fate, said)
        self._tell(found, record, fate, said)

    def _leave(self, found: Found, record: Record | None, fate: Fate, said: str) -> None:
        """Say and note why an operation isn't looked at; noted once, as it may be so for months."""
        self._tell(found, record, fate, said)
        if record is None or self._dry_run:
            return
        before = found.note_of(record)
        noted = _seen(fate, said)
        if before is None or before.said != noted:
            note = self._note(record, noted, cancels=0 if before is None else before.cancels)
            self._database.write(found, found.swept, note)

    def _tell(self, found: Found, record: Record | None, fate: Fate, said: str) -> None:
        name, conn_id = (
            ("", "") if record is None else (record.name, record.service.get("operations_conn_id") or "")
        )
        result = Result(
            **found.place,
            state=str(found.state),
            name=one_line(name, 2048),
            conn_id=one_line(str(conn_id), 250),
            fate=fate,
            said=one_line(said, 500),
        )
        self._results.append(result)
        # An outage, or a connection that is gone, is logged once for all its operations.
        about = (fate.value, result.conn_id, result.said) if fate is Fate.NO_ANSWER else None
        if about is None or about not in self._logged:
            self._logged.add(about)
            level = logging.INFO if fate in _EXPECTED else logging.WARNING
            log.log(level, "%s: %s: %s: %s", _place(found), result.name or "no name", fate.value, result.said)


def _place(found: Found) -> str:
    index = f"[{found.map_index}]" if found.map_index >= 0 else ""
    return f"{found.dag_id}.{found.task_id}{index} of {found.run_id}"


def _problem(failure: CallFailure) -> str:
    """Say what went wrong, in a line that whoever may read the DAG may read."""
    return (
        failure.problem if failure.http_status is None else f"{failure.problem}, {failure.status.code_name}"
    )


def _known(note: Note) -> Note:
    """Return a note of an operation that the service may know after all."""
    return replace(note, missing_since_epoch_s=0.0, misses=0)


def _told(note: Note) -> tuple[Fate, str] | None:
    """Return what was told of an operation that isn't due yet; ``None``: another sweep only looks at it now."""
    for fate in (Fate.REFUSED, Fate.NO_ANSWER):
        if note.said.startswith(head := f"{fate.value}: "):
            return fate, note.said.removeprefix(head)
    if note.misses:
        return Fate.UNKNOWN, _UNKNOWN
    return (Fate.ASKED, _not_over_yet(note)) if note.cancels else None


_UNKNOWN = "the service doesn't know it"


def _seen(fate: Fate, said: str) -> str:
    return one_line(f"{fate.value}: {said}", 500)


def _not_over_yet(note: Note) -> str:
    return "not over yet" if note.cancels == 1 else f"not over yet, asked {note.cancels} times"
