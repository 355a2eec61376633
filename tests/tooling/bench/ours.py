"""Our trigger, driven as the triggerer does it: made from its stored arguments, its ``run`` iterated in a task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_operations.triggers import OperationTrigger

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from tests.tooling.bench.spec import Spec

OLD_S = 3600.0
"""A wait as old as this has reached its longest pause."""


class Ours:
    """``OperationTrigger``."""

    def __init__(self, spec: Spec) -> None:
        started = None if spec.fresh else time.time() - OLD_S
        template = OperationTrigger(
            "name", operations_conn_id="bench", started_epoch_s=started, poll_with=spec.poll_with
        )
        self._kwargs = template.serialize()[1]

    async def wait(self, name: str, interval_s: float) -> Any:
        """Wait for its event."""
        return await first_event(
            OperationTrigger(**{**self._kwargs, "operation_name": name, "poke_interval": interval_s})
        )

    async def close(self) -> None:
        """It closes what it shares by itself."""


async def first_event(trigger: BaseTrigger) -> Any:
    """Return what a trigger fires."""
    trigger.task_instance = None
    async for event in trigger.run():
        return event.payload
    return None
