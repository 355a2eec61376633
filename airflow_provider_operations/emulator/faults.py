"""Faults set beforehand: which requests go wrong, and how."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import fields
from .routes import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable


def _is_status(value: object) -> bool:
    return fields.is_count(value) and isinstance(value, int) and 200 <= value <= 599


def _are_headers(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_answer(value: object) -> bool:
    return isinstance(value, str | dict | list)


FIELDS = {
    "kind": fields.one_of("any", *KINDS),
    "operation": fields.TEXT,
    "times": fields.COUNT,
    "for": fields.SECONDS,
    "after": fields.COUNT,
    "status": fields.Field("an HTTP status, 200 to 599", _is_status),
    "headers": fields.Field("an object of strings", _are_headers),
    "body": fields.Field("text, an object or a list", _is_answer),
    "delay": fields.SECONDS,
    "truncate": fields.COUNT,
    "drop": fields.BOOL,
    "effect": fields.BOOL,
    "dropAfterEffect": fields.BOOL,
}
"""The keys of a fault, all optional; they are spelled as in JSON."""


@dataclass
class Fault:
    """
    One fault.

    :param spec: as it was given.
    :param added_epoch_s: when; ``for`` counts from here.
    :param seen: matching requests so far, let through or not.
    :param fired: requests it has hit.
    """

    id: str
    spec: dict[str, Any]
    added_epoch_s: float
    seen: int = 0
    fired: int = 0

    @property
    def replaces_answer(self) -> bool:
        """Another answer is sent than the true one."""
        return "status" in self.spec or "body" in self.spec

    @property
    def loses_answer(self) -> bool:
        """The connection is closed without an answer."""
        if self.spec.get("drop") or self.spec.get("dropAfterEffect"):
            return True
        return bool(self.spec.get("effect")) and not self.replaces_answer and "truncate" not in self.spec

    @property
    def has_effect(self) -> bool:
        """The request does what it asks for, although its answer is lost or replaced."""
        if self.spec.get("effect") or self.spec.get("dropAfterEffect"):
            return True
        return not self.replaces_answer and not self.loses_answer

    def hits(self, kind: str, subject: str, now: float) -> bool:
        """
        Count a request and tell whether it goes wrong.

        :param subject: the operation's name; the path where a request names none.
        """
        if self.spec.get("kind", "any") not in ("any", kind) or self.spec.get("operation", "") not in subject:
            return False
        if self.spent(now):
            return False
        self.seen += 1
        if self.seen <= self.spec.get("after", 0):
            return False
        self.fired += 1
        return True

    def spent(self, now: float) -> bool:
        """Tell whether it will never hit again."""
        times, seconds = self.spec.get("times"), self.spec.get("for")
        return (times is not None and self.fired >= times) or (
            seconds is not None and now >= self.added_epoch_s + seconds
        )

    def to_json(self, now: float) -> dict[str, Any]:
        """Return the fault with its counts."""
        counts = {"id": self.id, "seen": self.seen, "fired": self.fired, "spent": self.spent(now)}
        return counts | {"fault": self.spec}


class Faults:
    """The faults of one emulator, in order of adding. They are kept in memory only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ids = itertools.count(1)
        self._faults: list[Fault] = []

    def add(self, spec: dict[str, Any]) -> str:
        """
        Add a fault and return its id.

        :raises ApiError: 400; names each bad key and what is allowed.
        """
        given = fields.check(spec, FIELDS)
        fault = Fault(f"fault-{next(self._ids)}", given, self._clock())
        self._faults.append(fault)
        return fault.id

    def clear(self) -> None:
        """Remove every fault."""
        self._faults.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return every fault with its counts."""
        return [fault.to_json(self._clock()) for fault in self._faults]

    def pick(self, kind: str, subject: str) -> Fault | None:
        """Return the first fault that hits a request; later ones don't see it."""
        now = self._clock()
        return next((fault for fault in self._faults if fault.hits(kind, subject, now)), None)
