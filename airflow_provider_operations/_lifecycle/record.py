"""
The record of an operation in Airflow's task state store: what makes a start survive its worker.

It outlives crashes, retries and clears (Airflow 3.3 or later) and is never deleted. Its ``max_tries`` tells
a clear from a crash: a clear changes the task's, a crash or a retry doesn't.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeGuard

__all__ = ["RECORD_KEY", "SENSOR_RECORD_KEY", "Record", "State", "is_moment"]

RECORD_KEY = "airflow_provider_operations"

SENSOR_RECORD_KEY = "airflow_provider_operations_sensor"
"""Of a sensor's record: an operator of the same name would take the operation in its own for one that it has started."""

RECORD_VERSION = 1


class State(str, Enum):
    """Where an intent to run an operation stands."""

    STARTING = "starting"
    """The start call is about to be sent, or was sent; its answer isn't known."""
    REJECTED = "rejected"
    """The server has definitely refused the start, or never got it."""
    STARTED = "started"
    DELIVERED = "delivered"
    """The result was handed to Airflow."""
    FAILED = "failed"
    """The failure was handed to Airflow."""


@dataclass(frozen=True)
class Record:
    """
    One intent: its start call and what became of it.

    :param max_tries: the task's, when the intent began.
    :param request_id: UUID4, sent where the service takes request ids.
    :param digest: of the rendered start call without its request id; if ``foreign``, with the resource's name.
    :param started_epoch_s: when the intent began; its deadline counts from here.
    :param doubtful: what the service says exists may be what an earlier start of this task has begun.
    :param sent_epoch_s: when ``request_id`` was made, which is later if starts before were refused; 0 in older records.
    :param answered_epoch_s: when the start was answered, 0 before that.
    :param reattached: a later try has taken the operation over. A worker of an earlier one, long given up by
        Airflow, may still come to cancel it.
    :param handed_on: the task doesn't wait for the operation (``wait_for_completion=False``) and has succeeded
        although it runs: a clear ends it, and nothing else may.
    :param final: whether the failure that was handed over is one for which no retry helps.
    :param cancel_if_orphaned: whether the operation may be cancelled when no task waits for it any more: the task
        cancels on a kill and on a time-out. False in older records.
    :param service: which service it is of, as ``ServiceOptions.arguments`` returns it; empty in older records.
    :param foreign: something else has started the operation: it is waited for, and never cancelled.
    """

    state: State
    max_tries: int
    try_number: int
    request_id: str
    digest: str
    started_epoch_s: float
    deadline_epoch_s: float
    name: str = ""
    reattached: bool = False
    handed_on: bool = False
    answered_epoch_s: float = 0.0
    final: bool = False
    sent_epoch_s: float = 0.0
    doubtful: bool = False
    cancel_if_orphaned: bool = False
    service: Mapping[str, Any] = field(default_factory=dict)
    foreign: bool = False

    @property
    def request_id_since_epoch_s(self) -> float:
        """Since when the service may know the request id."""
        return self.sent_epoch_s or self.started_epoch_s

    @property
    def runs_since_epoch_s(self) -> float:
        """When its operation was started; a start may have been repeated for as long as an outage lasted."""
        return self.answered_epoch_s or self.started_epoch_s

    def may_have_begun(self, max_tries: int) -> bool:
        """
        Tell whether what exists at the next start may be what this one has begun.

        :param max_tries: the task's now. Who clears a task whose operation is over may look at what exists before.
        """
        cleared = self.max_tries != max_tries
        if self.state is State.REJECTED or self.foreign:
            return self.doubtful and not cleared
        return self.state in {State.STARTING, State.STARTED} or not cleared

    def to_json(self) -> dict[str, Any]:
        """Return the versioned JSON value that is stored."""
        return {
            "version": RECORD_VERSION,
            **vars(self),
            "state": self.state.value,
            "service": {**self.service},
        }

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """
        Read what ``to_json`` wrote, in this version of the package or in a later one: unknown fields are ignored.

        :raises ValueError: anything else; whether an operation is running is then unknown.
        """
        try:
            known = _checked(value)
            return cls(**{**known, "state": State(known["state"])})
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(
                f"the record {RECORD_KEY!r} in the task's state store can't be read ({error}), so it is unknown "
                "whether an operation is running; look for it, then delete the record and clear the task"
            ) from error


def _checked(value: Any) -> dict[str, Any]:
    if not _is_count(value["version"]) or value["version"] != RECORD_VERSION:
        raise ValueError(f"its version is {value['version']!r:.50}, not {RECORD_VERSION}")
    known = {each.name: value[each.name] for each in fields(Record) if each.name in value}
    for name, stored in known.items():
        if not _FIELDS[name](stored):
            raise TypeError(f"{name!r} is {stored!r:.50}")
    return known


MAX_COUNT = 2**31 - 1
"""What an integer column of Airflow's database holds."""

MAX_EPOCH_S = 1e13
"""Later than that, differences of moments fit into no ``timedelta``."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def is_moment(value: Any) -> TypeGuard[float]:
    """Tell whether a stored value is an epoch in seconds with which one can calculate."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_EPOCH_S


def _is_service(value: Any) -> bool:
    return isinstance(value, dict) and all(
        one is None or _is_text(one) or _is_count(one) for one in value.values()
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "state": _is_text,
    "max_tries": _is_count,
    "try_number": _is_count,
    "request_id": _is_text,
    "digest": _is_text,
    "started_epoch_s": is_moment,
    "deadline_epoch_s": is_moment,
    "name": _is_text,
    "reattached": _is_flag,
    "handed_on": _is_flag,
    "answered_epoch_s": is_moment,
    "final": _is_flag,
    "sent_epoch_s": is_moment,
    "doubtful": _is_flag,
    "cancel_if_orphaned": _is_flag,
    "service": _is_service,
    "foreign": _is_flag,
}
