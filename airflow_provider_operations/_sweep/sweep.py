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
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

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
from airflow_provider_operations._sweep.service import NotAskedError
from airflow_provider_operations.operation import Operation

if TYPE_CHECKING:
    from airflow_provider_operations._lifecycle.record import Record
    from airflow_provider_operations._sweep.database import Database
    from airflow_provider_operations._sweep.judgement import Found
    from airflow_provider_operations._sweep.service import Services

__all__ = ["LEFT", "Fate", "Result", "Sweep"]

log = logging.getLogger(__name__)

CLAIM_S = 180.0
"""How long an operation is another sweep's to see to; a look and a cancel take less than a minute."""

SETTLE_LIMIT_S = 15.0
"""How long the ends of all cancelled operations together are awaited."""

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
    SHOWN = "left alone"
    """A person should see to it."""


LEFT = frozenset({Fate.ASKED, Fate.REFUSED, Fate.NO_ANSWER, Fate.ORPHAN})
"""Fates of operations that run on, or may."""

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


class Sweep:
    """
    One sweep over Airflow's database.

    :param dry_run: look, and change nothing.
    """

    def __init__(self, database: Database, services: Services, *, dry_run: bool = False) -> None:
        self._database = database
        self._services = services
        self._dry_run = dry_run
        self._by = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._results: list[Result] = []
        self._asked: list[_Asked] = []
        self._logged: set[Any] = set()
        self.looked = 0
        """How many operations were asked for."""

    def run(self) -> list[Result]:
        """Do it; return what a person may want to know, in no order."""
        for found in self._database.found():
            try:
                self._consider(found)
            except Exception as error:  # of one task, which mustn't keep all others from being seen to
                if isinstance(error, SQLAlchemyError) and not isinstance(error, _OF_WHAT_IS_WRITTEN):
                    raise
                log.exception("%s can't be seen to", found.place)
                self._tell(found, None, Fate.SHOWN, f"{type(error).__name__}, see the log")
        self._await_ends()
        return self._results

    def _consider(self, found: Found) -> None:
        judgement = judge(found, clock.now())
        if judgement.step is Step.LOOK and judgement.record is not None:
            self._see_to(found, judgement.record)
        elif judgement.step is Step.WAIT and found.note is not None and found.note.cancels:
            self._tell(found, judgement.record, Fate.ASKED, _not_over_yet(found.note))
        elif judgement.step in {Step.SHOW, Step.LOST}:
            self._tell(found, judgement.record, Fate.SHOWN, judgement.reason)
            if judgement.step is Step.LOST and judgement.record is not None and not self._dry_run:
                self._settle(found, judgement.record, found.swept, judgement.reason)

    def _see_to(self, found: Found, record: Record) -> None:
        """Look whether an operation runs, unless its record isn't to be trusted; then cancel it."""
        arguments = self._database.arguments(found)
        if arguments is None:
            self._tell(found, record, Fate.SHOWN, "it isn't a task of this package")
            return
        if problem := stranger(record, arguments):
            self._tell(found, record, Fate.SHOWN, problem)
            return
        if team := self._database.team(found):
            said = f"its DAG belongs to the team {team}, whose connections a sweep doesn't find"
            self._tell(found, record, Fate.NO_ANSWER, said)
            return
        options = ServiceOptions.stored(record.service)
        if away := self._services.why_away(options):
            self._tell(found, record, Fate.NO_ANSWER, away)
            return
        if self._database.waited_for(found, record.name):
            return
        before = found.note.cancels if found.note and found.note.of == operation_of(record) else 0
        claim = self._note(record, "looking", due_epoch_s=clock.now() + CLAIM_S, cancels=before)
        text = found.swept if self._dry_run else self._database.write(found, found.swept, claim)
        if text is None and not self._dry_run:
            return  # another sweep sees to it
        try:
            self.looked += 1
            seen = self._services.look(options, record.name)
        except NotAskedError as error:
            self._give_back(found, claim, text)
            self._tell(found, record, Fate.NO_ANSWER, str(error))
            return
        if isinstance(seen, CallFailure) and not (
            seen.says_missing and not in_grace(record.runs_since_epoch_s, clock.now())
        ):
            self._give_back(found, claim, text)
            self._tell(found, record, Fate.NO_ANSWER, seen.problem)
        elif isinstance(seen, CallFailure) or seen.done:
            said = ending(seen) if isinstance(seen, Operation) else "the service doesn't know it"
            log.info("%s: no orphan: %s", record.name, said)
            if not self._dry_run:
                self._settle(found, record, text, said)
        elif problem := another(found, record, seen):
            self._give_back(found, claim, text)
            self._tell(found, record, Fate.SHOWN, problem)
        elif self._dry_run:
            self._tell(found, record, Fate.ORPHAN, "it runs, and no task waits for it")
        elif text is not None:
            self._cancel(found, record, options, claim, text)

    def _cancel(self, found: Found, record: Record, options: ServiceOptions, claim: Note, text: str) -> None:
        """Ask for the cancellation, if the task and its record are as they were."""
        pause_s = min(AGAIN_S * 2.0 ** min(claim.cancels, 20), AGAIN_AT_MOST_S)
        due_epoch_s = clock.now() + max(pause_s, CLAIM_S)
        note = replace(claim, said="asked to cancel", cancels=claim.cancels + 1, due_epoch_s=due_epoch_s)
        confirmed = self._database.confirm(found, record.name, text, note)
        if confirmed is None:
            log.info(
                "%s: not cancelled, as somebody has acted on its task meanwhile, or another waits for it",
                record.name,
            )
            self._give_back(found, claim, text)
            return
        log.info("%s: asking to cancel it, as its task is over (%s)", record.name, found.state)
        try:
            failure = self._services.cancel(options, record.name)
        except NotAskedError as error:
            self._tell(found, record, Fate.NO_ANSWER, str(error))
            return
        if failure is None:
            self._asked.append(_Asked(found, record, options, note, confirmed))
        else:
            self._tell(found, record, Fate.REFUSED, f"{failure.problem}, {failure.status.code_name}")

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
            if not seen.says_missing:
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
        """Note that no sweep has to see to an operation again."""
        self._database.write(found, before, self._note(record, said, settled=True))

    def _give_back(self, found: Found, claim: Note, text: str | None) -> None:
        """End the claim, so that the next sweep may see to the operation."""
        if text is not None and not self._dry_run:
            self._database.write(found, text, replace(claim, said="left to the next sweep", due_epoch_s=0.0))

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
            place = f"{found.dag_id}.{found.task_id} of {found.run_id}"
            level = logging.INFO if fate in _EXPECTED else logging.WARNING
            log.log(level, "%s: %s: %s: %s", place, result.name or "no name", fate.value, result.said)


def _not_over_yet(note: Note) -> str:
    return "not over yet" if note.cancels == 1 else f"not over yet, asked {note.cancels} times"
