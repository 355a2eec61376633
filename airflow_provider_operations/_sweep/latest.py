"""
The latest sweep that has ended, as every part of Airflow can read it.

It is one line of Airflow's audit log, which each sweep writes anew, so it doesn't grow; no request of Airflow's API writes
a line of that event. An Airflow Variable could be written by every task, which could so pretend that sweeps run; it would
be exported and imported with other Variables, and is looked for in secrets backends. A task's state goes with its run. Of
several sweeps at once the last to end counts, and waits for the others no longer than for the update of a row.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.models.log import Log
from sqlalchemy import select, update

from airflow_provider_operations._lifecycle.record import is_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

__all__ = ["MAX_AGE_S", "OWNER", "Latest", "latest", "status", "store"]

OWNER = "airflow operations reap"
"""Who has swept, and who has asked for a cancellation, in Airflow's audit log."""

EVENT = "sweep_operations"

MAX_AGE_S = 3600.0
"""A sweep is missed after so long, if none has said how often it comes."""

MISSED = 3
"""So many sweeps have to be missing, if they come ``--every`` so often; five minutes at least."""

_VERSION = 1


@dataclass(frozen=True)
class Latest:
    """
    A sweep.

    :param at_epoch_s: when it ended.
    :param looked: how many operations it has asked for.
    :param fates: how many there were of each fate.
    :param away: connections of the services that gave no answer, the first few of them.
    :param every_s: how often sweeps come; 0: it was a single one.
    """

    at_epoch_s: float
    took_s: float
    looked: int
    fates: Mapping[str, int] = field(default_factory=dict)
    away: tuple[str, ...] = ()
    every_s: float = 0.0


def latest(session: Session) -> Latest | None:
    """Return the latest sweep; ``None``: none has ended yet, as far as Airflow's database knows."""
    query = select(Log.extra).where(Log.event == EVENT).order_by(Log.dttm.desc(), Log.id.desc()).limit(1)
    try:
        return _read(json.loads(session.scalar(query) or "null"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):  # of a version to come
        return None


def store(one: Latest, session: Session) -> None:
    """Store a sweep in the place of the one before."""
    at = datetime.fromtimestamp(one.at_epoch_s, timezone.utc)
    text = json.dumps({"version": _VERSION, **asdict(one)})
    first = session.scalar(select(Log.id).where(Log.event == EVENT).order_by(Log.id).limit(1))
    changed: Any = session.execute(
        update(Log).where(Log.id == first).values(dttm=at, extra=text),
        execution_options={"synchronize_session": False},
    )
    if changed.rowcount != 1:  # the first one, or the audit log has been cleaned
        line = Log(event=EVENT, owner=OWNER, owner_display_name=OWNER, extra=text)
        line.dttm = at
        session.add(line)


def status(one: Latest | None, now_epoch_s: float, max_age_s: float | None = None) -> str:
    """
    Return ``healthy``, ``unhealthy``, or ``never`` if there was no sweep.

    :param max_age_s: how old the latest may be; ``None``: as it says itself how often they come.
    """
    if one is None:
        return "never"
    if max_age_s is None:
        max_age_s = max(one.every_s * MISSED, 300.0) if one.every_s else MAX_AGE_S
    # One by a clock that is ahead would look young for long after the sweeps have stopped.
    return "healthy" if abs(now_epoch_s - one.at_epoch_s) <= max_age_s else "unhealthy"


def _read(value: Any) -> Latest | None:
    if value is None or value["version"] != _VERSION:
        return None
    if not is_moment(value["at_epoch_s"]):
        raise ValueError(value["at_epoch_s"])
    return Latest(
        float(value["at_epoch_s"]),
        float(value["took_s"]),
        int(value["looked"]),
        {str(fate): int(count) for fate, count in value["fates"].items()},
        tuple(map(str, value["away"])),
        float(value["every_s"]),
    )
