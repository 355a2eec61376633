"""
Which operations under a parent have newly ended: what is remembered of them, and for how long.

Pure: ``_list_stream`` asks the server, ``event`` reports to Airflow.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os.path
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from airflow_provider_operations._airflow.xcom import operation_xcom
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.outcome import ended_as
from airflow_provider_operations.operation import MAX_NAME_BYTES, detail_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_operations.operation import Operation

__all__ = ["MAX_KNOWN", "OUTCOMES", "Checkpoint", "ListSnapshot", "Seen", "UnreadableCheckpoint"]

OUTCOMES = ("succeeded", "failed", "cancelled")
"""What ``ended_as`` returns."""

MAX_EVENT_CHARS = 8 * 1024
"""Longest event, as JSON text: each is stored in Airflow's database, and thousands may be in memory."""

MAX_KNOWN = 4000
"""So many ended operations are remembered where the server doesn't say when they ended."""

MAX_RUNNING_KEPT = 1000
"""So many running operations are remembered over a restart."""

MAX_RUNNING_CHARS = 64 * 1024
"""... and so much of their names, without what all begin with."""

ALLOWED_LATENESS_S = 3600.0
"""An end that a server lists this much later than others is still news."""

LOOKS_MISSING = 3
"""After so many rounds without a sign of one that ran before a restart, the server has forgotten it."""

_DIGEST_BYTES = 6
_VERSION = 1


class UnreadableCheckpoint(ValueError):
    """Text that ``Checkpoint.to_json`` has not written."""


@dataclass(frozen=True)
class Seen:
    """
    What a round of listing brought of one operation.

    :param outcome: one of ``OUTCOMES``; ``None`` while it runs.
    :param created_epoch_s: ``createTime`` (or ``startTime``) of its metadata, by the server's clock.
    :param ended_epoch_s: ``endTime`` of its metadata.
    :param kind: full name of its metadata's type.
    :param event: the event that reports its end, as JSON text; empty while it runs.
    """

    name: str
    outcome: str | None = None
    created_epoch_s: float | None = None
    ended_epoch_s: float | None = None
    kind: str = ""
    event: str = ""

    @classmethod
    def of(cls, operation: Operation) -> Seen:
        """Keep the little of an operation that is needed."""
        times = operation.times
        created = times.started_s if times.created_s is None else times.created_s
        if not operation.done:
            return cls(operation.name, created_epoch_s=created)
        outcome = ended_as(operation)
        # Some is left for the outcome, and for the quotes of numbers that become text.
        body = {**operation_xcom(operation, MAX_EVENT_CHARS * 7 // 8), "outcome": outcome}
        return cls(
            operation.name,
            outcome,
            created,
            times.ended_s,
            detail_type(operation.metadata) or "",
            json.dumps(body),
        )


@dataclass
class ListSnapshot:
    """
    What one round of listing brought of the operations under a parent.

    :param seen: those that were listed, or polled, by name.
    :param running: names of those that were seen running, and not done yet.
    :param whole: everything that the server lists is in it.
    :param thorough: ``False``: what was done in an earlier round may be missing.
    :param ask_for: called with a name, has the operation polled from the next round on, if it isn't listed.
    :param look_thoroughly: makes the next round a thorough one.
    """

    seen: dict[str, Seen]
    running: tuple[str, ...] = ()
    whole: bool = True
    thorough: bool = True
    ask_for: Callable[[str], None] = field(default=lambda _name: None)
    look_thoroughly: Callable[[], None] = field(default=lambda: None)
    on_stored: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called when the events made of this snapshot are in Airflow's database."""

    async def stored(self) -> None:
        """Note that the events made of this snapshot are in Airflow's database."""
        calls, self.on_stored = self.on_stored, []
        for call in calls:
            await call()


class Checkpoint:
    """
    What a watcher knows: which ends were reported or are older than itself, and which operations are running.

    An ended operation is remembered by a digest of its name until it is ``ALLOWED_LATENESS_S`` older than the newest that
    ended; from then on its age says that it's old. Where the server doesn't say when operations ended, the last
    ``MAX_KNOWN`` are remembered.

    :param watermark_epoch_s: what ended before, and was not seen running, is old; by the server's clock.
    :param whole: everything that was done at the beginning is known.
    """

    def __init__(self, watermark_epoch_s: float = 0.0, *, whole: bool = True) -> None:
        self.watermark_epoch_s = watermark_epoch_s
        self.whole = whole
        self._known: dict[str, float | None] = {}
        """When they ended, by digest; those seen last come last."""
        self._running: dict[str, None] = {}
        self._untold: dict[str, str] = {}
        """Names by digest of those whose event may not be in Airflow's database yet."""
        self._restored: dict[str, int] = {}
        """Names that were running before a restart and haven't been seen since, and how often they may be missing."""

    @classmethod
    def beginning_with(cls, snapshot: ListSnapshot, now: float) -> Checkpoint:
        """Return the checkpoint of a watcher that begins with this snapshot: whatever is done by now is old."""
        checkpoint = cls(0.0 if snapshot.whole else now, whole=snapshot.whole)
        for seen in snapshot.seen.values():
            if seen.outcome is not None:
                checkpoint._known[_digest(seen.name)] = seen.ended_epoch_s
        checkpoint._note(snapshot)
        return checkpoint

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the operations that were running in the last round."""
        return (*self._restored, *self._running)

    def news_of(self, snapshot: ListSnapshot, told: Checkpoint | None = None) -> list[Seen]:
        """
        Return the operations that have ended, each once.

        :param told: the checkpoint of another watcher of the same, which may have reported some meanwhile.
        """
        if told is not None:
            self.learn(told)
        news = []
        for seen in snapshot.seen.values():
            if seen.outcome is None:
                continue
            key = _digest(seen.name)
            if key not in self._known and self._is_news(seen):
                news.append(seen)
                self._untold[key] = seen.name
            self._known.pop(key, None)  # to the end
            self._known[key] = seen.ended_epoch_s
        self._note(snapshot)
        return sorted(news, key=lambda seen: seen.ended_epoch_s or math.inf)

    def has_news(self, snapshot: ListSnapshot) -> bool:
        """Tell whether ``news_of`` would return something."""
        return any(
            seen.outcome is not None and _digest(seen.name) not in self._known and self._is_news(seen)
            for seen in snapshot.seen.values()
        )

    def told(self, names: list[str]) -> None:
        """Note that the events about these operations are in Airflow's database."""
        for name in names:
            self._untold.pop(_digest(name), None)

    def learn(self, other: Checkpoint) -> None:
        """Take over what another knows to be reported or old."""
        self._known = {**other._known, **self._known}
        self.watermark_epoch_s = max(self.watermark_epoch_s, other.watermark_epoch_s)

    def to_json(self) -> dict[str, Any]:
        """Return what outlives a restart: at most some 100 kB. An end whose event may be lost counts as running."""
        known = {key: ended for key, ended in self._known.items() if key not in self._untold}
        running = [*self._untold.values(), *self._restored, *reversed(self._running)][:MAX_RUNNING_KEPT]
        prefix = os.path.commonprefix(running)  # noqa: RUF071  character by character is what is wanted
        chars = accumulate(len(name) - len(prefix) for name in running)
        running = [name for name, so_far in zip(running, chars, strict=True) if so_far <= MAX_RUNNING_CHARS]
        return {
            "version": _VERSION,
            "whole": self.whole,
            "floor": self.watermark_epoch_s,
            "newest": self._newest(),
            "timed": "".join(key for key, ended in known.items() if ended is not None),
            "untimed": "".join(key for key, ended in known.items() if ended is None),
            "prefix": prefix,
            "running": [name[len(prefix) :] for name in running],
        }

    @classmethod
    def from_json(cls, value: object) -> Checkpoint:
        """
        Read what ``to_json`` has written.

        :raises UnreadableCheckpoint: anything else, another version included.
        """
        try:
            return cls._read(value)
        except (KeyError, TypeError, ValueError, OverflowError, binascii.Error) as error:
            raise UnreadableCheckpoint(f"{type(error).__name__}: {error} in {str(value)[:200]}") from error

    @classmethod
    def _read(cls, value: object) -> Checkpoint:
        if not isinstance(value, dict) or value["version"] != _VERSION:
            raise UnreadableCheckpoint(f"not a checkpoint of version {_VERSION}: {str(value)[:200]}")
        floor, newest = float(value["floor"]), float(value["newest"])
        texts = [value["prefix"], value["timed"], value["untimed"], *value["running"]]
        if not (math.isfinite(floor + newest) and all(isinstance(text, str) for text in texts)):
            raise TypeError("a number that isn't finite, or something else than text")
        if len(value["prefix"]) > MAX_NAME_BYTES or len(value["running"]) > MAX_RUNNING_KEPT:
            raise ValueError("names that are too long, or too many")
        checkpoint = cls(floor, whole=bool(value["whole"]))
        checkpoint._known = {
            **dict.fromkeys(_digests(value["untimed"])),
            **dict.fromkeys(_digests(value["timed"]), newest),
        }
        names = [value["prefix"] + name for name in value["running"]]
        checkpoint._restored = dict.fromkeys(names, LOOKS_MISSING)
        return checkpoint

    def _is_news(self, seen: Seen) -> bool:
        if seen.name in self._running or seen.name in self._restored:
            return True
        moment = seen.ended_epoch_s if seen.ended_epoch_s is not None else seen.created_epoch_s
        return self.whole if moment is None else moment > self.watermark_epoch_s

    def _note(self, snapshot: ListSnapshot) -> None:
        self._running = dict.fromkeys(snapshot.running)
        for name, rounds in list(self._restored.items()):
            if rounds == 0 or name in snapshot.seen or name in self._running:
                del self._restored[name]
            else:
                self._restored[name] = rounds - 1
                snapshot.ask_for(name)
        self.watermark_epoch_s = max(self.watermark_epoch_s, self._newest() - ALLOWED_LATENESS_S)
        self._known = {
            key: ended
            for key, ended in self._known.items()
            if ended is None or ended > self.watermark_epoch_s
        }
        while len(self._known) > MAX_KNOWN:
            ended = self._known.pop(next(iter(self._known)))
            self.watermark_epoch_s = max(self.watermark_epoch_s, min(ended or 0.0, self._newest()))

    def _newest(self) -> float:
        """Return when the last operation ended; a time in the future doesn't count."""
        latest = clock.now() + ALLOWED_LATENESS_S
        return max(
            (ended for ended in self._known.values() if ended is not None and ended < latest), default=0.0
        )


def _digest(name: str) -> str:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii")


def _digests(text: str) -> list[str]:
    length = _DIGEST_BYTES * 4 // 3
    if len(text) % length:
        raise UnreadableCheckpoint("digests are cut")
    return [text[start : start + length] for start in range(0, len(text), length)]
