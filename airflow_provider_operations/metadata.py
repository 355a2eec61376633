"""What services tell of an operation in its metadata; needs neither Airflow nor an HTTP client."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["Times", "times_in"]


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
