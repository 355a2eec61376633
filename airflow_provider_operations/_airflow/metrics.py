"""Airflow's metrics (StatsD, OpenTelemetry); whatever is wrong with them, what is measured goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Metrics"]

log = logging.getLogger(__name__)


class Metrics:
    """
    Sends figures.

    :param tags: of each of them.
    """

    def __init__(self, tags: Mapping[str, str] | None = None) -> None:
        self._tags = dict(tags or {})
        self._broken = False

    def send(self, method: str, name: str, value: Any) -> None:
        """
        Send one.

        :param method: ``incr``, ``gauge`` or ``timing``.
        """
        if self._broken:
            return
        try:
            from airflow.providers.common.compat.sdk import Stats

            getattr(Stats, method)(name, value, tags=self._tags)
        except Exception:  # whatever is wrong with the metrics, operations are still watched and swept
            self._broken = True
            log.warning("no metrics are sent for %s", self._tags or "sweeps", exc_info=True)
