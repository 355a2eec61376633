"""What services say about an operation in its metadata; needs neither Airflow nor an HTTP client."""

from __future__ import annotations

import math
import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_MESSAGE_CHARS", "Progress", "Times", "as_number", "progress_in", "times_in"]

MAX_MESSAGE_CHARS = 16_000
"""
Longest message that is read; what is behind is cut off before anything is searched in it. Whoever shows a message takes
secrets out of it and cuts it shorter, in this order: half a secret isn't recognised.
"""

MAX_NUMBER_CHARS = 64
"""Longest text that is read as a number."""

MAX_COUNT = 2**63
"""Counts are int64."""

PERCENT_UNTIL_DONE = 99.0
"""Some services say 100 before the operation is done."""


class Times(NamedTuple):
    """When an operation was created, began and ended, by the server's clock; epoch seconds, ``None`` if it doesn't say."""

    created_s: float | None
    started_s: float | None
    ended_s: float | None

    @property
    def began_s(self) -> float | None:
        """When its work began, or else when it was created."""
        return self.created_s if self.started_s is None else self.started_s


def times_in(fields: dict[str, Any]) -> Times:
    """Read the times in an operation's metadata; never raises."""
    return Times(*(_epoch_s(fields.get(key)) for key in ("createTime", "startTime", "endTime")))


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _epoch_s(value: object) -> float | None:
    """Read a timestamp as JSON has it (RFC 3339)."""
    if not isinstance(value, str) or not (match := _RFC3339.fullmatch(value)):
        return None
    day, time, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        return None
    return moment.timestamp() + float(f"0.{fraction or 0}")


class Progress(NamedTuple):
    """How far an operation is, read from its metadata."""

    percent: float | None
    """0 to 100; 100 only of one that is done."""
    message: str | None
    """What the service says of it, or else the state in which it is."""
    counted: str | None = None
    """E.g. ``12 documents``, where the service counts without saying of how many."""

    def __str__(self) -> str:
        """Return e.g. ``42 %, copying``; empty when nothing is known."""
        percent = None if self.percent is None else f"{self.percent:.4g} %"
        return ", ".join(filter(None, (percent, self.said)))

    @property
    def said(self) -> str | None:
        """What there is to show beside the percent."""
        return ", ".join(filter(None, (self.counted, self.message))) or None

    def no_less_than(self, before: Progress | None) -> Progress:
        """Return it with the earlier percent if that was higher: estimates of the whole grow with time."""
        if before is None or before.percent is None or (self.percent or 0.0) >= before.percent:
            return self
        return self._replace(percent=before.percent)


class Pair(NamedTuple):
    """Two counts: what is finished, and the estimate of the whole; a 0 is left out of proto3 JSON."""

    completed: str
    estimated: str
    unit: str


class Count(NamedTuple):
    """A count of what is finished, where no field has an estimate of the whole."""

    completed: str
    unit: str


# Where Google's APIs keep progress, by a census of the metadata schemas in their API documents:
# tests/hooks/test_progress_census.py prints for each path the schemas that have it, and fails where none has. The first
# that says something wins. "a.b" is a field of a field; "a[].b" is one in each item of a list.

PERCENTS = (
    "progressPercent",
    "progressPercentage",
    "percentComplete",
    "progress",
    "progress.progressPercent",
    "progress.percentDone",
    "annotationProgress[].progressPercent",
    "progress[].progressPercent",
)

PAIRS = (
    Pair("progressPercentage.completedWork", "progressPercentage.estimatedWork", "units of work"),
    Pair("progressDocuments.completedWork", "progressDocuments.estimatedWork", "documents"),
    Pair("progressDocuments.workCompleted", "progressDocuments.workEstimated", "documents"),
    Pair("documentProgress.completedWork", "documentProgress.estimatedWork", "documents"),
    Pair("documentProgress.workCompleted", "documentProgress.workEstimated", "documents"),
    Pair("progressEntities.workCompleted", "progressEntities.workEstimated", "entities"),
    Pair("progressBytes.completedWork", "progressBytes.estimatedWork", "bytes"),
    Pair("progressBytes.workCompleted", "progressBytes.workEstimated", "bytes"),
    Pair("bytesProgress.completedWork", "bytesProgress.estimatedWork", "bytes"),
    Pair("completedAnalysesCount", "totalRequestedAnalysesCount", "analyses"),
    Pair("progress.completedVersionCount", "progress.totalVersionCount", "versions"),
    Pair("resourcesScanned", "resourcesFound", "resources"),
    Pair("successCount", "validUrisCount", "succeeded"),
)
"""No ``totalCount``: in most schemas it is what was processed so far, failures included."""

COUNTS = (
    Count("completedExportCount", "conversations"),
    Count("ingestConversationsStats.successfulIngestCount", "conversations"),
    Count("sampleConversationsStats.successfulSampleCount", "conversations"),
    Count("downloadStats.successfulDownloadCount", "labels"),
    Count("importedEntityCount", "entities"),
    Count("job.counters.succeededObjectCount", "objects"),
    Count("counter.success", "succeeded"),
    Count("successCount", "succeeded"),
)

MESSAGES = (
    "statusMessage",
    "statusDetail",
    "ephemeralMessage",
    "stateMessage",
    "stateDescription",
    "progressMessage",
    "progress",
    "progress.description",
    "commonMetadata.stateMessage",
    "build.statusDetail",
    "status.details",
    "stages[].message",
    "steps[].description",
)
"""From a list, the texts of the items that are under way."""

STATES = (
    "state",
    "operationState",
    "common.state",
    "commonMetadata.state",
    "build.status",
    "status.state",
    "progress.state",
    "job.state",
    "upgradeClusterStatus.state",
    "rolloutState",
    "migrationStep",
    "migrationState",
    "processingStatus",
    "basicOperationStatus",
    "deploymentStage",
    "stage",
    "stages[].name",
    "progress.stages[].stage",
    "deploymentMetadata.step",
    "previewMetadata.step",
    "provisionDeploymentGroupMetadata.step",
)

DEEDS = ("description", "verb")
"""What the operation does, where nothing says how far it is."""

_STATES_OF_PARTS = ("state", "status")
_UNDER_WAY = frozenset({"IN_PROGRESS", "RUNNING"})


def progress_in(fields: dict[str, Any], *, done: bool) -> Progress:
    """
    Read how far an operation is from its metadata; never raises.

    :param done: whether it is done: until then it isn't at 100 %.
    """
    percent = _percent(fields)
    if percent is not None and not done:
        percent = min(percent, PERCENT_UNTIL_DONE)
    texts = (_text(fields, path) for path in (*MESSAGES, *STATES, *DEEDS))
    message = next(filter(None, texts), None)
    return Progress(percent, message, _count(fields) if percent is None else None)


def as_number(value: object) -> float | None:
    """Read a JSON number, or text that holds one (int64 comes so), or ``"42%"``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > MAX_NUMBER_CHARS:
        return None
    try:
        number = float(value.strip().rstrip("%")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _percent(fields: dict[str, Any]) -> float | None:
    for path in PERCENTS:
        parts = [as_number(value) for value in _values(fields, path)]
        known = [_within_100(number) for number in parts if number is not None]
        if known:
            # A part that does not say yet has not begun.
            return sum(known) / len(parts)
    for pair in PAIRS:
        estimated = _amount(fields, pair.estimated)
        if estimated:
            return _within_100(100.0 * (_amount(fields, pair.completed) or 0.0) / estimated)
    return None


def _within_100(number: float) -> float:
    return min(max(number, 0.0), 100.0)


def _count(fields: dict[str, Any]) -> str | None:
    for rule in (*PAIRS, *COUNTS):
        amount = _amount(fields, rule.completed)
        if amount is not None:
            return f"{int(amount):,} {rule.unit}"
    return None


def _amount(fields: dict[str, Any], path: str) -> float | None:
    number = as_number(next(_values(fields, path), None))
    return number if number is not None and 0 <= number < MAX_COUNT else None


def _text(fields: dict[str, Any], path: str) -> str | None:
    for value in _values(fields, path, only_under_way=True):
        if isinstance(value, str):
            text = value[:MAX_MESSAGE_CHARS].strip()
            is_percent = path in PERCENTS and as_number(text) is not None
            if text and not is_percent and not text.endswith("_UNSPECIFIED"):
                return text
    return None


def _values(fields: dict[str, Any], path: str, *, only_under_way: bool = False) -> Iterator[Any]:
    """Yield what is at the path: one value, none or ``None`` where there is none; of a list one for each item."""
    first, *others = _keys(path)
    if first.removesuffix("[]") not in fields:  # so it is for most paths
        return iter(())
    found = _below(iter((fields,)), first, only_under_way=only_under_way)
    for key in others:
        found = _below(found, key, only_under_way=only_under_way)
    return found


@cache
def _keys(path: str) -> list[str]:
    return path.split(".")


def _below(values: Iterator[Any], key: str, *, only_under_way: bool) -> Iterator[Any]:
    name = key.removesuffix("[]")
    for value in values:
        below = value.get(name) if isinstance(value, dict) else None
        if name == key:
            yield below
        elif isinstance(below, list):
            yield from filter(_is_under_way, below) if only_under_way else below


def _is_under_way(part: object) -> bool:
    states = map(part.get, _STATES_OF_PARTS) if isinstance(part, dict) else ()
    return any(isinstance(state, str) and state in _UNDER_WAY for state in states)
