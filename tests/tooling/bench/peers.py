"""The peers: triggers of Airflow's http provider, told to do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.http.triggers.http import HttpEventTrigger, HttpSensorTrigger

from tests.tooling.bench.ours import first_event

if TYPE_CHECKING:
    from tests.tooling.bench.spec import Spec


class Sensor:
    """``HttpSensorTrigger``: a 404 is what it takes for "not yet"."""

    def __init__(self, spec: Spec) -> None:
        pass

    async def wait(self, name: str, interval_s: float) -> Any:
        """Wait for its event."""
        return await first_event(
            HttpSensorTrigger(endpoint=f"missing/{name}", http_conn_id="bench", poke_interval=interval_s)
        )

    async def close(self) -> None:
        """It keeps nothing."""


class Event:
    """``HttpEventTrigger``: a function looks at the answer."""

    def __init__(self, spec: Spec) -> None:
        pass

    async def wait(self, name: str, interval_s: float) -> Any:
        """Wait for its event."""
        return await first_event(
            HttpEventTrigger(
                response_check_path="tests.tooling.bench.check.never",
                http_conn_id="bench",
                endpoint=f"v1/{name}",
                poll_interval=interval_s,
            )
        )

    async def close(self) -> None:
        """It keeps nothing."""
