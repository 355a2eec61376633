"""
How late an operation's end is seen, by its length, on a clock that is moved instead of waited for.

``python -m tests.tooling.bench.delays ROUNDS RESULT_FILE``. The trigger is real, and so are its requests; only its sleeps
take no time. The server is in this process and goes by the same clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from airflow_provider_operations._protocol import clock
from airflow_provider_operations.triggers import OperationTrigger
from tests.tooling.bench.loopback import LOOPBACK, Answering, body_of, listening
from tests.tooling.bench.ours import first_event

LENGTHS_S = (5.0, 60.0, 600.0, 3600.0)
SPREAD = 0.2
"""Lengths vary by this share, so that no pause fits all of them by chance."""

POKE_INTERVAL_S = 30.0
LIMIT_S = 30.0
"""Real time for one wait."""


class Moved:
    """A clock that jumps to when the trigger wants to be woken; what others sleep for passes meanwhile."""

    def __init__(self) -> None:
        self.now_s = 1.8e9
        self.driver: asyncio.Task[Any] | None = None
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Epoch seconds."""
        return self.now_s

    async def asleep(self, delay_s: float) -> None:
        """Move the clock, if it is the trigger that sleeps; or wait until it has been moved so far."""
        if asyncio.current_task() is not self.driver:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sleepers.append((self.now_s + delay_s, woken))
            await woken
            return
        self.now_s += delay_s
        for sleeper in [each for each in self._sleepers if each[0] <= self.now_s]:
            self._sleepers.remove(sleeper)
            if not sleeper[1].done():
                sleeper[1].set_result(None)
        await asyncio.sleep(0)


class Delays:
    """The operations of one run, one after the other."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._time = Moved()
        self._polls = 0
        self._ends_s = 0.0

    async def run(self) -> dict[str, dict[str, float]]:
        """
        Return the figures by length.

        :return: ``{"5": {"delay_s": float, "share": float, "worst_share": float, "polls": float,
            "fixed_share": float}}``, medians but for the worst; ``fixed``: asking every 30 s.
        """
        clock.now, clock.asleep = self._time.now, self._time.asleep  # type: ignore[assignment]  # it is moved
        listener = listening()
        host = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "operations", "host": host})
        server = await asyncio.get_running_loop().create_server(
            lambda: Answering(self._answer), sock=listener
        )
        figures = {}
        for length_s in LENGTHS_S:
            delays, shares, polls, fixed = [], [], [], []
            # Short ones take next to no time, and vary the most.
            for number in range(self._rounds * (5 if length_s < 100 else 1)):
                own_s = length_s * (1 + SPREAD * (2 * random.random() - 1))
                delay_s = await self._delay(f"operations/{length_s:g}-{number}", own_s)
                delays.append(delay_s)
                shares.append(delay_s / own_s)
                polls.append(self._polls)
                fixed.append((-own_s % POKE_INTERVAL_S) / own_s)
            figures[f"{length_s:g}"] = {
                "delay_s": statistics.median(delays),
                "longest_s": max(delays),
                "share": statistics.median(shares),
                "polls": statistics.median(polls),
                "fixed_share": statistics.median(fixed),
            }
        server.close()
        return figures

    async def _delay(self, name: str, length_s: float) -> float:
        self._polls = 0
        started_s = self._time.now_s
        self._ends_s = started_s + length_s
        trigger = OperationTrigger(
            name, operations_conn_id="bench", poke_interval=POKE_INTERVAL_S, started_epoch_s=started_s
        )
        self._time.driver = task = asyncio.ensure_future(first_event(trigger))
        event = await asyncio.wait_for(asyncio.shield(task), LIMIT_S)
        outcome = json.loads(event["outcome"])
        if outcome["kind"] != "done":
            raise RuntimeError(f"the wait ended otherwise: {event}")
        return self._time.now_s - self._ends_s

    def _answer(self, target: str) -> tuple[int, bytes]:
        self._polls += 1
        return 200, body_of(target.removeprefix("/v1/"), done=self._time.now_s >= self._ends_s)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(Delays(int(sys.argv[1])).run())))
